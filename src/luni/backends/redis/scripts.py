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
)
_BARE_SCRIPTS = ("locate", "sessions", "inspect", "tenants", "pending", "examine", "claim", "renew")


class Script(NamedTuple):
    """A script as it is sent."""

    name: str
    text: bytes
    sha: bytes


def _load(name: str, prelude: bytes) -> Script:
    text = prelude + (files(__package__) / "lua" / f"{name}.lua").read_bytes()
    return Script(name, text, hashlib.sha1(text, usedforsecurity=False).hexdigest().encode())


_PRELUDE = (files(__package__) / "lua" / "_prelude.lua").read_bytes()
SCRIPTS = {name: _load(name, _PRELUDE) for name in _SESSION_SCRIPTS} | {name: _load(name, b"") for name in _BARE_SCRIPTS}
