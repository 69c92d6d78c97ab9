"""What keeping many turns open costs; ``bench/renewals.py`` measures the same at the default lease."""

import asyncio
import time

import pytest

from luni import AsyncMemory, Memory

TURNS = 10_000
LEASE = 15.0  # a quarter of the default, so four times the renewals
MOST = 4 * 0.05


def session(memory, number):
    return memory.session(tenant="shop", channel="web", user=f"u{number}")


@pytest.mark.timeout(300)
def test_ten_thousand_open_turns_are_renewed_for_little(server, namespace):
    with Memory.open(server.url, namespace=namespace, lease=LEASE) as memory:
        held = [session(memory, number).turn("hi", message_id="1").open() for number in range(TURNS)]
        share = -time.process_time()
        time.sleep(LEASE)
        share += time.process_time()
        assert not any(turn.lost for turn in held)
        assert share / LEASE < MOST
        assert held[0].reply("hello")


@pytest.mark.timeout(300)
def test_ten_thousand_open_turns_are_renewed_for_little_on_an_event_loop(server, namespace):
    async def measured():
        async with AsyncMemory.open(server.url, namespace=namespace, lease=LEASE) as memory:
            held = []
            for first in range(0, TURNS, 100):
                opening = [session(memory, number).turn("hi", message_id="1").open() for number in range(first, first + 100)]
                held += await asyncio.gather(*opening)
            share = -time.process_time()
            await asyncio.sleep(LEASE)
            share += time.process_time()
            assert not any(turn.lost for turn in held)
            return share / LEASE

    assert asyncio.run(measured()) < MOST
