"""What keeping 10 000 turns open costs: CPU of this process and of the server, at the default lease (60 s).

``python bench/renewals.py [--turns N] [--seconds S] [--json]`` — every turn is renewed each 20 s, so 25 s see all of them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from luni import AsyncMemory, Memory
from luni.testing.servers import Server

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_of(pid: int) -> float:
    """Seconds of CPU a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def measured(lost: Any, seconds: float, server: int | None) -> dict[str, float]:
    """Sleep, and return shares of a core."""
    began, cpu, served = time.monotonic(), time.process_time(), cpu_of(server) if server else 0.0
    time.sleep(seconds)
    wall = time.monotonic() - began
    used, served = time.process_time() - cpu, cpu_of(server) - served if server else 0.0
    return {"client_pct": 100 * used / wall, "server_pct": 100 * served / wall, "lost": lost()}


def plain(url: str, turns: int, seconds: float, server: int | None) -> dict[str, float]:
    """The synchronous client."""
    with Memory.open(url, namespace="renewals") as memory:
        held = [
            memory.session(tenant="shop", channel="web", user=f"u{n}").turn("hi", message_id="1").open() for n in range(turns)
        ]
        return measured(lambda: sum(turn.lost for turn in held), seconds, server)


async def on_a_loop(url: str, turns: int, seconds: float, server: int | None) -> dict[str, float]:
    """The asynchronous client."""
    async with AsyncMemory.open(url, namespace="renewals-async") as memory:
        held = []
        for begin in range(0, turns, 50):
            sessions = [memory.session(tenant="shop", channel="web", user=f"u{n}") for n in range(begin, begin + 50)]
            held += await asyncio.gather(*(session.turn("hi", message_id="1").open() for session in sessions))
        began, cpu, served = time.monotonic(), time.process_time(), cpu_of(server) if server else 0.0
        await asyncio.sleep(seconds)
        wall = time.monotonic() - began
        used, served = time.process_time() - cpu, cpu_of(server) - served if server else 0.0
        return {"client_pct": 100 * used / wall, "server_pct": 100 * served / wall, "lost": sum(turn.lost for turn in held)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=25.0)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    found = {}
    with Server("valkey") as server:
        found["valkey, sync"] = plain(server.url, asked.turns, asked.seconds, server.pid)
        found["valkey, async"] = asyncio.run(on_a_loop(server.url, asked.turns, asked.seconds, server.pid))
    with tempfile.TemporaryDirectory() as folder:
        found["sqlite, sync"] = plain(f"sqlite:///{folder}/a.db", asked.turns, asked.seconds, None)
    if asked.json:
        print(json.dumps(found))
        return
    for name, row in found.items():
        print(f"{name:14} client {row['client_pct']:5.2f} % · server {row['server_pct']:5.2f} % of a core · {row['lost']} lost")


if __name__ == "__main__":
    main()
