"""Leases: a worker that dies loses the conversation, one that works keeps it, and nobody writes without it."""

from __future__ import annotations

import time
from typing import Any

import pytest

from luni import Policy
from luni.clock import SystemClock
from luni.errors import Fenced
from luni.events import LeaseLost
from luni.testing.conformance.store import Store, inner, unattended

LEASE = 0.3
OVER = 0.4
"""A little longer than that lease."""


def dead_worker(store: Store, text: str, message_id: str) -> None:
    """Open a turn as a worker that dies with it: nothing is released, nothing renewed."""
    worker = store.open(lease=LEASE)
    worker.session(tenant="shop", channel="web", user="ana").turn(text, message_id=message_id).open()
    worker.close()


def test_a_second_delivery_after_a_worker_died_opens_again(store: Store) -> None:
    dead_worker(store, "hi", "1")
    with store.session().turn("hi", message_id="1") as early:
        assert early.state == "in_progress"
    store.let_pass(OVER)
    with store.session().turn("hi", message_id="1") as turn:
        assert turn.state == "open"
        assert turn.attempt == 2
        turn.reply("hello")
    assert [m.text for m in store.session().messages()] == ["hi", "hello"]


def test_what_a_dead_worker_left_is_answered_with_the_next_message(store: Store) -> None:
    dead_worker(store, "one", "1")
    store.let_pass(OVER)
    with store.session().turn("two", message_id="2") as turn:
        assert [m.text for m in turn.messages] == ["one", "two"]
        assert turn.attempt == 2
        turn.reply("to both")
    for message_id in "12":
        with store.session().turn("x", message_id=message_id) as again:
            assert [m.text for m in again.answer] == ["to both"]


def test_attempts_are_counted_over_several_deaths(store: Store) -> None:
    for _ in range(2):
        dead_worker(store, "hi", "1")
        store.let_pass(OVER)
    with store.session().turn() as turn:
        assert turn.attempt == 3
        turn.reply("at last")


def test_a_lost_lease_is_seen_and_nothing_is_stored(store: Store) -> None:
    lost: list[Any] = []
    session = store.session(lease=LEASE, on_event=lost.append)
    turn = session.turn("hi", message_id="1").open()
    unattended(turn)
    assert not turn.lost
    store.let_pass(OVER)
    assert turn.lost
    before = store.dump()
    with pytest.raises(Fenced):
        turn.reply("too late")
    assert store.dump() == before
    turn.close()


def test_a_worker_that_slept_past_its_lease_cannot_write_over_its_successor(store: Store) -> None:
    sleeper = store.session(lease=LEASE).turn("hi", message_id="1").open()
    unattended(sleeper)
    store.let_pass(OVER)
    inner(sleeper)._deadline = float("inf")  # it believes that it still holds the lease
    with store.session().turn("hi", message_id="1") as successor:
        assert successor.token > sleeper.token
        before = store.dump()
        with pytest.raises(Fenced):
            sleeper.reply("from the grave")
        sleeper.close()
        assert store.dump() == before
        successor.reply("hello")
    assert [m.text for m in store.session().messages()] == ["hi", "hello"]


def test_a_worker_that_slept_past_its_lease_cannot_write_without_a_successor_either(store: Store) -> None:
    sleeper = store.session(lease=LEASE).turn("hi", message_id="1").open()
    unattended(sleeper)
    store.let_pass(OVER)
    inner(sleeper)._deadline = float("inf")
    before = store.dump()
    with pytest.raises(Fenced):
        sleeper.reply("from the grave")
    assert store.dump() == before
    sleeper.close()


def test_renewal_keeps_a_lease_alive_past_its_length(store: Store) -> None:
    session = store.session(lease=LEASE, clock=SystemClock())
    with session.turn("hi", message_id="1") as turn:
        time.sleep(3 * LEASE)
        assert not turn.lost
        with store.session(clock=SystemClock()).turn("hi", message_id="1") as second:
            assert second.state == "in_progress"
        turn.reply("it took a while")
    assert store.session(clock=SystemClock()).info().unanswered == 0


def test_a_lease_taken_away_is_noticed_by_the_renewal(store: Store) -> None:
    events: list[Any] = []
    session = store.session(lease=LEASE, clock=SystemClock(), on_event=events.append)
    with session.turn("hi", message_id="1") as turn:
        store.session(clock=SystemClock()).end()
        deadline = time.monotonic() + 5
        while not turn.lost and time.monotonic() < deadline:
            time.sleep(0.02)
        assert turn.lost
        assert any(isinstance(event, LeaseLost) for event in events)
        with pytest.raises(Fenced):
            turn.reply("too late")


def test_a_kept_turn_counts_its_lease_anew(store: Store) -> None:
    session = store.session(lease=1.0)
    turn = session.turn("one", message_id="1").open()
    unattended(turn)
    store.session().receive("two", message_id="2")
    store.let_pass(0.6)
    turn.reply("re: one")
    store.let_pass(0.6)
    assert not turn.lost
    turn.reply("re: two")
    assert store.session().info().unanswered == 0


def test_the_lease_is_the_policys_where_it_has_one(store: Store) -> None:
    session = store.session(policies={"shop": Policy(lease=LEASE)})
    turn = session.turn("hi", message_id="1").open()
    unattended(turn)
    store.let_pass(OVER)
    assert turn.lost
    turn.close()


def test_closing_a_turn_whose_lease_went_to_another_leaves_the_other_alone(store: Store) -> None:
    session = store.session(lease=LEASE)
    old = session.turn("hi", message_id="1").open()
    unattended(old)
    store.let_pass(OVER)
    with store.session().turn("hi", message_id="1") as new:
        old.close()
        with store.session().turn("hi", message_id="1") as second:
            assert second.state == "in_progress"
        new.reply("hello")
