"""Callers that are cancelled disturb nobody: no foreign reply, no stuck lock, no lease left behind."""

from __future__ import annotations

import asyncio
import random

import pytest

from luni import AsyncMemory
from luni.backends.redis.scripts import SCRIPTS

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


async def converse(memory, who, number):
    """Hear one's own words, and nobody else's, from each call."""
    session, text = memory.session(**WHO, user=f"user{who}"), f"{who} says {number}"
    received = await session.receive(text, message_id=f"{who}-{number}")
    assert received.message is None or received.message.text == text
    async with session.turn() as turn:
        only_of(who, [m.text for m in turn.context.messages])
        if turn.should_reply:
            answer = f"to {who}: {turn.messages[-1].text}"
            (said,) = await turn.reply(answer)
            assert said.text == answer
    noted = await session.append("system", f"{who} says note {number}")
    assert noted.text == f"{who} says note {number}"


def only_of(who, texts):
    own = [text for text in texts if text not in {"last words", "goodbye"}]
    assert all(text.startswith((f"{who} says", f"to {who}:")) for text in own)
    said = [text for text in own if text.startswith(f"{who} says")]
    assert len(said) == len(set(said)), "a message is stored twice"


@pytest.mark.parametrize("kind", ["server", "sqlite"])
def test_cancelled_callers_get_no_foreign_replies_and_leave_no_leases(server, namespace, tmp_path, many, kind):
    url = server.url if kind == "server" else f"sqlite:///{tmp_path / 'm.db'}"
    chance, done = random.Random(7), {"cancelled": 0, "heard": 0}
    goal = many.of(3000 if kind == "server" else 500)

    async def caller(memory, who):
        number = 0
        while done["cancelled"] < goal:
            number += 1
            task = asyncio.ensure_future(converse(memory, who, number))
            for _ in range(chance.randrange(24)):
                await asyncio.sleep(0)
            if chance.random() < 0.3:
                await asyncio.sleep(chance.random() * 0.01)
            if chance.random() < 0.9 and task.cancel():
                done["cancelled"] += 1
            await asyncio.wait([task])
            if not task.cancelled():
                task.result()
                done["heard"] += 1

    async def main():
        async with AsyncMemory.open(url, namespace=namespace, timeout=10.0) as memory:
            await asyncio.wait_for(asyncio.gather(*(caller(memory, who) for who in range(CALLERS))), 90)
            for who in range(CALLERS):
                session = memory.session(**WHO, user=f"user{who}")
                assert await settled(memory, session), "a cancelled caller left its lease behind"
                only_of(who, [m.text for m in await session.messages(1000)])

    asyncio.run(main())
    assert done["heard"] > 0


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
