"""The operations of named locks, and the question what a store guarantees."""

from __future__ import annotations

from luni.models import Address, Discreet
from luni.operations.base import Operation

__all__ = ["Guarantees", "Lock", "LockLease", "Place", "Unlock"]


class Place(Discreet, frozen=True):
    """Which lock: one of a tenant's, or with a channel and a user one of that session's."""

    tenant: str
    name: str
    channel: str = ""
    user: str = ""

    @property
    def address(self) -> Address | None:
        """Whose conversation's lock it is; ``None`` for a tenant's."""
        return Address(self.tenant, self.channel, self.user) if self.channel else None


class Lock(Operation, frozen=True, kw_only=True):
    """Acquire a lock if it is free and nobody waits before this owner; else keep a place in its queue for ``ticket_ms``.

    Executed again by its owner it gives the same token, as long as it is held. Leaves no mark: the owner is the operation.
    """

    place: Place
    owner: str
    ttl_ms: int
    ticket_ms: int = 0
    """0: the owner does not wait, and gives up a place that it has."""


class Unlock(Operation, frozen=True, kw_only=True):
    """Release a lock that is still its owner's, and give up a place in its queue. With token 0 whichever token it got."""

    place: Place
    owner: str
    token: int = 0
    blind: bool = False
    """Nobody waits for the answer."""


class LockLease(Discreet, frozen=True):
    """A lock that is held, and for how long it is to be held from now on."""

    place: Place
    owner_id: str
    token: int
    lease_ms: int


class Guarantees(Operation, frozen=True, kw_only=True):
    """Ask what the store guarantees: locks and bookings need one that never throws keys away. Writes nothing."""
