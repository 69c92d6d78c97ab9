"""The server goes away and nothing is lost: outages of every kind, killed writers, a server that is back empty."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from redis import Redis

from luni import Memory, Policy, SessionUpdate
from luni.backends.failover.journal import Journal
from luni.backends.failover.places import journal_path
from luni.backends.redis.scripts import SCRIPTS
from luni.errors import Degraded, Fenced, Indeterminate, LuniError
from luni.events import Recovered, Replayed, StoreLost
from luni.settings import Settings

DURABLE = ("--appendonly", "yes", "--appendfsync", "always")
KEPT = {"*": Policy(transcript_messages=10_000)}
OUTAGES, THREADS = 60, 4
KILLS = 2000


def until(condition, seconds=15.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that in time"
        time.sleep(0.02)


def caught_up(memory):
    """Whether everything has reached the server."""
    return not memory.health().degraded


def pause(run, seconds):
    """Let time pass; what is held is renewed meanwhile."""
    if run.kind == "async":
        run(asyncio.sleep(seconds))
    else:
        time.sleep(seconds)


def descriptors():
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def texts(run, session, limit=100):
    return [message.text for message in run(session.messages(limit))]


def talk(run, session, text, message_id):
    turn = run(session.turn(text, message_id=message_id).open())
    if turn.should_reply:
        run(turn.reply(f"re: {text}"))
    run(turn.close())
    return turn


def test_service_goes_on_without_the_server_and_everything_follows(own_server, run, namespace, fallback):
    server, events = own_server(*DURABLE), []
    memory = run.open(server.url, namespace=namespace, fallback=fallback, on_event=events.append)
    session = memory.session(tenant="shop", channel="web", user="ana")
    talk(run, session, "before", "m1")
    server.stop()

    during = talk(run, session, "during", "m2")
    assert (during.state, during.degraded) == ("open", True)
    assert texts(run, session) == ["before", "re: before", "during", "re: during"], "history is readable in an outage"
    assert run(session.turn("during", message_id="m2").open()).state == "duplicate", "exactly-once holds on this host"
    assert run(session.turn("before", message_id="m1").open()).state == "duplicate", "also for what the server accepted"
    health = run(memory.health())
    assert (health.ok, health.degraded) == (True, True)
    assert health.journal_depth > 0
    with pytest.raises(Degraded):
        run(memory.lock("shop", "chair").acquire())
    with pytest.raises(Degraded):
        run(memory.session(tenant="shop", channel="web", user="nobody").info())

    server.start()
    until(lambda: not run(memory.health()).degraded)
    talk(run, session, "after", "m3")
    plain = run.open(server.url, namespace=namespace)
    found = run(plain.session(tenant="shop", channel="web", user="ana").messages())
    assert [(m.text, m.late) for m in found] == [
        ("before", False), ("re: before", False), ("during", False), ("re: during", True), ("after", False),
        ("re: after", False),
    ]  # fmt: skip
    assert [type(one) for one in events if isinstance(one, Recovered)] == [Recovered]
    assert sum(one.counts.get("replayed", 0) for one in events if isinstance(one, Replayed)) == health.journal_depth


def test_down_at_start_and_up_later(own_server, run, namespace, fallback):
    server = own_server(*DURABLE)
    server.stop()
    memory = run.open(server.url, namespace=namespace, fallback=fallback)
    session = memory.session(tenant="shop", channel="web", user="ana")
    first = talk(run, session, "hello", "m1")
    assert (first.state, first.new_session) == ("open", False), "an unknown session is unknown, never new"
    server.start()
    until(lambda: not run(memory.health()).degraded)
    assert texts(run, run.open(server.url, namespace=namespace).session(tenant="shop", channel="web", user="ana")) == [
        "hello", "re: hello",
    ]  # fmt: skip


def test_a_turn_that_was_open_is_answered_in_the_outage(own_server, run, namespace, fallback):
    server = own_server(*DURABLE)
    memory = run.open(server.url, namespace=namespace, fallback=fallback)
    session = memory.session(tenant="shop", channel="web", user="ana")
    turn = run(session.turn("hello", message_id="m1").open())
    server.stop()
    run(turn.reply("hi"))
    server.start()
    until(lambda: not run(memory.health()).degraded)
    assert texts(run, session) == ["hello", "hi"]
    assert run(session.info()).unanswered == 0


def test_a_turn_that_was_open_is_answered_although_the_mirror_was_behind(own_server, run, namespace, fallback):
    """What was said since the last snapshot, here and on another host, is what the open turn answers."""
    server = own_server(*DURABLE)
    memory = run.open(server.url, namespace=namespace, fallback=fallback)
    session = memory.session(tenant="shop", channel="web", user="ana")
    talk(run, session, "first", "m1")
    until(lambda: not len(memory._backend.keeper.tails))  # a snapshot has it
    memory._backend.keeper._snapshots = lambda _older_than: None
    other = run.open(server.url, namespace=namespace).session(tenant="shop", channel="web", user="ana")
    run(session.receive("here", message_id="m2"))
    run(other.receive("there", message_id="m3"))
    turn = run(session.turn().open())
    server.stop()
    run(turn.skip("heard"))
    assert texts(run, session) == ["first", "re: first", "here", "there"]
    server.start()
    until(lambda: not run(memory.health()).degraded)
    assert run(other.info()).unanswered == 0


@pytest.mark.parametrize("gathering", [False, True])
def test_a_turn_that_took_long_is_answered_in_the_outage(own_server, run, namespace, fallback, gathering):
    """The mirror knows that its lease was renewed, and how far a burst was gathered."""
    server = own_server(*DURABLE)
    policy = Policy(lease=1.5, coalesce=0.3 if gathering else 0)
    memory = run.open(server.url, namespace=namespace, fallback=fallback, policies={"*": policy})
    session = memory.session(tenant="shop", channel="web", user="ana")
    turn = run(session.turn("hello", message_id="m1").open())
    pause(run, 2.5)
    server.stop()
    run(turn.reply("hi"))
    server.start()
    until(lambda: not run(memory.health()).degraded)
    assert texts(run, session) == ["hello", "hi"]


def test_a_turn_that_was_given_up_stops_nobody_in_the_outage(own_server, run, namespace, fallback):
    server = own_server(*DURABLE)
    memory = run.open(server.url, namespace=namespace, fallback=fallback)
    session = memory.session(tenant="shop", channel="web", user="ana")
    turn = run(session.turn("hello", message_id="m1").open())
    until(lambda: not len(memory._backend.keeper.tails))  # a snapshot has its lease
    run(turn.close())
    server.stop()
    assert run(session.turn("hello?", message_id="m2").open()).state == "open"


def test_a_turn_opened_in_the_outage_is_answered_after_it(own_server, run, namespace, fallback):
    server = own_server(*DURABLE)
    memory = run.open(server.url, namespace=namespace, fallback=fallback)
    session = memory.session(tenant="shop", channel="web", user="ana")
    talk(run, session, "before", "m1")
    server.stop()
    turn = run(session.turn("hello", message_id="m2").open())
    server.start()
    until(lambda: run(memory.health()).latency_ms > 0)  # the server answers again, and the turn is still open here
    run(turn.reply("hi"))
    until(lambda: not run(memory.health()).degraded)
    assert texts(run, session) == ["before", "re: before", "hello", "hi"]


@pytest.mark.parametrize("outage", ["accept", "refuse"])
def test_the_policy_decides_what_a_message_meets(own_server, run, namespace, fallback, outage):
    server = own_server(*DURABLE)
    memory = run.open(server.url, namespace=namespace, fallback=fallback, policies={"*": Policy(outage=outage)})
    session = memory.session(tenant="shop", channel="web", user="ana")
    talk(run, session, "before", "m1")
    server.stop()
    if outage == "refuse":
        with pytest.raises((Degraded, Indeterminate)):
            run(session.turn("hello", message_id="m2").open())
        with pytest.raises(Degraded):
            run(session.turn("hello", message_id="m2").open())
        assert memory._backend.keeper.journal.depth() == 0
        return
    turn = run(session.turn("hello", message_id="m2").open())
    assert (turn.state, turn.should_reply) == ("accepted", False)
    server.start()
    until(lambda: not run(memory.health()).degraded)
    (waiting,) = run(memory.unanswered(older_than=0))
    assert waiting.user == "ana"


def _write(memory, stop, mine, acknowledged, slowest):
    number = 0
    while not stop.is_set():
        number += 1
        for user in mine:
            session, began = memory.session(tenant="shop", channel="web", user=user), time.monotonic()
            session.receive(f"{user} {number}", message_id=f"{user}-{number}")
            slowest.append(time.monotonic() - began)
            acknowledged[user].append(f"{user} {number}")
            if number % 8 == 0:
                with session.turn() as turn:
                    if turn.should_reply:
                        turn.skip("heard")
        time.sleep(0.002)


def test_outages_lose_double_and_reorder_nothing(own_server, namespace, fallback, many):
    """Killed, stopped, killed …: every acknowledged message is there once, in the order of its session."""
    server, stop = own_server(*DURABLE), threading.Event()
    memory = Memory.open(server.url, namespace=namespace, fallback=fallback, policies=KEPT)
    acknowledged: dict[str, list[str]] = {f"u{number}": [] for number in range(16)}
    slowest: list[float] = []

    users = sorted(acknowledged)
    writers = [
        threading.Thread(target=_write, args=(memory, stop, users[part::THREADS], acknowledged, slowest))
        for part in range(THREADS)
    ]
    for writer in writers:
        writer.start()
    for number in range(many.of(OUTAGES)):
        time.sleep(0.15)
        if number % 3:
            server.signal(signal.SIGKILL)
            server._process.wait()
            server._process = None
            time.sleep(0.1)
            server.start()
        else:
            server.signal(signal.SIGSTOP)
            time.sleep(0.5)
            server.signal(signal.SIGCONT)
        time.sleep(0.1)
    stop.set()
    for writer in writers:
        writer.join()
    until(lambda: caught_up(memory), 60)
    memory.close()
    lost = doubled = disordered = 0
    with Memory.open(server.url, namespace=namespace, policies=KEPT) as plain:
        for user, said in acknowledged.items():
            found = [m.text for m in plain.session(tenant="shop", channel="web", user=user).messages(10_000)]
            counted = Counter(found)
            lost += sum(text not in counted for text in said)
            doubled += sum(number > 1 for number in counted.values())
            disordered += found != said
    slowest.sort()
    total = sum(map(len, acknowledged.values()))
    print(  # noqa: T201  counts are to be seen
        f"{many.of(OUTAGES)} outages, {total} messages: {lost} lost, {doubled} doubled, {disordered} sessions out of order; "
        f"p99 {1000 * slowest[int(0.99 * len(slowest))]:.0f} ms, slowest {1000 * slowest[-1]:.0f} ms"
    )
    assert (lost, doubled, disordered) == (0, 0, 0)
    assert total > 1000, "nothing much was written"
    assert slowest[int(0.99 * len(slowest))] < 1.0


@pytest.mark.timeout(400)
def test_killed_writers_lose_nothing_they_acknowledged(own_server, namespace, fallback, many, tmp_path):
    """Each child says what was acknowledged, and is killed at any moment; the journal has all of it, once, and readable."""
    server = own_server(*DURABLE)
    with Memory.open(server.url, namespace="first", fallback=f"{fallback}-first") as memory:
        memory.session(tenant="shop", channel="web", user="x").receive(
            "hello", message_id="m"
        )  # the children have everything imported
    server.stop()
    acknowledged: set[str] = set()
    kills, rounds = 0, many.of(KILLS)
    while kills < rounds:
        children = [_child(server.url, namespace, fallback, f"{kills}-{part}") for part in range(8)]
        time.sleep(0.002 + 0.04 * (kills % 7) / 7)
        for pid, reader in children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            with os.fdopen(reader, "rb") as said:
                acknowledged |= set(said.read().decode().split("\n")[:-1])
            kills += 1
    journal = Journal(journal_path(fallback, namespace), Settings(namespace=namespace))
    standing = journal.standing()
    journal.close()
    server.start()
    with Memory.open(server.url, namespace=namespace, fallback=fallback, policies=KEPT) as memory:
        memory.session(tenant="shop", channel="web", user="x").receive("wake", message_id="wake")
        until(lambda: caught_up(memory), 120)
    found = Counter()
    with Memory.open(server.url, namespace=namespace, policies=KEPT) as plain:
        cursor = None
        while True:
            page = plain.sessions("shop", limit=200, cursor=cursor)
            for info in page:
                found.update(m.id for m in plain.session(tenant="shop", channel="web", user=info.user).messages(10_000))
            cursor = page.cursor
            if cursor is None:
                break
    lost = sum(one not in found for one in acknowledged)
    doubled = sum(number > 1 for number in found.values())
    print(  # noqa: T201  counts are to be seen
        f"{kills} kills: {len(acknowledged)} acknowledged, {lost} lost, {doubled} doubled, {standing.dead} unreadable"
    )
    assert (lost, doubled, standing.dead) == (0, 0, 0)
    assert len(acknowledged) > kills / 10, "nothing much was written"


def _child(url, namespace, fallback, name):
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writer)
        return pid, reader
    try:  # a turn that is open when its process is killed is replayed when its lease is over
        policies = {"*": Policy(transcript_messages=10_000, lease=2)}
        memory = Memory.open(url, namespace=namespace, fallback=fallback, policies=policies)
        number = 0
        while True:
            number += 1
            who = memory.session(tenant="shop", channel="web", user=f"u{hash(name) % 50}")
            who.receive(f"{name} {number}", message_id=f"{name}-{number}")
            os.write(writer, f"{name}-{number}\n".encode())
            if number % 5 == 0:
                with who.turn() as turn:
                    if turn.should_reply:
                        turn.skip()
    except LuniError:
        pass
    finally:
        os._exit(0)


def test_a_server_that_is_back_empty_is_healed_from_the_mirror(own_server, run, namespace, fallback):
    server, events = own_server(), []
    memory = run.open(server.url, namespace=namespace, fallback=fallback, on_event=events.append)
    sessions = [memory.session(tenant="shop", channel="web", user=f"u{number}") for number in range(10)]
    for number in range(3):
        for session in sessions:
            talk(run, session, f"say {number}", f"m{number}")
    run(sessions[0].update(SessionUpdate(metadata={"size": "L"})))
    time.sleep(0.3)
    expected = [(run(session.info()), texts(run, session)) for session in sessions]
    server.signal(signal.SIGKILL)
    server._process.wait()
    server._process = None
    server.start()  # without what it had
    until(lambda: any(isinstance(one, StoreLost) for one in events))
    until(lambda: not run(memory.health()).degraded)
    (lost,) = [one for one in events if isinstance(one, StoreLost)]
    assert (lost.how, lost.sessions) == ("empty", 10)
    plain = run.open(server.url, namespace=namespace)
    for session, (info, said) in zip(sessions, expected, strict=True):
        there = plain.session(tenant="shop", channel="web", user=session.user)
        assert texts(run, there) == said
        found = run(there.info())
        assert (found.session_id, found.metadata, found.message_count) == (info.session_id, info.metadata, info.message_count)
    assert run(sessions[1].turn("say 1", message_id="m1").open()).state == "duplicate"
    assert run(memory.reopen_bookings())


@pytest.mark.parametrize("lost", [1, 2, 5, 10])
@pytest.mark.parametrize("name", ["accept", "reply", "append", "update"])
def test_lost_replies_have_one_effect_with_a_fallback_too(server, proxy_to, run, namespace, fallback, name, lost):
    proxy = proxy_to(server)
    memory = run.open(proxy.url, namespace=namespace, fallback=fallback)
    session = memory.session(tenant="shop", channel="web", user="ana")
    talk(run, session, "before", "m0")
    proxy.match(SCRIPTS[name].sha, times=lost)
    talk(run, session, "hello", "m1")
    run(session.append("system", "note", message_id="n1"))
    run(session.update(SessionUpdate(metadata={"a": 1})))
    proxy.passing()
    until(lambda: not run(memory.health()).degraded)
    plain = run.open(server.url, namespace=namespace).session(tenant="shop", channel="web", user="ana")
    assert texts(run, plain) == ["before", "re: before", "hello", "re: hello", "note"]
    info = run(plain.info())
    assert (info.message_count, info.unanswered, info.metadata["a"]) == (5, 0, 1)


def test_a_journal_that_cannot_be_written_acknowledges_nothing(own_server, run, namespace, fallback, monkeypatch):
    server = own_server(*DURABLE)
    memory = run.open(server.url, namespace=namespace, fallback=fallback)
    session = memory.session(tenant="shop", channel="web", user="ana")
    talk(run, session, "before", "m1")
    server.stop()

    def full(*_):
        raise LuniError("the disk is full")

    monkeypatch.setattr(Journal, "add", full)
    with pytest.raises(LuniError, match="full"):
        run(session.receive("hello", message_id="m2"))
    monkeypatch.undo()
    assert texts(run, session) == ["before", "re: before"], "what was not acknowledged is nowhere"
    assert run(session.receive("hello", message_id="m2")).state == "accepted"
    server.start()
    until(lambda: not run(memory.health()).degraded)
    assert texts(run, session) == ["before", "re: before", "hello"]


def test_somebody_erased_in_an_outage_with_a_turn_open_leaves_no_byte(own_server, run, namespace, tmp_path):
    canary, server = "canary5547", own_server(*DURABLE)
    memory = run.open(server.url, namespace=namespace, fallback=f"sqlite:///{tmp_path / 'local.db'}")
    session = memory.session(tenant="shop", channel="web", user=canary)
    for number in range(3):
        talk(run, session, f"{canary} {number}", f"{canary}-{number}")
    server.stop()
    talk(run, session, f"{canary} out", f"{canary}-out")
    turn = run(session.turn(f"{canary} open", message_id=f"{canary}-open").open())
    receipt = run(memory.erase("shop", canary))
    assert receipt.pending == ("redis",)
    with pytest.raises(Fenced):
        run(turn.reply(f"{canary} late"))
    run(turn.close())
    server.start()
    until(lambda: not memory._backend.keeper.journal.owed_erasures())
    until(lambda: not run(memory.health()).degraded)
    afresh = run(session.turn("hello", message_id=f"{canary[:6]}-new").open())
    assert [m.text for m in afresh.context.messages] == ["hello"]
    run(afresh.reply("hi"))
    run(memory.erase("shop", canary))
    with Redis(port=server.port) as plain:
        plain.bgrewriteaof()
        until(lambda: not plain.info("persistence")["aof_rewrite_in_progress"])
        assert [key for key in plain.scan_iter(count=1000) if canary.encode() in key] == []
    run(memory.close())
    files = [path for folder in (tmp_path, server.folder) for path in folder.rglob("*") if path.is_file()]
    assert [path.name for path in files if canary.encode() in path.read_bytes()] == []


def test_descriptors_and_threads_are_flat_over_a_thousand_outages(server, proxy_to, namespace, fallback, many):
    proxy = proxy_to(server)
    with Memory.open(proxy.url, namespace=namespace, fallback=fallback) as memory:
        session = memory.session(tenant="shop", channel="web", user="ana")
        for number in range(50):
            session.receive(f"warm {number}", message_id=f"w{number}")
        memory.health()
        before = (descriptors(), threading.active_count())
        for number in range(many.of(1000)):
            memory._backend.keeper.breaker.failed(1.0)
            proxy.reset()
            if number % 20 == 0:
                with session.turn() as turn:
                    turn.skip()
                session.receive(f"out {number}", message_id=f"o{number}")
        until(lambda: caught_up(memory), 30)
        time.sleep(0.5)
        after = (descriptors(), threading.active_count())
    print(f"{many.of(1000)} outages: descriptors {before[0]} to {after[0]}, threads {before[1]} to {after[1]}")  # noqa: T201
    assert after[0] <= before[0] + 8
    assert after[1] <= before[1] + 4
