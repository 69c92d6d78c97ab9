"""Accepting, opening, replying, renewing, releasing: what the scripts of those names do on Redis."""

from __future__ import annotations

from typing import Any

from luni import operations as ops
from luni import wire
from luni.backends.sqlite import bursts, locks, states
from luni.backends.sqlite.rows import Accepted, Conversation, Tables
from luni.errors import Superseded

__all__ = ["accept", "release", "renew", "reply"]


def accept(tables: Tables, op: ops.Open | ops.Receive) -> ops.Opened | ops.Met:
    """Accept a message and, for `Open`, lease the conversation. Order: mark, message id, pause, lease, effect."""
    row = tables.find_or_create(op.address)
    before = tables.repeated(row, op)
    if before is not None:
        return _rebuilt(tables, row, op, before)
    record = tables.accepted(row, op.draft.digest) if op.draft else None
    if record and record.state != "w":
        if bursts.queue(tables, row, op, waits=False):
            tables.save(row)
        return _seen(tables, row, op, "duplicate", record)
    # an unsettled record whose text is gone (the session expired meanwhile) is stored anew
    if record and (row.session_id is None or record.n <= row.settled):
        record = None
    if record and isinstance(op, ops.Receive):
        return _seen(tables, row, op, "duplicate", record)
    return _other_session(tables, row, op) or _decided(tables, row, op, record)


def _other_session(tables: Tables, row: Conversation, op: ops.Open | ops.Receive) -> ops.Opened | ops.Met | None:
    """Tell the caller which session there is if it is not the one meant; a turn without text begins none."""
    if row.session_id is None:
        if op.draft is None:
            return ops.Opened("idle", tables.now_ms)
        return None if op.fresh else ops.Met("")
    return None if row.session_id == op.session_id else ops.Met(row.session_id)


def _decided(tables: Tables, row: Conversation, op: ops.Open | ops.Receive, record: Accepted | None) -> ops.Opened:
    live = row.session_id is not None
    waiting = tables.waiting(row, row.settled + 1, row.n) if live else []
    if op.draft is None and not waiting:
        return _seen(tables, row, op, "idle", None)
    state = _state(tables, row, op, record)
    new = op.draft is not None and record is None
    if not new and state != "open":
        if bursts.queue(tables, row, op, waits=state == "queued"):
            tables.save(row)
        return _seen(tables, row, op, state, record)
    if new and live:
        if tables.ring_is_full(row):
            return ops.Opened("full")
        if tables.held(row) >= ops.FOLD_MAX + ops.WINDOW:
            return ops.Opened("fold")
    return _accepted(tables, row, op, state, record, waiting)


def _state(tables: Tables, row: Conversation, op: ops.Open | ops.Receive, record: Accepted | None) -> Any:
    if isinstance(op, ops.Receive):
        return "accepted"
    if row.paused:
        return "paused"
    if row.leased(tables.now_ms) and record and record.token and row.lease.endswith(f"|{record.token}"):
        return "in_progress"
    return bursts.contended(tables, row, op) or "open"


def _accepted(
    tables: Tables, row: Conversation, op: ops.Open | ops.Receive, state: Any, record: Accepted | None, waiting: list[Accepted]
) -> ops.Opened:
    now, draft = tables.now_ms, op.draft
    created = row.session_id is None
    if created:
        row.begin(op.session_id, now, with_message=True)
    row.settled = waiting[0].n - 1 if waiting else row.n
    row.touch(now, op.ttl_ms)
    stamp = now if draft is None or draft.timestamp_ms is None else draft.timestamp_ms
    if draft is not None and record is None:
        row.n += 1
        row.count += 1
        row.tokens += draft.tokens
        row.token_est += draft.tokens
        text = wire.item(wire.sort_key(row.clock_ms, op.writer, op.seq, 0), row.n, stamp, draft.body)
        tables.push(row, row.n, text, op.transcript)
    arrived, token, cut = record, 0, row.n
    if isinstance(op, ops.Open) and state == "open":
        row.fence = token = max(row.fence + 1, now * 1000)
        if record and len(row.waiters(now)) > 1:
            cut = record.n  # what came later is for those who wait
    if draft is not None and record is None:
        arrived = tables.remember(row, draft.digest, "w", token)
        row.waiting_ms = row.waiting_ms if waiting else now
    attempt, left = 0, 0
    if isinstance(op, ops.Open) and state == "open":
        mine = [one for one in waiting if one.n <= cut]
        attempt = tables.attempt(row, mine, token) if mine else 1
        left = bursts.burst_left(tables, waiting + ([arrived] if arrived and not record else []), op.quiet_ms, op.burst_ms)
        row.lease, row.lease_end_ms = f"{op.lease_owner}|{token}", now + op.lease_ms + left
    bursts.queue(tables, row, op, waits=state == "queued")
    arrival = arrived.n if arrived else 0
    tables.save(row)
    tables.purge(row)
    tables.mark(row, op, f"{state},{token or ''},{cut},{attempt},{int(created)},{arrival},{row.clock_ms},{stamp},{left}")
    view = row.view(*tables.lists(row)) if isinstance(op, ops.Open) else row.view()
    return ops.Opened(
        state, now, row.session_id or "", token, cut, attempt, created, arrival, row.clock_ms, stamp, view=view, gather_ms=left
    )  # fmt: skip


def _rebuilt(tables: Tables, row: Conversation, op: ops.Open | ops.Receive, before: str) -> ops.Opened:
    found: tuple[Any, ...] = tuple(before.split(","))
    state, (token, cut, attempt, created, arrival, clock, stamp, left) = found[0], (int(one or 0) for one in found[1:])
    view = row.view(*tables.lists(row)) if isinstance(op, ops.Open) else row.view()
    return ops.Opened(
        state, tables.now_ms, row.session_id or "", token, cut, attempt, created == 1, arrival, clock, stamp, view=view,
        gather_ms=left,
    )  # fmt: skip


def _seen(tables: Tables, row: Conversation, op: ops.Open | ops.Receive, state: Any, record: Accepted | None) -> ops.Opened:
    """Answer without an effect."""
    arrival, answer = (record.n, record.answer) if record else (0, "")
    lists = tables.lists(row) if state == "duplicate" or isinstance(op, ops.Open) else ((), ())
    return ops.Opened(
        state, tables.now_ms, row.session_id or "", 0, row.n, arrival=arrival, answer=answer, view=row.view(*lists)
    )  # fmt: skip


def reply(tables: Tables, op: ops.Reply) -> ops.Replied | ops.Changed:
    """Store a turn's answer and settle what it had seen. Order: mark, pause, token, effect.

    A reply that lost its mark to a later operation of its writer is told by its records.
    """
    row = tables.find_or_create(op.address)
    before = _reply_before(tables, row, op)
    if before is not None:
        return before
    now = tables.now_ms
    fenced = _fenced(tables, row, op)
    if fenced:
        return ops.Replied("fenced", reason=fenced)
    stale = [_differs(op.metadata, row.metadata), _differs(op.context, row.context)]
    if op.binding and any(stale):
        return ops.Changed(row.metadata, row.context)
    newer = tables.waiting(row, max(op.cut, row.settled) + 1, row.n)
    unsent = len(op.drafts) - op.first_unsent + 1 if op.first_unsent else 0
    if unsent and tables.count_unsent(row) + unsent > ops.UNSENT_MAX:
        return ops.Replied("full")

    row.touch(now, op.ttl_ms)
    _apply_patches(row, op, stale)
    if op.folding:
        tables.fold(row, op.folding)
    _store_answer(tables, row, op)
    tables.settle(row, op.cut, op.outcome, op.owner)
    row.settled = max(row.settled, op.cut)
    state, cut, attempt = "released", op.cut, 0
    row.waiting_ms = newer[0].arrived_ms if newer else 0
    if newer and not row.waiters(now):
        state, cut = "kept", row.n
        attempt = tables.attempt(row, newer, op.token)
        row.lease_end_ms = now + op.lease_ms
    else:
        row.lease, row.lease_end_ms = "", 0
    tables.save(row)
    states.stamp(tables, row, op)
    tables.mark(row, op, f"{state},{row.clock_ms},{cut},{attempt},{now}")
    return _replied(tables, row, state, now, row.clock_ms, cut, attempt)


def _fenced(tables: Tables, row: Conversation, op: ops.Reply) -> str:
    if row.session_id != op.session_id:
        return "ended"
    if row.paused:
        return "paused"
    if not _owned(tables, row, op) or op.cut > row.n:
        return "lease"
    answered = tables.waiting(row, row.settled + 1, op.cut) if op.cut_from_outside else []
    return "" if all(one.token == op.token for one in answered) else "lease"


def _owned(tables: Tables, row: Conversation, op: ops.Reply | ops.Release) -> bool:
    return row.leased(tables.now_ms) and row.lease == f"{op.owner_id}|{op.token}"


def _reply_before(tables: Tables, row: Conversation, op: ops.Reply) -> ops.Replied | None:
    try:
        before = tables.repeated(row, op)
    except Superseded:
        if not tables.answered_by(row, op.owner):
            raise
        newer = tables.waiting(row, op.cut + 1, row.n) if _owned(tables, row, op) else []
        newer = [one for one in newer if one.token == op.token]  # what it was given then; the rest comes with its next reply
        if not newer:
            return _replied(tables, row, "released", tables.now_ms, row.clock_ms, op.cut, 0)
        return _replied(tables, row, "kept", tables.now_ms, row.clock_ms, newer[-1].n, newer[0].attempt)
    if before is None:
        return None
    state, *numbers = before.split(",")
    clock, cut, attempt, at = map(int, numbers)
    return _replied(tables, row, state, at, clock, cut, attempt)


def _replied(tables: Tables, row: Conversation, state: Any, now: int, clock: int, cut: int, attempt: int) -> ops.Replied:
    view = row.view(*tables.lists(row)) if state == "kept" else None
    return ops.Replied(state, now, clock, cut, attempt, view)


def _differs(patch: ops.Patch | None, stored: bytes) -> bool:
    return patch is not None and wire.text_digest(stored) != patch.digest


def _apply_patches(row: Conversation, op: ops.Reply, stale: list[bool]) -> None:
    if op.metadata and not stale[0]:
        row.metadata = op.metadata.text
    if op.context and not stale[1]:
        row.context = op.context.text
    if op.focus is not None:
        row.focus = op.focus
    if op.binding or op.focus is not None:
        row.rev += 1


def _store_answer(tables: Tables, row: Conversation, op: ops.Reply) -> None:
    texts = [
        wire.item(wire.sort_key(row.clock_ms, op.writer, op.seq, index), op.cut, tables.now_ms, draft.body)
        for index, draft in enumerate(op.drafts)
    ]
    if texts:
        tables.place(row, op.cut, texts, op.transcript)
    if op.first_unsent:
        for index, text in list(enumerate(texts))[op.first_unsent - 1 :]:
            tables.await_sending(row, f"{op.owner}.{index}", text)
    row.count += len(texts)
    row.tokens += sum(draft.tokens for draft in op.drafts)
    row.token_est = op.token_est


def renew(tables: Tables, op: ops.Renew) -> ops.Renewed:
    """Renew the leases of turns that are held with their tokens and not paused, and locks that are held."""
    tables.saved = True
    renewed = [_renewed(tables, one) if isinstance(one, ops.Lease) else locks.renew(tables, one) for one in op.leases]
    return ops.Renewed(tuple(renewed))


def _renewed(tables: Tables, lease: ops.Lease) -> bool:
    place, now = lease.address, tables.now_ms
    tables.execute(
        "UPDATE conversation SET lease_end_ms = ? WHERE (tenant, channel, user) = (?, ?, ?) "
        "AND lease = ? AND lease_end_ms > ? AND paused = 0 AND session_id IS NOT NULL AND expire_ms > ?",
        (now + lease.lease_ms, place.tenant, place.channel, place.user, f"{lease.owner_id}|{lease.token}", now, now),
    )
    return tables.changed()


def release(tables: Tables, op: ops.Release) -> bool:
    """Release a turn's lease without an answer, if it is still held with this token."""
    row = tables.find(op.address)
    if row is None or not _owned(tables, row, op):
        return False
    row.lease, row.lease_end_ms = "", 0
    tables.save(row)
    return True
