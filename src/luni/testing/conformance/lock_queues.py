"""Who waits for a lock gets it, first come, first served."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from luni.clock import SystemClock
from luni.errors import LockHeld
from luni.operations import Lock, Place
from luni.testing.conformance.store import Store, executed, together


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


def test_nobody_jumps_the_queue_of_a_lock(store: Store) -> None:
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

    memory = store.open()
    memory.lock("shop", "till").acquire()
    ask = [Lock(place=Place("shop", "till"), owner=f"w.{n}", ttl_ms=1000, ticket_ms=60_000) for n in range(65)]
    answers = [executed(memory, one) for one in ask]
    assert [one.ahead for one in answers[:64]] == list(range(64))
    assert answers[64].state == "full"


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
