"""A suite that cannot see a bug proves nothing: each of these is planted in the processes, and must be caught."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from crew import Crew, Nemesis
from histories import lock_violations, overlaps_in_reads
from linearizability import linearizable
from loaded import load_scripts
from planted import BUGS
from test_linearizability import record
from test_locks import GUARDS, LOST, begin_sessions, guarded

import luni
from luni.backends.redis.scripts import SCRIPTS

TRIES = 8
HURRIED = {"lingers": 0, "pause": 0, "quarters": 24}
"""How often chance may miss a bug before the suite has missed it."""


class Places:
    """Servers and folders for one try after the other."""

    def __init__(self, own_server, proxy_to, namespace, tmp_path):
        self.own_server, self.proxy_to, self.namespace, self.tmp_path = own_server, proxy_to, namespace, tmp_path
        self.count = 0

    def fresh(self):
        self.count += 1
        folder = self.tmp_path / f"try{self.count}"
        return self.own_server(), f"{self.namespace}{self.count}", folder


def by_locks(places, bug):
    """The history of guarded functions whose workers are paused for longer than their locks last."""
    server, namespace, folder = places.fresh()
    folder.mkdir()
    begin_sessions(server.url, namespace)
    proxy = places.proxy_to(server)
    crew = Crew("lock", [server.url, proxy.url] * 3, namespace, folder, each=60, bug=bug, **GUARDS | {"locks": 1})
    nemesis = Nemesis(crew, random.Random(5), server=server, proxy=proxy, lost=LOST, only="worker_paused")
    return lock_violations(guarded(crew, nemesis, faults=1))


def by_order(places, bug):
    """The order of what processes see of one resource."""
    server, namespace, folder = places.fresh()
    history, _ = record(server, places.proxy_to(server), namespace, folder, places.count, bug=bug, **HURRIED)
    return overlaps_in_reads(history) or ([] if linearizable(history) else ["no order explains the history"])


SCRIPT = """
import sys
sys.path.insert(0, {here!r})
from planted import plant
from luni import Memory
from booking_worker import DAY, QUARTER
plant({bug!r})
memory = Memory.open({url!r}, namespace={namespace!r}, replica_timeout=0.3)
{body}
"""


def asked(bug, url, namespace, body):
    """Run a few lines in a process of their own, where the bug is planted; return what they print."""
    code = SCRIPT.format(here=str(Path(__file__).parent), bug=bug, url=url, namespace=namespace, body=body)
    environment = os.environ | {"PYTHONPATH": str(Path(luni.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def by_tokens(places, bug):
    """The tokens of a lock, before and after the server lost everything."""
    server, namespace, _ = places.fresh()
    token = "print(memory.lock('shop', 'till').acquire().token)"
    (*_, before) = asked(
        bug, server.url, namespace, f"for _ in range(3): memory.lock('shop', 'till').acquire().release()\n{token}"
    )
    server.stop()
    server.start()
    (after,) = asked(bug, server.url, namespace, token)
    return [] if int(after) > int(before) else [f"token {after} after {before}"]


def by_lost_replies(places, bug):
    """What is answered to a hold whose reply is lost, and how many holds there are then."""
    server, namespace, _ = places.fresh()
    load_scripts(server.port)
    proxy = places.proxy_to(server)
    proxy.match(SCRIPTS["hold"].sha, times=1)
    body = """
from luni.errors import LuniError
agenda = memory.agenda('shop', 'chair')
try:
    print(agenda.hold(DAY, DAY + QUARTER, by='ana', id='b1').state)
except LuniError as error:
    print(type(error).__name__)
print(len(agenda.bookings(DAY, DAY + QUARTER)))
"""
    told = asked(bug, proxy.url, namespace, body)
    assert proxy.matches >= 1, "the fault was not met"
    return [] if told == ["held", "1"] else [f"{told[0]}, and there are {told[1]} holds"]


def by_replicas(places, bug):
    """What is said of a booking while the replica is stopped."""
    server, namespace, _ = places.fresh()
    replica = places.own_server("--replicaof", "127.0.0.1", str(server.port), "--repl-diskless-sync-delay", "0")
    body = """
import time
deadline = time.monotonic() + 20
while memory.agenda('shop', 'chair').hold(DAY, DAY + QUARTER, by='ana', id='b1', ttl=600).state != 'held':
    assert time.monotonic() < deadline
    time.sleep(0.1)
print('held')
"""
    asked("", server.url, namespace, body)
    replica.signal(signal.SIGSTOP)
    try:
        (state,) = asked(bug, server.url, namespace, "print(memory.agenda('shop', 'chair').confirm('b1').state)")
    finally:
        replica.signal(signal.SIGCONT)
    return [] if state == "pending" else [f"{state}, and no replica has it"]


CAUGHT_BY = {
    "release_without_owner_check": by_locks,
    "set_without_nx": by_locks,
    "run_again_on_error": by_locks,
    "check_then_insert_in_two_calls": by_order,
    "less_or_equal_for_less": by_order,
    "retry_with_a_new_id": by_lost_replies,
    "incremented_token": by_tokens,
    "answer_of_wait_ignored": by_replicas,
}


@pytest.fixture
def places(own_server, proxy_to, namespace, tmp_path):
    return Places(own_server, proxy_to, namespace, tmp_path)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_caught(places, bug):
    for _ in range(TRIES):
        found = CAUGHT_BY[bug](places, bug)
        if found:
            sys.stderr.write(f"{bug}: {found[0]}\n")
            return
    pytest.fail(f"{bug} was planted, and nobody saw it")


@pytest.mark.parametrize("check", dict.fromkeys(CAUGHT_BY.values()), ids=lambda check: check.__name__)
def test_without_a_bug_nothing_is_caught(places, check):
    assert check(places, "") == []


def test_there_are_eight():
    assert len(BUGS) == 8
    assert set(CAUGHT_BY) == set(BUGS)
