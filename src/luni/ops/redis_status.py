"""What servers say of themselves, for `luni redis status`: one server, or all primaries of a Cluster and their sum."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import redis

from luni.backends.redis.errors import reason
from luni.errors import Unavailable

__all__ = ["ClusterStatus", "ServerStatus", "status", "status_of_all", "version_of"]


class ServerStatus(msgspec.Struct, frozen=True):
    """What a server says of itself.

    ``hit_rate_pct`` is ``None`` where nothing was looked up yet, ``memory_pct`` without a limit.
    """

    place: str
    server: str
    uptime_seconds: int
    keys: int
    connected_clients: int
    memory_bytes: int
    memory_limit_bytes: int
    memory_pct: float | None
    hits: int
    misses: int
    hit_rate_pct: float | None
    evicted_keys: int
    eviction: str
    append_only_file: bool
    append_only_ok: bool
    kind: str = ""


class ClusterStatus(ServerStatus, frozen=True):
    """What the primaries of a Cluster say of themselves, one by one in ``nodes``, and together.

    Keys, clients, memory, evictions and look-ups are sums, and so is the limit if every node has one. ``memory_pct`` is the
    fullest node's, ``uptime_seconds`` the latest started one's. The append-only file is on, and well, if it is so everywhere.
    """

    nodes: tuple[ServerStatus, ...] = ()


def status(place: str, client: Any, *, kind: str = "") -> ServerStatus:
    """Return what a server says of itself."""
    try:
        info, keys = client.info(), client.dbsize()
    except redis.RedisError as error:
        raise Unavailable(f"the server at {place} does not answer: {reason(error)}") from None
    hits, misses = int(info.get("keyspace_hits", 0)), int(info.get("keyspace_misses", 0))
    used, limit = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    return ServerStatus(
        place=place, server=version_of(info),
        uptime_seconds=int(info.get("uptime_in_seconds", 0)), keys=int(keys),
        connected_clients=int(info.get("connected_clients", 0)), memory_bytes=used, memory_limit_bytes=limit,
        memory_pct=round(100 * used / limit, 1) if limit else None,
        hits=hits, misses=misses, hit_rate_pct=_rate(hits, misses),
        evicted_keys=int(info.get("evicted_keys", 0)), eviction=str(info.get("maxmemory_policy", "unknown")),
        append_only_file=bool(info.get("aof_enabled")),
        append_only_ok=info.get("aof_last_write_status", "ok") == "ok", kind=kind,
    )  # fmt: skip


def version_of(info: Mapping[str, Any]) -> str:
    """Return what a server is, and its version, by what it says of itself."""
    name = "valkey" if "valkey_version" in info else "redis"
    return f"{name} {info.get(f'{name}_version', 'of unknown version')}"


def status_of_all(place: str, clients: Mapping[str, Any]) -> ClusterStatus:
    """Return what all primaries of a Cluster say of themselves; raise `Unavailable` if one of them says nothing."""
    nodes = [status(name, client) for name, client in clients.items()]
    hits, misses = sum(one.hits for one in nodes), sum(one.misses for one in nodes)
    limited = all(one.memory_limit_bytes for one in nodes)
    return ClusterStatus(
        place=place, server=_each(one.server for one in nodes), uptime_seconds=min(one.uptime_seconds for one in nodes),
        keys=sum(one.keys for one in nodes), connected_clients=sum(one.connected_clients for one in nodes),
        memory_bytes=sum(one.memory_bytes for one in nodes),
        memory_limit_bytes=sum(one.memory_limit_bytes for one in nodes) if limited else 0,
        memory_pct=max((one.memory_pct for one in nodes if one.memory_pct is not None), default=None),
        hits=hits, misses=misses, hit_rate_pct=_rate(hits, misses),
        evicted_keys=sum(one.evicted_keys for one in nodes), eviction=_each(one.eviction for one in nodes),
        append_only_file=all(one.append_only_file for one in nodes), append_only_ok=all(one.append_only_ok for one in nodes),
        kind="cluster", nodes=tuple(nodes),
    )  # fmt: skip


def _rate(hits: int, misses: int) -> float | None:
    return round(100 * hits / (hits + misses), 1) if hits + misses else None


def _each(texts: Iterable[str]) -> str:
    """Return what differs, each once."""
    return ", ".join(sorted(set(texts)))
