"""`luni bookings …`: what each command takes, what it calls, what it prints."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from luni.errors import BookingError
from luni.ops import bookings as agenda
from luni.ops import week
from luni.ops.store import open_memory, settings_for
from luni.ops.terminal import AsJson, Tenant, Url, ask, report, stdout

__all__ = ["bookings"]

bookings = typer.Typer(
    name="bookings", help="See, add, cancel and reconcile bookings.", no_args_is_help=True, pretty_exceptions_enable=False,
    rich_markup_mode="markdown", context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip

Resource = Annotated[str, typer.Argument(help="Whose time: a professional, a room, a chair.", show_default=False)]
Resources = Annotated[list[str] | None, typer.Option("--resource", help="Only this one; may be repeated.", show_default=False)]
Zone = Annotated[str | None, typer.Option(help="Times are in this zone; in this machine's without it.", metavar="NAME")]
BookingId = Annotated[str, typer.Argument(help="The booking's id.", metavar="ID", show_default=False)]


@bookings.command("list")
def list_bookings(
    tenant: Tenant,
    resource: Resources = None,
    first: Annotated[str | None, typer.Option("--from", help="The first day; today without it.", metavar="YYYY-MM-DD")] = None,
    days: Annotated[int, typer.Option(min=1, max=agenda.MAX_DAYS, help="How many days.")] = 7,
    zone: Zone = None,
    url: Url = None,
    as_json: AsJson = False,  # noqa: FBT002  typer's way to say an option
) -> None:
    """Show the bookings of a week, side by side where the terminal is wide enough. Holds are marked."""
    where = agenda.zone_of(zone)
    begin = agenda.day_of(first, where)
    with open_memory(settings_for(url), reading=True) as memory:
        found = agenda.between(memory, tenant, resource or [], begin, days, where)
    today = datetime.now(where).date()
    report(as_json, found, lambda: week.bookings(tenant, found, begin, days, where, today, width=stdout().width))


@bookings.command()
def add(
    tenant: Tenant,
    resource: Resource,
    start: Annotated[str, typer.Argument(help="When it begins.", metavar="YYYY-MM-DDTHH:MM", show_default=False)],
    minutes: Annotated[int, typer.Argument(help="How long it takes.", min=1, max=366 * 24 * 60, show_default=False)],
    by: Annotated[str, typer.Option(help="Whose booking it is.", show_default=False)],
    also: Annotated[
        list[str] | None, typer.Option(help="Another resource it takes; may be repeated.", show_default=False)
    ] = None,
    capacity: Annotated[int, typer.Option(min=1, max=1000, help="How many bookings RESOURCE takes at a time.")] = 1,
    id_: Annotated[str | None, typer.Option("--id", help="Its id, so that the command can be repeated.", metavar="ID")] = None,
    note: Annotated[str | None, typer.Option(help="A few words, kept with it.")] = None,
    zone: Zone = None,
    url: Url = None,
    as_json: AsJson = False,  # noqa: FBT002  the same
) -> None:
    """Book: hold and confirm in one go. Status 1 if the time is taken."""
    where = agenda.zone_of(zone)
    begin = agenda.moment_of(start, where, "START")
    end = begin + timedelta(minutes=minutes)  # in UTC: an hour is an hour on days when the clocks change, too
    with open_memory(settings_for(url)) as memory:
        found = agenda.add(
            memory, tenant, resource, begin, end, by=by, also=also or [], capacity=capacity, id_=id_, note=note
        )  # fmt: skip
    report(as_json, found, lambda: week.booking(found, "Booked", where))


@bookings.command()
def cancel(
    tenant: Tenant,
    resource: Resource,
    id_: BookingId,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,  # noqa: FBT002  the same
    zone: Zone = None,
    url: Url = None,
    as_json: AsJson = False,  # noqa: FBT002  the same
) -> None:
    """Cancel a booking or a hold. Status 1 if there is none."""
    where = agenda.zone_of(zone)
    with open_memory(settings_for(url), reading=True) as memory:
        if not yes:
            ask(f"Cancel booking {id_!r} of {resource!r}?", instead="cancels it")
        found = agenda.cancel(memory, tenant, resource, id_)
    report(as_json, found, lambda: week.booking(found, "Cancelled", where))


@bookings.command()
def reconcile(
    tenant: Tenant,
    resource: Resources = None,
    file: Annotated[
        Path | None, typer.Option("--from", help="Bookings as `list --json` printed them.", exists=True, dir_okay=False)
    ] = None,
    forget: Annotated[
        list[str] | None, typer.Option(help="Forget all of this id, readable or not; may be repeated.", metavar="ID")
    ] = None,
    url: Url = None,
    as_json: AsJson = False,  # noqa: FBT002  the same
) -> None:
    """Look through all bookings, mend what they are found by, and say what overlaps or cannot be read.

    What cannot be read keeps its time until --forget says otherwise. With --from, what FILE has, is still to come, and the
    store has lost is booked again where that is free. Status 1 if something is left that a person has to decide.
    """
    with open_memory(settings_for(url), reading=file is None) as memory:
        found = agenda.reconcile(memory, tenant, resource or [], file, forget or [])
        reopened = found.well and memory.reopen_bookings()
    report(as_json, found, lambda: week.reconciliation(found))
    if reopened and not as_json:
        stdout().print("The server had lost data: bookings were closed, and are open again on this host.")
    if not found.well:
        raise BookingError("there are conflicts that a person has to decide")
