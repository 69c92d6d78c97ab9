"""Connections are few, whoever comes and whatever is asked."""

from __future__ import annotations

import asyncio
import threading

import pytest
from redis import Redis

from luni import AsyncMemory, Memory
from luni.errors import Unavailable

WHO = {"tenant": "t", "channel": "c"}


def clients(plain):
    return len(plain.client_list())


@pytest.fixture
def plain(own_server):
    with Redis(port=own_server().port) as connection:
        yield connection


@pytest.fixture
def url(plain):
    return f"redis://127.0.0.1:{plain.connection_pool.connection_kwargs['port']}/0"


def test_fifty_threads_at_first_use_share_the_pool(plain, url, namespace):
    most, errors = [], []
    barrier = threading.Barrier(51)
    with Memory.open(url, namespace=namespace, pool_max=8, timeout=10.0) as memory:
        before = clients(plain)

        def use(number):
            barrier.wait()
            try:
                for _ in range(10):
                    memory.session(**WHO, user=f"user{number}").append("user", "hello")
            except Exception as error:  # noqa: BLE001  the assertion below tells
                errors.append(error)

        threads = [threading.Thread(target=use, args=(number,)) for number in range(50)]
        for thread in threads:
            thread.start()
        barrier.wait()
        while any(thread.is_alive() for thread in threads):
            most.append(clients(plain))
        assert not errors
        assert max(most) <= before + 8
        assert {memory.session(**WHO, user=f"user{n}").info().message_count for n in range(50)} == {10}
    for _ in range(200):
        if clients(plain) == before:
            break
    assert clients(plain) == before, "connections are left open"


def test_threads_that_find_every_connection_busy_are_told(own_server, namespace):
    import signal  # noqa: PLC0415  only here

    server = own_server()
    with Memory.open(server.url, namespace=namespace, pool_max=1, timeout=0.3, max_retries=0) as memory:
        memory.health()
        server.signal(signal.SIGSTOP)
        slow = threading.Thread(target=memory.health)
        slow.start()
        try:
            told = [memory.health().detail for _ in range(2)]
        finally:
            server.signal(signal.SIGCONT)
            slow.join()
        assert any("REDIS_POOL_MAX" in detail or "no reply" in detail for detail in told)
        assert memory.health().ok


def test_fifty_tasks_at_first_use_share_one_connection(plain, url, namespace):
    async def main():
        async with AsyncMemory.open(url, namespace=namespace) as memory:
            before = clients(plain)
            sessions = [memory.session(**WHO, user=f"user{n}") for n in range(50)]
            await asyncio.gather(*(session.append("user", "hello") for session in sessions))
            assert clients(plain) == before + 1
            assert {(await session.info()).message_count for session in sessions} == {1}

    asyncio.run(main())


def test_a_hundred_health_calls_open_no_more_connections(plain, url, run, namespace):
    memory = run.open(url, namespace=namespace)
    assert run(memory.health()).ok
    before = clients(plain)
    for _ in range(100):
        assert run(memory.health()).ok
    assert clients(plain) == before


def test_a_hundred_health_calls_in_an_outage_leave_no_connections(own_server, proxy_to, run, namespace):
    server = own_server()
    proxy = proxy_to(server)
    memory = run.open(proxy.url, namespace=namespace, connect_timeout=0.5, timeout=1.0)
    assert run(memory.health()).ok
    server.stop()
    for _ in range(100):
        assert not run(memory.health()).ok
    server.start()
    with Redis(port=server.port) as plain:
        before = clients(plain)
        for _ in range(20):
            assert run(memory.health()).ok
        assert clients(plain) <= before + 1


def test_a_full_queue_refuses_and_goes_on(own_server, namespace):
    import signal  # noqa: PLC0415  only here

    server = own_server()

    async def main():
        async with AsyncMemory.open(server.url, namespace=namespace, queue_max_length=20, timeout=0.5, max_retries=0) as memory:
            assert (await memory.health()).ok
            server.signal(signal.SIGSTOP)
            sessions = [memory.session(**WHO, user=f"user{n}") for n in range(40)]
            calls = asyncio.gather(*(s.receive("hello", message_id="m1") for s in sessions), return_exceptions=True)
            outcomes = await calls
            server.signal(signal.SIGCONT)
            refused = [error for error in outcomes if isinstance(error, Unavailable) and "QUEUE" in str(error)]
            assert len(refused) == 20
            states = {(await s.receive("hello", message_id="m1")).state for s in sessions}
            assert states <= {"accepted", "duplicate"}
            assert {(await s.info()).message_count for s in sessions} == {1}

    asyncio.run(main())
