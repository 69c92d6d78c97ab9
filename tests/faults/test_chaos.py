"""`luni chaos`: faults happen, nothing is lost, a loss is told, and nothing is left behind."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pytest
from redis import Redis

from luni.cli import run
from luni.ops import chaos
from luni.ops.chaos_faults import KINDS, Director, Heard, Pace
from luni.ops.chaos_server import OwnServer, SomebodysServer
from luni.ops.chaos_verdict import Conversation, Latencies, compare, misplaced
from luni.ops.redis_process import ProcessEngine
from luni.settings import Settings
from luni.testing import memory
from luni.testing.proxy import Proxy

SHORT = ("chaos", "--minutes", "0.08", "--json")


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """Nothing of this machine's settings; temporary files where a test can look."""
    for name in list(os.environ):
        if name.startswith(("LUNI_", "REDIS_", "USE_REDIS")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def luni(capfd):
    def call(*arguments):
        status = run(arguments)
        return status, *capfd.readouterr()

    return call


@pytest.fixture
def needs_a_server():
    if ProcessEngine.program() is None:
        pytest.skip("there is no server here")


def living_in(folder):
    """The processes that work in a folder."""
    found = []
    for one in Path("/proc").glob("[0-9]*/cwd"):
        try:
            place = one.readlink()
        except OSError:
            continue
        if place.is_relative_to(folder):
            found.append(place)
    return found


def until(condition, seconds=30.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that in time"
        time.sleep(0.02)


# the whole


@pytest.mark.usefixtures("needs_a_server")
def test_a_short_rehearsal_loses_nothing_and_leaves_nothing_behind(luni, alone):
    status, out, err = luni(*SHORT, "--seed", "1")
    found = json.loads(out)
    assert (status, err) == (0, ""), found["examples"]
    assert found["passed"]
    assert (found["lost"], found["duplicated"], found["out_of_order"], found["waiting"]) == (0, 0, 0, 0)
    assert min(found[what] for what in ("acknowledged", "turns", "served_degraded", "worst_ms", "p99_ms", "replayed")) > 0
    assert sum(found["faults"].values()) == len(found["history"]) > 0
    assert set(found["faults"]) <= set(KINDS)
    assert found["seed"] == 1
    assert list(alone.iterdir()) == []
    assert living_in(alone) == []


@pytest.mark.usefixtures("needs_a_server")
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_fault_is_got_over(luni, monkeypatch, kind):
    monkeypatch.setattr(chaos.Director, "_kinds", lambda _self: iter([kind] * 100))
    status, out, _ = luni("chaos", "--minutes", "0.05", "--json", "--seed", "1")
    found = json.loads(out)
    assert status == 0, found["examples"]
    assert set(found["faults"]) == {kind}
    assert found["served_degraded"] > 0, "luni has not noticed"
    assert (found["healed_messages"] > 0) == (kind == "emptied")


def test_the_same_seed_brings_the_same_faults_and_each_kind_in_turn():
    def planned(seed):
        chance = random.Random(seed)
        with memory() as somewhere:
            director = Director(somewhere, Heard(), None, object(), Pace(60.0, chance), chance, lambda *_: None)
            return list(itertools.islice(director._kinds(), 10))

    assert planned(7) == planned(7) != planned(8)
    assert sorted(planned(7)[:5]) == sorted(planned(7)[5:]) == sorted(KINDS)


def test_short_rehearsals_have_short_faults():
    for seconds, low, high in ((3.0, 0.2, 0.6), (180.0, 2.0, 6.0), (10_000.0, 2.0, 6.0)):
        lengths = [Pace(seconds, random.Random(1)).outage() for _ in range(20)]
        assert low <= min(lengths) <= max(lengths) <= high


@pytest.mark.usefixtures("needs_a_server")
def test_a_loss_is_told_and_is_a_failure(luni, monkeypatch):
    judge = chaos.judge

    def robbed(memory, tenant, channel, conversations, wiped_at):
        """Somebody deletes what was said, behind luni's back."""
        assert memory.session(tenant=tenant, channel=channel, user=conversations[0].user).end()
        return judge(memory, tenant, channel, conversations, wiped_at)

    monkeypatch.setattr(chaos, "judge", robbed)
    status, out, err = luni(*SHORT)
    found = json.loads(out)
    assert status == 1
    assert found["lost"] > 1
    assert not found["passed"]
    assert found["examples"][0].startswith("lost: customer-0-1 message 1")
    assert err.startswith("luni: of ")
    assert f"{found['lost']:,} are lost" in err


@pytest.mark.usefixtures("needs_a_server")
def test_without_a_fallback_calls_fail_and_what_was_acknowledged_is_there(luni):
    status, out, _ = luni(*SHORT, "--no-fallback", "--seed", "3")
    found = json.loads(out)
    assert status == 0, found["examples"]
    assert (found["lost"], found["served_degraded"], found["fallback"]) == (0, 0, False)
    assert sum(found["refused"].values()) > 0
    assert found["wiped"] == 0 or "emptied" in found["faults"]


@pytest.mark.usefixtures("needs_a_server")
def test_people_get_a_line_for_each_fault_and_a_verdict(luni):
    status, out, _ = luni("chaos", "--minutes", "0.06", "--seed", "1")
    assert status == 0
    assert "0:00  " in out or "0:01  " in out
    assert "nothing lost, nothing twice, nothing out of order" in out
    assert "acknowledged" in out
    assert "--seed brings the same faults again" in out


# being told to stop


def started(*more):
    return subprocess.Popen(
        [sys.executable, "-m", "luni.cli", "chaos", "--minutes", "5", *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.usefixtures("needs_a_server")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_early_with_a_verdict(alone, number):
    with started("--json") as process:
        until(lambda: living_in(alone))
        time.sleep(2.0)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    found = json.loads(out)
    assert (process.returncode, err) == (0, ""), found["examples"]
    assert found["ended_early"]
    assert found["seconds"] < found["planned"]
    assert (list(alone.iterdir()), living_in(alone)) == ([], [])


@pytest.mark.usefixtures("needs_a_server")
def test_a_second_signal_quits_and_leaves_nothing_behind(alone, monkeypatch):
    with started() as process:
        assert process.stdout.readline(), "the first fault"
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    assert process.returncode in {0, 130}, "the verdict may have been quicker"
    assert process.returncode == 0 or err == "luni: interrupted\n"
    assert (list(alone.iterdir()), living_in(alone)) == ([], [])


# somebody's server


def test_a_server_of_somebody_is_only_cut_off_and_its_keys_are_left_alone(luni, own_server):
    server = own_server("--requirepass", "secret-word")
    with Redis(port=server.port, password="secret-word", db=2) as plain:
        plain.set("mine", "value")
        pid = server.pid
        status, out, _ = luni(*SHORT, "--url", f"redis://:secret-word@127.0.0.1:{server.port}/2")
        found = json.loads(out)
        assert status == 0, found["examples"]
        assert set(found["faults"]) <= {"cut_off", "black_hole"}
        assert found["served_degraded"] > 0
        assert "secret-word" not in out
        assert server.running
        assert server.pid == pid
        assert plain.keys("*") == [b"mine"]
        assert plain.info("keyspace").keys() == {"db2"}


def test_a_proxied_url_has_what_the_given_one_has(own_server, tmp_path):
    path = tmp_path / "s"
    server = own_server("--unixsocket", str(path))
    for url, expected in (
        (f"redis://127.0.0.1:{server.port}/4?socket_keepalive=1", "redis://127.0.0.1:9/4?socket_keepalive=1"),
        (f"unix://{path}?db=3", "redis://127.0.0.1:9?db=3"),
    ):
        found = SomebodysServer(url, "chaos-x", Settings())
        assert found.through(9).url == expected
        assert found.settings.fallback == ""
        with found.connect() as connection:
            connection.sendall(b"PING\r\n")
            assert connection.recv(64) == b"+PONG\r\n"


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("--url", "sqlite:///luni.db"), 2, "has no server that could go away"),
        (("--url", "rediss://127.0.0.1:1"), 2, "TLS"),
        (("--url", "redis+cluster://127.0.0.1:1"), 2, "Cluster"),
        (("--url", "http://127.0.0.1:1"), 2, "allowed are redis://"),
        (("--url", "redis://127.0.0.1:1"), 3, "cannot be reached"),
        (("--minutes", "0"), 2, "0.05 to 240"),
        (("--minutes", "nan"), 2, "0.05 to 240"),
        (("--minutes", "241"), 2, "0.05 to 240"),
        (("--workers", "0"), 2, "--workers"),
        (("--rate", "0"), 2, "--rate"),
        (("--seed", "-1"), 2, "--seed"),
    ],
)
def test_what_cannot_be_rehearsed_is_said(luni, alone, arguments, status, words):
    found, out, err = luni("chaos", "--json", *arguments)
    assert (found, out) == (status, "")
    assert words in err
    assert err.count("\n") == 1
    assert list(alone.iterdir()) == []


def test_without_a_server_to_start_it_says_how_to_get_one(luni, monkeypatch):
    monkeypatch.setattr(ProcessEngine, "program", staticmethod(lambda: None))
    status, _, err = luni("chaos")
    assert status == 3
    assert "luni[server-here]" in err


# its own server


@pytest.mark.usefixtures("needs_a_server")
def test_its_own_server_has_a_password_and_keeps_or_forgets_its_data(tmp_path):
    server = OwnServer(tmp_path / "server", "chaos-x", Settings())
    try:
        client = Redis.from_url(server.settings.url)
        with (
            Redis(port=client.connection_pool.connection_kwargs["port"]) as stranger,
            pytest.raises(Exception, match=r"(?i)auth"),
        ):
            stranger.ping()
        client.set("a", 1)
        assert client.config_get("appendfsync") == {b"appendfsync": b"always"} or client.config_get()["appendfsync"] == "always"
        server.kill()
        server.start()
        assert client.get("a") == b"1"
        server.kill()
        server.empty()
        server.start()
        assert client.get("a") is None
        client.close()
    finally:
        server.leave()
    assert not (tmp_path / "server").exists()
    assert living_in(tmp_path / "server") == []


@pytest.mark.usefixtures("needs_a_server")
def test_its_own_server_comes_back_although_somebody_took_its_port(tmp_path):
    server = OwnServer(tmp_path / "server", "chaos-x", Settings())
    try:
        former = server.settings.url
        with Redis.from_url(former) as client:
            client.set("a", 1)
            port = client.connection_pool.connection_kwargs["port"]
        server.kill()
        with socket.create_server(("127.0.0.1", port)):
            server.start()
        assert server.settings.url != former
        with Redis.from_url(server.settings.url) as client:
            assert client.get("a") == b"1"
        with server.connect() as direct:
            direct.sendall(b"PING\r\n")
            assert direct.recv(64).startswith(b"-NOAUTH")
    finally:
        server.leave()


# the verdict


def said(*texts, user="ana", begun=1.0):
    conversation = Conversation(user)
    for text in texts:
        conversation.note(text, begun)
    return conversation


@pytest.mark.parametrize(
    ("found", "lost", "twice", "early"),
    [
        (["a", "b", "c"], [], [], []),
        (["a", "c"], ["b"], [], []),
        ([], ["a", "b", "c"], [], []),
        (["a", "b", "b", "c"], [], ["b"], []),
        (["a", "c", "b"], [], [], ["c"]),
        (["c", "b", "a"], [], [], ["b", "c"]),
        (["x", "a", "y", "b", "c"], [], [], []),
        (["c", "a", "a"], ["b"], ["a"], ["c"]),
    ],
)
def test_what_is_misplaced(found, lost, twice, early):
    assert misplaced(["a", "b", "c"], found) == (lost, twice, early)


def test_sessions_are_counted_together_and_exemplified():
    stored = {"ana": ["a", "c"], "bob": ["b", "b", "a"]}
    found = compare([said("a", "b", "c"), said("a", "b", user="bob")], stored.__getitem__)
    assert (found.acknowledged, found.lost, found.duplicated, found.out_of_order, found.wiped) == (5, 1, 1, 1, 0)
    assert found.examples == ("lost: b of ana", "duplicated: b of bob", "out of order: b of bob")


def test_what_was_said_before_the_server_was_emptied_is_wiped_and_not_lost():
    one = said("a", "b")
    one.note("c", 5.0)
    assert compare([one], lambda _: ["c"], wiped_at=2.0).wiped == 2
    found = compare([one], lambda _: ["a"], wiped_at=2.0)
    assert (found.wiped, found.lost) == (1, 1), "what was said afterwards has to be there"


def test_latencies():
    assert Latencies.of([]) == Latencies()
    assert Latencies.of(number / 1000 for number in range(1, 101)) == Latencies(51.0, 100.0, 100.0)


# the proxy


def test_a_proxy_that_refuses_resets_and_lets_nobody_in_until_it_passes(server):
    def knock():
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as one:
            one.sendall(b"PING\r\n")
            return one.recv(64)

    with Proxy(server.port) as proxy:
        assert knock() == b"+PONG\r\n"
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as former:
            former.sendall(b"PING\r\n")
            assert former.recv(64) == b"+PONG\r\n"
            for _ in range(2):
                proxy.refuse()
            with suppress(ConnectionResetError):
                assert former.recv(64) == b""
        for _ in range(3):
            with pytest.raises(ConnectionRefusedError):
                knock()
        for _ in range(2):
            proxy.passing()
        assert knock() == b"+PONG\r\n"
