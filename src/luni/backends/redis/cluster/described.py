"""What the nodes of a Cluster tell about themselves, for `luni doctor`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from luni.backends.redis.cluster.chains import Node
from luni.backends.redis.info import described

__all__ = ["described_cluster"]


def described_cluster(
    place: str, nodes: Sequence[Node], infos: Sequence[bytes], configs: Sequence[list[bytes]]
) -> dict[str, Any]:
    """Return what matters of all primaries' ``INFO`` and configuration (empty: not permitted): the weakest decides."""
    told: list[list[bytes] | None] = [*configs] if configs else [None for _ in infos]
    found = [described(place, info, config) for info, config in zip(infos, told, strict=True)]
    weakest = min(found, key=lambda one: (one["eviction"] == "noeviction", one["append_only_file"], one["replicas"]))
    losses = list(dict.fromkeys(one["lost_on_power_failure"] for one in found))
    return weakest | {
        "mode": "cluster",
        "nodes": [f"{host}:{port}" for host, port in nodes],
        "memory_used": " + ".join(one["memory_used"] for one in found),
        "append_only_file": all(one["append_only_file"] for one in found),
        "replicas": min(one["replicas"] for one in found),
        "lost_on_power_failure": "; ".join(losses),
    }
