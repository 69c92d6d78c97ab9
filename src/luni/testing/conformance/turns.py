"""What opening a turn finds, and how it ends."""

from __future__ import annotations

import pytest

from luni.errors import Fenced, InvalidInput
from luni.testing.conformance.store import Store, talk


def test_a_turn_accepts_a_message_and_answers_it(store: Store) -> None:
    session = store.session()
    with session.turn("hi", message_id="1") as turn:
        assert turn.state == "open"
        assert turn.should_reply
        assert not turn.answered
        assert turn.attempt == 1
        assert turn.token > 0
        assert [m.text for m in turn.messages] == ["hi"]
        assert [m.text for m in turn.context.messages] == ["hi"]
        assert turn.context.current == 1
        stored = turn.reply("hello")
        assert not turn.should_reply
    assert session.messages()[-1:] == stored
    assert [(m.role, m.text) for m in session.messages()] == [("user", "hi"), ("assistant", "hello")]
    assert session.info().unanswered == 0


def test_a_turn_does_nothing_until_it_is_entered(store: Store) -> None:
    session = store.session()
    turn = session.turn("hi", message_id="1")
    with pytest.raises(InvalidInput):
        _ = turn.state
    assert session.info() is None


def test_a_second_delivery_gets_the_first_answer(store: Store) -> None:
    talk(store.session(), "hi")
    with store.session().turn("hi", message_id="m1") as turn:
        assert turn.state == "duplicate"
        assert turn.answered
        assert not turn.should_reply
        assert [m.text for m in turn.answer] == ["re: hi"]
        assert turn.messages == ()
        assert turn.token == 0
    assert len(store.session().messages()) == 2


def test_a_second_delivery_long_after_has_no_answer_any_more_and_is_still_a_duplicate(store: Store) -> None:
    session = store.session()
    talk(session, *[f"t{number}" for number in range(20)])
    with session.turn("t0", message_id="m1") as turn:
        assert turn.state == "duplicate"
        assert turn.answer is None


def test_a_second_delivery_of_several_bubbles_gets_all_of_them(store: Store) -> None:
    session = store.session()
    with session.turn("hi", message_id="1") as turn:
        turn.reply("one", "two", "three")
    with session.turn("more", message_id="2") as turn:
        turn.reply("another answer")
    with session.turn("hi", message_id="1") as again:
        assert [m.text for m in again.answer] == ["one", "two", "three"]


def test_a_second_delivery_during_the_work_is_in_progress(store: Store) -> None:
    with store.session().turn("hi", message_id="1") as working:
        with store.session().turn("hi", message_id="1") as second:
            assert second.state == "in_progress"
            assert not second.should_reply
            with pytest.raises(Fenced):
                second.reply("me too")
        assert not working.lost
        working.reply("hello")
    assert len(store.session().messages()) == 2


def test_another_message_during_the_work_joins_the_turn_that_is_open(store: Store) -> None:
    with store.session().turn("one", message_id="1") as working:
        with store.session().turn("two", message_id="2") as second:
            assert second.state == "joined"
            assert not second.should_reply
        working.reply("re: one")
        assert working.should_reply
        assert [m.text for m in working.messages] == ["two"]
        working.reply("re: two")
        assert not working.should_reply
    assert [m.text for m in store.session().messages()] == ["one", "re: one", "two", "re: two"]
    with store.session().turn("two", message_id="2") as again:
        assert [m.text for m in again.answer] == ["re: two"]


def test_a_joined_message_delivered_again_is_still_joined_until_the_holder_takes_it(store: Store) -> None:
    with store.session().turn("one", message_id="1") as working:
        store.session().turn("two", message_id="2").open()
        with store.session().turn("two", message_id="2") as again:
            assert again.state == "joined"
        working.reply("re: one")
        with store.session().turn("two", message_id="2") as again:
            assert again.state == "in_progress"
        working.reply("re: two")


def test_a_turn_without_text_answers_what_waits(store: Store) -> None:
    for number in range(3):
        store.session().receive(f"w{number}", message_id=str(number))
    with store.session().turn() as turn:
        assert turn.state == "open"
        assert [m.text for m in turn.messages] == ["w0", "w1", "w2"]
        assert turn.context.current == 3
        turn.reply("to all")
    assert store.session().info().unanswered == 0
    for number in range(3):
        with store.session().turn(f"w{number}", message_id=str(number)) as again:
            assert [m.text for m in again.answer] == ["to all"]


def test_a_turn_without_text_is_idle_where_nothing_waits(store: Store) -> None:
    session = store.session()
    with session.turn() as turn:
        assert turn.state == "idle"
        assert turn.session_id == ""
        assert not turn.should_reply
    talk(session, "hi")
    with session.turn() as turn:
        assert turn.state == "idle"
        assert turn.session_id == session.info().session_id


def test_a_turn_without_text_joins_the_turn_that_is_open(store: Store) -> None:
    with store.session().turn("hi", message_id="1") as working:
        with store.session().turn() as second:
            assert second.state == "joined"
        working.reply("hello")


def test_receiving_now_and_answering_later_on_another_instance(store: Store) -> None:
    received = store.session().receive("hi", message_id="1")
    assert (received.state, received.message.text, received.new_session) == ("accepted", "hi", True)
    with store.session().turn() as turn:
        assert turn.session_id == received.session_id
        assert turn.messages == (received.message,)
        turn.reply("hello")
    again = store.session().receive("hi", message_id="1")
    assert (again.state, again.message, again.new_session) == ("duplicate", received.message, False)


def test_a_received_message_may_be_answered_by_the_turn_of_its_second_delivery(store: Store) -> None:
    store.session().receive("hi", message_id="1")
    with store.session().turn("hi", message_id="1") as turn:
        assert turn.state == "open"
        assert turn.attempt == 1
        turn.reply("hello")
    assert [m.text for m in store.session().messages()] == ["hi", "hello"]


def test_receiving_during_a_turn_is_not_held_up(store: Store) -> None:
    with store.session().turn("one", message_id="1") as turn:
        assert store.session().receive("two", message_id="2").state == "accepted"
        answers = []
        while turn.should_reply:
            answers.append([m.text for m in turn.messages])
            turn.reply("re: " + turn.messages[-1].text)
    assert answers == [["one"], ["two"]]


def test_messages_that_arrive_meanwhile_are_answered_in_the_same_loop(store: Store) -> None:
    arriving = iter(["two", "three", "four"])
    with store.session().turn("one", message_id="one") as turn:
        said = []
        while turn.should_reply:
            for text in arriving:
                store.session().receive(text, message_id=text)
                break
            said.append(turn.messages[-1].text)
            turn.reply(f"re: {said[-1]}")
    assert said == ["one", "two", "three", "four"]
    assert [m.text for m in store.session().messages()] == [
        "one", "re: one", "two", "re: two", "three", "re: three", "four", "re: four",
    ]  # fmt: skip
    assert store.session().info().unanswered == 0


def test_a_turn_without_a_message_id_is_no_duplicate_of_another(store: Store) -> None:
    session = store.session()
    for _ in range(2):
        with session.turn("hi") as turn:
            assert turn.state == "open"
            turn.reply("hello")
    assert session.info().message_count == 4


def test_a_skipped_message_is_settled_without_an_answer(store: Store) -> None:
    session = store.session()
    with session.turn("👍", message_id="1") as turn:
        turn.skip("a reaction")
        assert not turn.should_reply
        with pytest.raises(Fenced):
            turn.reply("too late")
    assert session.info().unanswered == 0
    with session.turn("👍", message_id="1") as again:
        assert again.state == "duplicate"
        assert again.answer is None
    with session.turn() as idle:
        assert idle.state == "idle"


def test_skipping_leaves_what_arrived_meanwhile_to_be_answered(store: Store) -> None:
    with store.session().turn("👍", message_id="1") as turn:
        store.session().receive("a question", message_id="2")
        turn.skip()
        assert turn.should_reply
        assert [m.text for m in turn.messages] == ["a question"]
        turn.reply("an answer")
    assert [m.text for m in store.session().messages()] == ["👍", "a question", "an answer"]


def test_leaving_without_an_answer_leaves_the_message_to_the_next_turn(store: Store) -> None:
    session = store.session()
    with session.turn("hi", message_id="1"):
        pass
    assert session.info().unanswered == 1
    with store.session().turn() as turn:
        assert turn.attempt == 2
        turn.reply("sorry for the wait")
    assert session.info().unanswered == 0


def test_an_exception_passes_and_releases_the_lease(store: Store) -> None:
    with pytest.raises(ZeroDivisionError), store.session().turn("hi", message_id="1"):
        raise ZeroDivisionError
    with store.session().turn("hi", message_id="1") as turn:
        assert turn.state == "open"
        assert turn.attempt == 2
        turn.reply("hello")
    assert [m.text for m in store.session().messages()] == ["hi", "hello"]


def test_a_reply_after_the_turn_was_closed_is_fenced(store: Store) -> None:
    turn = store.session().turn("hi", message_id="1").open()
    turn.close()
    turn.close()
    before = store.dump()
    with pytest.raises(Fenced):
        turn.reply("too late")
    with pytest.raises(Fenced):
        turn.skip()
    assert store.dump() == before


def test_a_second_reply_is_fenced(store: Store) -> None:
    with store.session().turn("hi", message_id="1") as turn:
        turn.reply("hello")
        with pytest.raises(Fenced):
            turn.reply("hello again")
    assert store.session().info().message_count == 2


def test_a_reply_to_a_session_that_was_ended_is_fenced(store: Store) -> None:
    turn = store.session().turn("hi", message_id="1").open()
    store.session().end()
    with pytest.raises(Fenced):
        turn.reply("hello")
    turn.close()
    assert store.session().info() is None


def test_a_reply_to_a_session_that_was_ended_does_not_reach_its_successor(store: Store) -> None:
    turn = store.session().turn("hi", message_id="1").open()
    store.session().end()
    with store.session().turn("anew", message_id="2") as successor:
        assert successor.state == "open"
        with pytest.raises(Fenced):
            turn.reply("hello")
        turn.close()
        assert not successor.lost
        successor.reply("re: anew")
    assert [m.text for m in store.session().messages()] == ["anew", "re: anew"]


def test_a_paused_session_stores_and_stays_silent(store: Store) -> None:
    session = store.session()
    talk(session, "hi")
    store.pause(session)
    with session.turn("are you there?", message_id="2") as turn:
        assert turn.state == "paused"
        assert not turn.should_reply
        with pytest.raises(Fenced):
            turn.reply("yes")
    assert session.info().paused
    assert [m.text for m in session.messages()] == ["hi", "re: hi", "are you there?"]
    assert session.receive("hello?", message_id="3").state == "accepted"


def test_a_pause_during_the_work_fences_the_reply(store: Store) -> None:
    session = store.session()
    with session.turn("hi", message_id="1") as turn:
        store.pause(session)
        before = store.dump()
        with pytest.raises(Fenced):
            turn.reply("hello")
        assert store.dump() == before


def test_an_answered_message_delivered_while_paused_is_a_duplicate(store: Store) -> None:
    session = store.session()
    talk(session, "hi")
    store.pause(session)
    with session.turn("hi", message_id="m1") as turn:
        assert turn.state == "duplicate"


def test_tokens_grow_from_turn_to_turn(store: Store) -> None:
    tokens = []
    for number in range(5):
        with store.session().turn("hi", message_id=str(number)) as turn:
            tokens.append(turn.token)
            turn.reply("hello")
    assert tokens == sorted(set(tokens))


def test_tokens_grow_over_the_end_of_a_session(store: Store) -> None:
    tokens = []
    for number in range(3):
        with store.session().turn("hi", message_id=str(number)) as turn:
            tokens.append(turn.token)
            turn.reply("hello")
        store.session().end()
        store.let_pass(0.001)
    assert tokens == sorted(set(tokens))
