"""The Lua scripts, each with the digest by which ``EVALSHA`` calls it."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import NamedTuple

__all__ = ["SCRIPTS", "Script"]

_SESSION_SCRIPTS = (
    "accept",
    "reply",
    "append",
    "update",
    "pause",
    "fold",
    "amend",
    "mark_sent",
    "load",
    "read",
    "end",
    "release",
    "gather",
    "standing",
)
_AGENDA_SCRIPTS = ("hold", "confirm", "cancel", "move", "reconcile")
_BARE_SCRIPTS = (
    "locate", "sessions", "inspect", "tenants", "pending", "examine", "claim", "renew", "lock", "unlock", "guarantees",
    "bookings_in", "busy_in", "bookings_by", "recall", "resources",
    "enlist", "settle", "withdraw", "delist", "point", "unpoint", "living",
)  # fmt: skip


class Script(NamedTuple):
    """A script as it is sent."""

    name: str
    text: bytes
    sha: bytes


def _load(name: str, prelude: bytes) -> Script:
    text = prelude + (files(__package__) / "lua" / f"{name}.lua").read_bytes()
    return Script(name, text, hashlib.sha1(text, usedforsecurity=False).hexdigest().encode())


def _prelude(name: str) -> bytes:
    return (files(__package__) / "lua" / f"{name}.lua").read_bytes()


SCRIPTS = {
    name: _load(name, prelude)
    for names, prelude in (
        (_SESSION_SCRIPTS, _prelude("_prelude")),
        (_AGENDA_SCRIPTS, _prelude("_agenda")),
        (_BARE_SCRIPTS, b""),
    )
    for name in names
}
