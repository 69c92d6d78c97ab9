"""Locks and bookings are refused on a server that may throw them away, and a booking is pending until a replica has it."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import pytest
from booking_worker import DAY, QUARTER
from redis import Redis

from luni import AsyncMemory, Memory, SessionUpdate
from luni.errors import ConfigError
from luni.ops.doctor import examine
from luni.settings import Settings


def deeds(run, memory):
    """Everything that needs the guarantee."""
    agenda = memory.agenda("shop", "chair")
    return {
        "lock": lambda: run(memory.lock("shop", "till").acquire()),
        "hold": lambda: run(agenda.hold(DAY, DAY + QUARTER, by="ana")),
        "confirm": lambda: run(agenda.confirm("b1")),
        "cancel": lambda: run(agenda.cancel("b1")),
        "bookings": lambda: run(agenda.bookings(DAY, DAY + QUARTER)),
        "free": lambda: run(agenda.free(DAY, DAY + 9 * QUARTER, duration=60)),
        "customer": lambda: run(memory.bookings("shop", by="ana")),
    }


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl", "volatile-lru", "allkeys-random"])
def test_a_server_that_may_evict_is_refused_at_first_use_by_the_name_of_its_setting(own_server, run, namespace, policy):
    server = own_server("--maxmemory", "100mb", "--maxmemory-policy", policy)
    memory = run.open(server.url, namespace=namespace)
    session = memory.session(tenant="shop", channel="web", user="ana")
    run(session.receive("hi", message_id="1"))  # conversations go on
    for deed in deeds(run, memory).values():
        with pytest.raises(ConfigError, match=f"maxmemory-policy is {policy}.*noeviction"):
            deed()
    with pytest.raises(ConfigError):
        run(session.lock("cart").acquire())
    with Redis(port=server.port) as plain:
        assert not [key for key in plain.scan_iter(f"{namespace}:*") if b"agenda" in key or b"lock" in key]
        plain.config_set("maxmemory-policy", "noeviction")
    for name, deed in deeds(run, memory).items():  # mended while it runs: no restart
        if name != "confirm":
            deed()


@pytest.mark.parametrize("run", ["sync", "async"], indirect=True)
def test_a_server_that_hides_its_setting_has_to_be_declared(own_server, run, namespace):
    server = own_server()
    with Redis(port=server.port) as plain:
        plain.execute_command("ACL", "SETUSER", "app", "on", ">pw", "~*", "&*", "+@all", "-info", "-config")
    url = server.url.replace("redis://", "redis://app:pw@")
    for deed in deeds(run, run.open(url, namespace=namespace)).values():
        with pytest.raises(ConfigError, match="LUNI_NOEVICTION=1"):
            deed()
    declared = run.open(url, namespace=namespace, noeviction=True)
    for name, deed in deeds(run, declared).items():
        if name != "confirm":
            deed()


def test_declaring_does_not_help_against_what_the_server_says(own_server, run, namespace):
    server = own_server("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
    memory = run.open(server.url, namespace=namespace, noeviction=True)
    with pytest.raises(ConfigError):
        run(memory.lock("shop", "till").acquire())


def test_opening_looks_at_nothing(own_server, run, namespace):
    server = own_server("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
    memory = run.open(server.url, namespace=namespace)
    memory.agenda("shop", "chair")
    memory.lock("shop", "till")
    assert run(memory.health()).ok


def test_the_doctor_says_whether_locks_and_bookings_are_kept(own_server):
    server = own_server("--maxmemory", "100mb", "--maxmemory-policy", "volatile-lru")
    found = examine(Settings(url=server.url))
    assert found.locks_and_bookings.startswith("refused: the server's maxmemory-policy is volatile-lru")
    with Redis(port=server.port) as plain:
        plain.config_set("maxmemory-policy", "noeviction")
    assert examine(Settings(url=server.url)).locks_and_bookings == "kept"


@pytest.fixture(params=["valkey", "redis"])
def pair(request, own_server):
    """A server and its replica."""
    primary = own_server(kind=request.param)
    replica = own_server("--replicaof", "127.0.0.1", str(primary.port), "--repl-diskless-sync-delay", "0", kind=request.param)
    deadline = time.monotonic() + 20
    with Redis(port=replica.port) as plain:
        while plain.info("replication").get("master_link_status") != "up":
            assert time.monotonic() < deadline
            time.sleep(0.05)
    with Redis(port=primary.port) as plain:
        plain.set("warm", 1)
        assert plain.execute_command("WAIT", 1, 5000) == 1
    return primary, replica


def test_a_booking_is_pending_until_a_replica_has_it(pair, run, namespace):
    primary, replica = pair
    memory = run.open(primary.url, namespace=namespace, replica_timeout=0.3)
    agenda = memory.agenda("shop", "chair")
    assert run(agenda.hold(DAY, DAY + QUARTER, by="ana", id="b1")).state == "held"
    replica.signal(signal.SIGSTOP)
    try:
        assert run(agenda.confirm("b1")).state == "pending"
        assert run(agenda.confirm("b1")).state == "pending", "nobody has told the replica: asking again must not say otherwise"
        assert run(run.open(primary.url, namespace=namespace).agenda("shop", "chair").confirm("b1")).state == "pending"
        assert run(agenda.hold(DAY, DAY + QUARTER, by="ana", id="b1")).state == "pending"
        assert run(agenda.hold(DAY + QUARTER, DAY + 2 * QUARTER, by="rui", id="b2")).state == "pending"
        session = memory.session(tenant="shop", channel="web", user="ana")
        began = time.monotonic()
        run(session.receive("hi", message_id="1"))
        assert time.monotonic() - began < 0.25, "a conversation waits for no replica"
    finally:
        replica.signal(signal.SIGCONT)
    deadline = time.monotonic() + 10
    while (state := run(agenda.confirm("b1")).state) == "pending" and time.monotonic() < deadline:
        time.sleep(0.05)
    assert state == "confirmed"


def test_without_replicas_nobody_is_waited_for_unless_they_are_asked_for(own_server, run, namespace):
    server = own_server()
    chair = run.open(server.url, namespace=namespace).agenda("shop", "chair")
    assert run(chair.hold(DAY, DAY + QUARTER, by="ana", id="b1")).state == "held"
    strict = run.open(server.url, namespace=namespace, wait_replicas=1, replica_timeout=0.1).agenda("shop", "chair")
    assert run(strict.confirm("b1")).state == "pending"
    assert run(chair.confirm("b1")).state == "confirmed"


def test_a_server_that_may_not_be_asked_for_its_replicas_keeps_the_booking_pending(own_server, run, namespace):
    server = own_server()
    with Redis(port=server.port) as plain:
        plain.execute_command("ACL", "SETUSER", "app", "on", ">pw", "~*", "&*", "+@all", "-wait")
    memory = run.open(server.url.replace("redis://", "redis://app:pw@"), namespace=namespace, wait_replicas=1)
    agenda = memory.agenda("shop", "chair")
    assert run(agenda.hold(DAY, DAY + QUARTER, by="ana", id="b1")).state == "pending"
    assert run(agenda.booking("b1")).state == "held"


def test_a_replica_that_is_away_does_not_make_one_booking_wait_for_the_others(pair, namespace):
    primary, replica = pair

    async def all_at_once():
        async with AsyncMemory.open(primary.url, namespace=namespace, replica_timeout=0.5) as memory:
            await memory.agenda("t", "chair").hold(DAY, DAY + QUARTER, by="ana")
            replica.signal(signal.SIGSTOP)
            began = time.monotonic()
            agendas = [memory.agenda(f"t{number}", "chair") for number in range(8)]
            found = await asyncio.gather(*(agenda.hold(DAY, DAY + QUARTER, by="ana") for agenda in agendas))
            return [one.state for one in found], time.monotonic() - began

    try:
        states, took = asyncio.run(all_at_once())
    finally:
        replica.signal(signal.SIGCONT)
    assert states == ["pending"] * 8
    assert took < 8 * 0.5


def test_a_server_without_memory_loses_no_lock_and_no_turn(own_server, run, namespace):
    """Renewing writes nothing that a full server refuses."""
    server = own_server()
    memory = run.open(server.url, namespace=namespace, lease=0.6)
    session = memory.session(tenant="shop", channel="web", user="ana")
    turn = run(session.turn("hi", message_id="1").open())
    lock, cart = run(memory.lock("shop", "till", ttl=0.6).acquire()), run(session.lock("cart", ttl=0.6).acquire())
    with Redis(port=server.port) as plain:
        plain.config_set("maxmemory", 1)
        run(asyncio.sleep(1.5)) if run.kind == "async" else time.sleep(1.5)
        assert (lock.held, cart.held, turn.lost) == (True, True, False)
        plain.config_set("maxmemory", 0)
    run(session.update(SessionUpdate(metadata={"a": 1}), token=cart.token))
    run(turn.reply("hello"))


def test_a_forked_child_keeps_nothing_of_its_parents_alive(server, namespace):
    """Neither does its renewal thread hold the parent's locks, nor does leaving the parent's block release them."""
    memory = Memory.open(server.url, namespace=namespace)
    lock = memory.lock("shop", "till", ttl=0.5).acquire()
    child = os.fork()
    if child == 0:
        try:
            assert lock.lost
            assert not lock.release()
            own = memory.lock("shop", "own", ttl=0.5).acquire()
            time.sleep(1.5)
            assert own.held
            os._exit(0)
        except BaseException:  # noqa: BLE001  a child must not go on as the test
            os._exit(1)
    memory._renewals.discard(lock)  # as if the parent had been killed
    time.sleep(0.2)
    assert lock.held
    time.sleep(0.8)
    with Memory.open(server.url, namespace=namespace) as other, other.lock("shop", "till") as taken:
        assert taken.held
    assert os.waitpid(child, 0)[1] == 0
    memory.close()
