"""Bursts are gathered into one turn, and turns that wait for a conversation come in their order. In real time."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from luni import Policy
from luni.clock import SystemClock
from luni.errors import ConfigError, InvalidInput
from luni.testing.blocking import Blocking
from luni.testing.conformance.store import Store, inner, talk

QUIET = 0.4


def live(store: Store, user: str = "ana", **options: Any) -> Any:
    """Return a session of a worker of its own, in real time."""
    return store.session(user, clock=SystemClock(), **options)


def meanwhile(call: Callable[[], Any]) -> Future[Any]:
    """Begin a call on a thread of its own."""
    pool = ThreadPoolExecutor(1)
    future = pool.submit(call)
    pool.shutdown(wait=False)
    return future


def soon(what: Callable[[], Any], seconds: float = 5.0) -> Any:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not (found := what()) and time.monotonic() < end:
        time.sleep(0.005)
    return found


def unanswered(session: Any, count: int) -> bool:
    """Whether so many messages wait."""
    return bool(session.info().unanswered == count)


def one_step(turn: Any) -> float:
    """Let a turn begin to open, and its worker die then; return how long it would have slept."""
    target = inner(turn)
    step = target._memory._run, target._scope.address, target._open_flow()
    return float(turn.on_loop(*step) if isinstance(turn, Blocking) else step[0](*step[1:]))


def test_a_burst_is_one_turn(store: Store) -> None:
    first = live(store)
    began = time.monotonic()
    opening = meanwhile(lambda: first.turn("I want", message_id="1", coalesce=QUIET).open())
    other = live(store)
    soon(other.info)
    with other.turn("a haircut", message_id="2", coalesce=QUIET) as second:
        assert second.state == "joined"
    said_at = time.monotonic()
    with other.turn("I want", message_id="1", coalesce=QUIET) as again:
        assert again.state == "in_progress"
    assert other.receive("tomorrow", message_id="3").state == "accepted"
    turn = opening.result(10)
    assert time.monotonic() - said_at >= QUIET - 0.05
    assert time.monotonic() - began < 5
    assert [m.text for m in turn.messages] == ["I want", "a haircut", "tomorrow"]
    assert [m.text for m in turn.context.messages] == ["I want", "a haircut", "tomorrow"]
    assert (turn.attempt, turn.new_session) == (1, True)
    turn.reply("At what time?")
    assert not turn.should_reply
    assert other.info().unanswered == 0


def test_a_burst_has_a_longest_time(store: Store) -> None:
    policies = {"*": Policy(coalesce=0.5, coalesce_max=1.0)}
    session = live(store, policies=policies)
    began = time.monotonic()
    opening = meanwhile(lambda: session.turn("0", message_id="0").open())
    other = live(store)
    number = 0
    while not opening.done() and number < 50:
        time.sleep(0.1)
        number += 1
        other.receive(str(number), message_id=str(number))
    turn = opening.result(10)
    assert 0.95 <= time.monotonic() - began < 4
    assert len(turn.messages) >= 2
    turn.close()


def test_one_message_is_answered_after_the_quiet_time(store: Store) -> None:
    session = live(store, policies={"*": Policy(coalesce=QUIET)})
    began = time.monotonic()
    with session.turn("hi", message_id="1") as turn:
        assert time.monotonic() - began >= QUIET - 0.02
        turn.reply("hello")
    began = time.monotonic()
    with session.turn("hi", message_id="1") as again:
        assert again.state == "duplicate"
    with session.turn("more", message_id="2", coalesce=0) as turn:
        assert turn.state == "open"
        turn.reply("yes")
    assert time.monotonic() - began < QUIET


def test_a_burst_outlives_the_worker_that_gathers_it(store: Store) -> None:
    dying = live(store, lease=0.8, policies={"*": Policy(coalesce=QUIET, coalesce_max=QUIET)}).turn("one", message_id="1")
    assert one_step(dying) > 0
    other = live(store)
    other.receive("two", message_id="2")
    assert other.turn("one", message_id="1").open().state == "in_progress"
    time.sleep(QUIET + 0.9)
    began = time.monotonic()
    with live(store, policies={"*": Policy(coalesce=QUIET, coalesce_max=QUIET)}).turn("one", message_id="1") as turn:
        assert time.monotonic() - began < QUIET, "its time was over already"
        assert [m.text for m in turn.messages] == ["one", "two"]
        assert turn.attempt == 2
        turn.reply("to both")


def test_a_pause_while_gathering_is_found(store: Store) -> None:
    opening = meanwhile(lambda: live(store).turn("hi", message_id="1", coalesce=QUIET).open())
    other = live(store)
    soon(other.info)
    other.pause()
    assert opening.result(10).state == "paused"
    other.resume()
    with other.turn() as turn:
        assert turn.state == "open"


def test_an_answer_of_a_person_while_gathering_is_found(store: Store) -> None:
    opening = meanwhile(lambda: live(store).turn("hi", message_id="1", coalesce=QUIET).open())
    other = live(store)
    soon(other.info)
    other.append("human", "Carla here")
    turn = opening.result(10)
    assert turn.state == "duplicate"
    assert not turn.should_reply
    with other.turn("next", message_id="2") as after:
        assert after.state == "open"


def test_a_turn_waits_for_the_one_that_is_open(store: Store) -> None:
    holder = live(store).turn("one", message_id="1").open()
    waiter = live(store)
    waiting = meanwhile(lambda: waiter.turn("two", message_id="2", wait=5).open())
    soon(lambda: live(store).info().unanswered == 2)
    holder.reply("re: one")
    assert not holder.should_reply, "what waits its turn is handed over, not answered here"
    turn = waiting.result(10)
    assert turn.state == "open"
    assert [m.text for m in turn.messages] == ["two"]
    assert [m.text for m in turn.context.messages] == ["one", "re: one", "two"]
    turn.reply("re: two")
    assert [m.text for m in live(store).messages()] == ["one", "re: one", "two", "re: two"]


def test_those_who_wait_come_in_their_order_and_each_answers_its_own(store: Store) -> None:
    holder = live(store).turn("0", message_id="0").open()
    opened: list[str] = []

    def worker(name: str) -> None:
        with live(store).turn(name, message_id=name, wait=20) as turn:
            opened.append(name)
            assert [m.text for m in turn.messages] == [name]
            assert [m.text for m in turn.context.messages][-1] == name
            turn.reply(f"re: {name}")
            assert not turn.should_reply

    watch = live(store)
    working = []
    for number in range(1, 6):
        working.append(meanwhile(partial(worker, str(number))))
        assert soon(partial(unanswered, watch, number + 1))
    holder.reply("re: 0")
    for one in working:
        one.result(30)
    assert opened == list("12345")
    assert [m.text for m in watch.messages()] == [text for n in range(6) for text in (str(n), f"re: {n}")]
    assert watch.info().unanswered == 0


def test_waiting_has_an_end_and_the_message_is_the_holders_then(store: Store) -> None:
    holder = live(store).turn("one", message_id="1").open()
    began = time.monotonic()
    with live(store).turn("two", message_id="2", wait=0.3) as turn:
        assert turn.state == "joined"
        assert 0.25 <= time.monotonic() - began < 3
    holder.reply("re: one")
    assert holder.should_reply
    assert [m.text for m in holder.messages] == ["two"]
    holder.reply("re: two")


def test_a_waiter_that_died_keeps_nobody_out_for_long(store: Store) -> None:
    holder = live(store).turn("one", message_id="1").open()
    assert one_step(live(store).turn("two", message_id="2", wait=60)) > 0
    holder.reply("re: one")
    assert not holder.should_reply
    with live(store).turn(wait=10) as turn:
        assert [m.text for m in turn.messages] == ["two"]
        turn.reply("re: two")


def test_a_second_delivery_that_waits_hears_that_the_first_was_answered(store: Store) -> None:
    holder = live(store).turn("one", message_id="1").open()
    waiting = [meanwhile(lambda: live(store).turn("two", message_id="2", wait=10).open())]
    soon(lambda: live(store).info().unanswered == 2)
    waiting.append(meanwhile(lambda: live(store).turn("two", message_id="2", wait=10).open()))
    time.sleep(0.1)
    holder.reply("re: one")
    first = waiting[0].result(10)
    assert first.state == "open"
    first.reply("re: two")
    second = waiting[1].result(10)
    assert second.state in {"duplicate", "in_progress"}
    with live(store).turn("three", message_id="3") as turn:
        assert turn.state == "open", "nobody is left in the queue"


def test_nobody_jumps_the_queue(store: Store) -> None:
    holder = live(store).turn("one", message_id="1").open()
    assert one_step(live(store).turn("two", message_id="2", wait=60)) > 0
    holder.close()
    with live(store).turn("three", message_id="3") as turn:
        assert turn.state == "joined"


def test_a_turn_without_a_text_can_wait(store: Store) -> None:
    holder = live(store).turn("one", message_id="1").open()
    waiting = meanwhile(lambda: live(store).turn(wait=5).open())
    time.sleep(0.1)
    holder.reply("re: one")
    assert waiting.result(10).state == "idle"


def test_waiting_where_nobody_is_before_costs_nothing(store: Store) -> None:
    session = live(store)
    talk(session, "hi")
    before = time.monotonic()
    with session.turn("two", message_id="x", wait=10, coalesce=0) as turn:
        assert turn.state == "open"
        turn.reply("re: two")
    assert time.monotonic() - before < 1


@pytest.mark.parametrize(
    "bad", [{"wait": -1}, {"wait": 301}, {"wait": "1"}, {"coalesce": -0.1}, {"coalesce": 61}, {"coalesce": float("nan")}]
)
def test_odd_times_are_refused(store: Store, bad: Any) -> None:
    with pytest.raises(InvalidInput):
        store.session().turn("hi", message_id="1", **bad)


@pytest.mark.parametrize("bad", [{"coalesce": -1}, {"coalesce": 7.0}, {"coalesce": 61, "coalesce_max": 100}, {"outbox": 1}])
def test_a_policy_that_cannot_be_is_refused(bad: Any) -> None:
    with pytest.raises(ConfigError):
        Policy(**bad)
