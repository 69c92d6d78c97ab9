"""From what is stored to what users get: texts made readable, nothing written. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from luni import operations as ops
from luni import wire
from luni.context import Context, assemble
from luni.errors import Damaged
from luni.models import Address, Message, SessionExport, SessionInfo
from luni.scope import Scope

__all__ = [
    "answered_messages",
    "blank_view",
    "context_of",
    "exported",
    "exported_anyway",
    "find",
    "held",
    "in_place",
    "in_sending_order",
    "info",
    "readable",
    "stored",
    "whole",
    "with_answer",
    "with_id",
]


PAUSE_PARTS = 3  # until|at|note


def stored(message: Message, writer: str, seq: int, index: int, arrival: int, clock_ms: int, timestamp_ms: int) -> Message:
    """Return a message with what the store gave it."""
    key = wire.sort_key(clock_ms, writer, seq, index)
    return msgspec.structs.replace(message, key=key, arrival=arrival, timestamp_ms=timestamp_ms)


def readable(texts: Iterable[bytes]) -> list[Message]:
    """Return the stored messages that can be read, in the order given."""
    return [found for text in texts if (found := wire.decode_message(text)) is not None]


_UNREADABLE = Message(text="", role="system")


def in_place(texts: Iterable[bytes]) -> list[Message]:
    """Return stored messages where they stand; one that cannot be read is an empty one, which folds into nothing."""
    return [wire.decode_message(text) or _UNREADABLE for text in texts]


def held(view: ops.View) -> tuple[list[Message], int]:
    """Return the messages held, oldest first, and how many stored items cannot be read."""
    texts = (*view.waiting, *reversed(view.window))
    messages = readable(texts)
    return messages, len(texts) - len(messages)


def context_of(scope: Scope, view: ops.View | None, *, cut: int | None = None) -> Context:
    """Return what a model may see of a session now; with a ``cut`` without what has arrived after it."""
    if view is None:
        return Context(summary="", focus="", messages=(), language=scope.policy.language)
    messages, damaged = held(view)
    if cut is not None and cut < view.n:
        messages = [message for message in messages if message.arrival <= cut]
    first = next((i for i, m in enumerate(messages) if m.role == "user" and m.arrival > view.settled), len(messages))
    return assemble(
        summary=view.summary,
        focus=view.focus,
        messages=messages,
        current=len(messages) - first,
        history_tokens=view.tokens,
        history_messages=view.count,
        limit=scope.prompt_window,
        budget=scope.token_budget,
        counter=scope.counter,
        language=scope.policy.language,
        first_position=view.folded,
        partial=is_partial(view),
        damaged=damaged,
        as_of=view.as_of_ms / 1000 if view.as_of_ms else None,
        dead_letters=view.dead_letters,
    )


def is_partial(view: ops.View) -> bool:
    """Whether the server has evicted a part of the session: fewer messages are there than were stored and not folded."""
    return len(view.window) + len(view.waiting) < view.count - view.folded


def answered_messages(view: ops.View, cut: int) -> tuple[Message, ...]:
    """Return the messages that a turn with this cut answers, oldest first."""
    messages, _ = held(view)
    return tuple(m for m in messages if m.role == "user" and view.settled < m.arrival <= cut)


def with_answer(view: ops.View | None, owner: str) -> tuple[Message, ...]:
    """Return what the reply with this id said, as far as the window still holds it."""
    if view is None or not owner:
        return ()
    writer, _, seq = owner.partition(".")
    said = f"-{writer}-{seq}."
    return tuple(m for m in held(view)[0] if said in m.key and m.role in {"assistant", "human"} and not m.tool_calls)


def in_sending_order(texts: Iterable[bytes]) -> list[Message]:
    """Return a session's unsent messages in the order they were stored in."""
    return sorted(readable(texts), key=lambda m: (m.timestamp_ms, m.arrival, _place(m.key)))


def _place(key: str) -> tuple[str, str, int, int]:
    """A key's parts: clock, writer, sequence number, index."""
    clock, _, rest = key.partition("-")
    writer, _, number = rest.rpartition("-")
    seq, _, index = number.partition(".")
    return clock, writer, int(seq), int(index)


def with_id(texts: Iterable[bytes], message_id: str) -> Message | None:
    """Return the stored message of an id."""
    return next((m for m in readable(texts) if m.id == message_id), None)


def find(snapshot: ops.Snapshot, message_id: str) -> tuple[bytes, Message] | None:
    """Return a stored message and its text by id, wherever it is kept."""
    if snapshot.view is None:
        return None
    for text in (*snapshot.view.window, *reversed(snapshot.view.waiting), *snapshot.transcript):
        found = wire.decode_message(text)
        if found is not None and found.id == message_id:
            return text, found
    return None


def info(address: Address, view: ops.View, unanswered: int, *, strict: bool = True) -> SessionInfo:
    """Return a session without its messages.

    If its metadata or variables cannot be read, raise `Damaged`; in a list (``strict=False``) leave them empty and say so.
    """
    try:
        metadata, variables, damaged = *_objects(view), False
    except Damaged:
        if strict:
            raise
        metadata, variables, damaged = {}, {}, True
    return SessionInfo(
        session_id=view.session_id,
        tenant=address.tenant,
        channel=address.channel,
        user=address.user,
        created_at=view.created_ms / 1000,
        last_activity=view.activity_ms / 1000,
        metadata=metadata,
        variables=variables,
        summary=view.summary,
        focus=view.focus,
        paused=view.paused,
        message_count=view.count,
        folded=view.folded,
        unanswered=unanswered,
        revision=view.rev,
        damaged=damaged,
        degraded=view.as_of_ms > 0,
        as_of=view.as_of_ms / 1000 if view.as_of_ms else None,
        dead_letters=view.dead_letters,
        **_pause(view),
    )


def _pause(view: ops.View) -> dict[str, Any]:
    """Return what is known of a pause; nothing of one that another program wrote."""
    if not view.paused or view.pause.count(b"|") < PAUSE_PARTS - 1:
        return {}
    until, at, note = view.pause.split(b"|", PAUSE_PARTS - 1)
    by, reason = msgspec.json.decode(note, type=tuple[str | None, str | None])
    times = {"paused_at": int(at) / 1000, "paused_until": int(until) / 1000 or None}
    return times | {"paused_by": by, "paused_reason": reason}


def _objects(view: ops.View) -> tuple[dict[str, Any], dict[str, Any]]:
    variables = wire.decode_object(view.context, "context").get("variables") or {}
    if not isinstance(variables, dict):
        raise Damaged("the stored variables are not a JSON object; they were left as they are")
    return wire.decode_object(view.metadata, "metadata"), variables


def exported_anyway(address: Address, snapshot: ops.Snapshot, unsent: Iterable[bytes]) -> SessionExport | None:
    """Return everything of a session that can be read, and whether that is all; with replies that only wait to be sent."""
    if snapshot.view is None:
        return None
    messages, damaged = held(snapshot.view)
    transcript, there = readable(reversed(snapshot.transcript)), {message.key for message in messages}
    folded = [message for message in in_sending_order(unsent) if message.key not in there]
    found = info(address, snapshot.view, snapshot.unanswered, strict=False)
    if damaged or len(transcript) < len(snapshot.transcript):
        found = msgspec.structs.replace(found, damaged=True)
    return SessionExport(found, (*folded, *messages), tuple(transcript))


def exported(address: Address, snapshot: ops.Snapshot) -> SessionExport | None:
    """Return everything stored of a session; raise `Damaged` if a stored item cannot be read."""
    if snapshot.view is None:
        return None
    messages = whole(snapshot.view)
    transcript = readable(reversed(snapshot.transcript))
    return SessionExport(info(address, snapshot.view, snapshot.unanswered), tuple(messages), tuple(transcript))


def whole(view: ops.View) -> list[Message]:
    """Return the messages held, oldest first; raise `Damaged` if one cannot be read."""
    messages, damaged = held(view)
    if damaged:
        raise Damaged(f"{damaged} of {damaged + len(messages)} stored messages cannot be read; they were left as they are")
    return messages


def blank_view(now_ms: int) -> ops.View:
    """Return the view of a session that does not exist yet."""
    texts = wire.first_metadata(with_message=False), wire.first_context(now_ms)
    return ops.View(
        "", now_ms, now_ms, *texts, "", "", paused=False, token_est=0, n=0, settled=0, count=0, tokens=0, folded=0, rev=0
    )
