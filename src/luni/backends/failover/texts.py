"""Stored messages as bytes: what orders them, what tells one from another, and how their beginning is rewritten."""

from __future__ import annotations

import re
from typing import Any

from luni import operations as ops
from luni import wire
from luni.models import REMOVE

__all__ = ["Order", "clocks_of", "head", "keys_of", "name_of", "numbered", "order_of", "put", "reheaded", "with_head"]

_KEY = re.compile(rb'^\{"k":"(\d+)-([^"]*)-(\d+)\.(\d+)"')
_NUMBER = re.compile(rb'^(\{"k":"[^"]*","n":)\d+')
_HEAD = re.compile(rb'^\{"k":"[^"]*","n":\d+,"timestamp":\d+,')
Order = tuple[int, bytes, int, int]


def order_of(text: bytes) -> Order | None:
    """Return what stored messages are ordered by: clock, writer, number, place; ``None`` for a foreign writer's."""
    found = _KEY.match(text)
    return (int(found[1]), found[2], int(found[3]), int(found[4])) if found else None


def name_of(text: bytes) -> bytes:
    """Return what tells a message from any other: who wrote it in which operation, whatever clock it was stored under."""
    found = _KEY.match(text)
    return b"%b-%b.%b" % found.group(2, 3, 4) if found else text


def clocks_of(texts: list[bytes]) -> dict[str, int]:
    """Return the latest clock that each writer's messages stand under."""
    clocks: dict[str, int] = {}
    for text in texts:
        order = order_of(text)
        if order is not None:
            clocks[order[1].decode()] = max(clocks.get(order[1].decode(), 0), order[0])
    return clocks


def put(texts: list[bytes], text: bytes) -> None:
    """Put a message into a list, oldest first, behind the newest that is not later than itself."""
    own, place = order_of(text), len(texts)
    assert own is not None  # noqa: S101  it is one of ours
    while place and (other := order_of(texts[place - 1])) is not None and other > own:
        place -= 1
    texts.insert(place, text)


def head(key: bytes, n: int, timestamp_ms: int) -> bytes:
    """Return what a stored message begins with."""
    return b'{"k":"%b","n":%d,"timestamp":%d,' % (key, n, timestamp_ms)


def numbered(text: bytes, n: int) -> bytes:
    """Return a stored message under another arrival number; a foreign writer's has none."""
    return _NUMBER.sub(rb"\g<1>%d" % n, text)


def with_head(stored: bytes, text: bytes) -> bytes:
    """Return a new text with the key, number and time of the stored one."""
    old, new = _HEAD.match(stored), _HEAD.match(text)
    return stored[: old.end()] + text[new.end() :] if old and new else text


def reheaded(text: bytes, key: bytes, n: int, timestamp_ms: int) -> bytes:
    """Return a stored message with another key, number and time."""
    return _HEAD.sub(head(key, n, timestamp_ms).replace(b"\\", rb"\\"), text)


def keys_of(patch: ops.Patch | None, *, within: str = "") -> dict[str, Any]:
    """Return what a patch sets: the keys its caller named, with their new values; `REMOVE` for those it took away."""
    if patch is None or not patch.keys:
        return {}
    new = wire.raw_object(patch.text, "change")
    if within:
        new = wire.raw_object(bytes(new.get(within, b"{}")), "change")
    return {key: new.get(key, REMOVE) for key in patch.keys}
