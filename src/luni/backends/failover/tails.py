"""What the primary has acknowledged to this process since a session's last snapshot. In memory only: the primary has it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from luni import operations as ops
from luni import wire
from luni.backends.failover.entries import JOURNALED, Entry
from luni.backends.failover.merging import SEEN_MS, Session, merged
from luni.backends.failover.texts import name_of, order_of
from luni.models import Address

__all__ = ["NOTHING", "Noted", "Tail", "Tails", "caught_up", "state_of_view", "tail_of"]

MOST_SESSIONS = 20_000
MOST_OPERATIONS = 200
_NOTED = frozenset((*JOURNALED, ops.Load, ops.Lease, ops.Release, ops.Gather))
_STATES = ("accepted", "open", "joined", "paused")


class Noted(NamedTuple):
    """An operation, its result, and when the result came: on the local monotonic clock, and on the primary's.

    Of a renewal each turn's lease is noted, with whether it is still held.
    """

    operation: Any
    result: Any
    at: float
    server_ms: int


class Tail(NamedTuple):
    """What the primary has acknowledged of a session, as entries: before its latest view, that view, and from there on.

    ``lease`` is what a turn holds (``owner|token``) and until when (ms; 0: no longer), if that was told later than by an entry.
    """

    before: tuple[Entry, ...] = ()
    view: ops.State | None = None
    after: tuple[Entry, ...] = ()
    lease: tuple[str, int] | None = None


NOTHING = Tail()


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
        """Return sessions whose oldest note is from before then."""
        with self._lock:
            return [address for address, noted in self._noted.items() if noted[0].at <= before][:limit]

    def forget(self, address: Address, kept: Sequence[Noted]) -> None:
        """Let go of these notes: the mirror has them."""
        gone = {id(one) for one in kept}
        with self._lock:
            left = [one for one in self._noted.pop(address, ()) if id(one) not in gone]
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


def tail_of(noted: Sequence[Noted]) -> Tail:
    """Return what was noted of a session as what can be merged into it."""
    before: list[Entry] = []
    after: list[Entry] = []
    shown: ops.State | None = None
    lease: tuple[str, int] | None = None
    for one in noted:
        view = _view(one)
        if view is not None:
            before, after, shown = before + after, [], view
        entry = _entry(one.operation, one.result, one.server_ms)
        if entry is not None:
            after.append(entry)
        lease = _lease(one, lease)
    return Tail(tuple(before), shown, tuple(after), lease)


def _view(noted: Noted) -> ops.State | None:
    """Return the whole session, if the result shows it."""
    operation, result = noted.operation, noted.result
    view = result.view if isinstance(result, ops.Opened | ops.Gathered | ops.Replied) else None
    if view is None or isinstance(operation, ops.Receive) or result.state not in (*_STATES, "kept"):
        return None
    return state_of_view(view, operation)


def _lease(noted: Noted, former: tuple[str, int] | None) -> tuple[str, int] | None:
    """Return what is known of the session's lease after this."""
    operation, result = noted.operation, noted.result
    if isinstance(operation, ops.Open | ops.Reply | ops.Pause | ops.End):
        return None  # its entry tells
    if not isinstance(operation, ops.Lease | ops.Release | ops.Gather):
        return former
    held = result.state != "lost" if isinstance(result, ops.Gathered) else result and isinstance(operation, ops.Lease)
    longer = operation.lease_ms if isinstance(operation, ops.Lease | ops.Gather) else 0
    until = noted.server_ms + longer + (result.gather_ms if isinstance(result, ops.Gathered) else 0)
    return (f"{operation.owner_id}|{operation.token}", until if held else 0)


def caught_up(state: ops.State, tail: Tail, missing: Sequence[Entry], now_ms: int, *, alone: bool) -> ops.State:
    """Return what a session of the mirror becomes with what the primary has acknowledged since, and what is ``missing`` here.

    ``alone``: nothing of it waits in the journal, so the primary's view has everything.
    """
    shown = tail.view
    if shown is not None:
        newer = shown.n >= state.n and shown.activity_ms > state.activity_ms
        state, _ = merged(state, tail.before, now_ms)
        if alone and state.session_id != shown.session_id:
            state = msgspec.structs.replace(shown, arrivals=_together(state, shown))
        elif alone and newer:
            state = _laid_over(state, shown)
    state, _ = merged(state, (*tail.after, *missing), now_ms)
    if tail.lease is None or state.lease != tail.lease[0]:
        return state
    until = tail.lease[1] and max(state.lease_end_ms, tail.lease[1])
    return msgspec.structs.replace(state, lease=state.lease if until else "", lease_end_ms=until)


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
    ttl_ms = operation.ttl_ms if isinstance(operation, ops.Write) else 0
    mark = (ops.Mark(operation.writer, operation.seq, view.activity_ms, ""),) if isinstance(operation, ops.Write) else ()
    return ops.State(
        session_id=view.session_id, created_ms=view.created_ms, activity_ms=view.activity_ms, clock_ms=view.activity_ms,
        expire_ms=view.activity_ms + ttl_ms, seen_end_ms=view.activity_ms + max(SEEN_MS, ttl_ms),
        metadata=view.metadata, context=view.context, summary=view.summary, focus=view.focus, paused=view.paused,
        pause=view.pause, token_est=view.token_est, n=view.n, settled=view.settled, count=view.count, tokens=view.tokens,
        folded=view.folded, rev=view.rev, window=view.window, waiting=view.waiting, arrivals=tuple(arrivals.values()),
        marks=mark,
    )  # fmt: skip
