"""The operations of agendas: bookings in which overlap is impossible.

A change carries an id ``(writer, seq)`` and leaves a mark at its first resource, refusals included: a late copy of an attempt
that was refused must not succeed when the slot is free again. Times of bookings are microseconds, all others milliseconds.
"""

from __future__ import annotations

from typing import Literal

from luni.models import Discreet
from luni.operations.base import Operation

__all__ = [
    "BOOKINGS_MAX",
    "BUSY_MAX",
    "CAPACITY_MAX",
    "NEVER_MS",
    "RESOURCES_MAX",
    "Adopt",
    "BookingsBy",
    "BookingsIn",
    "BusyIn",
    "Cancel",
    "Change",
    "Confirm",
    "Hold",
    "Move",
    "Recall",
    "Reconcile",
    "Resources",
    "Share",
]

CAPACITY_MAX = 1000
RESOURCES_MAX = 8
BOOKINGS_MAX = 10_000
BUSY_MAX = 50_000
NEVER_MS = 9_999_999_999_999
"""When a confirmed booking's hold ends."""


class Share(Discreet, frozen=True):
    """A resource that a booking takes one unit of, and how many units it has."""

    resource: str
    capacity: int = 1


class OnAgenda(Operation, frozen=True, kw_only=True):
    """An operation on a tenant's agenda."""

    tenant: str


class Change(OnAgenda, frozen=True, kw_only=True):
    """A change of one booking, on all its resources at once, the first one leading.

    ``token``: of the lock of the resource ``guard``, which must be held with it. ``grace_ms``: how long a booking is kept after
    its end. ``replicas``: how many replicas are to confirm the change within ``replicas_ms``; 0 asks nobody.
    """

    writer: str
    seq: int
    id: str
    shares: tuple[Share, ...]
    grace_ms: int
    guard: str
    token: int | None = None
    replicas: int = 0
    replicas_ms: int = 0


class Hold(Change, frozen=True, kw_only=True):
    """Take an interval, if it is free, until it is confirmed, for ``hold_ms`` at the most."""

    start_us: int
    end_us: int
    hold_ms: int
    by: str
    details: bytes = b""


class Confirm(Change, frozen=True, kw_only=True):
    """Confirm a hold that has not expired."""


class Cancel(Change, frozen=True, kw_only=True):
    """Cancel a hold or a booking. Its id stays known until the booking would have been forgotten."""


class Move(Change, frozen=True, kw_only=True):
    """Give a hold or a booking another interval, if that is free, in one step."""

    start_us: int
    end_us: int


class Adopt(Change, frozen=True, kw_only=True):
    """Take over a booking as it is in another store, if its id is not known here and a unit of each resource is free.

    ``units``: which unit it has at each resource; another one that is free will do. One that is over is ``gone``.
    """

    state: Literal["h", "c", "x"]
    units: tuple[int, ...]
    start_us: int
    end_us: int
    until_ms: int
    keep_ms: int
    created_ms: int
    by: str
    details: bytes = b""


class BookingsIn(OnAgenda, frozen=True, kw_only=True):
    """Read the bookings of a resource that touch an interval, as they are at one instant. Writes nothing."""

    resource: str
    start_us: int
    end_us: int
    limit: int = BOOKINGS_MAX


class BusyIn(OnAgenda, frozen=True, kw_only=True):
    """Read only when the units of a resource are busy. Writes nothing."""

    resource: str
    capacity: int
    start_us: int
    end_us: int
    limit: int = BUSY_MAX


class BookingsBy(OnAgenda, frozen=True, kw_only=True):
    """List where a customer's bookings are. Writes nothing."""

    by: str
    limit: int


class Recall(OnAgenda, frozen=True, kw_only=True):
    """Read bookings of a resource by their ids, cancelled ones too. Writes nothing."""

    resource: str
    ids: tuple[str, ...]


class Resources(OnAgenda, frozen=True, kw_only=True):
    """List a tenant's resources that have bookings. Writes nothing."""

    limit: int


class Reconcile(OnAgenda, frozen=True, kw_only=True):
    """Look through all bookings of a resource, rebuild from them what conflicts and lists are found by, and report.

    ``forget``: ids of which nothing is to be left, readable or not.
    """

    resource: str
    limit: int = BUSY_MAX
    forget: tuple[str, ...] = ()
