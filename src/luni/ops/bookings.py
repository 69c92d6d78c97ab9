"""What `luni bookings` runs: reading, adding, cancelling, and putting an agenda in order after an accident."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from luni import flows
from luni.client import Memory
from luni.errors import IdReused, InvalidInput, SlotTaken
from luni.flows import bookings as booking_flows
from luni.models import Booking
from luni.ops.store import NotFound

__all__ = ["Reconciliation", "add", "between", "cancel", "moment_of", "reconcile", "zone_of"]

MAX_DAYS = 366
HOLD_SECONDS = 60.0


class Mended(msgspec.Struct, frozen=True):
    """What looking through one resource's bookings found."""

    resource: str
    bookings: int
    missing: int
    orphans: int
    overlaps: list[tuple[str, str]]
    damaged: list[str]


class Reconciliation(msgspec.Struct, frozen=True):
    """What was found, resource by resource, and what became of the bookings of a file: there, restored, in conflict."""

    resources: list[Mended]
    there: int = 0
    restored: int = 0
    conflicts: list[str] = []

    @property
    def well(self) -> bool:
        """Whether nothing is left that a person has to decide."""
        return not self.conflicts and not any(one.overlaps or one.damaged for one in self.resources)


def zone_of(name: str | None) -> tzinfo:
    """Return a time zone by its name, this machine's for ``None``; raise `InvalidInput`."""
    if name is None:
        local = datetime.now(UTC).astimezone().tzinfo
        assert local is not None  # noqa: S101  astimezone gives one
        return local
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidInput(f"--zone: {name!r} is no time zone; use names like America/Sao_Paulo or UTC") from None


def moment_of(text: str, zone: tzinfo, name: str) -> datetime:
    """Return a time given as ``2031-05-06T10:00``, in ``zone`` unless it has an offset of its own; raise `InvalidInput`."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput(f"{name}: {text!r} is no time; write 2031-05-06T10:00") from None
    if found.tzinfo is not None:
        return found
    if isinstance(zone, ZoneInfo):
        return found.replace(tzinfo=zone)
    return found.astimezone()  # this machine's zone, with the offset of that day


def day_of(text: str | None, zone: tzinfo) -> date:
    """Return a day given as ``2031-05-06``, today for ``None``; raise `InvalidInput`."""
    if text is None:
        return datetime.now(zone).date()
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InvalidInput(f"--from: {text!r} is no day; write 2031-05-06") from None


def between(memory: Memory, tenant: str, resources: Sequence[str], first: date, days: int, zone: tzinfo) -> list[Booking]:
    """Return the bookings of so many days, of these resources or of all, each once, by their start."""
    if not 1 <= days <= MAX_DAYS:
        raise InvalidInput(f"--days must be from 1 to {MAX_DAYS}")
    start = moment_of(datetime.combine(first, time()).isoformat(), zone, "--from")
    end = moment_of(datetime.combine(first + timedelta(days=days), time()).isoformat(), zone, "--from")
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


def reconcile(memory: Memory, tenant: str, resources: Sequence[str], file: Path | None) -> Reconciliation:
    """Book again what a file has and the store has not, then look through every resource and mend its lists."""
    there = restored = 0
    conflicts: list[str] = []
    listed = _read(file) if file else []
    for one in listed:
        if one.tenant != tenant or one.state == "cancelled":
            continue
        try:
            if _restored(memory, one):
                restored += 1
            else:
                there += 1
        except (SlotTaken, IdReused) as error:
            conflicts.append(f"{one.resource} {one.start.isoformat()} {one.id}: {type(error).__name__}")
    names = list(resources) or sorted({*memory.resources(tenant), *(name for one in listed for name in one.resources)})
    return Reconciliation([_looked_through(memory, tenant, name) for name in names], there, restored, conflicts)


def _restored(memory: Memory, one: Booking) -> bool:
    """Whether the store had lost a booking and has it again; raise `SlotTaken` or `IdReused` where that cannot be."""
    agenda = memory.agenda(one.tenant, one.resource, capacity=one.unit + 1)
    found = agenda.booking(one.id)
    if found is not None and found.state != "held":
        return False  # the store knows it, also if it was moved or cancelled since
    also = [name for name in one.resources if name != one.resource]
    held = agenda.hold(one.start, one.end, by=one.by, id=one.id, ttl=HOLD_SECONDS, also=also, details=one.details)
    if one.state != "held":
        agenda.confirm(held.id)
    return True


def _read(file: Path) -> list[Booking]:
    try:
        return msgspec.json.decode(file.read_bytes(), type=list[Booking])
    except msgspec.DecodeError as error:
        raise InvalidInput(f"{file}: is not what `luni bookings list --json` prints: {error}") from None


def _looked_through(memory: Memory, tenant: str, resource: str) -> Mended:
    found: Any = memory._run(None, _reconciling(memory, tenant, resource))  # noqa: SLF001  a repair, not a call of the public API
    return Mended(resource, found.bookings, found.missing, found.orphans, list(found.overlaps), list(found.damaged))


def _reconciling(memory: Memory, tenant: str, resource: str) -> flows.Flow:
    return booking_flows.reconcile(memory._agenda_needs(), tenant, resource)  # noqa: SLF001  the same
