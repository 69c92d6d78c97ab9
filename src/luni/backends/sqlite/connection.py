"""Opening a file: one connection a thread, WAL, a schema version, and errors in luni's terms."""

from __future__ import annotations

import os
import random
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import apsw

from luni.backends.sqlite.forks import GATE
from luni.backends.sqlite.line import Line
from luni.errors import BackendError, ConfigError, Damaged, Incompatible, Unavailable
from luni.settings import Settings

__all__ = ["Connections", "Schema", "path_of", "translated"]

CLOSING_SECONDS = 2.0
LOOK_AGAIN = (0.0005, 0.003)
"""Seconds between two looks at a lock that somebody else has."""


class Schema(NamedTuple):
    """What a file holds: a number that tells its kind, and what each version adds to the one before."""

    application_id: int
    versions: tuple[str, ...]


_ADDITIONS = ("schema.sql", "agenda.sql", "stamp.sql", "erasure.sql")
_SCHEMAS = tuple((files("luni.backends.sqlite") / name).read_text(encoding="utf-8") for name in _ADDITIONS)
SCHEMA = Schema(0x6C756E69, _SCHEMAS)  # "luni"


def path_of(url: str) -> str:
    """Return the file a URL names, ``""`` for one in memory; raise `ConfigError` for another form."""
    scheme, _, rest = url.partition("://")
    if "\0" in url or "?" in url or scheme != "sqlite" or (rest and not rest.startswith("/")) or rest == "/":
        raise ConfigError("allowed are sqlite:///relative.db, sqlite:////absolute.db and sqlite:// (in memory)")
    return rest[1:]


def translated(error: apsw.Error, *, place: str) -> BackendError:
    """Return what a failure of SQLite means for the caller; the transaction was rolled back."""
    if isinstance(error, apsw.CorruptError | apsw.NotADBError):
        return Damaged(f"{place} is not a readable SQLite file; it was left as it is")
    why = next((why for kind, why in _WHY if isinstance(error, kind)), f"SQLite says {type(error).__name__}")
    return Unavailable(f"{place} cannot be written now: {why}")


_WHY: tuple[tuple[type[apsw.Error], str], ...] = (
    (apsw.FullError, "the disk, or the space it is allowed, is full"),
    (apsw.BusyError, "another process keeps it locked"),
    (apsw.LockedError, "another connection keeps it locked"),
    (apsw.ReadOnlyError, "it is read-only"),
    (apsw.CantOpenError, "it cannot be opened"),
    (apsw.PermissionsError, "access is not permitted"),
    (apsw.IOError, "the disk reports an error"),
)


class Connections:
    """One connection for each thread of a file; one for all, in turns, in memory. A forked child begins anew."""

    def __init__(self, url: str, settings: Settings, schema: Schema | None = None) -> None:
        self._path = path_of(url)
        self._settings = settings
        self._schema = schema or SCHEMA
        self.place = self._path or "memory"
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._local = threading.local()
        self._opened: weakref.WeakSet[Any] = weakref.WeakSet()
        self._one: Any = None
        self._turn: AbstractContextManager[Any] = GATE if self._path else threading.RLock()
        self._opening = threading.Lock()
        self.line = Line(self.place, self._settings.timeout)
        """Where a thread stands that is to write."""

    @property
    def turn(self) -> AbstractContextManager[Any]:
        """Held while the connection is used: where each thread has its own, only a fork waits for it."""
        return self._turn

    def take(self) -> Any:
        """Return this thread's connection, opened at first use; raise `Unavailable`, `Incompatible` or `Damaged`."""
        if self._pid != os.getpid():
            self._abandon()
        if not self._path:
            with self._opening:
                self._one = self._one or self._open()
            return self._one
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._open()
            self._opened.add(connection)
        return connection

    def _abandon(self) -> None:
        self._abandoned = (self._local, [*self._opened], self._one)  # closing them here would break the parent's locks
        self._begin()

    def _open(self) -> Any:
        if self._path:
            self._create()
        try:
            connection = apsw.Connection(self._path or ":memory:")
            connection.setbusyhandler(_patience(self._settings.timeout))
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute(f"PRAGMA synchronous={self._settings.durability.upper()}")
            connection.execute("PRAGMA foreign_keys=ON")
            connection.execute("PRAGMA secure_delete=ON")
            _migrate(connection, self.place, self._schema)
        except apsw.Error as error:
            raise translated(error, place=self.place) from None
        return connection

    def _create(self) -> None:
        """The file is its owner's alone; SQLite gives its side files the same mode."""
        path = Path(self._path)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        except OSError as error:
            raise Unavailable(f"{self.place} cannot be opened: {error.strerror}") from None

    def close(self) -> None:
        """Close every thread's connection; one that is busy in its thread when it is done with this, for a while."""
        if self._pid != os.getpid():
            self._abandon()
        deadline = time.monotonic() + CLOSING_SECONDS
        for connection in [*self._opened, *([self._one] if self._one else [])]:
            _close(connection, deadline)
        self._begin()


def _patience(seconds: float) -> Callable[[int], bool]:
    """Return how a connection waits for another one's lock: looking again every few milliseconds, for so long at most.

    SQLite itself waits the longer the longer it has waited, so that who came first comes last: a tenth of a second at a time.
    """
    until = 0.0

    def again(looked: int) -> bool:
        nonlocal until
        if looked == 0:
            until = time.monotonic() + seconds
        time.sleep(random.uniform(*LOOK_AGAIN))  # noqa: S311  no secret
        return time.monotonic() < until

    return again


def _close(connection: Any, deadline: float) -> None:
    while True:
        try:
            connection.close()
        except apsw.ThreadingViolationError:
            if time.monotonic() > deadline:
                return  # it is closed when its thread ends
            time.sleep(0.005)
        else:
            return


def _migrate(connection: Any, place: str, schema: Schema) -> None:
    version, known = connection.pragma("user_version"), len(schema.versions)
    if version and connection.pragma("application_id") != schema.application_id:
        raise Damaged(f"{place} is another kind of file of luni's; it was left as it is")
    if version == known:
        return
    if version > known:
        raise Incompatible(f"{place} has schema {version}; this luni knows {known}: upgrade luni")
    with connection:  # another process may have been faster
        connection.execute("CREATE TABLE IF NOT EXISTS schema_lock (x); DROP TABLE schema_lock")
        version = connection.pragma("user_version")
        if version == 0 and connection.execute("SELECT count(*) FROM sqlite_schema").get:
            raise Damaged(f"{place} holds tables that are not luni's; it was left as it is")
        for addition in schema.versions[version:]:
            connection.execute(addition)
        connection.execute(f"PRAGMA application_id={schema.application_id}; PRAGMA user_version={known}")
