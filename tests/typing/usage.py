"""How users' code looks to a type checker; `make lint` runs mypy over it."""

from datetime import UTC, datetime, timedelta
from typing import Any, assert_type

from luni import (
    AsyncLock,
    AsyncMemory,
    Booking,
    Context,
    Interval,
    Lock,
    Memory,
    Message,
    Page,
    Receipt,
    Received,
    SessionExport,
    SessionInfo,
    SessionUpdate,
)
from luni.models import Health, TurnState


def synchronous(memory: Memory) -> None:
    session = memory.session(tenant="t", channel="c", user="u")
    assert_type(session.receive("hi", message_id="1"), Received)
    with session.turn("hi", message_id="1") as turn:
        assert_type(turn.state, TurnState)
        assert_type(turn.context, Context)
        assert_type(turn.context.to_openai(), list[dict[str, Any]])
        assert_type(turn.reply("hello", update=SessionUpdate(focus="x")), list[Message])
        assert_type(turn.answer, tuple[Message, ...] | None)
    assert_type(session.messages(), list[Message])
    assert_type(session.info(), SessionInfo | None)
    assert_type(session.export(), SessionExport | None)
    assert_type(session.update(SessionUpdate(variables={"a": 1})), int)
    assert_type(memory.sessions("t"), Page)
    assert_type(memory.export("t", "u"), Page)
    assert_type(memory.erase("t", "u"), Receipt)
    assert_type(memory.health(), Health)
    with memory.lock("t", "till", wait=1.0) as lock:
        assert_type(lock, Lock)
        assert_type(lock.token, int)
    assert_type(memory.lock("t", "till").run(len, "abc"), int)
    agenda = memory.agenda("t", "chair", capacity=2)
    now = datetime.now(UTC)
    assert_type(agenda.hold(now, now, by="ana", also=[agenda, "sofa"]), Booking)
    assert_type(agenda.cancel("b1"), Booking | None)
    assert_type(agenda.free(now, now, duration=timedelta(hours=1)), list[Interval])
    assert_type(memory.bookings("t", by="ana"), list[Booking])


async def asynchronous(memory: AsyncMemory) -> None:
    session = memory.session(tenant="t", channel="c", user="u")
    assert_type(await session.receive("hi", message_id="1"), Received)
    async with session.turn("hi", message_id="1") as turn:
        assert_type(turn.should_reply, bool)
        assert_type(await turn.reply("hello"), list[Message])
    assert_type(await session.context(), Context)
    found = await memory.find("id", tenant="t")
    if found is not None:
        assert_type(await found.end(), bool)
    async with memory.lock("t", "till") as lock:
        assert_type(lock, AsyncLock)
    assert_type(await memory.agenda("t", "chair").confirm("b1"), Booking)
