"""The same operation executed again, as after a lost reply, has one effect and gives the same answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from luni import Message, Policy, SessionUpdate, ToolCall, ToolResult
from luni.errors import Superseded
from luni.operations import WRITES, Inspect, Locate, Open, Operation, Read, Release, Renew, Sessions
from luni.testing.conformance.store import Store, executed, inner, rounds, talk, watched

Recorded = list[tuple[Any, Any]]


def recorded(store: Store, prepare: Callable[[Any], Any], act: Callable[[Any], Any]) -> tuple[Any, Recorded]:
    """Let ``act`` use a session and record what its backend was asked and answered."""
    memory = store.open(policies={"*": Policy(outbox=True)})
    session = memory.session(tenant="shop", channel="web", user="ana")
    prepare(session)
    with watched(inner(session)._memory) as seen:
        act(session)
    return memory, [
        (op, result) for op, result in seen if not isinstance(op, Read | Inspect | Locate | Sessions | Release | Renew)
    ]


def nothing(_session: Any) -> None:
    pass


def rounds_of_three(session: Any) -> None:
    rounds(session, 3)


def waiting(session: Any) -> None:
    rounds(session, 3)
    session.receive("waiting", message_id="w")


def long_and_waiting(session: Any) -> None:
    rounds(session, 14)
    session.receive("waiting", message_id="w")


def paused(session: Any) -> None:
    waiting(session)
    session.pause()


def reply_once(session: Any, *texts: str, **more: Any) -> None:
    with session.turn() as turn:
        turn.reply(*texts, **more)


def reply_with_newer(session: Any) -> None:
    turn = session.turn().open()
    session.receive("newer", message_id="newer")
    turn.reply("kept")


def fold_by_appending(session: Any) -> None:
    session.append("assistant", "the one too many")


STEP = (ToolCall("c", "look"), ToolResult("c", "seen"))
ACTS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any], str]] = {
    "first receive": (nothing, lambda s: s.receive("hi", message_id="1"), "Receive"),
    "receive": (waiting, lambda s: s.receive("hi", message_id="1"), "Receive"),
    "first open": (nothing, lambda s: s.turn("hi", message_id="1").open(), "Open"),
    "open": (waiting, lambda s: s.turn("hi", message_id="1").open(), "Open"),
    "open without an id": (waiting, lambda s: s.turn("hi").open(), "Open"),
    "open of what waits": (waiting, lambda s: s.turn().open(), "Open"),
    "reply": (waiting, lambda s: reply_once(s, "one", "two", steps=STEP, update=SessionUpdate(variables={"a": 1})), "Reply"),
    "reply that keeps the lease": (waiting, reply_with_newer, "Reply"),
    "reply that folds": (long_and_waiting, lambda s: reply_once(s, "x"), "Reply"),
    "skip": (waiting, lambda s: s.turn().open().skip(), "Reply"),
    "first append": (nothing, lambda s: s.append("system", "note"), "Append"),
    "append": (waiting, lambda s: s.append("assistant", "settles"), "Append"),
    "append with an id": (waiting, lambda s: s.append("user", "hi", message_id="1"), "Append"),
    "first update": (nothing, lambda s: s.update(SessionUpdate(variables={"a": 1})), "Update"),
    "update": (waiting, lambda s: s.update(SessionUpdate(metadata={"m": 1}, variables={"a": 1}, focus="f")), "Update"),
    "summary": (waiting, lambda s: s.set_summary("short"), "Update"),
    "first pause": (nothing, lambda s: s.pause(60, by="carla"), "Pause"),
    "pause": (waiting, lambda s: s.pause(reason="refund"), "Pause"),
    "resume": (paused, lambda s: s.resume(), "Pause"),
    "mark sent": (rounds_of_three, lambda s: s.mark_sent(s.messages()[1].id, provider_id="SM1"), "MarkSent"),
    "amend": (waiting, lambda s: s.amend("m1", "amended"), "Amend"),
    "redact": (waiting, lambda s: s.redact("m1"), "Amend"),
    "fold": (lambda s: [s.append("system", f"s{n}") for n in range(120)], fold_by_appending, "Fold"),
    "load": (waiting, lambda s: s.load([Message(text="h1"), Message(text="h2")]), "Load"),
    "first load": (nothing, lambda s: s.load([Message(text=f"h{n}") for n in range(45)]), "Load"),
}


def comparable(result: Any) -> Any:
    """Of an answer, what may not differ: the time of the answer may, and a lease's end is not part of it."""
    if isinstance(result, msgspec.Struct) and "now_ms" in result.__struct_fields__:
        return msgspec.structs.replace(result, now_ms=0)
    return result


@pytest.mark.parametrize(("prepare", "act", "kind"), ACTS.values(), ids=ACTS.keys())
def test_an_operation_executed_twice_has_one_effect_and_gives_the_same_answer(
    store: Store, prepare: Callable[[Any], Any], act: Callable[[Any], Any], kind: str
) -> None:
    memory, seen = recorded(store, prepare, act)
    operation, first = next(pair for pair in reversed(seen) if type(pair[0]).__name__ == kind)
    store.let_pass(0.02)
    before = store.dump()
    for _ in range(3):
        assert comparable(executed(memory, operation)) == comparable(first)
        assert comparable(executed(store.open(), operation)) == comparable(first)
    assert store.dump() == before


def test_a_fold_executed_twice_folds_once(store: Store) -> None:
    memory, seen = recorded(
        store, lambda s: [s.append("system", f"s{n}") for n in range(120)], lambda s: s.append("system", "one too many")
    )
    fold = next(op for op, _ in seen if type(op).__name__ == "Fold")
    session = memory.session(tenant="shop", channel="web", user="ana")
    for number in range(40):
        session.append("system", f"t{number}")
    folded = session.info().folded
    stale = msgspec.structs.replace(fold, writer="w" * 26, seq=1)
    before = store.dump()
    assert executed(memory, stale) is False
    assert store.dump() == before
    again = msgspec.structs.replace(
        stale, folding=msgspec.structs.replace(fold.folding, start=folded, basis=_basis(session), summary="new", count=10)
    )
    assert executed(memory, again) is True
    assert session.info().folded == folded + 10
    before = store.dump()
    assert executed(memory, again) is True
    assert store.dump() == before


def _basis(session: Any) -> str:
    from luni.wire import text_digest  # noqa: PLC0415

    return text_digest(session.info().summary.encode())


@pytest.mark.parametrize(("prepare", "act", "kind"), ACTS.values(), ids=ACTS.keys())
def test_an_operation_below_the_mark_is_superseded(
    store: Store, prepare: Callable[[Any], Any], act: Callable[[Any], Any], kind: str
) -> None:
    memory, seen = recorded(store, prepare, act)
    operation = next(op for op, _ in reversed(seen) if type(op).__name__ == kind)
    before = store.dump()
    with pytest.raises(Superseded):
        executed(memory, msgspec.structs.replace(operation, seq=operation.seq - 1))
    assert store.dump() == before


def test_every_write_operation_is_among_these() -> None:
    assert {kind.__name__ for kind in WRITES} == {kind for _, _, kind in ACTS.values()}


def test_a_later_operation_of_the_same_writer_is_new(store: Store) -> None:
    memory, seen = recorded(store, nothing, lambda s: s.append("system", "x"))
    operation, _ = seen[-1]
    for seq in (operation.seq + 1, operation.seq + 100):
        executed(memory, msgspec.structs.replace(operation, seq=seq))
    assert memory.session(tenant="shop", channel="web", user="ana").info().message_count == 3


def test_an_opening_executed_again_after_the_reply_does_not_open_again(store: Store) -> None:
    memory = store.open()
    session = memory.session(tenant="shop", channel="web", user="ana")
    _, seen = recorded(store, nothing, lambda s: talk(s, "hi"))
    opening = next(op for op, _ in seen if isinstance(op, Open))
    before = store.dump()
    with pytest.raises(Superseded):
        executed(memory, opening)
    anew = msgspec.structs.replace(opening, writer="w" * 26, seq=1)
    assert executed(memory, anew).state == "duplicate"
    assert store.dump() == before
    assert session.info().message_count == 2


def test_releasing_and_renewing_again_do_no_harm(store: Store) -> None:
    memory = store.open()
    turn = inner(memory.session(tenant="shop", channel="web", user="ana").turn("hi", message_id="1").open())
    renewal = Renew(leases=(turn._lease(),))
    assert executed(memory, renewal).held == (True,)
    assert executed(memory, renewal).held == (True,)
    release = turn._release()
    assert executed(memory, release) is True
    before = store.dump()
    assert executed(memory, release) is False
    assert executed(memory, renewal).held == (False,)
    assert store.dump() == before
    with store.session().turn("hi", message_id="1") as successor:
        before = store.dump()
        assert executed(memory, release) is False
        assert executed(memory, renewal).held == (False,)
        assert store.dump() == before
        successor.reply("hello")


def test_a_repeated_end_does_not_touch_the_next_session(store: Store) -> None:
    from luni.operations import End  # noqa: PLC0415

    memory = store.open()
    session = memory.session(tenant="shop", channel="web", user="ana")
    talk(session, "hi")
    end = End(address=inner(session)._scope.address, session_id=session.info().session_id)
    assert executed(memory, end) is True
    talk(store.session(), "anew", begin=2)
    before = store.dump()
    assert executed(memory, end) is False
    assert store.dump() == before
    assert [m.text for m in session.messages()] == ["anew", "re: anew"]
    assert memory.find(session.info().session_id, tenant="shop") is not None


def test_the_caller_who_repeats_a_reply_after_a_lost_answer_sends_the_same_operation(store: Store) -> None:
    from luni.errors import Indeterminate  # noqa: PLC0415

    memory = store.open(max_retries=0)
    session = memory.session(tenant="shop", channel="web", user="ana")
    turn = session.turn("hi", message_id="1").open()
    shell = inner(session)._memory
    execute = shell._execute
    lost: list[Any] = []

    def losing(operation: Operation) -> Any:
        result = execute(operation)
        if not lost:
            lost.append(result)
            if hasattr(result, "add_done_callback"):
                return _failing(result)
            raise Indeterminate("the answer was lost")
        return result

    def _failing(future: Any) -> Any:
        async def fail() -> Any:
            await future
            raise Indeterminate("the answer was lost")

        import asyncio  # noqa: PLC0415

        return asyncio.ensure_future(fail())

    shell._execute = losing
    with pytest.raises(Indeterminate):
        turn.reply("one", "two")
    assert [m.text for m in session.messages()] == ["hi", "one", "two"]
    stored = turn.reply("one", "two")
    assert session.messages()[1:] == stored
    assert session.info().message_count == 3
