"""Erasing: what stays in free space, logs and append-only files; answers that are lost; a reader in the way."""

import random
import time
from pathlib import Path

import apsw
import pytest
import redis

from luni import Memory
from luni import operations as ops
from luni.backends.sqlite import erasure as sqlite_erasure
from luni.errors import Indeterminate
from luni.testing import FakeClock
from luni.testing.conformance.erasure import NOTHING, POLICY, USER, WORDS, of, sing, sing_next_door
from luni.testing.conformance.store import talk
from luni.testing.servers import Server, available


@pytest.fixture
def memory(tmp_path):
    with Memory.open(f"sqlite:///{tmp_path / 'luni.db'}", policies=POLICY) as memory:
        yield memory


def bytes_of(folder):
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_no_copy_is_left_in_the_free_space_of_a_file_where_rows_have_moved(memory, tmp_path):
    chance = random.Random(7)
    users = [f"{'zq' if number % 3 == 0 else 'ok'}user{number}" for number in range(240)]
    for round_number in range(3):
        chance.shuffle(users)
        for user in users:
            word = "zqword " if user.startswith("zq") else "fine "
            with of(memory, "web", user).turn(word * chance.randint(1, 200), message_id=f"{user}{round_number}") as turn:
                turn.reply(word * chance.randint(1, 60))
    for user in users:
        if user.startswith("zq"):
            memory.erase("shop", user)
    raw = bytes_of(tmp_path)
    assert (raw.count(b"zquser"), raw.count(b"zqword")) == (0, 0)
    assert raw.count(b"fine") > 0


def test_a_reader_of_an_older_state_is_told_in_the_receipt(tmp_path):
    with Memory.open(f"sqlite:///{tmp_path / 'luni.db'}", timeout=0.3, max_retries=0) as memory:
        talk(of(memory, "web"), "zqtext")
        reader = apsw.Connection(str(tmp_path / "luni.db"))
        reader.execute("BEGIN; SELECT count(*) FROM message").fetchall()
        receipt = memory.erase("shop", USER)
        assert receipt.counts["sessions"] == 1
        assert "older state" in receipt.out_of_reach[0]
        reader.execute("COMMIT")
        reader.close()
        receipt = memory.erase("shop", USER)
        assert receipt.counts == NOTHING
        assert "older state" not in receipt.out_of_reach[0]
    assert b"zq" not in bytes_of(tmp_path)


def test_a_file_that_is_too_large_to_be_written_anew_is_told_in_the_receipt(memory, monkeypatch):
    monkeypatch.setattr(sqlite_erasure, "COMPACT_BYTES", 4096)
    talk(of(memory, "web"), "zqtext")
    assert "128 MiB" in memory.erase("shop", USER).out_of_reach[0]


@pytest.mark.parametrize("kind", ["valkey", "redis"])
def test_nothing_is_left_in_a_rewritten_append_only_file(kind):
    if not available(kind):
        pytest.skip(f"there is no {kind} server here")
    with Server(kind, "--appendonly", "yes", "--appendfsync", "always") as server:
        raw = redis.Redis(port=server.port)
        with Memory.open(server.url, policies=POLICY) as memory:
            sing(memory)
            folder = Path(raw.config_get("dir")["dir"])
            assert b"zqtext" in bytes_of(folder)
            receipt = memory.erase("shop", USER)
            assert "append-only file" in receipt.out_of_reach[0]
        raw.bgrewriteaof()
        deadline = time.monotonic() + 10
        while raw.info("persistence")["aof_rewrite_in_progress"] or raw.info("persistence")["aof_rewrite_scheduled"]:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(0.2)  # what was replaced is unlinked in the background
        found = bytes_of(folder)
        raw.close()
        assert [word for word in WORDS if word.encode() in found] == []


@pytest.fixture(params=["sqlite", "valkey"])
def url(request, tmp_path, server_of):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'lost.db'}"
    server = server_of("valkey")
    redis.Redis(port=server.port).flushall()
    return server.url


@pytest.mark.parametrize("every", [1, 2])
def test_answers_that_are_lost_change_nothing(url, every):
    with Memory.open(url, policies=POLICY, max_retries=3) as memory:
        sing_next_door(memory)
        sing(memory)
        execute, lost, seen = memory._execute, [], 0

        def losing(operation):
            nonlocal seen
            result = execute(operation)
            seen += 1
            if seen % (every + 1) and operation not in lost:
                lost.append(operation)
                raise Indeterminate("the reply was lost")
            return result

        memory._execute = losing
        memory.erase("shop", USER)
        memory._execute = execute
        assert {type(one) for one in lost} >= {ops.Bury, ops.Erase}
        assert memory.erase("shop", USER).counts == NOTHING
        assert memory.export("shop", USER).items == ()
        assert len(memory.export("shop").items) == 2


def test_an_erasure_that_broke_off_goes_on_when_it_is_repeated(url):
    with Memory.open(url, policies=POLICY, max_retries=0) as memory:
        sing(memory)
        execute = memory._execute
        for allowed in range(3, 200):
            left = allowed

            def failing(operation):
                nonlocal left
                left -= 1
                if left < 0:
                    raise Indeterminate("gone")
                return execute(operation)

            memory._execute = failing
            try:
                memory.erase("shop", USER)
            except Indeterminate:
                continue
            break
        memory._execute = execute
        assert allowed > 5
        assert memory.erase("shop", USER).counts == NOTHING


def test_a_clock_that_went_back_hides_nothing(tmp_path):
    ahead, back = FakeClock(2_000_000_000), FakeClock(1_999_000_000)
    place = f"sqlite:///{tmp_path / 'back.db'}"
    with Memory.open(place, policies=POLICY, clock=ahead) as memory:
        sing(memory)
    with Memory.open(place, clock=back) as memory:
        assert memory.erase("shop", USER).counts["sessions"] == 2
    assert [word for word in WORDS if word.encode() in bytes_of(tmp_path)] == []


def test_what_an_evicting_server_has_left_is_erased(server_of):
    """Half a session, lists that are gone, the remains of another program."""
    server = server_of("valkey")
    raw = redis.Redis(port=server.port)
    raw.flushall()
    with Memory.open(server.url, policies=POLICY) as memory:
        sing_next_door(memory)
        before = {key: raw.dump(key) for key in raw.scan_iter() if b":sess:" in key and b":sess:id:" not in key}
        sing(memory)
        raw.set("luni:foco:shop:web:5511-zqperson:exp", "2031-05-06T10:00:00Z")
        raw.hset("luni:foco:shop:web:5511-zqperson:ctx", mapping={"focos": "{}", "nomeArquivo": "zqperson"})
        raw.delete("luni:sess:shop:web:5511-zqperson:ctx", "luni:tenant:shop:sessions", "luni:tenant:shop:channels")
        for name in ("sessions", "waiting", "unsent"):
            raw.zadd(f"luni:tenant:shop:{name}", {"tel:5511-zqperson": 1})
        raw.delete("luni:agenda:shop:customers", "luni:agenda:shop:resources")
        memory.erase("shop", USER)
        found = b"".join(key + (raw.dump(key) or b"") for key in raw.scan_iter())
        assert [word for word in WORDS if word.encode() in found] == []
        assert {key: raw.dump(key) for key in before} == before
    raw.flushall()
    raw.close()


def test_the_last_session_of_a_tenant_is_not_named_when_it_is_erased(server_of):
    server = server_of("valkey")
    raw = redis.Redis(port=server.port)
    raw.flushall()
    with Memory.open(server.url) as memory:
        talk(of(memory, "web"), "hi")
        assert raw.get("luni:client:shop")
        memory.erase("shop", USER)
        assert raw.get("luni:client:shop") is None
        talk(of(memory, "web"), "hi")
        talk(of(memory, "web", "bia"), "hi")
        memory.erase("shop", USER)
        assert raw.get("luni:client:shop") == of(memory, "web", "bia").info().session_id.encode()
    raw.close()


def test_a_tenant_of_thousands_is_erased_in_steps(url):
    with Memory.open(url) as memory:
        for number in range(2500):
            of(memory, f"c{number % 3}", f"u{number}").append("user", "hi")
        longest = 0.0
        execute = memory._execute

        def timed(operation):
            nonlocal longest
            began = time.perf_counter()
            result = execute(operation)
            longest = max(longest, time.perf_counter() - began)
            return result

        memory._execute = timed
        assert memory.erase("shop").counts["sessions"] == 2500
        assert longest < 0.5
        assert memory.sessions("shop").items == ()
