"""`luni chaos`: what it takes, what it calls, what it prints."""

from __future__ import annotations

import secrets
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Annotated

import typer
from rich.live import Live

from luni.errors import InvalidInput
from luni.ops import chaos_screens as screens
from luni.ops.chaos import Rehearsal, Wanted
from luni.ops.chaos_verdict import Fault, Verdict
from luni.ops.store import NotFound
from luni.ops.terminal import AsJson, report, stdout
from luni.ops.words import counted
from luni.settings import Settings

__all__ = ["chaos"]

LEAST, MOST = 0.05, 240.0
REFRESHED = 8
SEEDS = 2**32
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def chaos(
    minutes: Annotated[float, typer.Option(help=f"How long, {LEAST:g} to {MOST:g}; fractions are fine.")] = 3.0,
    url: Annotated[
        str | None,
        typer.Option(
            help="A server that runs already: it is only cut off. Without it a server is started, and harmed in every way.",
            metavar="URL", show_default=False,
        ),
    ] = None,
    fallback: Annotated[bool, typer.Option("--fallback/--no-fallback", help="With storage of this host to go on from.")] = True,  # noqa: FBT002  typer
    workers: Annotated[int, typer.Option(min=1, max=32, help="How many threads talk.")] = 4,
    rate: Annotated[float, typer.Option(min=1, max=500, help="At most so many turns a second.")] = 40.0,
    seed: Annotated[int | None, typer.Option(min=0, max=SEEDS - 1, help="Which faults come when.", show_default=False)] = None,
    as_json: AsJson = False,  # noqa: FBT002  the same
) -> None:  # fmt: skip
    """Rehearse outages: talk to a server that is killed, paused, emptied and cut off, then compare what was acknowledged.

    The server is started for it (loopback, a password, files of its own) and removed afterwards. With --url nothing is done to
    the server itself: a proxy in front of it is cut off, and what is written is in a namespace of its own, removed afterwards.
    Ctrl-C ends it early and still gives the verdict; a second one quits. Status 1 if anything was lost, duplicated or out of
    order.
    """
    if not LEAST <= minutes <= MOST:
        raise InvalidInput(f"--minutes: allowed are {LEAST:g} to {MOST:g}")
    wanted = Wanted(
        minutes=minutes, url=url, fallback=fallback, workers=workers, rate=rate,
        seed=secrets.randbelow(SEEDS) if seed is None else seed,
    )  # fmt: skip
    watched = stdout().is_terminal and not as_json
    rehearsal = Rehearsal(wanted, Settings.from_env(), _silent if watched or as_json else _told)
    with _interruptible(rehearsal):
        found = _watched(rehearsal) if watched else rehearsal.run()
    report(as_json, found, lambda: screens.verdict(found))
    if not found.passed:
        raise NotFound(_failure(found))


def _watched(rehearsal: Rehearsal) -> Verdict:
    with Live(
        get_renderable=lambda: screens.live(rehearsal), console=stdout(), refresh_per_second=REFRESHED, transient=True
    ):  # fmt: skip
        return rehearsal.run()


def _told(fault: Fault, what: str) -> None:
    print(screens.line(fault, what), flush=True)  # noqa: T201  a command prints


def _silent(_fault: Fault, _what: str) -> None:
    """The display shows it, or nothing but JSON is printed."""


def _failure(found: Verdict) -> str:
    if found.lost or found.duplicated or found.out_of_order:
        return (
            f"of {found.acknowledged:,} acknowledged messages {found.lost:,} are lost, {found.duplicated:,} duplicated, "
            f"{found.out_of_order:,} out of order"
        )
    return f"{counted(found.waiting, 'operation')} had not reached the server in the end"


@contextmanager
def _interruptible(rehearsal: Rehearsal) -> Iterator[None]:
    """The first signal ends the rehearsal early, the second one quits; what was started is stopped either way."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return
    heard: list[int] = []

    def ended(number: int, _frame: FrameType | None) -> None:
        heard.append(number)
        rehearsal.end()
        if len(heard) == 2:  # noqa: PLR2004  the third is not heard: it would leave the server behind
            raise KeyboardInterrupt

    former = {number: signal.signal(number, ended) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
