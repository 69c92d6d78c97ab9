"""Everything of a session expires together, after its last activity and not before."""

from __future__ import annotations

import pytest

from luni import Policy, SessionUpdate
from luni.testing.conformance.store import Store, rounds, talk

TTL = 1.2
"""Short enough to sleep through where the clock is the server's."""


def half(store: Store) -> None:
    store.let_pass(0.7)


def over(store: Store) -> None:
    store.let_pass(TTL + 0.15)


def test_a_session_expires_after_its_last_activity(store: Store) -> None:
    session = store.session(ttl=TTL)
    rounds(session, 12)
    memory = store.open(ttl=TTL)
    session_id = session.info().session_id
    assert memory.find(session_id, tenant="shop") is not None
    over(store)
    assert session.info() is None
    assert session.messages() == []
    assert session.export() is None
    assert session.context().messages == ()
    assert session.context().summary == ""
    assert memory.find(session_id, tenant="shop") is None
    assert memory.sessions("shop").items == ()


@pytest.mark.parametrize("activity", ["receive", "turn", "append", "update", "amend", "load"])
def test_activity_renews_all_of_a_session(store: Store, activity: str) -> None:
    session = store.session(ttl=TTL, policies={"*": Policy(transcript_messages=50)})
    rounds(session, 12)
    half(store)
    if activity == "receive":
        session.receive("hi", message_id="x")
    elif activity == "turn":
        talk(session, "hi", begin=99)
    elif activity == "append":
        session.append("system", "x")
    elif activity == "update":
        session.update(SessionUpdate(focus="x"))
    elif activity == "amend":
        session.amend("m12", "x")
    else:
        session.load(session.messages()[:1] * 1, summary="x")
    half(store)
    assert len(session.messages(limit=100)) >= 20
    assert session.info().summary or session.info().folded == 0
    assert len(session.export().transcript) >= 20
    assert session.receive("again", message_id="m12").state == "duplicate"


def test_looking_at_a_session_does_not_keep_it(store: Store) -> None:
    session = store.session(ttl=TTL)
    talk(session, "hi")
    half(store)
    session.messages()
    session.info()
    session.context()
    session.receive("hi", message_id="m1")
    with session.turn("hi", message_id="m1"):
        pass
    half(store)
    assert session.info() is None


def test_the_next_message_begins_a_new_session_without_a_trace_of_the_old(store: Store) -> None:
    session = store.session(ttl=TTL)
    rounds(session, 16)
    session.update(SessionUpdate(variables={"a": 1}, focus="shoes"))
    old = session.info()
    over(store)
    with session.turn("hello?", message_id="new") as turn:
        assert turn.new_session
        assert turn.session_id != old.session_id
        assert [m.text for m in turn.context.messages] == ["hello?"]
        assert turn.context.summary == turn.context.focus == ""
        turn.reply("welcome")
    info = session.info()
    assert (info.message_count, info.folded, info.variables, info.revision) == (2, 0, {}, 0)
    assert [i.session_id for i in store.open().sessions("shop")] == [info.session_id]


def test_an_answered_message_delivered_after_the_expiry_is_still_a_duplicate(store: Store) -> None:
    session = store.session(ttl=TTL)
    talk(session, "hi")
    over(store)
    with session.turn("hi", message_id="m1") as turn:
        assert turn.state == "duplicate"
        assert turn.answer is None
    assert session.info() is None


def test_an_unanswered_message_whose_text_is_gone_is_stored_anew(store: Store) -> None:
    session = store.session(ttl=TTL)
    session.receive("hi", message_id="1")
    over(store)
    with session.turn("hi", message_id="1") as turn:
        assert turn.state == "open"
        assert turn.new_session
        turn.reply("hello")
    assert [m.text for m in session.messages()] == ["hi", "hello"]
    assert session.receive("hi", message_id="1").state == "duplicate"


def test_what_was_stored_anew_is_not_forgotten_when_the_ring_comes_round(store: Store) -> None:
    session = store.session(ttl=TTL)
    session.receive("hi", message_id="1")
    rest = store.session(ttl=30)
    over(store)
    for number in range(40):
        with rest.turn("x", message_id=f"x{number}") as turn:
            turn.reply("y")
    for number in range(86):
        rest.append("user", "z", message_id=f"z{number}")
    assert rest.receive("hi", message_id="1").state == "accepted"
    rest.receive("next", message_id="next")
    rest.receive("and next", message_id="and next")
    assert rest.receive("hi", message_id="1").state == "duplicate"
    assert rest.info().unanswered == 3


def test_the_policy_of_a_channel_decides_how_long(store: Store) -> None:
    memory = store.open(policies={("shop", "short"): Policy(ttl=1), "shop": Policy(ttl=100)})
    short, long = (memory.session(tenant="shop", channel=channel, user="ana") for channel in ("short", "long"))
    talk(short, "hi")
    talk(long, "hi")
    store.let_pass(1.15)
    assert short.info() is None
    assert long.info() is not None
    assert [info.channel for info in memory.sessions("shop")] == ["long"]


def test_a_turn_that_is_open_when_its_session_expires_stores_nothing(store: Store) -> None:
    session = store.session(ttl=TTL, lease=30)
    turn = session.turn("hi", message_id="1").open()
    over(store)
    with pytest.raises(Exception, match="nothing was stored"):
        turn.reply("hello")
    turn.close()
    assert session.info() is None


def test_long_silence_with_the_default_policy(store: Store) -> None:
    if store.clock is None:
        pytest.skip("72 hours pass only where time can be moved")
    session = store.session()
    talk(session, "hi")
    store.let_pass(71.9 * 3600)
    assert session.info() is not None
    talk(session, "still here", begin=2)
    store.let_pass(71.9 * 3600)
    assert [m.text for m in session.messages()][-1] == "re: still here"
    store.let_pass(0.2 * 3600)
    assert session.info() is None
    store.let_pass(8 * 24 * 3600)
    with session.turn("hi", message_id="m1") as turn:
        assert turn.state == "open"
        turn.reply("it has been a while")
