"""The agenda of a resource: times, checks, free intervals, and the flow of each call. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import msgspec

from luni import drafts, flows, wire
from luni import operations as ops
from luni.backends.keys import part
from luni.errors import InvalidInput
from luni.flows import bookings as booking_flows
from luni.flows.bookings import Changing
from luni.models import Booking, BookingState, Interval

__all__ = ["AgendaBase", "booking_of", "free_intervals", "microseconds", "moment"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LATEST_US = 7_258_118_400_000_000  # the year 2200: below 2**53, so that Lua's numbers are exact
LONGEST_US = 366 * 86_400 * 1_000_000
MIN_HOLD_MS, MAX_HOLD_MS = 50, 7 * 24 * 3600 * 1000
MAX_SLOTS = 10_000
MICROSECOND = timedelta(microseconds=1)


def microseconds(value: object, name: str) -> int:
    """Return a time as microseconds since the epoch; raise `InvalidInput` for a naive one, or one the clocks pass over."""
    if not isinstance(value, datetime) or value.tzinfo is None or value.utcoffset() is None:
        raise InvalidInput(f"{name} must be a datetime with a time zone: a naive one is another instant on every host")
    try:
        utc = value.astimezone(UTC)
        back = utc.astimezone(value.tzinfo)
    except (OverflowError, ValueError):
        raise InvalidInput(f"{name} is out of range: allowed are the years 1970 to 2199") from None
    if back.replace(tzinfo=None) != value.replace(tzinfo=None):
        raise InvalidInput(f"{name} does not exist in its time zone: the clocks go forward over it")
    found = (utc - EPOCH) // MICROSECOND
    if not 0 <= found < LATEST_US:
        raise InvalidInput(f"{name} is out of range: allowed are the years 1970 to 2199")
    return found


def moment(us: int) -> datetime:
    """Return microseconds since the epoch as a time in UTC."""
    return EPOCH + us * MICROSECOND


def interval(start: object, end: object, *, longest_us: int | None = LONGEST_US) -> tuple[int, int]:
    """Return ``[start, end)`` in microseconds; raise `InvalidInput` if it is empty or too long."""
    found = microseconds(start, "start"), microseconds(end, "end")
    if found[0] >= found[1]:
        raise InvalidInput("end must be after start")
    if longest_us is not None and found[1] - found[0] > longest_us:
        raise InvalidInput("a booking may take 366 days at the most")
    return found


def seconds_of(value: object) -> object:
    """Return a duration as seconds, if it is one."""
    return value.total_seconds() if isinstance(value, timedelta) else value


def free_intervals(
    units: Sequence[Sequence[tuple[int, int]]], start_us: int, end_us: int, duration_us: int
) -> list[tuple[int, int]]:
    """Return the longest intervals of at least ``duration_us`` in which a unit is free, by their start; none within another.

    ``units`` are the busy intervals of each, in order and disjoint.
    """
    gaps: set[tuple[int, int]] = set()
    for busy in units:
        begin = start_us
        for taken_from, taken_until in (*busy, (end_us, end_us)):
            if taken_from - begin >= duration_us:
                gaps.add((begin, min(taken_from, end_us)))
            begin = max(begin, taken_until)
    found: list[tuple[int, int]] = []
    for gap in sorted(gaps, key=lambda gap: (gap[0], -gap[1])):
        if not found or gap[1] > found[-1][1]:
            found.append(gap)
    return found


def booking_of(tenant: str, record: ops.Record, *, pending: bool = False) -> Booking:
    """Return what is stored as what users get."""
    states: dict[str, BookingState] = {"h": "held", "c": "confirmed", "x": "cancelled"}
    return Booking(
        id=record.id,
        tenant=tenant,
        resource=record.shares[0][0],
        resources=tuple(resource for resource, _ in record.shares),
        capacities=tuple(capacity for _, capacity in record.shares),
        start=moment(record.start_us),
        end=moment(record.end_us),
        by=record.by,
        state="pending" if pending else states[record.state],
        expires=moment(1000 * record.until_ms) if record.state == "h" else None,
        unit=record.unit,
        details=msgspec.json.decode(record.details) if record.details else None,
        created=moment(1000 * record.created_ms),
    )


class AgendaBase:
    """What the synchronous and the asynchronous agenda share."""

    def __init__(self, needs: booking_flows.Needs, tenant: str, resource: str, capacity: object) -> None:
        part(tenant, "tenant")
        part(resource, "resource")
        if isinstance(capacity, bool) or not isinstance(capacity, int) or not 1 <= capacity <= ops.CAPACITY_MAX:
            raise InvalidInput(f"capacity must be a whole number from 1 to {ops.CAPACITY_MAX}")
        self._needs, self._tenant = needs, tenant
        self._share = ops.Share(resource, capacity)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.resource!r}>"

    @property
    def tenant(self) -> str:
        """Whose agenda it is."""
        return self._tenant

    @property
    def resource(self) -> str:
        """Whose time is booked: a professional, a room, a chair."""
        return self._share.resource

    @property
    def capacity(self) -> int:
        """How many bookings it can take at a time."""
        return self._share.capacity

    def _shares(self, also: Iterable[Self | str]) -> tuple[ops.Share, ...]:
        shares = [self._share]
        for other in drafts.several(also, "also"):
            if isinstance(other, AgendaBase):
                if other.tenant != self.tenant:
                    raise InvalidInput("the resources of one booking belong to one tenant")
                shares.append(other._share)  # noqa: SLF001  it is one of ours
            else:
                part(other, "a resource in also")
                shares.append(ops.Share(other))
        if len({share.resource for share in shares}) < len(shares):
            raise InvalidInput("a resource can be in a booking once")
        if len(shares) > ops.RESOURCES_MAX:
            raise InvalidInput(f"a booking may take {ops.RESOURCES_MAX} resources at the most")
        return tuple(shares)

    def _changing(self, id: object, token: object, shares: tuple[ops.Share, ...] | None = None) -> Changing:
        part(id, "id")
        assert isinstance(id, str)  # noqa: S101  `part` has looked
        return Changing(self._tenant, id, shares or (self._share,), drafts.checked_token(token))

    def _hold_flow(
        self, start: object, end: object, by: str, ttl: object, id: str | None, also: Any, details: object, token: object
    ) -> flows.Flow:  # fmt: skip
        start_us, end_us = interval(start, end)
        part(by, "by")
        noted = b""
        if details is not None:
            if not isinstance(details, dict):
                raise InvalidInput("details must be a dict")
            noted = wire.dump(details, "details", max_bytes=self._needs.base.settings.max_json_bytes)
        hold_ms = drafts.milliseconds(seconds_of(ttl), "ttl", low=MIN_HOLD_MS, high=MAX_HOLD_MS)
        changing = self._changing(wire.new_id() if id is None else id, token, self._shares(also))
        flow = booking_flows.change(
            self._needs, ops.Hold, changing, start_us=start_us, end_us=end_us, hold_ms=hold_ms, by=by, details=noted
        )  # fmt: skip
        return self._as_booking(flow)

    def _confirm_flow(self, id: str, token: object) -> flows.Flow:
        return self._as_booking(booking_flows.change(self._needs, ops.Confirm, self._changing(id, token)))

    def _cancel_flow(self, id: str, token: object) -> flows.Flow:
        return self._as_booking(booking_flows.change(self._needs, ops.Cancel, self._changing(id, token), missing_ok=True))

    def _move_flow(self, id: str, start: object, end: object, token: object) -> flows.Flow:
        start_us, end_us = interval(start, end)
        return self._as_booking(
            booking_flows.change(self._needs, ops.Move, self._changing(id, token), start_us=start_us, end_us=end_us)
        )  # fmt: skip

    def _as_booking(self, flow: flows.Flow) -> flows.Flow:
        found = yield from flow
        return None if found is None else booking_of(self._tenant, found[0], pending=found[1])

    def _booking_flow(self, id: str) -> flows.Flow:
        part(id, "id")
        found = yield from booking_flows.recall(self._needs, self._tenant, self.resource, (id,))
        return booking_of(self._tenant, found[0]) if found else None

    def _bookings_flow(self, start: object, end: object) -> flows.Flow:
        start_us, end_us = interval(start, end, longest_us=None)
        return self._listed_flow(start_us, end_us)

    def _listed_flow(self, start_us: int, end_us: int) -> flows.Flow:
        records = yield from booking_flows.bookings_in(self._needs, self._tenant, self.resource, start_us, end_us)
        return [booking_of(self._tenant, record) for record in records]

    def _free_flow(self, start: object, end: object, duration: object, step: object) -> flows.Flow:
        start_us, end_us = interval(start, end, longest_us=None)
        duration_us = 1000 * drafts.milliseconds(seconds_of(duration), "duration", low=1, high=LONGEST_US // 1000)
        step_us = 0
        if step is not None:
            step_us = 1000 * drafts.milliseconds(seconds_of(step), "step", low=1000, high=LONGEST_US // 1000)
        return self._gaps_flow(start_us, end_us, duration_us, step_us)

    def _gaps_flow(self, start_us: int, end_us: int, duration_us: int, step_us: int) -> flows.Flow:
        units = yield from booking_flows.busy_in(self._needs, self._tenant, self._share, start_us, end_us)
        gaps = free_intervals(units, start_us, end_us, duration_us)
        if step_us:
            if sum((end - begin) // step_us for begin, end in gaps) > MAX_SLOTS:
                raise InvalidInput(f"there are more than {MAX_SLOTS} such intervals: ask for a shorter time, or a longer step")
            gaps = _slots(gaps, start_us, duration_us, step_us)
        return [Interval(moment(begin), moment(end)) for begin, end in gaps]


def _slots(gaps: Sequence[tuple[int, int]], start_us: int, duration_us: int, step_us: int) -> list[tuple[int, int]]:
    """Return what can be booked: each interval of the duration that begins a whole number of steps after the start."""
    found: set[tuple[int, int]] = set()
    for begin, end in gaps:
        first = start_us + -(-(begin - start_us) // step_us) * step_us
        found.update((at, at + duration_us) for at in range(first, end - duration_us + 1, step_us))
    return sorted(found)
