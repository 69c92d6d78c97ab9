"""A command that is told to end: status 143, no traceback, what was acknowledged is there, and it can be run again."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import apsw
import pytest
from test_cli import alone  # noqa: F401  a fixture

import luni
from luni import Memory

MANY = 4000


@pytest.fixture
def started():
    """Starts commands; what is left of them at the end is killed."""
    running = []

    def start(*arguments):
        source = str(Path(luni.__file__).parents[1])
        running.append(
            subprocess.Popen(
                [sys.executable, "-W", "error", "-m", "luni.cli", *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": source},
            )
        )  # fmt: skip
        return running[-1]

    yield start
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()


def until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that in time"
        time.sleep(0.01)


def ended(process, *, status=143):
    out, err = process.communicate(timeout=30)
    assert (process.returncode, "Traceback" in out + err) == (status, False), out + err
    return out, err


def rows(path, table="conversation"):
    if not path.exists():
        return 0
    plain = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return plain.execute(f"SELECT count(*) FROM {table}").get
    except (apsw.SQLError, apsw.BusyError):
        return 0
    finally:
        plain.close()


def holds(process, path):
    """Whether a process has opened a file."""
    folder = Path(f"/proc/{process.pid}/fd")
    return any(link.is_symlink() and os.path.realpath(link) == str(path) for link in folder.iterdir())


def test_a_chat(started, tmp_path):
    process = started("chat")
    process.stdin.write("oi\n")
    process.stdin.flush()
    until(lambda: rows(tmp_path / "luni.db") == 1)
    process.send_signal(signal.SIGTERM)
    ended(process)


def test_a_replay(started, tmp_path):
    talk = [
        {"id": f"u{n}", "messages": [{"role": "user", "text": "oi"}, {"role": "assistant", "text": "olá"}]} for n in range(MANY)
    ]
    (tmp_path / "many.jsonl").write_text("".join(json.dumps(one) + "\n" for one in talk))
    process = started("replay", "many.jsonl")
    until(lambda: rows(tmp_path / "luni.db") > 10)
    process.send_signal(signal.SIGTERM)
    ended(process)
    assert 10 < rows(tmp_path / "luni.db") < MANY


def test_a_booking_that_waits_for_the_store(started, tmp_path):
    with Memory.open(f"sqlite:///{tmp_path}/luni.db") as memory:
        memory.session(tenant="shop", channel="web", user="ana").append("user", "hi")
    busy = apsw.Connection(str(tmp_path / "luni.db"))
    busy.execute("BEGIN IMMEDIATE")
    process = started("bookings", "add", "shop", "chair", "2030-01-01T10:00", "30", "--by", "ana", "--zone", "UTC")
    until(lambda: holds(process, tmp_path / "luni.db"))
    process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    busy.execute("ROLLBACK")
    busy.close()
    ended(process)


def test_a_migration_goes_on_where_it_was_ended(started, tmp_path):
    here, there = f"sqlite:///{tmp_path}/here.db", f"sqlite:///{tmp_path}/there.db"
    with Memory.open(here) as memory:
        for number in range(MANY // 4):
            memory.session(tenant="shop", channel="web", user=f"u{number}").append("user", "hi")
    process = started("migrate", "--from", here, "--to", there)
    until(lambda: rows(tmp_path / "there.db") > 10)
    process.send_signal(signal.SIGTERM)
    ended(process)
    moved = rows(tmp_path / "there.db")
    assert 10 < moved < MANY // 4
    out, _ = ended(started("migrate", "--from", here, "--to", there, "--json"), status=0)
    found = json.loads(out)
    assert (found["sessions"], found["failed"]) == (MANY // 4, 0)
    assert found["there"] >= moved - 1
    assert rows(tmp_path / "there.db") == MANY // 4


def test_asked_twice_it_does_not_wait(started, tmp_path):
    process = started("chat")
    process.stdin.write("oi\n")
    process.stdin.flush()
    until(lambda: rows(tmp_path / "luni.db") == 1)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode in {143, -signal.SIGTERM}
