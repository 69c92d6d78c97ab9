"""Named locks: one holder at a time, in a fair order, and nobody writes with the token of a lock that is not held."""

from __future__ import annotations

import math
import threading
import time
from typing import Any

import pytest

from luni import SessionUpdate
from luni.clock import SystemClock
from luni.errors import ConfigError, Fenced, InvalidInput, LockHeld, LockLost, LuniError, NoSession, Unavailable
from luni.events import LockLost as LockLostEvent
from luni.testing.conformance.store import Store, inner, together

TTL = 0.3
OVER = 0.4
"""A little longer than that."""


def called(lock: Any, function: Any) -> Any:
    """Let a lock run a plain function, whichever client it is of."""
    if inner(lock) is lock:
        return lock.run(function)

    async def awaited() -> Any:
        return function()

    return lock.run(awaited)


def asleep(lock: Any) -> Any:
    """Let nobody renew a lock, as if its holder were asleep."""
    inner(lock)._memory._renewals.discard(inner(lock))
    return lock


def unaware(lock: Any) -> Any:
    """The same, and its holder's clock stands still: it believes that it still holds the lock."""
    asleep(lock)
    inner(lock)._deadline = math.inf
    return lock


def failing(memory: Any, kind: str, error: LuniError) -> None:
    """Let operations of a kind fail in this memory."""
    shell = inner(memory)
    execute = shell._execute

    def fail(operation: Any) -> Any:
        if type(operation).__name__ != kind:
            return execute(operation)
        if not hasattr(shell, "_sleep"):
            raise error
        import asyncio  # noqa: PLC0415

        future = asyncio.get_running_loop().create_future()
        future.set_exception(error)
        return future

    shell._execute = fail


def test_a_lock_has_one_holder(store: Store) -> None:
    memory, other = store.open(), store.open()
    with memory.lock("shop", "till") as lock:
        assert lock.held
        assert not lock.lost
        assert lock.token > 0
        for another in (memory, other):
            with pytest.raises(LockHeld):
                another.lock("shop", "till").acquire()
    assert not lock.held
    with other.lock("shop", "till") as next_one:
        assert next_one.token > lock.token


def test_locks_of_other_names_tenants_and_sessions_do_not_meet(store: Store) -> None:
    memory = store.open()
    sessions = [memory.session(tenant="shop", channel="web", user=user) for user in ("ana", "rui")]
    for session in sessions:
        session.receive("hi", message_id="1")
    locks = [memory.lock("shop", "a"), memory.lock("shop", "b"), memory.lock("shop", "a:b"), memory.lock("shop:a", "b")]
    locks += [memory.lock("inn", "a"), *(session.lock(name) for session in sessions for name in ("a", "b", "x,y;z|1"))]
    for lock in locks:
        lock.acquire()
    assert all(lock.held for lock in locks)
    for lock in locks:
        assert lock.release()


def test_of_fifty_at_once_one_gets_the_lock(store: Store) -> None:
    memory = store.open()

    def attempt() -> Any:
        try:
            return memory.lock("shop", "till").acquire()
        except LockHeld:
            return None

    assert sum(lock is not None for lock in together([attempt] * 50)) == 1


def test_what_raises_in_the_block_ran_once_and_its_error_comes_out(store: Store) -> None:
    memory, ran = store.open(), []

    def work() -> None:
        ran.append(1)
        raise ZeroDivisionError("its own")

    with pytest.raises(ZeroDivisionError, match="its own"):
        called(memory.lock("shop", "till"), work)
    with pytest.raises(ZeroDivisionError), memory.lock("shop", "till"):
        work()
    assert len(ran) == 2
    memory.lock("shop", "till").acquire().release()


def test_a_release_that_fails_does_not_run_it_again_nor_hide_its_result(store: Store) -> None:
    memory, ran = store.open(max_retries=0), []

    def work() -> str:
        ran.append(1)
        return "result"

    failing(memory, "Unlock", Unavailable("gone"))
    assert called(memory.lock("shop", "till"), work) == "result"
    assert ran == [1]
    with pytest.raises(LockHeld):
        store.open().lock("shop", "till").acquire()
    store.let_pass(31)
    store.open().lock("shop", "till").acquire().release()


@pytest.mark.parametrize("error", [Unavailable("gone"), ConfigError("no")])
def test_if_it_cannot_be_acquired_nothing_runs(store: Store, error: LuniError) -> None:
    memory, ran = store.open(max_retries=0), []
    failing(memory, "Lock", error)
    with pytest.raises(type(error)):
        called(memory.lock("shop", "till"), lambda: ran.append(1))
    with store.open().lock("shop", "till"), pytest.raises(LockHeld):
        called(store.open().lock("shop", "till"), lambda: ran.append(1))
    assert ran == []


def test_held_no_session_and_acquired_are_different_answers(store: Store) -> None:
    session = store.session()
    with pytest.raises(NoSession):
        session.lock("cart").acquire()
    session.receive("hi", message_id="1")
    with session.lock("cart") as lock:
        assert lock.held
        with pytest.raises(LockHeld):
            store.session().lock("cart").acquire()


@pytest.mark.parametrize("ttl", [0, -1, math.nan, math.inf, "30", None, True, 86_401])
def test_a_lifetime_that_cannot_be_is_refused_before_anything_is_asked(store: Store, ttl: Any) -> None:
    memory = store.open()
    with pytest.raises(InvalidInput):
        memory.lock("shop", "till", ttl=ttl)
    with pytest.raises(InvalidInput):
        memory.agenda("shop", "chair").lock(ttl=ttl)
    assert not any(store.dump().values())


@pytest.mark.parametrize("name", ["", "x" * 300, "\ud800", 7, None])
def test_a_name_that_cannot_be_is_refused(store: Store, name: Any) -> None:
    memory = store.open()
    with pytest.raises(InvalidInput):
        memory.lock("shop", name)
    with pytest.raises(InvalidInput):
        memory.lock(name, "till")


def test_an_expired_holder_leaves_the_next_ones_lock_alone(store: Store) -> None:
    first = unaware(store.open().lock("shop", "till", ttl=TTL).acquire())
    store.let_pass(OVER)
    with store.open().lock("shop", "till") as second:
        assert not first.release()
        assert second.held
        second.renew()
        with pytest.raises(LockHeld):
            store.open().lock("shop", "till").acquire()


def test_a_holder_that_was_asleep_finds_its_lock_lost(store: Store) -> None:
    lock = asleep(store.open().lock("shop", "till", ttl=TTL).acquire())
    store.let_pass(OVER)
    assert lock.lost
    assert not lock.held
    with pytest.raises(LockLost):
        lock.renew()
    assert not lock.release()
    assert not lock.lost


def test_renewing_by_hand_holds_it_for_its_whole_time_again(store: Store) -> None:
    lock = asleep(store.open().lock("shop", "till", ttl=1.0).acquire())
    for _ in range(3):
        store.let_pass(0.6)
        lock.renew()
        asleep(lock)
    assert lock.held
    with pytest.raises(LockHeld):
        store.open().lock("shop", "till").acquire()
    assert lock.release()


def test_work_longer_than_the_lifetime_is_renewed_meanwhile(store: Store) -> None:
    memory = store.open(clock=SystemClock())
    with memory.lock("shop", "till", ttl=TTL) as lock:
        time.sleep(3 * TTL)
        assert lock.held
        with pytest.raises(LockHeld):
            store.open(clock=SystemClock()).lock("shop", "till").acquire()


def test_a_lock_that_was_taken_away_is_noticed_by_the_renewal(store: Store) -> None:
    events: list[Any] = []
    memory = store.open(clock=SystemClock(), on_event=events.append)
    session = memory.session(tenant="shop", channel="web", user="ana")
    session.receive("hi", message_id="1")
    lock = session.lock("cart", ttl=TTL).acquire()
    session.end()
    deadline = time.monotonic() + 5
    while not lock.lost and time.monotonic() < deadline:
        time.sleep(0.02)
    assert lock.lost
    told = [event for event in events if isinstance(event, LockLostEvent)]
    assert [(event.tenant, event.name, event.token) for event in told] == [("shop", "cart", lock.token)]


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


def test_who_waits_gets_it_first_come_first_served(store: Store) -> None:
    clock = {"clock": SystemClock()}
    holder, order = store.open(**clock).lock("shop", "till").acquire(), list[int]()
    waiting = []
    for number in range(5):
        lock = store.open(**clock).lock("shop", "till", wait=20)
        thread = threading.Thread(target=lambda lock=lock, number=number: _take(lock, number, order))
        thread.start()
        waiting.append(thread)
        time.sleep(0.1)
    with pytest.raises(LockHeld):
        store.open(**clock).lock("shop", "till").acquire()
    holder.release()
    for thread in waiting:
        thread.join(20)
    assert order == [0, 1, 2, 3, 4]


def _take(lock: Any, number: int, order: list[int]) -> None:
    with lock:
        order.append(number)
        time.sleep(0.02)


def test_nobody_jumps_the_queue(store: Store) -> None:
    clock = {"clock": SystemClock()}
    holder = store.open(**clock).lock("shop", "till").acquire()
    lock = store.open(**clock).lock("shop", "till", wait=20)
    thread = threading.Thread(target=lock.acquire)
    thread.start()
    time.sleep(0.25)
    holder.release()
    with pytest.raises(LockHeld):
        store.open(**clock).lock("shop", "till").acquire()
    thread.join(20)
    assert lock.held
    lock.release()


def test_waiting_ends_after_its_time_and_leaves_no_place_behind(store: Store) -> None:
    clock = {"clock": SystemClock()}
    holder = store.open(**clock).lock("shop", "till").acquire()
    began = time.monotonic()
    with pytest.raises(LockHeld):
        store.open(**clock).lock("shop", "till", wait=0.3).acquire()
    assert 0.3 <= time.monotonic() - began < 5
    holder.release()
    store.open(**clock).lock("shop", "till").acquire().release()


def test_the_place_of_a_waiter_that_died_is_free_soon(store: Store) -> None:
    from luni.operations import Lock, Place  # noqa: PLC0415
    from luni.testing.conformance.store import executed  # noqa: PLC0415

    memory = store.open()
    holder = memory.lock("shop", "till").acquire()
    dead = Lock(place=Place("shop", "till"), owner="dead.1", ttl_ms=1000, ticket_ms=500)
    assert executed(memory, dead).state == "held"
    holder.release()
    with pytest.raises(LockHeld):
        store.open().lock("shop", "till").acquire()
    store.let_pass(0.6)
    store.open().lock("shop", "till").acquire().release()


def test_a_queue_has_an_end(store: Store) -> None:
    from luni.operations import Lock, Place  # noqa: PLC0415
    from luni.testing.conformance.store import executed  # noqa: PLC0415

    memory = store.open()
    memory.lock("shop", "till").acquire()
    ask = [Lock(place=Place("shop", "till"), owner=f"w.{n}", ttl_ms=1000, ticket_ms=60_000) for n in range(65)]
    answers = [executed(memory, one) for one in ask]
    assert [one.ahead for one in answers[:64]] == list(range(64))
    assert answers[64].state == "full"


def test_the_same_operation_again_gives_the_same_token_and_releases_once(store: Store) -> None:
    from luni.operations import Lock, Place, Unlock  # noqa: PLC0415
    from luni.testing.conformance.store import executed  # noqa: PLC0415

    memory, place = store.open(), Place("shop", "till")
    ask = Lock(place=place, owner="w.1", ttl_ms=60_000)
    first = executed(memory, ask)
    before = store.dump()
    for one in (memory, store.open()):
        assert executed(one, ask) == first
    assert store.dump() == before
    assert executed(memory, Unlock(place=place, owner="w.2", token=first.token)) is False
    assert executed(memory, Unlock(place=place, owner="w.1", token=first.token + 1)) is False
    assert executed(memory, Unlock(place=place, owner="w.1", token=first.token)) is True
    assert executed(memory, Unlock(place=place, owner="w.1")) is False


def test_a_lock_object_is_used_once_at_a_time_and_again_afterwards(store: Store) -> None:
    lock = store.open().lock("shop", "till")
    with lock:
        first = lock.token
        with pytest.raises(InvalidInput):
            lock.acquire()
        assert lock.held
    with lock:
        assert lock.token > first


def test_a_lock_is_no_activity(store: Store) -> None:
    session = store.session(ttl=100.0)
    session.receive("hi", message_id="1")
    store.let_pass(60)
    with session.lock("cart") as lock:
        lock.renew()
    store.let_pass(60)
    assert session.info() is None


def test_a_pause_and_a_turn_leave_named_locks_alone(store: Store) -> None:
    session = store.session()
    session.receive("hi", message_id="1")
    with session.lock("cart") as lock:
        session.pause()
        session.resume()
        with session.turn() as turn:
            turn.reply("hello")
        lock.renew()
        session.update(SessionUpdate(metadata={"a": 1}), token=lock.token)


def test_threads_of_one_memory_share_no_lock(store: Store) -> None:
    memory, inside, most = store.open(clock=SystemClock()), [0], [0]

    def work() -> None:
        with memory.lock("shop", "till", wait=30):
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            time.sleep(0.005)
            inside[0] -= 1

    together([work] * 8)
    assert most == [1]
