"""SQLite as a backend: every operation is one transaction, and one that has no effect writes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import apsw

from luni import operations as ops
from luni.backends.sqlite import agenda, bursts, erasure, locks, sessions, states, sweeps, turns
from luni.backends.sqlite.connection import Connections, is_corrupt, translated
from luni.backends.sqlite.rows import Tables
from luni.clock import Clock
from luni.errors import BackendError, Indeterminate
from luni.settings import Settings

__all__ = ["HANDLERS", "AsyncSQLiteBackend", "SQLiteBackend"]


class SQLiteBackend:
    """Executes operations on one SQLite file, shared by threads and processes."""

    name = "sqlite"

    def __init__(self, url: str, settings: Settings, clock: Clock, *, watched: bool = False) -> None:
        self._connections = Connections(url, settings, watched=watched)
        self._durability = settings.durability
        self._clock = clock

    def execute(self, operation: ops.Operation) -> Any:
        """Execute one operation in one transaction."""
        kind, handler = HANDLERS[type(operation)]
        connections = self._connections
        with connections.turn:
            connection = connections.take()
            if kind == "outside":
                return self._outside(connection, handler)
            if kind == "reading":
                self._begin(connection, "BEGIN")
                return self._within(connection, operation, handler)
            with connections.line:
                if kind == "booking" and self._durability != "full":
                    return self._durably(connection, operation, handler)
                self._begin(connection, "BEGIN IMMEDIATE")
                return self._within(connection, operation, handler)

    def _begin(self, connection: Any, statement: str) -> None:
        try:
            connection.execute(statement)
        except apsw.Error as error:
            raise translated(error, place=self._connections.place) from None

    def _outside(self, connection: Any, handler: Callable[..., Any]) -> Any:
        """What SQLite does in no transaction."""
        try:
            return handler(connection)
        except apsw.Error as error:
            raise translated(error, place=self._connections.place) from None

    def _durably(self, connection: Any, operation: ops.Operation, handler: Callable[..., Any]) -> Any:
        """A booking that was acknowledged survives a power failure, whatever the setting is for messages."""
        self._begin(connection, "PRAGMA synchronous=FULL")
        try:
            self._begin(connection, "BEGIN IMMEDIATE")
            return self._within(connection, operation, handler)
        finally:
            _roll_back(connection)  # a signal's exception may have come between two lines
            connection.execute(f"PRAGMA synchronous={self._durability.upper()}")

    def _within(self, connection: Any, operation: ops.Operation, handler: Callable[..., Any]) -> Any:
        tables = Tables(connection.execute, self._clock.time_ms())
        try:
            result = handler(tables, operation)
            connection.execute("COMMIT" if tables.saved else "ROLLBACK")
        except apsw.Error as error:
            _roll_back(connection)
            raise self._failed(error) from None
        except BaseException:
            _roll_back(connection)
            raise
        return result

    def _failed(self, error: apsw.Error) -> BackendError:
        if isinstance(error, apsw.IOError) and not is_corrupt(error):
            return Indeterminate(f"{self._connections.place}: the disk failed during a write")
        return translated(error, place=self._connections.place)

    @contextmanager
    def transaction(self) -> Iterator[Tables]:
        """One write transaction around several handlers: all of what they do, or nothing if the block raises."""
        with self._connections.turn:
            connection = self._connections.take()
            with self._connections.line, self._around(connection, "BEGIN IMMEDIATE") as tables:
                yield tables

    @contextmanager
    def reading(self) -> Iterator[Tables]:
        """One look at several things as they are at the same time; nobody waits for it, and it waits for nobody."""
        with self._connections.turn, self._around(self._connections.take(), "BEGIN") as tables:
            yield tables

    @contextmanager
    def _around(self, connection: Any, begin: str) -> Iterator[Tables]:
        self._begin(connection, begin)
        tables = Tables(connection.execute, self._clock.time_ms())
        try:
            yield tables
            connection.execute("COMMIT" if tables.saved else "ROLLBACK")
        except apsw.Error as error:
            _roll_back(connection)
            raise self._failed(error) from None
        except BaseException:
            _roll_back(connection)
            raise

    def checkpoint(self) -> bool:
        """Move everything from the ``-wal`` into the file and empty it; return whether no reader was in the way."""
        with self._connections.turn:
            try:
                return bool(self._connections.take().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0)
            except apsw.Error as error:
                raise self._failed(error) from None

    def ping(self) -> None:
        """Return if the file can be read."""
        with self._connections.turn:
            try:
                self._connections.take().execute("SELECT count(*) FROM sqlite_schema").fetchall()
            except apsw.Error as error:
                raise translated(error, place=self._connections.place) from None

    def describe(self) -> dict[str, Any]:
        """Return the version, the place and what a power failure would lose."""
        with self._connections.turn:
            connection = self._connections.take()
            mode = connection.pragma("journal_mode")
            size = connection.pragma("page_count") * connection.pragma("page_size")
        kept = (
            "nothing the disk has confirmed"
            if self._durability == "full"
            else "the last moments before it (LUNI_DURABILITY=full: nothing)"
        )
        return {
            "backend": "sqlite",
            "place": self._connections.place,
            "server": f"SQLite {apsw.sqlite_lib_version()} (apsw {apsw.apsw_version()})",
            "journal_mode": mode,
            "durability": self._durability,
            "size_bytes": size,
            "lost_on_power_failure": "everything: it is in memory" if self._connections.place == "memory" else kept,
        }

    def close(self) -> None:
        """Close every thread's connection."""
        self._connections.close()


def _roll_back(connection: Any) -> None:
    with suppress(apsw.ConnectionClosedError):  # its file was found to be damaged or gone: all of them were closed
        if not connection.get_autocommit():
            connection.execute("ROLLBACK")


_Handlers = dict[type[ops.Operation], Callable[..., Any]]

_READING: _Handlers = {
    ops.Read: sessions.read,
    ops.Dump: states.dump,
    ops.Acquaint: states.acquaint,
    ops.Locate: sessions.locate,
    ops.Sessions: sessions.list_sessions,
    ops.Inspect: sessions.inspect,
    ops.Tenants: sweeps.tenants,
    ops.Pending: sweeps.pending,
    ops.Examine: sweeps.examine,
    ops.Guarantees: locks.guarantees,
    ops.BookingsIn: agenda.bookings_in,
    ops.BusyIn: agenda.busy_in,
    ops.BookingsBy: agenda.bookings_by,
    ops.Recall: agenda.recall,
    ops.Resources: agenda.resources,
    ops.Tombstones: erasure.tombstones,
    ops.Traces: erasure.traces,
    ops.BookingsOf: erasure.bookings_of,
}
_WRITING: _Handlers = {
    ops.Receive: turns.accept,
    ops.Open: turns.accept,
    ops.Reply: turns.reply,
    ops.Gather: bursts.gather,
    ops.Renew: turns.renew,
    ops.Release: turns.release,
    ops.Append: sessions.append,
    ops.Update: sessions.update,
    ops.Pause: sessions.pause,
    ops.Fold: sessions.fold,
    ops.Amend: sessions.amend,
    ops.Load: sessions.load,
    ops.End: sessions.end,
    ops.Restore: states.restore,
    ops.Claim: sweeps.claim,
    ops.MarkSent: sweeps.mark_sent,
    ops.Lock: locks.lock,
    ops.Unlock: locks.unlock,
    ops.Bury: erasure.bury,
    ops.Erase: erasure.erase,
    ops.Scrub: erasure.scrub,
    ops.Vacate: erasure.vacate,
}
_BOOKING: _Handlers = {
    ops.Hold: agenda.hold,
    ops.Confirm: agenda.confirm,
    ops.Cancel: agenda.cancel,
    ops.Move: agenda.move,
    ops.Adopt: agenda.adopt,
    ops.Reconcile: agenda.reconcile,
    ops.EraseBookings: erasure.erase_bookings,
}
HANDLERS: dict[type[ops.Operation], tuple[str, Callable[..., Any]]] = {
    operation: (kind, handler)
    for kind, handlers in (
        ("reading", _READING), ("writing", _WRITING), ("booking", _BOOKING), ("outside", {ops.Expunge: erasure.expunge}),
    )
    for operation, handler in handlers.items()
}  # fmt: skip


class AsyncSQLiteBackend:
    """The same on one worker thread: SQLite has no asynchronous interface, and this says so."""

    name = "sqlite"

    def __init__(self, url: str, settings: Settings, clock: Clock) -> None:
        self._backend = SQLiteBackend(url, settings, clock)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="luni-sqlite")

    def execute(self, operation: ops.Operation) -> asyncio.Future[Any]:
        """Begin to execute one operation on the worker."""
        return asyncio.get_running_loop().run_in_executor(self._worker, self._backend.execute, operation)

    async def ping(self) -> None:
        """Return if the file can be read."""
        await asyncio.get_running_loop().run_in_executor(self._worker, self._backend.ping)

    async def describe(self) -> dict[str, Any]:
        """Return the version, the place and what a power failure would lose."""
        return await asyncio.get_running_loop().run_in_executor(self._worker, self._backend.describe)

    async def close(self) -> None:
        """Finish what was begun, then close."""
        await asyncio.get_running_loop().run_in_executor(None, self._worker.shutdown)
        self._backend.close()
