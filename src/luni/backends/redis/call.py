"""What is sent to the server: a script with its keys and arguments."""

from __future__ import annotations

from typing import NamedTuple

from luni.backends.redis.scripts import Script

__all__ = ["Arg", "Call"]

Arg = bytes | str | int


class Call(NamedTuple):
    """A script with its keys and arguments."""

    script: Script
    keys: tuple[str, ...]
    args: list[Arg]
