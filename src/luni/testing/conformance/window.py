"""The window, what is folded into the summary, and a prompt whose beginning stays the same."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from luni import Message, Policy
from luni.testing.conformance.store import Store, rounds


def test_the_newest_twenty_and_what_is_not_yet_folded_is_what_a_model_sees(store: Store) -> None:
    session = store.session()
    texts: list[str] = []
    for number in range(1, 61):
        with session.turn(f"u{number}", message_id=str(number)) as turn:
            texts.append(f"u{number}")
            info = session.info()
            shown = [m.text for m in turn.context.messages]
            assert shown == texts[info.folded :]
            assert min(20, len(texts)) <= len(shown) <= 31
            assert info.folded % 10 == 0
            turn.reply(f"a{number}")
            texts.append(f"a{number}")
    assert session.info().folded >= 90


def test_what_was_folded_is_in_the_summary(store: Store) -> None:
    session = store.session()
    with session.turn("My name is Beatriz and I am allergic to peanuts.", message_id="0") as turn:
        turn.reply("Noted, Beatriz.")
    rounds(session, 15)
    summary = session.info().summary
    assert "peanuts" in summary
    assert len(summary) <= 400
    assert session.context().summary == summary


def test_a_summary_never_exceeds_400_characters(store: Store) -> None:
    session = store.session()
    for number in range(60):
        text = f"Please book order {number} for 2026-0{number % 9 + 1}-11 at R$ {number},50 for Mrs. Nunes {'🙂' * 20}."
        with session.turn(text, message_id=str(number)) as turn:
            turn.reply(f"Order {number} is confirmed for {number} o'clock.")
        assert len(session.info().summary) <= 400
    assert session.info().summary


def test_the_beginning_of_a_prompt_stays_the_same_for_ten_messages_running(store: Store) -> None:
    session = store.session()
    heads: list[Any] = []
    before: list[Any] = []
    for number in range(60):
        with session.turn(f"u{number}", message_id=str(number)) as turn:
            prompt = turn.context.to_openai(system="s")
            heads.append(prompt[:3])
            if len(heads) > 1 and heads[-1] == heads[-2]:
                assert prompt[: len(before) - 1] == before[:-1]
            before = prompt
            turn.reply(f"a{number}")
    changes = sum(one != two for one, two in itertools.pairwise(heads[15:]))
    assert changes <= len(heads[15:]) * 2 / 10 + 1


def test_unanswered_messages_are_never_folded(store: Store) -> None:
    session = store.session()
    rounds(session, 3)
    for number in range(60):
        session.receive(f"w{number}", message_id=f"w{number}")
    with session.turn() as turn:
        assert [m.text for m in turn.messages] == [f"w{number}" for number in range(60)]
        turn.reply("to all")
    rounds(session, 1, begin=100)
    assert session.info().folded >= 30


def test_appends_fold_by_themselves_when_a_hundred_wait(store: Store) -> None:
    session = store.session()
    for number in range(150):
        session.append("assistant", f"a{number}")
    info = session.info()
    assert info.message_count == 150
    assert info.folded >= 30
    assert session.messages()[-1].text == "a149"
    assert len(session.messages(limit=1000)) == 150 - info.folded


def test_a_folding_is_void_if_a_summary_was_written_meanwhile(store: Store) -> None:
    session = store.session()
    for number in range(25):
        with session.turn(f"u{number}", message_id=str(number)) as turn:
            store.session().set_summary(f"written by a person, {number}")
            turn.reply(f"a{number}")
        info = session.info()
        assert info.summary == f"written by a person, {number}"
        assert info.folded == 0
    assert len(session.messages(limit=100)) == 50
    rounds(session, 1, begin=100)
    assert session.info().folded == 30


def test_a_summariser_of_ones_own_makes_the_summary(store: Store) -> None:
    def counting(summary: str, messages: Sequence[Message], *, limit: int = 400) -> str:
        return f"{int(summary or 0) + len(messages)}"

    session = store.session(summariser=counting)
    rounds(session, 30)
    info = session.info()
    assert info.summary == str(info.folded)


def test_a_summariser_that_writes_too_much_is_cut(store: Store) -> None:
    session = store.session(summariser=lambda summary, messages, limit=400: "word " * 500)
    rounds(session, 16)
    assert 0 < len(session.info().summary) <= 400


def test_a_prompt_window_shows_less_and_stores_the_same(store: Store) -> None:
    session = store.session(policies={"*": Policy(prompt_window=6)})
    rounds(session, 10)
    context = session.context()
    assert 1 <= len(context.messages) <= 6
    assert context.messages[-1].text == "re: u10"
    assert len(session.messages()) == 20
    assert len(session.context(policy=Policy()).messages) == 20


def test_a_token_budget_is_honoured(store: Store) -> None:
    session = store.session()
    for number in range(12):
        with session.turn(f"number {number}: " + "some words " * 20, message_id=str(number)) as turn:
            turn.reply("an answer of some words " * 10)
    context = session.context(policy=Policy(token_budget=400))
    assert context.prompt_tokens <= 400
    assert context.messages
    assert context.full_history_tokens > context.prompt_tokens
    assert session.context(policy=Policy(token_budget=100_000)).messages == session.context().messages


def test_full_history_tokens_grow_though_the_prompt_does_not(store: Store) -> None:
    session = store.session()
    rounds(session, 10)
    early = session.context()
    rounds(session, 40, begin=11)
    late = session.context()
    assert late.full_history_tokens > 4 * early.full_history_tokens
    assert late.prompt_tokens < late.full_history_tokens * 2 / 3


def test_a_context_is_the_same_on_every_instance(store: Store) -> None:
    rounds(store.session(), 17)
    assert store.session().context() == store.open().session(tenant="shop", channel="web", user="ana").context()


def test_renderings_hold_the_window_in_order(store: Store) -> None:
    session = store.session()
    rounds(session, 3)
    context = session.context()
    texts = ["u1", "re: u1", "u2", "re: u2", "u3", "re: u3"]
    assert [m["content"] for m in context.to_openai()] == texts
    assert [m["role"] for m in context.to_anthropic()["messages"]] == ["user", "assistant"] * 3
    assert all(text in context.to_text() for text in texts)
