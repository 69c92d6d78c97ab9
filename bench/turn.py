"""What one turn costs: luni beside a bare client doing the same work, and beside its peers, in one run.

python bench/turn.py [--quick] [--server valkey|redis|URL] [--json]
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import sys
import time
from collections import defaultdict
from typing import Any

from rich.console import Console
from rich.progress import Progress

import report
from arena import Arena, Plan
from lanes import Lane

FULL = Plan(histories=(20, 200, 2000), rounds=9)
QUICK = Plan(histories=(20, 200), rounds=5, each=10)

Times = dict[tuple[str, int], list[float]]


def measure(arena: Arena, progress: Progress) -> Times:
    """Time every lane once a round, in another order each round; the first round only warms up."""
    times: Times = defaultdict(list)
    order = list(arena.lanes)
    task = progress.add_task("measuring", total=(arena.plan.rounds + 1) * len(order))
    gc.collect()
    gc.freeze()  # what was prepared is nobody's garbage
    for number in range(arena.plan.rounds + 1):
        random.shuffle(order)
        for lane in order:
            seconds = timed(lane)
            if number:
                times[lane.name, lane.history].append(1e6 * seconds / lane.turns)
            progress.advance(task)
    return times


def timed(lane: Lane) -> float:
    lane.rewind()
    gc.collect()
    began = time.perf_counter()
    lane.run()
    return time.perf_counter() - began


def traffic(arena: Arena) -> dict[tuple[str, int], dict[str, float]]:
    """Let every lane on the server run once more, alone, and read what the server counted."""
    found = {}
    for lane in arena.lanes:
        if not lane.patterns:
            continue
        lane.rewind()
        stored = arena.inspector.stored_bytes(lane.patterns)
        before = arena.inspector.begin()
        lane.run()
        done = arena.inspector.end(before)
        per = {
            "evalsha_calls": done.evalsha / lane.turns,
            "server_us": done.evalsha_us / lane.turns,
            "bytes_in": done.bytes_in / lane.turns,
            "bytes_out": done.bytes_out / lane.turns,
            "stored_bytes": stored,
        }
        found[lane.name, lane.history] = per
    for history, bare in arena.floors.items():
        lane = next(lane for lane in arena.lanes if (lane.name, lane.history) == ("floor", history))
        lane.rewind()
        said, whole = bare.message_bytes()
        found["floor", history] |= {"text_bytes": said / lane.turns, "message_bytes": whole / lane.turns}
    return found


def parsed(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", default="valkey", help="valkey, redis, or the URL of a server for this alone")
    parser.add_argument("--quick", action="store_true", help="20 and 200 messages, five rounds")
    parser.add_argument("--rounds", type=int, help="how many rounds (at least five count)")
    parser.add_argument("--history", type=int, action="append", help="messages of history; may be given several times")
    parser.add_argument("--no-peers", action="store_true", help="luni and the floor alone")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args(arguments)


def planned(options: argparse.Namespace) -> Plan:
    plan = QUICK if options.quick else FULL
    changes: dict[str, Any] = {"rounds": options.rounds} if options.rounds else {}
    if options.history:
        changes["histories"] = tuple(sorted(options.history))
    if options.no_peers:
        changes["peers"] = ()
    return plan._replace(**changes)


def main(arguments: list[str]) -> int:
    options = parsed(arguments)
    errors = Console(stderr=True)
    with Progress(console=errors, transient=True) as progress:
        task = progress.add_task("preparing", total=None)
        with Arena(planned(options), options.server, lambda text: progress.update(task, description=text)) as arena:
            progress.remove_task(task)
            times = measure(arena, progress)
            result = report.result(arena, times, traffic(arena))
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        report.show(result, Console())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
