"""What an outage costs whoever calls, and how soon it is over: figures are printed, asserts have room for a busy machine."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from outages import KEEPING, LONG, caught_up, reaches, told

from luni import AsyncMemory, Memory
from luni.events import FailedOver

WHO = {"tenant": "shop", "channel": "web"}
CALLERS, PAUSE, OUTAGE = 8, 0.01, 2.0
CALL_P99, SWITCH, RECOVERY, RATE = 0.5, 1.0, 2.0, 2000
"""The goals: seconds, and entries a second."""
ROOM = 3
AT_ONCE, POOL = 100, 50
PROBES = 0.07
"""Seconds between two probes, at the least."""


class Calls:
    """What each call took, and when it began; made by threads or by the tasks of one event loop, until told to stop."""

    def __init__(self, url, **options):
        self.took, self.switched_at, self.stopped, self.depth = [], [], threading.Event(), 0
        self._url, self._options = url, options | {"on_event": self._hook}

    def _hook(self, event):
        if isinstance(event, FailedOver):
            self.switched_at.append(time.monotonic())

    def _text(self, caller, number):
        return {"user": f"user{caller}-{number % 5}", "text": f"{caller} says {number}"}

    def by_threads(self):
        def call(memory, caller):
            number = 0
            while not self.stopped.wait(PAUSE):
                number, began = number + 1, time.monotonic()
                one = self._text(caller, number)
                memory.session(**WHO, user=one["user"]).append("user", one["text"], message_id=one["text"])
                self.took.append((began, time.monotonic() - began))

        with Memory.open(self._url, **self._options) as memory, ThreadPoolExecutor(CALLERS) as pool:
            self.depth = memory._backend.keeper.journal.depth
            for one in [pool.submit(call, memory, caller) for caller in range(CALLERS)]:
                one.result()

    def by_tasks(self):
        async def call(memory, caller):
            number = 0
            while not self.stopped.is_set():
                await asyncio.sleep(PAUSE)
                number, began = number + 1, time.monotonic()
                one = self._text(caller, number)
                await memory.session(**WHO, user=one["user"]).append("user", one["text"], message_id=one["text"])
                self.took.append((began, time.monotonic() - began))

        async def main():
            async with AsyncMemory.open(self._url, **self._options) as memory:
                self.depth = memory._backend.keeper.journal.depth
                await asyncio.gather(*(call(memory, caller) for caller in range(CALLERS)))

        asyncio.run(main())


def percentile(values, part):
    return sorted(values)[min(len(values) - 1, int(part * len(values)))]


def outage(server, calls, serve, way):
    """Take the server away for a moment while callers call; return what that cost: seconds, and numbers."""
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(serve)
        try:
            assert reaches(lambda: len(calls.took) > 300)
            struck = time.monotonic()
            server.stop() if way == "killed" else server.signal(signal.SIGSTOP)
            time.sleep(OUTAGE)
            waiting = calls.depth()
            server.start() if way == "killed" else server.signal(signal.SIGCONT)
            back = time.monotonic()
            assert reaches(lambda: calls.depth() == 0), "it never caught up"
            recovery = time.monotonic() - back
        finally:
            calls.stopped.set()
        done.result()
    during = [took for began, took in calls.took if struck <= began + took and began < back]
    return SimpleNamespace(
        calls=len(during), p50=percentile(during, 0.5), p99=percentile(during, 0.99), slowest=max(during),
        switch=calls.switched_at[0] - struck, backlog=waiting, recovery=recovery,
    )  # fmt: skip


@pytest.mark.parametrize("way", ["killed", "asleep"])
@pytest.mark.parametrize("kind", ["threads", "tasks"])
def test_an_outage_s_figures(own_server, namespace, fallback, kind, way):
    """The best of three counts: a disk that is busy with something else is not what is measured."""
    for attempt in range(3):
        server = own_server(*KEEPING)
        calls = Calls(server.url, namespace=f"{namespace}{attempt}", fallback=fallback, policies=LONG)
        cost = outage(server, calls, calls.by_threads if kind == "threads" else calls.by_tasks, way)
        told(
            f"{kind}, {way}", calls=cost.calls, p50_ms=ms(cost.p50), p99_ms=ms(cost.p99), slowest_ms=ms(cost.slowest),
            switch_ms=ms(cost.switch), backlog=cost.backlog, recovery_ms=ms(cost.recovery),
        )  # fmt: skip
        assert cost.backlog > 50, "the journal was not asked"
        slow = cost.p99 > ROOM * CALL_P99 or cost.recovery > ROOM * (RECOVERY + cost.backlog / RATE)
        if not slow and cost.switch < ROOM * SWITCH:
            return
    pytest.fail("none of three was within the goals, with room")


def ms(seconds):
    return round(1000 * seconds, 1)


def backlog(server, namespace, fallback, total, sessions):
    """Leave so many entries of so many sessions in the journal; return how many were kept in a second."""
    server.stop()
    with Memory.open(server.url, namespace=namespace, fallback=fallback) as memory:
        began = time.monotonic()
        for number in range(total):
            who = memory.session(**WHO, user=f"user{number % sessions}")
            who.append("user", f"says {number}", message_id=f"m{number}")
        kept = total / (time.monotonic() - began)
    server.start()
    return kept


@pytest.mark.parametrize(("sessions", "each"), [(1000, 1), (100, 20)])
def test_a_backlog_is_replayed_faster_than_it_came(own_server, namespace, fallback, sessions, each):
    """One entry of each of many sessions, and many: what a session costs, and what an entry does."""
    server, total = own_server(*KEEPING), sessions * each
    kept = backlog(server, namespace, fallback, total, sessions)
    with Memory.open(server.url, namespace=namespace, fallback=fallback) as memory:
        began = time.monotonic()
        assert caught_up(memory)
        rate = total / (time.monotonic() - began)
    told("backlog", entries=total, sessions=sessions, kept_per_second=round(kept), replayed_per_second=round(rate))
    assert rate > min(RATE / ROOM, kept)  # on a busy machine the one is slow as the other is


def test_a_memory_that_is_closed_amid_a_backlog_leaves_the_rest_to_the_next(own_server, proxy_to, run, namespace, fallback):
    server = own_server(*KEEPING)
    proxy = proxy_to(server)
    backlog(server, namespace, fallback, 400, 400)
    proxy.delay(0.02)
    memory = run.open(proxy.url, namespace=namespace, fallback=fallback)
    keeper = memory._backend.keeper
    run(memory.health())
    thread = keeper._thread
    assert reaches(lambda: keeper.journal.depth() < 400)
    run(memory.close())
    assert not thread.is_alive(), "it goes on replaying for a memory that nobody has"
    assert run(run.open(proxy.url, namespace=namespace, fallback=fallback).health()).journal_depth > 0
    proxy.passing()
    with Memory.open(proxy.url, namespace=namespace, fallback=fallback) as following:
        assert caught_up(following)
    with Memory.open(server.url, namespace=namespace) as direct:
        found = [direct.session(**WHO, user=f"user{number}").messages() for number in range(400)]
    assert [[message.text for message in messages] for messages in found] == [[f"says {number}"] for number in range(400)]


def at_once(work, count=AT_ONCE):
    """Let so many threads do something at the same moment; return what each got."""
    barrier = threading.Barrier(count)

    def go(number):
        barrier.wait()
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(go, range(count)))


@pytest.mark.parametrize("way", ["killed", "asleep"])
def test_a_hundred_callers_who_meet_an_outage_first_do_not_all_ask_whether_it_is_over(
    own_server, proxy_to, namespace, fallback, way
):
    server = own_server(*KEEPING)
    proxy = proxy_to(server)
    with Memory.open(proxy.url, namespace=namespace, fallback=fallback) as memory:

        def call(number):
            return memory.session(**WHO, user=f"user{number}").append("user", "hello").text

        at_once(call, 4)
        before, knocks = (descriptors(), threads()), proxy.knocks
        server.stop() if way == "killed" else server.signal(signal.SIGSTOP)
        began = time.monotonic()
        assert at_once(call) == ["hello"] * AT_ONCE
        first, asked = proxy.knocks - knocks, time.monotonic()
        healths = at_once(lambda _: memory.health())
        assert {(health.ok, health.degraded) for health in healths} == {(True, True)}
        assert at_once(call) == ["hello"] * AT_ONCE
        took = time.monotonic() - began
        probes, seconds = proxy.knocks - knocks - first, time.monotonic() - asked
        server.start() if way == "killed" else server.signal(signal.SIGCONT)
        assert caught_up(memory)
        there = proxy.knocks
        assert at_once(call) == ["hello"] * AT_ONCE
        again = proxy.knocks - there
        assert reaches(lambda: threads() <= before[1] + 2, 10)
        after, open_files = threads(), []
        for _ in range(2):
            memory._backend.keeper.breaker.failed(1.0)
            assert at_once(call) == ["hello"] * AT_ONCE
            assert caught_up(memory)
            open_files.append(descriptors())
        texts = [memory.session(**WHO, user=f"user{number}").messages() for number in range(AT_ONCE)]
    assert [len(messages) for messages in texts] == [6] * 4 + [5] * (AT_ONCE - 4)
    told(
        f"a hundred at once, {way}", seconds=round(took, 2), connections=first, later=probes, in_seconds=round(seconds, 2),
        afterwards=again, descriptors=[before[0], *open_files], threads=[before[1], after],
    )  # fmt: skip
    assert first <= 2 * AT_ONCE, "each asks once more at most"
    assert probes <= 3 + seconds / PROBES, "those who come later ask, too"
    assert again <= POOL
    assert open_files[0] <= before[0] + 3 * POOL + 3 * AT_ONCE  # SQLite keeps those of threads that ended, for the next ones
    assert open_files[1] <= open_files[0] + 20, "descriptors are left open each time"


def descriptors():
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def threads():
    """How many there are, without those of the proxy."""
    return sum(not thread.name.startswith("proxy") for thread in threading.enumerate())
