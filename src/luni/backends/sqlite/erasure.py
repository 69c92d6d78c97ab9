"""Erasing a person or a tenant, and looking for what there is: what the scripts of these names do on Redis."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import apsw

from luni import operations as ops
from luni.backends.sqlite.agenda import COLUMNS, read_record
from luni.backends.sqlite.rows import Conversation, Tables
from luni.models import Address

__all__ = ["bookings_of", "bury", "erase", "erase_bookings", "expunge", "scrub", "tombstones", "traces", "vacate"]

COMPACT_BYTES = 128 * 1024 * 1024
"""Up to which size a file is written anew: others wait meanwhile, for a second or so."""
_KEY = re.compile(rb'\{"k":"([0-9]+)-([^"]*)-([0-9]+)\.[0-9]+",')
_TIMESTAMP = re.compile(rb'"timestamp":([0-9]+)')
_TOKENS = re.compile(rb'"tokens":([0-9]+)')
_WHOSE = "tenant = ?1 AND (?2 = '' OR user = ?2)"


def _digest(secret: bytes, tenant: str, user: str) -> bytes:
    return hashlib.blake2b(f"{len(tenant)}:{tenant}{user}".encode(), key=secret, digest_size=32).digest()


def _secret(tables: Tables) -> bytes | None:
    found = tables.execute("SELECT secret FROM tombstone_key").fetchone()
    return found[0] if found else None


def bury(tables: Tables, op: ops.Bury) -> ops.Buried:
    """Write a tombstone; those of 31 days ago leave."""
    tables.saved = True
    secret = _secret(tables)
    if secret is None:
        secret = op.secret.encode()
        tables.execute("INSERT INTO tombstone_key VALUES (?)", (secret,))
    ms = min(op.at_ms or tables.now_ms, tables.now_ms)
    tables.execute(
        "INSERT INTO tombstone VALUES (?, ?) ON CONFLICT DO UPDATE SET ms = max(ms, excluded.ms)",
        (_digest(secret, op.tenant, op.user), ms),
    )
    tables.execute("DELETE FROM tombstone WHERE ms < ?", (tables.now_ms - ops.TOMBSTONE_MS,))
    return ops.Buried(ms)


def tombstones(tables: Tables, op: ops.Tombstones) -> ops.Buried:
    """Read when somebody was last erased."""
    secret = _secret(tables)
    if secret is None:
        return ops.Buried(0)
    if not op.tenant:
        return ops.Buried(tables.execute("SELECT coalesce(max(ms), 0) FROM tombstone").fetchone()[0])
    digests = [_digest(secret, op.tenant, user) for user in ("", op.user)]
    (ms,) = tables.execute(
        "SELECT coalesce(max(ms), 0) FROM tombstone WHERE digest IN (?, ?) AND ms >= ?",
        (*digests, tables.now_ms - ops.TOMBSTONE_MS),
    ).fetchone()
    return ops.Buried(ms)


def traces(tables: Tables, op: ops.Traces) -> ops.Traced:
    """Look for conversations, a page at a time; with the last page, for locks without one and for bookings."""
    after = int(op.cursor or 0)
    rows = tables.execute(
        f"SELECT id, tenant, channel, user FROM conversation WHERE {_WHOSE} AND id > ?3 ORDER BY id LIMIT ?4",
        (op.tenant, op.user, after, op.limit),
    ).fetchall()
    addresses = tuple(Address(*place) for _, *place in rows)
    if len(rows) == op.limit:
        return ops.Traced(addresses, cursor=str(rows[-1][0]))
    locks = tables.execute(
        f"SELECT DISTINCT tenant, channel, user FROM lock WHERE {_WHOSE} AND channel <> ''", (op.tenant, op.user)
    )
    addresses += tuple(Address(*place) for place in locks)
    resources = tables.execute(
        "SELECT DISTINCT resource FROM booking WHERE tenant = ?1 AND (?2 = '' OR customer = ?2)", (op.tenant, op.user)
    )
    return ops.Traced(tuple(dict.fromkeys(addresses)), resources=tuple(resource for (resource,) in resources))


def erase(tables: Tables, op: ops.Erase) -> ops.Erased | ops.Met:
    """Erase one conversation as it was at the time of the erasure."""
    row = tables.find(op.address)
    later = row is not None and row.session_id is not None and op.before_ms < row.created_ms <= tables.now_ms
    if row is not None and row.session_id is not None and not later and row.session_id != op.session_id:
        return ops.Met(row.session_id)
    tables.saved = True
    place = (op.address.tenant, op.address.channel, op.address.user)
    locks = _erase_locks(tables, "tenant = ? AND channel = ? AND user = ?", place, op.before_ms)
    if row is None:
        return ops.Erased(locks=locks)
    return _Erasing(tables, row, op).run(later=later, locks=locks)


def _erase_locks(tables: Tables, where: str, bindings: tuple[str, ...], before_ms: int) -> int:
    """Delete locks, but for those that were acquired later: a token begins with the time."""
    old = f"FROM lock WHERE {where} AND NOT token / 1000 BETWEEN ? AND ?"
    later = (before_ms + 1, tables.now_ms)
    (held,) = tables.execute(f"SELECT count(*) {old} AND until_ms > ?", (*bindings, *later, tables.now_ms)).fetchone()
    tables.execute(f"DELETE {old}", (*bindings, *later))
    return int(held)


class _Erasing:
    """One conversation that is erased."""

    def __init__(self, tables: Tables, row: Conversation, op: ops.Erase) -> None:
        self._tables, self._row, self._op = tables, row, op
        self._later = (op.before_ms + 1, tables.now_ms)  # what is of a time to come is older: the clock has gone back
        where = "WHERE conversation = ? AND NOT arrived_ms BETWEEN ? AND ?"
        old = self._execute(f"SELECT answer FROM accepted {where}", *self._later).fetchall()
        self._forgotten = len(old)
        self._answers = {answer for (answer,) in old}

    def _execute(self, statement: str, *bindings: Any) -> Any:
        return self._tables.execute(statement, (self._row.id, *bindings))

    def run(self, *, later: bool, locks: int) -> ops.Erased:
        row = self._row
        self._execute("DELETE FROM accepted WHERE conversation = ? AND NOT arrived_ms BETWEEN ? AND ?", *self._later)
        if later:
            return ops.Erased(ids=self._forgotten, locks=locks)
        (held,) = self._execute("SELECT count(*) FROM message WHERE conversation = ?").fetchone()
        leased = int(row.leased(self._tables.now_ms))
        there = int(row.session_id is not None)
        staying = [text for _, text in self._keep("message", "position")] if there else []
        if staying:
            self._go_on(staying)
        elif self._execute("SELECT 1 FROM accepted WHERE conversation = ? LIMIT 1").fetchone():
            self._forget_session()  # a session began and ended after the erasure
        else:
            self._execute("DELETE FROM conversation WHERE id = ?")
        return ops.Erased(there, held - len(staying), self._forgotten, locks + leased)

    def _stays(self, text: bytes) -> bool:
        """Whether a stored text is of after the erasure, and answers nothing that was erased."""
        if self._row.clock_ms > self._tables.now_ms:
            return False  # the same
        found = _KEY.match(text)
        answers = found is not None and f"{found[2].decode()}.{found[3].decode()}" in self._answers
        return _said_ms(text) > self._op.before_ms and not answers

    def _keep(self, table: str, key: str) -> list[tuple[int, bytes]]:
        """Delete what does not stay; return the rest, in order."""
        rows = self._execute(f"SELECT {key}, text FROM {table} WHERE conversation = ? ORDER BY {key}").fetchall()
        for number, text in rows:
            if not self._stays(text):
                self._execute(f"DELETE FROM {table} WHERE conversation = ? AND {key} = ?", number)
        return [row for row in rows if self._stays(row[1])]

    def _go_on(self, texts: list[bytes]) -> None:
        row, tables = self._row, self._tables
        for table, key in (("transcript", "position"), ("unsent", "number")):
            self._keep(table, key)
        self._execute("DELETE FROM claim WHERE conversation = ?")
        self._execute("DELETE FROM mark WHERE conversation = ? AND ms <= ?", self._op.before_ms)
        n, expire_ms, activity_ms, fence, seen_end_ms = row.n, row.expire_ms, row.activity_ms, row.fence, row.seen_end_ms
        row.clear()
        began_ms = min([tables.now_ms, *map(_said_ms, texts)])  # so that another erasure, of a time between, finds it older
        row.begin(self._op.fresh_id, began_ms, with_message=True)
        row.n, row.expire_ms, row.purge_ms, row.activity_ms = n, expire_ms, expire_ms, activity_ms
        row.fence, row.seen_end_ms, row.clock_ms = fence, seen_end_ms, tables.now_ms
        waiting = tables.waiting(row, 1, n)
        row.settled = waiting[0].n - 1 if waiting else n
        row.waiting_ms = waiting[0].arrived_ms if waiting else 0
        row.count = len(texts)
        row.tokens = sum(int(found[1]) for text in texts if (found := _TOKENS.search(text)))
        tables.save(row)

    def _forget_session(self) -> None:
        self._tables.forget(self._row)
        self._execute("DELETE FROM claim WHERE conversation = ?")
        self._tables.save(self._row)


def _said_ms(text: bytes) -> int:
    """Return when a stored text was said: by its key, another program's by its timestamp; 0 if that cannot be told."""
    found = _KEY.match(text) or _TIMESTAMP.search(text)
    return int(found[1]) if found else 0


def erase_bookings(tables: Tables, op: ops.EraseBookings) -> ops.Wiped:
    """Erase bookings of one resource; their slots are free."""
    tables.saved = True
    where = "tenant = ?1 AND resource = ?2 AND (?3 = '' OR customer = ?3) AND NOT created_ms BETWEEN ?4 AND ?5"
    whose = (op.tenant, op.resource, op.user, op.before_ms + 1, tables.now_ms)
    tables.execute(f"DELETE FROM booking WHERE {where}", whose)
    return ops.Wiped(tables.execute("SELECT changes()").fetchone()[0])


def scrub(_tables: Tables, _op: ops.Scrub) -> ops.Wiped:
    """Nothing is astray in a database: a conversation's locks go with it, a tenant's with `vacate`."""
    return ops.Wiped(0)


def vacate(tables: Tables, op: ops.Vacate) -> bool:
    """Erase a tenant's locks and the marks of its agendas; return whether nothing is left."""
    tables.saved = True
    _erase_locks(tables, "tenant = ?", (op.tenant,), op.before_ms)
    tables.execute("DELETE FROM agenda_mark WHERE tenant = ? AND ms <= ?", (op.tenant, op.before_ms))
    left = "SELECT (SELECT count(*) FROM conversation WHERE tenant = ?1) + (SELECT count(*) FROM booking WHERE tenant = ?1)"
    return bool(tables.execute(left, (op.tenant,)).fetchone()[0] == 0)


def expunge(connection: Any) -> bool:
    """Rewrite the file and empty its log. Waits for readers of an older state as long as for any lock.

    Deleted rows have been overwritten already (``secure_delete``), but where SQLite has moved a row within its pages before
    that, a copy may be left in the free space between others: only a file that is written anew has none.
    """
    try:
        small = connection.pragma("page_count") * connection.pragma("page_size") <= COMPACT_BYTES
        if small:
            connection.execute("PRAGMA temp_store=MEMORY")  # no copy in anybody's /tmp
            connection.execute("VACUUM")
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except (apsw.BusyError, apsw.FullError):
        return False
    return bool(small and busy == 0)


def bookings_of(tables: Tables, op: ops.BookingsOf) -> ops.BookingsPage:
    """Read the bookings that a resource leads, also expired and cancelled ones."""
    rows = tables.execute(
        f"SELECT {COLUMNS} FROM booking WHERE tenant = ?1 AND resource = ?2 AND (?3 = '' OR customer = ?3) AND leads "
        "AND id > ?4 ORDER BY id LIMIT ?5",
        (op.tenant, op.resource, op.user, op.cursor, op.limit),
    ).fetchall()
    records = tuple(read_record(row) for row in rows)
    return ops.BookingsPage(records, records[-1].id if len(records) == op.limit else "")
