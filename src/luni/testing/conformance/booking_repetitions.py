"""A change of an agenda executed again has one effect and one answer, and a late copy of it none."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from luni.errors import BookingError, Superseded
from luni.testing.conformance.bookings import at, book
from luni.testing.conformance.store import Store, executed, watched

CHANGES: dict[str, Any] = {
    "hold": lambda a: a.hold(at(12), at(13), by="rui", id="new"),
    "hold of several": lambda a: a.hold(at(12), at(13), by="rui", id="new", also=["sofa"]),
    "hold refused": lambda a: refused(lambda: a.hold(at(10), at(11), by="rui", id="new")),
    "hold again": lambda a: a.hold(at(10), at(11), by="ana", id="b1"),
    "confirm": lambda a: a.confirm("b1"),
    "confirm refused": lambda a: refused(lambda: a.confirm("nobody")),
    "cancel": lambda a: a.cancel("b1"),
    "cancel of nothing": lambda a: a.cancel("nobody"),
    "move": lambda a: a.move("b1", at(14), at(15)),
    "move refused": lambda a: refused(lambda: a.move("b1", at(20), at(21))),
    "move to where it is": lambda a: a.move("b1", at(10), at(11)),
}


def refused(call: Any) -> None:
    with pytest.raises(BookingError):
        call()


def prepared(store: Store, act: Any) -> tuple[Any, Any, Any]:
    """Let a change happen among others; return the memory, the operation and its answer."""
    memory = store.open()
    agenda = memory.agenda("shop", "chair")
    agenda.hold(at(10), at(11), by="ana", id="b1")
    book(agenda, 20, 21, by="x")
    with watched(memory) as seen:
        act(agenda)
    return memory, *seen[-1]


def without_time(outcome: Any) -> Any:
    return msgspec.structs.replace(outcome, now_ms=0)


@pytest.mark.parametrize("act", CHANGES.values(), ids=CHANGES.keys())
def test_a_change_executed_again_has_one_effect_and_one_answer(store: Store, act: Any) -> None:

    memory, operation, first = prepared(store, act)
    before = store.dump()
    for _ in range(3):
        assert without_time(executed(memory, operation)) == without_time(first)
        assert without_time(executed(store.open(), operation)) == without_time(first)
    assert store.dump() == before


@pytest.mark.parametrize("act", CHANGES.values(), ids=CHANGES.keys())
def test_a_late_copy_of_a_change_does_nothing_once_others_followed(store: Store, act: Any) -> None:
    """As when a paused server wakes up and executes what was given up long ago."""
    memory, operation, _ = prepared(store, act)
    agenda = memory.agenda("shop", "chair")
    for one in agenda.bookings(at(0), at(24)):
        agenda.cancel(one.id)
    before = store.dump()
    with pytest.raises(Superseded):
        executed(memory, operation)
    assert store.dump() == before


def test_a_change_that_was_refused_stays_refused(store: Store) -> None:
    """Its late copy must not succeed because the slot is free by now: its caller was told no."""
    memory, operation, first = prepared(store, CHANGES["hold refused"])
    assert first.state == "taken"
    store.open().agenda("shop", "chair").cancel("b1")
    assert executed(memory, operation).state == "taken"
    assert memory.agenda("shop", "chair").bookings(at(0), at(12)) == []


def test_an_agenda_remembers_64_writers(store: Store) -> None:

    memory, operation, _ = prepared(store, CHANGES["confirm"])
    for number in range(70):
        executed(memory, msgspec.structs.replace(operation, writer=f"w{number:025}", seq=1))
        store.let_pass(0.002)
    assert sum(f"w{number:025}" in repr(store.dump()) for number in range(70)) == 64
