"""The codec of erasing, and of looking for what is to be erased. Pure functions, one pair an operation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from luni import operations as ops
from luni.backends import keys
from luni.backends.redis.agenda import read_record
from luni.backends.redis.call import Arg, Call
from luni.backends.redis.scripts import SCRIPTS
from luni.models import Address

__all__ = ["DECODERS", "ENCODERS"]

LISTS = 4
"""How many lists are looked through before the keyspace is."""


def _who(tenant: str, user: str) -> str:
    return f"{keys.part(tenant, 'tenant')}:{keys.part(user, 'user')}" if user else keys.part(tenant, "tenant")


def _bury(namespace: str, op: ops.Bury) -> Call:
    args: list[Arg] = [_who(op.tenant, op.user), ops.TOMBSTONE_MS, op.secret, op.at_ms]
    return Call(SCRIPTS["bury"], keys.tombstone_keys(namespace), args)


def _tombstones(namespace: str, op: ops.Tombstones) -> Call:
    whose: list[Arg] = [_who(op.tenant, user) for user in dict.fromkeys(("", op.user))] if op.tenant else []
    return Call(SCRIPTS["tombstones"], keys.tombstone_keys(namespace), whose)


def _place(cursor: str) -> tuple[int, str]:
    """Return in which list a page begins (the last one is the keyspace), and the server's own cursor there."""
    number, _, own = cursor.partition(":")
    return int(number or 0), own or "0"


def _traces(namespace: str, op: ops.Traces) -> Call:
    number, cursor = _place(op.cursor)
    user = keys.part(op.user, "user") if op.user else ""
    if number < LISTS:
        lists = keys.trace_lists(namespace, op.tenant)
        pattern = (
            "*" if not user else f"{user}:*" if number == LISTS - 1 else f"*:{user}"
        )  # parts have no characters of patterns
        return Call(SCRIPTS["traces"], (lists[number],), [cursor, pattern, op.limit])
    begins = keys.trace_prefixes(namespace, op.tenant)
    args: list[Arg] = [cursor, f"{namespace}:*", op.limit, f"{namespace}:sess:id:", begins[0]]
    args += [keys.trace_end(namespace, user) if user else "", f":{user}" if user else ":"]
    return Call(SCRIPTS["traces"], (), [*args, *(begins[:-1] if user else begins)])


def _erase(namespace: str, op: ops.Erase) -> Call:
    found = keys.session_keys(namespace, op.address)
    ids = [f"{namespace}:sess:id:{one}" for one in (op.session_id, op.fresh_id)]
    _, claims = keys.pending_keys(namespace, op.address.tenant, "unsent")
    all_keys = (*found.own, ids[0], found.client, *found.tenant_lists, found.unsent, claims, ids[1])
    return Call(SCRIPTS["erase"], all_keys, [op.session_id, op.before_ms, op.fresh_id, found.member, op.address.tenant])


def _erase_bookings(namespace: str, op: ops.EraseBookings) -> Call:
    lock, _ = keys.lock_keys(namespace, op.tenant, op.resource)
    found = (*keys.agenda_keys(namespace, op.tenant), lock, *keys.resource_keys(namespace, op.tenant, op.resource))
    whose = keys.part(op.user, "user") if op.user else ""
    args: list[Arg] = [keys.part(op.resource, "resource"), whose, op.before_ms, op.cursor or "0", op.limit]
    return Call(SCRIPTS["erase_bookings"], found, args)


def _scrub(_namespace: str, op: ops.Scrub) -> Call:
    return Call(SCRIPTS["scrub"], op.strays, [op.before_ms])


def _vacate(namespace: str, op: ops.Vacate) -> Call:
    found = keys.session_keys(namespace, Address(op.tenant, "-", "-"))  # only the tenant's keys of it
    *lists, tenants = found.tenant_lists
    _, claims = keys.pending_keys(namespace, op.tenant, "unsent")
    last = keys.list_keys(namespace, op.tenant)[-1:] if isinstance(namespace, keys.Tagged) else (found.client, tenants)
    agenda = keys.agenda_keys(namespace, op.tenant)
    return Call(SCRIPTS["vacate"], (*lists, found.unsent, claims, *agenda, *last), [found.tenant])


def _expunge(_namespace: str, _op: ops.Expunge) -> Call:
    return Call(SCRIPTS["expunge"], (), [])


def _bookings_of(namespace: str, op: ops.BookingsOf) -> Call:
    records = keys.resource_keys(namespace, op.tenant, op.resource).records
    whose = keys.part(op.user, "user") if op.user else ""
    args: list[Arg] = [op.cursor or "0", op.limit, whose, keys.part(op.resource, "resource")]
    return Call(SCRIPTS["bookings_of"], (records,), args)


def _buried(_namespace: str, _op: ops.Operation, reply: bytes) -> ops.Buried:
    return ops.Buried(int(reply))


def _traced(namespace: str, op: ops.Traces, reply: list[Any]) -> ops.Traced:
    own, found, pairs = reply
    number, _ = _place(op.cursor)
    names = [one.decode() for one in found]
    cursor = f"{number}:{own.decode()}" if own != b"0" else f"{number + 1}:0" if number < LISTS else ""
    if number == LISTS - 1:
        resources = tuple(dict.fromkeys(unquote(one.split(":")[2]) for one in names))
        return ops.Traced(resources=resources, cursor=cursor)
    if number < LISTS:
        return ops.Traced(tuple(keys.address_of_member(op.tenant, one) for one in names), cursor=cursor)
    leading = [(key.decode(), keys.address_of(namespace, base.decode())) for key, base in _in_pairs(pairs)]
    ids = [(key.rpartition(":")[2], address) for key, address in leading if address and _is_of(op, address)]
    traced = [keys.traced(namespace, name) for name in names]
    return ops.Traced(
        tuple(dict.fromkeys(one.address for one in traced if one.address and one.own and _is_of(op, one.address))),
        tuple(ids),
        tuple(dict.fromkeys(one.resource for one in traced if one.resource)),
        tuple(
            name for name, one in zip(names, traced, strict=True)
            if one.stray and (one.address is None or _is_of(op, one.address)) and (one.address or not op.user)
        ),
        cursor,
    )  # fmt: skip


def _in_pairs(flat: list[Any]) -> list[tuple[Any, Any]]:
    return list(zip(flat[::2], flat[1::2], strict=True))


def _is_of(op: ops.Traces, address: Any) -> bool:
    return address.tenant == op.tenant and op.user in {"", address.user}


def _erased(_namespace: str, _op: ops.Erase, reply: list[Any]) -> ops.Erased | ops.Met:
    if reply[0] == b"met":
        return ops.Met(reply[1].decode())
    return ops.Erased(*reply[1:])


def _wiped(_namespace: str, _op: ops.EraseBookings, reply: list[Any]) -> ops.Wiped:
    return ops.Wiped(reply[0], "" if reply[1] == b"0" else reply[1].decode())


def _count(_namespace: str, _op: ops.Scrub, reply: int) -> ops.Wiped:
    return ops.Wiped(reply)


def _vacated(_namespace: str, _op: ops.Vacate, reply: list[int]) -> bool:
    sessions, bookings, _ = reply
    return sessions + bookings == 0


def _flag(_namespace: str, _op: ops.Operation, reply: int) -> bool:
    return reply == 1


def _page(_namespace: str, _op: ops.BookingsOf, reply: list[Any]) -> ops.BookingsPage:
    cursor, found = reply
    records = tuple(read_record(one.decode(), text) for one, text in _in_pairs(found))
    return ops.BookingsPage(records, "" if cursor == b"0" else cursor.decode())


ENCODERS: dict[type[ops.Operation], Callable[[str, Any], Call]] = {
    ops.Bury: _bury,
    ops.Tombstones: _tombstones,
    ops.Traces: _traces,
    ops.Erase: _erase,
    ops.EraseBookings: _erase_bookings,
    ops.Scrub: _scrub,
    ops.Vacate: _vacate,
    ops.Expunge: _expunge,
    ops.BookingsOf: _bookings_of,
}

DECODERS: dict[type[ops.Operation], Callable[[str, Any, Any], Any]] = {
    ops.Bury: _buried,
    ops.Tombstones: _buried,
    ops.Traces: _traced,
    ops.Erase: _erased,
    ops.EraseBookings: _wiped,
    ops.Scrub: _count,
    ops.Vacate: _vacated,
    ops.Expunge: _flag,
    ops.BookingsOf: _page,
}
