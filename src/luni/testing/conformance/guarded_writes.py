"""Nobody writes with the token of a lock that is not held."""

from __future__ import annotations

from typing import Any

import pytest

from luni import SessionUpdate
from luni.errors import Fenced, InvalidInput, LockLost, Unavailable
from luni.testing.conformance.bookings import at
from luni.testing.conformance.named_locks import OVER, TTL, asleep, failing, unaware
from luni.testing.conformance.store import Store


def test_a_guarded_update_needs_its_lock(store: Store) -> None:
    session = store.session()
    session.receive("hi", message_id="1")
    with session.lock("cart") as cart, session.lock("address") as address:
        session.update(SessionUpdate(metadata={"cart": 1}), token=cart.token)
        session.update(SessionUpdate(metadata={"address": 1}), token=address.token)
        with pytest.raises(Fenced):
            session.update(SessionUpdate(metadata={"cart": 2}), token=cart.token + address.token)
        with pytest.raises(Fenced):
            store.session("rui").update(SessionUpdate(metadata={"cart": 2}), token=cart.token)
    before = store.dump()
    with pytest.raises(Fenced):
        session.update(SessionUpdate(metadata={"cart": 2}), token=cart.token)
    assert store.dump() == before
    info = session.info()
    assert (info.metadata["cart"], info.metadata["address"]) == (1, 1)


@pytest.mark.parametrize("successor", [False, True])
def test_a_late_guarded_update_is_fenced_by_the_store(store: Store, successor: bool) -> None:  # noqa: FBT001
    session = store.session()
    session.receive("hi", message_id="1")
    late = unaware(session.lock("cart", ttl=TTL).acquire())
    store.let_pass(OVER)
    next_one = store.session().lock("cart").acquire() if successor else None
    before = store.dump()
    with pytest.raises(Fenced):
        session.update(SessionUpdate(metadata={"cart": "late"}), token=late.token)
    assert store.dump() == before
    if next_one:
        store.session().update(SessionUpdate(metadata={"cart": "next"}), token=next_one.token)
        assert session.info().metadata["cart"] == "next"


def test_a_guarded_write_under_a_lock_known_to_be_lost_is_refused_without_asking(store: Store) -> None:
    memory = store.open()
    session = memory.session(tenant="shop", channel="web", user="ana")
    session.receive("hi", message_id="1")
    cart = asleep(session.lock("cart", ttl=TTL).acquire())
    chair = asleep(memory.agenda("shop", "chair").lock(ttl=TTL).acquire())
    store.let_pass(OVER)
    for kind in ("Read", "Update", "Cancel"):
        failing(memory, kind, Unavailable("it was asked"))
    with pytest.raises(Fenced):
        session.update(SessionUpdate(metadata={"cart": 1}), token=cart.token)
    with pytest.raises(Fenced):
        memory.agenda("shop", "chair").cancel("b1", token=chair.token)


def test_a_sessions_lock_ends_with_its_session(store: Store) -> None:
    session = store.session()
    session.receive("hi", message_id="1")
    lock = unaware(session.lock("cart").acquire())
    session.end()
    session.receive("anew", message_id="2")
    with pytest.raises(Fenced):
        session.update(SessionUpdate(metadata={"cart": 1}), token=lock.token)
    with pytest.raises(LockLost):
        lock.renew()


@pytest.mark.parametrize("token", [0, -1, 1.5, "7", True, 2**70])
def test_a_token_that_cannot_be_is_refused(store: Store, token: Any) -> None:
    session = store.session()
    session.receive("hi", message_id="1")
    with pytest.raises(InvalidInput):
        session.update(SessionUpdate(metadata={"a": 1}), token=token)
    with pytest.raises(InvalidInput):
        store.open().agenda("shop", "chair").confirm("b", token=token)


def test_a_booking_of_several_resources_is_guarded_by_the_lock_of_the_one_it_is_spoken_of(store: Store) -> None:
    memory = store.open()
    carla, room = memory.agenda("shop", "carla"), memory.agenda("shop", "room")
    carla.hold(at(10), at(11), by="ana", id="b1", also=["room"])
    with room.lock() as lock:
        with pytest.raises(Fenced):
            carla.confirm("b1", token=lock.token)
        assert room.confirm("b1", token=lock.token).state == "confirmed"
    with carla.lock() as lock:
        assert carla.cancel("b1", token=lock.token).state == "cancelled"
