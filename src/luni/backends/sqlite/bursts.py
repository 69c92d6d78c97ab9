"""Gathering a burst, and waiting for a conversation in a queue."""

from __future__ import annotations

from typing import Any

from luni import operations as ops
from luni.backends.sqlite.rows import Accepted, Conversation, Tables

__all__ = ["QUEUE_MAX", "burst_left", "contended", "gather", "queue"]

QUEUE_MAX = 64


def burst_left(tables: Tables, waiting: list[Accepted], quiet_ms: int, burst_ms: int) -> int:
    """Return how many ms are left until a burst counts as over."""
    if not quiet_ms or not waiting:
        return 0
    return max(0, min(waiting[-1].arrived_ms + quiet_ms, waiting[0].arrived_ms + burst_ms) - tables.now_ms)


def contended(tables: Tables, row: Conversation, op: ops.Open) -> Any:
    """Return ``""`` if nobody is before this turn, ``queued`` if it waits for those who are, ``joined`` if it does not."""
    waiters = row.waiters(tables.now_ms)
    first = next(iter(waiters), op.ticket)
    if not row.leased(tables.now_ms) and (not waiters or first == op.ticket):
        return ""
    waits = op.ticket and op.ticket_ms and (op.ticket in waiters or len(waiters) < QUEUE_MAX)
    return "queued" if waits else "joined"


def queue(tables: Tables, row: Conversation, op: ops.Open | ops.Receive, *, waits: bool) -> bool:
    """Take a place in the queue, keep it, or give it up; return whether that changes anything."""
    if not isinstance(op, ops.Open) or not op.ticket:
        return False
    waiters = row.waiters(tables.now_ms)
    if waits:
        waiters[op.ticket] = tables.now_ms + op.ticket_ms
    elif waiters.pop(op.ticket, None) is None:
        return False
    row.wait_in(waiters)
    return True


def gather(tables: Tables, op: ops.Gather) -> ops.Gathered:
    """Tell whether the burst that a turn gathers is over; if so, take what has arrived into the turn."""
    row, now = tables.find_or_create(op.address), tables.now_ms
    if row.paused or not row.leased(now) or row.lease != f"{op.owner_id}|{op.token}":
        return ops.Gathered("lost")
    waiting = tables.waiting(row, row.settled + 1, row.n)
    left = burst_left(tables, waiting, op.quiet_ms, op.burst_ms)
    row.lease_end_ms = now + op.lease_ms + left
    attempt = 0
    if not waiting:
        row.lease, row.lease_end_ms = "", 0
    elif not left:
        attempt = tables.attempt(row, waiting, op.token)
    tables.save(row)
    if not waiting:
        return ops.Gathered("lost")
    if left:
        return ops.Gathered("gather", gather_ms=left)
    return ops.Gathered("open", now, row.n, attempt, row.view(*tables.lists(row)))
