"""Taking over a booking as it is in another store: whole, once, and never over another one."""

from __future__ import annotations

from typing import Any

import pytest

from luni import operations as ops
from luni.errors import Superseded
from luni.testing.conformance.bookings import at, book
from luni.testing.conformance.store import Store, executed

US = 1_000_000


def adopting(seq: int = 1, **more: Any) -> ops.Adopt:
    """Return the operation that takes over a confirmed booking of the chair and the room."""
    fields: dict[str, Any] = {
        "writer": "mover", "tenant": "shop", "id": "b1", "shares": (ops.Share("chair", 2), ops.Share("room")), "grace_ms": 0,
        "guard": "chair", "state": "c", "units": (1, 0), "start_us": micros(10), "end_us": micros(11), "until_ms": ops.NEVER_MS,
        "keep_ms": micros(12) // 1000, "created_ms": 1_600_000_000_000, "by": "ana", "details": b'{"note":"corte"}',
    }  # fmt: skip
    return ops.Adopt(seq=seq, **(fields | more))


def micros(hour: int) -> int:
    return int(at(hour).timestamp()) * US


def stored(memory: Any, resource: str = "chair", id_: str = "b1") -> list[ops.Record]:
    return list(executed(memory, ops.Recall(tenant="shop", resource=resource, ids=(id_,))).records)


def test_a_booking_is_taken_over_as_it_is(store: Store) -> None:
    memory = store.open()
    outcome = executed(memory, adopting())
    shares = (("chair", 2), ("room", 1))
    expected = ops.Record(
        "b1", "c", 1, micros(10), micros(11), ops.NEVER_MS, micros(12) // 1000, 1_600_000_000_000, "ana", shares,
        b'{"note":"corte"}',
    )  # fmt: skip
    assert (outcome.state, outcome.record) == ("booked", expected)
    assert stored(memory) == [expected]
    assert [one.unit for one in stored(memory, "room")] == [0]
    assert [one.id for one in memory.bookings("shop", by="ana")] == ["b1"]
    assert [one.id for one in memory.agenda("shop", "room").bookings(at(9), at(12))] == ["b1"]


def test_a_hold_and_a_cancelled_booking_are_taken_over_too(store: Store) -> None:
    memory = store.open()
    hold = adopting(state="h", until_ms=micros(9) // 1000)
    assert executed(memory, hold).record.until_ms == micros(9) // 1000
    memory.agenda("shop", "chair").confirm("b1")
    gone = adopting(2, id="b2", state="x")
    assert executed(memory, gone).state == "booked", "its time is nobody's"
    assert executed(memory, adopting(3, id="b2")).state == "reused", "its id stays known"


def test_a_repetition_has_one_effect_and_a_late_copy_none(store: Store) -> None:
    memory = store.open()
    first = executed(memory, adopting())
    before = store.dump()
    assert executed(memory, adopting()).record == first.record
    assert executed(store.open(), adopting()).record == first.record
    assert store.dump() == before
    memory.agenda("shop", "chair").cancel("b1")
    executed(memory, adopting(2, id="b2"))
    with pytest.raises(Superseded):
        executed(memory, adopting())


def test_what_is_there_already_is_left_and_what_differs_is_refused(store: Store) -> None:
    memory = store.open()
    executed(memory, adopting())
    before = stored(memory)
    assert executed(memory, adopting(2)).state == "booked"
    changes: tuple[dict[str, Any], ...] = ({"by": "bea"}, {"end_us": micros(12)}, {"details": b"{}"}, {"state": "x"})
    for seq, more in enumerate(changes, start=3):
        assert executed(memory, adopting(seq, **more)).state == "reused"
    assert stored(memory) == before


def test_it_takes_another_free_unit_and_never_one_that_is_taken(store: Store) -> None:
    memory = store.open()
    chair = memory.agenda("shop", "chair", capacity=2)
    book(chair, 10, 11, by="x")
    book(chair, 10, 11, by="y")
    taken = executed(memory, adopting())
    assert (taken.state, taken.resource, stored(memory), stored(memory, "room")) == ("taken", "chair", [], [])
    for booking in chair.bookings(at(9), at(12))[:1]:
        chair.cancel(booking.id)
    assert executed(memory, adopting()).state == "taken", "a late copy of what was refused finds nothing free"
    assert executed(memory, adopting(2)).record.unit == 0


def test_what_is_over_is_not_revived(store: Store) -> None:
    memory = store.open()
    past = {"keep_ms": 1_600_000_000_000} | {"start_us": 1_590_000_000 * US, "end_us": 1_590_000_001 * US}
    assert executed(memory, adopting(**past)).state == "gone"
    assert executed(memory, adopting(2, state="h", until_ms=1_600_000_000_000)).state == "gone"
    assert stored(memory) == []
