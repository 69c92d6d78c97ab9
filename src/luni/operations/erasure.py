"""The operations of erasing a person or a tenant, and of reading all that is stored of them.

`luni.flows.erasure` puts them together; each of them may be repeated. ``user`` is ``""`` where a whole tenant is meant.
``before_ms`` is the time of the erasure: what was stored later is left alone.
"""

from __future__ import annotations

import msgspec

from luni.models import Address, Discreet
from luni.operations.base import OnSession, Operation
from luni.results import Record

__all__ = [
    "TOMBSTONE_MS",
    "BookingsOf",
    "BookingsPage",
    "Buried",
    "Bury",
    "Erase",
    "EraseBookings",
    "Erased",
    "Expunge",
    "Scrub",
    "Tombstones",
    "Traced",
    "Traces",
    "Vacate",
    "Wiped",
]

TOMBSTONE_MS = 31 * 24 * 3600 * 1000
"""How long a tombstone is kept: longer than any session, or operation in a journal, can live."""


class Erasing(Operation, frozen=True, kw_only=True):
    """An operation on all of a person at a tenant, or on all of a tenant."""

    tenant: str
    user: str = ""


class Bury(Erasing, frozen=True, kw_only=True):
    """Write the tombstone: under a keyed digest, when this person or tenant was erased. A repetition writes a later time.

    ``secret`` becomes the key of the store's digests if it has none yet. ``at_ms``: when it was, if that was
    before now, because the store was away; 0: now.
    """

    secret: str
    at_ms: int = 0


class Tombstones(Erasing, frozen=True, kw_only=True):
    """Read when this person was last erased, alone or with the whole tenant; without a tenant, anybody. Writes nothing."""


class Traces(Erasing, frozen=True, kw_only=True):
    """Look for what is stored, a page at a time, from the beginning with the cursor ``""``. Writes nothing.

    What is there from the first page to the last is found; the same may be found more than once.
    """

    cursor: str
    limit: int


class Erase(OnSession, frozen=True, kw_only=True):
    """Erase one conversation: its session, what ended ones have left, its places in the tenant's lists.

    Messages that arrived after the erasure begin a session of their own, under ``fresh_id``, to be answered; an open turn is
    fenced. ``session_id`` is the session that the caller has met; an answer `Met` tells that it is another one.
    """

    session_id: str
    before_ms: int
    fresh_id: str


class EraseBookings(Erasing, frozen=True, kw_only=True):
    """Erase a person's bookings of one resource (all of them, without ``user``), some at a time, from the cursor ``""``."""

    resource: str
    before_ms: int
    cursor: str
    limit: int


class Scrub(Erasing, frozen=True, kw_only=True):
    """Erase what `Traces` has found astray, but for locks that were acquired after the erasure."""

    strays: tuple[str, ...]
    before_ms: int


class Vacate(Operation, frozen=True, kw_only=True):
    """Erase what a tenant has beside conversations and bookings: its lists, where they lead nowhere any more."""

    tenant: str
    before_ms: int


class Expunge(Operation, frozen=True, kw_only=True):
    """See to it that what was deleted cannot be read from the store's files, either; return whether that is so."""


class BookingsOf(Erasing, frozen=True, kw_only=True):
    """Read the bookings that a resource leads, also expired and cancelled ones that are still kept, a page at a time.

    Writes nothing. Pages are read one after the other: what changes meanwhile may be missed, or shown twice.
    """

    resource: str
    cursor: str
    limit: int


class Buried(msgspec.Struct, frozen=True, gc=False):
    """When somebody was erased (ms, by the store's clock); 0: never, as far as is known."""

    ms: int


class Traced(Discreet, frozen=True):
    """Where something of a person or a tenant is. Without a ``cursor`` that was all.

    ``ids`` are session ids and the conversations they lead to, ``strays`` keys for `Scrub`.
    """

    addresses: tuple[Address, ...] = ()
    ids: tuple[tuple[str, Address], ...] = ()
    resources: tuple[str, ...] = ()
    strays: tuple[str, ...] = ()
    cursor: str = ""


class Erased(msgspec.Struct, frozen=True, gc=False):
    """How much of a conversation was erased; ``ids``: message ids that were remembered, as digests."""

    sessions: int = 0
    messages: int = 0
    ids: int = 0
    locks: int = 0


class Wiped(msgspec.Struct, frozen=True, gc=False):
    """How many were erased. Without a ``cursor`` those were all."""

    count: int
    cursor: str = ""


class BookingsPage(Discreet, frozen=True):
    """Some bookings, in no order. Without a ``cursor`` those were all."""

    records: tuple[Record, ...]
    cursor: str = ""
