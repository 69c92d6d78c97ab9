"""Everything of a session but its turns: what the scripts of these names do on Redis."""

from __future__ import annotations

import hashlib

from luni import operations as ops
from luni import wire
from luni.backends.sqlite import locks, states
from luni.backends.sqlite.rows import SEEN_MS, Conversation, Tables
from luni.models import Address

__all__ = ["amend", "append", "end", "fold", "inspect", "list_sessions", "load", "locate", "pause", "read", "update"]


def append(tables: Tables, op: ops.Append) -> ops.Appended | ops.Met:
    """Append a message without a turn."""
    row = tables.find_or_create(op.address)
    before = tables.repeated(row, op)
    if before is not None:
        # older files have the result without its state
        arrival, clock, stamp = map(int, before.removeprefix("appended,").split(","))
        return ops.Appended("appended", tables.now_ms, row.session_id or "", arrival, clock, stamp)
    draft = op.draft
    record = tables.accepted(row, draft.digest) if draft.digest else None
    if record and (row.session_id or record.state != "w"):
        window, waiting = tables.lists(row)
        texts = (*window, *reversed(waiting))
        return ops.Appended("duplicate", tables.now_ms, row.session_id or "", record.n, texts=texts)
    met = _met(row, op.session_id, fresh=op.fresh)
    if met:
        return met
    if row.session_id is not None:
        if draft.digest and tables.ring_is_full(row):
            return ops.Appended("full")
        if tables.held(row) >= ops.FOLD_MAX + ops.WINDOW:
            return ops.Appended("fold")
    else:
        row.begin(op.session_id, tables.now_ms, with_message=True)
    return _appended(tables, row, op)


def _appended(tables: Tables, row: Conversation, op: ops.Append) -> ops.Appended:
    draft, now = op.draft, tables.now_ms
    row.touch(now, op.ttl_ms)
    row.count += 1
    row.tokens += draft.tokens
    row.token_est += draft.tokens
    stamp = now if draft.timestamp_ms is None else draft.timestamp_ms
    waiting = [] if op.settles else tables.waiting(row, row.settled + 1, row.n)
    if op.settles:
        tables.settle(row, row.n, "a", op.owner)
    if draft.digest:
        row.n += 1
        tables.remember(row, draft.digest, "s")
    row.settled = waiting[0].n - 1 if waiting else row.n
    row.waiting_ms = waiting[0].arrived_ms if waiting else 0
    text = wire.item(wire.sort_key(row.clock_ms, op.writer, op.seq, 0), row.n, stamp, draft.body)
    tables.push(row, row.n, text, op.transcript)
    tables.save(row)
    tables.purge(row)
    tables.mark(row, op, f"appended,{row.n},{row.clock_ms},{stamp}")
    return ops.Appended("appended", now, row.session_id or "", row.n, row.clock_ms, stamp)


def _met(row: Conversation, session_id: str, *, fresh: bool) -> ops.Met | None:
    """Tell the caller which session there is if it is not the one meant."""
    if row.session_id is None:
        return None if fresh else ops.Met("")
    return None if row.session_id == session_id else ops.Met(row.session_id)


def update(tables: Tables, op: ops.Update) -> ops.Updated | ops.Met | ops.Changed:
    """Change fields if they still are what the change was made from."""
    row = tables.find_or_create(op.address)
    before = tables.repeated(row, op)
    if before is not None:
        return ops.Updated(int(before))
    if op.token is not None and not _locked(tables, row, op.token):
        return ops.Updated(0, fenced=True)
    if row.session_id is not None and row.session_id != op.session_id:
        return ops.Met(row.session_id)
    if op.expected_revision is not None and op.expected_revision != row.rev:
        return ops.Updated(row.rev, conflict=True)
    return _updated(tables, row, op)


def _updated(tables: Tables, row: Conversation, op: ops.Update) -> ops.Updated | ops.Met | ops.Changed:
    if row.session_id is None:
        if not op.fresh:
            return ops.Met("")
        row.begin(op.session_id, tables.now_ms, with_message=False)
    elif _differs(op.metadata, row.metadata) or _differs(op.context, row.context):
        return ops.Changed(row.metadata, row.context)
    row.touch(tables.now_ms, op.ttl_ms)
    row.rev += 1
    row.metadata = op.metadata.text if op.metadata else row.metadata
    row.context = op.context.text if op.context else row.context
    row.focus = row.focus if op.focus is None else op.focus
    row.summary = row.summary if op.summary is None else op.summary
    tables.save(row)
    tables.purge(row)
    states.stamp(tables, row, op)
    tables.mark(row, op, str(row.rev))
    return ops.Updated(row.rev)


def _locked(tables: Tables, row: Conversation, token: int) -> bool:
    place = (row.tenant, row.channel, row.user, row.session_id or "")
    return locks.is_held(tables, token, "tenant = ? AND channel = ? AND user = ? AND session_id = ?", place)


def _differs(patch: ops.Patch | None, stored: bytes) -> bool:
    return patch is not None and wire.text_digest(stored) != patch.digest


def pause(tables: Tables, op: ops.Pause) -> bool | ops.Met:
    """Pause a session, or resume it. A turn that is open loses its lease."""
    row, now = tables.find_or_create(op.address), tables.now_ms
    if tables.repeated(row, op) is not None:
        return True
    if not op.paused and not row.paused:
        return False
    met = _met(row, op.session_id, fresh=op.fresh)
    if met:
        return met
    if row.session_id is None:
        row.begin(op.session_id, now, with_message=False)
    row.touch(now, op.ttl_ms)
    row.paused, row.pause = int(op.paused), b""
    if op.paused:
        row.pause = b"%d|%d|%b" % (now + op.duration_ms if op.duration_ms else 0, now, op.note)
        row.lease, row.lease_end_ms = "", 0
    tables.save(row)
    tables.purge(row)
    states.stamp(tables, row, op)
    tables.mark(row, op, "")
    return True


def fold(tables: Tables, op: ops.Fold) -> bool:
    """Fold waiting messages into the summary, if nobody folded meanwhile. Not an activity."""
    row = tables.find_or_create(op.address)
    if tables.repeated(row, op) is not None:
        return True
    if row.session_id != op.session_id or not tables.fold(row, op.folding):
        return False
    tables.save(row)
    tables.mark(row, op, "")
    return True


def amend(tables: Tables, op: ops.Amend) -> bool:
    """Replace the stored message whose text has this digest, wherever it is kept."""
    row = tables.find_or_create(op.address)
    if tables.repeated(row, op) is not None:
        return True
    if row.session_id != op.session_id:
        return False
    found = False
    for table in ("message", "transcript"):
        for position, text in tables.execute(
            f"SELECT position, text FROM {table} WHERE conversation = ?", (row.id,)
        ).fetchall():
            if wire.text_digest(text) == op.digest:
                change = f"UPDATE {table} SET text = ? WHERE conversation = ? AND position = ?"
                tables.execute(change, (op.text, row.id, position))
                found = True
    _amend_unsent(tables, row, op)
    if not found:
        return False
    row.tokens = max(0, row.tokens + op.tokens_delta)
    row.touch(tables.now_ms, op.ttl_ms)
    tables.save(row)
    tables.mark(row, op, "")
    return True


def _amend_unsent(tables: Tables, row: Conversation, op: ops.Amend) -> None:
    """What is redacted is not sent any more; what is amended is sent as amended."""
    which = (row.id, op.message_id)
    if op.redacted:
        tables.execute("DELETE FROM unsent WHERE conversation = ? AND id = ?", which)
    else:
        tables.execute("UPDATE unsent SET text = ? WHERE conversation = ? AND id = ?", (op.text, *which))


def load(tables: Tables, op: ops.Load) -> ops.Loaded | ops.Met | None:
    """Replace what is held of a conversation, if it still is what the new state was made from."""
    row = tables.find_or_create(op.address)
    if tables.repeated(row, op) is not None:
        return ops.Loaded(op.added)
    met = _met(row, op.session_id, fresh=op.fresh)
    if met:
        return met
    if row.loaded == op.import_digest:
        return ops.Loaded(0)
    window, waiting = tables.lists(row)
    if hashlib.sha1(b"".join(window) + b"\n" + b"".join(waiting), usedforsecurity=False).hexdigest() != op.digest:
        return None
    if row.session_id is None:
        row.begin(op.session_id, tables.now_ms, with_message=True)
    row.touch(tables.now_ms, op.ttl_ms)
    row.count += op.added
    row.tokens += op.added_tokens
    row.summary, row.folded, row.loaded = op.summary, op.folded, op.import_digest
    tables.execute("DELETE FROM message WHERE conversation = ?", (row.id,))
    for text in (*op.waiting, *reversed(op.window)):
        tables.push(row, wire.arrival_of(text), text, 0)
    _remember_imported(tables, row, op.digests)
    tables.save(row)
    tables.purge(row)
    tables.mark(row, op, "")
    return ops.Loaded(op.added)


def _remember_imported(tables: Tables, row: Conversation, digests: tuple[str, ...]) -> None:
    """A late second delivery of an imported message is a duplicate; what waits is never pushed out of the ring for it."""
    waiting = tables.waiting(row, row.settled + 1, row.n)
    new = [digest for digest in digests if tables.accepted(row, digest) is None]
    if waiting and row.n + len(new) - waiting[0].n >= ops.RING:
        new = []
    for digest in new:
        row.n += 1
        tables.remember(row, digest, "s")
    row.settled = waiting[0].n - 1 if waiting else row.n


def end(tables: Tables, op: ops.End) -> bool:
    """End this session, not one that came after it."""
    row = tables.find_or_create(op.address)
    if row.session_id != op.session_id:
        return False
    tables.settle(row, row.n, "s", "")
    tables.forget(row)
    row.seen_end_ms = row.purge_ms = tables.now_ms + SEEN_MS
    tables.save(row)
    return True


def read(tables: Tables, op: ops.Read) -> ops.Snapshot:
    """Read a session; writes nothing."""
    row = tables.find(op.address)
    view = row.view(*tables.lists(row)) if row else None
    if row is None or view is None:
        return ops.Snapshot(tables.now_ms, 0, None)
    transcript: tuple[bytes, ...] = ()
    if op.transcript:
        found = tables.execute("SELECT text FROM transcript WHERE conversation = ? ORDER BY position DESC", (row.id,))
        transcript = tuple(text for (text,) in found)
    return ops.Snapshot(tables.now_ms, len(tables.waiting(row, row.settled + 1, row.n)), view, transcript)


def locate(tables: Tables, op: ops.Locate) -> Address | None:
    """Find where a session id leads."""
    found = tables.execute(
        "SELECT tenant, channel, user FROM conversation WHERE session_id = ? AND expire_ms > ?", (op.session_id, tables.now_ms)
    ).fetchone()
    return Address(*found) if found else None


def list_sessions(tables: Tables, op: ops.Sessions) -> ops.SessionsListed:
    """List a tenant's sessions, the latest activity first."""
    found = tables.execute(
        "SELECT channel, user, activity_ms FROM conversation WHERE tenant = ? AND session_id IS NOT NULL AND activity_ms <= ? "
        "ORDER BY activity_ms DESC, id LIMIT ? OFFSET ?",
        (op.tenant, 2**62 if op.before_ms is None else op.before_ms, op.limit, op.passed),
    )
    return ops.SessionsListed(tuple((Address(op.tenant, channel, user), ms) for channel, user, ms in found))


def inspect(tables: Tables, op: ops.Inspect) -> ops.Inspected:
    """Read the fields of several sessions, without messages."""
    rows = [tables.find(address) for address in op.addresses]
    return ops.Inspected(tuple(row.view() if row else None for row in rows))
