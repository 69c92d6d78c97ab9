"""A Cluster of a test's own: three primaries, and replicas if asked for, on free loopback ports. Needs Redis 7.0 or newer."""

from __future__ import annotations

import signal
import time
from types import TracebackType
from typing import Any, Self

import redis

from luni.testing.servers import Server, free_port

__all__ = ["Cluster"]

SECONDS = 30.0
PRIMARIES = 3
SLOTS = 16384


class Cluster:
    """Servers that share the slots; a context manager. ``url`` is what luni opens.

    Args:
        kind: ``"valkey"`` or ``"redis"``.
        arguments: More arguments of each server, as on its command line.
        replicas: Whether each primary has one.
        node_timeout_ms: After how long a silent node is failed over.
    """

    def __init__(self, kind: str = "valkey", *arguments: str, replicas: bool = False, node_timeout_ms: int = 1000) -> None:
        self.kind = kind
        self._arguments = arguments
        self._timeout = str(node_timeout_ms)
        self._replicas = replicas
        self.servers: list[Server] = []
        self._buses: list[int] = []

    @property
    def url(self) -> str:
        """Where its nodes are."""
        return f"redis+cluster://{','.join(f'127.0.0.1:{one.port}' for one in self.servers)}"

    @property
    def port(self) -> int:
        """The port of its first node."""
        return self.servers[0].port

    def start(self) -> Self:
        """Start all nodes, give them their slots, and wait until each of them calls the Cluster whole."""
        try:
            for _ in range(PRIMARIES * (2 if self._replicas else 1)):
                self.servers.append(self._server().start())
            for one in self.servers[1:]:
                self.ask(one, "CLUSTER", "MEET", "127.0.0.1", self.port, self._buses[0])
            for number, one in enumerate(self.servers[:PRIMARIES]):
                first, last = number * SLOTS // PRIMARIES, (number + 1) * SLOTS // PRIMARIES - 1
                self.ask(one, "CLUSTER", "ADDSLOTSRANGE", first, last)
            for number, one in enumerate(self.servers[PRIMARIES:]):
                self._follow(one, self.servers[number])
            self.wait_until_whole()
        except BaseException:
            self.close()
            raise
        return self

    def _server(self) -> Server:
        fast = ("--repl-diskless-sync-delay", "0", "--cluster-node-timeout", self._timeout)
        self._buses.append(free_port())
        return Server(self.kind, "--cluster-enabled", "yes", "--cluster-port", str(self._buses[-1]), *fast, *self._arguments)

    def client(self, server: Server) -> Any:
        """Return a plain client of one node; close it."""
        return redis.Redis(port=server.port, decode_responses=True, socket_timeout=5)

    def ask(self, server: Server, *words: str | int) -> Any:
        """Send one node a command."""
        with self.client(server) as asked:
            return asked.execute_command(*words)

    def name_of(self, server: Server) -> str:
        """Return a node's id."""
        return str(self.ask(server, "CLUSTER", "MYID"))

    def _follow(self, replica: Server, primary: Server) -> None:
        name, deadline = self.name_of(primary), time.monotonic() + SECONDS
        while True:
            try:
                self.ask(replica, "CLUSTER", "REPLICATE", name)
            except redis.ResponseError:  # they do not know each other yet
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                return

    def living(self) -> list[Server]:
        """Return the nodes that run."""
        return [one for one in self.servers if one.running]

    def primaries(self) -> list[Server]:
        """Return the nodes that call themselves primaries."""
        return [one for one in self.living() if self.ask(one, "ROLE")[0] == "master"]

    def owner(self, slot: int) -> Server:
        """Return the node that has a slot."""
        for found in self.ask(self.living()[0], "CLUSTER", "SLOTS"):
            if found[0] <= slot <= found[1]:
                return next(one for one in self.servers if one.port == found[2][1])
        raise RuntimeError(f"nobody has the slot {slot}")

    def begin_moving(self, slot: int, to: Server) -> Server:
        """Say that a slot is on its way to another node; return who has it."""
        owner = self.owner(slot)
        self.ask(to, "CLUSTER", "SETSLOT", slot, "IMPORTING", self.name_of(owner))
        self.ask(owner, "CLUSTER", "SETSLOT", slot, "MIGRATING", self.name_of(to))
        return owner

    def move_keys(self, slot: int, owner: Server, to: Server) -> int:
        """Bring a slot's keys to the other node; return how many there were."""
        moved = 0
        while found := self.ask(owner, "CLUSTER", "GETKEYSINSLOT", slot, 100):
            self.ask(owner, "MIGRATE", "127.0.0.1", to.port, "", 0, 5000, "KEYS", *found)
            moved += len(found)
        return moved

    def end_moving(self, slot: int, to: Server) -> None:
        """Say that the other node has a slot, first to itself."""
        name = self.name_of(to)
        for one in (to, *[other for other in self.primaries() if other is not to]):
            self.ask(one, "CLUSTER", "SETSLOT", slot, "NODE", name)

    def wait_until_whole(self) -> None:
        """Wait until every living node says that all slots are served, and knows all replicas as linked."""
        deadline = time.monotonic() + SECONDS
        while not all(self._whole(one) for one in self.living()):
            if time.monotonic() > deadline:
                raise RuntimeError("the Cluster does not come together")
            time.sleep(0.05)

    def _whole(self, server: Server) -> bool:
        with self.client(server) as asked:
            text = self._state(server)
            known = f"cluster_known_nodes:{len(self.servers)}"
            if "cluster_state:ok" not in text or "cluster_slots_ok:16384" not in text or known not in text:
                return False
            role = asked.info("replication")
            if role["role"] == "slave":
                return bool(role["master_link_status"] == "up")
            return not self._replicas or role["connected_slaves"] >= 1

    def wait_for_replicas(self) -> None:
        """Return when every primary's replica has everything."""
        deadline = time.monotonic() + SECONDS
        for one in self.primaries():
            while True:
                with self.client(one) as asked:
                    told = asked.info("replication")
                    if told["connected_slaves"] >= 1 and told["slave0"]["offset"] >= told["master_repl_offset"]:
                        break
                if time.monotonic() > deadline:
                    raise RuntimeError("a primary has no replica that follows")
                time.sleep(0.02)

    def kill(self, server: Server) -> float:
        """Kill a primary and wait until another node has its slots and all others know; return how long that took."""
        slot = next(found[0] for found in self.ask(server, "CLUSTER", "SLOTS") if found[2][1] == server.port)
        began = time.monotonic()
        server.signal(signal.SIGKILL)
        server.stop()
        while time.monotonic() - began < SECONDS:
            if self.owner(slot) is not server and all("cluster_state:ok" in self._state(one) for one in self.living()):
                return time.monotonic() - began
            time.sleep(0.02)
        raise RuntimeError("nobody took over")

    def _state(self, server: Server) -> str:
        return str(self.ask(server, "CLUSTER", "INFO"))

    def close(self) -> None:
        """Stop all nodes."""
        for one in self.servers:
            one.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
