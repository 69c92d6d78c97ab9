"""Named locks: what the scripts of these names do on Redis, across the processes of a host."""

from __future__ import annotations

from typing import Any

import msgspec

from luni import operations as ops
from luni.backends.sqlite.rows import Tables

__all__ = ["guarantees", "is_held", "lock", "renew", "unlock"]

FENCE_MS = 30 * 24 * 3600 * 1000
QUEUE_MAX = LOCKS_MAX = 64
_WHERE = "tenant = ? AND channel = ? AND user = ? AND name = ?"


class _Row(msgspec.Struct):
    """What changes of a row of the table ``lock``."""

    owner: str = ""
    token: int = 0
    until_ms: int = 0
    session_id: str = ""
    queue: str = ""

    def waiters(self, now_ms: int) -> dict[str, int]:
        """Return who waits and is alive, the first come first."""
        pairs = [pair.split(",") for pair in self.queue.split(";") if pair]
        return {owner: int(until) for owner, until in pairs if int(until) > now_ms}

    def wait_in(self, waiters: dict[str, int]) -> None:
        """Let these wait."""
        self.queue = ";".join(f"{owner},{until}" for owner, until in waiters.items())


def _key(place: ops.Place) -> tuple[str, str, str, str]:
    return place.tenant, place.channel, place.user, place.name


def _find(tables: Tables, place: ops.Place) -> _Row:
    columns = ", ".join(_Row.__struct_fields__)
    found = tables.execute(f"SELECT {columns} FROM lock WHERE {_WHERE}", _key(place)).fetchone()
    return _Row(*found) if found else _Row()


def _save(tables: Tables, place: ops.Place, row: _Row, ttl_ms: int = 0) -> None:
    """Write a row back; two that nobody has used for thirty days leave."""
    tables.saved = True
    purge_ms = tables.now_ms + max(FENCE_MS, ttl_ms)
    tables.execute(
        "INSERT OR REPLACE INTO lock VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (*_key(place), *msgspec.structs.astuple(row), purge_ms),
    )
    due = tables.execute("SELECT tenant, channel, user, name FROM lock WHERE purge_ms <= ? LIMIT 2", (tables.now_ms,))
    for key in due.fetchall():
        tables.execute(f"DELETE FROM lock WHERE {_WHERE}", key)


def lock(tables: Tables, op: ops.Lock) -> ops.Locked:
    """Acquire a named lock, or keep a place in its queue."""
    row, now, place = _find(tables, op.place), tables.now_ms, op.place
    held = row.until_ms > now
    if held and row.owner == op.owner:
        return ops.Locked("acquired", row.token)
    conversation = tables.find(place.address) if place.address else None
    if place.address and (conversation is None or conversation.session_id is None):
        return ops.Locked("no_session")
    waiters = row.waiters(now)
    ahead = list(waiters).index(op.owner) if op.owner in waiters else len(waiters)
    if held or ahead:
        return _queued(tables, op, row, waiters, ops.Locked("held", left_ms=max(0, row.until_ms - now), ahead=ahead))
    waiters.pop(op.owner, None)
    row.wait_in(waiters)
    if conversation and _held_of(tables, place) >= LOCKS_MAX:
        return ops.Locked("full")
    (last,) = tables.execute("SELECT coalesce(max(token), 0) FROM lock").fetchone()  # no two locks of the file share a token
    fence = max(last, conversation.fence if conversation else 0)
    row.owner, row.token, row.until_ms = op.owner, max(fence + 1, 1000 * now), now + op.ttl_ms
    row.session_id = (conversation.session_id or "") if conversation else ""
    _save(tables, place, row, op.ttl_ms)
    if conversation:  # a session's tokens are one row of numbers, whatever the lock
        tables.execute("UPDATE conversation SET fence = ? WHERE id = ?", (row.token, conversation.id))
    return ops.Locked("acquired", row.token)


def _held_of(tables: Tables, place: ops.Place) -> int:
    """Return how many other locks of a session are held."""
    found = tables.execute(
        "SELECT count(*) FROM lock WHERE tenant = ? AND channel = ? AND user = ? AND name <> ? AND until_ms > ?",
        (*_key(place), tables.now_ms),
    )
    return int(found.fetchone()[0])


def _queued(tables: Tables, op: ops.Lock, row: _Row, waiters: dict[str, int], answer: ops.Locked) -> ops.Locked:
    if op.ticket_ms == 0 and op.owner not in waiters:
        return answer
    if op.ticket_ms and op.owner not in waiters and len(waiters) >= QUEUE_MAX:
        return ops.Locked("full")
    if op.ticket_ms:
        waiters[op.owner] = tables.now_ms + op.ticket_ms
    else:
        del waiters[op.owner]
    row.wait_in(waiters)
    _save(tables, op.place, row)
    return answer


def unlock(tables: Tables, op: ops.Unlock) -> bool:
    """Release a named lock that is still its owner's, and give up a place in its queue."""
    row = _find(tables, op.place)
    waiters = row.waiters(tables.now_ms)
    mine = row.until_ms > tables.now_ms and row.owner == op.owner and op.token in {0, row.token}
    if not mine and op.owner not in waiters:
        return False
    waiters.pop(op.owner, None)
    row.wait_in(waiters)
    if mine:
        row.owner, row.until_ms = "", 0
    _save(tables, op.place, row)
    return mine


def renew(tables: Tables, lease: ops.LockLease) -> bool:
    """Renew a lock that is still held; one of a session that has ended is not."""
    row, now = _find(tables, lease.place), tables.now_ms
    if row.until_ms <= now or (row.owner, row.token) != (lease.owner_id, lease.token):
        return False
    if row.session_id and not _goes_on(tables, lease.place, row.session_id):
        return False
    row.until_ms = now + lease.lease_ms
    _save(tables, lease.place, row, lease.lease_ms)
    return True


def _goes_on(tables: Tables, place: ops.Place, session_id: str) -> bool:
    conversation = tables.find(place.address) if place.address else None
    return conversation is not None and conversation.session_id == session_id


def is_held(tables: Tables, token: int, where: str, bindings: tuple[Any, ...]) -> bool:
    """Whether a lock is held with this token, among those that ``where`` finds."""
    found = tables.execute(
        f"SELECT 1 FROM lock WHERE {where} AND token = ? AND until_ms > ?", (*bindings, token, tables.now_ms)
    )  # fmt: skip
    return found.fetchone() is not None


def guarantees(_tables: Tables, _op: ops.Guarantees) -> ops.Guaranteed:
    """A file throws nothing away."""
    return ops.Guaranteed("noeviction")
