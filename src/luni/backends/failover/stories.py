"""What a session of the mirror becomes with what the primary has acknowledged to this process since. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from luni import operations as ops
from luni import wire
from luni.backends.failover.entries import Entry
from luni.backends.failover.merging import SEEN_MS, Session, merged
from luni.backends.failover.tails import Noted
from luni.backends.failover.texts import name_of, order_of

__all__ = ["Held", "Story", "continued", "since", "state_of_view", "story_of"]

_STATES = ("accepted", "open", "joined", "paused")


class Held(NamedTuple):
    """What a turn holds (``owner|token``), and until when (ms): 0, no longer. Told at ``at_ms``."""

    lease: str
    until_ms: int
    at_ms: int


Story = Sequence[Entry | ops.State | Held]
"""In its order: operations, the whole session as the primary showed it meanwhile, and what became of a turn's lease."""


def story_of(noted: Sequence[Noted]) -> list[Entry | ops.State | Held]:
    """Return what was noted of a session as its story; of what the primary showed of it, the first and the last.

    Answers name what they settle, as far as that was noted: where the session's numbers are others, that is what counts.
    """
    story: list[Entry | ops.State | Held] = []
    waiting: dict[int, str] = {}
    met, last = "", -1
    for one in noted:
        view = _view(one)
        if view is not None and view.session_id != met:
            met, last, waiting = view.session_id, -1, {}
            story.append(view)
        elif view is not None:
            if last >= 0:
                del story[last]
            last = len(story)
            story.append(view)
        entry, operation = _entry(one.operation, one.result, one.server_ms), one.operation
        if entry is None:
            held = _held(one)
            story += [held] if held else []
            continue
        if entry.arrival and operation.draft is not None:
            waiting[entry.arrival] = operation.draft.digest
        if isinstance(operation, ops.Reply):
            settled = [n for n in waiting if n <= operation.cut]
            entry = msgspec.structs.replace(entry, settles=tuple([waiting.pop(n) for n in settled]))
        story.append(entry)
    return story


def since(story: Story, erased_ms: int) -> Story:
    """Return what was told after a person was erased."""
    return [one for one in story if (one.activity_ms if isinstance(one, ops.State) else one.at_ms) > erased_ms]


def continued(state: ops.State, story: Story, now_ms: int, *, lost: bool = False, alone: bool = True) -> ops.State:
    """Return a session after all that.

    ``alone``: nothing of it waits in the journal, so what the primary showed has everything. Where that was another session: it
    was ended and begun anew, if its numbers went on; if they did not, or the primary has ``lost`` data, it has lost this one,
    and what was said since belongs to it.
    """
    entries: list[Entry] = []
    foreign = False
    for one in story:
        if isinstance(one, Entry):
            entries.append(msgspec.structs.replace(one, cut=None, arrival=0) if foreign and one.cut is not None else one)
            continue
        state, entries = merged(state, entries, now_ms)[0], []
        if isinstance(one, Held):
            state = _held_on(state, one)
            continue
        if not state.session_id or (alone and not lost and one.session_id != state.session_id and one.n > state.n):
            state = msgspec.structs.replace(one, arrivals=_together(state, one))
        elif alone and one.session_id == state.session_id and one.n >= state.n and one.activity_ms > state.activity_ms:
            state = _laid_over(state, one)
        foreign = one.session_id != state.session_id
    return merged(state, entries, now_ms)[0]


def _held_on(state: ops.State, held: Held) -> ops.State:
    if state.lease != held.lease:
        return state
    until = held.until_ms and max(state.lease_end_ms, held.until_ms)
    return msgspec.structs.replace(state, lease=state.lease if until else "", lease_end_ms=until)


def _view(noted: Noted) -> ops.State | None:
    """Return the whole session, if the result shows it."""
    operation, result = noted.operation, noted.result
    view = result.view if isinstance(result, ops.Opened | ops.Gathered | ops.Replied) else None
    if view is None or isinstance(operation, ops.Receive) or result.state not in (*_STATES, "kept"):
        return None
    return state_of_view(view, operation)


def _held(noted: Noted) -> Held | None:
    """Return what has become of a turn's lease, if that is what the operation is about."""
    operation, result = noted.operation, noted.result
    if not isinstance(operation, ops.Lease | ops.Release | ops.Gather):
        return None
    held = result.state != "lost" if isinstance(result, ops.Gathered) else result and isinstance(operation, ops.Lease)
    longer = operation.lease_ms if isinstance(operation, ops.Lease | ops.Gather) else 0
    until = noted.server_ms + longer + (result.gather_ms if isinstance(result, ops.Gathered) else 0)
    return Held(f"{operation.owner_id}|{operation.token}", until if held else 0, noted.server_ms)


def _laid_over(known: ops.State, shown: ops.State) -> ops.State:
    """Return a session that is known here with a later view laid over it: other hosts have written to it, too."""
    known_texts, first = (*known.waiting, *reversed(known.window)), next(iter((*shown.waiting, *reversed(shown.window))), b"")
    session = Session(
        msgspec.structs.replace(
            shown, clock_ms=max(known.clock_ms, shown.clock_ms), created_ms=min(known.created_ms, shown.created_ms),
            expire_ms=max(known.expire_ms, shown.expire_ms), seen_end_ms=max(known.seen_end_ms, shown.seen_end_ms),
            arrivals=_together(known, shown), fence=known.fence, lease=known.lease, lease_end_ms=known.lease_end_ms,
            transcript=known.transcript, marks=known.marks, unsent=known.unsent, stamps=known.stamps,
        )
    )  # fmt: skip
    session.marks |= {one.writer: one for one in shown.marks if one.seq > getattr(session.marks.get(one.writer), "seq", 0)}
    floor = order_of(first)
    for text in known_texts:
        order, message = order_of(text), wire.decode_message(text)
        if (
            message is not None
            and order is not None
            and (floor is None or order > floor)
            and name_of(text) not in session.names
        ):
            session.insert(text, max(0, message.tokens))
    session.take_lines(shown.transcript)
    return session.state()


def _together(known: ops.State, shown: ops.State) -> tuple[ops.Arrival, ...]:
    """Return the accepted ids of both: those of former sessions, and those of the one there is now."""
    found = {one.digest: one for one in shown.arrivals} | {one.digest: one for one in known.arrivals}
    settled = known.session_id == shown.session_id
    return tuple(
        msgspec.structs.replace(one, state="a", token=0) if settled and one.state == "w" and one.n <= shown.settled else one
        for one in sorted(found.values(), key=lambda one: one.n)
        if one.n > shown.n - ops.RING
    )


def _entry(operation: Any, result: Any, server_ms: int) -> Entry | None:
    """Return an acknowledged operation as an entry; ``None`` if it had no effect, or none that can be told."""
    if isinstance(operation, ops.Update | ops.Pause | ops.Amend | ops.MarkSent | ops.End):
        done = not (result.conflict or result.fenced) if isinstance(result, ops.Updated) else result is True
        expires = 0 if isinstance(operation, ops.MarkSent | ops.End) else server_ms + operation.ttl_ms
        return Entry(operation=operation, at_ms=server_ms, clock_ms=server_ms, expire_ms=expires) if done else None
    if isinstance(result, ops.Opened):
        return _opened(operation, result)
    if isinstance(result, ops.Replied) and result.state in {"released", "kept"}:
        kept = f"{operation.owner_id}|{operation.token}" if result.state == "kept" else ""
        return Entry(
            operation=operation, at_ms=result.now_ms, clock_ms=result.clock_ms, stamp_ms=result.now_ms, cut=operation.cut,
            expire_ms=result.now_ms + operation.ttl_ms, lease=kept, lease_end_ms=result.now_ms + operation.lease_ms,
        )  # fmt: skip
    if isinstance(result, ops.Appended) and result.state == "appended":
        return Entry(
            operation=operation, at_ms=result.now_ms, clock_ms=result.clock_ms, stamp_ms=result.timestamp_ms,
            expire_ms=result.now_ms + operation.ttl_ms, cut=result.arrival if operation.settles else None,
        )  # fmt: skip
    return None


def _opened(operation: ops.Open | ops.Receive, result: ops.Opened) -> Entry | None:
    if result.state not in _STATES:
        return None
    held = isinstance(operation, ops.Open) and result.state == "open"
    return Entry(
        operation=operation, at_ms=result.now_ms, clock_ms=result.clock_ms, stamp_ms=result.timestamp_ms,
        expire_ms=result.now_ms + operation.ttl_ms, arrival=result.arrival, cut=result.cut if held else None,
        lease=f"{operation.lease_owner}|{result.token}" if isinstance(operation, ops.Open) and held else "",
        lease_end_ms=result.now_ms + result.gather_ms + operation.lease_ms if isinstance(operation, ops.Open) else 0,
    )  # fmt: skip


def state_of_view(view: ops.View, operation: ops.Write | ops.Gather) -> ops.State:
    """Return what a view tells of a session; the ids of what it does not show are not known."""
    texts = [*view.waiting, *reversed(view.window)]
    arrivals: dict[int, ops.Arrival] = {}
    for text in texts:
        message = wire.decode_message(text)
        if message is not None and message.role == "user" and message.arrival:
            digest, waits = wire.message_digest(message.id), message.arrival > view.settled
            arrivals[message.arrival] = ops.Arrival(
                message.arrival, digest, "w" if waits else "a", 0, 0, "", message.timestamp_ms
            )  # fmt: skip
    lines = (*view.window, *reversed(view.waiting))[: getattr(operation, "transcript", 0)]
    ttl_ms = operation.ttl_ms if isinstance(operation, ops.Write) else 0
    mark = (ops.Mark(operation.writer, operation.seq, view.activity_ms, ""),) if isinstance(operation, ops.Write) else ()
    return ops.State(
        session_id=view.session_id, created_ms=view.created_ms, activity_ms=view.activity_ms, clock_ms=view.activity_ms,
        expire_ms=view.activity_ms + ttl_ms, seen_end_ms=view.activity_ms + max(SEEN_MS, ttl_ms),
        metadata=view.metadata, context=view.context, summary=view.summary, focus=view.focus, paused=view.paused,
        pause=view.pause, token_est=view.token_est, n=view.n, settled=view.settled, count=view.count, tokens=view.tokens,
        folded=view.folded, rev=view.rev, window=view.window, waiting=view.waiting, arrivals=tuple(arrivals.values()),
        marks=mark, transcript=lines,
    )  # fmt: skip
