"""The two clocks luni reads: what time it is on embedded storage, and how long ago something was."""

from __future__ import annotations

import time
from typing import Protocol

__all__ = ["Clock", "SystemClock"]


class Clock(Protocol):
    """Where a `Memory` reads the time. `luni.testing.FakeClock` is moved by hand."""

    automatic: bool
    """Whether it moves by itself, so that leases are renewed in the background."""

    def time_ms(self) -> int:
        """Return milliseconds since the epoch."""

    def monotonic(self) -> float:
        """Return seconds that never go back."""

    def sleep(self, seconds: float) -> None:
        """Let so many seconds pass: what a turn does that gathers a burst or waits for its conversation."""


class SystemClock:
    """The host's clocks."""

    automatic = True

    def time_ms(self) -> int:
        """Return milliseconds since the epoch."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Sleep."""
        time.sleep(seconds)
