"""Agendas: two bookings of one resource never overlap, and what was confirmed stays."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from luni import Booking
from luni.errors import Fenced, HoldExpired, IdReused, SlotTaken
from luni.operations import Reconcile
from luni.testing.conformance.named_locks import unaware
from luni.testing.conformance.store import Store, executed, inner, together


def at(hour: float, day: int = 6) -> datetime:
    """A time of a day in 2031: long after any test."""
    return datetime(2031, 5, day, tzinfo=UTC) + timedelta(hours=hour)


def chair(store: Store, **options: Any) -> Any:
    return store.open(**options).agenda("shop", "chair")


def book(agenda: Any, start: float, end: float, *, by: str = "ana", **more: Any) -> Booking:
    held = agenda.hold(at(start), at(end), by=by, **more)
    return agenda.confirm(held.id)  # type: ignore[no-any-return]


def times(bookings: Any) -> list[tuple[float, float]]:
    """Hours of the day, for intervals of one."""
    return [((one.start - at(0)) / timedelta(hours=1), (one.end - at(0)) / timedelta(hours=1)) for one in bookings]


def test_a_hold_is_confirmed_and_read(store: Store) -> None:
    agenda = chair(store)
    held = agenda.hold(at(10), at(11), by="ana", id="b1", ttl=60, details={"service": "corte", "price": 50})
    assert (held.state, held.start, held.end, held.by, held.id) == ("held", at(10), at(11), "ana", "b1")
    assert held.expires is not None
    booked = store.open().agenda("shop", "chair").confirm("b1")
    assert (booked.state, booked.expires, booked.details) == ("confirmed", None, {"service": "corte", "price": 50})
    assert (booked.tenant, booked.resource, booked.resources) == ("shop", "chair", ("chair",))
    assert agenda.bookings(at(0), at(24)) == [booked]
    assert agenda.booking("b1") == booked
    assert store.open().bookings("shop", by="ana") == [booked]
    assert store.open().resources("shop") == ["chair"]


OVERLAPPING = [(10, 11), (10.5, 10.75), (9, 12), (9, 10.001), (10.999, 12), (10, 10.5), (10.5, 11), (9, 11), (10, 12)]
APART = [(9, 10), (11, 12), (8, 9), (0, 10), (11, 24)]


@pytest.mark.parametrize(("start", "end"), OVERLAPPING)
def test_what_overlaps_is_refused(store: Store, start: float, end: float) -> None:
    agenda = chair(store)
    book(agenda, 10, 11)
    with pytest.raises(SlotTaken):
        agenda.hold(at(start), at(end), by="rui")
    assert times(agenda.bookings(at(0), at(24))) == [(10, 11)]


@pytest.mark.parametrize(("start", "end"), APART)
def test_what_touches_or_lies_apart_is_taken(store: Store, start: float, end: float) -> None:
    agenda = chair(store)
    book(agenda, 10, 11)
    assert book(agenda, start, end, by="rui").state == "confirmed"


def test_a_hold_keeps_others_away_like_a_booking(store: Store) -> None:
    agenda = chair(store)
    agenda.hold(at(10), at(11), by="ana")
    with pytest.raises(SlotTaken):
        agenda.hold(at(10.5), at(11.5), by="rui")


def test_other_resources_tenants_and_namespaces_do_not_meet(store: Store) -> None:
    memory = store.open()
    for tenant, resource in (("shop", "chair"), ("shop", "sofa"), ("inn", "chair"), ("shop:chair", "x"), ("shop", "chair:x")):
        assert book(memory.agenda(tenant, resource), 10, 11).state == "confirmed"


def test_of_fifty_at_once_one_gets_the_slot(store: Store) -> None:
    agendas = [chair(store) for _ in range(5)]

    def attempt(number: int) -> Any:
        try:
            return agendas[number % 5].hold(at(10 + number / 100), at(11 + number / 100), by=f"c{number}")
        except SlotTaken:
            return None

    won = [one for one in together([lambda n=n: attempt(n) for n in range(50)]) if one]  # type: ignore[misc]
    assert len(won) == 1
    assert agendas[0].bookings(at(0), at(24)) == won


def test_the_same_hold_again_is_the_same_hold(store: Store) -> None:
    agenda = chair(store)
    held = agenda.hold(at(10), at(11), by="ana", id="b1", ttl=60)
    store.let_pass(1)
    again = store.open().agenda("shop", "chair").hold(at(10), at(11), by="ana", id="b1", ttl=600)
    assert (again.state, again.start, again.end) == (held.state, held.start, held.end)
    assert len(agenda.bookings(at(0), at(24))) == 1
    agenda.confirm("b1")
    assert agenda.hold(at(10), at(11), by="ana", id="b1").state == "confirmed"


@pytest.mark.parametrize("change", [{"start": at(9)}, {"end": at(12)}, {"by": "rui"}, {"also": ["sofa"]}])
def test_an_id_names_one_booking(store: Store, change: dict[str, Any]) -> None:
    agenda = chair(store)
    asked: dict[str, Any] = {"start": at(10), "end": at(11), "by": "ana", "id": "b1"}
    agenda.hold(**asked)
    with pytest.raises(IdReused):
        agenda.hold(**asked | change)
    assert times(agenda.bookings(at(0), at(24))) == [(10, 11)]


def test_an_expired_hold_is_gone_and_its_slot_is_free(store: Store) -> None:
    agenda = chair(store)
    agenda.hold(at(10), at(11), by="ana", id="b1", ttl=10)
    store.let_pass(11)
    assert agenda.booking("b1") is None
    assert agenda.bookings(at(0), at(24)) == []
    assert store.open().bookings("shop", by="ana") == []
    for call in (partial(agenda.confirm, "b1"), partial(agenda.move, "b1", at(12), at(13))):
        with pytest.raises(HoldExpired):
            call()
    assert agenda.hold(at(10.5), at(11.5), by="rui", id="b2").state == "held"
    assert agenda.cancel("b1") is None
    with pytest.raises(SlotTaken):
        agenda.hold(at(10), at(11), by="ana", id="b1")


def test_an_expired_hold_may_be_held_again(store: Store) -> None:
    agenda = chair(store)
    agenda.hold(at(10), at(11), by="ana", id="b1", ttl=10)
    store.let_pass(11)
    again = agenda.hold(at(10), at(11), by="ana", id="b1", ttl=10)
    assert again.state == "held"
    assert agenda.confirm("b1").state == "confirmed"
    assert len(agenda.bookings(at(0), at(24))) == 1


def test_many_expired_holds_of_one_slot_do_not_hide_what_is_there(store: Store) -> None:
    agenda = chair(store)
    book(agenda, 8, 12)
    for number in range(40):
        agenda.hold(at(12 + number / 100), at(13), by="x", ttl=0.05)
        store.let_pass(0.1)
    with pytest.raises(SlotTaken):
        agenda.hold(at(11), at(20), by="rui")
    assert times(agenda.bookings(at(11.5), at(24))) == [(8, 12)]
    assert times(agenda.free(at(11), at(24), duration=60)) == [(12, 24)]


def test_confirming_and_cancelling_again_change_nothing(store: Store) -> None:
    agenda = chair(store)
    agenda.hold(at(10), at(11), by="ana", id="b1")
    first = agenda.confirm("b1")
    assert agenda.confirm("b1") == store.open().agenda("shop", "chair").confirm("b1") == first
    cancelled = agenda.cancel("b1")
    assert cancelled.state == "cancelled"
    assert agenda.cancel("b1") == cancelled
    assert agenda.booking("b1").state == "cancelled"
    assert agenda.bookings(at(0), at(24)) == []


def test_what_was_cancelled_is_free_for_others_and_does_not_come_back(store: Store) -> None:
    agenda = chair(store)
    book(agenda, 10, 11, id="b1")
    agenda.cancel("b1")
    with pytest.raises(IdReused):
        agenda.hold(at(10), at(11), by="ana", id="b1")
    for call in (partial(agenda.confirm, "b1"), partial(agenda.move, "b1", at(12), at(13))):
        with pytest.raises(HoldExpired):
            call()
    assert book(agenda, 10, 11, by="rui").state == "confirmed"


def test_what_is_not_there_is_told(store: Store) -> None:
    agenda = chair(store)
    assert agenda.cancel("nobody") is None
    assert agenda.booking("nobody") is None
    assert agenda.bookings(at(0), at(24)) == []
    assert store.open().bookings("shop", by="ana") == []
    assert store.open().resources("shop") == []
    for call in (partial(agenda.confirm, "nobody"), partial(agenda.move, "nobody", at(1), at(2))):
        with pytest.raises(HoldExpired):
            call()


def test_moving_frees_the_old_interval_and_takes_the_new_one(store: Store) -> None:
    agenda = chair(store)
    book(agenda, 10, 11, id="b1")
    moved = agenda.move("b1", at(14), at(15.5))
    assert (moved.state, moved.id, times([moved])) == ("confirmed", "b1", [(14, 15.5)])
    assert times(store.open().bookings("shop", by="ana")) == [(14, 15.5)]
    assert book(agenda, 10, 11, by="rui").state == "confirmed"
    with pytest.raises(SlotTaken):
        agenda.hold(at(15), at(16), by="rui")


def test_moving_onto_another_keeps_the_old_interval(store: Store) -> None:
    agenda = chair(store)
    book(agenda, 10, 11, id="b1")
    book(agenda, 14, 15, by="rui")
    with pytest.raises(SlotTaken):
        agenda.move("b1", at(13.5), at(14.5))
    assert times(agenda.bookings(at(0), at(24))) == [(10, 11), (14, 15)]


def test_a_booking_may_move_over_itself(store: Store) -> None:
    agenda = chair(store)
    book(agenda, 10, 11, id="b1")
    assert times([agenda.move("b1", at(10.5), at(11.5))]) == [(10.5, 11.5)]
    assert times([agenda.move("b1", at(10.5), at(11.5))]) == [(10.5, 11.5)]
    assert times([agenda.move("b1", at(10), at(12))]) == [(10, 12)]
    assert times(agenda.bookings(at(0), at(24))) == [(10, 12)]


def test_a_hold_that_is_moved_still_expires(store: Store) -> None:
    agenda = chair(store)
    agenda.hold(at(10), at(11), by="ana", id="b1", ttl=10)
    assert agenda.move("b1", at(12), at(13)).state == "held"
    store.let_pass(11)
    assert agenda.bookings(at(0), at(24)) == []


def test_capacity_is_so_many_at_a_time(store: Store) -> None:
    room = store.open().agenda("shop", "class", capacity=3)
    units = [room.hold(at(10), at(11), by=f"c{n}").unit for n in range(3)]
    assert sorted(units) == [0, 1, 2]
    with pytest.raises(SlotTaken):
        room.hold(at(10.5), at(12), by="c4")
    assert room.hold(at(11), at(12), by="c4").unit == 0
    assert len(room.bookings(at(0), at(24))) == 4
    room.cancel(room.bookings(at(0), at(11))[1].id)
    assert room.hold(at(10), at(11), by="c5").unit == 1


def test_a_capacity_that_grows_takes_more_and_one_that_shrinks_keeps_what_is_there(store: Store) -> None:
    memory = store.open()
    book(memory.agenda("shop", "class"), 10, 11, id="b1")
    large = memory.agenda("shop", "class", capacity=2)
    book(large, 10, 11, by="rui", id="b2")
    small = memory.agenda("shop", "class")
    assert len(small.bookings(at(0), at(24))) == 2
    assert small.confirm("b2").state == "confirmed"
    with pytest.raises(SlotTaken):
        small.hold(at(10), at(11), by="x")


def test_several_resources_are_taken_together_or_not_at_all(store: Store) -> None:
    memory = store.open()
    carla, room = memory.agenda("shop", "carla"), memory.agenda("shop", "room")
    both = carla.hold(at(10), at(11), by="ana", id="b1", also=[inner(room)])
    assert both.resources == ("carla", "room")
    assert [len(one.bookings(at(0), at(24))) for one in (carla, room)] == [1, 1]
    assert carla.hold(at(10), at(11), by="ana", id="b1", also=["room"]).state == "held"
    book(room, 12, 13, by="rui")
    with pytest.raises(SlotTaken):
        carla.hold(at(12), at(13), by="ana", also=[inner(room)])
    assert times(carla.bookings(at(0), at(24))) == [(10, 11)]
    assert [one.id for one in memory.bookings("shop", by="ana")] == ["b1"]


def test_a_booking_of_several_resources_is_changed_from_any_of_them(store: Store) -> None:
    memory = store.open()
    carla, room = memory.agenda("shop", "carla"), memory.agenda("shop", "room", capacity=2)
    room.hold(at(10), at(11), by="x")
    carla.hold(at(10), at(11), by="ana", id="b1", also=[inner(room)])
    assert room.confirm("b1").state == "confirmed"
    moved = room.move("b1", at(14), at(15))
    assert moved.resources == ("carla", "room")
    for one in (carla, room):
        assert times(one.bookings(at(13), at(24))) == [(14, 15)]
    assert times(memory.bookings("shop", by="ana")) == [(14, 15)]
    assert room.cancel("b1").state == "cancelled"
    assert carla.bookings(at(0), at(24)) == []
    assert carla.booking("b1").state == "cancelled"


@pytest.mark.parametrize("call", ["hold", "confirm", "cancel", "move"])
def test_with_a_token_a_change_needs_the_resources_lock(store: Store, call: str) -> None:
    agenda = chair(store)
    agenda.hold(at(10), at(11), by="ana", id="b1")
    changes = {
        "hold": lambda token: agenda.hold(at(12), at(13), by="rui", token=token),
        "confirm": lambda token: agenda.confirm("b1", token=token),
        "cancel": lambda token: agenda.cancel("b1", token=token),
        "move": lambda token: agenda.move("b1", at(14), at(15), token=token),
    }
    late = unaware(agenda.lock(ttl=0.3).acquire())
    store.let_pass(0.4)
    before = store.dump()
    with pytest.raises(Fenced):
        changes[call](late.token)
    assert store.dump() == before
    with store.open().lock("shop", "chair") as lock:
        with pytest.raises(Fenced):
            changes[call](late.token)
        assert changes[call](lock.token) is not None


def test_the_lock_of_another_resource_is_of_no_use(store: Store) -> None:
    agenda = chair(store)
    with store.open().lock("shop", "sofa") as sofa, pytest.raises(Fenced):
        agenda.hold(at(10), at(11), by="ana", token=sofa.token)


def test_looking_through_an_agenda_that_is_well_finds_nothing_to_mend(store: Store) -> None:

    memory = store.open()
    agenda = memory.agenda("shop", "chair", capacity=2)
    for start, end in ((10, 11), (10, 11), (11, 12)):
        book(agenda, start, end)
    agenda.cancel(book(agenda, 14, 15).id)
    found = executed(memory, Reconcile(tenant="shop", resource="chair"))
    assert (found.bookings, found.missing, found.orphans, found.overlaps, found.damaged) == (3, 0, 0, (), ())
