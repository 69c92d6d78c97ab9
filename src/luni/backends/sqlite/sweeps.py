"""What sweepers ask: who waits, who may be claimed, what was sent. The scripts of these names do it on Redis."""

from __future__ import annotations

from luni import operations as ops
from luni.backends.sqlite.rows import Tables
from luni.models import Address

__all__ = ["claim", "examine", "mark_sent", "pending", "tenants"]

_WAITING = "SELECT id, tenant, channel, user, waiting_ms AS since FROM conversation WHERE waiting_ms BETWEEN 1 AND ?1"
_UNSENT = (
    "SELECT c.id, c.tenant, c.channel, c.user, min(u.ms) AS since FROM unsent u JOIN conversation c ON c.id = u.conversation "
    "WHERE u.ms <= ?1"
)


def tenants(tables: Tables, op: ops.Tenants) -> ops.TenantsListed:
    """List the tenants that have sessions."""
    found = tables.execute(
        "SELECT DISTINCT tenant FROM conversation WHERE session_id IS NOT NULL AND expire_ms > ? "
        "ORDER BY tenant LIMIT ? OFFSET ?",
        (tables.now_ms, op.limit, op.passed),
    )
    return ops.TenantsListed(tuple(tenant for (tenant,) in found))


def pending(tables: Tables, op: ops.Pending) -> ops.PendingListed:
    """List what has waited long enough, the longest first, without what is claimed."""
    found: list[tuple[Address, int]] = []
    full = False
    for tenant in op.tenants:
        select, group = (_WAITING, "") if op.kind == "waiting" else (_UNSENT, "GROUP BY u.conversation ")
        rows = tables.execute(
            f"{select} AND tenant = ?2 AND session_id IS NOT NULL AND expire_ms > ?3 {group}ORDER BY since LIMIT ?4 OFFSET ?5",
            (tables.now_ms - op.older_ms, tenant, tables.now_ms, op.limit, op.passed),
        ).fetchall()
        full = full or len(rows) >= op.limit
        found += [(Address(*place), since) for key, *place, since in rows if not _claimer(tables, op.kind, key, since)]
    return ops.PendingListed(tables.now_ms, tuple(found), full)


def _claimer(tables: Tables, kind: ops.PendingKind, key: int, since: int) -> str:
    found = tables.execute(
        "SELECT claimer FROM claim WHERE list = ? AND conversation = ? AND since = ? AND until_ms > ?",
        (kind, key, _claimed_since(kind, since), tables.now_ms),
    ).fetchone()
    return found[0] if found else ""


def _claimed_since(kind: ops.PendingKind, since: int) -> int:
    """All that waits to be sent of a conversation is one claim: its oldest goes first, and the sweeper goes on."""
    return since if kind == "waiting" else 0


def examine(tables: Tables, op: ops.Examine) -> ops.Examined:
    """Look at sessions before they are claimed."""
    return ops.Examined(tuple(_examination(tables, op.kind, address) for address in op.addresses))


def _examination(tables: Tables, kind: ops.PendingKind, address: Address) -> ops.Examination:
    row = tables.find(address)
    if row is None or row.session_id is None:
        return ops.Examination("", paused=False, leased=False, waits=False)
    texts: tuple[bytes, ...] = ()
    if kind == "unsent":
        texts = tuple(text for (text,) in tables.execute("SELECT text FROM unsent WHERE conversation = ?", (row.id,)))
    return ops.Examination(row.session_id, bool(row.paused), row.leased(tables.now_ms), row.waiting_ms > 0, texts)


def claim(tables: Tables, op: ops.Claim) -> ops.Claimed:
    """Claim sessions for one sweeper. What is gone has left the list by itself."""
    tables.saved = True
    tables.execute("DELETE FROM claim WHERE until_ms <= ?", (tables.now_ms,))
    return ops.Claimed(tuple(_claim(tables, op, address, since) for address, since in op.wanted))


def _claim(tables: Tables, op: ops.Claim, address: Address, since: int) -> bool:
    row = tables.find(address)
    if row is None or _claimer(tables, op.kind, row.id, since) not in {"", op.claimer}:
        return False
    tables.execute(
        "INSERT OR REPLACE INTO claim VALUES (?, ?, ?, ?, ?)",
        (op.kind, row.id, _claimed_since(op.kind, since), op.claimer, tables.now_ms + op.claim_ms),
    )
    return True


def mark_sent(tables: Tables, op: ops.MarkSent) -> bool:
    """Note that a reply's message was sent: it is offered no more. Not an activity."""
    row = tables.find_or_create(op.address)
    if tables.repeated(row, op) is not None:
        return True
    where = "FROM unsent WHERE conversation = ? AND id = ?"
    found = tables.execute(f"SELECT text {where}", (row.id, op.message_id)).fetchone()
    if row.session_id is None or found is None:
        return False
    if op.provider_id:
        noted = found[0][:-1] + b',"provider_id":' + op.provider_id + b"}"  # a JSON object takes one more member
        for table in ("message", "transcript"):
            tables.execute(f"UPDATE {table} SET text = ? WHERE conversation = ? AND text = ?", (noted, row.id, found[0]))
    tables.execute(f"DELETE {where}", (row.id, op.message_id))
    tables.save(row)
    tables.mark(row, op, "")
    return True
