"""Texts as they are stored: message bodies, users' JSON, digests, ids. Pure functions.

Users' JSON is merged here and nowhere else; what is not touched keeps its very bytes, whoever wrote it.
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
import secrets
from typing import Any, cast

import msgspec

from luni.errors import Damaged, InvalidInput
from luni.models import REMOVE, ROLES, Attachment, Message, ToolCall

__all__ = [
    "body",
    "decode_message",
    "decode_object",
    "dump",
    "item",
    "merge",
    "message_digest",
    "new_id",
    "raw_object",
    "rewrite",
    "text_digest",
    "time_of",
    "unsent_order",
    "valid_text",
]

MAX_DEPTH = 32
MAX_INTEGER = 2**63
ID_BYTES = 16

_MESSAGE = msgspec.json.Decoder(Message, strict=False)
_RAW_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ENCODER = msgspec.json.Encoder()
_ARRIVAL = re.compile(rb'^{"k":"[^"]*","n":(\d+)')
_TIME = re.compile(rb'^{"k":"[^"]*","n":\d+,"timestamp":(\d+)')
_ORDER = re.compile(rb'^{"k":"(\d+)-([^"]*)-(\d+)\.(\d+)"')
_FOREIGN_KINDS: dict[str, type] = {"role": str, "id": str, "tags": list, "metadata": dict, "n": int, "k": str}
_RAW_NULL = msgspec.Raw(b"null")


def new_id() -> str:
    """Return 128 random bits as 26 lower-case letters and digits (RFC 4648 base 32)."""
    return base64.b32encode(secrets.token_bytes(ID_BYTES)).decode().rstrip("=").lower()


def message_digest(message_id: str) -> str:
    """Return the digest under which a message id is remembered (a provider's id can contain a phone number)."""
    raw = hashlib.blake2b(message_id.encode(), digest_size=16).digest()
    return base64.b64encode(raw).decode().rstrip("=")


def text_digest(text: bytes) -> str:
    """Return the digest by which a stored text is compared: SHA-1 in hex, as Lua's ``redis.sha1hex`` gives."""
    return hashlib.sha1(text, usedforsecurity=False).hexdigest()


def valid_text(value: object, name: str, *, max_bytes: int) -> str:
    """Return ``value`` if it is text that UTF-8 can carry in ``max_bytes``; raise `InvalidInput` otherwise."""
    if not isinstance(value, str):
        raise InvalidInput(f"{name} must be a str, not {type(value).__name__}")
    if len(value) * 4 <= max_bytes and value.isascii():
        return value
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise InvalidInput(f"{name} has a lone surrogate, which UTF-8 cannot carry") from None
    if size > max_bytes:
        raise InvalidInput(f"{name} has {size} bytes; at most {max_bytes} are accepted")
    return value


def dump(value: object, name: str, *, max_bytes: int) -> bytes:
    """Return ``value`` as JSON; raise `InvalidInput` for what JSON, or another reader of it, cannot carry."""
    _check(value, name, MAX_DEPTH)
    try:
        text = _ENCODER.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidInput(f"{name} cannot be stored as JSON: {type(error).__name__}") from None
    if len(text) > max_bytes:
        raise InvalidInput(f"{name} has {len(text)} bytes as JSON; at most {max_bytes} are accepted")
    return text


def _check(value: object, name: str, depth: int) -> None:
    if depth < 0:
        raise InvalidInput(f"{name} is nested more than {MAX_DEPTH} deep")
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise InvalidInput(f"{name} has a key that is not a str")
        value = list(value.values())
    if isinstance(value, list | tuple):
        for inner in value:
            _check(inner, name, depth - 1)
    else:
        _check_scalar(value, name)


def _check_scalar(value: object, name: str) -> None:
    if value is None or isinstance(value, str):
        return
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidInput(f"{name} has a number that JSON cannot carry: {value}")
    elif not isinstance(value, int):
        raise InvalidInput(f"{name} has a {type(value).__name__}, which is not a JSON value")
    elif not -MAX_INTEGER <= value < MAX_INTEGER:
        raise InvalidInput(f"{name} has an integer of more than 64 bits")


def merge(stored: bytes, patch: dict[str, Any], name: str, *, max_bytes: int) -> bytes:
    """Return the JSON object ``stored`` with the keys of ``patch`` replaced (`REMOVE` takes one away).

    Every other value keeps its very bytes, so a foreign writer's long integers and empty lists survive.
    Raises `Damaged` if ``stored`` is not a JSON object, `InvalidInput` if a new value cannot be stored.
    """
    merged = raw_object(stored, name)
    for key, value in patch.items():
        if value is REMOVE:
            merged.pop(key, None)
        elif isinstance(value, msgspec.Raw):
            merged[key] = value
        else:
            merged[key] = msgspec.Raw(dump(value, f"{name}[{key!r}]", max_bytes=max_bytes))
    text = _ENCODER.encode(merged)
    if len(text) > max_bytes:
        raise InvalidInput(f"{name} would have {len(text)} bytes as JSON; at most {max_bytes} are accepted")
    return text


def merge_inner(stored: bytes, key: str, patch: dict[str, Any], name: str, *, max_bytes: int) -> bytes:
    """Like `merge`, for the object under ``key`` of the stored object (an absent one counts as empty)."""
    inner = raw_object(stored, name).get(key, _RAW_NULL)
    text = b"{}" if bytes(inner).strip() == b"null" else bytes(inner)
    merged = merge(text, patch, name, max_bytes=max_bytes)
    return merge(stored, {key: msgspec.Raw(merged)}, name, max_bytes=2 * max_bytes)


def raw_object(stored: bytes, name: str) -> dict[str, msgspec.Raw]:
    """Return a stored JSON object with its values as they are written; raise `Damaged` if it is not one."""
    try:
        return _RAW_OBJECT.decode(stored or b"{}")
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Damaged(f"the stored {name} is not a JSON object; it was left as it is") from None


def decode_object(stored: bytes, name: str) -> dict[str, Any]:
    """Return a stored JSON object; raise `Damaged` if it is not one."""
    try:
        value = msgspec.json.decode(stored or b"{}")
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise Damaged(f"the stored {name} is not a JSON object; it was left as it is")
    return value


class _Body(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the client writes of a message; fields without a default are always there."""

    text: str
    role: str
    id: str
    tags: tuple[str, ...]
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    attachments: tuple[Attachment, ...] = ()
    metadata: dict[str, Any] | None = None
    tokens: int = -1
    counter: str = ""
    amended: int = 0
    redacted: bool = False


def body(message: Message) -> bytes:
    """Return what a message is made of before the store adds its key, arrival number and time.

    The store writes ``{"k":…,"n":…,"timestamp":…,`` in front of it; see `item`.
    """
    return _ENCODER.encode(
        _Body(
            message.text, message.role, message.id, message.tags, message.tool_calls, message.tool_call_id,
            message.attachments, message.metadata, message.tokens, message.counter, message.amended, message.redacted,
        )
    )[1:]  # fmt: skip


def item(key: str, arrival: int, timestamp_ms: int, rest: bytes) -> bytes:
    """Return a stored message: its sort key, arrival number and time before its body."""
    return b'{"k":"%b","n":%d,"timestamp":%d,%b' % (key.encode(), arrival, timestamp_ms, rest)


def sort_key(clock_ms: int, writer: str, seq: int, index: int) -> str:
    """Return a message's sortable key: hybrid clock, writer, sequence number and place in its operation."""
    return f"{clock_ms:013d}-{writer}-{seq}.{index}"


def decode_message(stored: bytes) -> Message | None:
    """Return a stored message, or ``None`` if it cannot be read; a foreign writer's is read leniently."""
    try:
        message = _MESSAGE.decode(stored)
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError, RecursionError):
        return _foreign(stored)
    if message.role not in ROLES:
        return _foreign(stored)
    return message if message.id else msgspec.structs.replace(message, id=_id_of(stored))


def _id_of(stored: bytes) -> str:
    return "foreign-" + text_digest(stored)[:16]


def _foreign(stored: bytes) -> Message | None:
    """Keep what is good of a message that another program wrote in its own way; without a text there is none."""
    try:
        raw = msgspec.json.decode(stored)
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError, RecursionError):
        return None
    if not isinstance(raw, dict) or not isinstance(raw.get("text"), str):
        return None
    kept = {
        name: value
        for name in ("role", "id", "tags", "metadata", "n", "k")
        if (value := _good(name, raw.get(name))) is not None
    }
    kept |= {"text": raw["text"], "timestamp": _stamp(raw.get("timestamp"))}
    kept.setdefault("id", _id_of(stored))
    return msgspec.convert(kept, Message)


def _good(name: str, value: object) -> object:
    kind = _FOREIGN_KINDS[name]
    if not isinstance(value, kind) or isinstance(value, bool):
        return None
    if name == "tags":
        return [tag for tag in cast("list[object]", value) if isinstance(tag, str)]
    return None if name == "role" and value not in ROLES else value


def _stamp(value: object) -> int:
    try:
        return max(0, int(float(value))) if isinstance(value, int | float | str) else 0
    except (ValueError, OverflowError):
        return 0


def rewrite(stored: bytes, changes: dict[str, Any]) -> bytes:
    """Return a stored message with some fields changed, its beginning (key, number, time) and foreign fields kept."""
    raw = raw_object(stored, "message")
    for name, value in changes.items():
        if value is REMOVE:
            raw.pop(name, None)
        else:
            raw[name] = msgspec.Raw(_ENCODER.encode(value))
    return _ENCODER.encode(raw)


def first_metadata(*, with_message: bool) -> bytes:
    """Return the metadata a session begins with, as old readers know it."""
    first = b"false" if with_message else b"true"
    return b'{"focoAtual":null,"etapaFunil":"descoberta","primeiraInteracao":' + first + b"}"


def first_context(now_ms: int) -> bytes:
    """Return the context a session begins with, as old readers know it."""
    return b'{"messages":[],"variables":{},"tags":[],"ultimaInteracaoTimestamp":%d}' % now_ms


def arrival_of(stored: bytes) -> int:
    """Return the arrival number a stored message begins with, 0 for a foreign writer's."""
    found = _ARRIVAL.match(stored)
    return int(found[1]) if found else 0


def time_of(stored: bytes) -> int:
    """Return the time (ms) a stored message begins with, 0 for a foreign writer's."""
    found = _TIME.match(stored)
    return int(found[1]) if found else 0


def unsent_order(item: tuple[str, bytes]) -> tuple[int, bytes, int, int, str]:
    """Return where a message (id, stored text) stands among those that wait to be sent: as they were stored."""
    found = _ORDER.match(item[1])
    clock, writer, seq, index = found.groups() if found else (0, b"", 0, 0)
    return int(clock), bytes(writer), int(seq), int(index), item[0]


def stamped_context(stored: bytes, now_ms: int) -> bytes | None:
    """Return the context with the time old readers look at refreshed, ``None`` if it cannot be read."""
    try:
        return merge(stored, {"ultimaInteracaoTimestamp": now_ms}, "context", max_bytes=2**62)
    except Damaged:
        return None
