"""Many at once: nothing is lost, nothing is there twice."""

from __future__ import annotations

from functools import partial
from typing import Any

from luni import SessionUpdate
from luni.testing.conformance.store import Store, together


def test_fifty_concurrent_appends_keep_fifty(store: Store) -> None:
    memories = [store.open() for _ in range(5)]
    sessions = [memory.session(tenant="shop", channel="web", user="ana") for memory in memories]

    def ten(session: Any, number: int) -> None:
        for step in range(5):
            session.append("user", f"{number}.{step}", message_id=f"{number}.{step}")

    together(partial(ten, sessions[number % 5], number) for number in range(10))
    messages = sessions[0].messages(limit=100)
    assert sorted(m.text for m in messages) == sorted(f"{number}.{step}" for number in range(10) for step in range(5))
    assert sessions[0].info().message_count == 50
    assert len({m.key for m in messages}) == 50


def test_fifty_concurrent_appends_of_one_memory_keep_fifty(store: Store) -> None:
    session = store.session()
    together(partial(session.append, "system", f"s{number}") for number in range(50))
    assert sorted(m.text for m in session.messages(limit=100)) == sorted(f"s{number}" for number in range(50))
    assert session.info().message_count == 50


def test_parallel_first_contacts_make_one_session_and_one_first_interaction(store: Store) -> None:
    for round_ in range(5):
        user = f"user{round_}"
        turns = [store.session(user).turn("hi", message_id=str(number)) for number in range(4)]
        together(turn.open for turn in turns)
        assert [turn.new_session for turn in turns].count(True) == 1
        assert len({turn.session_id for turn in turns}) == 1
        for turn in turns:
            while turn.should_reply:
                turn.reply("hello")
        info = store.session(user).info()
        assert info.unanswered == 0
        assert store.open().find(info.session_id, tenant="shop") is not None


def test_parallel_first_messages_of_different_kinds_make_one_session(store: Store) -> None:
    sessions = [store.session() for _ in range(4)]
    together(
        [
            lambda: sessions[0].receive("r", message_id="r"),
            lambda: sessions[1].append("system", "s"),
            lambda: sessions[2].update(SessionUpdate(variables={"v": 1})),
            lambda: sessions[3].turn("t", message_id="t").open(),
        ]
    )
    assert sorted(m.text for m in store.session().messages()) == ["r", "s", "t"]
    assert store.session().info().variables == {"v": 1}
    assert len(store.open().sessions("shop")) == 1


def test_many_workers_answer_every_message_once(store: Store) -> None:
    def work(session: Any, number: int) -> list[str]:
        answered = []
        for step in range(6):
            with session.turn(f"{number}.{step}", message_id=f"{number}.{step}") as turn:
                while turn.should_reply:
                    answered += [m.text for m in turn.messages]
                    turn.reply("re: " + ", ".join(m.text for m in turn.messages))
        return answered

    sessions = [store.session() for _ in range(4)]
    answered = together(partial(work, session, number) for number, session in enumerate(sessions))
    assert sorted(text for texts in answered for text in texts) == sorted(f"{n}.{s}" for n in range(4) for s in range(6))
    assert store.session().info().unanswered == 0


def test_conversations_at_the_same_time_do_not_mix(store: Store) -> None:
    memory = store.open()

    def hold(number: int) -> None:
        session = memory.session(tenant="shop", channel="web", user=f"u{number}")
        for step in range(5):
            with session.turn(f"{number}.{step}", message_id=str(step)) as turn:
                turn.reply(f"re: {number}.{step}", update=SessionUpdate(variables={"number": number}))

    together(partial(hold, number) for number in range(8))
    for number in range(8):
        session = memory.session(tenant="shop", channel="web", user=f"u{number}")
        assert [m.text for m in session.messages()] == [t for s in range(5) for t in (f"{number}.{s}", f"re: {number}.{s}")]
        assert session.info().variables == {"number": number}


def test_folding_and_appending_at_once_loses_nothing(store: Store) -> None:
    sessions = [store.session() for _ in range(4)]

    def fill(session: Any, number: int) -> None:
        for step in range(50):
            session.append("assistant", f"{number}.{step}")

    together(partial(fill, session, number) for number, session in enumerate(sessions))
    info = store.session().info()
    assert info.message_count == 200
    held = [m.text for m in store.session().messages(limit=1000)]
    assert len(held) == len(set(held)) == 200 - info.folded


def test_ending_and_receiving_at_once_leaves_whole_sessions(store: Store) -> None:
    talker, ender = store.session(), store.session()

    def receive() -> None:
        for number in range(20):
            talker.receive(f"t{number}", message_id=str(number))

    def end() -> None:
        for _ in range(10):
            ender.end()

    together([receive, end])
    info, messages = store.session().info(), store.session().messages()
    if info is None:
        assert messages == []
    else:
        assert info.message_count == len(messages) == info.unanswered
        assert store.open().find(info.session_id, tenant="shop") is not None
