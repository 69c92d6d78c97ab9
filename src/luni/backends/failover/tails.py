"""What the primary has acknowledged to this process since a session's last snapshot. In memory only: the primary has it."""

from __future__ import annotations

import threading
from operator import itemgetter
from typing import Any, NamedTuple

import msgspec

from luni import operations as ops
from luni import wire
from luni.backends.failover.entries import JOURNALED, Entry
from luni.backends.failover.merging import SEEN_MS
from luni.models import Address

__all__ = ["Noted", "Tails", "state_of_view", "story_of"]

MOST_SESSIONS = 20_000
MOST_OPERATIONS = 2_000
"""Of one session, since its last snapshot: the busiest come first, see `Tails.due`."""
MANY = 200
_NOTED = frozenset((*JOURNALED, ops.Load))
_STATES = ("accepted", "open", "joined", "paused")


class Noted(NamedTuple):
    """An operation, its result, and when the result came: on the local monotonic clock, and on the primary's."""

    operation: Any
    result: Any
    at: float
    server_ms: int


class Tails:
    """The operations noted of each session, the longest unheard of session first. Bounded; threads share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._noted: dict[Address, list[Noted]] = {}

    def note(self, operation: Any, result: Any, now: float, server_ms: int) -> None:
        """Remember what was acknowledged, if it changes a session."""
        if type(operation) not in _NOTED:
            return
        with self._lock:
            noted = self._noted.get(operation.address)
            if noted is None:
                noted = self._noted[operation.address] = []
                if len(self._noted) > MOST_SESSIONS:
                    del self._noted[next(iter(self._noted))]
            noted.append(Noted(operation, result, now, server_ms))
            del noted[:-MOST_OPERATIONS]

    def of(self, address: Address) -> tuple[Noted, ...]:
        """Return what was noted of a session."""
        with self._lock:
            return tuple(self._noted.get(address, ()))

    def due(self, before: float, limit: int) -> list[Address]:
        """Return sessions whose oldest note is from before then; those of which very much is noted come first."""
        with self._lock:
            due = [(len(noted) < MANY, address) for address, noted in self._noted.items() if noted[0].at <= before]
        return [address for _, address in sorted(due, key=itemgetter(0))][:limit]

    def oldest(self) -> float:
        """Return when the first of what is here was noted; infinity if nothing is."""
        with self._lock:
            return min((noted[0].at for noted in self._noted.values()), default=float("inf"))

    def forget(self, address: Address, before: float) -> None:
        """Let go of what was noted before then: a snapshot, which was read later than that, has it."""
        with self._lock:
            self._keep(address, [one for one in self._noted.pop(address, ()) if one.at >= before])

    def absorbed(self, address: Address, noted: tuple[Noted, ...]) -> None:
        """Let go of just these: they were put into the mirror, what came meanwhile was not."""
        gone = {id(one) for one in noted}
        with self._lock:
            self._keep(address, [one for one in self._noted.pop(address, ()) if id(one) not in gone])

    def _keep(self, address: Address, left: list[Noted]) -> None:
        if left:
            self._noted[address] = left

    def drop(self, tenant: str, user: str) -> None:
        """Let go of everything of a user, or without one of a tenant."""
        with self._lock:
            for address in [one for one in self._noted if one.tenant == tenant and user in {"", one.user}]:
                del self._noted[address]

    def clear(self) -> None:
        """Let go of everything."""
        with self._lock:
            self._noted.clear()

    def __len__(self) -> int:
        return len(self._noted)


def story_of(noted: tuple[Noted, ...]) -> list[ops.State | Entry]:
    """Return what was noted in its order: operations as entries, and a session as the primary showed it when it was first met.

    Answers name what they settle, as far as that was noted: where the session's numbers are others, that is what counts.
    """
    story: list[ops.State | Entry] = []
    met, waiting = "", dict[int, str]()
    for operation, result, _, server_ms in noted:
        view = result.view if isinstance(result, ops.Opened) else None
        if isinstance(operation, ops.Open) and view is not None and result.state in _STATES and view.session_id != met:
            met, waiting = view.session_id, {}
            story.append(state_of_view(view, operation))
        entry = _entry(operation, result, server_ms)
        if entry is None:
            continue
        if entry.arrival and operation.draft is not None:
            waiting[entry.arrival] = operation.draft.digest
        if isinstance(operation, ops.Reply):
            settled = [n for n in waiting if n <= operation.cut]
            entry = msgspec.structs.replace(entry, settles=tuple([waiting.pop(n) for n in settled]))
        story.append(entry)
    return story


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


def state_of_view(view: ops.View, operation: ops.Write) -> ops.State:
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
    lines = (*view.window, *reversed(view.waiting))[: operation.transcript] if isinstance(operation, ops.Open) else ()
    return ops.State(
        session_id=view.session_id, created_ms=view.created_ms, activity_ms=view.activity_ms, clock_ms=view.activity_ms,
        expire_ms=view.activity_ms + operation.ttl_ms, seen_end_ms=view.activity_ms + max(SEEN_MS, operation.ttl_ms),
        metadata=view.metadata, context=view.context, summary=view.summary, focus=view.focus, paused=view.paused,
        pause=view.pause, token_est=view.token_est, n=view.n, settled=view.settled, count=view.count, tokens=view.tokens,
        folded=view.folded, rev=view.rev, window=view.window, waiting=view.waiting, transcript=lines,
        arrivals=tuple(arrivals.values()),
        marks=(ops.Mark(operation.writer, operation.seq, view.activity_ms, ""),),
    )  # fmt: skip
