"""Agendas: what the scripts of these names do on Redis. The database itself refuses what overlaps."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec

from luni import operations as ops
from luni.backends.sqlite import locks
from luni.backends.sqlite.rows import Tables
from luni.errors import Damaged, Superseded

__all__ = [
    "COLUMNS", "adopt", "bookings_by", "bookings_in", "busy_in", "cancel", "confirm", "hold", "move", "read_record", "recall",
    "reconcile", "resources",
]  # fmt: skip

MARKS = 64
MARKS_MS = 31 * 24 * 3600 * 1000
PURGED = 4
COLUMNS = "id, state, unit, start_us, end_us, until_ms, keep_ms, created_ms, customer, shares, details"
_LIVE = "(state = 'c' OR (state = 'h' AND until_ms > ?))"


def read_record(row: tuple[Any, ...]) -> ops.Record:
    """Return a booking from its `COLUMNS`."""
    id_, state, unit, start, end, until, keep, created, by, shares, details = row
    pairs = msgspec.json.decode(shares, type=tuple[tuple[str, int], ...])
    return ops.Record(id_, state, unit, start, end, until, keep, created, by, pairs, details)


def _pairs(shares: tuple[ops.Share, ...]) -> tuple[tuple[str, int], ...]:
    return tuple((share.resource, share.capacity) for share in shares)


def _resources(shares: tuple[tuple[str, int], ...]) -> tuple[str, ...]:
    """Return which resources, whatever their capacity is said to be."""
    return tuple(resource for resource, _ in shares)


class _Agenda:
    """One change of a tenant's agenda, within one transaction."""

    def __init__(self, tables: Tables, op: ops.Change) -> None:
        self._tables, self._op = tables, op
        self.now_ms = tables.now_ms
        self._lead = op.shares[0].resource

    def begin(self) -> ops.Outcome | None:
        """Look at the mark and the token; return the answer if it ends there."""
        op = self._op
        found = self._execute(
            "SELECT seq, result FROM agenda_mark WHERE tenant = ? AND resource = ? AND writer = ?",
            op.tenant, self._lead, op.writer,
        ).fetchone()  # fmt: skip
        if found and op.seq < found[0]:
            raise Superseded("a later operation of this writer was executed; this one was not repeated")
        if found and op.seq == found[0]:
            return self._answered_before(*found[1].split(",", 1))
        if op.token is not None and not locks.is_held(
            self._tables, op.token, "tenant = ? AND channel = '' AND user = '' AND name = ?", (op.tenant, op.guard)
        ):
            return ops.Outcome("fenced", self.now_ms)
        return None

    def _execute(self, statement: str, *bindings: Any) -> Any:
        return self._tables.execute(statement, bindings)

    def _answered_before(self, state: Any, resource: str) -> ops.Outcome:
        if state != "booked":
            return ops.Outcome(state, self.now_ms, resource=resource)
        found = self._stored(self._lead)
        return ops.Outcome("booked", self.now_ms, found) if found else ops.Outcome("gone", self.now_ms)

    def _mark(self, result: str) -> None:
        op = self._op
        self._tables.saved = True
        self._execute(
            "INSERT INTO agenda_mark VALUES (?, ?, ?, ?, ?, ?) "
            "ON CONFLICT DO UPDATE SET seq = excluded.seq, ms = excluded.ms, result = excluded.result",
            op.tenant, self._lead, op.writer, op.seq, self.now_ms, result,
        )  # fmt: skip
        self._execute(
            "DELETE FROM agenda_mark WHERE tenant = ?1 AND resource = ?2 AND writer IN (SELECT writer FROM agenda_mark "
            "WHERE tenant = ?1 AND resource = ?2 ORDER BY ms DESC LIMIT -1 OFFSET ?3)",
            op.tenant, self._lead, MARKS,
        )  # fmt: skip
        old = self._execute("SELECT tenant, resource, writer FROM agenda_mark WHERE ms < ? LIMIT 2", self.now_ms - MARKS_MS)
        for key in old.fetchall():
            self._execute("DELETE FROM agenda_mark WHERE tenant = ? AND resource = ? AND writer = ?", *key)

    def refuse(self, state: Any, resource: str = "") -> ops.Outcome:
        """Change nothing, also later, when a late copy of this comes."""
        self._mark(f"{state},{resource}")
        return ops.Outcome(state, self.now_ms, resource=resource)

    def booked(self, record: ops.Record) -> ops.Outcome:
        """Return what is stored now."""
        self._mark("booked,")
        return ops.Outcome("booked", self.now_ms, record)

    def _stored(self, resource: str) -> ops.Record | None:
        found = self._execute(
            f"SELECT {COLUMNS} FROM booking WHERE tenant = ? AND resource = ? AND id = ?",
            self._op.tenant, resource, self._op.id,
        ).fetchone()  # fmt: skip
        return read_record(found) if found else None

    def booking(self, resource: str) -> ops.Record | None:
        """Return the booking of this id, if it is not over."""
        found = self._stored(resource)
        if found is None or (found.until_ms if found.state == "h" else found.keep_ms) <= self.now_ms:
            return None
        return found

    def find(self) -> ops.Record | ops.Outcome:
        """Return the booking that the change is about, or an answer if it ends there."""
        found = self.booking(self._lead)
        if found is None:
            return self.refuse("gone")
        if _resources(found.shares) != _resources(_pairs(self._op.shares)):
            return ops.Outcome("elsewhere", self.now_ms, shares=found.shares)
        return found

    def free_unit(self, share: ops.Share, start_us: int, end_us: int, has: int | None = None) -> int | None:
        """Return a unit of a resource that is free, the one it has rather than another."""
        units = range(share.capacity) if has is None else (has, *range(share.capacity))
        return next((unit for unit in units if self._is_free(share.resource, unit, start_us, end_us)), None)

    def _is_free(self, resource: str, unit: int, start_us: int, end_us: int) -> bool:
        last = self._execute(
            f"SELECT end_us FROM booking WHERE tenant = ? AND resource = ? AND unit = ? AND state <> 'x' AND start_us < ? "
            f"AND id <> ? AND {_LIVE} ORDER BY start_us DESC LIMIT 1",
            self._op.tenant, resource, unit, end_us, self._op.id, self.now_ms,
        ).fetchone()  # fmt: skip
        return last is None or last[0] <= start_us

    def put(self, resource: str, record: ops.Record) -> None:
        """Store a booking at one of its resources. Expired holds that overlap it go first: the database knows no time."""
        op = self._op
        self._execute(
            "DELETE FROM booking WHERE tenant = ? AND resource = ? AND unit = ? AND state = 'h' AND until_ms <= ? "
            "AND start_us < ? AND end_us > ?",
            op.tenant, resource, record.unit, self.now_ms, record.end_us, record.start_us,
        )  # fmt: skip
        self._execute("DELETE FROM booking WHERE tenant = ? AND resource = ? AND id = ?", op.tenant, resource, op.id)
        *fields, _shares, details = msgspec.structs.astuple(record)
        values = (*fields, msgspec.json.encode(record.shares).decode(), details)
        self._execute(
            f"INSERT INTO booking (tenant, resource, leads, {COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            op.tenant, resource, int(resource == self._lead), *values,
        )  # fmt: skip
        self._purge()

    def _purge(self) -> None:
        """Forget a few that are over."""
        for due in ("keep_ms <= ?", "state = 'h' AND until_ms <= ?"):
            found = self._execute(f"SELECT tenant, resource, id FROM booking WHERE {due} LIMIT {PURGED}", self.now_ms)
            for key in found.fetchall():
                self._execute("DELETE FROM booking WHERE tenant = ? AND resource = ? AND id = ?", *key)

    def change(self, **fields: Any) -> ops.Outcome:
        """Change the booking at all its resources."""
        first: ops.Record | None = None
        for share in self._op.shares:
            record = self.booking(share.resource)
            if record is None:  # its rows are written together, so somebody else took one away
                raise Damaged("the booking is not at all of its resources; nothing was stored")
            unit = fields.get("units", {}).get(share.resource, record.unit)
            changes = {name: value for name, value in fields.items() if name != "units"}
            changed = msgspec.structs.replace(record, unit=unit, **changes)
            self.put(share.resource, changed)
            first = first or changed
        assert first is not None  # noqa: S101  there is at least one resource
        return self.booked(first)


def hold(tables: Tables, op: ops.Hold) -> ops.Outcome:
    """Take an interval until it is confirmed."""
    agenda = _Agenda(tables, op)
    answer = agenda.begin()
    if answer:
        return answer
    for number, share in enumerate(op.shares):
        found = agenda.booking(share.resource)
        if found:
            asked = op.start_us, op.end_us, op.by, _resources(_pairs(op.shares))
            same = number == 0 and found.state != "x" and _asked(found) == asked
            return agenda.booked(found) if same else agenda.refuse("reused")
    units: dict[str, int] = {}
    for share in op.shares:
        unit = agenda.free_unit(share, op.start_us, op.end_us)
        if unit is None:
            return agenda.refuse("taken", share.resource)
        units[share.resource] = unit
    records = [
        ops.Record(
            op.id, "h", units[share.resource], op.start_us, op.end_us, tables.now_ms + op.hold_ms, _keep_ms(tables, op),
            tables.now_ms, op.by, _pairs(op.shares), op.details,
        )
        for share in op.shares
    ]  # fmt: skip
    for share, record in zip(op.shares, records, strict=True):
        agenda.put(share.resource, record)
    return agenda.booked(records[0])


def _asked(record: ops.Record) -> tuple[Any, ...]:
    return record.start_us, record.end_us, record.by, _resources(record.shares)


def _keep_ms(tables: Tables, op: ops.Hold | ops.Move) -> int:
    return min(max(op.end_us // 1000, tables.now_ms) + op.grace_ms, ops.NEVER_MS - 1)


def confirm(tables: Tables, op: ops.Confirm) -> ops.Outcome:
    """Confirm a hold that has not expired."""
    return _settled(tables, op, "c")


def cancel(tables: Tables, op: ops.Cancel) -> ops.Outcome:
    """Cancel a hold or a booking; its id stays known until it would have been forgotten."""
    return _settled(tables, op, "x")


def _settled(tables: Tables, op: ops.Change, state: str) -> ops.Outcome:
    agenda = _Agenda(tables, op)
    found = agenda.begin() or agenda.find()
    if isinstance(found, ops.Outcome):
        return found
    if found.state == state:
        return agenda.booked(found)
    if found.state == "x":
        return agenda.refuse("gone")
    return agenda.change(state=state, until_ms=ops.NEVER_MS)


def move(tables: Tables, op: ops.Move) -> ops.Outcome:
    """Give a hold or a booking another interval, if that is free, in one step."""
    agenda = _Agenda(tables, op)
    found = agenda.begin() or agenda.find()
    if isinstance(found, ops.Outcome):
        return found
    if found.state == "x":
        return agenda.refuse("gone")
    if (found.start_us, found.end_us) == (op.start_us, op.end_us):
        return agenda.booked(found)
    units: dict[str, int] = {}
    for share in op.shares:
        has = agenda.booking(share.resource)
        unit = agenda.free_unit(share, op.start_us, op.end_us, has.unit if has else None)
        if unit is None:
            return agenda.refuse("taken", share.resource)
        units[share.resource] = unit
    return agenda.change(start_us=op.start_us, end_us=op.end_us, keep_ms=_keep_ms(tables, op), units=units)


def adopt(tables: Tables, op: ops.Adopt) -> ops.Outcome:
    """Take over a booking as it is in another store."""
    agenda = _Agenda(tables, op)
    answer = agenda.begin()
    if answer:
        return answer
    if (op.until_ms if op.state == "h" else op.keep_ms) <= tables.now_ms:
        return agenda.refuse("gone")
    for number, share in enumerate(op.shares):
        found = agenda.booking(share.resource)
        if found:
            asked = op.start_us, op.end_us, op.by, _resources(_pairs(op.shares)), op.state, op.until_ms, op.details
            same = number == 0 and (*_asked(found), found.state, found.until_ms, found.details) == asked
            return agenda.booked(found) if same else agenda.refuse("reused")
    records = []
    for share, wanted in zip(op.shares, op.units, strict=True):
        unit = wanted if op.state == "x" else agenda.free_unit(share, op.start_us, op.end_us, wanted)
        if unit is None:
            return agenda.refuse("taken", share.resource)
        record = ops.Record(
            op.id, op.state, unit, op.start_us, op.end_us, op.until_ms, op.keep_ms, op.created_ms, op.by, _pairs(op.shares),
            op.details,
        )  # fmt: skip
        records.append(record)
    for share, record in zip(op.shares, records, strict=True):
        agenda.put(share.resource, record)
    return agenda.booked(records[0])


def bookings_in(tables: Tables, op: ops.BookingsIn) -> ops.Bookings:
    """Read the bookings of a resource that touch an interval."""
    found = tables.execute(
        f"SELECT {COLUMNS} FROM booking WHERE tenant = ? AND resource = ? AND state <> 'x' AND start_us < ? AND end_us > ? "
        f"AND {_LIVE} ORDER BY start_us, unit LIMIT ?",
        (op.tenant, op.resource, op.end_us, op.start_us, tables.now_ms, op.limit + 1),
    ).fetchall()
    records = tuple(read_record(row) for row in found[: op.limit])
    return ops.Bookings(tables.now_ms, records, full=len(found) > op.limit)


def busy_in(tables: Tables, op: ops.BusyIn) -> ops.Busy:
    """Read only when the units of a resource are busy."""
    units: list[list[tuple[int, int]]] = [[] for _ in range(op.capacity)]
    found = tables.execute(
        f"SELECT unit, start_us, end_us FROM booking WHERE tenant = ? AND resource = ? AND unit < ? AND state <> 'x' "
        f"AND start_us < ? AND end_us > ? AND {_LIVE} ORDER BY start_us LIMIT ?",
        (op.tenant, op.resource, op.capacity, op.end_us, op.start_us, tables.now_ms, op.limit + 1),
    ).fetchall()
    for unit, start_us, end_us in found:
        units[unit].append((start_us, end_us))
    return ops.Busy(tuple(map(tuple, units)), full=len(found) > op.limit)


def bookings_by(tables: Tables, op: ops.BookingsBy) -> ops.BookedAt:
    """List where a customer's bookings are, in order of their start."""
    found = tables.execute(
        f"SELECT resource, id FROM booking WHERE tenant = ? AND customer = ? AND leads AND state <> 'x' AND keep_ms > ? "
        f"AND {_LIVE} ORDER BY start_us LIMIT ?",
        (op.tenant, op.by, tables.now_ms, tables.now_ms, op.limit),
    )
    return ops.BookedAt(tuple((resource, one) for resource, one in found))


def recall(tables: Tables, op: ops.Recall) -> ops.Bookings:
    """Read bookings of a resource by their ids, cancelled ones too."""
    found = []
    for one in op.ids:
        query = f"SELECT {COLUMNS} FROM booking WHERE tenant = ? AND resource = ? AND id = ?"
        found += tables.execute(query, (op.tenant, op.resource, one)).fetchall()
    return ops.Bookings(tables.now_ms, tuple(map(read_record, found)))


def resources(tables: Tables, op: ops.Resources) -> ops.ResourcesListed:
    """List a tenant's resources that have bookings."""
    found = tables.execute(
        "SELECT DISTINCT resource FROM booking WHERE tenant = ? AND iif(state = 'h', until_ms, keep_ms) > ? "
        "ORDER BY resource LIMIT ?",
        (op.tenant, tables.now_ms, op.limit),
    )
    return ops.ResourcesListed(tuple(resource for (resource,) in found))


def reconcile(tables: Tables, op: ops.Reconcile) -> ops.Reconciled:
    """Look through all bookings of a resource: what conflicts are found by is an index of theirs, and cannot differ."""
    for one in op.forget:
        tables.saved = True
        tables.execute("DELETE FROM booking WHERE tenant = ? AND resource = ? AND id = ?", (op.tenant, op.resource, one))
    found = tables.execute(
        f"SELECT unit, start_us, end_us, id FROM booking WHERE tenant = ? AND resource = ? AND {_LIVE} "
        "ORDER BY unit, start_us LIMIT ?",
        (op.tenant, op.resource, tables.now_ms, op.limit + 1),
    ).fetchall()
    if len(found) > op.limit:
        return ops.Reconciled(0, full=True)
    pairs = itertools.pairwise(found)
    return ops.Reconciled(len(found), overlaps=tuple((a[3], b[3]) for a, b in pairs if a[0] == b[0] and a[2] > b[1]))
