"""The part of `luni migrate` that moves bookings: each as it is, under the target's own rules, and never over another one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import msgspec

from luni import flows
from luni import operations as ops
from luni.agenda import LATEST_US
from luni.client import Memory
from luni.errors import IdReused, LuniError, SlotTaken
from luni.flows import bookings

__all__ = ["bookings_of", "move", "would_move"]

MOST_RESOURCES = 100_000
Outcome = str
"""``moved``, ``there`` (the same), ``expired`` · else what is in the way, or why it could not be moved."""
HALF = "it is not at all of its resources: luni bookings reconcile"
TAKEN, REUSED = "conflict: its time is taken there", "conflict: its id names another booking there"


def do(memory: Memory, operation: ops.Operation) -> Any:
    """Execute an operation with a memory's retries."""
    flow = flows.attempt(memory._base, operation)  # noqa: SLF001  stored things as they are: no business of the public API
    return memory._run(None, flow)  # noqa: SLF001  the same


def bookings_of(source: Memory, tenant: str) -> Iterator[ops.Record]:
    """Yield what is held or confirmed in a tenant's agendas, each once, by resource and start."""
    for resource in do(source, ops.Resources(tenant=tenant, limit=MOST_RESOURCES)).resources:
        begin, page = 0, None
        seen: set[str] = set()  # of the last page: what lasts long touches the next one, too
        while page is None or page.full:
            page = do(source, ops.BookingsIn(tenant=tenant, resource=resource, start_us=begin, end_us=LATEST_US))
            fresh = [one for one in page.records if one.id not in seen]
            yield from (one for one in fresh if one.shares[0][0] == resource)
            if page.full and (not fresh or page.records[-1].start_us < begin):
                raise LuniError(f"too many bookings of one resource at a time: more than {ops.BOOKINGS_MAX}")
            if page.records:
                seen, begin = {one.id for one in page.records}, max(begin, page.records[-1].start_us)


def move(source: Memory, target: Memory, tenant: str, record: ops.Record) -> Outcome:
    """Move one booking, and read it again; return what became of it. Raises `ConfigError` where the target keeps none."""
    mine = _everywhere(source, tenant, record)
    outcome = _without_moving(target, tenant, record, mine)
    if outcome:
        return outcome
    resources = tuple(ops.Share(*share) for share in record.shares)
    names = ("state", "start_us", "end_us", "until_ms", "keep_ms", "created_ms", "by", "details")
    fields = {name: getattr(mine[0], name) for name in names} | {"units": tuple(one.unit for one in mine)}
    needs, changing = target._agenda_needs(), bookings.Changing(tenant, record.id, resources, None)  # noqa: SLF001  the same
    flow = bookings.change(needs, ops.Adopt, changing, missing_ok=True, **fields)
    try:
        done = target._run(None, flow)  # noqa: SLF001  the same
    except SlotTaken:
        return TAKEN
    except IdReused:
        return REUSED
    if done is None:
        return "expired"
    return "moved" if _everywhere_the_same(target, tenant, mine) else "it was changed there while it was moved"


def would_move(source: Memory, target: Memory, tenant: str, record: ops.Record) -> Outcome:
    """Return what would become of a booking, as things are now. Writes nothing."""
    mine = _everywhere(source, tenant, record)
    outcome = _without_moving(target, tenant, record, mine)
    if outcome:
        return outcome
    for (resource, capacity), one in zip(record.shares, mine, strict=True):
        known: ops.Bookings = do(target, ops.Recall(tenant=tenant, resource=resource, ids=(one.id,)))
        if any(_ends(found) > known.now_ms for found in known.records):
            return REUSED
        question = ops.BookingsIn(tenant=tenant, resource=resource, start_us=one.start_us, end_us=one.end_us)
        if {one.unit, *range(capacity)} <= {found.unit for found in do(target, question).records}:
            return TAKEN
    return "moved"


def _without_moving(target: Memory, tenant: str, record: ops.Record, mine: list[ops.Record]) -> Outcome:
    """Return the outcome where nothing is to be moved; ``""`` where there is."""
    if not mine:
        return "expired"
    if len(mine) < len(record.shares):
        return HALF
    return "there" if _everywhere_the_same(target, tenant, mine) else ""


def _everywhere(memory: Memory, tenant: str, record: ops.Record) -> list[ops.Record]:
    """Return a booking as it is now at each of its resources where it is not over, and was not cancelled."""
    found: list[ops.Record] = []
    for resource, _ in record.shares:
        page: ops.Bookings = do(memory, ops.Recall(tenant=tenant, resource=resource, ids=(record.id,)))
        found += [one for one in page.records if one.state != "x" and _ends(one) > page.now_ms]
    return found


def _ends(record: ops.Record) -> int:
    return record.until_ms if record.state == "h" else record.keep_ms


def _everywhere_the_same(target: Memory, tenant: str, mine: list[ops.Record]) -> bool:
    return list(map(_content, mine)) == list(map(_content, _everywhere(target, tenant, mine[0])))


def _content(record: ops.Record) -> str:
    """Return a digest of a booking but for its unit: any that is free will do."""
    return hashlib.sha256(msgspec.msgpack.encode(msgspec.structs.replace(record, unit=0))).hexdigest()
