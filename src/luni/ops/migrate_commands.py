"""`luni migrate`: what it takes, what it calls, what it prints."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer
from rich.console import Group, RenderableType
from rich.table import Table

from luni.errors import BackendError
from luni.ops import migrate as moving
from luni.ops.fallback import journal_here, left_behind, waits_here
from luni.ops.screens import plain
from luni.ops.terminal import AsJson, ask, progress, report
from luni.ops.words import counted
from luni.settings import Settings

__all__ = ["migrate"]


def migrate(
    source_url: Annotated[str, typer.Option("--from", help="Where the sessions are.", metavar="URL", show_default=False)],
    target_url: Annotated[str, typer.Option("--to", help="Where they are to be.", metavar="URL", show_default=False)],
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's.", show_default=False)] = None,
    namespace: Annotated[str | None, typer.Option(help="The source's, on Redis; as set without it.", metavar="NAME")] = None,
    to_namespace: Annotated[str | None, typer.Option(help="The target's, on Redis; as set without it.", metavar="NAME")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be moved.")] = False,  # noqa: FBT002  typer's way to say an option
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask if something waits in this host's journal.")] = False,  # noqa: FBT002
    as_json: AsJson = False,  # noqa: FBT002  the same
) -> None:
    """Move live sessions and bookings from one store to another, either way between SQLite and Redis.

    The source is left as it is. Each is written under a compare and read again. What is there already is passed over and what
    is newer there is left, so a run may be interrupted and repeated; stop the writers and run it once more for what was
    written meanwhile. A booking is never put over another one. Named locks are not moved: they are short. Status 1 if
    something could not be moved. If something still waits in this host's journal to reach a server, it asks first.
    """
    settings = Settings.from_env()
    if not dry_run and not yes:
        _ask_of_the_journal(settings, source_url, target_url, namespace, to_namespace)
    with (
        moving.source_of(settings, source_url, namespace) as source,
        moving.target_of(settings, target_url, to_namespace, source, dry_run=dry_run) as target,
    ):
        size = moving.count(source, tenant)
        with progress("moving", size, shown=not as_json, unit="moved") as advance:
            found = moving.migrate(source, target, tenant=tenant, dry_run=dry_run, advance=advance)
    report(as_json, found, lambda: _screen(found))
    if found.failed or found.bookings_failed:
        counts = ((found.failed, found.sessions, "sessions"), (found.bookings_failed, found.bookings, "bookings"))
        what = " and ".join(f"{failed} of {all_} {name}" for failed, all_, name in counts if failed)
        raise BackendError(f"{what} could not be moved; the others are")


def _ask_of_the_journal(settings: Settings, source: str, target: str, *namespaces: str | None) -> None:
    """What this host still owes a server is neither in the one store nor in the other: a person decides."""
    names = zip((source, target), namespaces, strict=True)
    for name in dict.fromkeys(name or settings.namespace for url, name in names if not url.startswith("sqlite")):
        waits = left_behind(waits_here(msgspec.structs.replace(settings, namespace=name)))
        if waits:
            place = journal_here(settings)
            told = f"{waits} of this host still wait in {place} for the server, and are not moved"
            ask(f"{told}. Move the rest all the same?", instead=f"moves the rest ({told}; luni journal status)")


def _screen(found: moving.Migration) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    rows = {
        "would be moved" if found.dry_run else "moved": found.moved,
        "already there": found.there,
        "newer there": found.newer,
        "expired or ended": found.expired,
        "failed": found.failed,
    }
    for name, number in rows.items():
        table.add_row(f"{number:,}", name)
    whose = counted(found.tenants, "tenant")
    lines: list[RenderableType] = [f"{counted(found.sessions, 'session')} of {whose} in {found.seconds:.1f} s", table]
    lines += [f"failed: {plain(f'{one.tenant} {one.channel} {one.user}')}: {plain(one.reason)}" for one in found.failures]
    if found.bookings:
        lines += [counted(found.bookings, "booking"), _bookings(found)]
    lines += [
        f"NOT moved: booking {plain(f'{one.tenant} {one.resource} {one.id}')}: {plain(one.reason)}"
        for one in found.booking_failures
    ]
    lines.append("The source was left as it is.")
    return Group(*lines)


def _bookings(found: moving.Migration) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    rows = {
        "would be moved" if found.dry_run else "moved": found.bookings_moved,
        "already there": found.bookings_there,
        "expired or cancelled": found.bookings_expired,
        "in conflict or failed": found.bookings_failed,
    }
    for name, number in rows.items():
        table.add_row(f"{number:,}", name)
    return table
