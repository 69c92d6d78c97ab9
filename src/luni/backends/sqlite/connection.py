"""Opening a file: one connection a thread, WAL, a schema version, and errors in luni's terms."""

from __future__ import annotations

import os
import random
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import apsw

from luni.backends.sqlite.asides import Identity, alone_with, identity_of, set_aside
from luni.backends.sqlite.forks import GATE
from luni.backends.sqlite.line import Line
from luni.errors import BackendError, ConfigError, Damaged, Incompatible, Unavailable
from luni.settings import Settings

__all__ = ["Connections", "Schema", "is_corrupt", "path_of", "translated"]

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


_MEANINGS: tuple[tuple[type[apsw.Error], str], ...] = (
    (apsw.FullError, "the disk is full, or the file is as large as it may be (a journal: LUNI_JOURNAL_MAX_BYTES)"),
    (apsw.BusyError, "another process has it locked"),
    (apsw.LockedError, "another connection of this process has it locked"),
    (apsw.ReadOnlyError, "it, or its directory, may only be read"),
    (apsw.CantOpenError, "it, or a file beside it, cannot be opened"),
    (apsw.PermissionsError, "its permissions do not allow it"),
    (apsw.IOError, "the disk failed"),
    (apsw.ConnectionClosedError, "it was damaged, removed or replaced, and is opened anew"),
)


def path_of(url: str) -> str:
    """Return the file a URL names, ``""`` for one in memory; raise `ConfigError` for another form."""
    scheme, _, rest = url.partition("://")
    if "\0" in url or "?" in url or scheme != "sqlite" or (rest and not rest.startswith("/")) or rest == "/":
        raise ConfigError("allowed are sqlite:///relative.db, sqlite:////absolute.db and sqlite:// (in memory)")
    return rest[1:]


def is_corrupt(error: apsw.Error) -> bool:
    """Whether SQLite says that the file is damaged: its content is none of SQLite's, or it is shorter than it was."""
    short = isinstance(error, apsw.IOError) and getattr(error, "extendedresult", 0) == apsw.SQLITE_IOERR_SHORT_READ
    return short or isinstance(error, apsw.CorruptError | apsw.NotADBError)


def _corrupt(place: str, what: str) -> Damaged:
    error = Damaged(f"{place} {what}; it was left as it is")
    error.corrupt = place
    return error


def translated(error: apsw.Error, *, place: str) -> BackendError:
    """Return what a failure of SQLite means for the caller; the transaction was rolled back."""
    if is_corrupt(error):
        return _corrupt(place, "is not a readable SQLite file")
    meaning = next((text for kind, text in _MEANINGS if isinstance(error, kind)), f"SQLite says {error}")
    return Unavailable(f"{place} cannot be written now: {meaning}")


class Connections:
    """One connection for each thread of a file; one for all, in turns, in memory. A forked child begins anew.

    ``watched``: the file may be removed, replaced or set aside while it is open; who opens it can tell, and begin anew.
    """

    def __init__(self, url: str, settings: Settings, schema: Schema | None = None, *, watched: bool = False) -> None:
        self._path = path_of(url)
        self._watched = watched
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
        self._identity: Identity | None = None

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
        if not self._path:
            return self._connect()
        self._make_directory()
        with alone_with(self._path) if self._watched else nullcontext():
            self._create()
            self._identity = identity_of(self._path)
            return self._connect()

    def _connect(self) -> Any:
        try:
            connection = apsw.Connection(self._path or ":memory:")
            if self._watched:  # the last to close would delete the side files of whatever stands there by then
                connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            connection.setbusyhandler(_patience(self._settings.timeout))
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute(f"PRAGMA synchronous={self._settings.durability.upper()}")
            connection.execute("PRAGMA foreign_keys=ON")
            connection.execute("PRAGMA secure_delete=ON")
            _migrate(connection, self.place, self._schema)
        except apsw.Error as error:
            raise translated(error, place=self.place) from None
        return connection

    def _make_directory(self) -> None:
        try:
            Path(self._path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise Unavailable(f"{self.place} cannot be opened: {error.strerror}") from None

    def _create(self) -> None:
        """The file is its owner's alone; SQLite gives its side files the same mode.

        One that is there is not opened: closing it would let go of the locks that this process's connections have on it.
        """
        try:
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            if self._watched and _is_cut(self._path):
                raise _corrupt(self.place, "is empty, and what was written after it is not") from None
        except OSError as error:
            raise Unavailable(f"{self.place} cannot be opened: {error.strerror}") from None

    # a file that is watched

    def moved(self) -> bool:
        """Whether what was opened is no more what stands there: it was removed, replaced, cut to nothing or set aside."""
        known = self._identity
        return known is not None and (identity_of(self._path) != known or self.cut())

    def cut(self) -> bool:
        """Whether nothing is left of a file that was opened."""
        return bool(self._opened) and _is_empty(self._path)

    @property
    def opening(self) -> object:
        """Another object after each time that every connection was closed."""
        return self._local

    def renew(self, opening: object) -> bool:
        """Close every thread's connection: the next use opens what stands there then. ``False``: another one was faster."""
        with self._opening:
            if opening is not self.opening:
                return False
            self._close_all(for_good=False)
        return True

    def set_aside(self, opening: object) -> str:
        """Rename the file, because SQLite says that it is damaged; return its new name, ``""`` if another one was faster.

        ``opening`` is what it was before the use that met the damage.
        """
        with self._opening:
            if opening is not self.opening:
                return ""
            damaged, self._identity = self._identity, None
            try:
                if damaged is None:
                    return ""
                with alone_with(self._path, exclusive=True):
                    return set_aside(self._path, damaged)
            finally:
                self._close_all(for_good=False)

    def close(self) -> None:
        """Close every thread's connection; one that is busy in its thread when it is done with this, for a while."""
        self._close_all(for_good=not self.moved())

    def _close_all(self, *, for_good: bool) -> None:
        if self._pid != os.getpid():
            self._abandon()
        deadline = time.monotonic() + CLOSING_SECONDS
        for connection in [*self._opened, *([self._one] if self._one else [])]:
            _close(connection, deadline, checkpoint=for_good)
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


def _is_empty(path: str) -> bool:
    try:
        return os.stat(path).st_size == 0  # noqa: PTH116  as in `identity_of`
    except OSError:
        return False


def _is_cut(path: str) -> bool:
    """Whether nothing is left of a file but what stands beside it: SQLite would delete that, too."""
    try:
        return _is_empty(path) and Path(f"{path}-wal").stat().st_size > 0
    except OSError:
        return False


def _close(connection: Any, deadline: float, *, checkpoint: bool) -> None:
    while True:
        try:
            connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0 if checkpoint else 1)
            connection.close()
        except apsw.ThreadingViolationError:
            if time.monotonic() > deadline:
                return  # it is closed when its thread ends
            time.sleep(0.005)
        except apsw.ConnectionClosedError:
            return
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
