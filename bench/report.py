"""From times to figures: medians, ratios taken round by round, goals, a table."""

from __future__ import annotations

import platform
import statistics
from typing import Any

import apsw
import redis
from rich.console import Console
from rich.table import Table

import luni
import peers
from arena import CONCURRENT, Arena

MICRO = 1e6


def result(arena: Arena, times: Any, traffic: Any) -> dict[str, Any]:
    histories = list(arena.plan.histories)
    rows = []
    for (name, history), found in sorted(times.items(), key=lambda item: (item[0][1], item[0][0])):
        median = statistics.median(found)
        row = {
            "lane": name,
            "history": history,
            "us_per_turn": round(median, 1),
            "turns_per_second": round(MICRO / median),
            "rounds_us": [round(value, 1) for value in found],
        }
        row |= {key: round(value, 1) for key, value in traffic.get((name, history), {}).items()}
        rows.append(row)
    return {
        "versions": _versions(arena),
        "rounds": arena.plan.rounds,
        "histories": histories,
        "lanes": rows,
        "ratios": ratios(times, traffic, histories),
        "not_installed": [peers.PEERS[name][0] for name in arena.absent],
    }


def _versions(arena: Arena) -> dict[str, str]:
    info = arena.inspector.client.info("server")
    server = f"valkey {info['valkey_version']}" if "valkey_version" in info else f"redis {info['redis_version']}"
    return {
        "luni": luni.__version__,
        "python": platform.python_version(),
        "redis-py": redis.__version__,
        "sqlite (apsw)": apsw.sqlite_lib_version(),
        "server": server,
    }


def ratio(times: Any, above: tuple[str, int], below: tuple[str, int]) -> float | None:
    """Return the median of the ratios of each round: what disturbs one round disturbs both."""
    if above not in times or below not in times:
        return None
    return statistics.median([a / b for a, b in zip(times[above], times[below], strict=True)])


def ratios(times: Any, traffic: Any, histories: list[int]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []

    def add(what: str, history: int | str, value: float | None, goal: float | None = None, *, at_least: bool = False) -> None:
        if value is None:
            return
        met = None if goal is None else (value >= goal if at_least else value <= goal)
        wanted = "" if goal is None else f"{'≥' if at_least else '≤'} {goal:g}"
        found.append({"what": what, "history": history, "value": round(value, 3), "goal": wanted, "met": met})

    for history in histories:
        add("luni / floor, sync", history, ratio(times, ("luni", history), ("floor", history)), 1.35)
        for concurrent in CONCURRENT:
            goal = 1.5 if concurrent == max(CONCURRENT) else None
            lanes = (f"floor async {concurrent}", history), (f"luni async {concurrent}", history)
            add(
                f"luni's turns a second / bare asyncio's, {concurrent} at once",
                history,
                ratio(times, *lanes),
                goal,
                at_least=True,
            )
        add("luni / bare sqlite3", history, ratio(times, ("luni sqlite", history), ("floor sqlite", history)), 2.0)
        _add_peers(add, times, history)
        counted = traffic["luni", history]
        add("round trips a turn", history, counted["evalsha_calls"], 2.0)
        counted = traffic["floor", history]  # what luni sent in the rehearsal, and the messages of those very turns
        besides = counted["bytes_in"] + counted["bytes_out"] - counted["message_bytes"]
        add("bytes a turn besides the messages (as stored)", history, besides, 3500)
        besides = counted["bytes_in"] + counted["bytes_out"] - counted["text_bytes"]
        add("bytes a turn besides the messages' texts", history, besides)
    if len(histories) > 1:
        ends = f"{histories[-1]} / {histories[0]}"
        for name in ("luni", "luni async 64", "luni sqlite"):
            goal = 1.1 if name == "luni" else None
            add(f"flatness, {name}", ends, ratio(times, (name, histories[-1]), (name, histories[0])), goal)
    return found


def _add_peers(add: Any, times: Any, history: int) -> None:
    """The fastest peer against luni with its prompt rendered, for that is what a peer's turn gives."""
    there = [name for name in peers.ON_REDIS if (name, history) in times]
    if there:
        fastest = min(there, key=lambda name: statistics.median(times[name, history]))
        value = ratio(times, (fastest, history), ("luni+prompt", history))
        add(f"fastest peer on Redis ({fastest}) / luni", history, value, 2.0 if history == 20 else None, at_least=True)
    value = ratio(times, ("agents-sqlite", history), ("luni sqlite", history))
    add("agents-sqlite / luni on SQLite", history, value)


def show(found: dict[str, Any], console: Console) -> None:
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    console.print(f"{versions}; medians of {found['rounds']} rounds, interleaved")
    table = Table(title="A turn")
    for title in ("lane", "history", "µs", "turns/s", "evalsha", "server µs", "bytes sent", "bytes got", "bytes stored"):
        table.add_column(title, justify="left" if title == "lane" else "right", no_wrap=title == "lane")
    for row in found["lanes"]:
        more = [row.get(key, "") for key in ("evalsha_calls", "server_us", "bytes_in", "bytes_out", "stored_bytes")]
        table.add_row(*map(str, (row["lane"], row["history"], row["us_per_turn"], row["turns_per_second"], *more)))
    console.print(table)
    table = Table(title="Ratios, round by round")
    for title in ("what", "history", "value", "goal", ""):
        table.add_column(title, justify="left" if title == "what" else "right")
    for row in found["ratios"]:
        met = "" if row["met"] is None else "[green]met[/]" if row["met"] else "[red]missed[/]"
        table.add_row(row["what"], str(row["history"]), f"{row['value']:,.2f}", row["goal"], met)
    console.print(table)
    for name in found["not_installed"]:
        console.print(f"{name}: not installed")
