"""Locks and agendas as they lie on a server: what another program sees, and what a lost or spoilt key leads to."""

import re

import pytest

from luni.errors import Damaged, HoldExpired, SlotTaken
from luni.operations import Lock, Place
from luni.ops.bookings import reconcile
from luni.testing.conformance.bookings import at, book, times
from luni.testing.conformance.store import executed


def keys_of(store):
    return {key.decode().removeprefix(f"{store.namespace}:"): key for key in store.raw.scan_iter(f"{store.namespace}:*")}


def looked_through(store, tenant="shop", resources=(), **more):
    """The command's own run of it: it is synchronous."""
    from luni import Memory  # noqa: PLC0415

    with Memory.open(store.url(), namespace=store.namespace) as memory:
        return reconcile(memory, tenant, resources, None, **more)


def test_a_lock_is_its_owner_and_token_with_an_expiry(server_store):
    store = server_store
    memory = store.open()
    session = memory.session(tenant="shop", channel="web", user="ana")
    session.receive("hi", message_id="1")
    with memory.lock("shop", "till", ttl=20) as till, session.lock("cart", ttl=20) as cart:
        for key, lock in (("lock:shop:till", till), ("sess:shop:web:ana:locks:cart", cart)):
            value = store.raw.get(f"{store.namespace}:{key}").decode()
            assert re.fullmatch(rf"[a-z2-7]{{26}}\.\d+\|{lock.token}", value)
            assert 15_000 < store.raw.pttl(f"{store.namespace}:{key}") <= 20_000
        assert 29 * 86_400_000 < store.raw.pttl(f"{store.namespace}:lock:shop:till:fence") <= 30 * 86_400_000
    assert not {"lock:shop:till", "sess:shop:web:ana:locks:cart"} & set(keys_of(store))


@pytest.mark.parametrize("value", [b"somebody", b"a|b", b"1|2|3", b"", b"x|"])
def test_a_lock_of_another_form_is_somebodys_and_left_alone(server_store, value):
    from luni.errors import LockHeld  # noqa: PLC0415

    store = server_store
    memory = store.open()
    session = memory.session(tenant="shop", channel="web", user="ana")
    session.receive("hi", message_id="1")
    key = f"{store.namespace}:sess:shop:web:ana:locks:cart"
    store.raw.set(key, value)
    with pytest.raises(LockHeld):
        session.lock("cart").acquire()
    assert store.raw.get(key) == value


def test_renewing_keeps_what_a_lock_needs_as_long_as_the_lock(server_store):
    store = server_store
    lock = store.open().lock("shop", "leader", ttl=60).acquire()
    store.raw.pexpire(f"{store.namespace}:lock:shop:leader:fence", 1000)
    lock.renew()
    assert store.raw.pttl(f"{store.namespace}:lock:shop:leader:fence") > 29 * 86_400_000


def test_a_late_copy_of_a_request_does_not_take_the_lock_for_nobody(server_store):
    store = server_store
    memory = store.open()
    ask = Lock(place=Place("shop", "till"), owner="w.1", ttl_ms=3_600_000)
    from luni.operations import Unlock  # noqa: PLC0415

    first = executed(memory, ask)
    executed(memory, Unlock(place=Place("shop", "till"), owner="w.1", token=first.token))
    assert executed(memory, ask).state == "held"
    with memory.lock("shop", "till"):
        pass


def test_every_key_of_an_agenda_has_an_expiry(server_store):
    store = server_store
    agenda = store.open().agenda("shop", "chair")
    book(agenda, 10, 11, id="b1")
    agenda.hold(at(12), at(13), by="rui", also=["sofa"])
    agenda.cancel("b1")
    with agenda.lock() as lock:
        agenda.hold(at(14), at(15), by="ana", token=lock.token)
        found = keys_of(store)
        assert {"agenda:shop:customers", "agenda:shop:over", "agenda:shop:resources"} <= set(found)
        assert {f"agenda:shop:chair:{part}" for part in ("records", "timeline", "due", "marks")} <= set(found)
        assert [name for name, key in found.items() if store.raw.pttl(key) <= 0] == []


def test_what_is_over_leaves_every_list(server_store):
    store = server_store
    memory = store.open()
    for number in range(12):
        memory.agenda("shop", f"chair{number}").hold(at(10), at(11), by="ana", ttl=1)
    store.let_pass(2)
    for number in range(4):
        book(memory.agenda("shop", "sofa"), number, number + 1, by="rui")
    prefix = f"{store.namespace}:agenda:shop"
    assert store.raw.zcard(f"{prefix}:customers") == store.raw.zcard(f"{prefix}:over") == 4
    assert store.raw.zcard(f"{prefix}:resources") == 1


def test_a_booking_that_cannot_be_read_keeps_its_time_until_somebody_says_otherwise(server_store):
    store = server_store
    agenda = store.open().agenda("shop", "chair")
    book(agenda, 10, 11, id="b1")
    book(agenda, 12, 13, id="b2")
    store.raw.hset(f"{store.namespace}:agenda:shop:chair:records", "b1", "junk")
    for call in (lambda: agenda.confirm("b1"), lambda: agenda.bookings(at(0), at(24)), lambda: agenda.cancel("b1")):
        with pytest.raises(Damaged):
            call()
    found = looked_through(store)
    assert found.resources[0].damaged == ["b1"]
    assert not found.well
    with pytest.raises(SlotTaken):
        agenda.hold(at(10), at(11), by="rui")
    assert looked_through(store, forget=["b1"]).well
    assert times(agenda.bookings(at(0), at(24))) == [(12, 13)]
    assert agenda.hold(at(10), at(11), by="rui").state == "held"


def test_a_record_that_is_lost_keeps_its_time_too(server_store):
    store = server_store
    agenda = store.open().agenda("shop", "chair")
    book(agenda, 10, 11, id="b1")
    store.raw.hdel(f"{store.namespace}:agenda:shop:chair:records", "b1")
    assert looked_through(store).resources[0].damaged == ["b1"]
    with pytest.raises(SlotTaken):
        agenda.hold(at(10), at(11), by="rui")


def test_lost_lists_are_made_anew(server_store):
    store = server_store
    memory = store.open()
    agenda = memory.agenda("shop", "chair", capacity=2)
    for start in (10, 10, 12):
        book(agenda, start, start + 1)
    for name in ("chair:timeline", "chair:due", "customers", "over", "resources"):
        store.raw.delete(f"{store.namespace}:agenda:shop:{name}")
    found = looked_through(store, resources=["chair"])
    assert (found.resources[0].bookings, found.resources[0].missing, found.well) == (3, 3, True)
    with pytest.raises(SlotTaken):
        agenda.hold(at(10), at(11), by="rui")
    assert len(memory.bookings("shop", by="ana")) == 3
    assert memory.resources("shop") == ["chair"]
    assert looked_through(store).resources[0].missing == 0


def test_two_that_overlap_are_told(server_store):
    """As after a store was put together from two."""
    store = server_store
    agenda = store.open().agenda("shop", "chair")
    book(agenda, 10, 11, id="b1")
    book(agenda, 12, 13, id="b2")
    records = f"{store.namespace}:agenda:shop:chair:records"
    store.raw.hset(records, "b3", store.raw.hget(records, "b1"))
    found = looked_through(store)
    assert {frozenset(pair) for pair in found.resources[0].overlaps} == {frozenset({"b1", "b3"})}
    assert not found.well


def test_an_expired_hold_is_nothing_to_mend(server_store):
    store = server_store
    agenda = store.open().agenda("shop", "chair")
    for hour in (1, 3, 5):
        agenda.hold(at(hour), at(hour + 1), by="ana", ttl=1)
    book(agenda, 10, 11)
    store.let_pass(2)
    (found,) = looked_through(store).resources
    assert (found.bookings, found.missing, found.orphans) == (1, 0, 0)


def test_a_booking_that_one_of_its_resources_has_lost_is_told_and_can_be_cancelled(server_store):
    store = server_store
    memory = store.open()
    carla, room = memory.agenda("shop", "carla"), memory.agenda("shop", "room")
    carla.hold(at(10), at(11), by="ana", id="b1", also=["room"])
    carla.confirm("b1")
    store.raw.delete(f"{store.namespace}:agenda:shop:room:records")
    with pytest.raises(Damaged):
        carla.move("b1", at(14), at(15))
    found = {one.resource: one for one in looked_through(store).resources}
    assert found["carla"].halves == ["b1"]
    assert found["room"].damaged == ["b1"]
    with pytest.raises(SlotTaken):
        room.hold(at(10), at(11), by="rui")
    assert carla.cancel("b1").state == "cancelled"
    assert room.hold(at(10), at(11), by="rui").state == "held"
    assert looked_through(store).well


def test_a_wrong_type_leaves_everything_as_it_was(server_store):
    store = server_store
    agenda = store.open().agenda("shop", "chair")
    book(agenda, 10, 11, id="b1")
    agenda.hold(at(20), at(21), by="ana", id="b2")
    for name in ("customers", "over", "resources", "chair:records", "chair:timeline", "chair:due", "chair:marks"):
        key = f"{store.namespace}:agenda:shop:{name}"
        kept = store.raw.dump(key)
        store.raw.delete(key)
        store.raw.set(key, "a string", ex=1000)
        before = store.dump()
        for call in (
            lambda: agenda.hold(at(12), at(13), by="rui"),
            lambda: agenda.confirm("b2"),
            lambda: agenda.move("b2", at(22), at(23)),
            lambda: agenda.cancel("b2"),
        ):
            with pytest.raises(Damaged):
                call()
        assert store.dump() == before
        store.raw.restore(key, 1_000_000_000, kept, replace=True)
    with pytest.raises(HoldExpired):
        agenda.confirm("nobody")
