"""Whole sessions: what is taken out of a store and put into one is the same session, there or elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from luni import Message, Policy, SessionUpdate
from luni.errors import Conflict
from luni.models import Address
from luni.operations import Append, Dump, Dumped, Open, Receive, Reply, Restore, State, Update
from luni.testing.conformance.store import Store, executed, inner, rounds, talk, watched

ANA, BEA = Address("shop", "web", "ana"), Address("shop", "web", "bea")
POLICIES = {"*": Policy(outbox=True, transcript_messages=50)}
TIMES = ("expire_ms", "seen_end_ms", "lease_end_ms")


def dumped(memory: Any, address: Address = ANA) -> Dumped:
    found: Dumped = executed(memory, Dump(address=address))
    return found


def restored(memory: Any, state: State, address: Address = ANA, version: str | None = None, former: str = "") -> bool:
    done: bool = executed(memory, Restore(address=address, state=state, version=version, former=former))
    return done


def timeless(state: State) -> State:
    """A state without the ends of things, which a store tells to the millisecond, and others compute."""
    return msgspec.structs.replace(state, expire_ms=0, seen_end_ms=0, lease_end_ms=0)


def assert_same(one: State, other: State) -> None:
    assert timeless(one) == timeless(other)
    for name in TIMES:
        assert getattr(one, name) == pytest.approx(getattr(other, name), abs=1000)


def taken_out(memory: Any) -> Dumped:
    """Dump a session, then leave nothing of it."""
    found = dumped(memory)
    assert restored(memory, State(), version=found.version, former=found.state.session_id)
    assert dumped(memory).state == State()
    return found


def with_everything(session: Any) -> None:
    rounds(session, 12)
    session.update(SessionUpdate(metadata={"vip": True, "empty": []}, variables={"city": "São Paulo"}, focus="haircut"))
    session.set_summary("a buyer")
    session.receive("waits", message_id="w1")


def of_130_messages(session: Any) -> None:
    rounds(session, 60)
    for number in range(10):
        session.append("system", f"note {number}")


def paused_with_a_note(session: Any) -> None:
    talk(session, "hi")
    session.pause(600, by="carla", reason="refund")
    session.receive("anybody?", message_id="w1")


def ended(session: Any) -> None:
    talk(session, "hi")
    session.receive("waits", message_id="w1")
    session.end()


def imported(session: Any) -> None:
    session.load([Message(text=f"h{number}", id=f"i{number}") for number in range(45)], summary="of before")


CASES: dict[str, Callable[[Any], Any]] = {
    "nothing": lambda _: None,
    "an answered message": lambda s: talk(s, "hi"),
    "unanswered messages": lambda s: [s.receive(f"u{n}", message_id=f"w{n}") for n in range(5)],
    "an open turn": lambda s: s.turn("hi", message_id="m1").open(),
    "an open turn with newer messages": lambda s: [s.turn("hi", message_id="m1").open(), s.receive("more", message_id="m2")],
    "everything": with_everything,
    "130 messages": of_130_messages,
    "a pause with a note": paused_with_a_note,
    "no message": lambda s: s.update(SessionUpdate(variables={"a": 1})),
    "an ended session": ended,
    "an import": imported,
}


EACH = pytest.mark.parametrize("prepare", CASES.values(), ids=CASES.keys())


def memory_with(store: Store, prepare: Callable[[Any], Any]) -> Any:
    memory = store.open(policies=POLICIES)
    prepare(memory.session(tenant="shop", channel="web", user="ana"))
    return memory


def test_a_dump_of_nothing_is_empty(store: Store) -> None:
    assert dumped(store.open()).state == State()


@EACH
def test_a_dump_writes_nothing_and_says_the_same_twice(store: Store, prepare: Any) -> None:
    memory = memory_with(store, prepare)
    memory.health()
    before = store.dump()
    first, second = dumped(memory), dumped(memory)
    assert first.version == second.version
    assert_same(first.state, second.state)
    assert store.dump() == before


@EACH
def test_a_session_that_is_taken_out_and_put_back_is_the_same(store: Store, prepare: Any) -> None:
    memory = memory_with(store, prepare)
    found = taken_out(memory)
    assert restored(memory, found.state)
    assert_same(dumped(memory).state, found.state)
    assert restored(memory, found.state, version=dumped(memory).version)
    assert_same(dumped(memory).state, found.state)


@EACH
def test_a_session_restored_at_another_address_is_the_same(store: Store, prepare: Any) -> None:
    memory = memory_with(store, prepare)
    state = dumped(memory).state
    if state.session_id:
        state = msgspec.structs.replace(state, session_id="another")
    assert restored(memory, state, BEA)
    assert_same(dumped(memory, BEA).state, state)


@EACH
def test_a_session_is_replaced_by_another_one_whole(store: Store, prepare: Any) -> None:
    memory = memory_with(store, prepare)
    state = dumped(memory).state
    other = memory.session(tenant="shop", channel="web", user="bea")
    with_everything(other)
    other.pause(by="x")
    old = dumped(memory, BEA)
    if state.session_id:
        state = msgspec.structs.replace(state, session_id="another")
    assert restored(memory, state, BEA, version=old.version, former=old.state.session_id)
    assert_same(dumped(memory, BEA).state, state)
    assert memory.find(old.state.session_id, tenant="shop") is None


def test_the_version_changes_with_everything_that_is_stored(store: Store) -> None:
    memory = store.open(policies=POLICIES)
    session = memory.session(tenant="shop", channel="web", user="ana")
    seen = [dumped(memory).version]

    def changes(act: Callable[[], Any]) -> Any:
        store.let_pass(0.01)
        result = act()
        seen.append(dumped(memory).version)
        assert len(set(seen)) == len(seen)
        return result

    changes(lambda: session.receive("hi", message_id="1"))
    turn = changes(lambda: session.turn("and", message_id="2").open())
    changes(lambda: turn.reply("hello"))
    changes(lambda: session.mark_sent(session.messages()[-1].id))
    changes(lambda: session.update(SessionUpdate(focus="f")))
    changes(lambda: session.update(SessionUpdate(metadata={"a": 1})))
    changes(lambda: session.set_summary("s"))
    changes(lambda: session.append("system", "note"))
    changes(lambda: session.amend(session.messages()[0].id, "hey"))
    changes(lambda: session.pause(60, by="x"))
    changes(lambda: store.let_pass(61))  # the pause is over
    turn = changes(lambda: session.turn("more", message_id="3").open())
    changes(turn.close)
    changes(session.end)


def test_a_restore_with_an_older_version_writes_nothing(store: Store) -> None:
    memory = memory_with(store, with_everything)
    old = dumped(memory)
    memory.session(tenant="shop", channel="web", user="ana").receive("newer", message_id="newer")
    before = store.dump()
    assert not restored(memory, old.state, version=old.version)
    assert not restored(memory, State(), version=old.version)
    assert store.dump() == before


def test_a_restore_for_nothing_refuses_what_is_there(store: Store) -> None:
    memory = memory_with(store, with_everything)
    nothing = dumped(memory, BEA).version
    state = dumped(memory).state
    assert not restored(memory, state, version=nothing)


def test_a_state_whose_expiry_is_past_is_not_stored(store: Store) -> None:
    memory = memory_with(store, with_everything)
    found = taken_out(memory)
    before = store.dump()
    past = msgspec.structs.replace(found.state, expire_ms=found.now_ms - 1)
    assert restored(memory, past)
    assert restored(memory, past, BEA)
    assert store.dump() == before


def test_a_restored_session_expires_when_the_state_says(store: Store) -> None:
    memory = memory_with(store, lambda s: talk(s, "hi"))
    store.let_pass(72 * 3600 - 100)
    found = taken_out(memory)
    assert restored(memory, found.state)
    assert dumped(memory).state.expire_ms == pytest.approx(found.state.expire_ms, abs=1000)
    session = memory.session(tenant="shop", channel="web", user="ana")
    assert session.info() is not None
    store.let_pass(101)
    assert session.info() is None
    assert session.receive("hi", message_id="m1").state == "duplicate"
    assert_same(dumped(memory).state, msgspec.structs.replace(dumped(memory).state, session_id=""))


def test_a_restored_session_is_found_listed_and_waits(store: Store) -> None:
    memory = memory_with(store, with_everything)
    found = taken_out(memory)
    assert memory.find(found.state.session_id, tenant="shop") is None
    assert list(memory.sessions("shop")) == []
    assert restored(memory, found.state)
    again = store.open(policies=POLICIES)
    assert [info.session_id for info in again.sessions("shop")] == [found.state.session_id]
    assert again.find(found.state.session_id, tenant="shop") is not None
    assert [each.session.user for each in again.unanswered("shop", older_than=0)] == ["ana"]
    sent = [each.message.text for each in again.unsent("shop", older_than=0)]
    assert sent == [f"re: u{number}" for number in range(1, 13)]
    info = again.session(tenant="shop", channel="web", user="ana").info()
    assert (info.focus, info.summary, info.metadata["vip"], info.unanswered) == ("haircut", "a buyer", True, 1)
    assert info.last_activity * 1000 == pytest.approx(found.state.activity_ms)


def test_duplicates_are_refused_after_a_restore(store: Store) -> None:
    memory = memory_with(store, with_everything)
    assert restored(memory, taken_out(memory).state)
    session = store.session()
    for number in range(1, 13):
        assert session.turn(f"u{number}", message_id=f"m{number}").open().state == "duplicate"
    assert session.receive("waits", message_id="w1").state == "duplicate"
    assert session.receive("new", message_id="new").state == "accepted"
    with session.turn() as turn:
        assert [message.text for message in turn.messages] == ["waits", "new"]
        turn.reply("both")


def test_duplicates_of_an_ended_session_are_refused_after_a_restore(store: Store) -> None:
    memory = memory_with(store, ended)
    assert restored(memory, taken_out(memory).state)
    assert store.session().receive("hi", message_id="m1").state == "duplicate"
    assert store.session().receive("waits", message_id="w1").state == "duplicate"
    assert store.session().info() is None


def test_a_repeated_operation_gets_its_first_answer_after_a_restore(store: Store) -> None:
    memory = store.open(policies=POLICIES)
    session = memory.session(tenant="shop", channel="web", user="ana")
    kinds = (Receive, Open, Reply, Append, Update)
    acts: tuple[Callable[[], Any], ...] = (
        lambda: session.receive("one", message_id="1"),
        lambda: session.turn("two", message_id="2").open().reply("re"),
        lambda: session.append("system", "note"),
        lambda: session.update(SessionUpdate(focus="f")),
    )
    for act in acts:
        with watched(inner(session)._memory) as seen:
            act()
        operation, first = next(pair for pair in reversed(seen) if isinstance(pair[0], kinds))
        assert restored(memory, taken_out(memory).state)
        before = store.dump()
        again = executed(store.open(), operation)
        assert blank(again) == blank(first)
        assert store.dump() == before


def blank(result: Any) -> Any:
    return msgspec.structs.replace(result, now_ms=0) if hasattr(result, "now_ms") else result


def test_an_open_turn_is_answered_after_a_restore(store: Store) -> None:
    memory = store.open()
    session = memory.session(tenant="shop", channel="web", user="ana")
    turn = session.turn("hi", message_id="1").open()
    assert restored(memory, taken_out(memory).state)
    assert store.session().turn("and", message_id="2").open().state == "joined"
    turn.reply("hello")
    assert turn.should_reply
    turn.reply("and hello")
    assert [m.text for m in session.messages()] == ["hi", "hello", "and", "and hello"]


def test_a_restore_without_the_lease_fences_the_open_turn(store: Store) -> None:
    memory = store.open()
    session = memory.session(tenant="shop", channel="web", user="ana")
    session.turn("hi", message_id="1").open()
    found = dumped(memory)
    assert found.state.lease
    free = msgspec.structs.replace(found.state, lease="", lease_end_ms=0)
    assert restored(memory, free, version=found.version)
    assert store.session().turn().open().state == "open"


def test_a_conversation_goes_on_after_a_restore(store: Store) -> None:
    memory = memory_with(store, of_130_messages)
    assert restored(memory, taken_out(memory).state)
    session = store.session(policies=POLICIES)
    rounds(session, 10, begin=100)
    assert session.messages()[-1].text == "re: u109"
    assert [m.text for m in session.messages(limit=2)] == ["u109", "re: u109"]
    assert session.info().message_count == 150
    dump = dumped(memory).state
    assert len(dump.window) == 20
    assert len(dump.transcript) == 50


def test_two_more_messages_are_restored_over_the_former_state(store: Store) -> None:
    memory = memory_with(store, of_130_messages)
    old = dumped(memory).state
    session = memory.session(tenant="shop", channel="web", user="ana")
    talk(session, "next", begin=200)
    new = taken_out(memory)
    assert restored(memory, old)
    assert restored(memory, new.state, version=dumped(memory).version)
    assert_same(dumped(memory).state, new.state)
    assert restored(memory, old, version=dumped(memory).version)  # and the other way: an older state, on purpose
    assert_same(dumped(memory).state, old)


def test_an_id_that_lives_elsewhere_is_not_stored_twice(store: Store) -> None:
    if store.kind != "sqlite":
        pytest.skip(f"a {store.kind} store cannot look at another session's keys")
    memory = memory_with(store, with_everything)
    before = store.dump()
    with pytest.raises(Conflict):
        restored(memory, dumped(memory).state, BEA)
    assert store.dump() == before
