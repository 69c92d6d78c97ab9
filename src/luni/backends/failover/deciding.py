"""Where an operation goes, and how the journal catches up: flows, generators that do no I/O.

They yield `Ask` (execute it on the primary) and `Locally` (on this host), are sent the result or thrown the error, and return
what the caller gets. The two shells drive them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from typing import Any, Protocol

import msgspec

from luni import operations as ops
from luni import wire
from luni.backends.failover.entries import Entry
from luni.backends.failover.merging import Outcome, merged
from luni.errors import BackendError, Degraded, Indeterminate, Unavailable
from luni.models import Address

__all__ = ["Ask", "Judge", "Locally", "catching_up", "executing"]

MEETINGS = 20
_CLOSED = (
    "the server has lost data that it had acknowledged, and bookings may be among it: nothing is booked until somebody has "
    "looked and said so: luni bookings reconcile"
)

_ANOTHER = (
    "the server is another one than a moment ago, and may have lost bookings: nothing is booked until that was looked at, "
    "which takes a few seconds"
)


class Ask(msgspec.Struct, frozen=True):
    """Execute this operation on the primary."""

    operation: ops.Operation


class Locally(msgspec.Struct, frozen=True):
    """Execute this operation on what this host has, and journal it."""

    operation: ops.Operation


Step = Generator[Ask | Locally, Any, Any]


class Judge(Protocol):
    """What the flows need to know, and tell."""

    def away(self) -> bool:
        """Whether the primary is not to be asked now."""

    def waits(self, address: Address) -> bool:
        """Whether something of this session is still to be replayed."""

    def holds(self, lease: ops.Lease) -> bool:
        """Whether this turn was opened on this host while the primary was away."""

    def failed(self, error: BackendError, seconds: float) -> bool:
        """Take note of a failure; return whether another attempt makes sense."""

    def bookings_closed(self) -> bool:
        """Whether the primary has lost data, and nobody has looked at the bookings yet."""

    def expects(self, met: ops.Acquainted) -> bool:
        """Whether this is the primary that was looked at, and not one that may have lost data since."""

    def dead_letters(self, address: Address) -> int:
        """How many operations of this session the primary has refused for good."""

    def noted(self, operation: ops.Operation, result: Any) -> None:
        """Take note of an answer."""


def executing(judge: Judge, operation: ops.Operation, monotonic: Callable[[], float] = time.monotonic) -> Step:
    """Execute an operation on the primary; on this host if it is away, or if something of the session waits to reach it.

    What shows a session says how many of its operations the primary has refused for good.
    """
    result = yield from _executing(judge, operation, monotonic)
    return _flagged(judge, operation, result)


def _flagged(judge: Judge, operation: ops.Operation, result: Any) -> Any:
    if isinstance(operation, ops.Inspect) and isinstance(result, ops.Inspected):
        numbers = [judge.dead_letters(address) for address in operation.addresses]
        if not any(numbers):
            return result
        views = tuple(view and _with(view, number) for view, number in zip(result.views, numbers, strict=True))
        return msgspec.structs.replace(result, views=views)
    view = getattr(result, "view", None)
    if not isinstance(view, ops.View) or not isinstance(operation, ops.OnSession):
        return result
    number = judge.dead_letters(operation.address)
    return msgspec.structs.replace(result, view=_with(view, number)) if number else result


def _with(view: ops.View, number: int) -> ops.View:
    return msgspec.structs.replace(view, dead_letters=number)


def _executing(judge: Judge, operation: ops.Operation, monotonic: Callable[[], float]) -> Step:
    if isinstance(operation, ops.Renew):
        return (yield from _renewing(judge, operation))
    if isinstance(operation, ops.Erase):
        return (yield Ask(operation))  # the keeper erases what is here
    if isinstance(operation, ops.OnSession) and judge.waits(operation.address):
        return (yield from _locally(operation))
    if isinstance(operation, ops.Change) and judge.bookings_closed():
        raise Degraded(_CLOSED)
    error: BackendError | None = None
    while not judge.away():
        began = monotonic()
        try:
            expected = not isinstance(operation, ops.Change) or judge.expects((yield Ask(ops.Acquaint(proposed=wire.new_id()))))
            result = (yield Ask(operation)) if expected else None
        except (Unavailable, Indeterminate) as failure:
            first, error = error is None, _graver(failure, error)
            if not judge.failed(failure, monotonic() - began) or not first:
                break
        else:
            if not expected:
                raise error if isinstance(error, Indeterminate) else Degraded(_ANOTHER)
            judge.noted(operation, result)
            return result
    return (yield from _locally(operation, error))


def _graver(failure: BackendError, former: BackendError | None) -> BackendError:
    """What may have happened stays that, whatever a later attempt met."""
    return former if isinstance(former, Indeterminate) else failure


def _locally(operation: ops.Operation, error: BackendError | None = None) -> Step:
    outage = getattr(operation, "outage", "answer")
    if outage == "refuse":
        if isinstance(error, Indeterminate):
            raise error  # it may have happened: that is not a refusal
        raise Degraded("the server is away, and the policy is to refuse messages then; nothing was stored")
    if outage == "accept" and isinstance(operation, ops.Open):
        return (yield from _accepting(operation))
    try:
        return (yield Locally(operation))
    except (Degraded, Unavailable):
        if isinstance(error, Indeterminate) and not isinstance(operation, ops.Read | ops.Dump):
            raise error from None  # it may have happened: that is not a refusal
        raise


def _accepting(operation: ops.Open) -> Step:
    """Store the message and stay silent: it is answered when the primary is back."""
    if operation.draft is None:
        return ops.Opened("idle", degraded=True)
    result = yield Locally(
        ops.Receive(
            address=operation.address, writer=operation.writer, seq=operation.seq, session_id=operation.session_id,
            ttl_ms=operation.ttl_ms, draft=operation.draft, fresh=operation.fresh, transcript=operation.transcript,
        )
    )  # fmt: skip
    waits = isinstance(result, ops.Opened) and result.view is not None and result.arrival > result.view.settled
    if waits and result.state == "duplicate":
        return msgspec.structs.replace(result, state="accepted")
    return result


def _renewing(judge: Judge, operation: ops.Renew) -> Step:
    """A turn opened on this host is renewed here; one the primary gave is renewed there, or nobody can tell."""
    here = [isinstance(one, ops.Lease) and judge.holds(one) for one in operation.leases]
    mine = tuple(one for one, is_mine in zip(operation.leases, here, strict=True) if is_mine)
    others = tuple(one for one, is_mine in zip(operation.leases, here, strict=True) if not is_mine)
    renewed = iter((yield Locally(ops.Renew(leases=mine))).held if mine else ())
    told: Any = iter(())
    if others:
        told = iter((yield from _asked_to_renew(judge, ops.Renew(leases=others))))
    return ops.Renewed(tuple(next(renewed if is_mine else told) for is_mine in here))


def _asked_to_renew(judge: Judge, operation: ops.Renew) -> Step:
    if not judge.away():
        try:
            result = yield Ask(operation)
        except (Unavailable, Indeterminate) as error:
            judge.failed(error, 0.0)
        else:
            judge.noted(operation, result)
            return result.held
    return (None,) * len(operation.leases)


def catching_up(address: Address, entries: Sequence[Entry], erased_ms: int = 0) -> Step:
    """Merge a session's entries into what the primary has; return what it has then, and what became of each entry.

    Nothing is lost or doubled if it stops anywhere and begins again: what was written carries its marks. What is of before an
    erasure, here (``erased_ms``) or there, is left out; one that comes meanwhile is looked for at the end.
    """
    for _ in range(MEETINGS):
        gone_ms = max(erased_ms, (yield Ask(ops.Tombstones(tenant=address.tenant, user=address.user))).ms)
        dumped: ops.Dumped = yield Ask(ops.Dump(address=address))
        former = dumped.state
        state, found = merged(former, [one for one in entries if one.at_ms > gone_ms], dumped.now_ms)
        outcomes = _with_erased(entries, found, gone_ms)
        if state == former:
            return former, outcomes
        if not state.session_id:
            if former.session_id:
                yield Ask(ops.End(address=address, session_id=former.session_id))
            return state, outcomes
        other = former.session_id if former.session_id != state.session_id else ""
        if (yield Ask(ops.Restore(address=address, state=state, version=dumped.version, former=other))):
            meanwhile = (yield Ask(ops.Tombstones(tenant=address.tenant, user=address.user))).ms
            if meanwhile <= gone_ms:
                return state, outcomes
            yield from _erasing_again(address, state.session_id, meanwhile)
    raise Unavailable("others change the session faster than it can be caught up with")


def _with_erased(entries: Sequence[Entry], found: Sequence[Outcome], gone_ms: int) -> tuple[Outcome, ...]:
    told = iter(found)
    return tuple("erased" if one.at_ms <= gone_ms else next(told) for one in entries)


def _erasing_again(address: Address, session_id: str, before_ms: int) -> Step:
    """Somebody was erased while this was written back: it goes again."""
    for _ in range(MEETINGS):
        found = yield Ask(ops.Erase(address=address, session_id=session_id, before_ms=before_ms, fresh_id=wire.new_id()))
        if not isinstance(found, ops.Met):
            return
        session_id = found.session_id
