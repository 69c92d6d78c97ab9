"""The codec of what sweepers ask. Pure functions, one pair an operation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from luni import operations as ops
from luni.backends import keys
from luni.backends.redis.call import Arg, Call
from luni.backends.redis.scripts import SCRIPTS

__all__ = ["DECODERS", "ENCODERS"]


def _tenants(namespace: str, op: ops.Tenants) -> Call:
    return Call(SCRIPTS["tenants"], (keys.tenants_key(namespace),), [op.passed, op.limit])


def _pending(namespace: str, op: ops.Pending) -> Call:
    lists = [key for tenant in op.tenants for key in keys.pending_keys(namespace, tenant, op.kind)]
    return Call(SCRIPTS["pending"], tuple(lists), [op.older_ms, op.passed, op.limit, op.kind])


def _examine(namespace: str, op: ops.Examine) -> Call:
    found = [keys.session_keys(namespace, address).own for address in op.addresses]
    return Call(SCRIPTS["examine"], tuple(key for ctx, _, lock, *_ in found for key in (ctx, lock)), [op.kind])


def _claim(namespace: str, op: ops.Claim) -> Call:
    args: list[Arg] = [op.claimer, op.claim_ms, op.kind, len(op.gone)]
    for address, since in (*op.gone, *op.wanted):
        args += (keys.session_keys(namespace, address).member, since)
    found = keys.pending_keys(namespace, op.tenant, op.kind)
    if isinstance(namespace, keys.Tagged):
        found = (*found, keys.list_keys(namespace, op.tenant)[-1])
    return Call(SCRIPTS["claim"], found, args)


def _tenants_listed(_namespace: str, _op: ops.Tenants, reply: list[bytes]) -> ops.TenantsListed:
    return ops.TenantsListed(tuple(unquote(tenant.decode()) for tenant in reply))


def _pending_listed(_namespace: str, op: ops.Pending, reply: list[Any]) -> ops.PendingListed:
    now, *lists = reply
    found = [
        (keys.address_of_member(tenant, member.decode()), int(float(score)))
        for tenant, (_, free) in zip(op.tenants, lists, strict=True)
        for member, score in zip(free[::2], free[1::2], strict=True)
    ]
    return ops.PendingListed(int(now), tuple(found), full=any(looked_at >= op.limit for looked_at, _ in lists))


def _examined(_namespace: str, _op: ops.Examine, reply: list[Any]) -> ops.Examined:
    return ops.Examined(
        tuple(
            ops.Examination(session.decode(), paused == 1, leased == 1, waits == 1, tuple(texts))
            for session, paused, leased, waits, texts in reply
        )
    )


def _claimed(_namespace: str, _op: ops.Claim, reply: list[int]) -> ops.Claimed:
    return ops.Claimed(tuple(one == 1 for one in reply))


ENCODERS: dict[type[ops.Operation], Callable[[str, Any], Call]] = {
    ops.Tenants: _tenants,
    ops.Pending: _pending,
    ops.Examine: _examine,
    ops.Claim: _claim,
}

DECODERS: dict[type[ops.Operation], Callable[[str, Any, Any], Any]] = {
    ops.Tenants: _tenants_listed,
    ops.Pending: _pending_listed,
    ops.Examine: _examined,
    ops.Claim: _claimed,
}
