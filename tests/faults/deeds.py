"""Every operation that writes, as a deed that is done the same way with and without faults, and what is to be seen of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from luni import Message, SessionUpdate

Run = Callable[[Any], Any]


class Deed(NamedTuple):
    """``prepare`` is undisturbed; ``act`` meets the fault; ``script`` is what the fault must meet."""

    script: str
    act: Callable[[Run, Any, Any], Any]
    prepare: Callable[[Run, Any], Any] = lambda _run, _session: None


def _opened(run: Run, session: Any) -> Any:
    return run(session.turn("hello", message_id="m1").open())


def _opened_and_overtaken(run: Run, session: Any) -> Any:
    turn = _opened(run, session)
    run(session.receive("and this", message_id="m2"))
    return turn


def _crowded(run: Run, session: Any) -> None:
    for number in range(60):
        run(session.append("user", f"q{number} costs {number} reais"))
        run(session.append("assistant", f"a{number}"))


def _read(run: Run, turn: Any) -> tuple[Any, ...]:
    shown = [message.text for message in turn.context.messages]
    return (turn.state, turn.attempt, turn.new_session, turn.should_reply, [m.text for m in turn.messages], shown)


def _open(run: Run, session: Any, turn: Any) -> Any:
    return _read(run, run(turn.open()))


def _reply(run: Run, session: Any, turn: Any) -> Any:
    update = SessionUpdate(metadata={"step": 1}, variables={"cart": [1, 2]})
    stored = run(turn.reply("one", "two", update=update))
    return [(m.text, m.role) for m in stored], _read(run, turn)


def _skip(run: Run, session: Any, turn: Any) -> Any:
    return run(turn.skip("a sticker")), _read(run, turn)


def _receive(run: Run, session: Any, _: Any) -> Any:
    got = run(session.receive("hello", message_id="m1"))
    return got.state, got.message.text, got.new_session


def _append(run: Run, session: Any, _: Any) -> Any:
    return run(session.append("human", "I take over", message_id="h1")).text


def _append_unnamed(run: Run, session: Any, _: Any) -> Any:
    return run(session.append("system", "a note")).text


def _update(run: Run, session: Any, _: Any) -> Any:
    return run(session.update(SessionUpdate(metadata={"a": 1}, variables={"b": 2}, focus="price")))


def _amend(run: Run, session: Any, _: Any) -> Any:
    changed = run(session.amend("m1", "hello there"))
    return changed.text, changed.amended


def _load(run: Run, session: Any, _: Any) -> Any:
    history = [Message(text=f"old {n}", role="user" if n % 2 else "assistant", timestamp_ms=1000 + n) for n in range(35)]
    return run(session.load(history))


def _received(run: Run, session: Any) -> None:
    run(session.receive("hello", message_id="m1"))


DEEDS = {
    "receive": Deed("accept", _receive),
    "open": Deed("accept", _open, lambda _run, session: session.turn("hello", message_id="m1")),
    "reply": Deed("reply", _reply, _opened),
    "reply-kept": Deed("reply", _reply, _opened_and_overtaken),
    "skip": Deed("reply", _skip, _opened),
    "append": Deed("append", _append, _received),
    "append-unnamed": Deed("append", _append_unnamed),
    "append-folding": Deed("fold", _append, _crowded),
    "update": Deed("update", _update, _received),
    "update-new": Deed("update", _update),
    "summary": Deed("update", lambda run, s, _: run(s.set_summary("a buyer")), _received),
    "amend": Deed("amend", _amend, _received),
    "redact": Deed("amend", lambda run, s, _: run(s.redact("m1")).redacted, _received),
    "load": Deed("load", _load, _received),
    "end": Deed("end", lambda run, s, _: run(s.end()), _received),
}


UNPROMISED = {"load", "update-new"}
"""What no host alone takes in an outage: a whole history, and a change of a session that it does not know."""


def ended(run: Run, prepared: Any) -> None:
    """Close the turn that a deed leaves open: its session is not replayed before."""
    if hasattr(prepared, "close"):
        run(prepared.close())


def state(run: Run, session: Any) -> Any:
    """Everything of a session but ids and times."""
    export = run(session.export())
    if export is None:
        return None
    info = export.info
    kept = {name: getattr(info, name) for name in info.__struct_fields__ if name not in UNCOMPARED}
    messages = [(m.role, m.text, m.arrival, m.amended, m.redacted, m.tokens) for m in export.messages]
    assert len({m.id for m in export.messages}) == len(export.messages), "a message is stored twice"
    return kept, messages


UNCOMPARED = {"session_id", "user", "created_at", "last_activity"}
