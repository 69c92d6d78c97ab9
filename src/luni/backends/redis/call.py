"""What is sent to the server: a script with its keys and arguments."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from luni.backends.redis.scripts import Script

__all__ = ["Arg", "Call", "Wait", "with_replicas"]

Arg = bytes | str | int


class Wait(NamedTuple):
    """How many replicas are to confirm what the connection has written, and for how long they are waited for."""

    replicas: int
    ms: int


class Call(NamedTuple):
    """A script with its keys and arguments, and who has to confirm it.

    ``whole``: nobody will read the reply, so the script's text is sent: the server may not have it yet. ``version_at``: on a
    Cluster, which argument takes the version under which the tenant's lists were told beforehand what the script does; 0: none.
    """

    script: Script
    keys: tuple[str, ...]
    args: list[Arg]
    wait: Wait | None = None
    whole: bool = False
    version_at: int = 0

    def command(self) -> tuple[Any, ...]:
        """Return the words to send."""
        how = ("EVAL", self.script.text) if self.whole else ("EVALSHA", self.script.sha)
        return (*how, len(self.keys), *self.keys, *self.args)


def with_replicas(result: Any, confirmed: int) -> Any:
    """Return a result with the number of replicas that have confirmed it."""
    return msgspec.structs.replace(result, replicas=confirmed)
