"""What a `Memory` tells its one hook: typed, frozen, without message text or secrets.

``Memory.open(url, on_event=hook)`` calls ``hook(event)`` on the caller's thread (or loop), after the fact. A hook that raises
is logged once a call and never disturbs the operation. It may use the memory. Subscribers match on the type.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec

from luni.models import Address

__all__ = [
    "DamageFound",
    "Event",
    "Executed",
    "FailedOver",
    "FallbackImpaired",
    "Hook",
    "LeaseLost",
    "LockLost",
    "Recovered",
    "ReplayRefused",
    "Replayed",
    "StoreLost",
    "emit",
]

logger = logging.getLogger("luni")


class Executed(msgspec.Struct, frozen=True):
    """An operation has ended: its kind, how, and how long it took.

    ``outcome`` is ``"ok"`` or the error's class name; ``policy`` is the name of the policy in force, ``""`` outside a channel.
    """

    operation: str
    backend: str
    outcome: str
    seconds: float
    tenant: str
    channel: str
    policy: str


class LeaseLost(msgspec.Struct, frozen=True):
    """A turn's lease was not renewed in time; its reply will be refused."""

    address: Address
    token: int


class LockLost(msgspec.Struct, frozen=True):
    """A named lock was not renewed in time, or somebody took it away; writes guarded by its token will be refused.

    ``address`` is the session's whose lock it is, ``None`` for a tenant's.
    """

    tenant: str
    name: str
    token: int
    address: Address | None = None


class FailedOver(msgspec.Struct, frozen=True):
    """The server is away (``reason`` is the error's class name): this process goes on from its host's own storage."""

    reason: str


class FallbackImpaired(msgspec.Struct, frozen=True):
    """This host's own storage is damaged, was removed or cannot be used; ``problem`` says which file, and what was done."""

    problem: str


class Recovered(msgspec.Struct, frozen=True):
    """The server is back after so many seconds; so many operations wait in the journal to reach it."""

    seconds: float
    pending: int


class Replayed(msgspec.Struct, frozen=True):
    """The journal was replayed: how many operations it was, by what became of them.

    ``replayed``; ``known``: the server had executed it; ``expired``, ``gone``, ``erased``: not needed any more; ``dead``.
    """

    counts: dict[str, int]


class StoreLost(msgspec.Struct, frozen=True):
    """The server is back ``empty`` or ``older`` than what it had acknowledged; so much of it came from this host's mirror.

    What only other hosts served, they heal. Bookings stay closed until ``luni bookings reconcile``.
    """

    how: str
    sessions: int
    messages: int


class ReplayRefused(msgspec.Struct, frozen=True):
    """An acknowledged operation cannot be replayed; it is kept as dead: see ``luni journal``."""

    address: Address
    number: int
    kind: str
    reason: str


class DamageFound(msgspec.Struct, frozen=True):
    """A stored item cannot be read; it was left as it is and out of the context."""

    address: Address
    items: int


Event = (
    Executed
    | LeaseLost
    | LockLost
    | DamageFound
    | FailedOver
    | FallbackImpaired
    | Recovered
    | Replayed
    | ReplayRefused
    | StoreLost
)
Hook = Callable[[Event], None]


def emit(hook: Hook | None, event: Event) -> None:
    """Tell the hook, if there is one; its failure is logged and goes no further."""
    if hook is None:
        return
    try:
        hook(event)
    except Exception as error:  # noqa: BLE001  a subscriber must never break an operation
        logger.warning("the event hook failed with %s", type(error).__name__)  # its words may be a customer's
