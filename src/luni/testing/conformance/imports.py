"""Loading a history that was kept elsewhere."""

from __future__ import annotations

import pytest

from luni import Message
from luni.testing.conformance.store import Store, rounds, talk


def history(count: int, *, ids: bool = True) -> list[Message]:
    roles = ("user", "assistant")
    return [
        Message(text=f"h{n}", role=roles[n % 2], id=f"h{n}" if ids else "", timestamp_ms=1_600_000_000_000 + 1000 * n)
        for n in range(count)
    ]


@pytest.mark.parametrize("ids", [True, False])
def test_a_history_is_loaded_once(store: Store, *, ids: bool) -> None:
    session = store.session()
    assert session.load(history(12, ids=ids)) == 12
    assert [m.text for m in session.messages()] == [f"h{n}" for n in range(12)]
    assert session.messages()[3].timestamp == 1_600_000_003.0
    before = store.dump()
    assert session.load(history(12, ids=ids)) == 0
    assert store.session().load(history(12, ids=ids)) == 0
    assert store.dump() == before


def test_a_longer_history_adds_only_what_is_new(store: Store) -> None:
    session = store.session()
    session.load(history(5))
    assert session.load(history(8)) == 3
    assert [m.text for m in session.messages()] == [f"h{n}" for n in range(8)]
    assert session.info().message_count == 8


def test_a_long_history_is_folded_as_turns_would_have(store: Store) -> None:
    session = store.session()
    assert session.load(history(205)) == 205
    info = session.info()
    assert info.message_count == 205
    assert info.folded == 180
    assert [m.text for m in session.messages(limit=100)] == [f"h{n}" for n in range(180, 205)]
    assert len(info.summary) <= 400


def test_the_same_import_again_adds_nothing_even_when_all_of_it_was_folded(store: Store) -> None:
    session = store.session()
    session.load(history(6))
    rounds(session, 25)
    assert session.load(history(6)) == 0
    assert session.info().message_count == 56


def test_a_history_comes_after_what_is_there(store: Store) -> None:
    session = store.session()
    talk(session, "hi")
    session.load(history(2))
    assert [m.text for m in session.messages()] == ["hi", "re: hi", "h0", "h1"]
    talk(session, "more", begin=2)
    assert [m.text for m in session.messages()][-2:] == ["more", "re: more"]


def test_a_given_summary_is_kept_where_nothing_is_folded(store: Store) -> None:
    session = store.session()
    session.load(history(4), summary="Ana, regular, size 42")
    assert session.info().summary == "Ana, regular, size 42"
    assert session.context().summary == "Ana, regular, size 42"


def test_loaded_messages_do_not_wait_for_an_answer(store: Store) -> None:
    session = store.session()
    session.load(history(5))
    assert session.info().unanswered == 0
    with session.turn() as turn:
        assert turn.state == "idle"
    with session.turn("next", message_id="1") as turn:
        assert [m.text for m in turn.messages] == ["next"]
        assert not turn.new_session
        turn.reply("ok")


def test_loading_nothing_does_nothing(store: Store) -> None:
    session = store.session()
    assert session.load([]) == 0
    assert session.info() is None


def test_loading_during_a_turn_leaves_the_turn_its_answer(store: Store) -> None:
    with store.session().turn("hi", message_id="1") as turn:
        store.session().load(history(3))
        turn.reply("hello")
    texts = [m.text for m in store.session().messages()]
    assert sorted(texts) == ["h0", "h1", "h2", "hello", "hi"]
    assert store.session().info().unanswered == 0


def test_an_unanswered_message_survives_a_load_that_folds(store: Store) -> None:
    session = store.session()
    session.receive("please answer me", message_id="1")
    session.load(history(60))
    assert session.info().unanswered == 1
    with session.turn() as turn:
        assert [m.text for m in turn.messages] == ["please answer me"]
        turn.reply("of course")
