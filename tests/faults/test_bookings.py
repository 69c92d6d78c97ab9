"""50 000 booking attempts through faults: no overlap in any read, and nothing that was acknowledged is lost."""

from __future__ import annotations

import random
import sys
from collections import Counter

import pytest
from booking_worker import DAY, QUARTER, quarters
from crew import Crew, Nemesis, rampage
from histories import acknowledged, certain_overlaps, lost, overlapping, overlaps_in_reads, read, vanished

from luni import Memory
from luni.backends.redis.scripts import SCRIPTS

PROCESSES, ATTEMPTS, FAULTS = 8, 50_000, 60
BUSY = {
    "resources": 40, "quarters": 90, "ttls": [0.3, 5, 60], "changes": 0.8, "keeps": 20, "lingers": 0.001,
    "reads": 0.02, "pause": 0.002,
}  # fmt: skip
LOST = tuple(SCRIPTS[name].sha for name in ("hold", "confirm", "cancel", "move"))


def stored_at_the_end(url, namespace):
    """Everything confirmed that is there, and a look through every resource."""
    stored = {}
    with Memory.open(url, namespace=namespace, timeout=20.0) as memory:
        for resource in memory.resources("shop"):
            found = memory.agenda("shop", resource).bookings(DAY, DAY + QUARTER * 100)
            assert overlapping([(one.start, one.end) for one in found]) == []
            stored |= {
                (resource, one.id): (quarters(one.start), quarters(one.end)) for one in found if one.state == "confirmed"
            }
    return stored


def check(history, url, namespace, told):
    stored = stored_at_the_end(url, namespace)
    outcomes = Counter(op.outcome for op in history if op.kind == "hold")
    assert sum(outcomes.values()) >= told["attempts"]
    assert outcomes["ok"] > 0.05 * told["attempts"]
    assert outcomes["taken"] > 0.05 * told["attempts"]
    assert overlaps_in_reads(history) == []
    assert certain_overlaps(history) == []
    assert lost(history, stored) == []
    looked, gone = vanished(history)
    assert gone == []
    sure = sum(None not in may for may in acknowledged(history).values())
    assert looked > 0.05 * told["attempts"]
    assert sure > 100
    reads = sum(op.kind == "read" for op in history)
    sys.stderr.write(
        f"{sum(outcomes.values())} attempts {dict(outcomes)}, {reads} reads: 0 overlaps; {looked} bookings come back to and "
        f"{sure} left at the end: 0 lost; faults {told['faults']}\n"
    )


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["valkey", "redis"])
def test_no_overlap_and_nothing_lost_on_a_server_that_is_killed_paused_and_cut_off(
    own_server, proxy_to, namespace, tmp_path, many, kind
):
    server = own_server("--appendonly", "yes", "--appendfsync", "everysec", kind=kind)
    proxy = proxy_to(server)
    each = many.of(ATTEMPTS) // PROCESSES // (1 if kind == "valkey" else 5)
    crew = Crew("book", [server.url, proxy.url] * (PROCESSES // 2), namespace, tmp_path, each=each, **BUSY)
    nemesis = Nemesis(crew, random.Random(7), server=server, proxy=proxy, lost=LOST)
    rampage(crew, nemesis, faults=many.of(FAULTS) if kind == "valkey" else 12, pause=(0.1, 0.4), seconds=many.of(500))
    check(read(tmp_path), server.url, namespace, {"attempts": PROCESSES * each, "faults": dict(nemesis.done)})


@pytest.mark.timeout(600)
def test_no_overlap_and_nothing_lost_on_one_file_whose_clients_are_killed(tmp_path, many):
    url, each = f"sqlite:///{tmp_path / 'm.db'}", many.of(ATTEMPTS) // PROCESSES
    folder = tmp_path / "histories"
    folder.mkdir()
    crew = Crew("book", [url] * PROCESSES, "luni", folder, each=each, **BUSY)
    nemesis = Nemesis(crew, random.Random(8))
    rampage(crew, nemesis, faults=many.of(FAULTS), pause=(0.1, 0.4), seconds=many.of(500))
    check(read(folder), url, "luni", {"attempts": PROCESSES * each, "faults": dict(nemesis.done)})
