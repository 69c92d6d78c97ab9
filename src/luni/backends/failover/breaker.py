"""Whether the primary is asked: a circuit breaker (M. Nygard, *Release It!*), and what time the primary has."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable

from luni.errors import BackendError, LuniError

__all__ = ["Breaker", "ServerClock"]

logger = logging.getLogger("luni")

FIRST_PROBE, LAST_PROBE = 0.1, 0.8
"""Seconds between two probes: each time half as long again, and a little more or less, so that hosts differ."""
FAILURES = 2
TELL_AGAIN = 3600.0


class Breaker:
    """Closed while the primary answers. Two failures running open it, or a long one; a probe that succeeds closes it."""

    def __init__(self, patience: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._long, self._monotonic = patience / 2, monotonic
        self._failures = 0
        self._pause = FIRST_PROBE
        self._denied, self._denied_at = "", float("-inf")
        self.open = False
        self.opened_at = 0.0
        self.probe_at = 0.0

    def failed(self, seconds: float) -> bool:
        """Take note of a call that failed after so long; return whether that opened it."""
        self._failures += 1
        if self.open or (self._failures < FAILURES and seconds < self._long):
            return False
        self.open, self.opened_at, self._pause = True, self._monotonic(), FIRST_PROBE
        self.probe_at = self.opened_at + self._jittered()
        return True

    def answered(self) -> None:
        """Take note of a call that was answered."""
        self._failures = 0

    def refused(self, error: BackendError) -> None:
        """Take note of a refusal: who answers is there."""
        self._failures = 0
        self.denied(error)

    def denied(self, error: LuniError) -> bool:
        """Return whether a failure is of the user's credentials or rights. It is told, once an hour: somebody has to act."""
        if not getattr(error, "denied", False):
            return False
        now = self._monotonic()
        if str(error) != self._denied or now - self._denied_at > TELL_AGAIN:
            self._denied, self._denied_at = str(error), now
            logger.warning("credentials: %s; going on from this host's own storage until they are mended", error)
        return True

    def probed(self, *, well: bool) -> bool:
        """Take note of a probe's outcome; return whether that closed it."""
        if not well:
            self._pause = min(LAST_PROBE, self._pause * 1.5)
            self.probe_at = self._monotonic() + self._jittered()
            return False
        closed, self.open, self._failures = self.open, False, 0
        return closed

    def _jittered(self) -> float:
        return self._pause * random.uniform(0.75, 1.25)  # noqa: S311  jitter is no secret


class ServerClock:
    """The primary's clock as its replies tell it, going on by the local monotonic one; so a host's own clock may be wrong.

    Until the first reply it is the host's clock, put right by what an earlier process noted.
    """

    automatic = True

    def __init__(self) -> None:
        self._offset_ms = 0
        self.told = False
        self.recall(0)

    def recall(self, difference_ms: int) -> None:
        """Take note of how far the host's clock was behind the primary's, unless the primary itself has told the time."""
        if not self.told:
            self._offset_ms = time.time_ns() // 1_000_000 + difference_ms - time.monotonic_ns() // 1_000_000

    def tell(self, now_ms: int) -> None:
        """Take note of what the primary says the time is."""
        self._offset_ms = now_ms - time.monotonic_ns() // 1_000_000
        self.told = True

    def time_ms(self) -> int:
        """Return milliseconds since the epoch."""
        return self._offset_ms + time.monotonic_ns() // 1_000_000

    def difference_ms(self) -> int:
        """Return how far the host's clock is behind the primary's."""
        return self.time_ms() - time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Sleep."""
        time.sleep(seconds)
