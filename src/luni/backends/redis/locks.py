"""The codec of named locks, of what renews what is held, and of the question what the server guarantees."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from luni import operations as ops
from luni.backends import keys
from luni.backends.redis.call import Arg, Call
from luni.backends.redis.scripts import SCRIPTS

__all__ = ["DECODERS", "ENCODERS"]

FENCE_MS = 30 * 24 * 3600 * 1000
"""How long a lock's last token and its queue are kept; a token begins with the server's time, so it grows even after that."""


def _place(namespace: str, place: ops.Place) -> tuple[str, str]:
    return keys.lock_keys(namespace, place.tenant, place.name, place.channel, place.user)


def _kept_ms(place: ops.Place, ttl_ms: int) -> int:
    """How long the hash of a tenant's lock is kept; 0 for a session's, whose hash is the session."""
    return 0 if place.channel else max(FENCE_MS, ttl_ms)


def _lock(namespace: str, op: ops.Lock) -> Call:
    kept, name = _kept_ms(op.place, op.ttl_ms), keys.part(op.place.name, "name")
    return Call(SCRIPTS["lock"], _place(namespace, op.place), [op.owner, name, op.ttl_ms, op.ticket_ms, kept])


def _unlock(namespace: str, op: ops.Unlock) -> Call:
    name = keys.part(op.place.name, "name")
    return Call(
        SCRIPTS["unlock"], _place(namespace, op.place), [op.owner, name, op.token, _kept_ms(op.place, 0)], whole=op.blind
    )


def _renew(namespace: str, op: ops.Renew) -> Call:
    found: list[str] = []
    args: list[Arg] = []
    for lease in op.leases:
        if isinstance(lease, ops.Lease):
            ctx, _, lock, *_ = keys.session_keys(namespace, lease.address).own
            found += (lock, ctx)
            name, kept = "", 0
        else:
            found += _place(namespace, lease.place)
            name, kept = keys.part(lease.place.name, "name"), _kept_ms(lease.place, lease.lease_ms)
        args += (f"{lease.owner_id}|{lease.token}", lease.lease_ms, name, kept)
    return Call(SCRIPTS["renew"], tuple(found), args)


def _guarantees(_namespace: str, _op: ops.Guarantees) -> Call:
    return Call(SCRIPTS["guarantees"], (), [])


def _locked(_namespace: str, _op: ops.Lock, reply: list[Any]) -> ops.Locked:
    state = reply[0].decode()
    if state == "acquired":
        return ops.Locked("acquired", token=int(reply[1]))
    if state == "held":
        return ops.Locked("held", left_ms=int(reply[1]), ahead=int(reply[2]))
    return ops.Locked(state)


def _unlocked(_namespace: str, _op: ops.Unlock, reply: int) -> bool:
    return reply == 1


def _renewed(_namespace: str, _op: ops.Renew, reply: list[int]) -> ops.Renewed:
    return ops.Renewed(tuple(one == 1 for one in reply))


def _guaranteed(_namespace: str, _op: ops.Guarantees, reply: list[bytes]) -> ops.Guaranteed:
    told = dict(
        line.split(":", 1) for text in reply for line in text.decode("utf-8", "replace").splitlines() if ":" in line
    )  # fmt: skip
    return ops.Guaranteed(told.get("maxmemory_policy", ""), int(told.get("connected_slaves", "-1")))


ENCODERS: dict[type[ops.Operation], Callable[[str, Any], Call]] = {
    ops.Lock: _lock,
    ops.Unlock: _unlock,
    ops.Renew: _renew,
    ops.Guarantees: _guarantees,
}

DECODERS: dict[type[ops.Operation], Callable[[str, Any, Any], Any]] = {
    ops.Lock: _locked,
    ops.Unlock: _unlocked,
    ops.Renew: _renewed,
    ops.Guarantees: _guaranteed,
}
