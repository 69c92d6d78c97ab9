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
    "erase",
    "standing",
)
_STATE_SCRIPTS = ("dump", "restore")
_AGENDA_SCRIPTS = ("hold", "confirm", "cancel", "move", "adopt", "reconcile", "erase_bookings")
_BARE_SCRIPTS = (
    "locate", "sessions", "inspect", "tenants", "pending", "examine", "claim", "renew", "lock", "unlock", "guarantees",
    "acquaint", "bookings_in", "busy_in", "bookings_by", "recall", "resources",
    "bury", "tombstones", "traces", "scrub", "vacate", "expunge", "bookings_of",
    "enlist", "settle", "withdraw", "delist", "point", "unpoint", "living", "told", "forget", "depart",
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
        (_STATE_SCRIPTS, _prelude("_prelude") + _prelude("_state")),
        (_AGENDA_SCRIPTS, _prelude("_agenda")),
        (_BARE_SCRIPTS, b""),
    )
    for name in names
}
