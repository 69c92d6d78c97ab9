"""Which node has which slot of a Cluster."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlsplit

from luni.backends.redis.cluster.chains import Node
from luni.errors import ConfigError

__all__ = ["SCHEMES", "Slots", "node_url", "seeds_of"]

SCHEMES = {"redis+cluster": "redis", "valkey+cluster": "redis", "rediss+cluster": "rediss", "valkeys+cluster": "rediss"}
SLOTS = 16384
PORT = 6379
REFRESH_SECONDS = 0.2
"""The map is not asked for more often than that, whatever the nodes refuse."""


def seeds_of(url: str) -> list[Node]:
    """Return the nodes a URL names; raise `ConfigError` if it is not ``redis+cluster://[user:password@]host[:port][,…]``."""
    try:
        parts = urlsplit(url)
        seeds = [_node(one) for one in parts.netloc.rpartition("@")[2].split(",")]
    except ValueError:
        seeds = []
    if not seeds or parts.path.strip("/") not in {"", "0"}:
        raise ConfigError(
            "allowed is redis+cluster://[user:password@]host[:port][,host[:port]…]; a Cluster has no other databases"
        )
    return seeds


def _node(text: str) -> Node:
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError(text)
    return parts.hostname, parts.port or PORT


def node_url(url: str, node: Node) -> str:
    """Return the URL of one node, with the credentials and options of the Cluster's."""
    parts = urlsplit(url)
    credentials, at, _ = parts.netloc.rpartition("@")
    host = f"[{node[0]}]" if ":" in node[0] else node[0]
    query = f"?{parts.query}" if parts.query else ""
    return f"{SCHEMES[parts.scheme]}://{credentials}{at}{host}:{node[1]}/0{query}"


class Slots:
    """The slot map, as the nodes told it last. It may be stale: a node says where a slot is if it has it no more."""

    def __init__(self, seeds: list[Node]) -> None:
        self._seeds = seeds
        self._owners: list[Node | None] = [None] * SLOTS
        self._nodes: list[Node] = []
        self._silent: dict[Node, float] = {}
        self._stale, self._loaded_at = True, -REFRESH_SECONDS

    @property
    def due(self) -> bool:
        """Whether the map is to be asked for before anything is sent."""
        return self._stale and time.monotonic() - self._loaded_at >= REFRESH_SECONDS

    @property
    def known(self) -> bool:
        """Whether there is a map at all."""
        return bool(self._nodes)

    def owner(self, slot: int) -> Node | None:
        """Return the primary that has a slot, if one is known."""
        return self._owners[slot]

    def primaries(self) -> list[Node]:
        """Return the primaries, each once."""
        return list(dict.fromkeys(node for node in self._owners if node is not None))

    def to_ask(self) -> list[Node]:
        """Return whom to ask for the map, those that were silent lately last."""
        return sorted(
            dict.fromkeys((*self.primaries(), *self._nodes, *self._seeds)), key=lambda one: self._silent.get(one, 0.0)
        )

    def doubt(self, node: Node | None = None) -> None:
        """Something is not where the map says, or ``node`` does not answer: ask for the map before the next call."""
        self._stale = True
        if node is not None:
            self._silent[node] = time.monotonic()

    def note_moved(self, slot: int, node: Node) -> None:
        """One slot is elsewhere, and so may be others."""
        self._owners[slot], self._stale = node, True

    def load(self, reply: list[Any], asked: Node) -> bool:
        """Take the reply to ``CLUSTER SLOTS``; return whether it names any slot."""
        self._stale, self._loaded_at = False, time.monotonic()
        if not reply:
            self._stale = True
            return False
        owners: list[Node | None] = [None] * SLOTS
        nodes = []
        for first, last, *found in reply:
            placed = [(_host(host) or asked[0], int(port)) for host, port, *_ in found]
            nodes += placed
            owners[first : last + 1] = [placed[0]] * (last + 1 - first)
        self._owners, self._nodes = owners, list(dict.fromkeys(nodes))
        self._silent = {node: when for node, when in self._silent.items() if node in self._nodes}
        self._stale = None in owners
        return True


def _host(value: bytes | None) -> str:
    """Return a node's name; empty where it does not know how others call it."""
    name = value.decode() if value else ""
    return "" if name == "?" else name
