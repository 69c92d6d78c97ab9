"""What a session becomes when acknowledged operations catch up with it, or a mirror heals it. Pure functions.

The rules (docs/design/failover.md): messages go where their sort key belongs, whoever comes first; of a field the later stamp
wins; counters add up; what is there already, by its writer's mark, its message id or its key, is left alone. So two hosts'
entries may be replayed in any order of the two and give the same window, fields and counters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from luni import operations as ops
from luni import wire
from luni.backends.failover.entries import Entry
from luni.backends.failover.texts import keys_of, name_of, order_of, put, put_back, reheaded, with_head
from luni.context import extractive, foldable
from luni.errors import Damaged
from luni.models import Message

__all__ = ["NO_LIMIT", "SEEN_MS", "Outcome", "Session", "merged"]

SEEN_MS = 7 * 24 * 3600 * 1000
NO_LIMIT = 2**62
Outcome = str
"""``replayed`` · ``known``: executed before · ``expired`` · ``gone``: what it changes is not there · else why it is dead."""


def merged(state: ops.State, entries: Sequence[Entry], now_ms: int) -> tuple[ops.State, tuple[Outcome, ...]]:
    """Return the state that has these entries, too, and what became of each. ``now_ms`` is the store's time."""
    session = Session(state)
    outcomes = tuple([session.merge(entry, now_ms) for entry in entries])
    session.fold()
    return session.state(), outcomes


class Session:
    """A state while it changes: plain fields in ``at``, which is replaced; the rest in lists and dicts of its own."""

    def __init__(self, state: ops.State) -> None:
        self._take(state)

    def _take(self, state: ops.State) -> None:
        self.at = state
        self.texts = [*state.waiting, *reversed(state.window)]
        self.transcript = list(state.transcript)
        self.names = {name_of(text) for text in self.texts}
        self.arrivals = {one.digest: one for one in state.arrivals}
        self.marks = {one.writer: one for one in state.marks}
        self.unsent = dict(state.unsent)
        self.stamps = dict(state.stamps)

    def set(self, **fields: Any) -> None:
        """Change plain fields."""
        self.at = msgspec.structs.replace(self.at, **fields)

    def state(self) -> ops.State:
        """Return what it has become."""
        marks = sorted(self.marks.values(), key=_by_ms)[-ops.WRITERS :]
        return msgspec.structs.replace(
            self.at,
            window=tuple(self.texts[-ops.WINDOW :][::-1]),
            waiting=tuple(self.texts[: -ops.WINDOW]),
            transcript=tuple(self.transcript),
            arrivals=tuple(sorted(self.arrivals.values(), key=_by_n)),
            marks=tuple(marks),
            unsent=tuple(self.unsent.items()),
            stamps=tuple(sorted(self.stamps.items())),
        )

    def merge(self, entry: Entry, now_ms: int) -> Outcome:
        """Let an entry catch up; return what became of it."""
        operation = entry.operation
        if entry.expire_ms and entry.expire_ms <= now_ms:
            return "expired"
        mark = self.marks.get(operation.writer) if isinstance(operation, ops.Write) else None
        if mark is not None and isinstance(operation, ops.Write) and mark.seq >= operation.seq:
            self._put_back(entry, operation)
            self._note_lease(entry)
            if isinstance(operation, ops.Reply):
                self._give_back(entry, operation)
            return "known"
        if not self.at.session_id and isinstance(operation, _BEGIN_NONE):
            return "gone"
        try:
            result = _HANDLERS[type(operation)](self, entry, operation)
        except Damaged as error:
            return f"{type(error).__name__}: {error}"
        if result is None:
            return "known"
        if entry.expire_ms:
            self._touch(entry)
        if isinstance(operation, ops.Write):
            self.marks[operation.writer] = ops.Mark(operation.writer, operation.seq, entry.at_ms, result)
        return "replayed"

    def _put_back(self, entry: Entry, op: ops.Write) -> None:
        """A server that was asleep executes a command late, under a late clock: its messages go where they belong."""
        prefix = f"{op.writer}-{op.seq}.".encode()
        if entry.clock_ms:
            put_back(self.texts, prefix, entry.clock_ms)
            self.transcript.reverse()
            put_back(self.transcript, prefix, entry.clock_ms)
            self.transcript.reverse()

    def _touch(self, entry: Entry) -> None:
        at = self.at
        self.set(
            activity_ms=max(at.activity_ms, entry.at_ms),
            clock_ms=max(at.clock_ms, entry.clock_ms, entry.at_ms),
            expire_ms=max(at.expire_ms, entry.expire_ms),
            seen_end_ms=max(at.seen_end_ms, entry.at_ms + SEEN_MS, entry.expire_ms),
        )

    def _begin(self, entry: Entry, *, with_message: bool) -> None:
        at = self.at
        if at.session_id:
            self.set(created_ms=min(at.created_ms, entry.at_ms))
            return
        self._take(
            ops.State(
                session_id=entry.operation.session_id, created_ms=entry.at_ms, n=at.n, settled=at.n, fence=at.fence,
                metadata=wire.first_metadata(with_message=with_message), context=wire.first_context(entry.at_ms),
                seen_end_ms=at.seen_end_ms, arrivals=tuple(self.arrivals.values()),
            )
        )  # fmt: skip

    def insert(self, text: bytes, tokens: int, transcript: int = 0) -> bool:
        """Put a message where its key belongs; return whether it was not there yet."""
        if name_of(text) in self.names:
            return False
        self.names.add(name_of(text))
        put(self.texts, text)
        if transcript > 0:
            self.put_line(text, transcript)
        at = self.at
        self.set(count=at.count + 1, tokens=at.tokens + tokens, token_est=at.token_est + tokens)
        return True

    def put_line(self, text: bytes, most: int) -> None:
        """Put a message into the transcript, which keeps the newest ``most``."""
        self.transcript.reverse()
        put(self.transcript, text)
        self.transcript = self.transcript[::-1][:most]

    def take_lines(self, lines: Sequence[bytes]) -> None:
        """Put the messages of another transcript into this one, where they belong; the next message trims it."""
        known = {name_of(line) for line in self.transcript}
        for line in reversed(lines):
            if order_of(line) is not None and name_of(line) not in known:
                self.put_line(line, len(self.transcript) + 1)

    def take_arrival(self, record: ops.Arrival) -> None:
        """Remember an id that was accepted elsewhere, under the next number here."""
        self.set(n=self.at.n + 1)
        self._remember(msgspec.structs.replace(record, n=self.at.n, token=0))

    def _wins(self, name: str, entry: Entry) -> bool:
        return entry.stamp > self.stamps.get(name, "")

    def accept(self, entry: Entry, op: ops.Receive | ops.Open) -> str | None:
        """Accept a message, if there is one and it was not accepted before."""
        draft = op.draft
        if draft is None or (draft.digest in self.arrivals and self.at.session_id):
            if draft is not None:
                self._move_up(entry, op, draft)
            self._note_lease(entry)
            return None
        created = not self.at.session_id
        self._begin(entry, with_message=True)
        n = max(self.at.n + 1, entry.arrival)
        self.set(n=n)
        self._remember(ops.Arrival(n, draft.digest, "w", 0, 0, "", entry.at_ms))
        key = wire.sort_key(entry.clock_ms, op.writer, op.seq, 0)
        self.insert(wire.item(key, n, entry.stamp_ms, draft.body), draft.tokens, op.transcript)
        self.settle_watermark()
        self._note_lease(entry)
        return f"accepted,0,{n},0,{int(created)},{n},{entry.clock_ms},{entry.stamp_ms},0"

    def _move_up(self, entry: Entry, op: ops.Receive | ops.Open, draft: ops.Draft) -> None:
        """A message that two hosts accepted stands where the earlier one put it, whoever is replayed first."""
        key = wire.sort_key(entry.clock_ms, op.writer, op.seq, 0)
        given = wire.decode_message(b'{"k":"%b",%b' % (key.encode(), draft.body))
        for place, text in enumerate(self.texts):
            stored = wire.decode_message(text)
            if given is None or stored is None or stored.id != given.id:
                continue
            moved = reheaded(text, key.encode(), stored.arrival, stored.timestamp_ms)
            before, after = order_of(text), order_of(moved)
            if before is not None and after is not None and before > after:
                del self.texts[place]
                self.names.add(name_of(moved))
                put(self.texts, moved)
            return

    def _remember(self, arrival: ops.Arrival) -> None:
        """Remember an id; one that is pushed out of the ring waits no more: what was acknowledged is stored, whatever waits."""
        self.arrivals[arrival.digest] = arrival
        for digest in [one.digest for one in self.arrivals.values() if one.n <= arrival.n - ops.RING]:
            del self.arrivals[digest]

    def _waiting(self) -> list[ops.Arrival]:
        return sorted((one for one in self.arrivals.values() if one.state == "w" and one.n > self.at.settled), key=_by_n)

    def settle_watermark(self) -> None:
        """Everything before the oldest message that waits is settled."""
        waiting = self._waiting()
        self.set(settled=waiting[0].n - 1 if waiting else self.at.n)

    def _note_lease(self, entry: Entry) -> None:
        """Take over the lease of a turn that is open now, with what it answers."""
        if not entry.lease or not self.at.session_id:
            return
        token = int(entry.lease.rpartition("|")[2])
        mine = [one for one in self._waiting() if entry.cut is None or one.n <= entry.cut]
        if token < self.at.fence or not mine:
            return  # a later turn was opened meanwhile, or this one is over
        self.set(lease=entry.lease, lease_end_ms=entry.lease_end_ms, fence=max(self.at.fence, token))
        for one in mine:
            if one.token != token:
                self.arrivals[one.digest] = msgspec.structs.replace(one, token=token, attempt=one.attempt + 1)

    def reply(self, entry: Entry, op: ops.Reply) -> str | None:
        """Store an answer, whoever holds the lease by now, and settle what it answered if nobody else did."""
        if any(one.answer == op.owner for one in self.arrivals.values()):
            return None
        changes = self._changes(entry, op)
        self._begin(entry, with_message=True)
        answered = self._settle(entry, op.outcome, op.owner)
        n = max([one.n for one in answered], default=self.at.settled)
        head = b'"late":true,' if entry.late else b""
        for index, draft in enumerate(op.drafts):
            text = wire.item(wire.sort_key(entry.clock_ms, op.writer, op.seq, index), n, entry.at_ms, head + draft.body)
            if self.insert(text, draft.tokens, op.transcript) and op.first_unsent and index >= op.first_unsent - 1:
                self.unsent[f"{op.owner}.{index}"] = text
        if self._apply(entry, op.focus, changes):
            self.set(rev=self.at.rev + 1)
        self._give_back(entry, op)
        self.settle_watermark()
        return f"released,{entry.clock_ms},{n},0,{entry.at_ms}"

    def _give_back(self, entry: Entry, op: ops.Reply) -> None:
        """Release the lease of the turn that was answered, or keep it for newer messages."""
        if self.at.lease.startswith(f"{op.owner_id}|"):
            self.set(lease=entry.lease, lease_end_ms=entry.lease_end_ms)

    def _settle(self, entry: Entry, state: Any, answer: str) -> list[ops.Arrival]:
        """Mark what was answered, if nobody else did; return the records it was about."""
        meant = [one for digest in entry.settles if (one := self.arrivals.get(digest))]
        if entry.cut is not None:
            meant = [one for one in self._waiting() if one.n <= entry.cut]
        for one in meant:
            if one.state == "w":
                self.arrivals[one.digest] = msgspec.structs.replace(one, state=state, answer=answer, token=0)
        return meant

    def append(self, entry: Entry, op: ops.Append) -> str | None:
        """Append a message, unless its id is known."""
        draft = op.draft
        if draft.digest and draft.digest in self.arrivals and self.at.session_id:
            return None
        self._begin(entry, with_message=True)
        self._settle(entry, "a", op.owner)
        if draft.digest:
            self.set(n=self.at.n + 1)
            self._remember(ops.Arrival(self.at.n, draft.digest, "s", 0, 0, "", entry.at_ms))
        n = self.at.n
        text = wire.item(wire.sort_key(entry.clock_ms, op.writer, op.seq, 0), n, entry.stamp_ms, draft.body)
        self.insert(text, draft.tokens, op.transcript)
        self.settle_watermark()
        return f"appended,{n},{entry.clock_ms},{entry.stamp_ms}"

    def update(self, entry: Entry, op: ops.Update) -> str:
        """Change fields that nobody changed later."""
        changes = self._changes(entry, op)
        self._begin(entry, with_message=False)
        self._apply(entry, op.focus, changes)
        if op.summary is not None and self._wins("summary", entry):
            self.set(summary=op.summary)
            self.stamps["summary"] = entry.stamp
        self.set(rev=self.at.rev + 1)
        return str(self.at.rev)

    def _changes(self, entry: Entry, op: ops.Update | ops.Reply) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the keys of metadata and variables that an operation sets and nobody set later."""
        metadata, variables = keys_of(op.metadata), keys_of(op.context, within="variables")
        kept = {key: value for key, value in metadata.items() if self._wins(f"m:{key}", entry)}
        inner = {key: value for key, value in variables.items() if self._wins(f"v:{key}", entry)}
        if self.at.session_id:  # what cannot be merged is refused before anything is changed
            wire.merge(self.at.metadata, kept, "metadata", max_bytes=NO_LIMIT)
            wire.merge_inner(self.at.context, "variables", inner, "variables", max_bytes=NO_LIMIT)
        return kept, inner

    def _apply(self, entry: Entry, focus: str | None, changes: tuple[dict[str, Any], dict[str, Any]]) -> bool:
        """Change what the operation changes; return whether there was anything."""
        metadata, variables = changes
        if metadata:
            self.set(metadata=wire.merge(self.at.metadata, metadata, "metadata", max_bytes=NO_LIMIT))
        if variables:
            self.set(context=wire.merge_inner(self.at.context, "variables", variables, "variables", max_bytes=NO_LIMIT))
        self.stamps |= {f"m:{key}": entry.stamp for key in metadata} | {f"v:{key}": entry.stamp for key in variables}
        if focus is not None and self._wins("focus", entry):
            self.set(focus=focus)
            self.stamps["focus"] = entry.stamp
        return bool(metadata or variables or focus is not None)

    def pause(self, entry: Entry, op: ops.Pause) -> str:
        """Pause or resume, unless somebody did either later."""
        self._begin(entry, with_message=False)
        if self._wins("paused", entry):
            ends = entry.at_ms + op.duration_ms if op.duration_ms else 0
            self.set(paused=op.paused, pause=b"%d|%d|%b" % (ends, entry.at_ms, op.note) if op.paused else b"")
            self.stamps["paused"] = entry.stamp
            if op.paused:
                self.set(lease="", lease_end_ms=0)
        return ""

    def amend(self, _entry: Entry, op: ops.Amend) -> str | None:
        """Replace a message's text wherever it is kept; its place and number stay."""
        found = False
        for texts in (self.texts, self.transcript):
            for place, text in enumerate(texts):
                message = wire.decode_message(text)
                if message is not None and message.id == op.message_id:
                    texts[place], found = with_head(text, op.text), True
        if op.message_id in self.unsent:
            if op.redacted:
                del self.unsent[op.message_id]
            else:
                self.unsent[op.message_id] = with_head(self.unsent[op.message_id], op.text)
        if not found:
            return None
        self.set(tokens=max(0, self.at.tokens + op.tokens_delta))
        return ""

    def mark_sent(self, _entry: Entry, op: ops.MarkSent) -> str | None:
        """Note that a reply's message was sent."""
        text = self.unsent.pop(op.message_id, None)
        if text is None:
            return None
        if op.provider_id:
            noted = text[:-1] + b',"provider_id":' + op.provider_id + b"}"
            for texts in (self.texts, self.transcript):
                texts[:] = [noted if one == text else one for one in texts]
        return ""

    def end(self, entry: Entry, _op: ops.End) -> str | None:
        """End the session that was there then; a later one is left alone. Accepted ids stay known."""
        at = self.at
        if at.created_ms > entry.at_ms:
            return None
        settled = [
            msgspec.structs.replace(one, state="s", token=0) if one.state == "w" else one for one in self.arrivals.values()
        ]
        seen_end = max(at.seen_end_ms, entry.at_ms + SEEN_MS)
        self._take(ops.State(n=at.n, settled=at.n, fence=at.fence, seen_end_ms=seen_end, arrivals=tuple(settled)))
        return ""

    def fold(self) -> None:
        """Fold the oldest messages until what waits to be folded has room again."""
        while len(self.texts) > ops.WINDOW + ops.FOLD_MAX:
            messages = [wire.decode_message(text) or _UNREADABLE for text in self.texts]
            waiting, window = messages[: -ops.WINDOW], messages[-ops.WINDOW :]
            count = foldable(waiting, settled=self.at.settled, stored=window)
            if count == 0:
                return
            tokens = sum(max(0, message.tokens) for message in waiting[:count])
            self.set(
                summary=extractive(self.at.summary, waiting[:count]),
                token_est=max(0, self.at.token_est - tokens),
                folded=self.at.folded + count,
            )
            del self.texts[:count]


_UNREADABLE = Message(text="", role="system")


def _by_n(arrival: ops.Arrival) -> int:
    return arrival.n


def _by_ms(mark: ops.Mark) -> int:
    return mark.ms


_HANDLERS: dict[type, Callable[[Any, Entry, Any], str | None]] = {
    ops.Receive: Session.accept,
    ops.Open: Session.accept,
    ops.Reply: Session.reply,
    ops.Append: Session.append,
    ops.Update: Session.update,
    ops.Pause: Session.pause,
    ops.Amend: Session.amend,
    ops.MarkSent: Session.mark_sent,
    ops.End: Session.end,
}
_BEGIN_NONE = (ops.Amend, ops.MarkSent, ops.End)
