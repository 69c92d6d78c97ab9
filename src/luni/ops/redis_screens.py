"""What people read of a server of their own: what was set up, what it says of itself, what was removed."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from luni.ops.redis_setup import Cleaned, Ready
from luni.ops.redis_status import ClusterStatus, ServerStatus
from luni.ops.screens import MINUTE, ago, amount, facts, figure, heading, next_steps, plain, section

__all__ = ["cleaned", "ready", "status"]


def ready(found: Ready) -> RenderableType:
    """Return what a set-up made."""
    grid = facts()
    grid.add_row(
        "listens on", figure(f"127.0.0.1:{found.port}", "this machine only, with a password of its own; --port chooses another")
    )
    grid.add_row("runs as", Text(f"{found.kind}: {plain(found.program)}"))
    grid.add_row("its files", Text(plain(found.data)))
    env = {"written": "has its URL", "unchanged": "has its URL already", "kept": "was left alone: --force writes its URL there"}
    grid.add_row("env file", figure(plain(found.env_file), env[found.env]))
    title = ("✓ ready", "bold green") if found.made else ("✓ running", "bold green")
    return Group(
        Text.assemble(title), section(grid), Text(), next_steps("luni redis status", "luni doctor", "luni redis cleanup")
    )


def status(found: ServerStatus) -> RenderableType:
    """Return what a server says of itself."""
    grid = facts()
    nodes = found.nodes if isinstance(found, ClusterStatus) else ()
    used = f"of {amount(found.memory_limit_bytes)} · {found.memory_pct} %{' at the fullest' if nodes else ''}"
    limit = used if found.memory_limit_bytes else "without a limit"
    grid.add_row("memory", figure(amount(found.memory_bytes), limit))
    rate = "no data" if found.hit_rate_pct is None else f"{found.hit_rate_pct} %"
    grid.add_row("hit rate", figure(rate, "of the server's own look-ups since it started"))
    kept = "on" if found.append_only_file else "off: a restart loses what is not in a snapshot"
    grid.add_row("append-only file", Text(kept if found.append_only_ok else "FAILING: the last write was refused"))
    grid.add_row("evictions", figure(f"{found.evicted_keys:,}", f"policy {plain(found.eviction)}"))
    grid.add_row("clients", Text(f"{found.connected_clients:,}"))
    grid.add_row("keys", Text(f"{found.keys:,}"))
    up = "just started" if found.uptime_seconds < MINUTE else f"up for {ago(found.uptime_seconds).removesuffix(' ago')}"
    top = heading(plain(found.server), f"{plain(_place_of(found.place))} · {up}")
    return Group(top, section(grid), *[status(one) for one in nodes])


def _place_of(place: str) -> str:
    return place.rpartition("@")[2]


def cleaned(found: Cleaned) -> RenderableType:
    """Return what was removed."""
    parts = ["Stopped the server." if found.stopped else "It was not running."]
    parts.append(
        "Removed its data and its files." if found.data_removed else "Its data is kept: luni redis setup starts it again."
    )
    if found.env_lines_removed:
        parts.append(f"Removed {' and '.join(found.env_lines_removed)} from the env file.")
    if found.fallback_removed:
        parts.append(f"Removed this host's own copy of its data: {plain(', '.join(found.fallback_removed))}.")
    return Text(" ".join(parts))
