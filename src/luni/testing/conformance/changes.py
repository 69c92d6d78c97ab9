"""Updates: key by key, without losing a concurrent change of another."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from luni import SessionUpdate
from luni.errors import Conflict
from luni.testing.conformance.store import Store, talk, together


def test_only_the_keys_named_change(store: Store) -> None:
    session = store.session()
    session.update(SessionUpdate(metadata={"a": 1, "b": 2}, variables={"x": 1, "y": 2}, focus="f"))
    session.update(SessionUpdate(metadata={"a": 3}, variables={"y": 4}))
    info = session.info()
    assert (info.metadata["a"], info.metadata["b"]) == (3, 2)
    assert info.variables == {"x": 1, "y": 4}
    assert info.focus == "f"


def test_an_update_creates_the_session_if_there_is_none(store: Store) -> None:
    session = store.session()
    assert session.update(SessionUpdate(variables={"a": 1})) == 1
    info = session.info()
    assert (info.message_count, info.revision) == (0, 1)
    with session.turn("hi", message_id="1") as turn:
        assert turn.session_id == info.session_id
        turn.reply("hello")
    assert session.info().variables == {"a": 1}


def test_revisions_count_changes_and_not_messages(store: Store) -> None:
    session = store.session()
    talk(session, "hi")
    assert session.info().revision == 0
    assert [session.update(SessionUpdate(focus=f"f{number}")) for number in range(3)] == [1, 2, 3]
    talk(session, "again", begin=2)
    assert session.info().revision == 3
    assert session.set_summary("short") == 4


def test_both_fields_of_a_two_field_write_are_stored(store: Store) -> None:
    session = store.session()
    session.update(SessionUpdate(metadata={"a": 1}, variables={"b": 2}, focus="c"))
    info = session.info()
    assert (info.metadata["a"], info.variables["b"], info.focus) == (1, 2, "c")


def test_an_expected_revision_is_compared(store: Store) -> None:
    session = store.session()
    revision = session.update(SessionUpdate(variables={"a": 1}))
    assert session.update(SessionUpdate(variables={"a": 2}), expected_revision=revision) == revision + 1
    before = store.dump()
    with pytest.raises(Conflict):
        session.update(SessionUpdate(variables={"a": 3}), expected_revision=revision)
    assert store.dump() == before
    assert session.info().variables == {"a": 2}


def test_an_expected_revision_of_a_session_that_is_not_there(store: Store) -> None:
    session = store.session()
    with pytest.raises(Conflict):
        session.update(SessionUpdate(focus="x"), expected_revision=3)
    assert session.info() is None
    assert session.update(SessionUpdate(focus="x"), expected_revision=0) == 1


def test_of_many_with_the_same_expected_revision_one_wins(store: Store) -> None:
    store.session().update(SessionUpdate(variables={"a": 0}))

    def attempt(session: Any, number: int) -> bool:
        try:
            session.update(SessionUpdate(variables={"a": number}), expected_revision=1)
        except Conflict:
            return False
        return True

    sessions = [store.session() for _ in range(6)]
    won = together(partial(attempt, session, number) for number, session in enumerate(sessions, 1))
    assert won.count(True) == 1
    assert store.session().info().variables == {"a": won.index(True) + 1}
    assert store.session().info().revision == 2


def test_concurrent_changes_of_different_keys_all_survive(store: Store) -> None:
    sessions = [store.session() for _ in range(8)]

    def change(session: Any, number: int) -> None:
        for step in range(3):
            session.update(SessionUpdate(metadata={f"m{number}.{step}": step}, variables={f"v{number}.{step}": step}))

    together(partial(change, session, number) for number, session in enumerate(sessions))
    info = store.session().info()
    names = {f"{number}.{step}" for number in range(8) for step in range(3)}
    assert {f"v{name}" for name in names} == set(info.variables)
    assert {f"m{name}" for name in names} <= set(info.metadata)
    assert info.revision == 24


def test_concurrent_first_updates_make_one_session(store: Store) -> None:
    sessions = [store.session() for _ in range(6)]
    together(partial(session.update, SessionUpdate(variables={f"v{n}": n})) for n, session in enumerate(sessions))
    assert store.session().info().variables == {f"v{number}": number for number in range(6)}
    assert store.session().info().revision == 6


def test_values_keep_their_types(store: Store) -> None:
    session = store.session()
    values = {
        "list": [],
        "dict": {},
        "long": 9_007_199_254_740_993,
        "float": 1.0,
        "null": None,
        "true": True,
        "text": "1",
        "": "empty key",
    }
    session.update(SessionUpdate(variables=values))
    found = session.info().variables
    assert found == values
    assert {name: type(value) for name, value in found.items()} == {name: type(value) for name, value in values.items()}


def test_an_update_may_change_nothing(store: Store) -> None:
    session = store.session()
    talk(session, "hi")
    before = session.info()
    session.update(SessionUpdate())
    after = session.info()
    assert (after.metadata, after.variables, after.focus) == (before.metadata, before.variables, before.focus)


def test_a_summary_written_by_hand_is_what_the_model_sees(store: Store) -> None:
    session = store.session()
    talk(session, "hi")
    session.set_summary("Ana wants a haircut")
    assert session.context().summary == "Ana wants a haircut"
    assert "Ana wants a haircut" in str(session.context().to_openai())
    session.set_summary("")
    assert session.context().summary == ""


@pytest.mark.parametrize("unit", ["x", "🙂", "👩‍👩‍👧‍👦", "e\u0301", "🇧🇷"], ids=ascii)
def test_a_long_summary_is_cut_between_graphemes(store: Store, unit: str) -> None:
    session = store.session()
    session.set_summary(unit * 500)
    summary = session.info().summary
    assert 300 < len(summary) <= 400
    rest = summary.rstrip("…")
    assert rest == unit * (len(rest) // len(unit))
