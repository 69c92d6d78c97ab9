"""The end of a memory with a fallback, and a fork of its process: what was acknowledged is in the journal, nobody hangs."""

import asyncio
import os
import signal
import threading
import time

import pytest
from test_failover import DURABLE, KEPT, until

from luni import AsyncMemory, Memory
from luni.backends.failover.journal import Journal
from luni.backends.failover.places import journal_path
from luni.errors import LuniError
from luni.settings import Settings

NOWHERE = "redis://127.0.0.1:1"
BUDGET = 15.0
"""Seconds that an end may take on a busy machine; it takes a hundredth of that."""


def depth(fallback, namespace):
    journal = Journal(journal_path(fallback, namespace), Settings(namespace=namespace))
    try:
        return journal.depth()
    finally:
        journal.close()


@pytest.mark.parametrize("asleep", [False, True], ids=["down", "asleep"])
def test_closing_amid_calls_in_an_outage_loses_nothing_that_was_acknowledged(own_server, namespace, fallback, asleep):
    """Each caller gets an answer or an error; each answer is in the journal, or on the server."""
    server = own_server(*DURABLE)
    memory = Memory.open(server.url, namespace=namespace, fallback=fallback, policies=KEPT)
    acknowledged, strange = [], []

    def say(user):
        session, number = memory.session(tenant="shop", channel="web", user=user), 0
        while True:
            number += 1
            try:
                session.append("system", f"{user}-{number}", message_id=f"{user}-{number}")
            except LuniError:
                return
            except BaseException as error:  # noqa: BLE001  the test's business
                strange.append(error)
                return
            acknowledged.append(f"{user}-{number}")

    threads = [threading.Thread(target=say, args=(f"u{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    until(lambda: len(acknowledged) > 50)
    server.signal(signal.SIGSTOP) if asleep else server.stop()
    went_on = len(acknowledged) + 100
    until(lambda: len(acknowledged) > went_on)
    began = time.monotonic()
    memory.close()
    assert time.monotonic() - began < BUDGET
    for thread in threads:
        thread.join(BUDGET)
        assert not thread.is_alive(), "somebody is left waiting"
    assert strange == []
    server.signal(signal.SIGCONT) if asleep else server.start()
    assert all_there(server, namespace, fallback, acknowledged)


def all_there(server, namespace, fallback, acknowledged):
    with Memory.open(server.url, namespace=namespace, fallback=fallback, policies=KEPT) as memory:
        memory.session(tenant="shop", channel="web", user="wake").receive("wake", message_id="wake")
        until(lambda: not memory.health().degraded, 60)
    with Memory.open(server.url, namespace=namespace, policies=KEPT) as plain:
        users = {one.partition("-")[0] for one in acknowledged}
        sessions = [plain.session(tenant="shop", channel="web", user=user) for user in users]
        found = [message.text for session in sessions for message in session.messages(10_000)]
    assert len(found) == len(set(found)), "something is there twice"
    return set(acknowledged) <= set(found)


@pytest.mark.parametrize("asleep", [False, True], ids=["down", "asleep"])
def test_an_event_loop_s_memory_closes_amid_calls_and_leaves_nobody_waiting(own_server, namespace, fallback, asleep):
    server = own_server(*DURABLE)
    acknowledged = []

    async def say(memory, user):
        session, number = memory.session(tenant="shop", channel="web", user=user), 0
        while True:
            number += 1
            try:
                await session.append("system", f"{user}-{number}", message_id=f"{user}-{number}")
            except LuniError:
                return
            acknowledged.append(f"{user}-{number}")

    async def came_to(number):
        deadline = time.monotonic() + 30
        while len(acknowledged) < number:
            assert time.monotonic() < deadline, "it did not come to that in time"
            await asyncio.sleep(0.01)

    async def live():
        memory = AsyncMemory.open(server.url, namespace=namespace, fallback=fallback, policies=KEPT)
        speaking = [asyncio.create_task(say(memory, f"u{number}")) for number in range(4)]
        await came_to(50)
        await asyncio.to_thread(server.signal, signal.SIGSTOP) if asleep else await asyncio.to_thread(server.stop)
        await came_to(len(acknowledged) + 100)
        began = time.monotonic()
        await memory.close()
        assert time.monotonic() - began < BUDGET
        done, left = await asyncio.wait(speaking, timeout=BUDGET)
        assert not left, "somebody is left waiting"
        for one in done:
            one.result()

    asyncio.run(live())
    server.signal(signal.SIGCONT) if asleep else server.start()
    assert all_there(server, namespace, fallback, acknowledged)


def test_what_the_server_does_not_answer_before_the_end_goes_to_the_journal(own_server, namespace, fallback):
    server = own_server(*DURABLE)

    async def live():
        memory = AsyncMemory.open(server.url, namespace=namespace, fallback=fallback, policies=KEPT)
        session = memory.session(tenant="shop", channel="web", user="ana")
        await session.append("system", "before", message_id="m1")
        server.signal(signal.SIGSTOP)
        calls = [asyncio.create_task(session.append("system", f"out {number}", message_id=f"o{number}")) for number in range(3)]
        await asyncio.sleep(0.05)
        await memory.close()
        done, left = await asyncio.wait(calls, timeout=BUDGET)
        assert not left, "somebody is left waiting"
        return [task.result().text for task in calls if task in done and task.exception() is None]

    said = asyncio.run(live())
    assert "out 0" in said
    server.signal(signal.SIGCONT)
    assert all_there(server, namespace, fallback, [])
    with Memory.open(server.url, namespace=namespace, policies=KEPT) as plain:
        found = [message.text for message in plain.session(tenant="shop", channel="web", user="ana").messages(100)]
    assert found[: 1 + len(said)] == ["before", *said]


def in_a_child(work):
    """Run something in a forked child; return what it says, or fail if it hangs."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.alarm(30)
            os.write(writer, work().encode())
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader) as said:
        told = said.read()
    assert os.waitpid(child, 0)[1] == 0, "the child failed or hung"
    return told


@pytest.mark.parametrize("away", [False, True], ids=["healthy", "outage"])
def test_a_forked_child_has_its_own_keeper_writer_and_connections(own_server, namespace, fallback, away):
    server = own_server(*DURABLE)
    memory = Memory.open(server.url, namespace=namespace, fallback=fallback, policies=KEPT)
    session, keeper = memory.session(tenant="shop", channel="web", user="ana"), memory._backend.keeper
    first = session.append("system", "before")
    if away:
        server.stop()
        session.append("system", "out")

    def child():
        before = keeper._thread
        said = session.append("system", "child")
        thread = keeper._thread
        assert thread is not before
        assert thread.is_alive()
        assert len(keeper.tails) == (0 if away else 1), "the parent's tails are the parent's"
        memory.close()
        return said.key.split("-")[1]

    writers = {first.key.split("-")[1], in_a_child(child)}
    assert len(writers) == 2, "a child has a writer of its own"
    assert session.append("system", "parent").key.split("-")[1] in writers
    assert keeper._thread.is_alive()
    if away:
        server.start()
        until(lambda: not memory.health().degraded)
    expected = ["before", *(["out"] if away else []), "child", "parent"]
    assert [message.text for message in session.messages(100)] == expected
    memory.close()
    assert depth(fallback, namespace) == 0


def test_a_child_that_does_nothing_keeps_nobody_from_replaying(own_server, namespace, fallback):
    """It has its parent's descriptor of the replayer's lock, if it was forked amid a replay."""
    server = own_server(*DURABLE)
    memory = Memory.open(server.url, namespace=namespace, fallback=fallback, policies=KEPT)
    session, replayer = memory.session(tenant="shop", channel="web", user="ana"), memory._backend.keeper.replayer
    session.append("system", "before")
    reader, writer = os.pipe()
    until(lambda: replayer._lock is None)
    with replayer.alone() as alone:
        assert alone
        child = os.fork()
        if child == 0:
            os.read(reader, 1)
            os._exit(0)
    try:
        server.stop()
        session.append("system", "out")
        server.start()
        until(lambda: not memory.health().degraded)
    finally:
        os.write(writer, b"x")
        os.waitpid(child, 0)
        os.close(reader)
        os.close(writer)
    memory.close()


def test_a_child_forked_amid_an_outage_s_calls_is_not_stuck(namespace, fallback):
    memory, going = Memory.open(NOWHERE, namespace=namespace, fallback=fallback, connect_timeout=0.3), True

    def talk(user):
        while going:
            memory.session(tenant="shop", channel="web", user=user).append("system", "hi")
            time.sleep(0.01)  # a file's lock is not fair: who never pauses starves the child

    threads = [threading.Thread(target=talk, args=(f"u{number}",)) for number in range(3)]
    for thread in threads:
        thread.start()
    try:
        for number in range(6):
            said = in_a_child(lambda: memory.session(tenant="shop", channel="web", user="u0").append("system", "child").text)
            assert said == "child", number
    finally:
        going = False
        for thread in threads:
            thread.join()
    memory.close()
    assert depth(fallback, namespace) > 6
