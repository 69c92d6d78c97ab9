"""Erasing on a Cluster while it is changed: whoever breaks off, whatever moves, a repetition leaves not a byte."""

from __future__ import annotations

import random
import signal
import sys
import threading
import time

import pytest
from redis.crc import key_slot

from conftest import require
from luni import Memory
from luni.backends.redis.cluster import traces
from luni.backends.redis.cluster.aio import AsyncClusterBackend
from luni.backends.redis.cluster.chains import Everywhere
from luni.backends.redis.cluster.sync import ClusterBackend
from luni.errors import BackendError, Fenced, Indeterminate, Unavailable
from luni.testing.clusters import Cluster

WORD = "zqperson"
CHANNELS = ("web", "sms", "mail", "whatsapp")


@pytest.fixture
def before_each_step(monkeypatch):
    """Has a function called before each step of an operation on a Cluster, with what is to be sent, another one after it."""

    def call(look, after=lambda: None):
        answers, later = ClusterBackend._answers, AsyncClusterBackend._answers

        def looked(self, wanted):
            look(wanted)
            found = answers(self, wanted)
            after()
            return found

        async def looked_later(self, wanted):
            look(wanted)
            found = await later(self, wanted)
            after()
            return found

        monkeypatch.setattr(ClusterBackend, "_answers", looked)
        monkeypatch.setattr(AsyncClusterBackend, "_answers", looked_later)

    return call


def talk(run, memory, user=WORD, channels=CHANNELS, locks=1):
    for channel in channels:
        session = memory.session(tenant="shop", channel=channel, user=user)
        turn = run(session.turn(f"{user} says", message_id=f"{user}.{channel}").open())
        run(turn.reply(f"to {user}"))
        run(session.receive(f"{user} again", message_id=f"{user}.{channel}.2"))
        for number in range(locks):
            run(session.lock(f"lock{number}", ttl=3600).acquire())


def keys_of(nodes, namespace, word=WORD):
    """All keys of this test that name somebody, or hold somebody's name, wherever they are."""
    found = []
    for one in nodes.primaries():
        with nodes.client(one) as asked:
            asked.connection_pool.connection_kwargs["decode_responses"] = False
            keys = list(asked.scan_iter(f"{namespace}:*", count=1000))
            found += [key for key in keys if word.encode() in key + (asked.dump(key) or b"")]
    return found


def erased(run, memory):
    """Erase as somebody does whose call failed: again, until it is done."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return run(memory.erase("shop", WORD))
        except BackendError:
            assert time.monotonic() < deadline, "it never came to an end"
            time.sleep(0.05)


def test_an_erasure_that_breaks_off_at_any_step_goes_on_when_it_is_repeated(cluster, run, namespace, before_each_step):
    memory = run.open(cluster.url, namespace=namespace, max_retries=0)
    allowed = [None]

    def look(_wanted):
        if allowed[0] is not None:
            allowed[0] -= 1
            if allowed[0] < 0:
                raise Indeterminate("gone")

    before_each_step(look)
    talk(run, memory, "bia", CHANNELS[:1])
    for steps in range(200):
        allowed[0] = None
        talk(run, memory, channels=CHANNELS[:2])
        allowed[0] = steps
        try:
            run(memory.erase("shop", WORD))
        except Indeterminate:
            allowed[0] = None
            run(memory.erase("shop", WORD))
            assert keys_of(cluster, namespace) == [], f"broken off after {steps} steps"
        else:
            break
    allowed[0] = None
    assert steps > 20
    assert [one.user for one in run(memory.unanswered("shop", older_than=0.0)).items] == ["bia"]
    assert [one.user for one in run(memory.sessions("shop")).items] == ["bia"]


def test_answers_that_are_lost_change_nothing(cluster, run, namespace, before_each_step, monkeypatch):
    """Every tenth step or so is executed, and nobody hears of it."""
    monkeypatch.setattr("luni.flows.FIRST_PAUSE", 0.0)
    memory = run.open(cluster.url, namespace=namespace, max_retries=10)
    talk(run, memory)
    talk(run, memory, "bia", CHANNELS[:1])
    chance, lost, going = random.Random(5), [], True

    def lose():
        if going and chance.random() < 0.1:
            lost.append(1)
            raise Indeterminate("the reply was lost")

    before_each_step(lambda _wanted: None, lose)
    run(memory.erase("shop", WORD))
    going = False
    assert len(lost) > 2
    assert keys_of(cluster, namespace) == []
    assert [one.user for one in run(memory.sessions("shop")).items] == ["bia"]


def crowded(run, memory):
    talk(run, memory, locks=6)  # which no list names
    for number in range(60):
        run(memory.session(tenant="shop", channel="web", user=f"u{number}").append("user", "hi"))


@pytest.mark.parametrize("how", ["at once", "on their way"])
def test_what_moves_past_an_erasure_is_found(cluster, run, namespace, before_each_step, monkeypatch, how):
    """The slots of what is erased go from server to server between the pages; some stay on their way for a while."""
    monkeypatch.setattr("luni.flows.erasure.AT_ONCE", 10)
    memory = run.open(cluster.url, namespace=namespace)
    crowded(run, memory)
    pages, moved, arriving = [0], set(), []

    def look(wanted):
        if not isinstance(wanted, Everywhere) or wanted.apart is None:
            return
        pages[0] += 1
        if pages[0] not in ({2, 3, 4} if how == "at once" else {3}):
            return
        for slot in {key_slot(key) for key in keys_of(cluster, namespace)}:
            owner = cluster.owner(slot)
            to = cluster.servers[(cluster.servers.index(owner) + 1) % len(cluster.servers)]
            moved.add(slot)
            cluster.begin_moving(slot, to)
            cluster.move_keys(slot, owner, to)
            if how == "at once":
                cluster.end_moving(slot, to)
            else:
                arriving.append((slot, to))
        if arriving:
            threading.Timer(0.3, lambda: [cluster.end_moving(*one) for one in arriving]).start()

    before_each_step(look)
    erased(run, memory)
    assert moved
    assert keys_of(cluster, namespace) == []
    assert len(run(memory.sessions("shop", limit=100)).items) == 60


def test_slots_that_never_arrive_are_told_and_not_taken_for_erased(cluster, run, namespace, monkeypatch):
    monkeypatch.setattr(traces, "LONGEST_PAUSE", 0.01)
    memory = run.open(cluster.url, namespace=namespace, max_retries=0, timeout=0.5)
    talk(run, memory, channels=["web"])
    slot = key_slot(b"a slot of nobody's")
    to = next(one for one in cluster.servers if one is not cluster.owner(slot))
    cluster.begin_moving(slot, to)
    try:
        with pytest.raises(Unavailable, match="on their way"):
            run(memory.erase("shop", WORD))
    finally:
        cluster.end_moving(slot, to)
    run(memory.erase("shop", WORD))
    assert keys_of(cluster, namespace) == []


@pytest.mark.timeout(180)
@pytest.mark.parametrize("at_page", [1, 2])
def test_a_server_fails_in_the_middle_of_an_erasure(replicated, run, namespace, before_each_step, monkeypatch, at_page):
    monkeypatch.setattr("luni.flows.erasure.AT_ONCE", 10)
    memory = run.open(replicated.url, namespace=namespace, timeout=1.0, connect_timeout=0.5)
    crowded(run, memory)
    replicated.wait_for_replicas()
    pages, took = [0], []

    def look(wanted):
        if isinstance(wanted, Everywhere) and wanted.apart is not None:
            pages[0] += 1
            if pages[0] == at_page:
                took.append(replicated.kill(replicated.owner(key_slot(f"{namespace}:x".encode()))))

    before_each_step(look)
    erased(run, memory)
    assert len(took) == 1
    sys.stderr.write(f"a failover of {took[0]:.1f} s in an erasure of {pages[0]} pages\n")
    assert keys_of(replicated, namespace) == []
    assert len(run(memory.sessions("shop", limit=100)).items) == 60


def test_an_erasure_waits_for_no_server_that_is_away(replicated, run, namespace):
    memory = run.open(replicated.url, namespace=namespace, max_retries=0, timeout=0.5)
    talk(run, memory, channels=["web"])
    stopped = replicated.owner(key_slot(b"whichever"))
    stopped.signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        with pytest.raises((Unavailable, Indeterminate)):
            run(memory.erase("shop", WORD))
        assert time.monotonic() - began < 15
    finally:
        stopped.signal(signal.SIGCONT)
    replicated.wait_until_whole()
    erased(run, memory)
    assert keys_of(replicated, namespace) == []


def test_what_only_the_lists_versions_name_is_found(cluster, run, namespace):
    """Half of what there was: a server that evicts keys, a worker that died."""
    memory = run.open(cluster.url, namespace=namespace)
    talk(run, memory, "bia", ["web"])
    versions = f"{namespace}:tenant:{{shop}}:listed"
    owner = cluster.owner(key_slot(versions.encode()))
    cluster.ask(owner, "HSET", versions, f"web:{WORD}", "1", f"unsent|web:{WORD}", "1|1|1", f"sms:{WORD}", "2")
    run(memory.erase("shop", WORD))
    assert keys_of(cluster, namespace) == []
    assert len(run(memory.sessions("shop")).items) == 1
    assert keys_of(cluster, namespace, "bia")


def test_a_tenant_whose_erasure_somebody_writes_into_is_still_swept(cluster, run, namespace, before_each_step):
    """Somebody comes back after the lists were looked at, and before the tenant is taken off the tenants."""
    memory = run.open(cluster.url, namespace=namespace)
    talk(run, memory, channels=["web"])
    came = []

    def look(wanted):
        names = [command.call.script.name for chain in wanted for command in chain._left] if isinstance(wanted, list) else []
        if "depart" in names and not came:
            came.append("bia")
            with Memory.open(cluster.url, namespace=namespace) as other:
                other.session(tenant="shop", channel="web", user="bia").receive("hi", message_id="1")

    before_each_step(look)
    run(memory.erase("shop"))
    assert came == [one.user for one in run(memory.unanswered(older_than=0.0)).items]
    assert keys_of(cluster, namespace) == []


@pytest.mark.timeout(180)
def test_somebody_erased_while_the_cluster_is_away_is_erased_there_when_it_is_back(run, namespace, tmp_path):
    """With a fallback: the host's own storage at once, the Cluster as soon as it answers; an open turn is fenced."""
    require("valkey")
    with Cluster(node_timeout_ms=20_000) as nodes:
        local = f"sqlite:///{tmp_path / 'local.db'}"
        memory = run.open(nodes.url, namespace=namespace, fallback=local, max_retries=0)
        talk(run, memory, channels=CHANNELS[:2])
        talk(run, memory, "bia", CHANNELS[:1])
        turn = run(memory.session(tenant="shop", channel="mail", user=WORD).turn("open", message_id="open").open())
        for one in nodes.servers:
            one.signal(signal.SIGSTOP)
        try:
            assert run(memory.erase("shop", WORD)).pending == ("redis",)
            with pytest.raises(Fenced):
                run(turn.reply("late"))
        finally:
            for one in nodes.servers:
                one.signal(signal.SIGCONT)
        deadline = time.monotonic() + 60
        while memory._backend.keeper.journal.owed_erasures() or run(memory.health()).degraded:
            assert time.monotonic() < deadline, "it was never erased there"
            time.sleep(0.05)
        assert keys_of(nodes, namespace) == []
        assert [one.user for one in run(memory.sessions("shop")).items] == ["bia"]
        run(memory.close())
    assert [path.name for path in tmp_path.iterdir() if WORD.encode() in path.read_bytes()] == []
