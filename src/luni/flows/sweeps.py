"""What was left lying: messages nobody answered and replies nobody sent, each handed to one sweeper at a time."""

from __future__ import annotations

from collections.abc import Sequence

from luni import operations as ops
from luni import wire
from luni.flows import Flow, attempt
from luni.models import Address
from luni.scope import Scope

__all__ = ["mark_sent", "pending"]

TENANTS = 200
AT_ONCE = 500

Found = tuple[Address, int, ops.Examination]


def pending(base: Scope, kind: ops.PendingKind, tenant: str | None, *, older_ms: int, limit: int, claim: bool) -> Flow:
    """Claim at most ``limit`` sessions for this caller; return the store's time and what was found, the oldest first."""
    claimer = wire.new_id()
    tenants: Sequence[str] = [tenant] if tenant is not None else (yield from _tenants(base))
    now_ms, found = 0, []
    for begin in range(0, len(tenants), TENANTS):
        now_ms, rows = yield from _free(base, kind, tuple(tenants[begin : begin + TENANTS]), older_ms, limit)
        found += rows
    found.sort(key=_since)
    if not claim:
        return now_ms, [row for row in found if _waits(kind, row[2])][:limit]
    taken: list[Found] = []
    while found and len(taken) < limit:
        wanted = limit - len(taken)
        taken += yield from _claimed(base, kind, claimer, found[:wanted])
        del found[:wanted]
    if kind == "unsent":
        taken = yield from _still_unsent(base, taken)
    return now_ms, sorted(taken, key=_since)


def _since(row: Found) -> int:
    return row[1]


def _tenants(base: Scope) -> Flow:
    tenants: list[str] = []
    while True:
        page = yield from attempt(base, ops.Tenants(limit=AT_ONCE, passed=len(tenants)))
        tenants += page.tenants
        if len(page.tenants) < AT_ONCE:
            return sorted(set(tenants))


def _free(base: Scope, kind: ops.PendingKind, tenants: tuple[str, ...], older_ms: int, limit: int) -> Flow:
    """Return up to ``limit`` sessions of these tenants that nobody works at: not paused, not leased, not claimed."""
    found: list[Found] = []
    passed = 0
    while True:
        listed = yield from attempt(
            base, ops.Pending(kind=kind, tenants=tenants, older_ms=older_ms, limit=AT_ONCE, passed=passed)
        )
        for begin in range(0, len(listed.waiting), AT_ONCE):
            rows = listed.waiting[begin : begin + AT_ONCE]
            seen = yield from attempt(base, ops.Examine(kind=kind, addresses=tuple(address for address, _ in rows)))
            found += [
                (address, since, session)
                for (address, since), session in zip(rows, seen.sessions, strict=True)
                if not session.paused and not session.leased
            ]
        passed += AT_ONCE
        if not listed.full or len(found) >= limit * len(tenants):
            return listed.now_ms, found


def _claimed(base: Scope, kind: ops.PendingKind, claimer: str, rows: list[Found]) -> Flow:
    """Claim what still waits, tenant by tenant; what is gone leaves the list. Return what is the claimer's."""
    mine: list[Found] = []
    for tenant in dict.fromkeys(address.tenant for address, _, _ in rows):
        own = [row for row in rows if row[0].tenant == tenant]
        wanted = [row for row in own if _waits(kind, row[2])]
        gone = tuple((address, since) for address, since, session in own if not _waits(kind, session))
        result = yield from attempt(
            base,
            ops.Claim(
                kind=kind, tenant=tenant, claimer=claimer, claim_ms=base.lease_ms, gone=gone,
                wanted=tuple((address, since) for address, since, _ in wanted),
            ),
        )  # fmt: skip
        mine += [row for row, is_mine in zip(wanted, result.mine, strict=True) if is_mine]
    return mine


def _still_unsent(base: Scope, taken: list[Found]) -> Flow:
    """What was sent while it was being claimed is not offered again."""
    if not taken:
        return taken
    seen = yield from attempt(base, ops.Examine(kind="unsent", addresses=tuple(address for address, _, _ in taken)))
    return [(*row[:2], session) for row, session in zip(taken, seen.sessions, strict=True) if session.texts]


def _waits(kind: ops.PendingKind, session: ops.Examination) -> bool:
    return session.waits if kind == "waiting" else bool(session.texts)


def mark_sent(scope: Scope, message_id: str, provider_id: bytes) -> Flow:
    """Note that a message was sent; return whether it waited for that."""
    writer, seq = scope.next_id()
    return (
        yield from attempt(
            scope,
            ops.MarkSent(
                address=scope.address, writer=writer, seq=seq, session_id="", ttl_ms=scope.ttl_ms, message_id=message_id,
                provider_id=provider_id,
            ),
        )
    )  # fmt: skip
