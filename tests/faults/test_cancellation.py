"""Callers that are cancelled disturb nobody: no foreign reply, no stuck lock, no lease left behind."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from functools import partial

import pytest
from outages import LONG, told

from luni import AsyncMemory
from luni.backends.redis.scripts import SCRIPTS
from luni.errors import LuniError
from luni.ops.chaos_verdict import heard

CALLERS, WHO = 32, {"tenant": "shop", "channel": "web"}
MOMENTS = {"before it is sent": 0, "while it is on its way": 0.02, "when the reply is there": 0.05}


async def settled(memory, session, seconds=5.0):
    """Wait until a turn can be opened: a lease that was left behind would last a minute."""
    for _ in range(int(seconds / 0.01)):
        async with session.turn("last words", message_id="last") as turn:
            if turn.state == "open":
                await turn.reply("goodbye")
                return True
        await asyncio.sleep(0.01)
    return False


async def converse(memory, who, number, acknowledged):
    """Hear one's own words, and nobody else's, from each call."""
    session, text = memory.session(**WHO, user=f"user{who}"), f"{who} says {number}"
    received = await session.receive(text, message_id=f"{who}-{number}")
    acknowledged.append(text)
    assert received.message is None or received.message.text == text
    async with session.turn() as turn:
        only_of(who, [m.text for m in turn.context.messages])
        if turn.should_reply:
            answer = f"to {who}: {turn.messages[-1].text}"
            (said,) = await turn.reply(answer)
            acknowledged.append(answer)
            assert said.text == answer
    noted = await session.append("system", f"{who} says note {number}")
    acknowledged.append(noted.text)
    assert noted.text == f"{who} says note {number}"


def only_of(who, texts):
    own = [text for text in texts if text not in {"last words", "goodbye"}]
    assert all(text.startswith((f"{who} says", f"to {who}:")) for text in own)
    said = [text for text in own if text.startswith(f"{who} says")]
    assert len(said) == len(set(said)), "a message is stored twice"


class Callers:
    """Tasks that converse and are cancelled at random, so many times; what was acknowledged to each."""

    def __init__(self, goal, seed, patience=0.01):
        self.cancelled = self.heard = 0
        self.acknowledged = [[] for _ in range(CALLERS)]
        self.errors = Counter()
        self._goal, self._chance, self._patience = goal, random.Random(seed), patience

    async def work(self, memory):
        await asyncio.wait_for(asyncio.gather(*(self._call(memory, who) for who in range(CALLERS))), 90)

    async def _call(self, memory, who):
        number, chance = 0, self._chance
        while self.cancelled < self._goal:
            number += 1
            task = asyncio.ensure_future(converse(memory, who, number, self.acknowledged[who]))
            for _ in range(chance.randrange(24)):
                await asyncio.sleep(0)
            if chance.random() < 0.3:
                await asyncio.sleep(chance.random() * self._patience)
            if chance.random() < 0.9 and task.cancel():
                self.cancelled += 1
            await asyncio.wait([task])
            if task.cancelled():
                continue
            if isinstance(task.exception(), LuniError):
                self.errors[type(task.exception()).__name__] += 1
                continue
            task.result()
            self.heard += 1


@pytest.mark.parametrize("kind", ["server", "sqlite"])
def test_cancelled_callers_get_no_foreign_replies_and_leave_no_leases(server, namespace, tmp_path, many, kind):
    url = server.url if kind == "server" else f"sqlite:///{tmp_path / 'm.db'}"
    callers = Callers(many.of(3000 if kind == "server" else 500), seed=7)

    async def main():
        async with AsyncMemory.open(url, namespace=namespace, timeout=10.0) as memory:
            await callers.work(memory)
            for who in range(CALLERS):
                session = memory.session(**WHO, user=f"user{who}")
                assert await settled(memory, session), "a cancelled caller left its lease behind"
                only_of(who, [m.text for m in await session.messages(1000)])

    asyncio.run(main())
    assert callers.heard > 0
    assert not callers.errors


async def outages(proxy, done):
    """Let the server be away half of the time: gone, or silent."""
    count = 0
    while not done():
        await asyncio.sleep(0.2)
        (proxy.refuse if count % 2 else partial(proxy.drop, "replies"))()
        await asyncio.sleep(0.5)
        proxy.passing()
        proxy.reset()
        count += 1
    return count


@pytest.mark.timeout(200)
def test_callers_cancelled_in_outages_lose_nothing_and_leave_nothing_half_done(server, proxy_to, namespace, fallback, many):
    proxy, callers = proxy_to(server), Callers(many.of(1500), seed=8, patience=0.3)
    options = {"namespace": namespace, "fallback": fallback, "policies": LONG, "lease": 2.0}

    async def main():
        async with AsyncMemory.open(proxy.url, **options) as memory:
            striking = asyncio.ensure_future(outages(proxy, lambda: callers.cancelled >= many.of(1500)))
            await callers.work(memory)
            count, deadline = await striking, time.monotonic() + 60
            while (health := await memory.health()).degraded or health.journal_depth:
                assert time.monotonic() < deadline, "it did not catch up"
                await asyncio.sleep(0.02)
            assert health.dead_letters == 0
        async with AsyncMemory.open(server.url, namespace=namespace) as direct:
            lost, found = 0, 0
            for who, acknowledged in enumerate(callers.acknowledged):
                session = direct.session(**WHO, user=f"user{who}")
                export = await session.export()
                texts = heard(export)
                only_of(who, texts)
                assert export.info.message_count == len(texts), "something is half done"
                lost, found = lost + len(set(acknowledged) - set(texts)), found + len(texts)
                assert await settled(direct, session), "a cancelled caller left its lease behind"
            told(
                "cancelled", calls=callers.cancelled, outages=count, acknowledged=sum(map(len, callers.acknowledged)),
                found=found, lost=lost, refused=dict(callers.errors),
            )  # fmt: skip
            assert lost == 0
            assert count > 2

    asyncio.run(main())
    assert callers.heard > 0
    assert set(callers.errors) <= {"Fenced", "Indeterminate"}, "a turn that began on the other side is over, or nobody knows"


@pytest.mark.parametrize("moment", MOMENTS)
def test_the_lease_of_a_cancelled_open_is_released(server, proxy_to, namespace, moment):
    proxy = proxy_to(server)

    async def main():
        async with AsyncMemory.open(proxy.url, namespace=namespace) as memory:
            session = memory.session(**WHO, user="ana")
            await session.receive("hello", message_id="m1")
            proxy.delay(0.05)
            task = asyncio.ensure_future(session.turn().open())
            await asyncio.sleep(MOMENTS[moment])
            for _ in range(200 if moment == "when the reply is there" else 0):
                if task.done() or not memory._backend._line_for("all")._awaited:
                    break
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            proxy.passing()
            if task.cancelled():
                assert await settled(memory, session)
            else:
                await task.result().close()

    asyncio.run(main())


def test_the_lease_of_a_cancelled_open_is_released_even_if_its_reply_is_lost(server, proxy_to, namespace):
    """Nobody has seen the token: the operation is asked once more, and what it tells is released."""
    proxy = proxy_to(server)

    async def main():
        async with AsyncMemory.open(proxy.url, namespace=namespace) as memory:
            session = memory.session(**WHO, user="ana")
            await session.receive("hello", message_id="m1")
            proxy.match(SCRIPTS["accept"].sha)
            task = asyncio.ensure_future(session.turn().open())
            for _ in range(1000):
                if proxy.matches:
                    break
                await asyncio.sleep(0.001)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert await settled(memory, session, 2.0)

    asyncio.run(main())


def test_a_cancelled_reply_is_stored_and_its_session_goes_on(server, proxy_to, namespace):
    proxy = proxy_to(server)

    async def main():
        async with AsyncMemory.open(proxy.url, namespace=namespace) as memory:
            session = memory.session(**WHO, user="ana")
            turn = await session.turn("hello", message_id="m1").open()
            proxy.delay(0.05)
            task = asyncio.ensure_future(turn.reply("hi"))
            await asyncio.sleep(0.01)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            proxy.passing()
            (said,) = await turn.reply("hi")
            assert said.text == "hi"
            assert [m.text for m in await session.messages()] == ["hello", "hi"]

    asyncio.run(main())
