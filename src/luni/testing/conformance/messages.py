"""Appending, reading back, amending and taking away messages."""

from __future__ import annotations

import pytest

from luni import Attachment, Policy, SessionUpdate, ToolCall
from luni.errors import Damaged
from luni.testing.conformance.store import Store, rounds, talk


def test_every_accepted_field_is_readable_afterwards(store: Store) -> None:
    session = store.session()
    attachment = Attachment("document", url="u", mime="m", caption="c", transcript="t", size_bytes=1)
    given = {
        "message_id": "id", "tool_calls": (ToolCall("c", "n", '{"a": [1, 2.50, {}]}'),), "attachments": (attachment,),
        "metadata": {"a": [], "b": {}, "long": 12345678901234567, "π": "é"}, "tags": ("x", "y"),
    }  # fmt: skip
    stored = session.append("assistant", "text", timestamp=1_600_000_000.5, **given)
    (found,) = session.messages()
    assert found == stored
    assert (found.id, found.role, found.text, found.timestamp) == ("id", "assistant", "text", 1_600_000_000.5)
    assert (found.tool_calls, found.attachments) == (given["tool_calls"], given["attachments"])
    assert (found.metadata, found.tags) == (given["metadata"], given["tags"])
    assert session.append("tool", "seen", tool_call_id="c") == session.messages()[-1]


@pytest.mark.parametrize("role", ["user", "assistant", "human", "system", "tool"])
def test_every_role_can_be_appended(store: Store, role: str) -> None:
    session = store.session()
    session.append(role, "x")
    assert [m.role for m in session.messages()] == [role]


def test_messages_come_oldest_first_and_the_limit_takes_the_newest(store: Store) -> None:
    session = store.session()
    for number in range(15):
        session.append("user", f"u{number}")
    assert [m.text for m in session.messages()] == [f"u{number}" for number in range(15)]
    assert [m.text for m in session.messages(limit=3)] == ["u12", "u13", "u14"]
    assert [m.text for m in session.messages(1)] == ["u14"]


def test_messages_before_one_of_them(store: Store) -> None:
    session = store.session()
    rounds(session, 12)
    texts = [m.text for m in session.messages(limit=100)]
    page = session.messages(limit=5)
    earlier = session.messages(limit=5, before=page[0].id)
    assert [m.text for m in earlier + page] == texts[-10:]
    assert session.messages(before="no such id") == []


def test_a_transcript_is_kept_where_the_policy_says_so(store: Store) -> None:
    session = store.session(policies={"*": Policy(transcript_messages=50)})
    rounds(session, 40)
    texts = [text for number in range(1, 41) for text in (f"u{number}", f"re: u{number}")]
    assert [m.text for m in session.messages(limit=100)] == texts[-50:]
    assert [m.text for m in session.export().transcript] == texts[-50:]
    assert store.session("bob", policies={"*": Policy()}).export() is None


def test_times_are_the_stores_unless_given(store: Store) -> None:
    session = store.session()
    talk(session, "hi")
    session.append("user", "old", timestamp=1.5)
    times = [m.timestamp for m in session.messages()]
    info = session.info()
    assert info.created_at <= times[0] <= times[1] <= info.last_activity
    assert times[2] == 1.5


def test_amending_replaces_the_text_wherever_it_is_kept(store: Store) -> None:
    session = store.session(policies={"*": Policy(transcript_messages=100)})
    rounds(session, 14)
    for message_id, place in (("m1", 0), ("m14", -2)):
        amended = session.amend(message_id, f"new text of {message_id}")
        assert amended.text == f"new text of {message_id}"
        assert amended.amended == 1
        assert session.messages(limit=100)[place] == amended
        assert session.export().transcript[place] == amended
    assert session.info().message_count == 28


def test_amending_keeps_everything_else_of_a_message(store: Store) -> None:
    session = store.session()
    session.receive("", message_id="1", attachments=[Attachment("audio", url="u")], tags=["x"], metadata={"a": []})
    (before,) = session.messages()
    after = session.amend("1", "what was said in the voice message")
    assert (after.key, after.arrival, after.timestamp_ms, after.id) == (
        before.key,
        before.arrival,
        before.timestamp_ms,
        before.id,
    )
    assert (after.attachments, after.tags, after.metadata) == (before.attachments, before.tags, before.metadata)
    assert after.tokens > before.tokens
    with session.turn() as turn:
        assert turn.messages == (after,)
        turn.reply("understood")


def test_redacting_takes_text_attachments_and_metadata_away(store: Store) -> None:
    session = store.session()
    session.receive("secret", message_id="1", attachments=[Attachment("image", url="secret")], metadata={"a": "secret"})
    gone = session.redact("1")
    assert gone == session.messages()[0]
    assert gone.redacted
    assert (gone.text, gone.attachments, gone.metadata) == ("", (), None)
    assert "secret" not in str(session.context().to_openai())
    assert "secret" not in repr(store.dump())


def test_redacting_a_call_takes_its_arguments_away(store: Store) -> None:
    session = store.session()
    session.append("assistant", "", message_id="1", tool_calls=[ToolCall("c", "pay", '{"card":"secret"}')])
    assert session.redact("1").tool_calls == (ToolCall("c", "pay", "{}"),)
    assert "secret" not in repr(store.dump())


def test_what_is_not_there_is_none(store: Store) -> None:
    session = store.session()
    assert session.amend("1", "x") is None
    assert session.redact("1") is None
    talk(session, "hi")
    before = store.dump()
    assert session.amend("other", "x") is None
    assert session.redact("other") is None
    assert store.dump() == before


def test_a_foreign_edit_is_made_once_for_each_call(store: Store) -> None:
    session = store.session()
    session.receive("one", message_id="1")
    session.amend("1", "two")
    assert session.amend("1", "three").amended == 2


def test_a_damaged_item_is_reported_and_left_as_it_is(store: Store) -> None:
    session = store.session()
    talk(session, "hi", "there")
    store.spoil_newest(session)
    before = store.dump()
    with pytest.raises(Damaged):
        session.messages()
    with pytest.raises(Damaged):
        session.export()
    context = session.context()
    assert context.damaged == 1
    assert [m.text for m in context.messages] == ["hi", "re: hi", "there"]
    assert store.dump() == before


def test_a_damaged_item_does_not_stop_the_conversation(store: Store) -> None:
    session = store.session()
    talk(session, "hi")
    store.spoil_newest(session)
    rounds(session, 25, begin=2)
    assert session.context().messages[-1].text == "re: u26"
    assert session.info().folded >= 10


@pytest.mark.parametrize("name", ["metadata", "context"])
def test_a_damaged_field_is_reported_and_never_overwritten(store: Store, name: str) -> None:
    session = store.session()
    talk(session, "hi")
    store.spoil_field(session, name)
    change = SessionUpdate(metadata={"a": 1}) if name == "metadata" else SessionUpdate(variables={"a": 1})
    before = store.dump()
    with pytest.raises(Damaged):
        session.info()
    with pytest.raises(Damaged):
        session.update(change)
    assert store.dump() == before
    with session.turn("x", message_id="x") as turn, pytest.raises(Damaged):
        turn.reply("y", update=change)
    with session.turn("x", message_id="x") as turn:
        turn.reply("it goes on")
    assert [m.text for m in session.messages()][-1] == "it goes on"
    with pytest.raises(Damaged):
        session.info()
