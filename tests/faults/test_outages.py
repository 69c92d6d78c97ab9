"""The server goes away again and again while messages come: none is lost, none is there twice, none out of order."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from outages import KEEPING, LONG, Outages, caught_up, reaches, told

from luni import AsyncMemory, Memory
from luni.errors import LuniError
from luni.events import Executed
from luni.ops.chaos_verdict import heard, misplaced

OUTAGES, MESSAGES = 30, 15_000
SESSIONS, LANES = 140, 8
WHO = {"tenant": "shop", "channel": "whatsapp"}


class Traffic:
    """What was acknowledged of each session, in which order; the nemesis strikes as it comes along."""

    def __init__(self, total, strikes):
        self.acknowledged = {f"user{number}": [] for number in range(SESSIONS)}
        self.errors, self.worst, self._total, self._strikes = [], 0.0, total, strikes
        self._each, self._struck, self._said, self.events = total // SESSIONS, 0, 0, Counter()

    def of(self, lane):
        """What a lane says: its own sessions in turn, one message each; the first of them say much more than the others."""
        users = list(self.acknowledged)[lane::LANES]
        much = 300 if self._each >= 100 else 0
        for number in range(self._each + much):
            yield from (
                (user, f"{user}-{number}") for user in (users if number < self._each - much // len(users) else users[:1])
            )

    def count(self):
        return sum(map(len, self.acknowledged.values()))

    def may_go_on(self):
        """Whether the outages are not behind: they lie all over the traffic, and the traffic all over them."""
        return self._said < self._total * (self._struck + 1) / self._strikes or self._struck >= self._strikes

    def harass(self, outages, working, depth):
        """Strike each time that a part of the messages is done: two times of three a memory that has recovered."""
        for strike in range(self._strikes):
            while working() and self._said < self._total * (strike + 0.5) / self._strikes:
                time.sleep(0.002)
            if strike % 3:
                reaches(lambda: depth() == 0, 2.0)
            outages.strike()
            self._struck = strike + 1

    def took(self, began):
        self._said += 1
        self.worst = max(self.worst, time.monotonic() - began)

    def hook(self, event):
        if not isinstance(event, Executed):
            self.events[type(event).__name__] += 1


def judge(traffic, outages, exports):
    lost = twice = late = 0
    for user, said in traffic.acknowledged.items():
        numbers = [len(one) for one in misplaced(said, exports[user])]
        lost, twice, late = lost + numbers[0], twice + numbers[1], late + numbers[2]
        assert len(exports[user]) == len(said), f"{user} has what nobody said, or not all of it"
    told(
        "outages", outages=sum(outages.done.values()), acknowledged=traffic.count(), lost=lost, duplicated=twice,
        out_of_order=late, errors=len(traffic.errors), worst_ms=round(traffic.worst * 1000), kinds=dict(outages.done),
        events=dict(traffic.events),
    )  # fmt: skip
    assert (lost, twice, late) == (0, 0, 0)
    assert traffic.errors == []
    assert sum(outages.done.values()) >= OUTAGES
    assert traffic.events["FailedOver"] > OUTAGES / 6, "most of it was not met"


@pytest.mark.timeout(300)
def test_threads_lose_nothing_in_outages(own_server, proxy_to, namespace, tmp_path, many):
    server = own_server(*KEEPING)
    proxy = proxy_to(server)
    traffic, outages = Traffic(many.of(MESSAGES), many.of(OUTAGES)), Outages(server, proxy)
    options = {
        "namespace": namespace,
        "fallback": f"sqlite:///{tmp_path / 'local.db'}",
        "policies": LONG,
        "on_event": traffic.hook,
    }

    def lane(number):
        for user, text in traffic.of(number):
            while not traffic.may_go_on():
                time.sleep(0.001)
            began = time.monotonic()
            try:
                memory.session(**WHO, user=user).append("user", text, message_id=text)
            except LuniError as error:
                traffic.errors.append(repr(error))
            else:
                traffic.acknowledged[user].append(text)
            traffic.took(began)

    with Memory.open(proxy.url, **options) as memory, ThreadPoolExecutor(LANES) as pool:
        lanes = [pool.submit(lane, number) for number in range(LANES)]
        traffic.harass(outages, lambda: not all(one.done() for one in lanes), memory._backend.keeper.journal.depth)
        for one in lanes:
            one.result()
        assert caught_up(memory)
        with Memory.open(server.url, namespace=namespace) as direct:
            judge(traffic, outages, {user: heard(direct.session(**WHO, user=user).export()) for user in traffic.acknowledged})


@pytest.mark.timeout(300)
def test_tasks_lose_nothing_in_outages(own_server, proxy_to, namespace, tmp_path, many):
    server = own_server(*KEEPING)
    proxy = proxy_to(server)
    traffic, outages = Traffic(many.of(MESSAGES), many.of(OUTAGES)), Outages(server, proxy, seed=2)
    options = {
        "namespace": namespace,
        "fallback": f"sqlite:///{tmp_path / 'local.db'}",
        "policies": LONG,
        "on_event": traffic.hook,
    }
    ended = threading.Event()

    async def lane(memory, number):
        for user, text in traffic.of(number):
            while not traffic.may_go_on():  # noqa: ASYNC110  the nemesis is a thread
                await asyncio.sleep(0.001)
            began = time.monotonic()
            try:
                await memory.session(**WHO, user=user).append("user", text, message_id=text)
            except LuniError as error:
                traffic.errors.append(repr(error))
            else:
                traffic.acknowledged[user].append(text)
            traffic.took(began)

    async def main():
        async with AsyncMemory.open(proxy.url, **options) as memory:
            depth = memory._backend.keeper.journal.depth
            nemesis = asyncio.create_task(asyncio.to_thread(traffic.harass, outages, lambda: not ended.is_set(), depth))
            await asyncio.gather(*(lane(memory, number) for number in range(LANES)))
            ended.set()
            await nemesis
            deadline = time.monotonic() + 30
            while (health := await memory.health()).degraded or health.journal_depth:
                assert time.monotonic() < deadline, "it did not catch up"
                await asyncio.sleep(0.02)

    asyncio.run(main())
    with Memory.open(server.url, namespace=namespace) as direct:
        judge(traffic, outages, {user: heard(direct.session(**WHO, user=user).export()) for user in traffic.acknowledged})
