"""How the journal stands, as a person reads it: counts, and entries without what was said."""

from __future__ import annotations

import msgspec

from luni.models import Discreet

__all__ = ["Listed", "Standing"]


class Listed(Discreet, frozen=True):
    """An entry as `luni journal list` shows it, without what was said. ``waits_since``: seconds since the epoch."""

    _shown = ("id", "state", "kind")

    id: int
    state: str
    kind: str
    tenant: str
    channel: str
    user: str
    waits_since: float
    size_bytes: int
    reason: str


class Standing(msgspec.Struct, frozen=True):
    """How the journal stands: what waits, since when (ms; 0: nothing does), what is dead, what was replayed or dropped.

    ``erasures``: so many the primary does not know of yet, the oldest since ``owed_ms``. ``bookings_closed``: the primary has
    lost data, and nobody has looked at the bookings.
    """

    pending: int = 0
    sessions: int = 0
    oldest_ms: int = 0
    dead: int = 0
    counts: dict[str, int] = {}
    erasures: int = 0
    owed_ms: int = 0
    bookings_closed: bool = False
