"""A server that was set up: what is noted of it, its configuration, and what an engine that runs it can do."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from luni.backends.redis import connect
from luni.backends.redis.cluster.slots import Slots, node_url, seeds_of
from luni.backends.redis.errors import reason
from luni.errors import ConfigError, Unavailable
from luni.settings import Settings

__all__ = ["Engine", "Setup", "answering", "client_of", "clients_at", "configuration", "private", "url_of"]

START_SECONDS = 30.0


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

    def configure(self, setup: Setup) -> None:
        """Write the configuration anew; it holds from the next start."""

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


def url_of(setup: Setup) -> str:
    """Return where luni finds a server that was set up, with its password."""
    return f"redis://:{setup.password}@127.0.0.1:{setup.port}/0"


def answering(engine: Engine, setup: Setup) -> None:
    """Wait until a server answers; raise `Unavailable`, with its last words, if it does not."""
    deadline = time.monotonic() + START_SECONDS
    with client_of(setup) as client:
        while True:
            try:
                client.ping()
            except redis.RedisError as error:
                if not engine.alive(setup) or time.monotonic() > deadline:
                    tail = " | ".join(list(engine.logs(setup, lines=3, follow=False)))
                    raise Unavailable(f"the server does not answer ({reason(error)}); its last words: {tail}") from None
                time.sleep(0.05)
            else:
                return


def clients_at(url: str, settings: Settings) -> dict[str, Any]:
    """Return plain clients of what is at a URL of any form that luni opens, by where they lead; each tries once.

    One server is one client; a Cluster is one for each primary. Raises `ConfigError` for a URL that is none, and `Unavailable`
    where the way there cannot be found.
    """
    maker = CLIENTS.get(url.partition("://")[0].partition("+")[2])
    if maker is None:
        raise ConfigError("the URL's scheme is not one of a Redis server")
    return maker(url, settings)


def _single(url: str, settings: Settings) -> dict[str, Any]:
    """A server, or the primary that Sentinels watch."""
    return {connect.place(url): _client(url, settings)}


def _primaries(url: str, settings: Settings) -> dict[str, Any]:
    """Every primary of a Cluster, as the first of its nodes that answers knows them."""
    seeds, failure = seeds_of(url), "none of its nodes has a slot"
    for seed in seeds:
        kind, arguments = connect.connection_arguments(node_url(url, seed), settings, asynchronous=False)
        connection, slots = connect.sync_connection(kind, arguments), Slots(seeds)
        try:
            connection.connect()
            connection.send_command("CLUSTER", "SLOTS")
            if slots.load(connection.read_response(), seed):
                return {f"{host}:{port}": _client(node_url(url, (host, port)), settings) for host, port in slots.primaries()}
        except (redis.RedisError, OSError) as error:
            failure = str(connect.unreachable(error, arguments))
        finally:
            connection.disconnect()
    raise Unavailable(f"the Cluster does not say where its slots are: {failure}")


def _client(url: str, settings: Settings) -> Any:
    kind, arguments, primary = connect.watched(url, settings, asynchronous=False)
    if primary is not None:
        try:
            arguments["host"], arguments["port"] = primary.address()
        except redis.RedisError as error:
            raise connect.unreachable(error, arguments) from None
    arguments["retry"] = Retry(NoBackoff(), 0)
    return redis.Redis.from_pool(redis.ConnectionPool(connection_class=kind, **arguments))


CLIENTS: dict[str, Callable[[str, Settings], dict[str, Any]]] = {"": _single, "sentinel": _single, "cluster": _primaries}
"""By what a scheme says after its ``+``."""


def configuration(setup: Setup, *, bind: str, port: int, directory: str, fsync: str = "everysec") -> str:
    """Return the server's configuration: the password stands here, never in an argument."""
    return "\n".join(
        (
            f"bind {bind}",
            f"port {port}",
            "protected-mode yes",
            f"requirepass {setup.password}",
            f'dir "{directory.replace(chr(92), chr(92) * 2).replace(chr(34), chr(92) + chr(34))}"',
            "appendonly yes",
            f"appendfsync {fsync}",
            f"maxmemory {setup.maxmemory}",
            "maxmemory-policy noeviction",
            "",
        )
    )


def private(path: Path, text: bytes) -> None:
    """Write a file that is its owner's alone, whole or not at all."""
    handle, new = tempfile.mkstemp(dir=path.parent)  # 0600, and nobody's before
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text)
        Path(new).replace(path)
    except BaseException:
        Path(new).unlink(missing_ok=True)
        raise
