"""Several processes: forked, paused, killed, sixteen on one file."""

from __future__ import annotations

import signal
import time

import pytest

from luni import Memory

WHO = {"tenant": "shop", "channel": "web"}
LEASE = 1.0
AT_ONCE = 50


@pytest.mark.parametrize("successor", [False, True], ids=["alone", "with a successor"])
@pytest.mark.parametrize("kind", ["server", "sqlite"])
def test_a_worker_paused_past_its_lease_is_fenced(server, namespace, worker, tmp_path, many, kind, successor):
    url = server.url if kind == "server" else f"sqlite:///{tmp_path / 'm.db'}"
    space = namespace if kind == "server" else "luni"
    users = [f"user{number}" for number in range(many.of(200))]
    groups = [users[first : first + AT_ONCE] for first in range(0, len(users), AT_ONCE)]
    with Memory.open(url, namespace=space) as memory:
        workers = [worker("answer_late", url, space, ",".join(group), LEASE) for group in groups]
        for process in workers:
            assert process.stdout.readline().split() == ["open"] * AT_ONCE
            process.send_signal(signal.SIGSTOP)
        time.sleep(1.2 * LEASE)
        for user in users if successor else ():
            with memory.session(**WHO, user=user).turn(f"hello {user}", message_id="m1") as turn:
                assert (turn.state, turn.attempt) == ("open", 2)
                turn.reply("the successor's")
        for process in workers:
            process.send_signal(signal.SIGCONT)
            assert process.communicate("go\n", timeout=20)[0].split() == ["fenced"] * AT_ONCE
        for user in users:
            texts = [m.text for m in memory.session(**WHO, user=user).messages()]
            assert texts == [f"hello {user}", *(["the successor's"] if successor else [])]


@pytest.mark.parametrize("kind", ["server", "sqlite"])
def test_a_forked_child_has_its_own_connections_and_writer(server, namespace, worker, tmp_path, kind):
    url, space = (server.url, namespace) if kind == "server" else (f"sqlite:///{tmp_path / 'm.db'}", "luni")
    process = worker("fork_after_connecting", url, space, 10)
    told = dict(line.split(" ", 1) for line in process.communicate(timeout=60)[0].splitlines())
    assert process.returncode == 0
    child, parent = told["child"].split(), told["parent"].split()
    assert child[0] != parent[0], "both write under one id: their operations would pass for each other's"
    with Memory.open(url, namespace=space) as memory:
        session = memory.session(**WHO, user="ana")
        texts = [m.text for m in session.messages(500)]
        assert texts[0] == "before"
        assert texts[-1] == "after"
        for name in ("child", "parent"):
            assert [t for t in texts if t.startswith(f"{name} ") and t[-1].isdigit()] == [f"{name} {n}" for n in range(10)]
            assert texts.count(f"{name} asks") == 1
        assert session.info().message_count == len(texts)


def test_a_child_forked_amid_calls_is_not_stuck(server, namespace, worker, many):
    """On SQLite nobody can promise this: its library has locks of its own that other threads held."""
    process = worker("fork_amid_traffic", server.url, namespace, many.of(6))
    assert process.communicate(timeout=60)[0].split() == ["stuck", "0"]


def test_sixteen_processes_on_one_file_lose_nothing(worker, tmp_path, many):
    url, each = f"sqlite:///{tmp_path / 'm.db'}", many.of(1250)
    workers = [worker("append", url, f"user{n % 4}", each, f"w{n}") for n in range(16)]
    told = [process.communicate(timeout=110)[0].split("\n")[:-1] for process in workers]
    for number, lines in enumerate(told):
        assert lines == [f"w{number}-{n}" for n in range(each)], "a write was lost or refused"
    with Memory.open(url) as memory:
        for user in range(4):
            session = memory.session(**WHO, user=f"user{user}")
            assert session.info().message_count == 4 * each
            messages = session.messages(500)
            assert len({m.id for m in messages}) == len(messages)
            for name in (f"w{user + 4 * n}" for n in range(4)):
                numbers = [int(m.text.split("-")[1]) for m in messages if m.text.startswith(f"{name}-")]
                assert numbers == sorted(numbers), "one writer's messages are out of order"


def test_killed_writers_leave_old_or_new_and_keep_what_they_acknowledged(worker, tmp_path, many):
    path = tmp_path / "m.db"
    url = f"sqlite:///{path}"
    for kill in range(many.of(20)):
        user = f"user{kill}"
        process = worker("converse", url, user, f"k{kill}")
        acknowledged = [process.stdout.readline().strip() for _ in range(3)]
        time.sleep(0.001 * (kill % 7))
        process.kill()
        acknowledged += process.stdout.read().split()
        with Memory.open(url) as memory:
            session = memory.session(**WHO, user=user)
            texts, info = [m.text for m in session.messages(1000)], session.info()
            assert info.message_count == info.folded + len(texts)
            texts = texts if info.folded == 0 else texts[texts.index(next(t for t in texts if t.startswith("q-"))) :]
            assert whole_turns(texts) in ([], 1), "half an answer is there"
            for name in acknowledged[-5:]:
                start = texts.index(f"q-{name}")
                assert texts[start : start + 3] == [f"q-{name}", f"a-{name}-1", f"a-{name}-2"]
            assert info.unanswered == (len(texts) % 3 == 1)


def whole_turns(texts):
    """What is left over after whole turns: nothing, or one question."""
    rest = len(texts) % 3
    for start in range(0, len(texts) - rest, 3):
        name = texts[start].removeprefix("q-")
        assert texts[start : start + 3] == [f"q-{name}", f"a-{name}-1", f"a-{name}-2"]
    return rest or []
