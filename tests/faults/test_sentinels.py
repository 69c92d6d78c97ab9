"""A primary fails and another takes over: luni follows it, without a restart."""

from __future__ import annotations

import signal
import sys
import threading
import time

import pytest
from outages import caught_up, reaches, told

from conftest import require
from luni import Memory, Policy
from luni.errors import BackendError, ConfigError, LuniError, Unavailable
from luni.events import FailedOver
from luni.ops.chaos_verdict import heard, misplaced
from luni.ops.doctor import examine
from luni.settings import Settings
from luni.testing.sentinels import Sentinels

FAILOVERS, GRACE = 3, 2.0


@pytest.fixture
def watched(kind):
    require(kind)
    with Sentinels(kind) as pair:
        yield pair


@pytest.fixture
def kind():
    return "valkey"


def until_it_works(run, session, number):
    """Return after how many seconds a turn was answered."""
    began = time.monotonic()
    while time.monotonic() - began < 30:
        try:
            turn = run(session.turn(f"message {number}", message_id=f"m{number}").open())
            if turn.should_reply:
                run(turn.reply(f"answer {number}"))
            return time.monotonic() - began
        except BackendError:
            time.sleep(0.02)
    pytest.fail("it never worked again")


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("run", "kind", "way", "times"),
    [
        ("sync", "valkey", signal.SIGKILL, FAILOVERS),
        ("async", "valkey", signal.SIGSTOP, 2),
        ("sync", "redis", signal.SIGKILL, 1),
    ],
    ids=["sync, valkey killed", "async, valkey stopped", "sync, redis killed"],
    indirect=["run"],
)
def test_turns_go_on_with_whoever_is_the_primary(watched, run, namespace, many, way, times):
    memory = run.open(watched.url, namespace=namespace, timeout=0.5, connect_timeout=0.5, max_retries=1)
    session = memory.session(tenant="shop", channel="web", user="ana")
    until_it_works(run, session, 0)
    late = []
    for number in range(1, many.of(times) + 1):
        watched.wait_for_replica()  # what only the primary has when it fails is lost: nobody promises otherwise
        former = watched.primary()
        former.signal(way)
        took = watched.wait_for_another(former)
        late.append(until_it_works(run, session, number))
        assert late[-1] <= GRACE, f"{late[-1]:.1f} s after a failover of {took:.1f} s"
        if way == signal.SIGSTOP:
            former.signal(signal.SIGCONT)
        else:
            former.stop()
            former.start()
        watched.wait_for_replica()
    texts = [m.text for m in run(session.messages())]
    assert texts[-2:] == [f"message {len(late)}", f"answer {len(late)}"]
    sys.stderr.write(f"{len(late)} failovers: answered again {', '.join(f'{one:.2f}' for one in late)} s after each\n")


def test_a_primary_that_became_a_replica_is_left(watched, run, namespace):
    """Nobody died: the connections are fine, and lead to a server that takes no writes."""
    memory = run.open(watched.url, namespace=namespace, timeout=1.0, connect_timeout=1.0)
    session = memory.session(tenant="shop", channel="web", user="ana")
    until_it_works(run, session, 0)
    watched.fail_over()
    assert until_it_works(run, session, 1) < GRACE
    assert [m.text for m in run(session.messages())][-1] == "answer 1"


@pytest.mark.parametrize("run", ["async"], indirect=True)
def test_a_name_that_no_sentinel_knows_is_unavailable(watched, run, namespace):
    memory = run.open(watched.url.replace(f"/{watched.name}", "/nobody"), namespace=namespace, max_retries=0)
    with pytest.raises(Unavailable):
        run(memory.session(tenant="shop", channel="web", user="ana").info())
    assert not run(memory.health()).ok


@pytest.mark.parametrize("run", ["async"], indirect=True)
def test_sentinels_that_are_away_are_passed_over(watched, run, namespace):
    watched.watchers[0].stop()
    memory = run.open(watched.url, namespace=namespace, connect_timeout=0.5)
    assert run(memory.health()).ok
    watched.watchers[1].stop()
    watched.watchers[2].stop()
    assert run(memory.health()).ok, "who is connected needs no Sentinel"
    other = run.open(watched.url, namespace=namespace, connect_timeout=0.5, max_retries=0)
    assert not run(other.health()).ok


def test_the_doctor_looks_through_the_sentinels_and_shows_no_password(watched):
    url = watched.url.replace("://", "://:s3cret@")
    found = examine(Settings(url=url, max_retries=0, connect_timeout=0.5, timeout=0.5))
    assert "s3cret" not in repr(found.store) + repr(found.settings) + found.problem  # the servers want no password: refused
    found = examine(Settings(url=watched.url))
    assert found.healthy
    assert found.store["replicas"] == 1
    assert found.locks_and_bookings == "kept; a booking is pending until 1 of 1 replicas has it"


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://",
        "redis+sentinel://host",
        "redis+sentinel://host:x/name",
        "redis+sentinel://host/name/0/1",
        "redis+sentinel://,/n",
    ],
)
def test_a_url_that_names_no_primary_is_refused_at_open(run, url):
    with pytest.raises(ConfigError, match=r"redis\+sentinel://"):
        run.open(url)


class Speaker(threading.Thread):
    """Speaks all the time; remembers what was acknowledged, how long each call took, and what went wrong."""

    def __init__(self, session):
        super().__init__()
        self.said, self.errors, self.slowest, self.stopped = [], [], 0.0, threading.Event()
        self._session = session

    def run(self):
        number = 0
        while not self.stopped.wait(0.005):
            number, began = number + 1, time.monotonic()
            try:
                self._session.append("user", f"says {number}", message_id=f"m{number}")
            except LuniError as error:
                self.errors.append(error)
            else:
                self.said.append(f"says {number}")
            self.slowest = max(self.slowest, time.monotonic() - began)


@pytest.mark.timeout(200)
def test_with_a_fallback_service_goes_on_while_another_becomes_the_primary(watched, namespace, fallback):
    events = []
    options = {"namespace": namespace, "policies": {"*": Policy(transcript_messages=10_000)}}
    with Memory.open(watched.url, fallback=fallback, on_event=events.append, **options) as memory:
        speaker = Speaker(memory.session(tenant="shop", channel="web", user="ana"))
        speaker.start()
        try:
            assert reaches(lambda: len(speaker.said) > 100)
            replicated = len(speaker.said)
            watched.wait_for_replica()
            former = watched.primary()
            former.signal(signal.SIGKILL)
            before = len(speaker.said)
            took = watched.wait_for_another(former)
            meanwhile = len(speaker.said) - before
            assert caught_up(memory), "what was said meanwhile does not reach the new primary"
        finally:
            speaker.stopped.set()
            speaker.join()
        assert caught_up(memory)
    with Memory.open(watched.url, **options) as direct:
        found = heard(direct.session(tenant="shop", channel="web", user="ana").export())
    lost, twice, early = misplaced(speaker.said, found)
    told(
        "failover", seconds=round(took, 2), acknowledged=len(speaker.said), meanwhile=meanwhile, lost=len(lost),
        lost_of_replicated=len(set(lost) & set(speaker.said[:replicated])), doubled=len(twice), early=len(early),
        slowest_ms=round(1000 * speaker.slowest), errors=len(speaker.errors),
    )  # fmt: skip
    assert meanwhile > 5, "it waited for the failover"
    assert any(isinstance(event, FailedOver) for event in events)
    assert speaker.errors == []
    assert (lost, twice, early) == ([], [], []), "what the replica had not got yet is in the mirror"
