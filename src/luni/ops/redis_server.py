"""A server that was set up: what is noted of it, its configuration, and what an engine that runs it can do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal, Protocol

import msgspec
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

__all__ = ["Engine", "Setup", "client_of", "configuration"]


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """What ``setup.json`` notes of a server. It holds the password: the file is its owner's alone."""

    id: str
    kind: Literal["container", "process"]
    port: int
    password: str
    maxmemory: str
    folder: str
    env_files: tuple[str, ...]
    program: str = ""
    pid: int = 0
    born: str = ""
    """When that process began, as its system says it."""
    image: str = ""
    socket: str = ""

    def __repr__(self) -> str:
        return f"<Setup of a {self.kind} on port {self.port}>"


class Engine(Protocol):
    """Runs one server. What it cannot do it says as an error of luni's."""

    @property
    def kind(self) -> Literal["container", "process"]:
        """What it is, as `Setup` notes it."""

    def close(self) -> None:
        """Let go of connections."""

    def prepared(self, setup: Setup, say: Callable[[str], None]) -> Setup:
        """Make what the server needs, without starting it; return what is to be noted."""

    def start(self, setup: Setup) -> Setup:
        """Start the server; return what is to be noted now."""

    def alive(self, setup: Setup) -> bool:
        """Whether its process is there."""

    def running(self, setup: Setup) -> bool:
        """Whether this very server is running and answers."""

    def stop(self, setup: Setup) -> bool:
        """Stop it; return whether it was running."""

    def remove(self, setup: Setup) -> None:
        """Remove what was made for it, data included."""

    def logs(self, setup: Setup, *, lines: int, follow: bool) -> Iterator[str]:
        """Yield the last lines of its log, and with ``follow`` what comes."""


def client_of(setup: Setup) -> Any:
    """Return a plain client of a server that was set up; it waits 2 s at the most, and tries once."""
    once = Retry(NoBackoff(), 0)
    return redis.Redis(
        host="127.0.0.1", port=setup.port, password=setup.password, socket_timeout=2, socket_connect_timeout=2, retry=once
    )  # fmt: skip


def configuration(setup: Setup, *, bind: str, port: int, directory: str) -> str:
    """Return the server's configuration: the password stands here, never in an argument."""
    return "\n".join(
        (
            f"bind {bind}",
            f"port {port}",
            "protected-mode yes",
            f"requirepass {setup.password}",
            f'dir "{directory.replace(chr(92), chr(92) * 2).replace(chr(34), chr(92) + chr(34))}"',
            "appendonly yes",
            "appendfsync everysec",
            f"maxmemory {setup.maxmemory}",
            "maxmemory-policy noeviction",
            "",
        )
    )
