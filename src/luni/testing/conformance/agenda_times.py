"""The times of agendas: what can be one, what is free, how long bookings are kept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from luni.errors import InvalidInput, SlotTaken
from luni.testing.conformance.bookings import at, book, chair, times
from luni.testing.conformance.store import Store, inner

GRACE = 72 * 3600.0


def test_what_cannot_be_booked_together_is_refused(store: Store) -> None:
    memory = store.open()
    carla = memory.agenda("shop", "carla")
    for also in ("room", [inner(memory.agenda("inn", "room"))], ["carla"], ["room", "room"], [7], [str(n) for n in range(9)]):
        with pytest.raises(InvalidInput):
            carla.hold(at(10), at(11), by="ana", also=also)


NAIVE = datetime(2031, 5, 6, 10)  # noqa: DTZ001  the point of it
BAD = [
    (NAIVE, at(11)), (at(10), NAIVE), (at(11), at(10)), (at(10), at(10)), ("10:00", at(11)), (None, at(11)),
    (at(10), at(10) + timedelta(days=367)), (datetime(1969, 1, 1, tzinfo=UTC), at(10)),
    (datetime(9999, 12, 31, 23, tzinfo=timezone(-timedelta(hours=5))), at(10)),
    (datetime(2200, 1, 1, tzinfo=UTC), datetime(2200, 1, 2, tzinfo=UTC)),
]  # fmt: skip


@pytest.mark.parametrize(("start", "end"), BAD)
def test_an_interval_that_cannot_be_is_refused(store: Store, start: Any, end: Any) -> None:
    agenda = chair(store)
    book(agenda, 20, 21, id="b1")
    before = store.dump()
    for call in (partial(agenda.hold, start, end, by="ana"), partial(agenda.move, "b1", start, end)):
        with pytest.raises(InvalidInput):
            call()
    assert store.dump() == before


@pytest.mark.parametrize(
    "change",
    [
        {"by": ""}, {"by": 7}, {"by": "\ud800"}, {"id": ""}, {"id": "x" * 300}, {"id": 7}, {"ttl": 0}, {"ttl": -1},
        {"ttl": float("nan")}, {"ttl": "60"}, {"ttl": 8 * 86400}, {"details": [1]}, {"details": {"a": float("nan")}},
        {"details": {"a": "x" * 100_000}}, {"token": 0}, {"token": "7"},
    ],
)  # fmt: skip
def test_an_argument_that_cannot_be_is_refused(store: Store, change: dict[str, Any]) -> None:
    agenda = chair(store)
    with pytest.raises(InvalidInput):
        agenda.hold(**{"start": at(10), "end": at(11), "by": "ana"} | change)
    assert agenda.bookings(at(0), at(24)) == []


@pytest.mark.parametrize("capacity", [0, -1, 1.5, True, "2", 1001])
def test_a_capacity_that_cannot_be_is_refused(store: Store, capacity: Any) -> None:
    with pytest.raises(InvalidInput):
        store.open().agenda("shop", "class", capacity=capacity)


def test_the_same_instant_is_stored_whatever_the_time_zone(store: Store) -> None:
    agenda = chair(store)
    zone = ZoneInfo("America/Sao_Paulo")
    held = agenda.hold(datetime(2031, 5, 6, 10, tzinfo=zone), datetime(2031, 5, 6, 11, tzinfo=zone), by="ana")
    assert (held.start, held.end) == (at(13), at(14))
    assert held.start.tzinfo == UTC
    with pytest.raises(SlotTaken):
        agenda.hold(at(13.5), at(13.75), by="rui")


def test_days_on_which_the_clocks_change_are_right(store: Store) -> None:
    agenda, zone = chair(store), ZoneInfo("Europe/Lisbon")

    def local(month: int, day: int, hour: int, minute: int = 0, fold: int = 0) -> datetime:
        return datetime(2031, month, day, hour, minute, tzinfo=zone, fold=fold)

    with pytest.raises(InvalidInput, match="does not exist"):
        agenda.hold(local(3, 30, 1, 30), local(3, 30, 3), by="ana")
    short = agenda.hold(local(3, 30, 0), local(3, 30, 3), by="ana")
    assert short.end - short.start == timedelta(hours=2)
    first = agenda.hold(local(10, 26, 1), local(10, 26, 1, fold=1), by="ana")  # the first of two hours with that name
    second = agenda.hold(local(10, 26, 1, fold=1), local(10, 26, 2), by="rui")
    assert first.end - first.start == second.end - second.start == timedelta(hours=1)
    assert first.end == second.start


def test_microseconds_are_kept(store: Store) -> None:
    agenda, tick = chair(store), timedelta(microseconds=1)
    held = agenda.hold(at(10) + tick, at(11) + tick, by="ana")
    assert (held.start, held.end) == (at(10) + tick, at(11) + tick)
    assert agenda.hold(at(9), at(10) + tick, by="rui").state == "held"
    with pytest.raises(SlotTaken):
        agenda.hold(at(11), at(12), by="rui")


def test_free_is_what_is_left(store: Store) -> None:
    agenda = chair(store)
    assert times(agenda.free(at(9), at(18), duration=timedelta(hours=1))) == [(9, 18)]
    for start, end in ((8, 9.5), (11, 12), (12, 12.5), (17.5, 20)):
        book(agenda, start, end)
    agenda.hold(at(15), at(16), by="rui", ttl=10)
    assert times(agenda.free(at(9), at(18), duration=1800)) == [(9.5, 11), (12.5, 15), (16, 17.5)]
    assert times(agenda.free(at(9), at(18), duration=timedelta(hours=2))) == [(12.5, 15)]
    assert agenda.free(at(11), at(12.5), duration=60) == []
    store.let_pass(11)
    assert times(agenda.free(at(9), at(18), duration=timedelta(hours=2))) == [(12.5, 17.5)]


def test_free_in_steps_is_what_to_offer(store: Store) -> None:
    agenda = chair(store)
    book(agenda, 10.25, 11)
    found = agenda.free(at(9), at(13), duration=timedelta(hours=1), step=timedelta(minutes=30))
    assert times(found) == [(9, 10), (11, 12), (11.5, 12.5), (12, 13)]
    for one in found:
        agenda.cancel(agenda.hold(one.start, one.end, by="ana").id)


def test_free_with_a_capacity_is_where_one_unit_is_free(store: Store) -> None:
    room = store.open().agenda("shop", "class", capacity=2)
    book(room, 10, 12)
    book(room, 11, 13)
    book(room, 14, 15)
    assert times(room.free(at(9), at(16), duration=3600)) == [(9, 11), (12, 14), (13, 16)]
    for one in room.free(at(9), at(16), duration=3600):
        room.cancel(room.hold(one.start, one.end, by="x").id)


def test_bookings_are_those_that_reach_into_the_interval_by_their_start(store: Store) -> None:
    agenda = chair(store)
    for start, end in ((14, 15), (8, 10), (10, 11), (11, 14)):
        book(agenda, start, end)
    assert times(agenda.bookings(at(9), at(14))) == [(8, 10), (10, 11), (11, 14)]
    assert times(agenda.bookings(at(10), at(11))) == [(10, 11)]
    assert times(agenda.bookings(at(10.5), at(10.6))) == [(10, 11)]
    assert agenda.bookings(at(15), at(24)) == []


def test_a_customers_bookings_are_their_own(store: Store) -> None:
    memory = store.open()
    chair_, sofa = memory.agenda("shop", "chair"), memory.agenda("shop", "sofa")
    book(sofa, 15, 16, by="ana")
    book(chair_, 10, 11, by="ana")
    for other in ("ana:x", "an", "anab", "ana;", "ana%"):
        book(chair_, 20 + len(other) / 10 + ord(other[-1]) / 1000, 20.001 + len(other) / 10 + ord(other[-1]) / 1000, by=other)
    book(memory.agenda("inn", "chair"), 10, 11, by="ana")
    assert [(one.resource, *times([one])) for one in memory.bookings("shop", by="ana")] == [
        ("chair", (10, 11)), ("sofa", (15, 16)),
    ]  # fmt: skip
    assert len(memory.bookings("shop", by="ana:x")) == 1
    assert len(memory.bookings("shop", by="ana", limit=1)) == 1


def test_a_booking_thirty_days_ahead_survives_the_silence(store: Store) -> None:
    agenda = chair(store)
    booked = book(agenda, 10, 11, id="b1")
    store.let_pass(30 * 86_400)
    assert [one.id for one in store.open().agenda("shop", "chair").bookings(at(0), at(24))] == [booked.id]
    assert [one.id for one in store.open().bookings("shop", by="ana")] == [booked.id]
    with pytest.raises(SlotTaken):
        agenda.hold(at(10), at(11), by="rui")


def test_a_booking_is_forgotten_after_its_end_and_the_grace(store: Store) -> None:
    agenda = chair(store)
    start = datetime(2001, 5, 6, 10, tzinfo=UTC)
    agenda.confirm(agenda.hold(start, start + timedelta(hours=1), by="ana", id="old").id)
    assert agenda.booking("old").state == "confirmed"
    store.let_pass(GRACE + 10)
    assert agenda.booking("old") is None
    assert store.open().bookings("shop", by="ana") == []
    book(agenda, 10, 11, id="new")
    assert "old" not in repr(store.dump())


def test_reading_an_agenda_writes_nothing(store: Store) -> None:
    agenda = chair(store)
    book(agenda, 10, 11, id="b1")
    agenda.hold(at(12), at(13), by="rui", ttl=1)
    store.let_pass(2)
    before = store.dump()
    agenda.bookings(at(0), at(24))
    agenda.free(at(0), at(24), duration=60)
    agenda.booking("b1")
    store.open().bookings("shop", by="ana")
    store.open().resources("shop")
    assert store.dump() == before


def test_expired_holds_do_not_hide_a_customers_bookings(store: Store) -> None:
    memory = store.open()
    for number in range(8):
        memory.agenda("shop", f"chair{number}").hold(at(1), at(2), by="ana", ttl=1)
    store.let_pass(2)
    book(memory.agenda("shop", "sofa"), 10, 11)
    assert [one.resource for one in memory.bookings("shop", by="ana", limit=1)] == ["sofa"]
    assert memory.resources("shop") == ["sofa"]


def test_what_to_offer_has_an_end(store: Store) -> None:
    agenda = chair(store)
    with pytest.raises(InvalidInput, match="10000"):
        agenda.free(at(0), at(24, day=16), duration=60, step=60)
    assert len(agenda.free(at(0), at(24), duration=60, step=60)) == 24 * 60
