"""Embedded storage whose file is full, foreign, newer, damaged or cut off."""

from __future__ import annotations

import os

import apsw
import pytest

from luni import Message, SessionUpdate
from luni.errors import BackendError, Damaged, Incompatible, Unavailable

WHO = {"tenant": "t", "channel": "c", "user": "u"}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "m.db"


def filled(run, path, turns=8):
    memory = run.open(f"sqlite:///{path}")
    session = memory.session(**WHO)
    for number in range(turns):
        turn = run(session.turn(f"question {number} " + "x" * 300, message_id=f"m{number}").open())
        run(turn.reply(f"answer {number} " + "y" * 300))
    run(memory.close())


def content(path):
    connection = apsw.Connection(str(path))
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")]
    found = {name: connection.execute(f"SELECT * FROM {name}").fetchall() for name in tables}
    connection.close()
    return found


def room(memory, pages):
    """Let the file have so many pages and no more: a disk that is full."""
    backend = getattr(memory._backend, "_backend", memory._backend)
    for connection in backend._connections._opened:
        connection.execute(f"PRAGMA max_page_count={pages}")


@pytest.mark.parametrize("name", ["receive", "open", "reply", "append", "update", "load"])
def test_a_full_disk_is_a_clear_error_and_nothing_is_half_done(run, path, name):
    filled(run, path)
    memory = run.open(f"sqlite:///{path}", max_retries=0)
    session, long = memory.session(**WHO), "z" * 200_000
    turn = run(session.turn("last", message_id="last").open())
    update = SessionUpdate(metadata={"a": "b" * 60_000})
    history = [*run(session.messages()), Message(text=long)]
    deeds = {
        "receive": lambda: session.receive(long, message_id="new"),
        "open": lambda: memory.session(**WHO | {"user": "v"}).turn(long, message_id="new").open(),
        "reply": lambda: turn.reply("short", long, update=update),
        "append": lambda: session.append("human", long, message_id="h1"),
        "update": lambda: session.update(update),
        "load": lambda: session.load(history),
    }
    before = content(path)
    room(memory, 1)  # SQLite takes what the file has now for the least
    with pytest.raises(Unavailable) as caught:
        run(deeds[name]())
    assert "cannot be written" in str(caught.value)
    assert content(path) == before
    room(memory, 2**30)
    run(deeds[name]())
    assert content(path) != before


def test_a_newer_schema_is_incompatible_and_left_alone(run, path):
    filled(run, path)
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA user_version=99; PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    before = path.read_bytes()
    memory = run.open(f"sqlite:///{path}", max_retries=0)
    with pytest.raises(Incompatible):
        run(memory.session(**WHO).receive("hello", message_id="new"))
    with pytest.raises(Incompatible):
        run(memory.session(**WHO).messages())
    assert not run(memory.health()).ok
    run(memory.close())
    assert path.read_bytes() == before


def test_tables_of_somebody_else_are_left_alone(run, path):
    connection = apsw.Connection(str(path))
    connection.execute("CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1)")
    connection.close()
    memory = run.open(f"sqlite:///{path}", max_retries=0)
    with pytest.raises(Damaged):
        run(memory.session(**WHO).receive("hello", message_id="new"))
    run(memory.close())
    assert content(path) == {"theirs": [(1,)]}


def garbage(original):
    return os.urandom(len(original))


def beginning_gone(original):
    return os.urandom(4096) + original[4096:]


def half(original):
    return original[: len(original) // 2]


def torn(original):
    return original[: len(original) - 1000]


def text(_original):
    return b"{} not a database at all\n" * 400


@pytest.mark.parametrize("harm", [garbage, beginning_gone, half, torn, text])
def test_a_damaged_file_is_damaged_and_left_as_it_is(run, path, harm):
    filled(run, path, turns=40)
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    damaged = harm(path.read_bytes())
    path.write_bytes(damaged)
    memory = run.open(f"sqlite:///{path}", max_retries=0)
    session, refused = memory.session(**WHO), set()
    for deed in (lambda: session.messages(200), lambda: session.receive("hello", message_id="new"), session.info):
        try:
            run(deed())
        except BackendError as error:
            refused.add(type(error))
    assert refused == {Damaged}
    run(memory.close())
    if harm in {garbage, beginning_gone, text}:
        assert path.read_bytes() == damaged


def test_closing_twice_is_fine(run, path):
    memory = run.open(f"sqlite:///{path}")
    run(memory.session(**WHO).receive("hello", message_id="m1"))
    run(memory.close())
    run(memory.close())
