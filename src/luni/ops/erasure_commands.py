"""`luni erase` and `luni export`: what each takes, what it calls, what it prints."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, BinaryIO

import msgspec
import typer

from luni.client import Memory
from luni.errors import InvalidInput
from luni.models import Receipt, SessionExport
from luni.ops.fallback import mirror_here
from luni.ops.store import open_memory, settings_for
from luni.ops.terminal import AsJson, Tenant, Url, ask, report, stderr
from luni.ops.words import counted
from luni.settings import Settings

__all__ = ["add_to"]

PANEL = "Look after people's data"
AT_ONCE = 50
STDOUT = Path("-")
NOT_WORKED_ON = (
    "and its journal, this host's own copy of what a server holds: it was left as it is, because the fallback was not in use "
    "(erase with the settings' own URL, or remove the files)"
)

Person = Annotated[str | None, typer.Argument(help="Only what is stored of this one.", show_default=False)]


def add_to(app: typer.Typer) -> None:
    """Register both commands."""
    app.command(rich_help_panel=PANEL)(erase)
    app.command(rich_help_panel=PANEL)(export)


def erase(
    tenant: Tenant,
    user: Person = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,  # noqa: FBT002  typer's way to say an option
    url: Url = None,
    as_json: AsJson = False,  # noqa: FBT002  the same
) -> None:
    """Erase all that is stored of a person at a tenant, or without USER of the whole tenant, for good.

    Every channel, ended sessions, locks and bookings; booked times are free. It prints a receipt, and what it cannot reach.
    Status 0 also if nothing was there.
    """
    settings = settings_for(url)
    with open_memory(settings, reading=True) as memory:
        if not yes:
            whose = f"the whole tenant {tenant!r}" if user is None else f"{user!r} at {tenant!r}"
            ask(f"Erase {_what(memory, tenant, user)} and all else of {whose} for good?", instead="erases")
        receipt = memory.erase(tenant, user)
    mirror = None if settings.fallback else mirror_here(Settings.from_env())
    if mirror is not None:
        receipt = msgspec.structs.replace(receipt, out_of_reach=(f"{mirror} {NOT_WORKED_ON}", *receipt.out_of_reach))
    report(as_json, receipt, lambda: _screen(receipt))


def export(
    tenant: Tenant,
    user: Person = None,
    out: Annotated[
        Path, typer.Option(help="A new file, readable by you alone; - is standard output.", metavar="FILE")
    ] = STDOUT,
    force: Annotated[bool, typer.Option("--force", help="Write over FILE.")] = False,  # noqa: FBT002  the same
    url: Url = None,
    as_json: AsJson = False,  # noqa: FBT002  the same
) -> None:
    """Write all that is stored of a person at a tenant, or without USER of the whole tenant, as JSON lines.

    A line is `{"session": …}` or `{"booking": …}`. With --out and --json the counts are printed.
    """
    counts = {"session": 0, "booking": 0}
    with open_memory(settings_for(url), reading=True) as memory, _opened(out, force=force) as file:
        for kind, line in _lines(memory, tenant, user):
            file.write(line)
            counts[kind] += 1
    told = f"{counted(counts['session'], 'session')} and {counted(counts['booking'], 'booking')} written to {out}"
    if out != STDOUT:
        report(as_json, {"sessions": counts["session"], "bookings": counts["booking"], "file": str(out)}, lambda: told)
    elif not any(counts.values()) and not as_json:
        stderr().print("nothing is stored of them", style="dim")


def _what(memory: Memory, tenant: str, user: str | None) -> str:
    page = memory.export(tenant, user, limit=200)
    sessions = sum(isinstance(one, SessionExport) for one in page)
    more = " or more" if page.cursor else ""
    return f"{counted(sessions, 'session')}, {counted(len(page) - sessions, 'booking')}{more}"


def _screen(receipt: Receipt) -> str:
    found = ", ".join(
        counted(count, name.removesuffix("s").replace("_", " ")) for name, count in receipt.counts.items() if count
    )
    lines = [f"Erased: {found}." if found else "Nothing was there to be erased."]
    lines += [f"Not reached, erased when it is back: {name}." for name in receipt.pending]
    return "\n".join([*lines, "Out of reach:", *(f"  {one}" for one in receipt.out_of_reach)])


def _lines(memory: Memory, tenant: str, user: str | None) -> Iterator[tuple[str, bytes]]:
    cursor = None
    while True:
        page = memory.export(tenant, user, limit=AT_ONCE, cursor=cursor)
        for one in page:
            kind = "session" if isinstance(one, SessionExport) else "booking"
            yield kind, msgspec.json.encode({kind: one}) + b"\n"
        cursor = page.cursor
        if cursor is None:
            return


@contextmanager
def _opened(path: Path, *, force: bool) -> Iterator[BinaryIO]:
    """The file, made for its owner alone; one that was not written to its end is removed."""
    if path == STDOUT:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    partial = path.with_name(f".{path.name}.partial")
    if path.exists() and not force:
        raise InvalidInput(f"{path} is there already; --force writes over it")
    try:
        partial.unlink(missing_ok=True)
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if force:
            partial.replace(path)
        else:
            os.link(partial, path)  # who was faster keeps the file
    except FileExistsError:
        raise InvalidInput(f"{path} is there already; --force writes over it") from None
    except OSError as error:
        raise InvalidInput(f"{path} cannot be written: {error.strerror}") from None
    finally:
        with suppress(OSError):
            partial.unlink()
