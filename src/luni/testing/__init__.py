"""For tests of luni and of what is built on it: a throw-away memory, a clock moved by hand, servers, a conformance suite.

```python
from luni.testing import FakeClock, memory

clock = FakeClock()
with memory(clock=clock) as m:
    session = m.session(tenant="shop", channel="web", user="ana")
    session.receive("hi", message_id="1")
    clock.advance(73 * 3600)
    assert session.info() is None
```
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from luni.async_client import AsyncMemory
from luni.client import Memory
from luni.clock import Clock

__all__ = ["FakeClock", "async_memory", "memory"]

BEGIN_MS = 1_700_000_000_000


class FakeClock:
    """A clock that stands still until it is told to move. Leases are not renewed behind its back."""

    automatic = False

    def __init__(self, now: float = BEGIN_MS / 1000) -> None:
        self._now_ms = round(now * 1000)
        self._planned: list[tuple[int, Callable[[], Any]]] = []

    def advance(self, seconds: float) -> None:
        """Let this many seconds pass, for leases, expiry and timestamps alike; what was planned for them happens."""
        if seconds < 0:
            raise ValueError("time does not go back")
        end_ms = self._now_ms + round(seconds * 1000)
        while self._planned and min(self._planned, key=_when)[0] <= end_ms:
            plan = min(self._planned, key=_when)
            self._planned.remove(plan)
            self._now_ms = max(self._now_ms, plan[0])
            plan[1]()
        self._now_ms = max(self._now_ms, end_ms)

    def after(self, seconds: float, action: Callable[[], Any]) -> None:
        """Plan something for when so many seconds have passed: a message that comes while a turn gathers a burst."""
        self._planned.append((self._now_ms + round(seconds * 1000), action))

    def sleep(self, seconds: float) -> None:
        """Nobody sleeps: the time has passed."""
        self.advance(seconds)

    def time_ms(self) -> int:
        """Return milliseconds since the epoch."""
        return self._now_ms

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return self._now_ms / 1000


def _when(plan: tuple[int, Callable[[], Any]]) -> int:
    return plan[0]


def memory(*, clock: Clock | None = None, **options: Any) -> Memory:
    """Return a memory of its own, in memory; ``options`` are those of `Memory.open`."""
    return Memory.open("sqlite://", clock=clock, **options)


def async_memory(*, clock: Clock | None = None, **options: Any) -> AsyncMemory:
    """Return an asynchronous memory of its own, in memory; ``options`` are those of `AsyncMemory.open`."""
    return AsyncMemory.open("sqlite://", clock=clock, **options)
