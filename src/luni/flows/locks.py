"""Named locks, and what locks and bookings need of the store. No I/O."""

from __future__ import annotations

import threading
from typing import Any

from luni import operations as ops
from luni.clock import Clock
from luni.errors import ConfigError, LockHeld, NoSession
from luni.flows import Flow, attempt
from luni.scope import Scope

__all__ = ["Guarantee", "acquire", "guaranteed"]

LOOK_AGAIN_SECONDS = 60.0


class Guarantee:
    """What the store was last found to guarantee. Looked at again each minute, and after a refusal at once."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._good_until = float("-inf")
        self._replicas = 0

    @property
    def known(self) -> bool:
        """Whether nobody has to look now."""
        return self._clock.monotonic() < self._good_until

    def note(self, found: ops.Guaranteed, *, declared: bool) -> None:
        """Take note of what was found; raise `ConfigError` if the store may throw locks and bookings away."""
        if found.eviction not in {"", "noeviction"}:
            raise ConfigError(
                f"the server's maxmemory-policy is {found.eviction}: under pressure it throws locks and bookings away, so they "
                "are refused; set maxmemory-policy noeviction"
            )
        if not found.eviction and not declared:
            raise ConfigError(
                "the server does not tell its maxmemory-policy, so nobody can say whether it throws locks and bookings away; "
                "if it is noeviction, declare it: LUNI_NOEVICTION=1"
            )
        with self._lock:
            self._replicas = max(self._replicas, found.replicas)
            self._good_until = self._clock.monotonic() + LOOK_AGAIN_SECONDS

    def replicas(self, wanted: int | None) -> int:
        """Return how many replicas have to confirm a booking: those wanted, or one where the server has ever had any."""
        return min(1, self._replicas) if wanted is None else wanted


def guaranteed(base: Scope, guarantee: Guarantee) -> Flow:
    """Make sure, once a minute, that the store does not throw keys away; raise `ConfigError` if it may."""
    if not guarantee.known:
        found = yield from attempt(base, ops.Guarantees())
        guarantee.note(found, declared=base.settings.noeviction)


def acquire(base: Scope, operation: ops.Lock) -> Flow:
    """Ask for a lock; return what was found: ``acquired`` or ``held``. Raises `NoSession`, and `LockHeld` for a full queue."""
    found: ops.Locked = yield from attempt(base, operation)
    if found.state == "no_session":
        raise NoSession("the session is not there (any more); nothing was locked")
    if found.state == "full":
        raise LockHeld("too many locks are held, or wait, there; nothing was run")
    return found


def renewed(base: Scope, lease: ops.LockLease) -> Flow:
    """Renew one lock; return whether it is still held."""
    result: Any = yield from attempt(base, ops.Renew(leases=(lease,)))
    return result.held[0]
