"""What is refused, and that a refusal has stored nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from luni import Attachment, Message, SessionUpdate, ToolCall, ToolResult
from luni.errors import Backlog, ConfigError, InvalidInput
from luni.testing.conformance.store import Store, executed, rounds, talk

TEN_MB = 10 * 1024 * 1024


def nested(depth: int) -> Any:
    found: Any = 1
    for _ in range(depth):
        found = [found]
    return found


def circle() -> dict[str, Any]:
    found: dict[str, Any] = {}
    found["itself"] = found
    return found


BAD_JSON: dict[str, Any] = {
    "NaN": {"a": math.nan},
    "infinity": {"a": [math.inf]},
    "5000 digits": {"a": 10**4999},
    "more than 64 bits": {"a": 2**63},
    "depth bomb": {"a": nested(100_000)},
    "33 deep": {"a": nested(33)},
    "circle": circle(),
    "lone surrogate": {"a": "\ud800"},
    "lone surrogate as key": {"\ud800": 1},
    "number as key": {1: 1},
    "number as inner key": {"a": {1: 1}},
    "bytes": {"a": b"x"},
    "set": {"a": {1}},
    "object": {"a": object()},
    "too much": {"a": "x" * 70_000},
}


@pytest.mark.parametrize("bad", BAD_JSON.values(), ids=BAD_JSON.keys())
@pytest.mark.parametrize("field", ["metadata", "variables"])
def test_what_json_cannot_carry_is_refused_in_an_update(store: Store, field: str, bad: Any) -> None:
    session = store.session()
    talk(session, "hi")
    before = store.dump()
    with pytest.raises(InvalidInput):
        session.update(SessionUpdate(**{field: bad}))
    assert store.dump() == before


@pytest.mark.parametrize("bad", BAD_JSON.values(), ids=BAD_JSON.keys())
def test_what_json_cannot_carry_is_refused_in_a_reply_which_may_be_given_again(store: Store, bad: Any) -> None:
    with store.session().turn("hi", message_id="1") as turn:
        before = store.dump()
        with pytest.raises(InvalidInput):
            turn.reply("hello", update=SessionUpdate(variables=bad))
        assert store.dump() == before
        assert turn.should_reply
        turn.reply("hello", update=SessionUpdate(variables={"fine": 1}))
    assert store.session().info().variables == {"fine": 1}


@pytest.mark.parametrize("bad", BAD_JSON.values(), ids=BAD_JSON.keys())
def test_what_json_cannot_carry_is_refused_in_a_message(store: Store, bad: Any) -> None:
    session = store.session()
    calls: tuple[Callable[[], Any], ...] = (
        lambda: session.receive("hi", message_id="1", metadata=bad),
        lambda: session.turn("hi", message_id="1", metadata=bad).open(),
        lambda: session.append("user", "hi", metadata=bad),
    )
    for call in calls:
        with pytest.raises(InvalidInput):
            call()
    assert session.info() is None


def test_json_at_the_limits_is_kept(store: Store) -> None:
    session = store.session()
    kept = {
        "big": 2**63 - 1,
        "small": -(2**63),
        "deep": nested(30),
        "empty": [],
        "nothing": {},
        "text": "x" * 60_000,
        "π": 3.5e-7,
    }
    session.update(SessionUpdate(variables=kept))
    assert session.info().variables == kept


def test_an_update_that_would_grow_a_field_beyond_its_limit_is_refused(store: Store) -> None:
    session = store.session()
    session.update(SessionUpdate(metadata={"one": "x" * 40_000}))
    before = store.dump()
    with pytest.raises(InvalidInput):
        session.update(SessionUpdate(metadata={"two": "x" * 40_000}))
    assert store.dump() == before


def test_a_message_of_ten_megabytes_is_refused_before_anything_is_sent(store: Store) -> None:
    sent: list[Any] = []
    session = store.session(on_event=sent.append)
    big = "x" * TEN_MB
    turn = session.turn("hi", message_id="0").open()
    sent.clear()
    calls: tuple[Callable[[], Any], ...] = (
        lambda: session.receive(big, message_id="1"),
        lambda: session.turn(big, message_id="1").open(),
        lambda: session.append("user", big),
        lambda: session.load([Message(text=big)]),
        lambda: session.amend("m1", big),
        lambda: session.receive("x", message_id="1", attachments=[Attachment("file", transcript=big)]),
        lambda: turn.reply(big),
    )
    for call in calls:
        with pytest.raises(InvalidInput):
            call()
    assert sent == []
    assert turn.should_reply
    turn.close()


BAD_CALLS: dict[str, Callable[[Any], Any]] = {
    "unknown role": lambda s: s.append("robot", "x"),
    "text of another type": lambda s: s.receive(7, message_id="1"),
    "lone surrogate": lambda s: s.receive("\ud800", message_id="1"),
    "tags in one string": lambda s: s.receive("x", message_id="1", tags="abc"),
    "empty tag": lambda s: s.receive("x", message_id="1", tags=[""]),
    "33 tags": lambda s: s.receive("x", message_id="1", tags=["t"] * 33),
    "33 attachments": lambda s: s.receive("x", message_id="1", attachments=[Attachment("image")] * 33),
    "an attachment of another type": lambda s: s.receive("x", message_id="1", attachments=[{"kind": "image"}]),
    "an attachment with a number for a URL": lambda s: s.receive("x", message_id="1", attachments=[Attachment("image", url=5)]),  # type: ignore[arg-type]
    "an attachment with a text for a size": lambda s: s.receive(
        "x",
        message_id="1",
        attachments=[Attachment("image", size_bytes="big")],  # type: ignore[arg-type]
    ),
    "metadata that is no dict": lambda s: s.receive("x", message_id="1", metadata=[1]),
    "time before the epoch": lambda s: s.receive("x", message_id="1", timestamp=-1),
    "time that is no number": lambda s: s.receive("x", message_id="1", timestamp=math.nan),
    "time after the year 9999": lambda s: s.receive("x", message_id="1", timestamp=1e15),
    "message id without text": lambda s: s.turn(message_id="1").open(),
    "attachments without text": lambda s: s.turn(attachments=[Attachment("image")]).open(),
    "empty message id": lambda s: s.append("user", "x", message_id=""),
    "no update": lambda s: s.update({"metadata": {}}),
    "limit of nothing": lambda s: s.messages(0),
    "limit of true": lambda s: s.messages(limit=True),
    "loading texts": lambda s: s.load(["hi"]),
    "loading too much": lambda s: s.load([Message(text="x")] * 10_001),
    "a summary of another type": lambda s: s.set_summary(None),
    "an empty tool call id": lambda s: s.append("tool", "x", tool_call_id=""),
}


@pytest.mark.parametrize("call", BAD_CALLS.values(), ids=BAD_CALLS.keys())
def test_a_call_that_cannot_be_is_refused_and_stores_nothing(store: Store, call: Callable[[Any], Any]) -> None:
    session = store.session()
    with pytest.raises(InvalidInput):
        call(session)
    assert session.info() is None


BAD_REPLIES: dict[str, Callable[[Any], Any]] = {
    "nothing": lambda t: t.reply(),
    "an empty text": lambda t: t.reply("fine", ""),
    "another type": lambda t: t.reply(7),
    "lone surrogate": lambda t: t.reply("\ud800"),
    "65 bubbles": lambda t: t.reply(*["x"] * 65),
    "a result without a call": lambda t: t.reply("x", steps=[ToolResult("1", "r")]),
    "a call without a result": lambda t: t.reply("x", steps=[ToolCall("1", "look")]),
    "a step of another type": lambda t: t.reply("x", steps=["look"]),
    "an update of another type": lambda t: t.reply("x", update={"focus": "y"}),
}


@pytest.mark.parametrize("call", BAD_REPLIES.values(), ids=BAD_REPLIES.keys())
def test_a_reply_that_cannot_be_is_refused_and_the_turn_goes_on(store: Store, call: Callable[[Any], Any]) -> None:
    with store.session().turn("hi", message_id="1") as turn:
        before = store.dump()
        with pytest.raises(InvalidInput):
            call(turn)
        assert store.dump() == before
        turn.reply("now")
    assert [m.text for m in store.session().messages()] == ["hi", "now"]


def test_unknown_fields_are_rejected_and_id_and_tenant_are_immutable(store: Store) -> None:
    with pytest.raises(TypeError):
        SessionUpdate(session_id="x")  # type: ignore[call-arg]
    session = store.session()
    session.update(SessionUpdate(metadata={"tenant": "other", "session_id": "x", "sessionId": "x"}))
    info = session.info()
    assert info.tenant == "shop"
    assert info.session_id != "x"
    with pytest.raises(AttributeError):
        info.tenant = "other"


def test_an_unknown_setting_or_url_is_a_config_error(store: Store) -> None:
    with pytest.raises(ConfigError, match="speed"):
        store.open(speed=1)
    with pytest.raises(ConfigError, match="REDIS_TTL_SECONDS"):
        store.open(ttl=0)


def test_too_many_waiting_messages_are_refused_and_none_of_them_is_lost(store: Store) -> None:
    session = store.session()
    accepted = 0
    with pytest.raises(Backlog):
        while accepted <= 128:
            session.receive(f"w{accepted}", message_id=f"w{accepted}")
            accepted += 1
    assert 100 <= accepted <= 128
    assert session.info().unanswered == accepted
    before = store.dump()
    with pytest.raises(Backlog):
        session.turn("one more", message_id="more").open()
    with pytest.raises(Backlog):
        session.append("user", "one more", message_id="more")
    assert store.dump() == before
    with session.turn() as turn:
        assert [m.text for m in turn.messages] == [f"w{number}" for number in range(accepted)]
        turn.reply("to all of you")
    assert session.receive("one more", message_id="more").state == "accepted"
    assert session.receive("w0", message_id="w0").state == "duplicate"


def test_appended_messages_of_a_user_do_not_fill_the_backlog(store: Store) -> None:
    session = store.session()
    for number in range(140):
        session.append("user", f"u{number}", message_id=f"u{number}")
    assert session.info().message_count == 140
    assert session.info().unanswered == 0


def test_at_most_128_accepted_messages_are_remembered(store: Store) -> None:
    session = store.session()
    rounds(session, 140)
    assert store.remembered(session) == 128
    assert session.receive("u140", message_id="m140").state == "duplicate"
    assert session.receive("u13", message_id="m13").state == "duplicate"
    assert session.receive("u1", message_id="m1").state == "accepted"


def test_at_most_64_writers_are_remembered(store: Store) -> None:
    memory = store.open()
    session = memory.session(tenant="shop", channel="web", user="ana")
    flow = session._append_flow("system", "x", None, (), None, (), None, (), None)
    session.append("system", "first")
    operation = next(flow).operation
    flow.close()
    assert executed(memory, operation).state == "appended"
    for number in range(80):
        other = type(operation)(
            **{name: getattr(operation, name) for name in operation.__struct_fields__} | {"writer": f"w{number:025}", "seq": 1}
        )
        assert executed(memory, other).state == "appended"
        store.let_pass(0.002)
    assert store.writers(session) == 64
    assert session.info().message_count == 82


def test_a_window_never_holds_more_than_its_twenty_and_what_waits_to_be_folded(store: Store) -> None:
    session = store.session()
    for number in range(400):
        session.append("system", f"s{number}")
    assert len(session.messages(limit=1000)) <= 120
    assert session.info().message_count == 400
