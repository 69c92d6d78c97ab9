"""Sessions: one for each (tenant, channel, user), found by id, listed by pages, ended, exported."""

from __future__ import annotations

import re
from typing import Any

import pytest

from luni import REMOVE, SessionUpdate
from luni.errors import InvalidInput
from luni.testing.conformance.store import Store, rounds, talk


def test_there_is_no_session_before_the_first_message(store: Store) -> None:
    session = store.session()
    assert session.info() is None
    assert session.messages() == []
    assert session.export() is None
    assert session.context().messages == ()


def test_the_first_message_begins_the_session_and_only_that_one(store: Store) -> None:
    session = store.session()
    with session.turn("hi", message_id="1") as first:
        assert first.new_session
        first.reply("hello")
    with session.turn("again", message_id="2") as second:
        assert not second.new_session
        assert second.session_id == first.session_id


def test_a_received_message_begins_the_session_and_its_turn_does_not(store: Store) -> None:
    session = store.session()
    assert session.receive("hi", message_id="1").new_session
    with session.turn() as turn:
        assert not turn.new_session


def test_session_ids_carry_128_random_bits(store: Store) -> None:
    memory = store.open()
    found = {memory.session(tenant="t", channel="c", user=str(n)).receive("x", message_id="1").session_id for n in range(20)}
    assert len(found) == 20
    assert all(re.fullmatch("[a-z2-7]{26}", session_id) for session_id in found)


def test_users_channels_and_tenants_are_apart(store: Store) -> None:
    memory = store.open()
    places = [("a", "web", "1"), ("a", "web", "2"), ("a", "sms", "1"), ("b", "web", "1")]
    for tenant, channel, user in places:
        session = memory.session(tenant=tenant, channel=channel, user=user)
        with session.turn(f"{tenant}{channel}{user}", message_id="same id") as turn:
            assert turn.new_session
            turn.reply("ok", update=SessionUpdate(variables={"who": user}, focus=f"{tenant}/{channel}/{user}"))
    for tenant, channel, user in places:
        session = memory.session(tenant=tenant, channel=channel, user=user)
        assert [m.text for m in session.messages()] == [f"{tenant}{channel}{user}", "ok"]
        assert session.info().focus == f"{tenant}/{channel}/{user}"


def test_info_says_what_is_stored(store: Store) -> None:
    session = store.session()
    rounds(session, 2)
    session.receive("one more", message_id="x")
    info = session.info()
    assert (info.tenant, info.channel, info.user) == ("shop", "web", "ana")
    assert (info.message_count, info.unanswered, info.folded, info.paused) == (5, 1, 0, False)
    assert info.created_at <= info.last_activity


def test_a_session_is_found_by_its_id_on_another_instance(store: Store) -> None:
    session_id = store.session().receive("hi", message_id="1").session_id
    found = store.open().find(session_id, tenant="shop")
    assert (found.tenant, found.channel, found.user) == ("shop", "web", "ana")
    talk(found, "found")
    assert [m.text for m in store.session().messages()] == ["hi", "found", "re: found"]


def test_another_tenant_gets_none_for_the_same_id(store: Store) -> None:
    session_id = store.session().receive("hi", message_id="1").session_id
    memory = store.open()
    assert memory.find(session_id, tenant="other") is None
    assert memory.find("nobody-has-this-id", tenant="shop") is None


def test_an_ended_session_is_not_found_and_its_successor_is(store: Store) -> None:
    session, memory = store.session(), store.open()
    old = session.receive("hi", message_id="1").session_id
    session.end()
    new = session.receive("again", message_id="2").session_id
    assert old != new
    assert memory.find(old, tenant="shop") is None
    assert memory.find(new, tenant="shop") is not None


@pytest.mark.parametrize("bad", ["", "\ud800", "x" * 5000, 7])
def test_an_id_that_cannot_be_one_is_refused(store: Store, bad: Any) -> None:
    memory = store.open()
    with pytest.raises(InvalidInput):
        memory.find(bad, tenant="shop")


def test_ending_deletes_the_session_and_a_new_one_may_begin(store: Store) -> None:
    session = store.session()
    rounds(session, 12)
    assert session.end() is True
    assert session.info() is None
    assert session.messages() == []
    assert session.end() is False
    with session.turn("hello again", message_id="new") as turn:
        assert turn.new_session
        turn.reply("welcome back")
    assert [m.text for m in session.messages()] == ["hello again", "welcome back"]
    assert session.info().summary == ""
    assert session.info().message_count == 2


def test_a_late_second_delivery_does_not_begin_a_new_session_after_the_end(store: Store) -> None:
    session = store.session()
    talk(session, "hi")
    session.end()
    assert store.session().receive("hi", message_id="m1").state == "duplicate"
    with store.session().turn("hi", message_id="m1") as turn:
        assert turn.state == "duplicate"
        assert turn.answer is None
    assert session.info() is None


def test_an_instance_that_knew_the_old_session_continues_in_the_new_one(store: Store) -> None:
    one, other = store.session(), store.session()
    talk(one, "hi")
    talk(other, "there", begin=2)
    one.end()
    talk(one, "new", begin=3)
    talk(other, "also new", begin=4)
    other.append("assistant", "and this")
    other.update(SessionUpdate(variables={"a": 1}))
    assert [m.text for m in one.messages()] == ["new", "re: new", "also new", "re: also new", "and this"]


def test_an_ended_sessions_id_is_not_used_again_by_an_instance_that_knew_it(store: Store) -> None:
    one, other = store.session(), store.session()
    talk(one, "hi")
    talk(other, "there", begin=2)
    old = other.info().session_id
    one.end()
    with other.turn("new", message_id="new") as turn:
        assert turn.new_session
        assert turn.session_id != old
        turn.reply("welcome")
    assert store.open().find(old, tenant="shop") is None


def test_pages_show_every_session_once_the_latest_first(store: Store) -> None:
    memory = store.open()
    for number in range(250):
        memory.session(tenant="big", channel="web", user=f"u{number}").receive("hi", message_id="1")
        if number % 50 == 0:
            store.let_pass(0.01)
    memory.session(tenant="small", channel="web", user="x").receive("hi", message_id="1")
    seen, cursor = [], None
    while True:
        page = memory.sessions("big", limit=33, cursor=cursor)
        assert len(page) <= 33
        seen += page.items
        cursor = page.cursor
        if cursor is None:
            break
    assert sorted(info.user for info in seen) == sorted(f"u{number}" for number in range(250))
    assert [info.last_activity for info in seen] == sorted((info.last_activity for info in seen), reverse=True)


def test_pages_can_show_only_the_paused_or_only_the_others(store: Store) -> None:
    memory = store.open()
    for user in "abc":
        memory.session(tenant="t", channel="c", user=user).receive("hi", message_id="1")
    store.pause(memory.session(tenant="t", channel="c", user="b"))
    assert [info.user for info in memory.sessions("t", paused=True)] == ["b"]
    assert sorted(info.user for info in memory.sessions("t", paused=False)) == ["a", "c"]


def test_a_tenant_without_sessions_has_an_empty_page(store: Store) -> None:
    page = store.open().sessions("nobody")
    assert page.items == ()
    assert page.cursor is None


@pytest.mark.parametrize(
    "bad", [{"limit": 0}, {"limit": 201}, {"limit": True}, {"cursor": "x"}, {"cursor": "1"}, {"cursor": ""}]
)
def test_a_page_that_cannot_be_is_refused(store: Store, bad: dict[str, Any]) -> None:
    memory = store.open()
    with pytest.raises(InvalidInput):
        memory.sessions("t", **bad)


def test_an_ended_session_leaves_the_pages_and_its_successor_enters(store: Store) -> None:
    memory = store.open()
    session = memory.session(tenant="t", channel="c", user="u")
    session.receive("hi", message_id="1")
    session.end()
    assert memory.sessions("t").items == ()
    session.receive("again", message_id="2")
    assert [info.session_id for info in memory.sessions("t")] == [session.info().session_id]


def test_an_export_holds_everything(store: Store) -> None:
    session = store.session()
    rounds(session, 12)
    session.update(SessionUpdate(metadata={"stage": "sale"}, variables={"size": 42}, focus="shoes"))
    export = session.export()
    assert export.info == session.info()
    assert export.info.metadata["stage"] == "sale"
    assert export.info.variables == {"size": 42}
    assert [m.text for m in export.messages] == [m.text for m in session.messages(limit=100)]


def test_metadata_begins_as_the_old_readers_know_it(store: Store) -> None:
    session = store.session()
    session.receive("hi", message_id="1")
    assert session.info().metadata == {"focoAtual": None, "etapaFunil": "descoberta", "primeiraInteracao": False}
    other = store.session("bob")
    other.update(SessionUpdate(variables={"a": 1}))
    assert other.info().metadata["primeiraInteracao"] is True
    talk(other, "hi")
    assert other.info().metadata["primeiraInteracao"] is False


def test_a_closed_memory_may_be_closed_again(store: Store) -> None:
    memory = store.open()
    memory.session(tenant="t", channel="c", user="u").receive("hi", message_id="1")
    memory.close()
    memory.close()


def test_health_and_description_say_that_the_store_answers(store: Store) -> None:
    memory = store.open()
    health = memory.health()
    assert (health.ok, health.degraded, health.detail) == (True, False, "")
    assert {"backend", "place", "server", "lost_on_power_failure"} <= set(memory.describe())


def test_a_removed_key_is_gone_and_none_is_a_null(store: Store) -> None:
    session = store.session()
    session.update(SessionUpdate(variables={"gone": 1, "null": 2}))
    session.update(SessionUpdate(variables={"gone": REMOVE, "null": None}))
    assert session.info().variables == {"null": None}
