"""What the primary has acknowledged to this process since a session's last snapshot. In memory only: the primary has it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from luni import operations as ops
from luni.backends.failover.entries import JOURNALED
from luni.models import Address

__all__ = ["MOST_SESSIONS", "NOTED", "Noted", "Tails"]

MOST_SESSIONS = 20_000
MOST_OPERATIONS = 2_000
"""Of one session, since its last snapshot: the busiest come first, see `Tails.due`."""
MANY = 200
NOTED = frozenset((*JOURNALED, ops.Load, ops.Lease, ops.Release, ops.Gather))


class Noted(NamedTuple):
    """An operation, its result, and when the result came: on the local monotonic clock, and on the primary's.

    Of a renewal each turn's lease is noted, with whether it is still held.
    """

    operation: Any
    result: Any
    at: float
    server_ms: int


class Tails:
    """The operations noted of each session, the longest unheard of session first. Bounded; threads share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._noted: dict[Address, list[Noted]] = {}

    def note(self, operation: Any, result: Any, now: float, server_ms: int) -> None:
        """Remember what was acknowledged, if it changes a session."""
        if type(operation) not in NOTED:
            return
        note = Noted(operation, result, now, server_ms)
        with self._lock:
            noted = self._noted.get(operation.address)
            if noted is not None:
                noted.append(note)
                if len(noted) > MOST_OPERATIONS:
                    del noted[0]
                return
            self._noted[operation.address] = [note]
            if len(self._noted) > MOST_SESSIONS:
                del self._noted[next(iter(self._noted))]

    def of(self, address: Address) -> tuple[Noted, ...]:
        """Return what was noted of a session."""
        with self._lock:
            return tuple(self._noted.get(address, ()))

    def due(self, before: float, limit: int) -> list[Address]:
        """Return sessions whose oldest note is from before then; those of which very much is noted come first."""
        with self._lock:
            due = [(len(noted) < MANY, address) for address, noted in self._noted.items() if noted[0].at <= before]
        return [address for _, address in sorted(due, key=itemgetter(0))][:limit]

    def oldest(self) -> float:
        """Return when the first of what is here was noted; infinity if nothing is."""
        with self._lock:
            return min((noted[0].at for noted in self._noted.values()), default=float("inf"))

    def forget(self, address: Address, kept: Sequence[Noted]) -> None:
        """Let go of these notes: the mirror has them; what was noted meanwhile stays."""
        gone = {id(one) for one in kept}
        with self._lock:
            left = [one for one in self._noted.pop(address, ()) if id(one) not in gone]
            if left:
                self._noted[address] = left

    def drop(self, tenant: str, user: str) -> None:
        """Let go of everything of a user, or without one of a tenant."""
        with self._lock:
            for address in [one for one in self._noted if one.tenant == tenant and user in {"", one.user}]:
                del self._noted[address]

    def clear(self) -> None:
        """Let go of everything."""
        with self._lock:
            self._noted.clear()

    def __len__(self) -> int:
        return len(self._noted)
