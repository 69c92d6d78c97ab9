"""Erasing a person or a tenant: not a byte is left, nobody else is touched, and the next message begins afresh."""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import msgspec
import pytest

from luni import Attachment, Policy, SessionUpdate, ToolCall, ToolResult
from luni import operations as ops
from luni.clock import SystemClock
from luni.errors import Fenced, InvalidInput
from luni.models import Address, Message
from luni.testing.conformance.store import Store, executed, talk, together

USER = "5511-zqperson"
WORDS = [
    "zqperson", "zqmessageid", "zqtext", "zqurl", "zqcaption", "zqtranscript", "zqmeta", "zqfield",
    "zqvariable", "zqfocus", "zqsummary", "zqtag", "zqargument", "zqresult", "zqpausedby", "zqpausenote",
    "zqdetail", "zqbooking", "zqlock", "zqprovider", "zqanswer", "zqunsent", "zqended", "zqimported",
    "zqamended", "zqcancelled", "zqopen", "zqappended", "zqdigest",
]  # fmt: skip
POLICY = {"*": Policy(outbox=True, transcript_messages=50)}
NOTHING = {"sessions": 0, "messages": 0, "message_ids": 0, "bookings": 0, "locks": 0}


def moment(hours: int) -> datetime:
    return datetime(2031, 5, 6, tzinfo=UTC) + timedelta(hours=hours)


def of(memory: Any, channel: str, user: str = USER, tenant: str = "shop") -> Any:
    return memory.session(tenant=tenant, channel=channel, user=user)


def passing(store: Store) -> None:
    """Let a few milliseconds pass, on whichever clock."""
    if store.clock is not None:
        store.clock.advance(0.01)
    time.sleep(0.01)


def sing(memory: Any) -> Any:
    """Write a canary through everything that stores; return the turn that is left open."""
    web = of(memory, "web")
    file = Attachment("image", url="https://x/zqurl.png", mime="image/png", caption="zqcaption", transcript="zqtranscript")
    with web.turn("zqtext", message_id="zqmessageid", attachments=[file], tags=["zqtag"]) as turn:
        sent = turn.reply(
            "zqanswer",
            steps=[ToolCall("call", "look", '{"who": "zqargument"}'), ToolResult("call", "zqresult")],
            update=SessionUpdate(metadata={"name": "zqfield"}, variables={"v": "zqvariable"}, focus="zqfocus"),
        )
    web.mark_sent(sent[-1].id, provider_id="zqprovider")
    web.receive("text", message_id="m2", metadata={"k": "zqmeta"})
    with web.turn() as turn:
        turn.reply("zqunsent")
    web.append("human", "zqappended")
    web.amend(web.append("user", "text").id, "zqamended")
    web.set_summary("zqsummary")
    web.lock("zqlock", ttl=3600).acquire()
    paused = of(memory, "sms")
    paused.load([Message("zqimported", "user", id="zqdigest")])
    paused.pause(3600, by="zqpausedby", reason="zqpausenote")
    ended = of(memory, "whatsapp")
    talk(ended, "zqended")
    ended.lock("zqlock-too", ttl=3600).acquire()
    ended.end()
    chair = memory.agenda("shop", "chair")
    chair.hold(moment(1), moment(2), by=USER, ttl=600, id="zqbooking", details={"note": "zqdetail"}, also=["room"])
    chair.confirm("zqbooking")
    chair.hold(moment(3), moment(4), by=USER, ttl=600, id="zqcancelled")
    chair.cancel("zqcancelled")
    left_open = web.turn("zqopen", message_id="m3")
    left_open.open()
    return left_open


def sing_next_door(memory: Any) -> None:
    """Write for somebody else of the tenant, and for the same person at another tenant, whose words are others."""
    for tenant, user in (("shop", "bia"), ("other", USER.replace("zqperson", "person"))):
        session = of(memory, "web", user, tenant)
        talk(session, "one", "two")
        session.lock("tool", ttl=3600).acquire()
        memory.agenda(tenant, "chair").hold(moment(5), moment(6), by=user, ttl=600, id=f"of-{user}")


def kept(dump: Any) -> dict[Any, Any]:
    """Return what is stored of conversations, locks and bookings; a tenant's lists live on with whoever is left."""
    shared = ("tombstone", "agenda_mark", "sqlite_sequence", ":tenant:", ":tenants", ":client:", ":marks", ":due", ":resources")
    found = {name: value for name, value in dump.items() if not any(one in str(name) for one in shared)}
    return {name: value[:2] if ":agenda:" in str(name) else value for name, value in found.items()}


def left(store: Store) -> list[str]:
    raw = store.stored_bytes()
    return [word for word in WORDS if word.encode() in raw]


def test_the_canary_sings(store: Store) -> None:
    sing(store.open(policies=POLICY))
    assert set(left(store)) >= set(WORDS) - {"zqended"}


def test_of_an_erased_person_not_a_byte_is_left(store: Store, caplog: Any) -> None:
    caplog.set_level(logging.DEBUG)
    memory = store.open(policies=POLICY)
    sing_next_door(memory)
    before = kept(store.dump())
    sing(memory)
    receipt = store.open().erase("shop", USER)
    assert left(store) == []
    assert kept(store.dump()) == before
    assert receipt.counts["sessions"] == 2
    assert receipt.counts["bookings"] >= 2
    assert receipt.counts["locks"] >= 1
    assert receipt.counts in receipt.where.values()
    assert receipt.pending == ()
    assert receipt.out_of_reach
    told = repr(receipt) + msgspec.json.encode(receipt).decode() + caplog.text
    assert [word for word in WORDS if word in told] == []


def test_of_an_erased_tenant_not_a_byte_is_left(store: Store) -> None:
    memory = store.open(policies=POLICY)
    sing_next_door(memory)
    sing(memory)
    memory.lock("shop", "zqlock", ttl=3600).acquire()
    receipt = store.open().erase("shop")
    assert left(store) == []
    assert b"shop" not in store.stored_bytes()
    assert receipt.counts["sessions"] == 3
    namesake = USER.replace("zqperson", "person")
    assert len(of(memory, "web", namesake, "other").messages()) == 4
    assert len(memory.bookings("other", by=namesake)) == 1
    assert len(memory.sessions("shop")) == 0
    assert memory.resources("shop") == []


def test_what_a_sweeper_has_claimed_is_erased_too(store: Store) -> None:
    memory = store.open(policies=POLICY)
    session = of(memory, "mail")
    talk(session, "zqtext")
    session.receive("zqtext", message_id="m2")
    assert len(memory.unsent("shop", older_than=0)) == 1
    assert len(memory.unanswered("shop", older_than=0)) == 1
    memory.erase("shop", USER)
    assert left(store) == []
    assert len(memory.unsent("shop", older_than=0)) == 0


def test_the_next_message_begins_afresh(store: Store) -> None:
    memory, other = store.open(policies=POLICY), store.open(policies=POLICY)
    sing(memory)
    session = of(memory, "web")
    former = session.info().session_id
    other.erase("shop", USER)
    received = session.receive("zqtext", message_id="zqmessageid")  # with the id of before, from who knew the session of before
    assert (received.state, received.new_session) == ("accepted", True)
    assert received.session_id != former
    assert [message.text for message in session.messages()] == ["zqtext"]
    assert session.info().summary == ""
    assert memory.find(former, tenant="shop") is None
    with session.turn() as turn:
        turn.reply("hello")
    assert session.info().message_count == 2


def test_a_turn_that_was_open_is_fenced(store: Store) -> None:
    memory = store.open(policies=POLICY)
    turn = sing(memory)
    handle = turn.handle
    store.open().erase("shop", USER)
    with pytest.raises(Fenced):
        turn.reply("zqanswer")
    with pytest.raises(Fenced):
        of(memory, "web").reply(handle, "zqanswer")
    assert left(store) == []


def test_erasing_again_finds_nothing(store: Store) -> None:
    memory = store.open(policies=POLICY)
    sing(memory)
    first = memory.erase("shop", USER)
    second = memory.erase("shop", USER)
    assert second.counts == NOTHING
    assert second.erased_at >= first.erased_at


def test_somebody_unknown_can_be_erased(store: Store) -> None:
    memory = store.open()
    assert memory.erase("shop", USER).counts == NOTHING
    assert memory.erase("nowhere").counts == NOTHING
    assert left(store) == []
    for tenant, user in (("", None), ("shop", ""), ("shop", 7), (None, None)):
        with pytest.raises(InvalidInput):
            memory.erase(tenant, user)


def test_what_has_expired_is_erased_too(store: Store) -> None:
    memory = store.open(policies=POLICY)
    sing(memory)
    store.let_pass(72 * 3600 + 60)
    store.open().erase("shop", USER)
    assert left(store) == []


def test_erased_bookings_are_free_to_others(store: Store) -> None:
    memory = store.open(policies=POLICY)
    sing(memory)
    memory.erase("shop", USER)
    chair = memory.agenda("shop", "chair")
    assert chair.hold(moment(1), moment(2), by="bia", ttl=600, id="b").state == "held"
    assert memory.agenda("shop", "room").hold(moment(1), moment(2), by="bia", ttl=600, id="c").state == "held"
    assert memory.bookings("shop", by=USER) == []


def test_names_that_look_alike_are_not_erased(store: Store) -> None:
    memory = store.open()
    users = ["ana", "ana:x", "x:ana", "*", "an?", "Ana", "ana.", "aana", "anaa"]
    for user in users:
        talk(of(memory, "web", user), "hi")
        memory.agenda("shop", user).hold(moment(1), moment(2), by=user, ttl=600, id="b")
    for gone in ("ana", "*"):
        memory.erase("shop", gone)
        users.remove(gone)
        assert {info.user for info in memory.sessions("shop")} == set(users)
        assert all(len(memory.bookings("shop", by=user)) == 1 for user in users)
    for tenant in ("shop", "sho", "shop:web", "id"):
        talk(of(memory, "web", "ana", tenant), "hi")
    memory.erase("sho")
    memory.erase("shop:web")
    memory.erase("id", "ana")
    assert [len(memory.sessions(tenant)) for tenant in ("shop", "sho", "shop:web", "id")] == [len(users) + 1, 0, 0, 0]


# while others write


def erased(memory: Any, address: Address, before_ms: int) -> Any:
    found = ops.Met("")
    while isinstance(found, ops.Met):
        met = found.session_id
        found = executed(memory, ops.Erase(address=address, session_id=met, before_ms=before_ms, fresh_id="z" * 26))
    return found


def test_what_comes_between_the_tombstone_and_the_erasure_is_kept(store: Store) -> None:
    memory = store.open()
    session, address = of(memory, "web"), Address("shop", "web", USER)
    talk(session, "zqtext")
    late = session.turn("zqopen", message_id="zqmessageid")
    late.open()
    buried = executed(memory, ops.Bury(tenant="shop", user=USER, secret="s" * 26))
    passing(store)
    assert late.reply("zqanswer")  # what answers an erased message goes with it
    session.receive("new", message_id="n1")
    session.append("user", "plain")
    former = session.info().session_id
    assert erased(memory, address, buried.ms).messages == 4
    info = session.info()
    assert [message.text for message in session.messages()] == ["new", "plain"]
    assert (info.session_id, info.unanswered, info.message_count) == ("z" * 26, 1, 2)
    assert memory.find(former, tenant="shop") is None
    assert memory.find(info.session_id, tenant="shop") is not None
    assert [one.user for one in memory.unanswered("shop", older_than=0)] == [USER]
    executed(memory, ops.Expunge())
    assert set(left(store)) == {"zqperson"}
    assert session.receive("new", message_id="n1").state == "duplicate"
    assert erased(memory, address, buried.ms).messages == 0  # a repetition does not touch what goes on
    with session.turn() as turn:
        assert [message.text for message in turn.messages] == ["new", "plain"]
        turn.reply("hello")
    assert session.receive("again", message_id="zqmessageid").state == "accepted"


def test_a_reply_that_is_kept_is_still_to_be_sent(store: Store) -> None:
    memory = store.open(policies=POLICY)
    session, address = of(memory, "web"), Address("shop", "web", USER)
    talk(session, "zqtext")
    buried = executed(memory, ops.Bury(tenant="shop", user=USER, secret="s" * 26))
    passing(store)
    with session.turn("new", message_id="n1") as turn:
        turn.reply("re: new")
    assert erased(memory, address, buried.ms).messages == 2
    (found,) = memory.unsent("shop", older_than=0)
    assert found.message.text == "re: new"
    session.mark_sent(found.message.id)
    assert len(memory.unsent("shop", older_than=0)) == 0


def test_what_one_erasure_has_kept_is_taken_by_a_later_one(store: Store) -> None:
    memory = store.open()
    session, address = of(memory, "web"), Address("shop", "web", USER)
    talk(session, "zqtext")
    times = []
    for text in ("zqvariable", "new"):
        times.append(executed(memory, ops.Bury(tenant="shop", user=USER, secret="s" * 26)).ms)
        passing(store)
        session.append("user", text)
        passing(store)
    assert erased(memory, address, times[0]).messages == 2
    assert [message.text for message in session.messages()] == ["zqvariable", "new"]
    assert erased(memory, address, times[1]).messages == 1
    assert [message.text for message in session.messages()] == ["new"]


def scrubbed(memory: Any, tenant: str, user: str, before_ms: int) -> int:
    """Erase what is astray, as the flow does."""
    count, cursor = 0, ""
    while True:
        page = executed(memory, ops.Traces(tenant=tenant, user=user, cursor=cursor, limit=500))
        if page.strays:
            count += executed(memory, ops.Scrub(tenant=tenant, user=user, strays=page.strays, before_ms=before_ms)).count
        cursor = page.cursor
        if not cursor:
            return count


def test_what_begins_after_the_tombstone_is_left_alone(store: Store) -> None:
    memory = store.open()
    session = of(memory, "web")
    talk(session, "zqtext")
    session.end()
    buried = executed(memory, ops.Bury(tenant="shop", user=USER, secret="s" * 26))
    passing(store)
    turn = session.turn("new", message_id="n1")
    turn.open()
    lock = session.lock("tool", ttl=3600)
    lock.acquire()
    memory.agenda("shop", "chair").hold(moment(1), moment(2), by=USER, ttl=600, id="b")
    erased(memory, Address("shop", "web", USER), buried.ms)
    wipe = ops.EraseBookings(tenant="shop", user=USER, resource="chair", before_ms=buried.ms, cursor="", limit=10)
    assert executed(memory, wipe).count == 0
    of(memory, "mail").receive("new", message_id="n1")
    whole = memory.lock("shop", "tool", ttl=3600)
    whole.acquire()
    assert [scrubbed(memory, "shop", who, buried.ms) for who in (USER, "")] == [0, 0]
    assert not executed(memory, ops.Vacate(tenant="shop", before_ms=buried.ms))
    lock.renew()
    whole.renew()
    assert {one.channel for one in memory.sessions("shop")} == {"mail", "web"}
    assert [one.channel for one in memory.unanswered(older_than=0, claim=False)] == ["mail"]
    turn.reply("answer")
    assert [message.text for message in session.messages()] == ["new", "answer"]
    assert session.receive("zqtext", message_id="m1").state == "accepted"  # what was remembered of before is forgotten
    assert session.receive("new", message_id="n1").state == "duplicate"


def test_erasing_while_eight_write_takes_what_was_before_and_leaves_what_comes_after(store: Store) -> None:
    memory, eraser = store.open(clock=SystemClock()), store.open(clock=SystemClock())
    acknowledged: list[tuple[str, int]] = []

    def write(number: int) -> None:
        session = of(memory, "web")
        for step in range(12):
            text = f"{number}.{step}"
            if number % 2:
                stamp = session.append("user", text).timestamp_ms
            else:
                stamp = session.receive(text, message_id=text).message.timestamp_ms
            acknowledged.append((text, stamp))

    def erase() -> Any:
        while len(acknowledged) < 30:
            time.sleep(0.0005)
        return eraser.erase("shop", USER)

    *_, receipt = together([*(partial(write, number) for number in range(8)), erase])
    when = round(1000 * receipt.erased_at)
    there = {message.text for message in of(memory, "web").messages(limit=1000)}
    assert len(acknowledged) == 96
    assert {text for text, stamp in acknowledged if stamp > when} <= there
    assert not there & {text for text, stamp in acknowledged if stamp < when}
    info = of(memory, "web").info()
    assert (info.message_count if info else 0) == len(there)


def test_tombstones_tell_when_somebody_was_erased(store: Store) -> None:
    memory = store.open()

    def when(tenant: str, user: str = "") -> int:
        return int(executed(memory, ops.Tombstones(tenant=tenant, user=user)).ms)

    assert when("shop", USER) == 0
    first = memory.erase("shop", USER)
    assert when("shop", USER) == round(1000 * first.erased_at)
    assert [when("shop"), when("shop", "bia"), when("other", USER), when("shop:" + USER)] == [0] * 4
    passing(store)
    second = memory.erase("shop")
    assert [when("shop"), when("shop", USER), when("shop", "bia")] == [round(1000 * second.erased_at)] * 3
    assert second.erased_at > first.erased_at
    store.let_pass(30 * 86400)
    assert when("shop", "bia") > 0
