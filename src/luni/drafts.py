"""From what users say to what operations carry: checked, counted, made ready. Pure functions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from luni import operations as ops
from luni import wire
from luni.context import FOLD_CHUNK, SUMMARY_LIMIT, clip, foldable, message_tokens
from luni.errors import Backlog, InvalidInput
from luni.models import ROLES, Attachment, Message, SessionUpdate, ToolCall, ToolResult
from luni.scope import Scope
from luni.settings import Settings
from luni.views import in_place, readable

__all__ = [
    "SUMMARY_LIMIT",
    "Draft",
    "answer_of",
    "checked_token",
    "checked_update",
    "clipped_summary",
    "draft_of",
    "imported",
    "message",
    "milliseconds",
    "steps_of",
]

ESCAPED = 6  # bytes that JSON may make of one
MAX_ID_BYTES = 1024
MAX_NAME_BYTES = 256
MAX_TAGS = 32
MAX_ATTACHMENTS = 32
MAX_BUBBLES = 64
MAX_LOAD = 10_000
MAX_REMEMBERED = 64
MAX_TOKEN = 2**63
MAX_TIMESTAMP = 253_402_300_799.0  # the last second of the year 9999

Draft = tuple[Message, ops.Draft]


def message(
    settings: Settings,
    *,
    role: str,
    text: object,
    message_id: str,
    tags: Iterable[str] = (),
    attachments: Iterable[Attachment] = (),
    metadata: dict[str, Any] | None = None,
    tool_calls: Iterable[ToolCall] = (),
    tool_call_id: str | None = None,
) -> Message:
    """Return a checked message; raise `InvalidInput` for what cannot be stored."""
    if not isinstance(role, str) or role not in ROLES:
        raise InvalidInput(f"role must be one of {', '.join(sorted(ROLES))}, not {role!r}")
    if metadata is not None:
        if not isinstance(metadata, dict):
            raise InvalidInput("metadata must be a dict")
        wire.dump(metadata, "metadata", max_bytes=settings.max_json_bytes)
    return Message(
        text=wire.valid_text(text, "text", max_bytes=settings.max_text_bytes),
        role=role,
        id=wire.valid_text(message_id, "message_id", max_bytes=MAX_ID_BYTES),
        tags=_tags(tags),
        attachments=_attachments(attachments),
        metadata=metadata,
        tool_calls=_tool_calls(tool_calls, settings),
        tool_call_id=tool_call_id if tool_call_id is None else _name(tool_call_id, "tool_call_id"),
    )


def several(values: object, name: str) -> tuple[Any, ...]:
    """Return the values of an iterable; raise `InvalidInput` for a single one, and for text."""
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise InvalidInput(f"{name} must be several, in a list or tuple, not {type(values).__name__}")
    return tuple(values)


def _name(value: object, name: str) -> str:
    text = wire.valid_text(value, name, max_bytes=MAX_NAME_BYTES)
    if not text:
        raise InvalidInput(f"{name} must not be empty")
    return text


def _tags(tags: Iterable[str]) -> tuple[str, ...]:
    if tags == ():
        return ()
    found = tuple(_name(tag, "a tag") for tag in several(tags, "tags"))
    if len(found) > MAX_TAGS:
        raise InvalidInput(f"at most {MAX_TAGS} tags are accepted")
    return found


def _attachments(attachments: Iterable[Attachment]) -> tuple[Attachment, ...]:
    if attachments == ():
        return ()
    found = several(attachments, "attachments")
    if len(found) > MAX_ATTACHMENTS or not all(isinstance(one, Attachment) for one in found):
        raise InvalidInput(f"attachments must be at most {MAX_ATTACHMENTS} of luni.Attachment")
    for one in found:
        _name(one.kind, "an attachment's kind")
    try:
        msgspec.convert([msgspec.structs.asdict(one) for one in found], tuple[Attachment, ...])
    except msgspec.ValidationError as error:
        raise InvalidInput(f"an attachment's fields: {error}") from None
    except UnicodeEncodeError:
        raise InvalidInput("an attachment has a lone surrogate, which UTF-8 cannot carry") from None
    return found


def _tool_calls(calls: Iterable[ToolCall], settings: Settings) -> tuple[ToolCall, ...]:
    if calls == ():
        return ()
    found = several(calls, "tool_calls")
    if len(found) > MAX_ATTACHMENTS or not all(isinstance(one, ToolCall) for one in found):
        raise InvalidInput(f"tool_calls must be at most {MAX_ATTACHMENTS} of luni.ToolCall")
    for one in found:
        _name(one.id, "a tool call's id")
        _name(one.name, "a tool call's name")
        wire.valid_text(one.arguments, "a tool call's arguments", max_bytes=settings.max_json_bytes)
    return found


def draft_of(scope: Scope, message: Message, *, remember: bool, timestamp: float | None = None) -> Draft:
    """Return a message with its token count, and as an operation carries it. ``remember``: its id makes it exactly-once."""
    counted = msgspec.structs.replace(message, tokens=message_tokens(message, scope.counter), counter=scope.counter.name)
    try:
        body = wire.body(counted)
    except (TypeError, ValueError) as error:  # a lone surrogate; metadata changed since it was checked
        raise InvalidInput(f"the message cannot be stored as JSON: {type(error).__name__}") from None
    most = ESCAPED * scope.settings.max_text_bytes + scope.settings.max_json_bytes
    if len(body) > most:
        raise InvalidInput(f"the message has {len(body)} bytes as JSON with all that hangs on it; at most {most} are accepted")
    digest = wire.message_digest(message.id) if remember else ""
    return counted, ops.Draft(body, counted.tokens, digest, _milliseconds(timestamp))


def checked_token(token: object) -> int | None:
    """Return a lock's token; raise `InvalidInput` for what cannot be one."""
    if token is None:
        return None
    if isinstance(token, bool) or not isinstance(token, int) or not 0 < token < MAX_TOKEN:
        raise InvalidInput("token must be that of a lock that was acquired, or None")
    return token


def milliseconds(seconds: object, name: str, *, low: int, high: int) -> int:
    """Return a duration in whole milliseconds; raise `InvalidInput` if it is not within the bounds (milliseconds)."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not low <= seconds * 1000 <= high:
        raise InvalidInput(f"{name} must be a number of seconds from {low / 1000:g} to {high / 1000:g}")
    return round(seconds * 1000)


def _milliseconds(timestamp: float | None) -> int | None:
    if timestamp is None:
        return None
    if isinstance(timestamp, bool) or not isinstance(timestamp, int | float) or not 0 <= timestamp <= MAX_TIMESTAMP:
        raise InvalidInput("timestamp must be seconds since the epoch, or None for the server's time")
    return int(timestamp * 1000)


def answer_of(
    scope: Scope, owner: str, texts: Sequence[str], steps: Sequence[ToolCall | ToolResult], tags: Iterable[str]
) -> list[Draft]:
    """Return a turn's steps and bubbles, ready to be stored; raise `InvalidInput` for what cannot be."""
    if len(texts) + len(steps) > MAX_BUBBLES:
        raise InvalidInput(f"at most {MAX_BUBBLES} texts and steps are accepted in one reply")
    stored_tags = _tags(tags)
    parts = [*steps_of(steps), *({"role": "assistant", "text": text} for text in texts)]
    return [
        draft_of(
            scope, message(scope.settings, message_id=f"{owner}.{index}", tags=stored_tags, **part), remember=False
        )
        for index, part in enumerate(parts)
    ]  # fmt: skip


def steps_of(steps: Sequence[ToolCall | ToolResult]) -> list[dict[str, Any]]:
    """Return steps as messages: neighbouring calls in one, each result in its own; raise `InvalidInput` for a lone one."""
    parts: list[dict[str, Any]] = []
    open_calls: set[str] = set()
    called: set[str] = set()
    for step in steps:
        if isinstance(step, ToolCall):
            if parts and "tool_calls" in parts[-1]:
                parts[-1]["tool_calls"] += (step,)
            else:
                parts.append({"role": "assistant", "text": "", "tool_calls": (step,)})
            if step.id in called:
                raise InvalidInput(f"two calls have the id {step.id!r}")
            called.add(step.id)
            open_calls.add(step.id)
        elif isinstance(step, ToolResult):
            if step.call_id not in open_calls:
                raise InvalidInput(f"the result of {step.call_id!r} follows no call of that id")
            open_calls.discard(step.call_id)
            parts.append({"role": "tool", "text": step.text, "tool_call_id": step.call_id})
        else:
            raise InvalidInput("steps must be of luni.ToolCall and luni.ToolResult")
    if open_calls:
        raise InvalidInput(f"the call {min(open_calls)!r} has no result")
    return parts


def checked_update(update: object, settings: Settings) -> SessionUpdate:
    """Return an update whose fields can be stored; raise `InvalidInput` otherwise."""
    if not isinstance(update, SessionUpdate):
        raise InvalidInput("an update is a luni.SessionUpdate")
    for name in ("metadata", "variables"):
        patch = getattr(update, name)
        if not isinstance(patch, dict) or not all(isinstance(key, str) for key in patch):
            raise InvalidInput(f"{name} must be a dict with str keys")
        for key in patch:
            wire.valid_text(key, f"a key of {name}", max_bytes=MAX_NAME_BYTES)
            if isinstance(patch[key], msgspec.Raw):  # `merge` would take it for stored text
                raise InvalidInput(f"{name}[{key!r}] is a Raw, which is not a JSON value")
        if patch:
            wire.merge(b"{}", patch, name, max_bytes=settings.max_json_bytes)
    if update.focus is not None:
        wire.valid_text(update.focus, "focus", max_bytes=MAX_NAME_BYTES)
    return update


def clipped_summary(text: object) -> str:
    """Return a summary of at most 400 characters, cut between grapheme clusters."""
    return clip(wire.valid_text(text, "summary", max_bytes=64 * 1024), SUMMARY_LIMIT)


def imported(scope: Scope, snapshot: ops.Snapshot, messages: Sequence[Message], summary: str | None) -> dict[str, Any] | None:
    """Return the state after an import, as fields of `Load`; ``None`` if everything is there already."""
    view = snapshot.view
    texts = [*view.waiting, *reversed(view.window)] if view else []
    known = {found.id for found in readable(texts)}
    last = max((i for i, m in enumerate(messages) if m.id in known), default=-1)
    new = [draft_of(scope, m, remember=False) for m in messages[last + 1 :]]
    if not new and summary is None:
        return None
    arrival = view.settled if view else 0  # none of them waits for an answer
    items = texts + [_item(m.timestamp_ms or snapshot.now_ms, draft, arrival, index) for index, (m, draft) in enumerate(new)]
    kept_summary = (view.summary if view else "") if summary is None else summary
    kept_summary, count = _fold_import(scope, kept_summary, items, view.settled if view else arrival)
    rest = items[count:]
    window, waiting = tuple(rest[-ops.WINDOW :][::-1]), tuple(rest[: -ops.WINDOW])
    digest = hashlib.sha1(
        b"".join(view.window if view else ()) + b"\n" + b"".join(view.waiting if view else ()), usedforsecurity=False
    ).hexdigest()
    return {
        "digest": digest, "window": window, "waiting": waiting, "summary": kept_summary,
        "folded": (view.folded if view else 0) + count, "added": len(new), "added_tokens": sum(d.tokens for _, d in new),
        "digests": tuple(wire.message_digest(m.id) for m, _ in new if m.role == "user")[-MAX_REMEMBERED:],
    }  # fmt: skip


def _item(stamp: int, draft: ops.Draft, arrival: int, index: int) -> bytes:
    """Imported messages sort by their own time, then by their place."""
    return wire.item(wire.sort_key(stamp, "import", index, 0), arrival, stamp, draft.body)


def _fold_import(scope: Scope, summary: str, items: list[bytes], settled: int) -> tuple[str, int]:
    """Fold ten at a time, as turns would have; what waits for an answer is never folded."""
    messages = in_place(items)
    count = 0
    while len(items) - count - ops.WINDOW >= FOLD_CHUNK:
        end = count + FOLD_CHUNK + 1
        step = foldable(messages[count:end], settled=settled, stored=messages[end:])
        if step == 0:
            break
        summary = scope.summarise(summary, messages[count : count + step])
        count += step
    if len(items) - count - ops.WINDOW > ops.FOLD_MAX:
        raise Backlog("the history cannot be folded behind messages that wait for an answer; nothing was stored")
    return summary, count
