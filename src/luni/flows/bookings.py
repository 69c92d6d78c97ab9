"""Changes and reads of agendas. No I/O."""

from __future__ import annotations

from typing import Any, NamedTuple

from luni import operations as ops
from luni.errors import Conflict, Fenced, HoldExpired, IdReused, InvalidInput, SlotTaken
from luni.flows import Flow, attempt
from luni.flows.locks import Guarantee, guaranteed
from luni.leases import HeldLocks
from luni.scope import Scope

__all__ = ["Changing", "Needs", "bookings_by", "bookings_in", "busy_in", "change", "recall", "reconcile", "resources"]

MEETINGS = 8
AT_ONCE = 200


class Needs(NamedTuple):
    """What agendas need of their memory."""

    base: Scope
    guarantee: Guarantee
    held: HeldLocks


class Changing(NamedTuple):
    """Which booking is to be changed, where it is believed to be, and under which lock."""

    tenant: str
    id: str
    shares: tuple[ops.Share, ...]
    token: int | None


def change(needs: Needs, kind: Any, changing: Changing, *, missing_ok: bool = False, **fields: Any) -> Flow:
    """Change a booking; return its record and whether too few replicas have it; ``None`` if it is missing, and may be."""
    needs.held.refuse_lost(ops.Place(changing.tenant, changing.shares[0].resource), changing.token)
    yield from guaranteed(needs.base, needs.guarantee)
    settings = needs.base.settings
    replicas = needs.guarantee.replicas(settings.wait_replicas)
    shares = changing.shares
    for _ in range(MEETINGS):
        writer, seq = needs.base.next_id()
        operation = kind(
            writer=writer, seq=seq, tenant=changing.tenant, id=changing.id, shares=shares, token=changing.token,
            guard=changing.shares[0].resource,            grace_ms=round(1000 * settings.booking_grace), replicas=replicas,
            replicas_ms=round(1000 * min(settings.replica_timeout, settings.timeout / 2)), **fields,
        )  # fmt: skip
        outcome: ops.Outcome = yield from attempt(needs.base, operation)
        if outcome.state != "elsewhere":
            break
        shares = _found_at(outcome.shares, changing.shares[0])
    else:
        raise Conflict("the booking changes faster than it can be found; nothing was stored")
    if outcome.state == "gone" and missing_ok:
        return None
    _refuse(outcome)
    return outcome.record, replicas > 0 and (outcome.replicas or 0) < replicas


def _found_at(shares: tuple[tuple[str, int], ...], own: ops.Share) -> tuple[ops.Share, ...]:
    """The booking's resources with their capacity as it was, but for the caller's own, which knows better."""
    return tuple(own if resource == own.resource else ops.Share(resource, capacity) for resource, capacity in shares)


def _refuse(outcome: ops.Outcome) -> None:
    if outcome.state == "taken":
        raise SlotTaken(f"the interval overlaps another booking of {outcome.resource!r}; nothing was stored")
    if outcome.state == "reused":
        raise IdReused("the id names another booking, or one that was cancelled; nothing was stored")
    if outcome.state == "fenced":
        raise Fenced("the resource's lock is not held with this token; nothing was stored")
    if outcome.state == "gone":
        raise HoldExpired("there is no such hold or booking: it expired, was cancelled or never was; nothing was stored")


def bookings_in(needs: Needs, tenant: str, resource: str, start_us: int, end_us: int) -> Flow:
    """Return the records of the bookings that touch an interval, by their start."""
    yield from guaranteed(needs.base, needs.guarantee)
    found: ops.Bookings = yield from attempt(
        needs.base, ops.BookingsIn(tenant=tenant, resource=resource, start_us=start_us, end_us=end_us)
    )  # fmt: skip
    if found.full:
        raise InvalidInput(f"there are more than {ops.BOOKINGS_MAX} bookings in that interval: ask for a shorter one")
    return sorted(found.records, key=_by_start)


def _by_start(record: ops.Record) -> tuple[int, int]:
    return record.start_us, record.unit


def busy_in(needs: Needs, tenant: str, share: ops.Share, start_us: int, end_us: int) -> Flow:
    """Return when each unit is busy within an interval."""
    yield from guaranteed(needs.base, needs.guarantee)
    found: ops.Busy = yield from attempt(
        needs.base,
        ops.BusyIn(tenant=tenant, resource=share.resource, capacity=share.capacity, start_us=start_us, end_us=end_us),
    )
    if found.full:
        raise InvalidInput(f"there are more than {ops.BUSY_MAX} bookings in that interval: ask for a shorter one")
    return found.units


def recall(needs: Needs, tenant: str, resource: str, ids: tuple[str, ...]) -> Flow:
    """Return the records of these ids that are not over: expired holds are as good as gone."""
    yield from guaranteed(needs.base, needs.guarantee)
    records: list[ops.Record] = []
    for begin in range(0, len(ids), AT_ONCE):
        found: ops.Bookings = yield from attempt(
            needs.base, ops.Recall(tenant=tenant, resource=resource, ids=ids[begin : begin + AT_ONCE])
        )
        records += [one for one in found.records if (one.until_ms if one.state == "h" else one.keep_ms) > found.now_ms]
    return records


def bookings_by(needs: Needs, tenant: str, by: str, limit: int) -> Flow:
    """Return the records of a customer's bookings, by their start."""
    yield from guaranteed(needs.base, needs.guarantee)
    places: ops.BookedAt = yield from attempt(needs.base, ops.BookingsBy(tenant=tenant, by=by, limit=limit))
    records: list[ops.Record] = []
    for resource in dict.fromkeys(resource for resource, _ in places.places):
        ids = tuple(one for place, one in places.places if place == resource)
        records += yield from recall(needs, tenant, resource, ids)
    return sorted((record for record in records if record.state != "x" and record.by == by), key=_by_start)


def resources(needs: Needs, tenant: str, limit: int) -> Flow:
    """Return the resources of a tenant that have bookings."""
    found: ops.ResourcesListed = yield from attempt(needs.base, ops.Resources(tenant=tenant, limit=limit))
    return list(found.resources)


def reconcile(needs: Needs, tenant: str, resource: str, forget: tuple[str, ...] = ()) -> Flow:
    """Return what looking through a resource's bookings found."""
    found: ops.Reconciled = yield from attempt(needs.base, ops.Reconcile(tenant=tenant, resource=resource, forget=forget))
    if found.full:
        raise InvalidInput(f"the resource has more than {ops.BUSY_MAX} bookings: too many for one look")
    return found
