"""Nothing stays unanswered, nothing stays unsent: what sweepers find, in which order, and who gets it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from luni import Policy, SessionUpdate, ToolCall, ToolResult
from luni.errors import Backlog, InvalidInput
from luni.models import Address
from luni.operations import Claim, Pending
from luni.testing.conformance.store import Store, executed, talk, together, unattended

OUTBOX = {"*": Policy(outbox=True)}
LATE = 31.0


def users(page: Any) -> list[str]:
    return [item.user for item in page]


def test_what_nobody_answered_is_found_the_longest_waiting_first(store: Store) -> None:
    memory = store.open()
    for user in ("ana", "rui", "eva"):
        memory.session(tenant="shop", channel="web", user=user).receive("hi", message_id="1")
        store.let_pass(5)
    memory.session(tenant="bar", channel="web", user="leo").receive("hi", message_id="1")
    store.let_pass(18)
    talk(memory.session(tenant="shop", channel="web", user="answered"), "hi")
    assert users(memory.unanswered("shop")) == ["ana"]
    store.let_pass(40)
    assert users(store.open().unanswered(limit=2)) == ["rui", "eva"]
    assert users(store.open().unanswered()) == ["leo"]


def test_an_item_says_who_waits_how_long_and_answers(store: Store) -> None:
    store.session().receive("hi", message_id="1")
    store.let_pass(60)
    (item,) = store.open().unanswered("shop")
    assert (item.tenant, item.channel, item.user) == ("shop", "web", "ana")
    assert item.session_id == store.session().info().session_id
    assert item.waited == pytest.approx(60, abs=2)
    session = store.session()
    with session.turn() as turn:
        assert turn.state == "open"
        turn.reply("sorry for the delay")
    assert list(store.open().unanswered()) == []


def test_the_session_of_an_item_can_be_used_at_once(store: Store) -> None:
    store.session().receive("hi", message_id="1")
    memory = store.open()
    (item,) = memory.unanswered(older_than=0)
    assert (item.session.tenant, item.session.user) == ("shop", "ana")


def test_paused_and_leased_conversations_are_not_offered(store: Store) -> None:
    memory = store.open()
    paused, leased, foreign = (memory.session(tenant="shop", channel="web", user=u) for u in ("paused", "leased", "foreign"))
    for session in (paused, leased, foreign):
        session.receive("hi", message_id="1")
    paused.pause()
    store.pause(foreign)
    turn = leased.turn().open()
    assert list(store.open().unanswered(older_than=0)) == []
    turn.close()
    assert users(store.open().unanswered(older_than=0)) == ["leased"]
    paused.resume()
    foreign.resume()
    assert sorted(users(store.open().unanswered(older_than=0))) == ["foreign", "paused"]


def test_after_a_pause_with_an_end_it_is_offered_again(store: Store) -> None:
    session = store.session()
    session.receive("hi", message_id="1")
    session.pause(for_seconds=100)
    store.let_pass(50)
    assert list(store.open().unanswered()) == []
    store.let_pass(51)
    (item,) = store.open().unanswered()
    assert item.waited == pytest.approx(101, abs=2)


def test_a_dead_workers_message_is_found_when_its_lease_is_over(store: Store) -> None:
    turn = store.session(lease=1.0).turn("hi", message_id="1").open()
    unattended(turn)
    assert list(store.open().unanswered(older_than=0)) == []
    store.let_pass(1.1)
    (item,) = store.open().unanswered(older_than=0)
    with store.session().turn() as again:
        assert (again.attempt, item.user) == (2, "ana")
        again.skip("poison")
    assert list(store.open().unanswered(older_than=0)) == []


def test_one_sweeper_at_a_time_gets_a_conversation(store: Store) -> None:
    memory = store.open()
    for number in range(12):
        memory.session(tenant=f"t{number % 3}", channel="web", user=str(number)).receive("hi", message_id="1")
    sweepers = [store.open() for _ in range(4)]
    pages = together([lambda m=m: m.unanswered(older_than=0, limit=5) for m in sweepers])  # type: ignore[misc]
    offered = [user for page in pages for user in users(page)]
    rest = users(store.open().unanswered(older_than=0))
    assert sorted(offered + rest, key=int) == [str(n) for n in range(12)]
    assert list(store.open().unanswered(older_than=0)) == []


def test_looking_without_claiming_takes_nothing_from_the_sweepers(store: Store) -> None:
    session = store.session(policies=OUTBOX)
    talk(session, "hi")
    session.receive("more", message_id="m")
    before = store.dump()
    assert users(store.open().unanswered(older_than=0, claim=False)) == ["ana"]
    assert users(store.open().unsent(older_than=0, claim=False)) == ["ana"]
    assert store.dump() == before
    assert users(store.open().unanswered(older_than=0)) == ["ana"]


def test_a_repeated_claim_gives_the_same_answer(store: Store) -> None:
    session = store.session()
    session.receive("hi", message_id="1")
    memory = store.open()
    address = Address("shop", "web", "ana")
    (since,) = [since for _, since in executed(memory, Pending(kind="waiting", tenants=("shop",), older_ms=0, limit=9)).waiting]
    claim = Claim(kind="waiting", tenant="shop", claimer="me", claim_ms=60_000, wanted=((address, since),))
    assert executed(memory, claim).mine == (True,)
    assert executed(store.open(), claim).mine == (True,)
    assert executed(memory, msgspec.structs.replace(claim, claimer="you")).mine == (False,)


def test_a_claim_ends_and_what_is_unanswered_is_offered_again(store: Store) -> None:
    store.session().receive("hi", message_id="1")
    assert users(store.open(lease=2.0).unanswered(older_than=0)) == ["ana"]
    assert users(store.open().unanswered(older_than=0)) == []
    store.let_pass(2.1)
    assert users(store.open().unanswered(older_than=0)) == ["ana"]


def test_a_newer_message_is_not_covered_by_the_claim_of_the_one_before(store: Store) -> None:
    session = store.session()
    session.receive("one", message_id="1")
    assert users(store.open().unanswered(older_than=0)) == ["ana"]
    with session.turn() as turn:
        turn.reply("re: one")
    store.let_pass(1)
    session.receive("two", message_id="2")
    assert users(store.open().unanswered(older_than=0)) == ["ana"]


def test_the_oldest_that_is_left_decides_after_a_reply(store: Store) -> None:
    session = store.session()
    session.receive("one", message_id="1")
    turn = session.turn().open()
    store.let_pass(40)
    session.receive("two", message_id="2")
    turn.reply("re: one")
    turn.close()
    assert list(store.open().unanswered(older_than=30)) == []
    store.let_pass(31)
    (item,) = store.open().unanswered(older_than=30)
    assert item.waited == pytest.approx(31, abs=2)


def test_an_ended_or_expired_session_is_not_offered(store: Store) -> None:
    ended, gone = store.session("ended"), store.session("gone")
    ended.receive("hi", message_id="1")
    gone.receive("hi", message_id="1")
    ended.end()
    store.let_pass(73 * 3600)
    assert list(store.open().unanswered(older_than=0)) == []
    assert list(store.open().unanswered("shop", older_than=0)) == []


def test_a_reply_waits_to_be_sent_only_under_a_policy_with_an_outbox(store: Store) -> None:
    talk(store.session(), "hi")
    assert list(store.open().unsent(older_than=0)) == []


def test_an_unsent_reply_is_found_under_the_id_it_was_stored_with(store: Store) -> None:
    session = store.session(policies=OUTBOX)
    steps = (ToolCall("c", "look"), ToolResult("c", "seen"))
    with session.turn("hi", message_id="1") as turn:
        stored = turn.reply("hello", "how are you?", steps=steps)
    store.let_pass(LATE)
    found = list(store.open().unsent("shop"))
    assert [(i.message.text, i.message.id) for i in found] == [(m.text, m.id) for m in stored[-2:]]
    assert found[0].waited == pytest.approx(LATE, abs=2)
    assert list(store.open().unsent()) == []
    store.let_pass(61)
    again = list(store.open().unsent())
    assert [i.message.id for i in again] == [m.id for m in stored[-2:]]


def test_what_is_marked_as_sent_is_not_offered(store: Store) -> None:
    session = store.session(policies=OUTBOX)
    with session.turn("hi", message_id="1") as turn:
        first, second = turn.reply("hello", "how are you?")
    assert session.mark_sent(first.id, provider_id="SM1") is True
    assert session.mark_sent(first.id, provider_id="SM1") is False
    assert [i.message.text for i in store.open().unsent(older_than=0)] == ["how are you?"]
    assert session.mark_sent(second.id) is True
    assert list(store.open().unsent(older_than=0)) == []
    assert [(m.text, m.provider_id) for m in session.messages()] == [("hi", ""), ("hello", "SM1"), ("how are you?", "")]


def test_marking_what_is_not_there_does_nothing(store: Store) -> None:
    session = store.session(policies=OUTBOX)
    assert session.mark_sent("nothing") is False
    talk(session, "hi")
    before = store.dump()
    assert session.mark_sent("nothing", provider_id="x") is False
    assert store.dump() == before
    with pytest.raises(InvalidInput):
        session.mark_sent("\ud800")
    with pytest.raises(InvalidInput):
        session.mark_sent("x", provider_id=5)


def test_unsent_replies_come_in_their_order_although_the_window_has_lost_them(store: Store) -> None:
    session = store.session(policies=OUTBOX)
    talk(session, *[f"u{n}" for n in range(1, 41)])
    found = [i.message.text for i in store.open().unsent(older_than=0)]
    assert found == [f"re: u{n}" for n in range(1, 41)]
    assert len(session.messages(500)) < 80


def test_paused_and_leased_conversations_send_nothing(store: Store) -> None:
    session = store.session(policies=OUTBOX)
    talk(session, "hi")
    session.pause()
    assert list(store.open().unsent(older_than=0)) == []
    session.resume()
    turn = session.turn("more", message_id="2").open()
    assert list(store.open().unsent(older_than=0)) == []
    turn.close()
    assert [i.message.text for i in store.open().unsent(older_than=0)] == ["re: hi"]


def test_a_redacted_reply_is_not_sent_and_an_amended_one_is_sent_as_amended(store: Store) -> None:
    session = store.session(policies=OUTBOX)
    with session.turn("hi", message_id="1") as turn:
        first, second = turn.reply("your card is 1234", "bye")
    session.redact(first.id)
    session.amend(second.id, "good bye")
    assert [(i.message.id, i.message.text) for i in store.open().unsent(older_than=0)] == [(second.id, "good bye")]
    assert session.mark_sent(first.id) is False
    assert session.mark_sent(second.id, provider_id="SM2") is True
    assert session.messages()[-1].provider_id == "SM2"


def test_a_hundred_unsent_messages_are_enough(store: Store) -> None:
    session = store.session(policies=OUTBOX)
    for number in range(2):
        with session.turn("hi", message_id=str(number)) as turn:
            turn.reply(*[f"line {n}" for n in range(50)])
    turn = session.turn("more", message_id="m").open()
    before = store.dump()
    with pytest.raises(Backlog, match="sent"):
        turn.reply("one more")
    assert store.dump() == before
    session.mark_sent(session.messages(500)[-2].id)
    turn.reply("one more")


def test_an_ended_session_takes_its_unsent_replies_with_it(store: Store) -> None:
    session = store.session(policies=OUTBOX)
    talk(session, "hi")
    session.end()
    assert list(store.open().unsent(older_than=0)) == []


def test_marking_is_not_an_activity_and_lists_write_nothing_when_nothing_is_there(store: Store) -> None:
    session = store.session(policies=OUTBOX)
    with session.turn("hi", message_id="1") as turn:
        (stored,) = turn.reply("hello")
    active = session.info().last_activity
    store.let_pass(5)
    session.mark_sent(stored.id)
    assert session.info().last_activity == active
    before = store.dump()
    assert list(store.open().unanswered()) == []
    assert list(store.open().unsent()) == []
    assert store.dump() == before


def test_imports_and_updates_leave_what_waits_alone(store: Store) -> None:
    session = store.session()
    session.receive("hi", message_id="1")
    session.update(SessionUpdate(variables={"a": 1}))
    session.append("system", "note")
    assert users(store.open().unanswered(older_than=0)) == ["ana"]
    session.append("human", "I am Carla")
    assert list(store.open(lease=0.1).unanswered(older_than=0)) == []


@pytest.mark.parametrize(
    "bad", [{"older_than": -1}, {"older_than": "1"}, {"limit": 0}, {"limit": 201}, {"tenant": ""}, {"tenant": 7}]
)
def test_odd_questions_of_a_sweeper_are_refused(store: Store, bad: Any) -> None:
    memory = store.open()
    for ask in (memory.unanswered, memory.unsent):
        with pytest.raises(InvalidInput):
            ask(**bad)


def test_many_tenants_are_swept_in_one_order(store: Store) -> None:
    memory = store.open()
    for number in range(30):
        memory.session(tenant=f"t{number % 7}", channel="web", user=str(number)).receive("hi", message_id="1")
        store.let_pass(0.01)
    assert users(memory.unanswered(older_than=0, limit=9)) == [str(n) for n in range(9)]
