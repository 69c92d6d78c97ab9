"""Locks and bookings against the bare scripts, and against redis-py's own ``Lock``, side by side in one run.

``python bench/locks.py [--rounds N] [--each N] [--json]`` — a real Valkey on loopback, and SQLite on disk. In each round every
lane does the same number of pairs, one after the other; the figures are medians of the rounds, and of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import msgspec
import redis

from luni import Memory
from luni import operations as ops
from luni.backends.redis.codec import encode
from luni.testing.servers import Server

NAMESPACE = "bench"
BEGIN = datetime(2031, 1, 1, tzinfo=UTC)
SLOT = timedelta(minutes=30)
A_YEAR = 365 * 24
"""Bookings of a year in which every other half hour is taken."""

numbers = count()


def bare(client: Any, operation: ops.Operation) -> Any:
    """Send what luni would send, with the plain client."""
    call = encode(NAMESPACE, operation)
    return client.evalsha(call.script.sha, len(call.keys), *call.keys, *call.args)


def luni_lock(memory: Memory) -> None:
    memory.lock("shop", "till").acquire().release()


def bare_lock(client: Any) -> None:
    place, owner = ops.Place("shop", "till"), f"w.{next(numbers)}"
    found = bare(client, ops.Lock(place=place, owner=owner, ttl_ms=30_000))
    bare(client, ops.Unlock(place=place, owner=owner, token=int(found[1])))


def driver_lock(client: Any) -> None:
    lock = client.lock("bench-lock", timeout=30, blocking=False)
    lock.acquire()
    lock.release()


def luni_booking(memory: Memory) -> None:
    agenda, number = memory.agenda("shop", "chair"), next(numbers)
    held = agenda.hold(BEGIN + number * SLOT, BEGIN + (number + 1) * SLOT, by="ana", id=f"b{number}")
    agenda.confirm(held.id)


def bare_booking(client: Any) -> None:
    number = next(numbers)
    start = round((BEGIN + number * SLOT).timestamp()) * 1_000_000
    hold = ops.Hold(
        writer="w", seq=2 * number + 1, tenant="shop", id=f"b{number}", shares=(ops.Share("chair"),), grace_ms=1000,
        guard="chair", start_us=start, end_us=start + 1_800_000_000, hold_ms=300_000, by="ana",
    )  # fmt: skip
    bare(client, hold)
    fields = {name: getattr(hold, name) for name in ops.Confirm.__struct_fields__}
    bare(client, msgspec.structs.replace(ops.Confirm(**fields), seq=2 * number + 2))


def timed(deed: Callable[[], None], each: int) -> float:
    """Return µs a pair."""
    began = time.perf_counter()
    for _ in range(each):
        deed()
    return 1e6 * (time.perf_counter() - began) / each


def fill_a_year(memory: Memory) -> None:
    agenda = memory.agenda("year", "chair")
    for number in range(A_YEAR):
        start = BEGIN + 2 * number * SLOT
        agenda.confirm(agenda.hold(start, start + SLOT, by="ana").id)


def free(memory: Memory, days: int) -> float:
    """Return ms for what is free within so many days of the full year."""
    agenda = memory.agenda("year", "chair")
    took = []
    for _ in range(7):
        began = time.perf_counter()
        found = agenda.free(BEGIN, BEGIN + timedelta(days=days), duration=SLOT)
        took.append(1e3 * (time.perf_counter() - began))
        assert len(found) == 24 * days
    return statistics.median(took)


def lanes(memory: Memory, client: Any, embedded: Memory) -> Iterator[tuple[str, Callable[[], None]]]:
    yield "acquire+release, luni on Valkey", lambda: luni_lock(memory)
    yield "acquire+release, the bare scripts", lambda: bare_lock(client)
    yield "acquire+release, redis-py's Lock", lambda: driver_lock(client)
    yield "acquire+release, luni on SQLite", lambda: luni_lock(embedded)
    yield "hold+confirm, luni on Valkey", lambda: luni_booking(memory)
    yield "hold+confirm, the bare scripts", lambda: bare_booking(client)
    yield "hold+confirm, luni on SQLite", lambda: luni_booking(embedded)


RATIOS = (
    ("acquire+release, luni on Valkey", "acquire+release, the bare scripts"),
    ("acquire+release, luni on Valkey", "acquire+release, redis-py's Lock"),
    ("hold+confirm, luni on Valkey", "hold+confirm, the bare scripts"),
)


def measure(rounds: int, each: int) -> dict[str, Any]:
    with Server("valkey") as server, tempfile.TemporaryDirectory() as folder:
        client = redis.Redis(port=server.port)
        with Memory.open(server.url, namespace=NAMESPACE) as memory, Memory.open(f"sqlite:///{folder}/m.db") as embedded:
            found: dict[str, list[float]] = {}
            for _ in range(rounds + 1):  # the first one warms up
                for name, deed in lanes(memory, client, embedded):
                    found.setdefault(name, []).append(timed(deed, each))
            took = {name: rows[1:] for name, rows in found.items()}
            fill_a_year(memory)
            fill_a_year(embedded)
            years = {
                f"free of {days} days in a year of {A_YEAR:,} bookings, {where}": free(one, days)
                for where, one in (("Valkey", memory), ("SQLite", embedded))
                for days in (7, 365)
            }
        client.close()
    return {
        "microseconds": {name: statistics.median(rows) for name, rows in took.items()},
        "ratios": {f"{a} / {b}": statistics.median(x / y for x, y in zip(took[a], took[b], strict=True)) for a, b in RATIOS},
        "free_ms": years,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--each", type=int, default=500)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    found = measure(asked.rounds, asked.each)
    if asked.json:
        print(json.dumps(found))
        return
    for name, us in found["microseconds"].items():
        print(f"{name:38} {us:8.0f} µs")
    for name, ratio in found["ratios"].items():
        print(f"{name:76} {ratio:6.2f}")
    for name, ms in found["free_ms"].items():
        print(f"{name:60} {ms:8.2f} ms")


if __name__ == "__main__":
    main()
