"""Turns over two processes: opened by one, answered by another with the turn's handle."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from luni import Policy, SessionUpdate, ToolCall, ToolResult
from luni.errors import Fenced, Indeterminate, InvalidInput
from luni.testing.conformance.repetitions import losing
from luni.testing.conformance.store import Store, talk


def changed(handle: str, **fields: Any) -> str:
    """Return a handle that somebody has tampered with."""
    names = ["form", "session_id", "owner", "token", "cut"]
    parts = dict(zip(names, json.loads(base64.urlsafe_b64decode(handle + "=" * (-len(handle) % 4))), strict=True)) | fields
    return base64.urlsafe_b64encode(json.dumps(list(parts.values())).encode()).decode().rstrip("=")


def test_another_worker_replies_with_the_handle(store: Store) -> None:
    turn = store.session().turn("hi", message_id="1").open()
    handle = turn.handle
    other = store.session()
    steps = (ToolCall("c", "look"), ToolResult("c", "seen"))
    done = other.reply(handle, "hello", "how are you?", steps=steps, update=SessionUpdate(variables={"a": 1}), tags=["t"])
    assert (done.should_reply, done.context, done.handle) == (False, None, None)
    assert [m.text for m in done.messages] == ["", "seen", "hello", "how are you?"]
    assert other.messages()[1:] == list(done.messages)
    assert other.info().variables == {"a": 1}
    assert other.info().unanswered == 0
    with pytest.raises(Fenced):
        turn.reply("me too")


def test_newer_messages_come_with_a_fresh_handle(store: Store) -> None:
    handle = store.session().turn("one", message_id="1").open().handle
    store.session().receive("two", message_id="2")
    first = store.session().reply(handle, "re: one")
    assert first.should_reply
    assert [m.text for m in first.context.messages] == ["one", "re: one", "two"]
    last = store.session().reply(first.handle, "re: two")
    assert not last.should_reply
    assert [m.text for m in store.session().messages()] == ["one", "re: one", "two", "re: two"]


def test_a_detached_turn_is_nobodys_to_release(store: Store) -> None:
    with store.session().turn("hi", message_id="1") as turn:
        handle = turn.detach()
        assert turn.handle is None
        assert not turn.should_reply
    with store.session().turn("hi", message_id="1") as second:
        assert second.state == "in_progress"
    assert store.session().reply(handle, "hello").messages[0].text == "hello"
    with pytest.raises(Fenced):
        turn.detach()


def test_what_is_not_open_has_no_handle(store: Store) -> None:
    session = store.session()
    talk(session, "hi")
    with session.turn("hi", message_id="m1") as again:
        assert again.state == "duplicate"
        assert again.handle is None
        with pytest.raises(Fenced):
            again.detach()


def test_a_handle_ends_with_its_lease(store: Store) -> None:
    handle = store.session(lease=0.5).turn("hi", message_id="1").open().detach()
    store.let_pass(0.6)
    before = store.dump()
    with pytest.raises(Fenced):
        store.session().reply(handle, "too late")
    assert store.dump() == before


def test_a_handle_is_fenced_by_pause_end_and_successor(store: Store) -> None:
    handle = store.session().turn("hi", message_id="1").open().detach()
    other = store.session()
    other.pause()
    with pytest.raises(Fenced):
        other.reply(handle, "x")
    other.resume()
    with other.turn("hi", message_id="1") as successor:
        assert successor.should_reply
        with pytest.raises(Fenced):
            other.reply(handle, "x")
    other.end()
    with pytest.raises(Fenced):
        other.reply(handle, "x")
    talk(other, "again", begin=5)
    with pytest.raises(Fenced):
        other.reply(handle, "x")


def test_a_handle_is_of_no_use_for_another_conversation(store: Store) -> None:
    memory = store.open()
    mine, theirs = (memory.session(tenant="shop", channel="web", user=user) for user in ("ana", "rui"))
    handle = mine.turn("hi", message_id="1").open().handle
    victim = theirs.turn("hi", message_id="1").open()
    before = store.dump()
    for forged in (handle, changed(handle, session_id=victim.session_id), changed(handle, token=victim.token)):
        with pytest.raises(Fenced):
            theirs.reply(forged, "I am somebody else")
    forged = changed(handle, session_id=victim.session_id, token=victim.token)
    with pytest.raises(Fenced):
        theirs.reply(forged, "I am somebody else")
    assert store.dump() == before
    victim.reply("hello")


def test_a_client_cannot_settle_what_its_turn_has_not_seen(store: Store) -> None:
    handle = store.session().turn("one", message_id="1").open().handle
    store.session().receive("two", message_id="2")
    before = store.dump()
    for cut in (2, 3, 10**9):
        with pytest.raises(Fenced):
            store.session().reply(changed(handle, cut=cut), "to both")
    assert store.dump() == before


@pytest.mark.parametrize("bad", ["", "x", "é", None, 7, b"abc", "AAAA", "W10", "WzEsMiwzXQ", "a" * 10_000])
def test_what_is_no_handle_is_refused(store: Store, bad: Any) -> None:
    with pytest.raises(InvalidInput, match="handle"):
        store.session().reply(bad, "x")


def test_odd_fields_of_a_handle_are_refused(store: Store) -> None:
    handle = store.session().turn("one", message_id="1").open().handle
    for odd in ({"form": 2}, {"cut": -1}, {"cut": 2**60}, {"token": -5}, {"token": "x"}, {"owner": None}):
        with pytest.raises(InvalidInput):
            store.session().reply(changed(handle, **odd), "x")
    with pytest.raises(Fenced):
        store.session().reply(changed(handle, owner="a|b"), "x")


@pytest.mark.parametrize(
    "bad", [{"steps": [object()]}, {"update": {"a": 1}}, {"tags": "x"}, {"update": SessionUpdate(metadata={"a": object()})}]
)
def test_a_reply_that_cannot_be_stored_is_refused(store: Store, bad: Any) -> None:
    handle = store.session().turn("one", message_id="1").open().handle
    with pytest.raises(InvalidInput):
        store.session().reply(handle, "x", **bad)
    with pytest.raises(InvalidInput):
        store.session().reply(handle)
    assert store.session().reply(handle, "ok").messages


def test_the_same_reply_again_is_the_same_reply_whoever_sends_it(store: Store) -> None:
    handle = store.session().turn("hi", message_id="1").open().detach()
    memory = store.open(max_retries=0)
    session = memory.session(tenant="shop", channel="web", user="ana")
    losing(memory, 2)  # what is lost first is a reading, which changes nothing
    for _ in range(2):
        with pytest.raises(Indeterminate):
            session.reply(handle, "hello")
    first = session.reply(handle, "hello")
    again = store.session().reply(handle, "hello")
    assert first == again
    assert [m.text for m in session.messages()] == ["hi", "hello"]
    with pytest.raises(Fenced):
        session.reply(handle, "something else")


def test_a_reply_by_handle_folds_and_fills_the_outbox_like_any_other(store: Store) -> None:
    policies = {"*": Policy(outbox=True)}
    session = store.session()
    talk(session, *[f"u{n}" for n in range(1, 20)])
    handle = session.turn("last", message_id="last").open().handle
    (stored,) = store.session(policies=policies).reply(handle, "re: last").messages
    assert session.info().folded > 0
    assert [i.message.id for i in store.open().unsent(older_than=0)] == [stored.id]


def test_a_handle_says_nothing_of_the_conversation(store: Store) -> None:
    handle = store.session("5547999990000").turn("my secret", message_id="wamid.1").open().handle
    clear = base64.urlsafe_b64decode(handle + "=" * (-len(handle) % 4)).decode()
    for word in ("5547999990000", "secret", "wamid", "shop", "web"):
        assert word not in clear
