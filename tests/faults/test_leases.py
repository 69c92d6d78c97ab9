"""Leases are renewed while a worker works, and refused to one that has lost its own."""

from __future__ import annotations

import asyncio
import time

import pytest

from luni import Memory, Policy, SessionUpdate
from luni.errors import Fenced
from luni.events import LeaseLost

LEASE = 0.4
SHORT = {"*": Policy(lease=LEASE)}


class Stopped:
    """The clock of a host that was asleep and does not know it: no renewals, no deadline of its own."""

    automatic = False

    def time_ms(self):
        return time.time_ns() // 1_000_000

    def monotonic(self):
        return 0.0


def passing(run, seconds):
    """Let time pass; an event loop must run meanwhile to renew."""
    run(asyncio.sleep(seconds)) if run.kind == "async" else time.sleep(seconds)


@pytest.fixture(params=["server", "sqlite"])
def url(request, server, tmp_path):
    return server.url if request.param == "server" else f"sqlite:///{tmp_path / 'm.db'}"


def test_a_turn_of_three_leases_is_renewed(url, run, namespace, somebody):
    memory, other = run.open(url, namespace=namespace, policies=SHORT), run.open(url, namespace=namespace, policies=SHORT)
    address = somebody()
    turn = run(memory.session(**address).turn("hello", message_id="m1").open())
    for _ in range(6):
        passing(run, LEASE / 2)
        assert not turn.lost
        assert run(other.session(**address).turn("hello", message_id="m1").open()).state == "in_progress"
    run(turn.reply("hi"))
    assert [m.text for m in run(other.session(**address).messages())] == ["hello", "hi"]


def test_turns_opened_one_after_the_other_are_all_renewed(url, run, namespace):
    """One timer serves them all, those too that are opened while it sleeps."""
    memory = run.open(url, namespace=namespace, policies=SHORT)
    turns = []
    for number in range(12):
        turn = run(memory.session(tenant="t", channel="c", user=f"user{number}").turn("hello", message_id="m1").open())
        turns.append(turn)
        passing(run, LEASE / 7)
    passing(run, 2 * LEASE)
    assert [turn.lost for turn in turns] == [False] * 12
    for turn in turns:
        run(turn.reply("hi"))


def test_a_late_reply_is_fenced_by_the_store_itself(url, run, namespace, somebody):
    """The worker's own clock tells it nothing: the token decides."""
    memory = run.open(url, namespace=namespace, policies=SHORT, clock=Stopped())
    other = run.open(url, namespace=namespace, policies=SHORT)
    for successor in (False, True):
        session = memory.session(**somebody())
        turn = run(session.turn("hello", message_id="m1").open())
        passing(run, 1.3 * LEASE)
        if successor:
            next_turn = run(other.session(tenant="shop", channel="web", user=session.user).turn().open())
            assert (next_turn.state, next_turn.attempt) == ("open", 2)
            assert next_turn.token > turn.token
        with pytest.raises(Fenced):
            run(turn.reply("too late", update=SessionUpdate(metadata={"late": True})))
        with pytest.raises(Fenced):
            run(turn.skip())
        info = run(session.info())
        assert (info.message_count, info.unanswered) == (1, 1)
        assert "late" not in info.metadata
        run(turn.close())
        if successor:
            assert [m.text for m in run(next_turn.reply("in time"))] == ["in time"], "the late worker took the lease away"


def test_a_worker_that_cannot_renew_is_told(own_server, run, namespace, somebody):
    """The server is gone for longer than the lease: ``lost`` is seen, the event comes, the reply is refused without asking."""
    server, told = own_server(), []
    memory = run.open(
        server.url, namespace=namespace, policies=SHORT, on_event=told.append, max_retries=0, connect_timeout=0.2, timeout=0.2
    )
    turn = run(memory.session(**somebody()).turn("hello", message_id="m1").open())
    assert not turn.lost
    server.stop()
    passing(run, 1.6 * LEASE)
    assert turn.lost
    passing(run, LEASE)
    assert any(isinstance(event, LeaseLost) for event in told)
    with pytest.raises(Fenced):
        run(turn.reply("too late"))


def test_the_renewals_of_a_closed_memory_stop(server, namespace):
    memory = Memory.open(server.url, namespace=namespace, policies=SHORT)
    turn = memory.session(tenant="t", channel="c", user="u").turn("hello", message_id="m1").open()
    thread = memory._renewals._thread
    memory.close()
    thread.join(2)
    assert not thread.is_alive()
    assert turn.state == "open"
