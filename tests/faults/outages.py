"""A server that goes away in every way there is, and what is asked of a memory with a fallback afterwards."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter

from luni import Policy

KEEPING = ("--appendonly", "yes", "--appendfsync", "always")
"""A server that finds again what it has acknowledged: what it loses by itself is not what these tests are about."""
LONG = {"*": Policy(transcript_messages=500)}


class Outages:
    """Takes a server away for a moment, each time another way, and counts."""

    def __init__(self, server, proxy, seed=1):
        self._server, self._proxy, self.chance = server, proxy, random.Random(seed)
        self.done = Counter()
        self._ways = [self.killed, self.paused, self.reset, self.killed, self.paused, self.black_hole, self.delayed]

    def strike(self):
        """One outage; every way in turn."""
        way = self._ways[sum(self.done.values()) % len(self._ways)]
        way(self.chance.uniform(0.1, 0.6))
        self.done[way.__name__] += 1

    def killed(self, seconds):
        self._server.stop()
        time.sleep(seconds)
        self._server.start()

    def paused(self, seconds):
        """Up to 1.5 s: longer than a call waits, or shorter."""
        self._server.signal(signal.SIGSTOP)
        time.sleep(seconds * self.chance.choice([0.5, 1.0, 2.5]))
        self._server.signal(signal.SIGCONT)

    def reset(self, seconds):
        for _ in range(5):
            self._proxy.reset()
            time.sleep(seconds / 5)

    def black_hole(self, seconds):
        self._proxy.drop(self.chance.choice(["requests", "replies"]))
        time.sleep(max(0.5, seconds))
        self.healed()

    def delayed(self, seconds):
        self._proxy.delay(0.5)
        time.sleep(max(0.5, seconds))
        self.healed()

    def healed(self):
        """Nothing stands in the way any more; connections that have swallowed something are gone, as their peers' are."""
        self._proxy.passing()
        self._proxy.reset()


def reaches(holds, seconds=30.0):
    """Wait until something holds; return whether it did."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def caught_up(memory, run=lambda value: value, seconds=30.0):
    """Wait until the server is back and nothing waits to reach it; return whether that came to be."""

    def well():
        health = run(memory.health())
        return health.ok and not health.degraded and health.journal_depth == 0

    return reaches(well, seconds)


def told(what, **counts):
    """Print what was counted: shown with ``-s``, and with a failure."""
    print(f"{what}: " + ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in counts.items()))  # noqa: T201
