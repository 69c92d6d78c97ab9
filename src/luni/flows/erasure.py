"""Erasing all that is stored of a person or a tenant, and reading all of it. No I/O.

`erase` is made of operations that may be repeated, each on whatever backend executes it: run again, it finds what is left.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from luni import operations as ops
from luni import views, wire
from luni.errors import Conflict, InvalidInput
from luni.flows import Flow, attempt
from luni.models import Address
from luni.scope import Scope

__all__ = ["COUNTS", "Erasure", "erase", "export", "tombstone"]

COUNTS = ("sessions", "messages", "message_ids", "bookings", "locks")
AT_ONCE = 1000
MEETINGS = 8
RESOURCES = 100_000


class Erasure(NamedTuple):
    """What was erased of one store: when (its clock), how much, and whether its files were rewritten."""

    ms: int
    counts: dict[str, int]
    expunged: bool


def tombstone(base: Scope, tenant: str, user: str = "") -> Flow:
    """Return when a person was last erased, alone or with the tenant (ms); 0 for never."""
    return (yield from attempt(base, ops.Tombstones(tenant=tenant, user=user))).ms


def erase(base: Scope, tenant: str, user: str = "", at_ms: int = 0) -> Flow:
    """Erase a person, or without ``user`` a tenant: the tombstone first, then all that is found; return the `Erasure`.

    ``at_ms``: what was stored by then, where that was before now.
    """
    buried = yield from attempt(base, ops.Bury(tenant=tenant, user=user, secret=wire.new_id(), at_ms=at_ms))
    counts = dict.fromkeys(COUNTS, 0)
    resources: dict[str, None] = {}
    erased: set[tuple[Address, str]] = set()
    cursor = ""
    while True:
        page: ops.Traced = yield from attempt(base, ops.Traces(tenant=tenant, user=user, cursor=cursor, limit=AT_ONCE))
        for address, session_id in [*((one, "") for one in page.addresses), *((one, id_) for id_, one in page.ids)]:
            if (address, session_id) not in erased:
                erased.add((address, session_id))
                yield from _conversation(base, address, session_id, buried.ms, counts)
        if page.strays:
            operation = ops.Scrub(tenant=tenant, user=user, strays=page.strays, before_ms=buried.ms)
            counts["locks"] += (yield from attempt(base, operation)).count
        resources |= dict.fromkeys(page.resources)
        cursor = page.cursor
        if not cursor:
            break
    for resource in resources:
        counts["bookings"] += yield from _bookings(base, tenant, user, resource, buried.ms)
    if not user:
        yield from attempt(base, ops.Vacate(tenant=tenant, before_ms=buried.ms))
    expunged = yield from attempt(base, ops.Expunge())
    return Erasure(buried.ms, counts, expunged)


def _conversation(base: Scope, address: Address, session_id: str, before_ms: int, counts: dict[str, int]) -> Flow:
    fresh_id = wire.new_id()
    for _ in range(MEETINGS):
        found = yield from attempt(
            base, ops.Erase(address=address, session_id=session_id, before_ms=before_ms, fresh_id=fresh_id)
        )  # fmt: skip
        if not isinstance(found, ops.Met):
            break
        session_id = found.session_id
    else:
        raise Conflict("a conversation begins anew faster than it can be erased; erase again")
    counts["sessions"] += found.sessions
    counts["messages"] += found.messages
    counts["message_ids"] += found.ids
    counts["locks"] += found.locks


def _bookings(base: Scope, tenant: str, user: str, resource: str, before_ms: int) -> Flow:
    count, cursor = 0, ""
    while True:
        wiped = yield from attempt(
            base,
            ops.EraseBookings(
                tenant=tenant, user=user, resource=resource, before_ms=before_ms, cursor=cursor, limit=AT_ONCE
            ),
        )  # fmt: skip
        count, cursor = count + wiped.count, wiped.cursor
        if not cursor:
            return count


# reading all of it

_SESSIONS = re.compile(r"s:([0-9]{1,15})\.([0-9]{1,9})", re.ASCII)
_BOOKINGS = re.compile(r"b:([0-9]{1,6}):(.{0,1024})", re.ASCII | re.DOTALL)


def export(base: Scope, tenant: str, user: str, *, limit: int, cursor: str | None) -> Flow:
    """Return a page of all that is stored: session exports and booking records, and where to go on (``None``: nowhere).

    First the sessions, the latest activity first, then the bookings, resource by resource.
    """
    found: list[Any] = []
    bookings = _BOOKINGS.fullmatch(cursor) if isinstance(cursor, str) else None
    if bookings is None:
        cursor = yield from _sessions(base, tenant, user, limit, cursor, found)
        if cursor is not None:
            return found, cursor
    number, own = (int(bookings[1]), bookings[2]) if bookings else (0, "")
    listed = yield from attempt(base, ops.Resources(tenant=tenant, limit=RESOURCES))
    resources = listed.resources
    while number < len(resources):
        if len(found) >= limit:
            return found, f"b:{number}:{own}"
        page = yield from attempt(
            base,
            ops.BookingsOf(tenant=tenant, user=user, resource=resources[number], cursor=own, limit=limit),
        )
        found += page.records
        own, number = page.cursor, number if page.cursor else number + 1
    return found, None


def _sessions(base: Scope, tenant: str, user: str, limit: int, cursor: str | None, found: list[Any]) -> Flow:
    """Add exports of sessions; return where to go on, ``None`` after the last one."""
    before, passed = _parse(cursor)
    while True:
        listed = yield from attempt(base, ops.Sessions(tenant=tenant, limit=AT_ONCE, before_ms=before, passed=passed))
        if not listed.addresses:
            return None
        for address, score in listed.addresses:
            passed = passed + 1 if score == before else 1
            before = score
            if user in {"", address.user}:
                snapshot = yield from attempt(base, ops.Read(address=address, transcript=True))
                waiting = yield from attempt(base, ops.Examine(kind="unsent", addresses=(address,)))
                one = views.exported_anyway(address, snapshot, waiting.sessions[0].texts)
                found += [one] if one else []
                if len(found) >= limit:
                    return f"s:{before}.{passed}"


def _parse(cursor: str | None) -> tuple[int | None, int]:
    if cursor is None:
        return None, 0
    found = _SESSIONS.fullmatch(cursor) if isinstance(cursor, str) else None
    if found is None:
        raise InvalidInput("cursor is not one that a page gave")
    return int(found[1]), int(found[2])
