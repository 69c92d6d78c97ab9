"""When a field was last set: what a later replay of an older change is compared with."""

from __future__ import annotations

import re
from typing import Any

import pytest

from luni import REMOVE, SessionUpdate
from luni.models import Address
from luni.operations import STAMPS, Dump, State
from luni.testing.conformance.store import Store, executed, inner, rounds, talk, watched

STAMP = re.compile(r"(\d{13})-([0-9a-z]+)-(\d+)")

CHANGES: dict[str, tuple[Any, set[str]]] = {
    "metadata": (lambda s: s.update(SessionUpdate(metadata={"a": 1, "b": []})), {"m:a", "m:b"}),
    "a removed key": (lambda s: s.update(SessionUpdate(metadata={"a": REMOVE})), {"m:a"}),
    "variables": (lambda s: s.update(SessionUpdate(variables={"a": 1, "ç:|;": None})), {"v:a", "v:ç:|;"}),
    "focus": (lambda s: s.update(SessionUpdate(focus="f")), {"focus"}),
    "summary": (lambda s: s.set_summary("short"), {"summary"}),
    "pause": (lambda s: s.pause(by="x"), {"paused"}),
    "pause and resume": (lambda s: [s.pause(), s.resume()], {"paused"}),
    "reply": (
        lambda s: answered(s, SessionUpdate(metadata={"a": 1}, variables={"b": 2}, focus="f")),
        {"m:a", "v:b", "focus"},
    ),
    "reply with a focus": (lambda s: answered(s, SessionUpdate(focus="f")), {"focus"}),
    "reply without a change": (lambda s: answered(s, None), set()),
    "many turns, with folds": (lambda s: rounds(s, 20, begin=2), set()),
    "a message": (lambda s: [s.receive("hi", message_id="hi"), s.append("system", "note")], set()),
}


def answered(session: Any, update: SessionUpdate | None) -> None:
    with session.turn("hello?", message_id="reply") as turn:
        turn.reply("here", update=update)


def state_of(store: Store) -> State:
    found: State = executed(store.open(), Dump(address=Address("shop", "web", "ana"))).state
    return found


def stamps(store: Store) -> dict[str, str]:
    return dict(state_of(store).stamps)


@pytest.mark.parametrize(("act", "names"), CHANGES.values(), ids=CHANGES.keys())
@pytest.mark.parametrize("begun", [True, False])
def test_what_a_caller_sets_is_stamped_and_nothing_else(store: Store, act: Any, names: set[str], begun: bool) -> None:  # noqa: FBT001
    session = store.session()
    if begun:
        talk(session, "hi")
    with watched(inner(session)._memory) as seen:
        act(session)
    found = stamps(store)
    assert set(found) == names
    ids = {(op.writer, op.seq) for op, _ in seen if hasattr(op, "writer")}
    clock = state_of(store).clock_ms
    for stamp in found.values():
        parts = STAMP.fullmatch(stamp)
        assert parts
        when, writer, seq = parts.groups()
        assert (writer, int(seq)) in ids
        assert 0 < int(when) <= clock


def test_a_later_change_has_a_greater_stamp_and_leaves_the_others(store: Store) -> None:
    session = store.session()
    session.update(SessionUpdate(metadata={"a": 1, "b": 1}, focus="f"))
    first = stamps(store)
    store.let_pass(0.002)
    other = store.session()
    other.update(SessionUpdate(metadata={"a": 2}))
    second = stamps(store)
    assert second["m:a"] >= first["m:a"]
    assert second["m:a"] != first["m:a"]
    assert {name: stamp for name, stamp in second.items() if name != "m:a"} == {"m:b": first["m:b"], "focus": first["focus"]}


def test_a_stamp_is_of_the_messages_clock(store: Store) -> None:
    session = store.session()
    answered(session, SessionUpdate(focus="f"))
    assert session.messages()[-1].key.startswith(stamps(store)["focus"] + ".")


def test_stamps_leave_with_the_session(store: Store) -> None:
    session = store.session()
    session.update(SessionUpdate(focus="f"))
    session.end()
    assert stamps(store) == {}
    talk(session, "hi")
    assert stamps(store) == {}
    session.update(SessionUpdate(focus="f"))
    store.let_pass(73 * 3600)
    talk(session, "hi", begin=2)
    assert stamps(store) == {}


def test_a_session_has_512_stamps_at_most_and_those_are_renewed(store: Store) -> None:
    session = store.session()
    session.update(SessionUpdate(metadata={f"k{number}": 1 for number in range(STAMPS - 1)}))
    session.update(SessionUpdate(variables={"one": 1, "more": 1}))
    first = stamps(store)
    assert len(first) == STAMPS
    assert {name for name in first if name.startswith("v:")} == {"v:one"}
    session.update(SessionUpdate(metadata={"k0": 2}, variables={"more": 2}))
    again = stamps(store)
    assert again.keys() == first.keys()
    assert again["m:k0"] != first["m:k0"]
    session.update(SessionUpdate(metadata={f"other{number}": 1 for number in range(STAMPS + 88)}))
    assert stamps(store) == again


def test_the_longest_keys_are_stamped(store: Store) -> None:
    session = store.session()
    session.update(SessionUpdate(metadata={"é" * 128: 1}))
    assert set(stamps(store)) == {"m:" + "é" * 128}


def test_a_refused_change_stamps_nothing(store: Store) -> None:
    session = store.session()
    talk(session, "hi")
    before = store.dump()
    with pytest.raises(Exception, match="revision"):
        session.update(SessionUpdate(focus="f"), expected_revision=99)
    assert store.dump() == before
