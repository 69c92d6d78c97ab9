"""What a server tells about itself, for `luni doctor`."""

from __future__ import annotations

from typing import Any

__all__ = ["described"]


def described(place: str, info: bytes, config: list[bytes] | None) -> dict[str, Any]:
    """Return what matters of the replies to ``INFO`` and ``CONFIG GET save appendfsync`` (``None``: not permitted)."""
    pairs = dict(line.split(":", 1) for line in info.decode("utf-8", "replace").splitlines() if ":" in line)
    server = "valkey" if "valkey_version" in pairs else "redis"
    return {
        "backend": "redis",
        "place": place,
        "server": f"{server} {pairs.get(f'{server}_version', 'of unknown version')}",
        "mode": pairs.get("redis_mode") or pairs.get("server_mode") or "unknown",
        "memory_used": pairs.get("used_memory_human", "unknown"),
        "eviction": pairs.get("maxmemory_policy", "unknown"),
        "append_only_file": pairs.get("aof_enabled") == "1",
        "replicas": int(pairs.get("connected_slaves", "0")),
        "lost_on_power_failure": _loss(pairs, config),
    }


def _loss(pairs: dict[str, str], config: list[bytes] | None) -> str:
    known = {} if config is None else dict(zip(config[::2], config[1::2], strict=True))
    if pairs.get("aof_enabled") == "1":
        kept = "nothing" if known.get(b"appendfsync") == b"always" else "up to the last second of acknowledged turns"
        return kept if known else "at most what appendfsync allows (the server hides its setting)"
    changes = pairs.get("rdb_changes_since_last_save", "an unknown number of")
    if known.get(b"save") == b"":
        return "everything: neither the append-only file nor snapshots are on"
    return f"everything since the last snapshot (now {changes} changes): the append-only file is off"
