"""`luni journal …`: what waits to reach the server, what it has refused for good, and what becomes of that."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from luni.backends.failover.journal import Journal, Listed, Standing
from luni.backends.failover.places import journal_path
from luni.errors import ConfigError
from luni.ops.fallback import abandoned, journal_here, left_behind
from luni.ops.screens import heading, name
from luni.ops.store import NotFound, settings_for
from luni.ops.terminal import AsJson, ask, report, stderr
from luni.ops.words import counted, lasted, since
from luni.settings import default_fallback

__all__ = ["journal"]

journal = typer.Typer(
    name="journal", help="See what waits to reach the server, and what it has refused.", no_args_is_help=True,
    pretty_exceptions_enable=False, rich_markup_mode="markdown", context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip

Fallback = Annotated[
    str | None,
    typer.Option(
        help="The fallback's file, sqlite:///FILE. Without it the settings decide.", metavar="URL", show_default=False
    ),
]
Number = Annotated[
    int, typer.Argument(min=1, max=2**63 - 1, help="The entry's number, as `luni journal list` shows it.", show_default=False)
]


@contextmanager
def _opened(fallback: str | None) -> Iterator[Journal]:
    """Open the journal; raise `NotFound` where there is none yet."""
    settings = settings_for(None)
    place, found_here = fallback or settings.fallback, None
    if not place and (found_here := journal_here(settings)):
        place = default_fallback(settings.data_dir)
    if not place:
        raise ConfigError("there is no fallback, so there is no journal: set USE_REDIS=1 or LUNI_FALLBACK, or give --fallback")
    path = journal_path(place, settings.namespace)
    if not Path(path).exists():
        raise NotFound(f"{path} is not there yet: nothing has ever had to wait")
    found = Journal(path, msgspec.structs.replace(settings, fallback=place))
    try:
        if found_here and left_behind(standing := found.standing()):
            stderr().print(f"warning: {abandoned(standing, path)}", style="yellow", soft_wrap=True)
        yield found
    finally:
        found.close()


@journal.command()
def status(fallback: Fallback = None, as_json: AsJson = False) -> None:  # noqa: FBT002  typer's way to say an option
    """How many operations wait, since when, how many are dead, and what became of the others.

    Also erasures that have not reached the server, and whether bookings are closed.
    """
    with _opened(fallback) as opened:
        found = opened.standing()
        place = opened.place
    report(as_json, found, lambda: _status(found, place, time.time()))


@journal.command("list")
def list_entries(
    dead: Annotated[bool, typer.Option("--dead", help="Only those that were refused for good.")] = False,  # noqa: FBT002
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 50,
    fallback: Fallback = None,
    as_json: AsJson = False,  # noqa: FBT002  the same
) -> None:
    """List entries, the oldest first: whose, since when, and why they are dead. Never what was said."""
    with _opened(fallback) as opened:
        found = opened.entries(state="d" if dead else None, limit=limit)
    report(as_json, found, lambda: _entries(found, time.time()))


@journal.command()
def retry(number: Number, fallback: Fallback = None, as_json: AsJson = False) -> None:  # noqa: FBT002  the same
    """Let a dead entry wait again, as the last of its session. Status 1 if there is none of that number."""
    with _opened(fallback) as opened:
        if not opened.retry(number):
            raise NotFound(f"there is no dead entry {number}")
    report(as_json, {"retried": number}, lambda: f"Entry {number} waits again.")


@journal.command()
def drop(
    number: Number,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,  # noqa: FBT002  the same
    fallback: Fallback = None,
    as_json: AsJson = False,  # noqa: FBT002  the same
) -> None:
    """Let a dead entry go for good. Status 1 if there is none of that number."""
    with _opened(fallback) as opened:
        if not yes and opened.is_dead(number):
            ask(f"Let entry {number} go for good? Somebody was told that it was stored.", instead="drops it")
        if not opened.drop(number):
            raise NotFound(f"there is no dead entry {number}")
    report(as_json, {"dropped": number}, lambda: f"Entry {number} is gone.")


def _status(found: Standing, place: str, now: float) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    waits = f"in {counted(found.sessions, 'session')}, {since(found.oldest_ms, now)}" if found.pending else ""
    grid.add_row("waiting", f"{found.pending:,}", Text(waits, style="dim"))
    grid.add_row("dead", f"{found.dead:,}", Text("luni journal list --dead" if found.dead else "", style="dim"))
    if found.erasures:
        owed = f"not on the server yet, {since(found.owed_ms, now)}"
        grid.add_row("erasures", f"{found.erasures:,}", Text(owed, style="dim"))
    if found.bookings_closed:
        grid.add_row("bookings", "closed", Text("until luni bookings reconcile TENANT", style="dim"))
    for what, number in sorted(found.counts.items()):
        grid.add_row(what, f"{number:,}", "")
    return Group(heading("luni journal", place), grid)


def _entries(found: list[Listed], now: float) -> RenderableType:
    if not found:
        return Text("Nothing waits, and nothing is dead.")
    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in ("number", "state", "what", "whose", "for", "why"):
        table.add_column(column)
    for one in found:
        whose = f"{name(one.tenant)} · {name(one.channel)} · {name(one.user)}"
        table.add_row(str(one.id), one.state, one.kind, whose, lasted(now - one.waits_since), name(one.reason))
    return table
