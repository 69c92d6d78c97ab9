"""Locks through faults: a guarded function runs once or not at all, one holder at a time, and late writers are fenced."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest
from crew import Crew, Nemesis, rampage
from histories import lock_violations, read

from luni import Memory
from luni.backends.redis.scripts import SCRIPTS

HOLDERS, AT_ONCE, TTL = 200, 50, 1.0
GUARDS = {"locks": 3, "ttl": 0.25}
LOST = tuple(SCRIPTS[name].sha for name in ("lock", "unlock", "renew"))


@pytest.fixture(params=["server", "sqlite"])
def place(request, tmp_path, namespace):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'm.db'}", "luni"
    return request.getfixturevalue("server").url, namespace


def begin_sessions(url, namespace):
    with Memory.open(url, namespace=namespace, timeout=5.0) as memory:
        for number in range(GUARDS["locks"]):
            memory.session(tenant="shop", channel="web", user=f"l{number}").receive("hi", message_id="1")


def guarded(crew, nemesis, *, faults):
    rampage(crew, nemesis, faults=faults, pause=(0.05, 0.3), seconds=110)
    return read(crew.folder)


def tell(history, done):
    kinds = Counter((op.kind, op.outcome) for op in history)
    assert kinds["guard", "ok"] > 50, kinds
    assert kinds["guard", "raised"] > 10
    assert kinds["guard", "busy"] > 10
    sys.stderr.write(f"{ {' '.join(kind): count for kind, count in kinds.items()} }; faults {dict(done)}\n")


def test_a_guarded_function_runs_once_or_not_at_all_on_a_server(own_server, proxy_to, namespace, tmp_path, many):
    server = own_server("--appendonly", "yes", "--appendfsync", "everysec")
    proxy = proxy_to(server)
    begin_sessions(server.url, namespace)
    crew = Crew("lock", [server.url, proxy.url] * 3, namespace, tmp_path, each=many.of(150), **GUARDS)
    nemesis = Nemesis(crew, random.Random(3), server=server, proxy=proxy, lost=LOST)
    history = guarded(crew, nemesis, faults=20)
    assert lock_violations(history) == []
    tell(history, nemesis.done)


def test_a_guarded_function_runs_once_or_not_at_all_on_one_file(tmp_path, many):
    url, folder = f"sqlite:///{tmp_path / 'm.db'}", tmp_path / "histories"
    folder.mkdir()
    begin_sessions(url, "luni")
    crew = Crew("lock", [url] * 6, "luni", folder, each=many.of(150), **GUARDS)
    nemesis = Nemesis(crew, random.Random(4))
    history = guarded(crew, nemesis, faults=20)
    assert lock_violations(history) == []
    tell(history, nemesis.done)


@pytest.mark.parametrize("successor", [False, True], ids=["alone", "with a successor"])
def test_holders_paused_past_their_expiry_are_fenced(place, tmp_path, many, successor):
    """200 of them, each with a session's lock and a resource's."""
    url, namespace = place
    folder = tmp_path / "holders"
    folder.mkdir()
    crew = Crew("hold_locks", [url] * (HOLDERS // AT_ONCE), namespace, folder, each=many.of(AT_ONCE), ttl=TTL)
    crew.start()
    try:
        workers = [process for _, process in crew.working.values()]
        for process in workers:
            assert process.stdout.readline() == "held\n", process.stderr.read()
            process.send_signal(signal.SIGSTOP)
        time.sleep(1.2 * TTL)
        if successor:
            take_over(crew, url, namespace, many.of(AT_ONCE))
        for process in workers:
            process.send_signal(signal.SIGCONT)
            said, err = process.communicate("go\n", timeout=60)
            assert said.split() == ["fenced", "fenced"] * many.of(AT_ONCE), err
    except subprocess.TimeoutExpired:
        pytest.fail("a holder did not come to its end")
    finally:
        crew.stop()
    sys.stderr.write(f"{2 * len(workers) * many.of(AT_ONCE)} late writes: all Fenced\n")


def take_over(crew, url, namespace, each):
    with Memory.open(url, namespace=namespace, timeout=5.0) as memory:
        for name, _ in crew.working.values():
            for number in range(each):
                memory.session(tenant="shop", channel="web", user=f"{name}-{number}").lock("guard").acquire()
                memory.lock("shop", f"{name}-{number}").acquire()


def test_a_lock_is_free_when_its_holder_was_killed(place, tmp_path):
    url, namespace = place
    folder = tmp_path / "holders"
    folder.mkdir()
    crew = Crew("hold_locks", [url], namespace, folder, each=1, ttl=TTL)
    crew.start()
    try:
        ((name, process),) = crew.working.values()
        assert process.stdout.readline() == "held\n"
        process.kill()
        with Memory.open(url, namespace=namespace) as memory, memory.lock("shop", f"{name}-0", wait=10) as lock:
            assert lock.held
    finally:
        crew.stop()
