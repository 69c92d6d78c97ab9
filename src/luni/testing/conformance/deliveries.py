"""Second deliveries, wherever and whenever they come: one effect, and the answer that was given."""

from __future__ import annotations

from luni import Attachment, SessionUpdate
from luni.testing.conformance.store import Store, rounds, talk, together


def test_a_message_received_twice_is_stored_once(store: Store) -> None:
    first = store.session().receive("hi", message_id="1")
    second = store.session().receive("hi", message_id="1")
    assert (first.state, second.state) == ("accepted", "duplicate")
    assert second.message == first.message
    assert second.session_id == first.session_id
    assert len(store.session().messages()) == 1


def test_a_second_delivery_with_other_words_changes_nothing(store: Store) -> None:
    session = store.session()
    session.receive("hi", message_id="1")
    assert session.receive("something else", message_id="1").message.text == "hi"
    with session.turn("something else again", message_id="1") as turn:
        assert [m.text for m in turn.messages] == ["hi"]
        turn.reply("hello")


def test_the_same_message_at_two_instances_at_once_opens_one_turn(store: Store) -> None:
    turns = [store.session().turn("hi", message_id="1") for _ in range(6)]
    together(turn.open for turn in turns)
    states = sorted(turn.state for turn in turns)
    assert states == ["in_progress"] * 5 + ["open"]
    assert len(store.session().messages()) == 1
    next(turn for turn in turns if turn.state == "open").reply("hello")
    assert [m.text for m in store.session().messages()] == ["hi", "hello"]


def test_different_messages_at_once_open_one_turn_which_answers_all(store: Store) -> None:
    turns = [store.session().turn(f"t{number}", message_id=str(number)) for number in range(6)]
    together(turn.open for turn in turns)
    assert sorted(turn.state for turn in turns) == ["joined"] * 5 + ["open"]
    holder = next(turn for turn in turns if turn.state == "open")
    answered = []
    while holder.should_reply:
        answered += [m.text for m in holder.messages]
        holder.reply("ok")
    assert sorted(answered) == [f"t{number}" for number in range(6)]
    assert store.session().info().unanswered == 0


def test_a_message_appended_twice_with_its_id_is_stored_once(store: Store) -> None:
    first = store.session().append("assistant", "hi", message_id="1")
    second = store.session().append("assistant", "other words", message_id="1")
    assert second == first
    assert len(store.session().messages()) == 1


def test_a_message_appended_with_its_id_is_a_duplicate_for_a_turn(store: Store) -> None:
    session = store.session()
    session.append("user", "hi", message_id="1")
    session.append("assistant", "hello")
    with session.turn("hi", message_id="1") as turn:
        assert turn.state == "duplicate"
    assert session.receive("hi", message_id="1").state == "duplicate"


def test_appending_without_an_id_is_not_protected(store: Store) -> None:
    session = store.session()
    one, two = session.append("user", "hi"), session.append("user", "hi")
    assert one.id != two.id
    assert len(session.messages()) == 2


def test_a_settled_message_stays_a_duplicate_while_others_come_and_go(store: Store) -> None:
    session = store.session()
    talk(session, "hi")
    rounds(session, 30, begin=2)
    assert session.receive("hi", message_id="m1").state == "duplicate"


def test_an_appended_answer_settles_what_came_before_it(store: Store) -> None:
    for role in ("human", "assistant"):
        session = store.session(role)
        session.receive("help", message_id="1")
        session.append(role, "here I am")
        assert session.info().unanswered == 0
        with session.turn() as turn:
            assert turn.state == "idle"
        with session.turn("help", message_id="1") as again:
            assert again.state == "duplicate"
            assert [m.text for m in again.answer] == ["here I am"]


def test_an_appended_note_settles_nothing(store: Store) -> None:
    session = store.session()
    session.receive("help", message_id="1")
    session.append("system", "the customer is a regular")
    assert session.info().unanswered == 1
    with session.turn() as turn:
        assert [m.text for m in turn.messages] == ["help"]
        turn.reply("of course")
    assert session.info().unanswered == 0


def test_everything_that_came_with_a_message_is_there_for_the_turn_that_answers_it(store: Store) -> None:
    photo = Attachment("image", url="https://x/y.jpg", mime="image/jpeg", caption="look", size_bytes=12345)
    voice = Attachment("audio", url="https://x/y.ogg", transcript="tomorrow at 3")
    store.session().receive(
        "see",
        message_id="1",
        attachments=[photo, voice],
        tags=["vip", "new"],
        metadata={"wa": {"id": [1, {}]}},
        timestamp=1_700_000_000.25,
    )
    with store.session().turn() as turn:
        (message,) = turn.messages
        assert message.attachments == (photo, voice)
        assert message.tags == ("vip", "new")
        assert message.metadata == {"wa": {"id": [1, {}]}}
        assert message.timestamp == 1_700_000_000.25
        assert message.id == "1"
        assert "tomorrow at 3" in str(turn.context.to_openai())
        turn.reply("seen", update=SessionUpdate(variables={"photo": True}))
    assert store.session().info().variables == {"photo": True}
