"""`luni chaos`: a rehearsal of outages. Traffic, faults, and in the end what the server has against what was acknowledged."""

from __future__ import annotations

import logging
import random
import secrets
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import msgspec

from luni.client import Memory
from luni.models import Health
from luni.ops.chaos_faults import Director, Heard, Pace
from luni.ops.chaos_server import OwnServer, SomebodysServer, Target
from luni.ops.chaos_traffic import CHANNEL, POLICY, TENANT, Traffic
from luni.ops.chaos_verdict import Fault, Latencies, Verdict, judge
from luni.settings import Settings
from luni.testing.proxy import Proxy

__all__ = ["Rehearsal", "Wanted"]

LOOK = 0.1
DRAINING = 60.0
"""So long the journal may take to reach the server in the end; it takes a turn's lease where a turn was left open."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a rehearsal is asked for. Without ``url`` it starts a server of its own; ``rate``: turns a second at the most."""

    minutes: float
    url: str | None = None
    fallback: bool = True
    seed: int
    workers: int
    rate: float


class Rehearsal:
    """One rehearsal; `run` it once. What it has is there to be shown while it runs.

    Args:
        wanted: What it is asked for.
        environment: The settings of the environment.
        say: Is told when a fault begins and ends, on another thread.
    """

    def __init__(self, wanted: Wanted, environment: Settings, say: Callable[[Fault, str], None]) -> None:
        self.wanted, self._environment, self._say = wanted, environment, say
        self.early = False
        self._looked = threading.Event()
        self.phase = "starting"
        self.title = ""
        self.heard = Heard()
        self.health = Health(ok=True, degraded=False, backend="redis")
        self.traffic: Traffic | None = None
        self.director: Director | None = None

    @property
    def seconds(self) -> float:
        """How long it is to take."""
        return 60 * self.wanted.minutes

    def end(self) -> None:
        """End it early; `run` still gives its verdict. A signal's handler may call it: no lock is taken."""
        self.early = True

    def run(self) -> Verdict:
        """Run it and return the verdict; nothing is left behind, whatever happens.

        Raises `Unavailable` where the server does not start, or cannot be read in the end.
        """
        quiet = logging.NullHandler()  # what luni would warn of is what is rehearsed
        logging.getLogger("luni").addHandler(quiet)
        try:
            with ExitStack() as stack:
                return self._run(stack)
        finally:
            logging.getLogger("luni").removeHandler(quiet)

    def _run(self, stack: ExitStack) -> Verdict:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="luni-chaos-", ignore_cleanup_errors=True)))
        target = self._target(folder)
        stack.callback(target.leave)
        self.title = target.title
        proxy = stack.enter_context(Proxy(0, connect=target.connect))
        fallback = f"sqlite:///{folder / 'local.db'}" if self.wanted.fallback else ""
        settings = msgspec.structs.replace(target.through(proxy.port), fallback=fallback)
        memory = stack.enter_context(Memory(settings, policies={"*": POLICY}, on_event=self.heard))
        wanted, chance = self.wanted, random.Random(self.wanted.seed)  # noqa: S311  no secret
        traffic = self.traffic = Traffic(memory, workers=wanted.workers, rate=wanted.rate, seed=wanted.seed)
        own = target if isinstance(target, OwnServer) else None
        director = Director(memory, self.heard, proxy, own, Pace(self.seconds, chance), chance, self._say)
        self.director = director
        pool = stack.enter_context(ThreadPoolExecutor(2, thread_name_prefix="chaos-faults"))
        stack.callback(director.abandon)
        stack.callback(traffic.leave)
        stack.callback(self._looked.set)
        traffic.start()
        faults = pool.submit(director.run)
        pool.submit(self._look, memory)
        took = self._rehearsed(faults)
        self.phase = "healing"
        director.end()
        traffic.stop()
        faults.result()
        waiting = self._drained(memory, director)
        self._looked.set()
        memory.close()
        self.phase = "comparing"
        return self._judged(target, waiting, took)

    def _target(self, folder: Path) -> Target:
        namespace = f"luni-chaos-{secrets.token_hex(6)}"
        if self.wanted.url is None:
            return OwnServer(folder / "server", namespace, self._environment)
        return SomebodysServer(self.wanted.url, namespace, self._environment)

    def _rehearsed(self, faults: Future[None]) -> float:
        """Wait until it is over; return how long it took. Raises what traffic or faults have died of."""
        assert self.traffic is not None  # noqa: S101  `run` has made it
        self.phase = "rehearsing"
        began = time.monotonic()
        while not self.early and time.monotonic() - began < self.seconds:
            time.sleep(LOOK)
            self.traffic.check()
            if faults.done():
                faults.result()
        return time.monotonic() - began

    def _look(self, memory: Memory) -> None:
        while not self._looked.wait(LOOK):
            self.health = memory.health()

    def _drained(self, memory: Memory, director: Director) -> int:
        """Wait until everything has reached the server; return how many operations have not."""
        deadline = time.monotonic() + DRAINING
        while not director.well() and time.monotonic() < deadline:
            time.sleep(LOOK)
        return memory.health().journal_depth

    def _judged(self, target: Target, waiting: int, took: float) -> Verdict:
        traffic, director = self.traffic, self.director
        assert traffic is not None  # noqa: S101  `run` has made them
        assert director is not None  # noqa: S101
        with Memory(target.settings, policies={"*": POLICY}) as direct:
            found = judge(direct, TENANT, CHANNEL, traffic.conversations, director.wiped_at)
        took_ms = Latencies.of(traffic.latencies)
        history = director.history
        return Verdict(
            passed=not (found.lost or found.duplicated or found.out_of_order or waiting),
            acknowledged=found.acknowledged, lost=found.lost, duplicated=found.duplicated, out_of_order=found.out_of_order,
            served_degraded=traffic.degraded, worst_ms=took_ms.worst_ms, p99_ms=took_ms.p99_ms, p50_ms=took_ms.p50_ms,
            wiped=found.wiped, refused=dict(traffic.refused), waiting=waiting, turns=traffic.turns,
            sessions=len(traffic.conversations), replayed=self.heard.replayed, healed_messages=self.heard.healed_messages,
            faults=dict(Counter(one.kind for one in history)),
            slowest_recovery=max((one.recovered or 0.0 for one in history), default=0.0), history=history,
            server=self.title, fallback=self.wanted.fallback, seed=self.wanted.seed, planned=self.seconds,
            seconds=round(took, 1), ended_early=self.early, examples=found.examples,
        )  # fmt: skip
