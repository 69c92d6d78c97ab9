"""Named locks: one holder at a time, and nobody else."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest

from luni import SessionUpdate
from luni.clock import SystemClock
from luni.errors import ConfigError, InvalidInput, LockHeld, LockLost, LuniError, NoSession, Unavailable
from luni.events import LockLost as LockLostEvent
from luni.operations import Lock, Place, Unlock
from luni.testing.conformance.store import Store, executed, inner, together

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


def test_the_same_operation_again_gives_the_same_token_and_releases_once(store: Store) -> None:

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


def test_a_lock_object_in_two_threads_is_refused_to_one(store: Store) -> None:
    """Two would pass for one holder: each needs an object of its own."""
    lock, inside = store.open(clock=SystemClock()).lock("shop", "till"), []

    def work() -> str:
        try:
            with lock:
                inside.append(1)
                time.sleep(0.05)
                assert len(inside) == 1
                inside.pop()
        except InvalidInput:
            return "refused"
        return "held"

    found = together([work] * 4)
    assert found.count("held") >= 1
    assert "refused" in found


def test_a_lock_object_that_was_not_acquired_can_be_used_again(store: Store) -> None:
    lock = store.open().lock("shop", "till")
    with store.open().lock("shop", "till"), pytest.raises(LockHeld):
        lock.acquire()
    with lock:
        assert lock.held


def test_no_two_locks_have_one_token(store: Store) -> None:
    memory = store.open()
    session = memory.session(tenant="shop", channel="web", user="ana")
    session.receive("hi", message_id="1")
    locks = [memory.lock("shop", f"l{n}").acquire() for n in range(20)] + [session.lock(f"l{n}").acquire() for n in range(20)]
    assert len({lock.token for lock in locks}) == 40


def test_a_session_holds_64_locks_at_the_most(store: Store) -> None:
    session = store.session()
    session.receive("hi", message_id="1")
    for number in range(64):
        session.lock(f"l{number}").acquire()
    with pytest.raises(LockHeld):
        session.lock("one too many").acquire()


def test_once_lost_a_lock_stays_lost_until_it_is_released(store: Store) -> None:
    lock = asleep(store.open().lock("shop", "till", ttl=TTL).acquire())
    store.let_pass(OVER)
    assert lock.lost
    inner(lock)._renewed(
        store.clock.monotonic() if store.clock else time.monotonic(), held=True
    )  # an answer that comes too late
    assert lock.lost


def test_a_late_renewal_of_a_former_acquisition_says_nothing_of_the_next(store: Store) -> None:
    from luni.results import Renewed  # noqa: PLC0415

    memory = store.open(clock=SystemClock())
    lock = memory.lock("shop", "till", ttl=30).acquire()
    renewals, one = inner(memory)._renewals, inner(lock)
    from luni.operations import Renew  # noqa: PLC0415

    former = Renew(leases=(one._lease(),))
    lock.release()
    lock.acquire()
    renewals._note([one], former, time.monotonic(), Renewed((False,)))
    assert lock.held
    renewals._note([one], Renew(leases=(one._lease(),)), time.monotonic(), Renewed((False,)))
    assert lock.lost


def test_a_lock_that_took_longer_to_acquire_than_it_lasts_begins_nothing(store: Store) -> None:
    memory, ran = store.open(), []
    shell = inner(memory)
    execute = shell._execute

    def slow(operation: Any) -> Any:
        result = execute(operation)
        if isinstance(operation, Lock) and store.clock is not None:
            store.clock.advance(1.0)  # the answer is a long time on its way
        return result

    if store.clock is None:
        pytest.skip("the clock of this store cannot be moved")
    shell._execute = slow
    with pytest.raises(LockLost):
        called(memory.lock("shop", "till", ttl=0.5), lambda: ran.append(1))
    shell._execute = execute
    assert ran == []
    with store.open().lock("shop", "till") as lock:
        assert lock.held
