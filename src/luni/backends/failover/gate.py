"""What must not go on by itself: bookings on a server that has lost data, and a fallback that belongs to another server."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from luni import operations as ops
from luni.errors import Unavailable

if TYPE_CHECKING:
    from luni.backends.failover.journal import Journal

__all__ = ["Belonging", "BookingGate", "known_as"]

CLOSED = "closed"
LOOKED_SECONDS = 1.0


def _place_of(url: str) -> str:
    """Return where a server is, without credentials or options."""
    scheme, _, rest = url.partition("://")
    place = rest.partition("?")[0].partition("#")[0]
    host, slash, path = place.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


class BookingGate:
    """Bookings may be among what a server has lost: nobody books before somebody has looked."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._looked_at, self.known = float("-inf"), False

    def close(self) -> None:
        """Refuse bookings from now on, in every process of the host."""
        self._journal.write_note("bookings", CLOSED)
        self.doubt()

    def open(self) -> bool:
        """Somebody has looked: bookings go on. Return whether they were closed."""
        closed = self._journal.note("bookings") == CLOSED
        if closed:
            self._journal.write_note("bookings", "")
        self.doubt()
        return closed

    def closed(self) -> bool:
        """Whether bookings are refused; at most a second old."""
        if time.monotonic() - self._looked_at > LOOKED_SECONDS:
            self._looked_at = time.monotonic()
            self.known = self._journal.note("bookings") == CLOSED
        return self.known

    def doubt(self) -> None:
        """Look again at the next occasion."""
        self._looked_at = float("-inf")


class Belonging:
    """Whose mirror and journal these are: one server's. Another server's sessions are neither shown nor written to this one.

    The same data under another address is the same server: what counts is the name that the data was given.
    """

    def __init__(self, journal: Journal, url: str) -> None:
        self._journal, self._place = journal, _place_of(url)
        self.foreign = False

    def recall(self) -> None:
        """Before the server has said which one it is: what was noted of another address may be another server's."""
        noted = self._journal.note("place")
        self.foreign = bool(noted) and noted != self._place

    def judge(self, *, another: bool) -> bool:
        """Judge by whether the server's data has ``another`` name than was noted; return whether this is foreign."""
        noted = self._journal.note("place")
        self.foreign = another and bool(noted) and noted != self._place
        if not self.foreign and noted != self._place:
            self._journal.write_note("place", self._place)
        return self.foreign

    def check(self) -> None:
        """Raise `Unavailable` if nothing here may be used."""
        if self.foreign:
            raise Unavailable(
                "the server is away, and this host's fallback belongs to another server: give each server a file of its own"
            )


def known_as(met: ops.Acquainted) -> str:
    """Return how a server is noted: the name of its data, and that of its process."""
    return f"{met.generation} {met.run_id}"
