"""One named lock: what it is asked for, who holds it, and the flows of its calls. No I/O."""

from __future__ import annotations

import os
import threading
from typing import Any

from luni import drafts, flows
from luni import operations as ops
from luni.backends.keys import part
from luni.clock import Clock
from luni.errors import InvalidInput, LockHeld, LockLost, LuniError
from luni.events import Event
from luni.events import LockLost as LockLostEvent
from luni.flows import locks as lock_flows
from luni.leases import HeldLocks, Leased
from luni.scope import Scope

__all__ = ["LockBase", "locked_place"]

MIN_TTL_MS, MAX_TTL_MS = 50, 24 * 3600 * 1000
MAX_WAIT_MS = 300_000
TICKET_MS = 2000
"""Who waits keeps the place in the queue for so long without asking again: a dead one's is free then."""
FIRST_POLL, LAST_POLL = 0.01, 0.2


def locked_place(tenant: str, name: str, channel: str = "", user: str = "") -> ops.Place:
    """Return the place of a lock; raise `InvalidInput` for one that cannot be."""
    part(tenant, "tenant")
    part(name, "name")
    return ops.Place(tenant, name, channel, user)


class LockBase(Leased):
    """What the synchronous and the asynchronous lock share."""

    def __init__(
        self, base: Scope, clock: Clock, guarantee: lock_flows.Guarantee, held: HeldLocks, place: ops.Place, ttl: Any, wait: Any
    ) -> None:
        super().__init__(clock)
        self._base, self._guarantee, self._known, self._place = base, guarantee, held, place
        self._ttl_ms = drafts.milliseconds(ttl, "ttl", low=MIN_TTL_MS, high=MAX_TTL_MS)
        self._wait = drafts.milliseconds(wait, "wait", low=0, high=MAX_WAIT_MS) / 1000
        self._owner = ""
        self._taken = threading.Lock()
        self._begun_at: float | None = None
        self._token = 0
        self._held = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {'held' if self._held else 'not held'}>"

    @property
    def token(self) -> int:
        """The fencing token: grows with every holder of the lock; 0 before it is acquired. Give it to guarded writes."""
        return self._token

    @property
    def held(self) -> bool:
        """Whether it is held here, as far as this process can tell."""
        return self._held and not self._over

    @property
    def lost(self) -> bool:
        """Whether it was acquired, not released, and is no longer held here: what it guards may be somebody else's by now.

        Once true it stays true until it is released. In a forked child, what the parent holds is lost.
        """
        return self._held and self._over

    # what renews it needs of it

    @property
    def _lease_seconds(self) -> float:
        return self._ttl_ms / 1000

    @property
    def _wanted(self) -> bool:
        return self._held

    def _lease(self) -> ops.LockLease:
        return ops.LockLease(self._place, self._owner, self._token, self._ttl_ms)

    def _lost_event(self) -> Event:
        return LockLostEvent(self._place.tenant, self._place.name, self._token, self._place.address)

    # what the two clients do with it

    def _take(self) -> None:
        """One acquisition of this object at a time: two would pass for one holder."""
        if not self._taken.acquire(blocking=False):
            raise InvalidInput("this lock object is in use; each task and each thread needs one of its own: memory.lock(…)")
        self._pid = os.getpid()

    def _acquire_flow(self) -> flows.Flow:
        """Ask once; return how many seconds to sleep before asking again, ``None`` when it is acquired."""
        yield from lock_flows.guaranteed(self._base, self._guarantee)
        sent_at = self._clock.monotonic()
        self._begun_at = sent_at if self._begun_at is None else self._begun_at
        if not self._owner:
            writer, seq = self._base.next_id()
            self._owner = f"{writer}.{seq}"
        left = self._begun_at + self._wait - sent_at
        found = yield from lock_flows.acquire(
            self._base,
            ops.Lock(place=self._place, owner=self._owner, ttl_ms=self._ttl_ms, ticket_ms=TICKET_MS if left > 0 else 0),
        )
        if found.state == "held":
            if left <= 0:
                raise LockHeld("somebody else holds the lock, or waits for it; nothing was run")
            return self._next_ask(found, left)
        self._lost, self._held, self._token = False, True, found.token
        self._held_from(sent_at)
        if self._over:
            raise LockLost("acquiring the lock took longer than it lasts; nothing was run")
        self._known.add(self._place, self._token, self)
        return None

    @staticmethod
    def _next_ask(found: ops.Locked, left: float) -> float:
        """Who is next asks often, who is far behind rarely."""
        return max(0.001, min(FIRST_POLL * (1 + found.ahead), LAST_POLL, left))

    def _give_up(self) -> ops.Unlock | None:
        """Return what releases it, or gives up the place in the queue; ``None`` if it was never asked for, or not here."""
        if self._elsewhere:
            return None
        if not self._owner:
            self._untake()
            return None
        token = self._token if self._held else 0
        operation = ops.Unlock(place=self._place, owner=self._owner, token=token, blind=not token)
        self._owner, self._begun_at, self._held, self._lost = "", None, False, False
        self._untake()
        return operation

    def _untake(self) -> None:
        if self._taken.locked():
            self._taken.release()

    def _release_flow(self, operation: ops.Unlock) -> flows.Flow:
        return flows.attempt(self._base, operation)

    @staticmethod
    def _attempt_flow(operation: ops.Unlock) -> flows.Flow:
        """The same once: whoever asks has waited long enough, and what may be held expires by itself."""
        return (yield flows.Do(operation))

    def _renew_flow(self) -> flows.Flow:
        if not self._held:
            raise InvalidInput("the lock is not acquired")
        if self._elsewhere:
            raise LockLost("the lock is the parent's: a forked child holds nothing of it")
        sent_at = self._clock.monotonic()
        try:
            held = yield from lock_flows.renewed(self._base, self._lease())
        except LuniError:
            self._renewed(sent_at, held=None)
            raise
        self._renewed(sent_at, held=held)
        if self.lost:
            raise LockLost("the lock is no longer held: what it guards may be somebody else's by now")
