"""A primary that has forgotten: what the mirror makes of what this process was told, and what heals what is there since."""

import msgspec
import pytest

from luni import operations as ops
from luni import wire
from luni.backends.failover.entries import Entry
from luni.backends.failover.healing import healed, lacks
from luni.backends.failover.merging import merged
from luni.backends.failover.stories import continued, story_of
from luni.backends.failover.tails import Noted, Tails
from luni.models import Address, Message

ANA = Address("shop", "web", "ana")
NOW = 1_700_000_000_000
LATER = NOW + 60_000


def draft(text):
    message = Message(text=text, role="user", id=f"m-{text}", tokens=1)
    return ops.Draft(wire.body(message), 1, wire.message_digest(message.id))


def heard(*texts, session_id="s", begin=1):
    """Entries of one writer, a message each."""
    at_ms = NOW + begin
    return [
        Entry(
            operation=ops.Receive(
                address=ANA, writer="a", seq=begin + n, session_id=session_id, ttl_ms=3_600_000, draft=draft(text), fresh=True,
                transcript=500,
            ),
            at_ms=at_ms + n, clock_ms=at_ms + n, stamp_ms=at_ms + n, expire_ms=at_ms + n + 3_600_000,
        )
        for n, text in enumerate(texts)
    ]  # fmt: skip


def state_of(entries, state=None):
    return merged(state or ops.State(), entries, LATER)[0]


def said(state):
    return [wire.decode_message(text).text for text in (*state.waiting, *reversed(state.window))]


def lines(state):
    return [wire.decode_message(text).text for text in reversed(state.transcript)]


def numbers(first, last):
    return [str(number) for number in range(first, last + 1)]


def shown(state):
    """A session as the primary shows it when a turn is opened: without its transcript, marks and records."""
    return msgspec.structs.replace(state, transcript=(), marks=(), arrivals=())


def test_what_came_before_a_turn_was_opened_is_not_forgotten():
    mirror, entries = state_of(heard("1")), heard("2", "3", begin=2)
    seen = shown(state_of(heard("1", "2", "3")))
    assert said(continued(mirror, [entries[0], seen, entries[1]], LATER)) == ["1", "2", "3"]


def test_a_session_begun_anew_after_its_end_takes_the_place_of_the_former_one():
    mirror = state_of(heard("1", "2"))
    anew = msgspec.structs.replace(shown(state_of(heard("3", session_id="t"))), n=3)
    after = continued(mirror, [anew], LATER)
    assert (after.session_id, said(after)) == ("t", ["3"])


@pytest.mark.parametrize("lost", [True, False])
def test_a_session_that_an_emptied_primary_began_is_the_former_one_going_on(lost):
    """Its numbers begin again at one: it is not the next one after an end."""
    mirror, entries = state_of(heard("1", "2")), heard("3", "4", session_id="t", begin=3)
    seen = shown(state_of(entries[:1]))
    after = continued(mirror, [seen, *entries], LATER, lost=lost)
    assert (after.session_id, said(after)) == ("s", ["1", "2", "3", "4"])


def test_an_answer_on_an_emptied_primary_settles_what_it_answered_and_nothing_else():
    who = {"address": ANA, "session_id": "t", "ttl_ms": 3_600_000}
    told = [
        Noted(
            ops.Open(**who, writer="a", seq=3, draft=draft("3"), fresh=True, lease_ms=1000, nonce="x"),
            ops.Opened("open", arrival=1, cut=1, token=7, now_ms=NOW + 9, clock_ms=NOW + 9, timestamp_ms=NOW + 9,
                       view=None), 1.0, NOW + 9,
        ),
        Noted(
            ops.Reply(**who, writer="a", seq=4, owner_id="a.3", token=7, cut=1, lease_ms=1, outcome="a", drafts=()),
            ops.Replied("released", now_ms=NOW + 10, clock_ms=NOW + 10), 2.0, NOW + 10,
        ),
    ]  # fmt: skip
    seen = shown(state_of(heard("3", session_id="t", begin=3)))
    after = continued(state_of(heard("1", "2")), [seen, *story_of(tuple(told))], LATER, lost=True)
    assert [one.n for one in after.arrivals if one.state == "w"] == [1, 2]
    assert said(after) == ["1", "2", "3"]


def test_an_emptied_primary_gets_everything_back_that_was_folded_too():
    """What is there since could be all that the window shows: the rest is in the summary and the transcript."""
    mirror = state_of(heard(*numbers(1, 200)))
    mirror = msgspec.structs.replace(mirror, waiting=(), folded=180, summary="of old")
    since = state_of(heard(*numbers(181, 200), begin=181))
    assert lacks(since, mirror, LATER, emptied=True)
    after = healed(since, mirror)
    assert (after.summary, after.folded, lines(after)) == ("of old", 180, numbers(1, 200))
    assert not lacks(after, mirror, LATER, emptied=True)


@pytest.mark.parametrize("session_id", ["s", "t"])
def test_what_was_said_since_is_kept_and_nothing_is_there_twice(session_id):
    mirror = state_of(heard(*numbers(1, 30)))
    since = state_of(heard("31", "32", session_id=session_id, begin=31))
    assert lacks(since, mirror, LATER, emptied=True)
    after = healed(since, mirror)
    assert after.session_id == session_id, "whoever met it there knows it by that"
    assert said(after) == lines(after) == numbers(1, 32)
    assert said(healed(after, mirror)) == numbers(1, 32)
    assert len({one.n for one in after.arrivals}) == 32


def test_who_folds_is_no_sign_of_a_loss():
    """Folding is not journaled: the primary folds by itself."""
    stored = state_of(heard("1"))
    mirror = msgspec.structs.replace(stored, marks=(*stored.marks, ops.Mark("a" + ops.FOLDER, 9, NOW, "")))
    assert not lacks(stored, mirror, LATER)
    assert lacks(stored, msgspec.structs.replace(stored, marks=(*stored.marks, ops.Mark("b", 9, NOW, ""))), LATER)


def test_records_of_former_ids_push_nothing_that_waits_out_of_the_ring():
    stored = state_of(heard(*numbers(1, 200)))
    answered = tuple(msgspec.structs.replace(one, state="a") for one in stored.arrivals[:-5])
    stored = msgspec.structs.replace(stored, arrivals=(*answered, *stored.arrivals[-5:]), settled=195)
    mirror = msgspec.structs.replace(state_of(heard("201", begin=201), stored), arrivals=stored.arrivals[-5:])
    after = healed(stored, mirror)
    assert after.n == mirror.n
    assert len([one for one in after.arrivals if one.state == "w"]) >= 5
    more = heard(*numbers(202, 240), begin=202)
    _, outcomes = merged(after, more, LATER)
    assert set(outcomes) == {"replayed"}


def test_more_messages_than_the_ring_holds_are_stored_all_the_same():
    """They were acknowledged: the oldest of them wait no more, none is refused."""
    state, outcomes = merged(ops.State(), heard(*numbers(1, 150)), LATER)
    assert set(outcomes) == {"replayed"}
    assert lines(state) == numbers(1, 150)
    assert len(state.arrivals) == ops.RING


def test_the_busiest_session_is_looked_after_first():
    tails, busy = Tails(), Address("shop", "web", "busy")
    tails.note(heard("1")[0].operation, None, 1.0, NOW)
    for number in range(300):
        tails.note(msgspec.structs.replace(heard("1")[0].operation, address=busy), None, 2.0 + number, NOW)
    assert tails.due(9.0, 1) == [busy]
    assert (tails.oldest(), Tails().oldest()) == (1.0, float("inf"))
