"""A person takes over: messages wait, no turn opens, an open turn is fenced; what nobody settled waits on resume."""

from __future__ import annotations

from typing import Any

import pytest

from luni import Policy
from luni.errors import Fenced, InvalidInput
from luni.testing.conformance.store import Store, talk


def test_while_paused_messages_are_stored_and_nobody_answers(store: Store) -> None:
    session = store.session()
    talk(session, "hi")
    session.pause(by="carla", reason="wants a refund")
    with session.turn("hello?", message_id="2") as turn:
        assert turn.state == "paused"
        assert not turn.should_reply
    assert session.receive("anyone?", message_id="3").state == "accepted"
    with session.turn() as turn:
        assert turn.state == "paused"
    info = session.info()
    assert (info.paused, info.paused_by, info.paused_reason, info.paused_until) == (True, "carla", "wants a refund", None)
    assert info.paused_at is not None
    assert info.unanswered == 2


def test_what_is_unsettled_waits_on_resume(store: Store) -> None:
    session = store.session()
    session.receive("one", message_id="1")
    session.pause()
    session.receive("two", message_id="2")
    assert session.resume() is True
    assert session.info().paused is False
    with store.session().turn() as turn:
        assert [m.text for m in turn.messages] == ["one", "two"]
        turn.reply("to both")
    assert session.info().unanswered == 0


def test_a_persons_words_settle_what_came_before_and_are_the_assistants_side(store: Store) -> None:
    session = store.session()
    session.receive("I want a refund", message_id="1")
    session.pause(by="carla")
    session.append("human", "Carla here: it is on its way.")
    session.receive("thanks!", message_id="2")
    assert session.info().unanswered == 1
    session.resume()
    with session.turn() as turn:
        assert [m.text for m in turn.messages] == ["thanks!"]
        assert [m.role for m in turn.context.messages] == ["user", "human", "user"]
        rendered = turn.context.to_openai()
        said = [m for m in rendered if "Carla here" in str(m["content"])]
        assert [m["role"] for m in said] == ["assistant"]
        turn.reply("You are welcome.")


def test_an_open_turns_reply_is_fenced_by_a_pause(store: Store) -> None:
    turn = store.session().turn("hi", message_id="1").open()
    other = store.session()
    other.pause()
    before = store.dump()
    with pytest.raises(Fenced, match="paused"):
        turn.reply("too late")
    assert store.dump() == before
    turn.close()
    assert store.dump() == before


def test_a_turn_from_before_the_pause_stays_fenced_after_it(store: Store) -> None:
    turn = store.session().turn("hi", message_id="1").open()
    other = store.session()
    other.pause()
    other.append("human", "I am Carla")
    other.resume()
    with pytest.raises(Fenced):
        turn.reply("too late")
    assert [m.text for m in other.messages()] == ["hi", "I am Carla"]


def test_a_pause_with_an_end_resumes_by_itself(store: Store) -> None:
    session = store.session()
    session.receive("hi", message_id="1")
    session.pause(for_seconds=600, by="carla")
    info = session.info()
    assert info.paused_until - info.paused_at == pytest.approx(600, abs=0.01)
    store.let_pass(599)
    with session.turn() as turn:
        assert turn.state == "paused"
    store.let_pass(2)
    info = session.info()
    assert (info.paused, info.paused_until, info.paused_by) == (False, None, None)
    with session.turn() as turn:
        assert turn.state == "open"
        turn.reply("hello")


def test_reading_does_not_write_that_a_pause_is_over(store: Store) -> None:
    session = store.session()
    session.pause(for_seconds=1)
    store.let_pass(1.1)
    before = store.dump()
    assert session.info().paused is False
    assert [i.paused for i in store.open().sessions("shop")] == [False]
    assert [i.user for i in store.open().sessions("shop", paused=True)] == []
    assert store.dump() == before


def test_a_second_pause_replaces_the_first(store: Store) -> None:
    session = store.session()
    session.pause(for_seconds=60, by="carla")
    session.pause(by="rui")
    store.let_pass(61)
    info = session.info()
    assert (info.paused, info.paused_by, info.paused_until) == (True, "rui", None)


def test_resuming_what_is_not_paused_does_nothing(store: Store) -> None:
    session = store.session()
    assert session.resume() is False
    assert session.info() is None
    talk(session, "hi")
    session.pause(for_seconds=1)
    store.let_pass(1.1)
    before = store.dump()
    assert session.resume() is False
    assert store.dump() == before


def test_a_pause_of_another_program_can_be_resumed(store: Store) -> None:
    session = store.session()
    session.receive("hi", message_id="1")
    store.pause(session)
    assert session.info().paused_by is None
    assert session.resume() is True
    with session.turn() as turn:
        assert turn.state == "open"
        turn.reply("hello")


def test_another_programs_pause_outlives_the_end_of_an_earlier_one(store: Store) -> None:
    session = store.session()
    session.pause(for_seconds=1)
    store.let_pass(1.1)
    session.receive("hi", message_id="1")  # the store says now that it is over
    store.pause(session)
    assert session.info().paused is True


def test_a_pause_can_begin_a_session(store: Store) -> None:
    session = store.session()
    session.pause(by="carla")
    with store.session().turn("hi", message_id="1") as turn:
        assert turn.state == "paused"
    assert [i.user for i in store.open().sessions("shop", paused=True)] == ["ana"]


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), True, "60", 10**9])
def test_a_pause_that_cannot_be_is_refused(store: Store, seconds: Any) -> None:
    session = store.session()
    with pytest.raises(InvalidInput, match="for_seconds"):
        session.pause(for_seconds=seconds)
    assert session.info() is None


@pytest.mark.parametrize("words", [{"by": 1}, {"reason": "\ud800"}, {"by": "x" * 2000}])
def test_odd_words_of_a_pause_are_refused(store: Store, words: Any) -> None:
    with pytest.raises(InvalidInput):
        store.session().pause(**words)


def test_a_pause_does_not_outlast_its_session(store: Store) -> None:
    session = store.session(policies={"*": Policy(ttl=100)})
    with pytest.raises(InvalidInput, match="100"):
        session.pause(for_seconds=101)
    session.pause(for_seconds=100)
