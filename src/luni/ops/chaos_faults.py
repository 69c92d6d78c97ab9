"""`luni chaos`, the faults: which comes when, what it does, and how long luni takes to recover."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

from luni.client import Memory
from luni.events import Event, FailedOver, Recovered, Replayed, StoreLost
from luni.ops.chaos_server import OwnServer
from luni.ops.chaos_verdict import Fault
from luni.testing.proxy import Proxy

__all__ = ["KINDS", "Director", "Heard", "Pace"]

KINDS = ("killed", "paused", "emptied", "cut_off", "black_hole")
"""Killed and started with its data; paused; killed and started without its data; connections refused; nothing comes through."""
MIRRORED = 1.5
"""So long after luni has recovered, its mirror (a second behind at the most) has what there is: then data may be deleted."""
RECOVERING = 60.0
LOOK = 0.02
HALF = 0.5
IMPATIENT = 0.25
"""The share of faults that come before luni has recovered from the former one."""


class Pace:
    """How long the faults and the calm between them last, in seconds: a short rehearsal has short ones."""

    def __init__(self, seconds: float, chance: random.Random) -> None:
        self._chance = chance
        self._calm, self._outage = min(3.0, max(0.25, seconds / 60)), min(4.0, max(0.4, seconds / 45))

    def calm(self) -> float:
        """Return how long nothing happens."""
        return self._calm * self._chance.uniform(0.5, 1.5)

    def outage(self) -> float:
        """Return how long the next fault lasts."""
        return self._outage * self._chance.uniform(0.5, 1.5)


class Heard:
    """What luni has told its hook."""

    def __init__(self) -> None:
        self.away = False
        self.outages = self.replayed = self.refused_replays = self.stores_lost = self.healed_messages = 0

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        match event:
            case FailedOver():
                self.away, self.outages = True, self.outages + 1
            case Recovered():
                self.away = False
            case Replayed(counts):
                self.replayed += counts.get("replayed", 0)
            case StoreLost(messages=messages):
                self.stores_lost, self.healed_messages = self.stores_lost + 1, self.healed_messages + messages


class Director:
    """Brings one fault after the other, each kind once in an order of chance, then all again; each heals, whatever comes.

    Args:
        memory: What has to get over them.
        heard: What it says.
        proxy: The way to the server.
        server: The server, where it may be harmed.
        pace: How fast.
        chance: Which kind comes when.
        say: Is told when a fault begins and when luni has recovered from it.
    """

    def __init__(
        self, memory: Memory, heard: Heard, proxy: Proxy, server: OwnServer | None, pace: Pace, chance: random.Random,
        say: Callable[[Fault, str], None],
    ) -> None:  # fmt: skip
        self._memory, self._heard, self._proxy = memory, heard, proxy
        self._heals = bool(memory.settings.fallback)
        self._pace, self._chance, self._say = pace, chance, say
        self._began = time.monotonic()
        self._ended, self._abandoned = threading.Event(), threading.Event()
        self._faults: dict[str, Callable[[float], None]] = {"cut_off": self._cut_off, "black_hole": self._black_hole}
        if server is not None:
            for kind, fault in (("killed", self._killed), ("paused", self._paused), ("emptied", self._emptied)):
                self._faults[kind] = partial(fault, server)
        self.history: list[Fault] = []
        self.now: Fault | None = None
        self.wiped_at = 0.0

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began

    def end(self) -> None:
        """Bring no more; what is broken now heals at once."""
        self._ended.set()

    def abandon(self) -> None:
        """Do not wait for luni to recover either."""
        self._abandoned.set()
        self._ended.set()

    def run(self) -> None:
        """Bring faults until it is ended; return when everything has healed. Raises what a failed start raises."""
        self._began = time.monotonic()
        for kind in self._kinds():
            calm = self._pace.calm()
            if kind == "emptied" and self._heals:
                self._recovered(0)
                calm += MIRRORED
            if self._ended.wait(calm):
                return
            self._strike(kind)
            if self._ended.is_set():
                return

    def _kinds(self) -> Iterator[str]:
        kinds = sorted(self._faults)
        while True:
            self._chance.shuffle(kinds)
            yield from kinds

    def _strike(self, kind: str) -> None:
        fault = Fault(kind=kind, at=round(self.elapsed, 2))
        lost = self._heard.stores_lost
        self.history.append(fault)
        self.now = fault
        self._say(fault, "begins")
        began = time.monotonic()
        try:
            self._faults[kind](self._pace.outage())
        finally:
            fault.lasted = round(time.monotonic() - began, 2)
            self.now = None
        healing = lost + 1 if kind == "emptied" and self._heals else 0
        if kind == "emptied" or self._ended.is_set() or self._chance.random() >= IMPATIENT:
            fault.recovered = self._recovered(healing)
        self._say(fault, "ends")

    def _recovered(self, stores_lost: int) -> float | None:
        """Wait until luni is well again, and has healed what the server lost; return how long that took."""
        began = time.monotonic()
        while not self._abandoned.is_set() and not (self._heard.stores_lost >= stores_lost and self.well()):
            if time.monotonic() - began > RECOVERING:
                return None
            time.sleep(LOOK)
        return round(time.monotonic() - began, 2)

    def well(self) -> bool:
        """Whether the server answers and nothing waits to reach it."""
        health = self._memory.health()
        return health.ok and not health.degraded

    # the faults

    def _killed(self, server: OwnServer, seconds: float) -> None:
        server.kill()
        try:
            self._ended.wait(seconds)
        finally:
            server.start()

    def _paused(self, server: OwnServer, seconds: float) -> None:
        server.pause()
        try:
            self._ended.wait(seconds)
        finally:
            server.resume()

    def _emptied(self, server: OwnServer, seconds: float) -> None:
        server.kill()
        try:
            server.empty()
            self._ended.wait(seconds)
        finally:
            server.start()
            if not self._heals:
                self.wiped_at = time.monotonic()

    def _cut_off(self, seconds: float) -> None:
        self._proxy.refuse()
        try:
            self._ended.wait(seconds)
        finally:
            self._proxy.passing()

    def _black_hole(self, seconds: float) -> None:
        self._proxy.drop("requests" if self._chance.random() < HALF else "replies")
        try:
            self._ended.wait(seconds)
        finally:
            self._proxy.passing()
            self._proxy.reset()  # what has swallowed something is gone, as its peer is
