"""Bookings as a person reads them: a week side by side where the terminal is wide enough, else day by day."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta, tzinfo

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from luni.models import Booking
from luni.ops.bookings import Reconciliation
from luni.ops.screens import heading, name

__all__ = ["booking", "bookings", "reconciliation"]

COLUMN = 17
"""What a day needs of a line in the week view."""
WEEK = 7
DASH = "\N{EN DASH}"


def bookings(
    tenant: str, found: Sequence[Booking], first: date, days: int, zone: tzinfo, today: date, *, width: int
) -> RenderableType:
    """Return the bookings of some days."""
    last = first + timedelta(days=days - 1)
    span = f"{first:%d %b} to {last:%d %b %Y}" if days > 1 else f"{first:%A, %d %b %Y}"
    title = heading(
        f"{name(tenant)}", f"{span} · {len(found)} booking{'s' * (len(found) != 1)} · times in {_zone_name(zone, first)}"
    )
    if not found:
        return Group(title, Text(), Padding(Text("Nothing is booked.", style="dim"), (0, 0, 0, 2)))
    several = len({one.resource for one in found}) > 1
    by_day = {day: [one for one in found if _touches(one, day, zone)] for day in _days(first, days)}
    wide = days <= WEEK and width >= COLUMN * days
    body = _week(by_day, zone, today, several=several) if wide else _day_by_day(by_day, zone, today, several=several)
    return Group(title, Text(), body)


def _zone_name(zone: tzinfo, day: date) -> str:
    key = getattr(zone, "key", None)
    return str(key or zone.tzname(datetime(day.year, day.month, day.day, 12)))  # noqa: DTZ001  a name, not an instant


def _days(first: date, days: int) -> list[date]:
    return [first + timedelta(days=number) for number in range(days)]


def _touches(one: Booking, day: date, zone: tzinfo) -> bool:
    last = one.end.astimezone(zone) - timedelta(microseconds=1)
    return one.start.astimezone(zone).date() <= day <= last.date()


def _week(by_day: dict[date, list[Booking]], zone: tzinfo, today: date, *, several: bool) -> RenderableType:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", expand=False)
    for day in by_day:
        table.add_column(Text(f"{day:%a %d}", style="bold" if day == today else "dim"), vertical="top", overflow="fold")
    table.add_row(*[Group(*[_cell(one, day, zone, several=several) for one in found]) for day, found in by_day.items()])
    return table


def _cell(one: Booking, day: date, zone: tzinfo, *, several: bool) -> RenderableType:
    lines = [_times(one, day, zone), Text(name(one.by))]
    if several:
        lines.append(Text(name(", ".join(one.resources)), style="dim"))
    return Padding(Group(*lines), (0, 0, 1, 0))


def _day_by_day(by_day: dict[date, list[Booking]], zone: tzinfo, today: date, *, several: bool) -> RenderableType:
    parts: list[RenderableType] = []
    for day, found in by_day.items():
        if not found:
            continue
        table = Table.grid(padding=(0, 2, 0, 0))
        for one in found:
            resources = [Text(name(", ".join(one.resources)), style="dim")] if several else []
            table.add_row(_times(one, day, zone), Text(name(one.by)), *resources, Text(name(one.id), style="dim"))
        parts += [Text(f"{day:%A, %d %b}" + (" (today)" if day == today else ""), style="bold"), Padding(table, (0, 0, 1, 2))]
    return Group(*parts)


def _times(one: Booking, day: date, zone: tzinfo) -> Text:
    start, end = one.start.astimezone(zone), one.end.astimezone(zone)
    begin = f"{start:%H:%M}" if start.date() == day else "…"
    until = f"{end:%H:%M}" if end.date() == day else "24:00" if end - timedelta(microseconds=1) < _midnight(end, day) else "…"
    style = "green" if one.state == "confirmed" else "yellow"
    return Text.assemble((f"{begin} {DASH} {until}", style), (" held" if one.state == "held" else "", "yellow"))


def _midnight(end: datetime, day: date) -> datetime:
    following = day + timedelta(days=1)
    return end.replace(year=following.year, month=following.month, day=following.day, hour=0, minute=0, second=0, microsecond=0)


def booking(one: Booking, what: str, zone: tzinfo) -> RenderableType:
    """Return what became of one booking."""
    start, end = one.start.astimezone(zone), one.end.astimezone(zone)
    later = "" if start.date() == end.date() else f"{end:%d %b} "
    when = f"{start:%a %d %b %Y %H:%M} {DASH} {later}{end:%H:%M}"
    place = name(", ".join(one.resources))
    what = "Pending" if one.state == "pending" else what
    line = Text.assemble((what, "bold"), f"  {when}  {place}  for {name(one.by)}", (f"  {name(one.id)}", "dim"))
    if one.state != "pending":
        return line
    why = "The server has it, but too few of its replicas have said so: run it again with --id to ask them."
    return Group(line, Text(why, style="yellow"))


def reconciliation(found: Reconciliation) -> RenderableType:
    """Return what was found and mended."""
    if not found.resources:
        return Text("There are no bookings.")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("resource", overflow="fold")
    for column in ("bookings", "missing from lists", "in lists only", "overlaps", "unreadable"):
        table.add_column(column, justify="right")
    for one in found.resources:
        counts = one.bookings, one.missing, one.orphans, len(one.overlaps), len(one.damaged)
        table.add_row(Text(name(one.resource)), *[f"{count:,}" for count in counts])
    parts: list[RenderableType] = [table]
    if found.there or found.restored or found.conflicts:
        parts += [
            Text(),
            Text(f"Of the file: {found.there} there, {found.restored} restored, {len(found.conflicts)} in conflict"),
        ]
        parts += [Text("  " + name(conflict), style="yellow") for conflict in found.conflicts]
    for one in found.resources:
        parts += [Text(f"  {name(one.resource)}: {name(a)} overlaps {name(b)}", style="red") for a, b in one.overlaps]
        parts += [Text(f"  {name(one.resource)}: {name(bad)} cannot be read", style="red") for bad in one.damaged]
        lost = "is lost at another of its resources: cancel it and book again"
        parts += [Text(f"  {name(one.resource)}: {name(half)} {lost}", style="red") for half in one.halves]
    parts += [
        Text(),
        Text("All is well." if found.well else "A person has to decide: cancel, move, or --forget.", style="bold"),
    ]
    return Group(*parts)
