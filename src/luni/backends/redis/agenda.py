"""The codec of agendas. Pure functions, one pair an operation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal
from urllib.parse import unquote

from luni import operations as ops
from luni.backends import keys
from luni.backends.redis.call import Arg, Call, Wait
from luni.backends.redis.scripts import SCRIPTS
from luni.errors import Damaged, Superseded

__all__ = ["DECODERS", "ENCODERS", "read_record"]

RECORD_FIELDS = 10
_STATES: dict[bytes, Literal["h", "c", "x"]] = {b"h": "h", b"c": "c", b"x": "x"}


def _us(value: int) -> str:
    return f"{value:017d}"


def _shares(shares: tuple[ops.Share, ...]) -> str:
    return ",".join(f"{keys.part(share.resource, 'resource')}/{share.capacity}" for share in shares)


def _read_shares(text: str) -> tuple[tuple[str, int], ...]:
    pairs = [share.split("/") for share in text.split(",")]
    return tuple((unquote(name), int(capacity)) for name, capacity in pairs)


def _change(namespace: str, op: ops.Change, script: str, *more: Arg) -> Call:
    lock, _ = keys.lock_keys(namespace, op.tenant, op.guard)
    found = [*keys.agenda_keys(namespace, op.tenant), lock]
    for share in op.shares:
        found += keys.resource_keys(namespace, op.tenant, share.resource)
    args: list[Arg] = [op.writer, op.seq, keys.part(op.id, "id"), _shares(op.shares), "" if op.token is None else op.token]
    args += (op.grace_ms, int(op.replicas > 0), *more)
    wait = Wait(op.replicas, op.replicas_ms) if op.replicas else None
    return Call(SCRIPTS[script], tuple(found), args, wait)


def _hold(namespace: str, op: ops.Hold) -> Call:
    by = keys.part(op.by, "by")
    return _change(namespace, op, "hold", _us(op.start_us), _us(op.end_us), op.hold_ms, by, op.details)


def _confirm(namespace: str, op: ops.Confirm) -> Call:
    return _change(namespace, op, "confirm")


def _cancel(namespace: str, op: ops.Cancel) -> Call:
    return _change(namespace, op, "cancel")


def _move(namespace: str, op: ops.Move) -> Call:
    return _change(namespace, op, "move", _us(op.start_us), _us(op.end_us))


def _adopt(namespace: str, op: ops.Adopt) -> Call:
    units = "".join(f"{unit:04d}" for unit in op.units)
    ends, by = (f"{op.until_ms:013d}", f"{op.keep_ms:013d}", op.created_ms), keys.part(op.by, "by")
    return _change(namespace, op, "adopt", op.state, _us(op.start_us), _us(op.end_us), *ends, by, units, op.details)


def _bookings_in(namespace: str, op: ops.BookingsIn) -> Call:
    records, timeline, *_ = keys.resource_keys(namespace, op.tenant, op.resource)
    return Call(SCRIPTS["bookings_in"], (records, timeline), [_us(op.start_us), _us(op.end_us), op.limit])


def _busy_in(namespace: str, op: ops.BusyIn) -> Call:
    timeline = keys.resource_keys(namespace, op.tenant, op.resource).timeline
    return Call(SCRIPTS["busy_in"], (timeline,), [_us(op.start_us), _us(op.end_us), op.limit, op.capacity])


def _bookings_by(namespace: str, op: ops.BookingsBy) -> Call:
    customers, over, _ = keys.agenda_keys(namespace, op.tenant)
    return Call(SCRIPTS["bookings_by"], (customers, over), [keys.part(op.by, "by"), op.limit])


def _recall(namespace: str, op: ops.Recall) -> Call:
    records = keys.resource_keys(namespace, op.tenant, op.resource).records
    return Call(SCRIPTS["recall"], (records,), [keys.part(one, "id") for one in op.ids])


def _resources(namespace: str, op: ops.Resources) -> Call:
    *_, resources = keys.agenda_keys(namespace, op.tenant)
    return Call(SCRIPTS["resources"], (resources,), [op.limit])


def _reconcile(namespace: str, op: ops.Reconcile) -> Call:
    lock, _ = keys.lock_keys(namespace, op.tenant, op.resource)
    found = (*keys.agenda_keys(namespace, op.tenant), lock, *keys.resource_keys(namespace, op.tenant, op.resource))
    gone = [keys.part(one, "id") for one in op.forget]
    return Call(SCRIPTS["reconcile"], found, [keys.part(op.resource, "resource"), op.limit, *gone])


def read_record(encoded_id: str, text: bytes) -> ops.Record:
    """Return a booking from its id and its text as they are stored."""
    fields = text.split(b"|", RECORD_FIELDS - 1)
    if len(fields) < RECORD_FIELDS or fields[0] not in _STATES:
        raise Damaged("a booking cannot be read; it was left as it is")
    state, unit, start, end, until, keep, created, by, shares, details = fields
    return ops.Record(
        unquote(encoded_id), _STATES[state], int(unit), int(start), int(end), int(until), int(keep), int(created),
        unquote(by.decode()), _read_shares(shares.decode()), details,
    )  # fmt: skip


def _outcome(_namespace: str, op: ops.Change, reply: list[Any]) -> ops.Outcome:
    state = reply[0].decode()
    if state == "superseded":
        raise Superseded("a later operation of this writer was executed; this one was not repeated")
    now_ms, more = int(reply[1]), reply[2] if len(reply) > 2 else b""  # noqa: PLR2004  state, ms, and what there is to say
    if state == "booked":
        return ops.Outcome("booked", now_ms, read_record(keys.part(op.id, "id"), more))
    if state == "elsewhere":
        return ops.Outcome("elsewhere", now_ms, shares=_read_shares(more.decode()))
    return ops.Outcome(state, now_ms, resource=unquote(more.decode()))


def _listed(_namespace: str, _op: ops.BookingsIn, reply: list[Any]) -> ops.Bookings:
    now, full, ids, texts = reply
    records = [read_record(one.decode(), text) for one, text in zip(ids, texts, strict=True)]
    return ops.Bookings(int(now), tuple(records), full == 1)


def _recalled(_namespace: str, op: ops.Recall, reply: list[Any]) -> ops.Bookings:
    now, texts = int(reply[0]), reply[1]
    found = [read_record(keys.part(one, "id"), text) for one, text in zip(op.ids, texts, strict=True) if text]
    return ops.Bookings(now, tuple(found))


def _busy(_namespace: str, _op: ops.BusyIn, reply: list[Any]) -> ops.Busy:
    full, units = reply
    return ops.Busy(tuple(tuple((int(one[:17]), int(one[18:])) for one in unit) for unit in units), full == 1)


def _places(_namespace: str, _op: ops.BookingsBy, reply: list[bytes]) -> ops.BookedAt:
    found = [member.decode().split(":") for member in reply]
    return ops.BookedAt(tuple((unquote(resource), unquote(one)) for _, _, resource, one in found))


def _resources_listed(_namespace: str, _op: ops.Resources, reply: list[bytes]) -> ops.ResourcesListed:
    return ops.ResourcesListed(tuple(sorted(unquote(one.decode()) for one in reply)))


def _reconciled(_namespace: str, _op: ops.Reconcile, reply: list[Any]) -> ops.Reconciled:
    bookings, missing, orphans, overlapping, damaged, full = reply
    ids = [unquote(one.decode()) for one in overlapping]
    pairs = tuple(zip(ids[::2], ids[1::2], strict=True))
    return ops.Reconciled(bookings, missing, orphans, pairs, tuple(unquote(one.decode()) for one in damaged), full == 1)


ENCODERS: dict[type[ops.Operation], Callable[[str, Any], Call]] = {
    ops.Hold: _hold,
    ops.Confirm: _confirm,
    ops.Cancel: _cancel,
    ops.Move: _move,
    ops.Adopt: _adopt,
    ops.BookingsIn: _bookings_in,
    ops.BusyIn: _busy_in,
    ops.BookingsBy: _bookings_by,
    ops.Recall: _recall,
    ops.Resources: _resources,
    ops.Reconcile: _reconcile,
}

DECODERS: dict[type[ops.Operation], Callable[[str, Any, Any], Any]] = {
    ops.Hold: _outcome,
    ops.Confirm: _outcome,
    ops.Cancel: _outcome,
    ops.Move: _outcome,
    ops.Adopt: _outcome,
    ops.BookingsIn: _listed,
    ops.BusyIn: _busy,
    ops.BookingsBy: _places,
    ops.Recall: _recalled,
    ops.Resources: _resources_listed,
    ops.Reconcile: _reconciled,
}
