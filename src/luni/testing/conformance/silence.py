"""Reads and duplicates write nothing at all: what is stored is the same to the byte, expiry included."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from luni import Message, Policy, SessionUpdate
from luni.errors import Conflict, Fenced
from luni.models import Address
from luni.operations import Inspect, Locate, Read
from luni.testing.conformance.store import Store, executed, rounds, talk

READS: dict[str, Callable[[Any], Any]] = {
    "messages": lambda s: s.messages(),
    "all messages": lambda s: s.messages(limit=1000),
    "messages before": lambda s: s.messages(before="m3"),
    "context": lambda s: s.context(),
    "context of a policy": lambda s: s.context(policy=Policy(token_budget=100)),
    "info": lambda s: s.info(),
    "export": lambda s: s.export(),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS.keys())
def test_reading_writes_nothing(store: Store, read: Callable[[Any], Any]) -> None:
    session = store.session()
    rounds(session, 12)
    session.receive("waiting", message_id="w")
    store.let_pass(0.02)
    before = store.dump()
    read(session)
    read(store.session())
    assert store.dump() == before


@pytest.mark.parametrize("read", READS.values(), ids=READS.keys())
def test_reading_what_is_not_there_writes_nothing(store: Store, read: Callable[[Any], Any]) -> None:
    talk(store.session("bob"), "hi")
    before = store.dump()
    read(store.session("nobody"))
    assert store.dump() == before


def test_listing_finding_and_asking_for_health_write_nothing(store: Store) -> None:
    talk(store.session(), "hi")
    memory = store.open()
    store.let_pass(0.02)
    before = store.dump()
    (info,) = memory.sessions("shop")
    memory.find(info.session_id, tenant="shop")
    memory.find(info.session_id, tenant="other")
    memory.find("nothing", tenant="shop")
    memory.health()
    memory.describe()
    address = Address("shop", "web", "ana")
    for operation in (Read(address=address), Inspect(addresses=(address,)), Locate(session_id=info.session_id)):
        executed(memory, operation)
    assert store.dump() == before


def test_a_duplicate_writes_nothing(store: Store) -> None:
    session = store.session()
    rounds(session, 11)
    session.append("assistant", "noted", message_id="a")
    store.let_pass(0.02)
    before = store.dump()
    for each in (session, store.session()):
        with each.turn("u1", message_id="m1") as turn:
            assert turn.state == "duplicate"
        assert each.receive("u1", message_id="m1").state == "duplicate"
        each.append("assistant", "noted", message_id="a")
    assert store.dump() == before


def test_a_second_delivery_of_what_waits_writes_nothing(store: Store) -> None:
    store.session().receive("hi", message_id="1")
    store.let_pass(0.02)
    before = store.dump()
    assert store.session().receive("hi", message_id="1").state == "duplicate"
    assert store.dump() == before


def test_a_second_delivery_during_the_work_writes_nothing(store: Store) -> None:
    with store.session().turn("hi", message_id="1") as turn:
        store.let_pass(0.02)
        before = store.dump()
        with store.session().turn("hi", message_id="1") as second:
            assert second.state == "in_progress"
        with store.session().turn() as third:
            assert third.state == "joined"
        assert store.dump() == before
        turn.reply("hello")


def test_an_idle_turn_writes_nothing(store: Store) -> None:
    session = store.session()
    with session.turn() as turn:
        assert turn.state == "idle"
    talk(session, "hi")
    before = store.dump()
    with session.turn() as turn:
        assert turn.state == "idle"
    assert store.dump() == before


def test_what_is_refused_writes_nothing(store: Store) -> None:
    session = store.session()
    talk(session, "hi")
    session.set_summary("x")
    turn = session.turn("there", message_id="2").open()
    turn.close()
    before = store.dump()
    with pytest.raises(Fenced):
        turn.reply("late")
    with pytest.raises(Conflict):
        session.update(SessionUpdate(), expected_revision=7)
    assert session.amend("nothing", "x") is None
    session.load([])
    assert store.session("nobody").end() is False
    assert store.dump() == before


def test_replaying_a_whole_conversation_changes_nothing(store: Store) -> None:
    said = [f"t{number}" for number in range(40)]
    talk(store.session(), *said)
    store.let_pass(0.02)
    before = store.dump()
    session = store.session()
    for number, text in enumerate(said, 1):
        with session.turn(text, message_id=f"m{number}") as turn:
            assert turn.state == "duplicate"
    assert store.dump() == before


def test_loading_the_same_history_again_writes_nothing(store: Store) -> None:
    history = [Message(text=f"h{number}") for number in range(50)]
    store.session().load(history)
    store.let_pass(0.02)
    before = store.dump()
    store.session().load(history)
    assert store.dump() == before
