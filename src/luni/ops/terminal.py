"""What every command shares: the options that are everywhere, and how results reach a person or a script."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from luni.errors import InvalidInput
from luni.ops.replay import Advance
from luni.ops.screens import plain
from luni.ops.store import NotFound

__all__ = ["AsJson", "Tenant", "Url", "ask", "progress", "report", "stderr", "stdout"]

PIPED_WIDTH = 120

Url = Annotated[
    str | None,
    typer.Option(help="sqlite:///FILE or redis://HOST. Without it LUNI_URL or the other settings decide.", metavar="URL"),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else.")]
Tenant = Annotated[str, typer.Argument(help="Whose assistant it is.", show_default=False)]


def ask(question: str, *, instead: str) -> None:
    """Ask whether to go on; raise `NotFound` if not, and `InvalidInput` where nobody can be asked."""
    if not sys.stdin.isatty():
        raise InvalidInput(f"nobody can be asked here: --yes {instead} without asking")
    if not typer.confirm(plain(question), err=True):
        raise NotFound("nothing was done")


def report(as_json: bool, found: Any, screen: Callable[[], RenderableType]) -> None:  # noqa: FBT001  every command passes it
    """Print what was found: as JSON, or as a person reads it."""
    if not as_json:
        _show(screen())
        return
    text = msgspec.json.encode(found)
    print((msgspec.json.format(text, indent=2) if sys.stdout.isatty() else text).decode())  # noqa: T201  the same


def _show(screen: RenderableType) -> None:
    console = stdout()
    if console.is_terminal:
        console.print(screen)
        return
    with console.capture() as captured:
        console.print(screen)
    print("\n".join(map(str.rstrip, captured.get().splitlines())))  # noqa: T201  the same


def stdout() -> Console:
    """Return the standard output, wide enough for tables where it is a pipe."""
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPED_WIDTH
    return console


def stderr() -> Console:
    """Return the standard error."""
    return Console(stderr=True, highlight=False, markup=False, emoji=False)


@contextmanager
def progress(what: str, total: int | None, *, shown: bool, unit: str = "turns") -> Iterator[Advance]:
    """A bar on standard error while this takes, where a person looks."""
    console = stderr()
    columns = (
        TextColumn("{task.description}", style="dim"), BarColumn(bar_width=None), TaskProgressColumn(),
        TextColumn(f"{{task.fields[turns]:,}} {unit}"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True, disable=not (shown and console.is_terminal)) as progress:
        task = progress.add_task(what, total=total, turns=0)
        yield lambda size, turns: progress.update(task, advance=size, turns=turns)
