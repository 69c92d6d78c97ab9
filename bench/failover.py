"""What a fallback costs while the server is well: turns with it beside turns without, interleaved in one run.

python bench/failover.py [--rounds N] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from luni import AsyncMemory, Memory
from luni.testing.servers import Server

NUMBERS = itertools.count()
EACH, CONVERSATIONS = 300, 16


def sync_turns(memory: Memory) -> float:
    sessions = [memory.session(tenant="bench", channel="web", user=f"s{number}") for number in range(CONVERSATIONS)]
    began = time.perf_counter()
    for number in range(EACH):
        with sessions[number % CONVERSATIONS].turn("Oi, tem horário amanhã às 15h?", message_id=f"m{next(NUMBERS)}") as turn:
            turn.reply("Tem sim! Posso marcar?")
    return 1e6 * (time.perf_counter() - began) / EACH


async def async_turns(memory: AsyncMemory) -> float:
    sessions = [memory.session(tenant="bench", channel="web", user=f"a{number}") for number in range(64)]

    async def talk(session: object) -> None:
        for _ in range(10):
            async with session.turn("Oi, tem horário amanhã às 15h?", message_id=f"m{next(NUMBERS)}") as turn:  # type: ignore[attr-defined]
                await turn.reply("Tem sim! Posso marcar?")

    began = time.perf_counter()
    await asyncio.gather(*map(talk, sessions))
    return 1e6 * (time.perf_counter() - began) / 640


def measure(rounds: int) -> dict[str, float]:
    found: dict[str, list[float]] = {name: [] for name in ("sync plain", "sync fallback", "async plain", "async fallback")}
    with Server() as server, tempfile.TemporaryDirectory() as folder:
        fallback = f"sqlite:///{Path(folder) / 'local.db'}"
        with Memory.open(server.url) as plain, Memory.open(server.url, fallback=fallback) as both:
            for number in range(rounds + 1):
                pair = [("sync plain", plain), ("sync fallback", both)]
                for name, memory in pair if number % 2 else pair[::-1]:
                    seconds = sync_turns(memory)
                    if number:
                        found[name].append(seconds)

        async def run() -> None:
            async with AsyncMemory.open(server.url) as one, AsyncMemory.open(server.url, fallback=fallback) as two:
                for number in range(rounds + 1):
                    couple = [("async plain", one), ("async fallback", two)]
                    for name, memory in couple if number % 2 else couple[::-1]:
                        took = await async_turns(memory)
                        if number:
                            found[name].append(took)

        asyncio.run(run())
    result = {name: round(statistics.median(times), 1) for name, times in found.items()}
    for kind in ("sync", "async"):
        ratios = [b / a for a, b in zip(found[f"{kind} plain"], found[f"{kind} fallback"], strict=True)]
        result[f"{kind} ratio"] = round(statistics.median(ratios), 3)
    return result


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    result = measure(options.rounds)
    if options.json:
        print(json.dumps(result))
    else:
        for name, value in result.items():
            print(f"{name:16} {value:9,.3f}" + ("" if "ratio" in name else " µs a turn"))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
