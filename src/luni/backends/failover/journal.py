"""The journal: a file of what was acknowledged while the primary was away, shared by the processes of a host.

Every commit waits for the disk (``synchronous=FULL``). Entries of one session are replayed in their order; what was refused for
good is kept as dead until somebody retries or drops it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import apsw
import msgspec

from luni import operations as ops
from luni.backends.failover.entries import Entry, decode, encode
from luni.backends.failover.flag import Flag
from luni.backends.failover.salvage import note_of_a_gap, salvaged
from luni.backends.failover.standing import Listed, Standing
from luni.backends.failover.watching import Watch
from luni.backends.sqlite.connection import Connections, Schema, translated
from luni.errors import Damaged, Indeterminate, Unavailable
from luni.models import Address, Discreet
from luni.settings import Settings

__all__ = ["Journal", "Kept", "Listed", "Standing"]

_SQL = (files("luni.backends.failover") / "journal.sql").read_text(encoding="utf-8")
JOURNAL_SCHEMA = Schema(0x6C756E6A, (_SQL,))  # "lunj"
PAGE_BYTES = 4096
_WAITS = "SELECT 1 FROM entry WHERE namespace = ? AND tenant = ? AND channel = ? AND user = ? AND state = 'p' LIMIT 1"
_ANY = "SELECT 1 FROM entry WHERE namespace = ? AND state = 'p' LIMIT 1"
_OF = "namespace = ? AND tenant = ? AND channel = ? AND user = ? AND state = 'p'"


class Kept(Discreet, frozen=True):
    """An entry with its number; ``entry`` is ``None`` where it cannot be read, and ``problem`` says why."""

    _shown = ("id",)

    id: int
    entry: Entry | None
    problem: str = ""


class Journal:
    """A journal's file; threads and processes share it."""

    def __init__(self, path: str, settings: Settings) -> None:
        durable = msgspec.structs.replace(settings, durability="full")
        self._connections = Connections(f"sqlite:///{path}", durable, JOURNAL_SCHEMA, watched=True)
        self.watch = Watch(self._connections, self._salvage)
        self._namespace = settings.namespace
        self._most_pages = max(64, settings.journal_max_bytes // PAGE_BYTES)
        self.place = path
        self._flag = Flag(Path(path).with_suffix(".flag"))
        self._clear = b""

    @contextmanager
    def _connection(self) -> Iterator[Any]:
        with self.watch.watching():
            try:
                with self._connections.turn:
                    yield self._connections.take()
            except apsw.Error as error:
                raise translated(error, place=self.place) from None

    @contextmanager
    def _writing(self, *, adding: bool = False) -> Iterator[Any]:
        with self._connection() as connection, self._connections.line:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                if adding:
                    self._flag.change()
                    self.watch.insist(Unavailable("the journal was removed or replaced meanwhile: nothing was kept"))
                self._commit(connection)
                if adding:
                    self._flag.change()
                    self.watch.insist(Indeterminate("the journal was removed or replaced while it was written"))
            except BaseException:
                if not connection.get_autocommit():
                    connection.execute("ROLLBACK")
                raise

    def _commit(self, connection: Any) -> None:
        try:
            connection.execute("COMMIT")
        except apsw.IOError:  # what was written and not confirmed is there for a process that finds it after this one has died
            raise Indeterminate(f"{self.place}: the disk failed during a write") from None

    def _key(self, address: Address) -> tuple[str, str, str, str]:
        return self._namespace, address.tenant, address.channel, address.user

    def waits(self, address: Address) -> bool:
        """Return whether something of this session waits to be replayed: what comes next has to wait behind it."""
        told = self._flag.value()
        if told == self._clear:  # nothing of any session did, and nothing came since
            return False
        with self._connection() as connection:
            waits = connection.execute(_WAITS, self._key(address)).fetchone() is not None
            if not waits and connection.execute(_ANY, (self._namespace,)).fetchone() is None:
                self._clear = told
        return waits

    def check(self) -> None:
        """Return if the journal can be used; raise `Unavailable` or `Damaged`."""
        self._flag.value()
        self.depth()

    def doubt(self) -> None:
        """Look again at the next occasion: a process may have died between its commit and telling of it."""
        self._clear = b""

    def has(self, address: Address, writer: str, seq: int) -> bool:
        """Return whether this very operation waits to be replayed."""
        with self._connection() as connection:
            select = f"SELECT 1 FROM entry WHERE {_OF} AND writer = ? AND seq = ? LIMIT 1"
            return connection.execute(select, (*self._key(address), writer, seq)).fetchone() is not None

    def add(self, entry: Entry) -> None:
        """Keep an entry; when this returns, the disk has it. Raises `Unavailable` if it cannot be kept.

        `Indeterminate` if the disk fails to confirm it: it is not there now, and would be if this process died at once.
        """
        operation = entry.operation
        writer, seq = (operation.writer, operation.seq) if isinstance(operation, ops.Write) else ("", 0)
        body, checksum = encode(entry)
        with self._writing(adding=True) as connection:
            connection.execute(f"PRAGMA max_page_count={self._most_pages}")
            connection.execute(
                "INSERT INTO entry (namespace, tenant, channel, user, kind, writer, seq, at_ms, checksum, body) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*self._key(operation.address), _kind(operation), writer, seq, entry.at_ms, checksum, body),
            )

    def last(self, address: Address) -> tuple[str, int] | None:
        """Return writer and number of the last operation of this session that waits and leaves a mark."""
        with self._connection() as connection:
            select = f"SELECT writer, seq FROM entry WHERE {_OF} AND writer <> '' ORDER BY id DESC LIMIT 1"
            found = connection.execute(select, self._key(address)).fetchone()
        return (found[0], found[1]) if found else None

    def operations(self, address: Address) -> frozenset[str]:
        """Return the ids (``writer.seq``) of the operations of a session that wait."""
        with self._connection() as connection:
            rows = connection.execute(f"SELECT writer, seq FROM entry WHERE {_OF} AND writer <> ''", self._key(address))
            return frozenset(f"{writer}.{seq}" for writer, seq in rows)

    def pending(self, address: Address, limit: int) -> list[Kept]:
        """Return the oldest entries of a session that wait, in their order."""
        with self._connection() as connection:
            rows = connection.execute(
                f"SELECT id, checksum, body FROM entry WHERE {_OF} ORDER BY id LIMIT ?", (*self._key(address), limit)
            ).fetchall()
        return [_kept(*row) for row in rows]

    def sessions(self, limit: int, passed: int = 0) -> list[Address]:
        """Return sessions of which something waits, those whose oldest entry is the oldest first."""
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT tenant, channel, user FROM entry WHERE namespace = ? AND state = 'p' "
                "GROUP BY tenant, channel, user ORDER BY min(id) LIMIT ? OFFSET ?",
                (self._namespace, limit, passed),
            ).fetchall()
        return [Address(*row) for row in rows]

    def settle(self, done: Sequence[int], dead: Sequence[tuple[int, str]], counts: dict[str, int]) -> None:
        """Let go of what was replayed or is not needed any more, keep what was refused as dead, and count."""
        with self._writing() as connection:
            connection.executemany("DELETE FROM entry WHERE id = ?", [(one,) for one in done])
            connection.executemany("UPDATE entry SET state = 'd', reason = ? WHERE id = ?", [(why, one) for one, why in dead])
            for name, number in counts.items():
                self._count(connection, name, number)

    def _count(self, connection: Any, name: str, number: int) -> None:
        connection.execute(
            "INSERT INTO note VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = CAST(value AS INTEGER) + excluded.value",
            (self._namespace, f"count:{name}", number),
        )

    # what people ask

    def standing(self) -> Standing:
        """Return how the journal stands."""
        with self._connection() as connection:
            pending, oldest = connection.execute(
                "SELECT count(*), min(at_ms) FROM entry WHERE namespace = ? AND state = 'p'", (self._namespace,)
            ).fetchone()
            sessions = connection.execute(
                "SELECT count(*) FROM (SELECT DISTINCT tenant, channel, user FROM entry WHERE namespace = ? AND state = 'p')",
                (self._namespace,),
            ).fetchone()[0]
            dead = connection.execute(
                "SELECT count(*) FROM entry WHERE namespace = ? AND state = 'd'", (self._namespace,)
            ).fetchone()[0]
            rows = connection.execute(
                "SELECT substr(name, 7), value FROM note WHERE namespace = ? AND name GLOB 'count:*'", (self._namespace,)
            ).fetchall()
            erasures, owed = connection.execute(
                "SELECT count(*), min(at_ms) FROM erasure WHERE namespace = ?", (self._namespace,)
            ).fetchone()
        counts, closed = {name: int(value) for name, value in rows}, bool(self.note("bookings"))
        return Standing(pending, sessions, oldest or 0, dead, counts, erasures, owed or 0, closed)

    def depth(self) -> int:
        """Return how many entries wait."""
        with self._connection() as connection:
            count = "SELECT count(*) FROM entry WHERE namespace = ? AND state = 'p'"
            return int(connection.execute(count, (self._namespace,)).fetchone()[0])

    def dead(self) -> int:
        """Return how many entries were refused for good."""
        with self._connection() as connection:
            count = "SELECT count(*) FROM entry WHERE namespace = ? AND state = 'd'"
            return int(connection.execute(count, (self._namespace,)).fetchone()[0])

    def dead_sessions(self, limit: int) -> dict[Address, int]:
        """Return sessions of which something was refused for good, and of each how many entries."""
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT tenant, channel, user, count(*) FROM entry WHERE namespace = ? AND state = 'd' "
                "GROUP BY tenant, channel, user ORDER BY max(id) DESC LIMIT ?",
                (self._namespace, limit),
            ).fetchall()
        return {Address(*whose): number for *whose, number in rows}

    def entries(self, *, state: str | None, limit: int) -> list[Listed]:
        """Return entries as a person reads them, the oldest first; of one state (``p`` or ``d``) or of both."""
        states = ("p", "d") if state is None else (state,)
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT id, state, kind, tenant, channel, user, at_ms, length(body), reason FROM entry "
                f"WHERE namespace = ? AND state IN ({', '.join('?' * len(states))}) ORDER BY id LIMIT ?",
                (self._namespace, *states, limit),
            ).fetchall()
        names = {"p": "pending", "d": "dead"}
        return [
            Listed(number, names[stands], kind, tenant, channel, user, at_ms / 1000, size, why)
            for number, stands, kind, tenant, channel, user, at_ms, size, why in rows
        ]

    def retry(self, number: int) -> bool:
        """Let a dead entry wait again, as the last of its session and under a new id; return whether there was one."""
        with self._writing(adding=True) as connection:
            found = self._dead(connection, number)
            if found is None:
                return False
            entry = _kept(*found)
            if entry.entry is None:
                raise Damaged(f"the entry {number} cannot be retried: {entry.problem}")
            renewed = _under_new_id(entry.entry, number)
            body, checksum = encode(renewed)
            connection.execute(
                "INSERT INTO entry (namespace, tenant, channel, user, kind, writer, seq, at_ms, checksum, body) "
                "SELECT namespace, tenant, channel, user, kind, ?, ?, at_ms, ?, ? FROM entry WHERE id = ?",
                (*_id_of(renewed), checksum, body, number),
            )
            connection.execute("DELETE FROM entry WHERE id = ?", (number,))
            return True

    def drop(self, number: int) -> bool:
        """Let a dead entry go for good; return whether there was one."""
        with self._writing() as connection:
            if self._dead(connection, number) is None:
                return False
            connection.execute("DELETE FROM entry WHERE id = ?", (number,))
            self._count(connection, "dropped", 1)
            return True

    def is_dead(self, number: int) -> bool:
        """Return whether there is a dead entry of this number."""
        with self._connection() as connection:
            return self._dead(connection, number) is not None

    def _dead(self, connection: Any, number: int) -> Any:
        select = "SELECT id, checksum, body FROM entry WHERE id = ? AND namespace = ? AND state = 'd'"
        return connection.execute(select, (number, self._namespace)).fetchone()

    # what is known

    def note(self, name: str) -> str:
        """Return what was noted under a name; ``""`` if nothing was."""
        with self._connection() as connection:
            select = "SELECT value FROM note WHERE namespace = ? AND name = ?"
            found = connection.execute(select, (self._namespace, name)).fetchone()
        return str(found[0]) if found else ""

    def write_note(self, name: str, value: str) -> None:
        """Note something."""
        with self._writing() as connection:
            connection.execute(
                "INSERT INTO note VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
                (self._namespace, name, value),
            )

    def forget(self, tenant: str, channel: str | None = None, user: str | None = None) -> int:
        """Delete every entry of a session, a user or a tenant, dead ones too, from the file as well; return how many."""
        where, values = "namespace = ? AND tenant = ?", [self._namespace, tenant]
        for name, value in (("channel", channel), ("user", user)):
            if value is not None:
                where, values = f"{where} AND {name} = ?", [*values, value]
        with self._writing() as connection:
            connection.execute(f"DELETE FROM entry WHERE {where}", values)
            gone = int(connection.execute("SELECT changes()").fetchone()[0])
        self.checkpoint()
        return gone

    def owe_erasure(self, tenant: str, user: str, at_ms: int) -> None:
        """Note that the primary is to be told of an erasure, before anything else."""
        with self._writing() as connection:
            connection.execute(
                "INSERT INTO erasure VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET at_ms = max(at_ms, excluded.at_ms)",
                (self._namespace, tenant, user, at_ms),
            )

    def owed_erasures(self) -> list[tuple[str, str, int]]:
        """Return tenant, user and time of the erasures that the primary does not know of."""
        with self._connection() as connection:
            select = "SELECT tenant, user, at_ms FROM erasure WHERE namespace = ? ORDER BY at_ms"
            return connection.execute(select, (self._namespace,)).fetchall()  # type: ignore[no-any-return]

    def erasure_is_done(self, tenant: str, user: str, at_ms: int) -> None:
        """The primary knows of it: nothing here names them any more."""
        with self._writing() as connection:
            connection.execute(
                "DELETE FROM erasure WHERE namespace = ? AND tenant = ? AND user = ? AND at_ms <= ?",
                (self._namespace, tenant, user, at_ms),
            )
        self.checkpoint()

    def checkpoint(self) -> bool:
        """Move everything from the ``-wal`` into the file and empty it; return whether no reader was in the way."""
        with self._connection() as connection:
            return bool(connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0)

    def _salvage(self, aside: str) -> str:
        """Take over what can be read; the rest is what the mirror has and the primary lacks: a note says so."""
        rows = salvaged(aside)
        with self._writing(adding=True) as connection:
            for statement, values in (*rows.statements(), note_of_a_gap(self._namespace)):
                connection.execute(statement, values)
        self.doubt()
        return rows.told()

    def close(self) -> None:
        """Close every thread's connection."""
        self._connections.close()
        self._flag.close()


def _kind(operation: ops.Operation) -> str:
    return type(operation).__name__.lower()


def _kept(number: int, checksum: int, body: bytes) -> Kept:
    try:
        return Kept(number, decode(body, checksum))
    except Damaged as error:
        return Kept(number, None, str(error))


def _id_of(entry: Entry) -> tuple[str, int]:
    operation = entry.operation
    return (operation.writer, operation.seq) if isinstance(operation, ops.Write) else ("", 0)


def _under_new_id(entry: Entry, number: int) -> Entry:
    """A mark may stand above its old id. The new one follows from the number, so that retrying twice is retrying once."""
    if not isinstance(entry.operation, ops.Write):
        return entry
    writer, seq = _id_of(entry)
    renewed = hashlib.blake2b(f"{writer}.{seq}.{number}".encode(), digest_size=13).hexdigest()
    return msgspec.structs.replace(entry, operation=msgspec.structs.replace(entry.operation, writer=renewed, seq=1))
