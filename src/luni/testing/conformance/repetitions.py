"""Calls repeated after nobody could tell, and calls that make no sense: what a stranger tries."""

from __future__ import annotations

from typing import Any

import pytest

from luni import Attachment, Message, Policy, SessionUpdate, ToolCall, ToolResult
from luni.errors import ConfigError, Indeterminate, InvalidInput, LuniError, Unavailable
from luni.testing.conformance.store import Store, inner, talk

TWO_OF_A_NAME = (ToolCall("a", "t"), ToolCall("a", "t"), ToolResult("a", ""))
ODD: Any = "\ud800"


def losing(memory: Any, times: int) -> None:
    """Lose the replies of the next operations: executed, but nobody hears of it."""
    target = inner(memory)
    execute, left = target._execute, times

    def lost(operation: Any) -> Any:
        nonlocal left
        result = execute(operation)
        if left == 0:
            return result
        left -= 1
        if not hasattr(result, "add_done_callback"):
            raise Indeterminate("lost on purpose")
        future = result.get_loop().create_future()
        result.add_done_callback(lambda done: (done.exception(), future.set_exception(Indeterminate("lost on purpose"))))
        return future

    target._execute = lost


def test_a_reply_that_was_stored_is_known_as_stored_although_others_wrote_since(store: Store) -> None:
    memory = store.open(max_retries=0)
    session = memory.session(tenant="shop", channel="web", user="ana")
    turn = session.turn("q", message_id="1").open()
    losing(memory, 1)
    with pytest.raises(Indeterminate):
        turn.reply("answer")
    session.receive("and another", message_id="2")
    assert [message.text for message in turn.reply("answer")] == ["answer"]
    assert not turn.should_reply
    assert [m.text for m in session.messages()] == ["q", "answer", "and another"]
    assert session.info().unanswered == 1


def test_a_lost_reply_that_kept_the_lease_goes_on_with_what_came_in(store: Store) -> None:
    memory = store.open(max_retries=0)
    session = memory.session(tenant="shop", channel="web", user="ana")
    turn = session.turn("q", message_id="1").open()
    session.receive("came in meanwhile", message_id="2")
    losing(memory, 1)
    with pytest.raises(Indeterminate):
        turn.reply("answer")
    session.receive("and another", message_id="3")
    turn.reply("answer")
    assert turn.should_reply
    assert [message.text for message in turn.messages] == ["came in meanwhile"]
    assert [message.text for message in turn.context.messages] == ["q", "answer", "came in meanwhile"]
    turn.reply("re: came in")
    assert [message.text for message in turn.messages] == ["and another"]
    turn.reply("re: another")
    expected = ["q", "answer", "came in meanwhile", "re: came in", "and another", "re: another"]
    assert [m.text for m in session.messages()] == expected
    assert session.info().unanswered == 0


def test_an_open_that_was_lost_is_the_same_turn_when_it_is_repeated(store: Store) -> None:
    memory = store.open(max_retries=0)
    turn = memory.session(tenant="shop", channel="web", user="ana").turn("q", message_id="1")
    losing(memory, 1)
    with pytest.raises(Indeterminate):
        turn.open()
    assert turn.open().state == "open"
    assert turn.reply("answer")


def test_opening_a_turn_twice_is_opening_it_once(store: Store) -> None:
    with store.session().turn("q", message_id="1").open() as turn:
        assert turn.should_reply
        turn.reply("answer")
    assert store.session().turn().open().state == "idle"


def test_an_append_delivered_again_after_the_end_begins_nothing(store: Store) -> None:
    session = store.session()
    session.append("user", "note", message_id="crm-1")
    session.end()
    session.append("user", "note", message_id="crm-1")
    assert session.info() is None


def test_an_imported_message_delivered_again_is_a_duplicate(store: Store) -> None:
    session = store.session()
    session.load([Message("hi", id="wamid.1"), Message("hello", role="assistant"), Message("and", id="wamid.2")])
    assert session.receive("hi", message_id="wamid.1").state == "duplicate"
    assert session.receive("new", message_id="wamid.3").state == "accepted"
    assert session.info().unanswered == 1


def test_one_damaged_session_does_not_hide_the_others(store: Store) -> None:
    talk(store.session(user="ana"), "hi")
    talk(store.session(user="rui"), "hi")
    store.spoil_field(store.session(user="ana"), "context")
    listed = {info.user: info.damaged for info in store.open().sessions("shop")}
    assert listed == {"ana": True, "rui": False}


def test_after_close_nothing_goes_on_in_silence(store: Store) -> None:
    memory = store.open()
    session = memory.session(tenant="shop", channel="web", user="ana")
    talk(session, "hi")
    inner(memory)._closed = True
    with pytest.raises(Unavailable, match="closed"):
        session.info()
    assert not memory.health().ok


def test_a_summariser_that_fails_does_not_cost_the_answer(store: Store) -> None:
    def fails(summary: str, messages: Any, *, limit: int = 400) -> str:
        raise ZeroDivisionError

    session = store.session(summariser=fails)
    for number in range(20):
        talk(session, f"my number is 555-01{number:02}", begin=number)
    assert session.info().folded > 0
    assert "555-01" in session.info().summary


@pytest.mark.parametrize(
    "call",
    [
        lambda s: s.receive("x", message_id="1", tags=5),
        lambda s: s.receive("x", message_id="1", attachments=5),
        lambda s: s.receive("x", message_id="1", attachments=[Attachment("a", size_bytes=ODD)]),
        lambda s: s.append(["user"], "x"),
        lambda s: s.append("assistant", "x", tool_calls=5),
        lambda s: s.load(5),
        lambda s: s.load([Message("x", timestamp_ms=ODD)]),
        lambda s: s.load([Message("x", id="1"), Message("y", id="1")]),
        lambda s: s.update(SessionUpdate(), expected_revision=True),
        lambda s: s.update(SessionUpdate(), expected_revision="1"),
        lambda s: s.context(policy=5),
        lambda s: s.turn("x", message_id="1").open().reply("y", steps=5),
        lambda s: (
            s.turn("x", message_id="1").open().reply("y", steps=[ToolCall("a", "t"), ToolCall("a", "t"), ToolResult("a", "")])
        ),
        lambda s: s.turn("x", message_id="1").open().reply("y", tags=5),
    ],
)
def test_what_makes_no_sense_is_invalid_input(store: Store, call: Any) -> None:
    with pytest.raises(InvalidInput):
        call(store.session())


@pytest.mark.parametrize("cursor", [5, "x", "9" * 30 + ".1", "1." + "9" * 30, "", "²."])
def test_a_cursor_no_page_gave_is_invalid_input(store: Store, cursor: Any) -> None:
    with pytest.raises(InvalidInput):
        store.open().sessions("shop", cursor=cursor)


@pytest.mark.parametrize(
    "options",
    [
        {"max_retries": 1.5},
        {"ttl": None},
        {"pool_max": None},
        {"durability": ["full"]},
        {"policies": 5},
        {"counter": 5},
        {"on_event": 5},
        {"summariser": 5},
        {"colour": 1},
    ],
)
def test_a_bad_setting_is_a_configuration_error_at_once(store: Store, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        store.open(**options)


def test_addresses_of_other_types_are_invalid_input(store: Store) -> None:
    for bad in (5, None, ["a"], b"a"):
        with pytest.raises(LuniError):
            store.open().session(tenant=bad, channel="web", user="ana")


def test_a_hook_is_told_and_may_use_the_memory(store: Store) -> None:
    seen: list[Any] = []

    def hook(event: Any) -> None:
        seen.append(event)
        if len(seen) == 1 and not store.asynchronous:  # a hook cannot await
            session.info()

    memory = store.open(on_event=hook)
    session = memory.session(tenant="shop", channel="web", user="ana")
    talk(session, "hi")
    session.info()
    assert {event.operation for event in seen} == {"open", "reply", "read"}
    assert {event.policy for event in seen} == {Policy().name}
