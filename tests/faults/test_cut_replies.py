"""A reply cut at every byte, scripts forgotten between any two calls: one effect, the right answer, nobody else's reply."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from deeds import DEEDS, UNPROMISED, ended, state
from outages import caught_up
from redis import Redis

from luni import AsyncMemory
from luni.errors import Degraded, Indeterminate
from luni.events import FailedOver

pytestmark = pytest.mark.usefixtures("no_pauses")

SAMPLED = ["receive", "append", "update", "amend", "load", "end"]
EVERY, OFFSETS = 37, 6


@pytest.mark.parametrize("name", ["open", "reply", *SAMPLED])
def test_a_reply_cut_at_any_byte_leaves_one_effect(server, proxy_to, run, namespace, somebody, name, many):
    deed, proxy = DEEDS[name], proxy_to(server)
    memory = run.open(proxy.url, namespace=namespace)

    def done(cut=None):
        session = memory.session(**somebody())
        prepared = deed.prepare(run, session)
        before = proxy.reply_bytes
        if cut is not None:
            proxy.cut_after(cut)
        answer = deed.act(run, session, prepared)
        size = proxy.reply_bytes - before
        return size, (answer, state(run, session))

    size, expected = done()
    step = EVERY if name in SAMPLED and many.soak == 1 else 1
    for cut in range(0, size, step):
        connections = proxy.connections
        assert done(cut)[1] == expected, f"cut after {cut} of {size} bytes"
        assert proxy.connections > connections, "the fault was not met"


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("name", sorted(set(DEEDS) - {"append-unnamed", "skip", "summary"}))  # twelve
def test_a_reply_cut_at_any_byte_leaves_one_effect_with_a_fallback(
    server, proxy_to, run, namespace, somebody, fallback, soon, many, name, times
):
    """Once: it is asked again. Three times: the journal takes it, and the first replay is cut as well."""
    deed, proxy = DEEDS[name], proxy_to(server)
    direct = run.open(server.url, namespace=namespace)
    events = Counter()
    hook = lambda event: events.update([type(event)])  # noqa: E731
    through = run.open(proxy.url, namespace=namespace, fallback=fallback, on_event=hook, **soon)

    def done(memory, cut=None):
        session = memory.session(**somebody())
        prepared = deed.prepare(run, session)
        before, answer = proxy.reply_bytes, None
        if cut is not None:
            proxy.cut_after(cut, times=times)
        try:
            answer = deed.act(run, session, prepared)
        except (Degraded, Indeterminate):
            assert name in UNPROMISED, "the journal would have taken it"
        size = proxy.reply_bytes - before
        ended(run, prepared)
        if cut is not None:
            assert caught_up(memory, run)
            proxy.passing()
            answer = answer or deed.act(run, session, prepared)
        return size, answer, state(run, direct.session(tenant="shop", channel="web", user=session.user))

    size, expected, undisturbed = done(through)
    connections, step = proxy.connections, times if many.soak > 1 else max(1, size // OFFSETS)
    for cut in range(0, size, step):
        _, answer, found = done(through, cut)
        assert found == undisturbed, f"cut after {cut} of {size} bytes"
        assert times > 1 or answer == expected, f"cut after {cut} of {size} bytes"
    assert proxy.connections > connections + size // step // 2, "the fault was not met"  # some cut what the thread asks
    assert times == 1 or events[FailedOver] > size // step // 2, "it never came to the journal"


def test_a_cut_connection_gives_nobody_a_foreign_reply(server, proxy_to, namespace, many):
    """32 conversations over one connection that is cut again and again: each hears its own words."""
    proxy = proxy_to(server)

    async def converse(memory, who, rounds):
        session = memory.session(tenant="shop", channel="web", user=f"user{who}")
        for number in range(rounds):
            text = f"{who} says {number}"
            async with session.turn(text, message_id=f"{who}-{number}") as turn:
                assert turn.messages[-1].text == text
                (said,) = await turn.reply(f"to {who}: {number}")
                assert said.text == f"to {who}: {number}"
        texts = [m.text for m in await session.messages(100)]
        assert texts == [line for n in range(rounds) for line in (f"{who} says {n}", f"to {who}: {n}")]

    async def main():
        async with AsyncMemory.open(proxy.url, namespace=namespace, max_retries=10, timeout=3.0) as memory:
            talk = asyncio.gather(*(converse(memory, who, many.of(8)) for who in range(32)))
            size = 1
            while not talk.done():
                size = size * 7 % 40_009
                proxy.cut_after(size)
                await asyncio.sleep(0.01)
            await talk

    asyncio.run(main())
    assert proxy.connections > 3


@pytest.mark.parametrize("name", DEEDS)
def test_forgotten_scripts_are_invisible(each_server, run, namespace, somebody, name):
    deed = DEEDS[name]
    memory = run.open(each_server.url, namespace=namespace)
    expected = None
    with Redis(port=each_server.port) as plain:
        for flush in (False, True):
            session = memory.session(**somebody())
            prepared = deed.prepare(run, session)
            if flush:
                plain.script_flush()
            answer = deed.act(run, session, prepared)
            if flush:
                plain.script_flush()
            seen = (answer, state(run, session))
            expected = expected or seen
            assert seen == expected


def test_forgotten_scripts_are_invisible_to_a_pipeline_of_64(each_server, namespace, many):
    async def converse(memory, who):
        session = memory.session(tenant="shop", channel="web", user=f"user{who}")
        for number in range(many.of(6)):
            async with session.turn(f"{who} says {number}", message_id=f"{who}-{number}") as turn:
                assert (turn.state, turn.attempt) == ("open", 1)
                await turn.reply(f"to {who}: {number}")
        return [m.text for m in await session.messages(100)]

    async def main():
        async with AsyncMemory.open(each_server.url, namespace=namespace, timeout=5.0) as memory:
            talks = asyncio.gather(*(converse(memory, who) for who in range(64)))
            flushes = 0
            with Redis(port=each_server.port) as plain:
                while not talks.done():
                    await asyncio.to_thread(plain.script_flush)
                    flushes += 1
                    await asyncio.sleep(0.005)
            assert flushes > 5
            for who, texts in enumerate(await talks):
                assert texts == [line for n in range(many.of(6)) for line in (f"{who} says {n}", f"to {who}: {n}")]

    asyncio.run(main())
