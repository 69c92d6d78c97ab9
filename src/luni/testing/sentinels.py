"""A primary, its replica, and three Sentinels that watch them: servers of a test's own, on free loopback ports."""

from __future__ import annotations

import contextlib
import time
from types import TracebackType
from typing import Any, Self

import redis

from luni.testing.servers import Server

__all__ = ["Sentinels"]

SECONDS = 30.0
DOWN_AFTER_MS = 400
AGAIN_AFTER_MS = 2000


class Sentinels:
    """A watched pair; a context manager. ``url`` is what luni opens.

    Args:
        kind: ``"valkey"`` or ``"redis"``.
    """

    name = "luni"

    def __init__(self, kind: str = "valkey") -> None:
        self._kind = kind
        self.servers: list[Server] = []
        self.watchers: list[Server] = []

    @property
    def url(self) -> str:
        """Where the Sentinels are, and the primary's name."""
        return f"redis+sentinel://{','.join(f'127.0.0.1:{one.port}' for one in self.watchers)}/{self.name}"

    def primary(self) -> Server:
        """Return the server that the Sentinels call the primary now."""
        port = int(self._ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.name)[1])
        return next(server for server in self.servers if server.port == port)

    def _ask(self, *words: str) -> Any:
        with redis.Redis(port=self.watchers[0].port, decode_responses=True) as watcher:
            return watcher.execute_command(*words)

    def start(self) -> Self:
        """Start all five and wait until the Sentinels know each other and the replica."""
        first = Server(self._kind).start()
        self.servers = [first, Server(self._kind, "--replicaof", "127.0.0.1", str(first.port), *_FAST).start()]
        for _ in range(3):
            watcher = Server(self._kind, sentinel=_watching(self.name, first.port)).start()
            self.watchers.append(watcher)
        deadline = time.monotonic() + SECONDS
        while not self._complete():
            if time.monotonic() > deadline:
                raise RuntimeError("the Sentinels do not find each other")
            time.sleep(0.1)
        return self

    def _complete(self) -> bool:
        for watcher in self.watchers:
            with redis.Redis(port=watcher.port) as asked:
                state = asked.sentinel_masters()[self.name]
            if (state["num-slaves"], state["num-other-sentinels"]) != (1, 2):
                return False
        with redis.Redis(port=self.servers[1].port) as replica:
            return bool(replica.info("replication").get("master_link_status") == "up")

    def fail_over(self) -> None:
        """Make the replica the primary although nobody died; asked for again while the Sentinels give up on it."""
        former, asked_at = self.primary(), 0.0
        deadline = time.monotonic() + SECONDS
        while self.primary() is former:
            if time.monotonic() > deadline:
                raise RuntimeError("nobody became the primary")
            if time.monotonic() - asked_at > 5.0:
                asked_at = time.monotonic()
                with contextlib.suppress(redis.ResponseError):  # one is on its way, or none can be found this moment
                    self._ask("SENTINEL", "FAILOVER", self.name)
            time.sleep(0.02)
        self.wait_for_another(former)

    def wait_for_another(self, former: Server) -> float:
        """Wait until another server is the primary and says so; return how long that took."""
        began = time.monotonic()
        while time.monotonic() - began < SECONDS:
            now = self.primary()
            if now is not former:
                with redis.Redis(port=now.port) as asked:
                    if asked.info("replication")["role"] == "master":
                        return time.monotonic() - began
            time.sleep(0.02)
        raise RuntimeError("nobody became the primary")

    def wait_for_replica(self) -> None:
        """Make the other server the primary's replica, without waiting for the Sentinels; return when it has everything."""
        deadline, told_again = time.monotonic() + 2 * SECONDS, 0.0
        while time.monotonic() < deadline:
            first = self.primary()
            (other,) = (server for server in self.servers if server is not first)
            with redis.Redis(port=first.port) as primary, redis.Redis(port=other.port) as replica:
                have, told = primary.info("replication"), replica.info("replication")
                linked = told.get("master_port") == first.port and told.get("master_link_status") == "up"
                if linked and told["slave_repl_offset"] >= have["master_repl_offset"]:
                    return
                if have["role"] == "master" and told.get("master_port") != first.port and time.monotonic() > told_again:
                    replica.execute_command("REPLICAOF", "127.0.0.1", first.port)
                    told_again = time.monotonic() + 1.0
            time.sleep(0.05)
        raise RuntimeError("the primary has no replica")

    def close(self) -> None:
        """Stop all of them."""
        for one in (*self.watchers, *self.servers):
            one.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


_FAST = ("--repl-diskless-sync-delay", "0")


def _watching(name: str, port: int) -> str:
    return "\n".join(
        (
            f"sentinel monitor {name} 127.0.0.1 {port} 2",
            f"sentinel down-after-milliseconds {name} {DOWN_AFTER_MS}",
            f"sentinel failover-timeout {name} {AGAIN_AFTER_MS}",
            f"sentinel parallel-syncs {name} 1",
            "",
        )
    )
