"""What is held for a while: renewed in the background, and lost where that fails. No I/O."""

from __future__ import annotations

import os
import weakref

from luni import operations as ops
from luni.clock import Clock
from luni.errors import Fenced
from luni.events import Event

__all__ = ["HeldLocks", "Leased"]

RENEWALS_A_LEASE = 3


class Leased:
    """A turn's lease or a lock. Its deadline is counted on the local monotonic clock, from before it was asked for."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._pid = clock, os.getpid()
        self._deadline = self._renew_at = 0.0
        self._lost = False

    @property
    def _lease_seconds(self) -> float:
        raise NotImplementedError

    @property
    def lost(self) -> bool:
        """Whether it was lost: what needs it would be refused."""
        raise NotImplementedError

    @property
    def _wanted(self) -> bool:
        """Whether it is to be renewed (any more)."""
        raise NotImplementedError

    def _lease(self) -> ops.Lease | ops.LockLease:
        raise NotImplementedError

    def _lost_event(self) -> Event:
        raise NotImplementedError

    @property
    def _over(self) -> bool:
        return self._lost or self._clock.monotonic() >= self._deadline or self._elsewhere

    @property
    def _elsewhere(self) -> bool:
        """Whether this is a forked child: what its parent holds is not the child's."""
        return self._pid != os.getpid()

    def _held_from(self, sent_at: float) -> None:
        """Count from before it was asked for, so it never seems longer than it is."""
        self._pid = os.getpid()
        self._deadline = sent_at + self._lease_seconds
        self._renew_at = sent_at + self._lease_seconds / RENEWALS_A_LEASE

    def _renewed(self, sent_at: float, *, held: bool | None) -> None:
        """Take note of a renewal's outcome; what could not be told (``None``) is tried again until the deadline."""
        if held and not self._over:
            self._held_from(sent_at)
        elif held is None:
            self._renew_at = self._clock.monotonic() + self._lease_seconds / 10
        else:
            self._lost = True


class HeldLocks:
    """The locks that this `Memory` holds, by what they guard and their token: a write guarded by a lost one is refused here."""

    def __init__(self) -> None:
        self._locks: weakref.WeakValueDictionary[tuple[ops.Place, int], Leased] = weakref.WeakValueDictionary()

    def add(self, place: ops.Place, token: int, lock: Leased) -> None:
        """Remember a lock that was acquired."""
        self._locks[_guarded(place), token] = lock

    def refuse_lost(self, place: ops.Place, token: int | None) -> None:
        """Raise `Fenced` if the token is that of a lock which is known to be lost."""
        lock = None if token is None else self._locks.get((_guarded(place), token))
        if lock is not None and lock.lost:
            raise Fenced("the lock was lost; nothing was stored")


def _guarded(place: ops.Place) -> ops.Place:
    """A session's tokens are its own whatever the lock's name."""
    return ops.Place(place.tenant, "", place.channel, place.user) if place.channel else place
