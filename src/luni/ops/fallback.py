"""What `luni doctor` says of the fallback: where it is, what waits there, and whether its disk lasts."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from luni.backends.failover.journal import Journal, Standing
from luni.backends.failover.places import journal_path, mirror_url
from luni.backends.sqlite.asides import asides
from luni.backends.sqlite.connection import path_of
from luni.errors import ConfigError, LuniError
from luni.ops.lasting import file_system, lost_when
from luni.ops.words import counted
from luni.settings import Settings, default_fallback

__all__ = [
    "CLOSED_UNTIL",
    "Fallback",
    "abandoned",
    "files_of",
    "journal_here",
    "left_behind",
    "look",
    "mirror_here",
    "waits_here",
]


CLOSED_UNTIL = "bookings are closed on this host until luni bookings reconcile TENANT finds nothing left to decide"


class Fallback(msgspec.Struct, frozen=True, kw_only=True):
    """This host's own storage for outages of the server.

    ``made``: whether its files are there yet. ``waiting`` operations are still to reach the server, the oldest since
    ``oldest_ms`` (ms; 0: none waits), and ``erasures``, the oldest since ``owed_ms``; ``dead`` ones were refused for good.
    ``bookings_closed``: until somebody has looked at them. ``file_system`` is ``""`` where that cannot be told. Not
    ``configured`` and ``made``: the settings do not lead to it now, and an earlier fallback has left it.
    """

    configured: bool
    place: str = ""
    journal: str = ""
    made: bool = False
    waiting: int = 0
    oldest_ms: int = 0
    dead: int = 0
    erasures: int = 0
    owed_ms: int = 0
    bookings_closed: bool = False
    file_system: str = ""
    warnings: list[str] = []


def look(settings: Settings) -> Fallback:
    """Look at the fallback of these settings; makes no file. Raises `ConfigError` if it is none."""
    if not settings.fallback:
        return _left(settings)
    if settings.url.startswith("sqlite:"):
        raise ConfigError("fallback: belongs to a server's URL; an embedded store has nothing to fall back from")
    journal = Path(journal_path(settings.fallback, settings.namespace)).absolute()
    mirror = Path(path_of(mirror_url(settings.fallback, settings.namespace))).absolute()
    warnings, standing = _of_the_place(journal, mirror), Standing()
    if journal.exists():
        try:
            standing = _standing(str(journal), settings)
        except LuniError as error:
            warnings.append(f"the journal cannot be read: {error}")
    warnings += [
        f"{one} was damaged and set aside: look what can be read of it, then move it away"
        for path in (journal, mirror) for one in asides(str(path))
    ]  # fmt: skip
    if standing.dead:
        dead = counted(standing.dead, "operation was", "operations were")
        warnings.append(f"{dead} refused by the server for good: luni journal list --dead")
    if standing.erasures:
        owed = counted(standing.erasures, "erasure")
        warnings.append(f"{owed} did not reach the server yet: what it has of them is still there")
    if standing.bookings_closed:
        warnings.append(f"the server has lost data: {CLOSED_UNTIL}")
    return Fallback(
        configured=True,
        place=str(mirror),
        journal=str(journal),
        made=journal.exists(),
        waiting=standing.pending,
        oldest_ms=standing.oldest_ms,
        dead=standing.dead,
        erasures=standing.erasures,
        owed_ms=standing.owed_ms,
        bookings_closed=standing.bookings_closed,
        file_system=file_system(journal),
        warnings=warnings,
    )


def _left(settings: Settings) -> Fallback:
    """What an earlier fallback has left in the data directory, and these settings do not lead to any more."""
    journal = journal_here(settings)
    if journal is None:
        return Fallback(configured=False)
    try:
        found = _standing(str(journal), settings)
    except LuniError as error:
        return Fallback(configured=False, journal=str(journal), made=True, warnings=[f"the journal cannot be read: {error}"])
    return Fallback(
        configured=False,
        journal=str(journal),
        made=True,
        waiting=found.pending,
        oldest_ms=found.oldest_ms,
        dead=found.dead,
        erasures=found.erasures,
        owed_ms=found.owed_ms,
        warnings=[abandoned(found, journal)] if left_behind(found) else [],
    )


def abandoned(found: Standing, journal: Path | str) -> str:
    """Return what to say of a journal that nobody replays."""
    return (
        f"{left_behind(found)} of this host still to reach the server: {journal}; with these settings nobody replays "
        "them: run with USE_REDIS=1 until luni journal status says 0 (docs/guides/outages.md)"
    )


def journal_here(settings: Settings) -> Path | None:
    """Return this host's journal if it is there: of the settings' fallback, or the one that ``USE_REDIS=1`` had here."""
    path = Path(journal_path(settings.fallback or default_fallback(settings.data_dir), settings.namespace)).absolute()
    return path if path.exists() else None


def mirror_here(settings: Settings) -> Path | None:
    """Return this host's mirror if it is there, in use or not."""
    fallback = settings.fallback or default_fallback(settings.data_dir)
    path = Path(path_of(mirror_url(fallback, settings.namespace))).absolute()
    return path if path.exists() else None


def files_of(settings: Settings) -> list[Path]:
    """Return the files of the settings' fallback that are there: the mirror, the journal, and what stands beside them."""
    mirror = Path(path_of(mirror_url(settings.fallback, settings.namespace)))
    journal = Path(journal_path(settings.fallback, settings.namespace))
    names = [Path(f"{path}{end}") for path in (mirror, journal) for end in ("", "-wal", "-shm", "-lock")]
    return [path for path in (*names, journal.with_suffix(".flag"), journal.with_suffix(".lock")) if path.is_file()]


def waits_here(settings: Settings) -> Standing:
    """Return how this host's journal stands, whatever store the settings lead to now; nothing waits where there is none.

    Raises `LuniError` if it is there and cannot be read.
    """
    path = journal_here(settings)
    return _standing(str(path), settings) if path else Standing()


def left_behind(found: Standing) -> str:
    """Return what is still to reach the server, in words; ``""`` if nothing is."""
    parts = [(found.pending, "operation"), (found.erasures, "erasure")]
    return " and ".join(counted(number, what) for number, what in parts if number)


def _standing(path: str, settings: Settings) -> Standing:
    journal = Journal(path, settings)
    try:
        return journal.standing()
    finally:
        journal.close()


def _of_the_place(journal: Path, mirror: Path) -> list[str]:
    found = []
    lost = lost_when(journal)
    if lost:
        found.append(
            f"the fallback's directory {journal.parent} is not on a lasting disk ({file_system(journal)}): what an outage "
            f"leaves there is gone when {lost}, so 'nothing lost' holds only while the host lives"
        )
    folder = next(parent for parent in journal.parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        found.append(f"the fallback cannot be made: {folder} is not a directory that can be written")
    open_files = [path for path in (mirror, journal) if path.exists() and path.stat().st_mode & 0o077]
    return found + [f"others may read or write {path}: chmod 600 it" for path in open_files]
