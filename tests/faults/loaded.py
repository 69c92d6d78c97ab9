"""A server that has the scripts already."""

from __future__ import annotations

from redis import Redis

from luni.backends.redis.scripts import SCRIPTS


def load_scripts(port: int) -> None:
    """A lost reply must be the effect's, not that of a script the server does not have yet."""
    with Redis(port=port) as plain:
        for script in SCRIPTS.values():
            plain.script_load(script.text)
