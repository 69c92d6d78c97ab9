"""This host's own files are damaged, removed or cannot be used: the server serves on, and what was acknowledged is not lost."""

from __future__ import annotations

import os
import threading
import time

import pytest
from apsw import Connection

from luni.errors import Indeterminate, Unavailable
from luni.events import FallbackImpaired
from luni.testing.proxy import Proxy

WHO = {"tenant": "shop", "channel": "web", "user": "ana"}


@pytest.fixture
def between(own_server):
    server = own_server()
    with Proxy(server.port) as proxy:
        yield proxy


@pytest.fixture
def opened(run, between, tmp_path):
    """Open a memory whose fallback is there; with the list of what its hook is told."""

    def open_one(place=tmp_path / "local.db"):
        events = []
        memory = run.open(between.url, fallback=f"sqlite:///{place}", on_event=events.append)
        return memory, events

    return open_one


def until(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that in time"
        time.sleep(0.02)


def say(run, memory, text):
    turn = run(memory.session(**WHO).turn(text, message_id=text).open())
    run(turn.reply(f"re: {text}"))
    run(turn.close())
    return turn.degraded


def heard(run, memory):
    """What the customer said, as far as this memory can tell."""
    return [one.text for one in run(memory.session(**WHO).messages(100)) if not one.text.startswith("re: ")]


def garbage(path):
    if path.exists():
        path.write_bytes(b"\xa5" * max(4096, path.stat().st_size))


def cut(path):
    if path.exists():
        os.truncate(path, 0)


def problems(events):
    return [one.problem for one in events if isinstance(one, FallbackImpaired)]


@pytest.mark.parametrize("name", ["local.journal.db", "local.db"])
def test_a_damaged_file_is_set_aside_and_kept_and_the_server_serves_on(run, opened, between, tmp_path, name):
    memory, _ = opened()
    say(run, memory, "one")
    run(memory.close())
    garbage(tmp_path / name)
    memory, events = opened()
    assert say(run, memory, "two") is False
    until(lambda: problems(events))
    (aside,) = tmp_path.glob(f"{name.removesuffix('.db')}.damaged-*.db")
    assert aside.read_bytes()[:8] == b"\xa5" * 8
    assert str(aside) in problems(events)[0]
    until(lambda: not run(memory.health()).degraded)
    between.refuse()
    assert say(run, memory, "three") is True
    between.passing()
    until(lambda: not run(memory.health()).degraded)
    assert heard(run, memory) == ["one", "two", "three"]


def test_a_place_that_cannot_be_used_acknowledges_nothing_and_stops_nobody(run, opened, between, tmp_path):
    (tmp_path / "local.journal.flag").mkdir()
    memory, events = opened()
    assert say(run, memory, "one") is False
    health = run(memory.health())
    assert (health.ok, health.degraded) == (True, True)
    assert "local.journal.flag cannot be opened" in health.detail
    between.refuse()
    with pytest.raises((Unavailable, Indeterminate)):  # the connection was lost amid the call
        say(run, memory, "lost")
    with pytest.raises(Unavailable, match="flag cannot be opened"):
        say(run, memory, "two")
    assert not run(memory.health()).ok
    between.passing()
    (tmp_path / "local.journal.flag").rmdir()
    until(lambda: run(memory.health()).ok and not run(memory.health()).degraded)
    assert len(problems(events)) == 1, "once, not at every call"
    between.refuse()
    assert say(run, memory, "three") is True


@pytest.mark.parametrize("harm", [garbage, cut])
@pytest.mark.parametrize("tails", [("", "-wal"), ("-wal",)], ids=["both", "wal"])
def test_what_a_journal_damaged_in_an_outage_had_comes_from_the_mirror(run, opened, between, tmp_path, harm, tails):
    memory, events = opened()
    say(run, memory, "0")
    between.refuse()
    acknowledged = ["0"]
    for text in ("1", "2", "3"):
        try:
            say(run, memory, text)
            acknowledged.append(text)
        except (Unavailable, Indeterminate):
            continue
        finally:
            if text == "1":
                for tail in tails:
                    harm(tmp_path / f"local.journal.db{tail}")
    between.passing()
    until(lambda: problems(events) and not run(memory.health()).degraded)
    until(lambda: set(acknowledged) <= set(heard(run, memory)))
    assert [one for one in heard(run, memory) if one in acknowledged] == acknowledged
    assert say(run, memory, "4") is False


def test_a_damaged_mirror_does_not_keep_back_what_waits(run, opened, between, tmp_path):
    memory, _ = opened()
    say(run, memory, "0")
    between.refuse()
    say(run, memory, "1")
    run(memory.close())
    garbage(tmp_path / "local.db")
    cut(tmp_path / "local.db-wal")
    between.passing()
    memory, events = opened()
    run(memory.session(tenant="shop", channel="web", user="ben").info())
    until(lambda: problems(events) and not run(memory.health()).degraded)
    assert heard(run, memory) == ["0", "1"]


@pytest.mark.parametrize("gone", ["local.journal", "local."])
def test_nothing_is_acknowledged_into_a_file_that_was_removed(run, opened, between, tmp_path, gone):
    memory, events = opened()
    say(run, memory, "0")
    between.refuse()
    say(run, memory, "1")
    for path in tmp_path.glob(f"{gone}*"):
        path.unlink()
    if run.kind == "sync":
        thread = threading.Thread(target=say, args=(run, memory, "2"))
        thread.start()
        thread.join()
    else:
        say(run, memory, "2")
    say(run, memory, "3")
    counted = Connection(str(tmp_path / "local.journal.db"))
    assert counted.execute("SELECT count(*) FROM entry").get == 4, "both turns are in the file that stands there"
    counted.close()
    assert any("removed or replaced" in one for one in problems(events))
    between.passing()
    until(lambda: not run(memory.health()).degraded)
    until(lambda: heard(run, memory)[-2:] == ["2", "3"])
    if gone == "local.journal":
        until(lambda: heard(run, memory) == ["0", "1", "2", "3"])  # the mirror had it
