"""Gathering and waiting on a clock that is moved by hand, and what a caller that goes leaves behind."""

import asyncio

import pytest

from luni import AsyncMemory, Policy
from luni.testing import FakeClock, async_memory, memory

WHATSAPP = {"*": Policy(coalesce=1.8, coalesce_max=6)}


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def session(clock):
    with memory(clock=clock, policies=WHATSAPP) as m:
        yield m.session(tenant="shop", channel="whatsapp", user="ana")


def test_a_burst_needs_no_sleeping_in_a_test(clock, session):
    began = clock.monotonic()
    clock.after(1, lambda: session.receive("a haircut", message_id="2"))
    clock.after(2, lambda: session.receive("tomorrow", message_id="3"))
    with session.turn("I want", message_id="1") as turn:
        assert [m.text for m in turn.messages] == ["I want", "a haircut", "tomorrow"]
    assert clock.monotonic() - began == pytest.approx(2 + 1.8)


def test_a_burst_that_does_not_end_is_answered_after_its_longest_time(clock, session):
    began = clock.monotonic()
    for number in range(1, 9):
        clock.after(number, lambda number=number: session.receive(f"{number}", message_id=f"m{number}"))
    with session.turn("0", message_id="m0") as turn:
        assert clock.monotonic() - began == pytest.approx(6)
        assert [m.text for m in turn.messages] == list("0123456")


def test_what_was_received_long_ago_is_answered_at_once(clock, session):
    session.receive("hi", message_id="1")
    clock.advance(60)
    began = clock.monotonic()
    with session.turn() as turn:
        assert clock.monotonic() == began
        assert turn.should_reply


def test_waiting_takes_as_long_as_the_other_turn(clock, session):
    other = session.turn("one", message_id="1", coalesce=0).open()
    clock.after(3, other.close)
    began = clock.monotonic()
    with session.turn("two", message_id="2", coalesce=0, wait=10) as turn:
        assert 3 <= clock.monotonic() - began < 4
        assert turn.state == "open"


def test_a_burst_on_an_event_loop_with_a_clock_moved_by_hand(clock):
    async def talk():
        async with async_memory(clock=clock, policies=WHATSAPP) as m:
            session = m.session(tenant="shop", channel="whatsapp", user="ana")
            async with session.turn("hi", message_id="1") as turn:
                return turn.should_reply

    began = clock.monotonic()
    assert asyncio.run(talk())
    assert clock.monotonic() - began == pytest.approx(1.8)


def test_a_caller_that_is_cancelled_while_it_gathers_gives_the_conversation_back(tmp_path):
    async def talk():
        async with AsyncMemory.open(f"sqlite:///{tmp_path}/a.db") as m:
            session = m.session(tenant="shop", channel="whatsapp", user="ana")
            gathering = asyncio.create_task(session.turn("one", message_id="1", coalesce=30).open())
            await asyncio.sleep(0.2)
            assert (await session.info()).unanswered == 1
            gathering.cancel()
            with pytest.raises(asyncio.CancelledError):
                await gathering
            async with session.turn("two", message_id="2") as turn:
                return turn.state, [message.text for message in turn.messages]

    assert asyncio.run(talk()) == ("open", ["one", "two"])


def test_many_wait_in_one_process_without_blocking_each_other(tmp_path):
    async def talk():
        async with AsyncMemory.open(f"sqlite:///{tmp_path}/a.db") as m:

            async def visitor(number):
                session = m.session(tenant="shop", channel="web", user=f"u{number % 4}")
                async with session.turn(f"{number}", message_id=f"{number}", wait=20) as turn:
                    assert [message.text for message in turn.messages] == [f"{number}"]
                    await asyncio.sleep(0.01)
                    await turn.reply(f"re: {number}")

            await asyncio.gather(*map(visitor, range(24)))
            info = [await m.session(tenant="shop", channel="web", user=f"u{n}").info() for n in range(4)]
            return {(one.message_count, one.unanswered) for one in info}

    assert asyncio.run(talk()) == {(12, 0)}
