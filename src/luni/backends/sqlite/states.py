"""Whole sessions, in and out: what the scripts of these names do on Redis."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import msgspec

from luni import operations as ops
from luni import wire
from luni.backends.sqlite.rows import Conversation, Tables
from luni.errors import Conflict
from luni.models import Address

__all__ = ["acquaint", "dump", "restore", "stamp"]

_SAME = (
    "created_ms", "activity_ms", "clock_ms", "expire_ms", "metadata", "context", "summary", "focus", "pause",
    "token_est", "n", "settled", "count", "tokens", "folded", "rev", "fence", "loaded",
)  # fmt: skip
"""Columns that are fields of a state, too. The session's id and what is a time of the row itself are not among them."""


def acquaint(_tables: Tables, _op: ops.Acquaint) -> ops.Acquainted:
    """A file does not go away and come back as another one."""
    return ops.Acquainted("", "")


def dump(tables: Tables, op: ops.Dump) -> ops.Dumped:
    """Read everything that is stored of a session. Writes nothing."""
    state = _state(tables, op.address)
    return ops.Dumped(tables.now_ms, _version(state), state)


def _version(state: ops.State) -> str:
    timeless = msgspec.structs.replace(state, expire_ms=0, seen_end_ms=0, lease_end_ms=0)
    return hashlib.sha1(msgspec.msgpack.encode(timeless), usedforsecurity=False).hexdigest()


def _state(tables: Tables, address: Address) -> ops.State:
    row = tables.find(address)
    if row is None or (row.session_id is None and row.seen_end_ms <= tables.now_ms):
        return ops.State()
    arrivals = _arrivals(tables, row)
    seen_end_ms = row.seen_end_ms if row.n or arrivals else 0
    if row.session_id is None:
        return ops.State(n=row.n, settled=row.n, seen_end_ms=seen_end_ms, arrivals=arrivals)
    leased = row.leased(tables.now_ms)
    window, waiting = tables.lists(row)
    values: dict[str, Any] = {name: getattr(row, name) for name in _SAME}
    return ops.State(
        session_id=row.session_id, seen_end_ms=seen_end_ms, paused=bool(row.paused),
        lease=row.lease if leased else "", lease_end_ms=row.lease_end_ms if leased else 0,
        window=window, waiting=waiting, transcript=tuple(text for _, text in reversed(_texts(tables, row, "transcript"))),
        arrivals=arrivals, marks=_marks(tables, row), unsent=_unsent(tables, row), stamps=_stamps(tables, row), **values,
    )  # fmt: skip


def _arrivals(tables: Tables, row: Conversation) -> tuple[ops.Arrival, ...]:
    found = tables.execute(
        "SELECT n, digest, state, token, attempt, answer, arrived_ms FROM accepted WHERE conversation = ? ORDER BY n", (row.id,)
    )
    return tuple([ops.Arrival(*record) for record in found])


def _marks(tables: Tables, row: Conversation) -> tuple[ops.Mark, ...]:
    found = tables.execute("SELECT writer, seq, ms, result FROM mark WHERE conversation = ? ORDER BY ms, writer", (row.id,))
    return tuple([ops.Mark(*mark) for mark in found])


def _unsent(tables: Tables, row: Conversation) -> tuple[tuple[str, bytes], ...]:
    found = tables.execute("SELECT id, text FROM unsent WHERE conversation = ?", (row.id,))
    return tuple(sorted(found, key=wire.unsent_order))


def _stamps(tables: Tables, row: Conversation) -> tuple[tuple[str, str], ...]:
    found = tables.execute("SELECT name, stamp FROM stamp WHERE conversation = ? ORDER BY name", (row.id,))
    return tuple(sorted(found))


def stamp(tables: Tables, row: Conversation, op: ops.Reply | ops.Update | ops.Pause) -> None:
    """Note when the fields that a caller sets were set; of a session with 512 stamps, only those that are there are renewed."""
    names = ops.stamped(op)
    if not names:
        return
    new = f"{row.clock_ms:013d}-{op.writer}-{op.seq}"
    for name in names:
        tables.execute(
            "INSERT INTO stamp SELECT ?1, ?2, ?3 WHERE EXISTS (SELECT 1 FROM stamp WHERE conversation = ?1 AND name = ?2) "
            "OR (SELECT count(*) FROM stamp WHERE conversation = ?1) < ?4 ON CONFLICT DO UPDATE SET stamp = excluded.stamp",
            (row.id, name, new, ops.STAMPS),
        )


def _texts(tables: Tables, row: Conversation, table: str) -> list[tuple[int, bytes]]:
    """Return the positions and texts of a list, the oldest first."""
    select = f"SELECT position, text FROM {table} WHERE conversation = ? ORDER BY position"
    return list(tables.execute(select, (row.id,)))


def restore(tables: Tables, op: ops.Restore) -> bool:
    """Make a session what a state says, if what is stored still has the version. Not an activity."""
    state, now = op.state, tables.now_ms
    if op.version is not None and op.version != _version(_state(tables, op.address)):
        return False
    if state.session_id and state.expire_ms <= now:
        return True
    if not state.session_id:
        return _end(tables, op)
    _refuse_another_place(tables, op)
    row = tables.find_or_create(op.address)
    if row.session_id != state.session_id:
        row.queue = ""
    row.session_id, row.paused = state.session_id, int(state.paused)
    for name in _SAME:
        setattr(row, name, getattr(state, name))
    row.count = state.folded + len(state.window) + len(state.waiting)  # of these three, only the last is counted on Redis
    row.lease, row.lease_end_ms = _lease(row, state, now)
    row.seen_end_ms, row.purge_ms = state.seen_end_ms or state.expire_ms, state.expire_ms
    row.waiting_ms = state.waiting_since()
    _write_texts(tables, row, "message", (*state.waiting, *reversed(state.window)), _message)
    _write_texts(tables, row, "transcript", state.transcript[::-1], _line)
    _write_rows(tables, row, state)
    tables.save(row)
    tables.purge(row)
    return True


def _end(tables: Tables, op: ops.Restore) -> bool:
    """What there is of a session ends; the accepted ids are what the state says."""
    state = op.state
    if not state.n and tables.find(op.address) is None:
        return True
    row = tables.find_or_create(op.address)
    tables.forget(row)
    row.n = row.settled = state.n
    row.seen_end_ms = row.purge_ms = state.seen_end_ms
    _write_keyed(tables, row, "accepted", {one.n: _accepted(one) for one in state.arrivals})
    tables.save(row)
    tables.purge(row)
    return True


def _refuse_another_place(tables: Tables, op: ops.Restore) -> None:
    """An id leads to one place."""
    find = "SELECT id, tenant, channel, user, expire_ms FROM conversation WHERE session_id = ?"
    found = tables.execute(find, (op.state.session_id,)).fetchone()
    if found is None or Address(*found[1:4]) == op.address:
        return
    if found[4] > tables.now_ms:
        raise Conflict("the session lives at another address; nothing was stored")
    other = tables.find_or_create(Address(*found[1:4]))
    tables.save(other)


def _lease(row: Conversation, state: ops.State, now: int) -> tuple[str, int]:
    """A lease that is the stored one is not shortened."""
    if not state.lease or state.lease_end_ms <= now:
        return "", 0
    return state.lease, max(state.lease_end_ms, row.lease_end_ms) if row.lease == state.lease else state.lease_end_ms


def _message(key: int, position: int, text: bytes) -> tuple[Any, ...]:
    return key, position, wire.arrival_of(text), text


def _line(key: int, position: int, text: bytes) -> tuple[Any, ...]:
    return key, position, text


def _write_texts(
    tables: Tables,
    row: Conversation,
    table: str,
    wanted: tuple[bytes, ...],
    values: Callable[[int, int, bytes], tuple[Any, ...]],
) -> None:
    """Write a list, the oldest first. Mostly some leave at the beginning and some come at the end: nothing else is touched."""
    stored = _texts(tables, row, table)
    texts = [text for _, text in stored]
    first = texts.index(wanted[0]) if wanted and wanted[0] in texts else 0
    same = first
    while same < len(texts) and same - first < len(wanted) and texts[same] == wanted[same - first]:
        same += 1
    for position, _ in (*stored[:first], *stored[same:]):
        tables.execute(f"DELETE FROM {table} WHERE conversation = ? AND position = ?", (row.id, position))
    last = stored[same - 1][0] if same > first else 0
    for place, text in enumerate(wanted[same - first :], last + 1):
        new = values(row.id, place, text)
        tables.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(new))})", new)


_KEYED = {
    "accepted": ("n", "n, digest, state, token, attempt, answer, arrived_ms"),
    "mark": ("writer", "writer, seq, ms, result"),
    "unsent": ("id", "id, ms, text"),
    "stamp": ("name", "name, stamp"),
}
"""Tables with one row for each key within a conversation: the key, and all columns."""


def _accepted(one: ops.Arrival) -> tuple[Any, ...]:
    return one.n, one.digest, one.state, one.token, one.attempt, one.answer, one.arrived_ms


def _write_rows(tables: Tables, row: Conversation, state: ops.State) -> None:
    marks = sorted(state.marks, key=lambda mark: mark.ms)[-ops.WRITERS :]
    _write_keyed(tables, row, "accepted", {one.n: _accepted(one) for one in state.arrivals[-ops.RING :]})
    _write_keyed(tables, row, "mark", {mark.writer: (mark.writer, mark.seq, mark.ms, mark.result) for mark in marks})
    _write_keyed(tables, row, "unsent", {name: (name, wire.time_of(text), text) for name, text in state.unsent})
    stamps = sorted(state.stamps, key=lambda one: one[1])[-ops.STAMPS :]
    _write_keyed(tables, row, "stamp", {name: (name, value) for name, value in stamps})


def _write_keyed(tables: Tables, row: Conversation, table: str, wanted: dict[Any, tuple[Any, ...]]) -> None:
    """Write the rows that differ, and no others."""
    key, columns = _KEYED[table]
    found = tables.execute(f"SELECT {columns} FROM {table} WHERE conversation = ?", (row.id,))
    stored = {values[0]: values for values in found}
    for name in stored.keys() - wanted.keys():
        tables.execute(f"DELETE FROM {table} WHERE conversation = ? AND {key} = ?", (row.id, name))
    for name, values in wanted.items():
        if stored.get(name) != values:
            marks = ", ".join("?" * (1 + len(values)))
            tables.execute(f"INSERT OR REPLACE INTO {table} (conversation, {columns}) VALUES ({marks})", (row.id, *values))
