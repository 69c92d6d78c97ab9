"""What `luni bookings` runs: reading, adding, cancelling, and putting an agenda in order after an accident."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
import tzlocal

from luni.agenda import LATEST_US, microseconds, moment
from luni.client import Memory
from luni.errors import IdReused, InvalidInput, SlotTaken
from luni.flows import bookings as booking_flows
from luni.models import Booking
from luni.ops.store import NotFound

__all__ = ["Reconciliation", "add", "between", "cancel", "moment_of", "reconcile", "zone_of"]

MAX_DAYS = 366
FIRST_YEAR, LAST_YEAR = 1970, 2199
HOLD_SECONDS = 60.0


class Mended(msgspec.Struct, frozen=True):
    """What looking through one resource's bookings found."""

    resource: str
    bookings: int
    missing: int
    orphans: int
    overlaps: list[tuple[str, str]]
    damaged: list[str]
    halves: list[str] = []
    """Bookings that another of their resources has lost."""


class Reconciliation(msgspec.Struct, frozen=True):
    """What was found, resource by resource, and what became of the bookings of a file: there, restored, in conflict."""

    resources: list[Mended]
    there: int = 0
    restored: int = 0
    conflicts: list[str] = []

    @property
    def well(self) -> bool:
        """Whether nothing is left that a person has to decide."""
        return not self.conflicts and not any(one.overlaps or one.damaged or one.halves for one in self.resources)


def zone_of(name: str | None) -> tzinfo:
    """Return a time zone by its name, this machine's for ``None``; raise `InvalidInput`."""
    try:
        return tzlocal.get_localzone() if name is None else ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidInput(f"{name or 'this machine'!r} names no time zone; give --zone, as in America/Sao_Paulo") from None


def moment_of(text: str, zone: tzinfo, name: str) -> datetime:
    """Return a time given as ``2031-05-06T10:00``, in ``zone`` unless it has an offset of its own; raise `InvalidInput`."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput(f"{name}: {text!r} is no time; write 2031-05-06T10:00") from None
    found = found.replace(tzinfo=zone) if found.tzinfo is None else found
    return moment(microseconds(found, name))


def day_of(text: str | None, zone: tzinfo) -> date:
    """Return a day given as ``2031-05-06``, today for ``None``; raise `InvalidInput`."""
    if text is None:
        return datetime.now(zone).date()
    try:
        found = date.fromisoformat(text)
    except ValueError:
        raise InvalidInput(f"--from: {text!r} is no day; write 2031-05-06") from None
    if not FIRST_YEAR <= found.year < LAST_YEAR:
        raise InvalidInput(f"--from: allowed are the years {FIRST_YEAR} to {LAST_YEAR - 1}")
    return found


def midnight(day: date, zone: tzinfo) -> datetime:
    """Return when a day begins; where the clocks go forward at midnight, when they have."""
    begin = datetime.combine(day, time(), tzinfo=zone)
    return begin.astimezone(UTC).astimezone(zone)


def between(memory: Memory, tenant: str, resources: Sequence[str], first: date, days: int, zone: tzinfo) -> list[Booking]:
    """Return the bookings of so many days, of these resources or of all, each once, by their start."""
    if not 1 <= days <= MAX_DAYS:
        raise InvalidInput(f"--days must be from 1 to {MAX_DAYS}")
    start, end = midnight(first, zone), midnight(first + timedelta(days=days), zone)
    found: dict[tuple[str, str], Booking] = {}
    for resource in resources or memory.resources(tenant):
        for one in memory.agenda(tenant, resource).bookings(start, end):
            found[(one.resource, one.id)] = one
    return sorted(found.values(), key=lambda one: (one.start, one.resource, one.unit))


def add(
    memory: Memory, tenant: str, resource: str, start: datetime, end: datetime, *, by: str, also: Iterable[str], capacity: int,
    id_: str | None, note: str | None,
) -> Booking:  # fmt: skip
    """Hold and confirm; a hold that could not be confirmed ends after a minute."""
    agenda = memory.agenda(tenant, resource, capacity=capacity)
    details = {"note": note} if note else None
    held = agenda.hold(start, end, by=by, ttl=HOLD_SECONDS, id=id_, also=list(also), details=details)
    return agenda.confirm(held.id)


def cancel(memory: Memory, tenant: str, resource: str, id_: str) -> Booking:
    """Cancel a booking; raise `NotFound`."""
    found = memory.agenda(tenant, resource).cancel(id_)
    if found is None:
        raise NotFound(f"tenant {tenant!r} has no booking {id_!r} of {resource!r}")
    return found


def reconcile(
    memory: Memory, tenant: str, resources: Sequence[str], file: Path | None, forget: Sequence[str] = ()
) -> Reconciliation:
    """Book again what a file has and the store has not, then look through every resource and mend its lists.

    Of the ids in ``forget`` nothing is left, readable or not.
    """
    now = datetime.now(UTC)
    there = restored = 0
    conflicts: list[str] = []
    listed = _read(file) if file else []
    for one in listed:
        if one.tenant != tenant or one.state in {"cancelled", "held"} or one.end <= now:
            continue
        try:
            if _restored(memory, one):
                restored += 1
            else:
                there += 1
        except (SlotTaken, IdReused) as error:
            conflicts.append(f"{one.resource} {one.start.isoformat()} {one.id}: {type(error).__name__}")
    names = list(resources) or sorted({*memory.resources(tenant), *(name for one in listed for name in one.resources)})
    return Reconciliation([_looked_through(memory, tenant, name, tuple(forget)) for name in names], there, restored, conflicts)


def _restored(memory: Memory, one: Booking) -> bool:
    """Whether the store had lost a booking and has it again; raise `SlotTaken` or `IdReused` where that cannot be."""
    capacities = dict(zip(one.resources, one.capacities, strict=False))
    agenda, *also = [
        memory.agenda(one.tenant, name, capacity=capacities.get(name, 1)) for name in one.resources or (one.resource,)
    ]
    found = agenda.booking(one.id)
    if found is not None and found.state != "held":
        return False  # the store knows it, also if it was moved or cancelled since
    held = agenda.hold(one.start, one.end, by=one.by, id=one.id, ttl=HOLD_SECONDS, also=also, details=one.details)
    agenda.confirm(held.id)
    return True


def _read(file: Path) -> list[Booking]:
    try:
        return msgspec.json.decode(file.read_bytes(), type=list[Booking])
    except msgspec.DecodeError as error:
        raise InvalidInput(f"{file}: is not what `luni bookings list --json` prints: {error}") from None


def _looked_through(memory: Memory, tenant: str, resource: str, forget: tuple[str, ...]) -> Mended:
    flow = booking_flows.reconcile(memory._agenda_needs(), tenant, resource, forget)  # noqa: SLF001  a repair, no call of the public API
    found: Any = memory._run(None, flow)  # noqa: SLF001  the same
    halves = [] if found.damaged else _halves(memory, tenant, resource)
    return Mended(resource, found.bookings, found.missing, found.orphans, list(found.overlaps), list(found.damaged), halves)


def _halves(memory: Memory, tenant: str, resource: str) -> list[str]:
    found = []
    for one in memory.agenda(tenant, resource).bookings(moment(0), moment(LATEST_US - 1)):
        others = [memory.agenda(tenant, name) for name in one.resources if name != resource]
        if any(other.booking(one.id) is None for other in others):
            found.append(one.id)
    return found
