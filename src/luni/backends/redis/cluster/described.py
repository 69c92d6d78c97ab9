"""What the nodes of a Cluster tell about themselves, for `luni doctor`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from luni.backends.redis.cluster.chains import Node
from luni.backends.redis.info import described

__all__ = ["described_cluster"]


def described_cluster(
    place: str, infos: Mapping[Node, bytes], saves: Mapping[Node, list[bytes]], syncs: Mapping[Node, list[bytes]]
) -> dict[str, Any]:
    """Return what matters of all primaries' ``INFO`` and configuration (missing: not permitted): the weakest decides."""
    told = {node: saves[node] + syncs[node] for node in infos if node in saves and node in syncs}
    found = [described(place, info, told.get(node)) for node, info in infos.items()]
    weakest = min(found, key=lambda one: (one["eviction"] == "noeviction", one["append_only_file"], one["replicas"]))
    losses = list(dict.fromkeys(one["lost_on_power_failure"] for one in found))
    return weakest | {
        "mode": "cluster",
        "nodes": [f"{host}:{port}" for host, port in infos],
        "memory_used": " + ".join(one["memory_used"] for one in found),
        "append_only_file": all(one["append_only_file"] for one in found),
        "replicas": min(one["replicas"] for one in found),
        "lost_on_power_failure": "; ".join(losses),
    }
