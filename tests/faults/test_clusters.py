"""A Cluster's nodes fail, its slots move, its scripts are lost: luni follows, and everything has one effect."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
import time

import pytest
from booking_worker import DAY, QUARTER
from redis.crc import key_slot

from conftest import require
from luni import AsyncMemory, Memory
from luni.backends.keys import Tagged, session_keys
from luni.errors import BackendError, Unavailable
from luni.models import Address
from luni.ops.doctor import examine
from luni.settings import Settings
from luni.testing.clusters import Cluster

FAILOVERS, GRACE, PEOPLE = 3, 2.0, 12


def slot_of(namespace, user):
    return key_slot(session_keys(Tagged(namespace), Address("shop", "web", user)).own[0].encode())


class Traffic:
    """People who write all the time; what was acknowledged, and when. A refused turn is said again, with the same id."""

    def __init__(self, url, namespace):
        self.url = url
        self.options = {"namespace": namespace, "timeout": 0.5, "connect_timeout": 0.5, "max_retries": 1}
        self.answered = {f"u{number}": [] for number in range(PEOPLE)}
        self.last = dict.fromkeys(self.answered, 0.0)
        self.stopping, self.held = False, False
        self.resting = set()

    def session(self, memory, user):
        return memory.session(tenant="shop", channel="web", user=user)

    def noted(self, user, number):
        self.answered[user].append(number)
        self.last[user] = time.monotonic()

    def whole(self, session):
        """Everything acknowledged is there once and in order; what was not acknowledged may be there at its end."""
        count, answered = session.info().message_count, len(self.answered[session.user])
        assert 0 <= count - 2 * answered <= 2, f"{session.user}: {count} messages of {answered} turns"
        said = [text for number in range(answered + 1) for text in (f"m{number}", f"re {number}")][:count]
        shown = [message.text for message in session.messages()]
        assert shown == said[-len(shown) :]

    def check(self):
        with Memory.open(self.url, **self.options) as memory:
            for user in self.answered:
                self.whole(self.session(memory, user))

    def rest(self):
        """Nobody begins a turn until `go`; return when nobody is in one."""
        self.held = True
        deadline = time.monotonic() + 30
        while len(self.resting) < PEOPLE and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(self.resting) == PEOPLE

    def go(self):
        self.held = False

    def wait_for_all(self, since):
        """Return after how many seconds everybody has been answered again."""
        began = time.monotonic()
        while min(self.last.values()) < since:
            assert time.monotonic() - began < 30, "it never worked again"
            time.sleep(0.01)
        return max(0.0, time.monotonic() - since)


class ThreadTraffic(Traffic):
    def __enter__(self):
        self.memory = Memory.open(self.url, **self.options)
        self.threads = [threading.Thread(target=self.talk, args=(user,)) for user in self.answered]
        for thread in self.threads:
            thread.start()
        return self

    def talk(self, user):
        session, number = self.session(self.memory, user), 0
        while not self.stopping:
            if self.held:
                self.resting.add(user)
                time.sleep(0.005)
                continue
            self.resting.discard(user)
            turn = session.turn(f"m{number}", message_id=f"{user}.{number}")
            self.until_done(turn.open)
            self.until_done(lambda turn=turn, number=number: turn.reply(f"re {number}"))
            self.noted(user, number)
            number += 1
            time.sleep(0.005)

    def until_done(self, act):
        """What may not have happened is repeated as it is: it has one effect."""
        while True:
            try:
                return act()
            except BackendError:
                time.sleep(0.02)

    def __exit__(self, *_):
        self.stopping = True
        for thread in self.threads:
            thread.join(30)
        self.memory.close()


class LoopTraffic(Traffic):
    def __enter__(self):
        self.thread = threading.Thread(target=lambda: asyncio.run(self.all_talk()))
        self.thread.start()
        return self

    async def all_talk(self):
        async with AsyncMemory.open(self.url, **self.options) as memory:
            await asyncio.gather(*(self.talk(memory, user) for user in self.answered))

    async def talk(self, memory, user):
        session, number = self.session(memory, user), 0
        while not self.stopping:
            if self.held:
                self.resting.add(user)
                await asyncio.sleep(0.005)
                continue
            self.resting.discard(user)
            turn = session.turn(f"m{number}", message_id=f"{user}.{number}")
            await self.until_done(turn.open)
            await self.until_done(lambda turn=turn, number=number: turn.reply(f"re {number}"))
            self.noted(user, number)
            number += 1
            await asyncio.sleep(0.005)

    async def until_done(self, act):
        while True:
            try:
                return await act()
            except BackendError:
                await asyncio.sleep(0.02)

    def __exit__(self, *_):
        self.stopping = True
        self.thread.join(30)


TRAFFIC = {"sync": ThreadTraffic, "async": LoopTraffic}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_turns_go_on_after_failovers_with_nothing_lost_or_doubled(replicated, namespace, many, mode):
    late, total = [], 0
    for number in range(many.of(FAILOVERS)):
        with TRAFFIC[mode](replicated.url, f"{namespace}.{number}") as traffic:
            deadline = time.monotonic() + 20
            while min(map(len, traffic.answered.values())) < 2 and time.monotonic() < deadline:
                time.sleep(0.005)
            traffic.rest()  # what only the failed primary has is lost, nobody promises otherwise: so its replica has it
            replicated.wait_for_replicas()
            former = replicated.owner(slot_of(f"{namespace}.{number}", "u0"))
            tooks = []
            failing = threading.Thread(target=lambda one=former, to=tooks: to.append(replicated.kill(one)))
            failing.start()
            time.sleep(0.1)
            traffic.go()  # they write while there is nobody to answer
            failing.join()
            since = time.monotonic()
            late.append(traffic.wait_for_all(since))
            traffic.rest()
        total += sum(map(len, traffic.answered.values()))
        assert late[-1] <= GRACE, f"{late[-1]:.2f} s after a failover of {tooks[0]:.2f} s"
        traffic.check()
        former.start()
        replicated.wait_until_whole()
    said = ", ".join(f"{one:.2f}" for one in late)
    sys.stderr.write(f"{mode}: {len(late)} failovers, {total} turns, none lost or doubled; all answered {said} s after each\n")


@pytest.mark.timeout(120)
def test_a_slot_moves_while_turns_run(cluster, run, namespace):
    memory = run.open(cluster.url, namespace=namespace, max_retries=8)
    session = memory.session(tenant="shop", channel="web", user="ana")
    slot, said = slot_of(namespace, "ana"), []

    def talk(count):
        for _ in range(count):
            number = len(said)
            turn = run(session.turn(f"m{number}", message_id=f"m{number}").open())
            run(turn.reply(f"re {number}"))
            said.extend((number,))

    talk(2)
    for _ in range(2):
        to = next(one for one in cluster.servers if one is not cluster.owner(slot))
        owner = cluster.begin_moving(slot, to)
        ending = threading.Timer(0.3, lambda a=owner, b=to: (cluster.move_keys(slot, a, b), cluster.end_moving(slot, b)))
        ending.start()
        talk(2)  # its keys are on their way: tried again until they have arrived
        ending.join()
        assert cluster.owner(slot) is to
        talk(1)
    texts = [message.text for message in run(session.messages())]
    assert texts == [text for number in said for text in (f"m{number}", f"re {number}")]


def test_a_key_that_has_been_moved_on_is_asked_for_where_it_is(cluster, run, namespace):
    """ASK: the id's key is alone in its slot."""
    memory = run.open(cluster.url, namespace=namespace)
    session = memory.session(tenant="shop", channel="web", user="ana")
    turn = run(session.turn("hi", message_id="m1").open())
    run(turn.reply("hello"))
    name = run(session.info()).session_id
    slot = key_slot(f"{namespace}:sess:id:{name}".encode())
    to = next(one for one in cluster.servers if one is not cluster.owner(slot))
    owner = cluster.begin_moving(slot, to)
    try:
        assert cluster.move_keys(slot, owner, to) == 1
        assert run(memory.find(name, tenant="shop")).user == "ana"
        turn = run(session.turn("again", message_id="m2").open())
        run(turn.reply("hello again"))
    finally:
        cluster.end_moving(slot, to)
    assert run(memory.find(name, tenant="shop")).user == "ana"


def test_a_slot_that_stays_on_its_way_is_unavailable(cluster, run, namespace):
    memory = run.open(cluster.url, namespace=namespace, max_retries=0, timeout=0.5)
    session = memory.session(tenant="shop", channel="web", user="ana")
    run(session.append("user", "hi"))
    slot = slot_of(namespace, "ana")
    to = next(one for one in cluster.servers if one is not cluster.owner(slot))
    owner = cluster.begin_moving(slot, to)
    with pytest.raises(Unavailable):
        run(session.append("user", "and this"))
    cluster.move_keys(slot, owner, to)
    cluster.end_moving(slot, to)
    run(session.append("user", "and that"))
    assert [message.text for message in run(session.messages())] == ["hi", "and that"]


def test_a_slot_that_nobody_has_is_unavailable(run, namespace):
    require("valkey")
    with Cluster() as nodes:
        memory = run.open(nodes.url, namespace=namespace, max_retries=0)
        session = memory.session(tenant="shop", channel="web", user="ana")
        run(session.append("user", "hi"))
        for one in nodes.servers:
            nodes.ask(one, "CLUSTER", "DELSLOTS", slot_of(namespace, "ana"))
        with pytest.raises(Unavailable):
            run(session.append("user", "and this"))
        with pytest.raises(Unavailable):
            run(memory.session(tenant="shop", channel="web", user="somebody else").append("user", "and this"))


def test_nodes_that_are_away_are_unavailable(run, namespace):
    memory = run.open("redis+cluster://127.0.0.1:1,127.0.0.1:2", namespace=namespace, max_retries=0)
    with pytest.raises(Unavailable):
        run(memory.session(tenant="shop", channel="web", user="ana").info())
    assert not run(memory.health()).ok


def test_one_node_loses_its_scripts_at_any_time(cluster, run, namespace):
    memory = run.open(cluster.url, namespace=namespace)
    session = memory.session(tenant="shop", channel="web", user="ana")
    for number in range(9):
        turn = run(session.turn(f"m{number}", message_id=f"m{number}").open())
        cluster.ask(cluster.servers[number % 3], "SCRIPT", "FLUSH")
        run(turn.reply(f"re {number}"))
        cluster.ask(cluster.owner(slot_of(namespace, "ana")), "SCRIPT", "FLUSH")
    texts = [message.text for message in run(session.messages())]
    assert texts == [text for number in range(9) for text in (f"m{number}", f"re {number}")]
    assert run(memory.unanswered("shop", older_than=0.0)).items == ()
    for one in cluster.servers:
        cluster.ask(one, "SCRIPT", "FLUSH")
    run(session.receive("still waiting", message_id="w"))
    found = run(memory.unanswered("shop", older_than=0.0))
    assert [each.user for each in found.items] == ["ana"]


def test_the_doctor_shows_all_nodes(cluster):
    found = examine(Settings(url=cluster.url))
    assert found.healthy
    assert found.store["mode"] == "cluster"
    assert len(found.store["nodes"]) == 3
    assert found.locks_and_bookings == "kept"
    cluster.ask(cluster.servers[1], "CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    try:
        assert examine(Settings(url=cluster.url)).locks_and_bookings.startswith("refused")
    finally:
        cluster.ask(cluster.servers[1], "CONFIG", "SET", "maxmemory-policy", "noeviction")


def test_a_booking_is_pending_until_its_nodes_replica_has_it(replicated, run, namespace):
    memory = run.open(replicated.url, namespace=namespace, replica_timeout=0.3)
    agenda = memory.agenda("shop", "chair")
    assert run(agenda.hold(DAY, DAY + QUARTER, by="ana", id="b1")).state == "held"
    primaries = replicated.primaries()
    for one in replicated.servers:
        if one not in primaries:
            one.signal(signal.SIGSTOP)
    assert run(agenda.confirm("b1")).state == "pending"
    assert run(memory.session(tenant="shop", channel="web", user="ana").receive("hi", message_id="1")).state == "accepted"


def test_credentials_are_every_nodes(run, namespace):
    require("valkey")
    with Cluster() as nodes:
        for one in nodes.servers:
            nodes.ask(one, "CONFIG", "SET", "requirepass", "s3cret")
        for url, works in ((nodes.url, False), (nodes.url.replace("//", "//:s3cret@"), True)):
            memory = run.open(url, namespace=namespace, max_retries=0)
            assert run(memory.health()).ok is works
        for user in ("ana", "rui", "eva", "ivo"):
            run(memory.session(tenant="shop", channel="web", user=user).append("user", "hi"))
        assert len(run(memory.sessions("shop")).items) == 4
