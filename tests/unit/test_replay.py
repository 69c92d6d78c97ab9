"""`luni.ops.replay`: recordings through memory, the same on every backend, twice the same as once."""

import json
from pathlib import Path

import apsw
import msgspec
import pytest

from luni import Memory
from luni.context import Context
from luni.errors import LuniError
from luni.models import Message
from luni.ops import chat, conversations
from luni.ops.conversations import BadLine, bundled, plan, read
from luni.ops.replay import replay
from luni.testing import FakeClock, memory
from luni.testing.servers import Server

COUNTS = (
    "conversations", "turns", "messages", "duplicates_refused", "prompt_tokens", "full_history_tokens", "reduction_pct",
    "folded", "largest_saving_pct", "largest_saving_conversation",
)  # fmt: skip


def said(*roles, **fields):
    return [{"role": role, "text": f"{role} {index}", **fields} for index, role in enumerate(roles)]


@pytest.fixture
def write(tmp_path):
    def written(*lines, name="talk.jsonl"):
        texts = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
        path = tmp_path / name
        path.write_bytes(b"\n".join(texts) + b"\n")
        return path

    return written


def dump(path):
    connection = apsw.Connection(str(path))
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")]
    rows = {name: connection.execute(f"SELECT * FROM {name} ORDER BY 1").fetchall() for name in tables}
    connection.close()
    return rows


def test_the_bundled_conversations_are_counted_as_they_are(tmp_path):
    with Memory.open(f"sqlite:///{tmp_path}/a.db") as m:
        report = replay(m, [bundled()])
    recorded = [line.conversation for line in read([bundled()])]
    assert report.conversations == len(recorded)
    assert report.messages == sum(len(one.messages) for one in recorded)
    assert report.turns == sum(step.kind == "turn" for one in recorded for step in plan(one.messages))
    assert report.duplicates_refused == 0
    assert 0 < report.prompt_tokens < report.full_history_tokens
    assert 0 < report.p50_ms <= report.p95_ms <= report.p99_ms
    assert report.bytes_stored > 0


def test_a_second_run_is_refused_turn_by_turn_and_changes_no_byte(tmp_path):
    path = tmp_path / "a.db"
    with Memory.open(f"sqlite:///{path}") as m:
        first = replay(m, [bundled()])
    before = dump(path)
    with Memory.open(f"sqlite:///{path}") as m:
        second = replay(m, [bundled()])
    assert dump(path) == before
    assert before["message"]
    assert second.duplicates_refused == second.turns == first.turns
    assert (second.conversations, second.messages) == (first.conversations, first.messages)
    assert (second.prompt_tokens, second.reduction_pct) == (0, None)


def test_counts_are_the_same_on_sqlite_and_on_a_server(tmp_path):
    with Server("valkey") as server, Memory.open(server.url) as there, Memory.open(f"sqlite:///{tmp_path}/a.db") as here:
        for _ in range(2):
            embedded, served = replay(here, [bundled()]), replay(there, [bundled()])
            assert [getattr(embedded, name) for name in COUNTS] == [getattr(served, name) for name in COUNTS]
        assert (embedded.backend, served.backend) == ("sqlite", "redis")
        assert served.bytes_stored > 0


def test_several_files_are_summed_and_the_limit_spans_them(write):
    one = write({"id": "a", "messages": said("user", "assistant")}, name="one")
    two = write({"id": "b", "messages": said("user", "assistant")}, {"id": "c", "messages": said("user")}, name="two")
    with memory() as m:
        assert replay(m, [one, two]).conversations == 3
    with memory() as m:
        assert replay(m, [one, two], limit=2).turns == 2


def test_every_arrangement_of_speakers_is_stored_in_its_order(write):
    roles = ("assistant", "user", "user", "assistant", "assistant", "human", "system", "user", "human", "user")
    path = write({"id": "a", "source": "s", "messages": said(*roles)})
    with memory() as m:
        first, second = replay(m, [path]), replay(m, [path])
        stored = m.session(tenant="replay", channel="s", user="a").messages()
    assert [(one.role, one.text) for one in stored] == [(role, f"{role} {i}") for i, role in enumerate(roles)]
    assert (first.turns, first.messages, first.duplicates_refused) == (1, 10, 0)
    assert (second.turns, second.messages) == (1, 10)
    assert second.duplicates_refused == 8  # each message but the two bubbles of the turn's answer


@pytest.mark.parametrize("messages", [300, 700])
def test_a_conversation_longer_than_the_ids_remembered_is_stored_once(write, messages):
    path = write({"id": "a", "source": "s", "messages": said(*("user", "assistant") * (messages // 2))})
    with memory() as m:
        first = replay(m, [path])
        before = m.session(tenant="replay", channel="s", user="a").export()
        second = replay(m, [path])
        assert m.session(tenant="replay", channel="s", user="a").export() == before
    assert second.duplicates_refused == first.turns == messages // 2


def test_an_answer_of_more_bubbles_than_a_reply_may_have_is_stored_whole(write):
    path = write({"id": "a", "source": "s", "messages": said("user", *["assistant"] * 70)})
    with memory() as m:
        assert replay(m, [path]).duplicates_refused == 0
        assert m.session(tenant="replay", channel="s", user="a").info().message_count == 71
        assert replay(m, [path]).duplicates_refused == 1 + 6


def test_times_are_kept(write):
    messages = [
        {"role": "user", "text": "a", "ts": "2026-03-05T17:42:00Z"},
        {"role": "user", "text": "b", "ts": 1772732521},
        {"role": "user", "text": "c", "ts": "2026-03-05T14:42:02-03:00"},
        {"role": "user", "text": "d", "ts": "2026-03-05T17:42:03"},
    ]
    with memory() as m:
        replay(m, [write({"id": "a", "source": "s", "messages": messages})])
        stored = m.session(tenant="replay", channel="s", user="a").messages()
    assert [one.timestamp - 1772732520 for one in stored] == [0, 1, 2, 3]


BAD = {
    "not json": b"{",
    "not an object": b"[]",
    "no messages": {"id": "a"},
    "empty": {"id": "a", "messages": []},
    "no id": {"id": "", "messages": said("user")},
    "an id that is a number": {"id": 7, "messages": said("user")},
    "an unknown role": {"id": "a", "messages": said("robot")},
    "no text": {"id": "a", "messages": [{"role": "user", "text": ""}]},
    "a time that is none": {"id": "a", "messages": said("user", ts="yesterday")},
    "a time in milliseconds": {"id": "a", "messages": said("user", ts=1e15)},
    "no utf-8": b'{"id":"a","messages":[{"role":"user","text":"\xff"}]}',
    "a lone surrogate": b'{"id":"a","messages":[{"role":"user","text":"\\ud800"}]}',
    "an id too long": {"id": "a" * 300, "messages": said("user")},
    "a text too long": {"id": "a", "messages": [{"role": "user", "text": "a" * 300_000}]},
    "a bomb": b"[" * 100_000,
    "a bomb inside": b'{"id":"a","x":' + b"[" * 100_000,
    "too many waiting": {"id": "a", "messages": said(*["user"] * 200)},
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_a_bad_line_is_named_by_its_place_or_passed_over(write, bad):
    good = {"id": "good", "messages": said("user", "assistant")}
    path = write(b"", bad, good)
    with memory() as m, pytest.raises(BadLine, match=r"talk\.jsonl:2: "):
        replay(m, [path])
    with memory() as m:
        report = replay(m, [path], skip_bad=True)
    assert (report.bad_lines, report.conversations, report.turns) == (1, 1, 1)


def test_a_line_that_is_too_long_is_not_held_in_memory(write, monkeypatch):
    monkeypatch.setattr(conversations, "MAX_LINE_BYTES", 100)
    path = write(b"x" * 1000, b"y" * 100, b"z" * 99, b"")
    lines = list(read([path]))
    assert [line.problem.startswith("longer") for line in lines] == [True, False, False]
    assert sum(line.size_bytes for line in lines) == 1001 + 101 + 100


def test_a_mark_of_the_byte_order_at_the_beginning_is_no_fault(write):
    path = write(b"\xef\xbb\xbf" + json.dumps({"id": "a", "messages": said("user")}).encode())
    assert next(iter(read([path]))).conversation.id == "a"


def test_a_turn_that_somebody_else_has_open_stops_the_run(write):
    path = write({"id": "a", "source": "s", "messages": said("user", "assistant")})
    with memory(clock=FakeClock()) as m:
        session = m.session(tenant="replay", channel="s", user="a")
        with session.turn("user 0", message_id="a#0"), pytest.raises(LuniError, match="another process"):
            replay(m, [path])
        assert replay(m, [path]).duplicates_refused == 0


def test_the_bundled_file_holds_conversations_only():
    assert all(line.conversation for line in read([bundled()]))
    assert bundled() == Path(__file__).parents[2] / "examples" / "conversations.jsonl"


def test_the_offline_responder_says_only_what_memory_knows():
    def context(*texts, summary=""):
        return Context(summary, "", tuple(Message(text, role="user") for text in texts), current=1)

    assert "[offline]" in chat.answer(context("hi"), "en")
    assert "“my name is Ana”" in chat.answer(context("my name is Ana", "ok"), "en")
    assert "Ana likes tea" in chat.answer(context("a", "what do you remember?", summary="Ana likes tea"), "en")
    assert "Ana gosta de chá" in chat.answer(context("a", "o que você lembra?", summary="Ana gosta de chá"), "pt")
    assert chat.language_of("pt_BR.UTF-8") == "pt"
    assert chat.language_of("C.UTF-8") == "en"


def test_the_report_has_the_names_of_the_contract():
    with memory() as m:
        found = msgspec.to_builtins(replay(m, []))
    assert set(found) >= {
        "conversations", "turns", "messages", "duplicates_refused", "p50_ms", "p95_ms", "p99_ms", "turns_per_second",
        "prompt_tokens", "full_history_tokens", "reduction_pct", "bytes_stored", "backend",
    }  # fmt: skip
