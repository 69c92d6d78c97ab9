"""Recorded histories of one resource have an order that explains every answer; and the checker sees when there is none."""

from __future__ import annotations

import random
import sys
from collections import Counter

import pytest
from crew import Crew, Nemesis, rampage
from histories import UNKNOWN, Op, read
from linearizability import linearizable

from luni.backends.redis.scripts import SCRIPTS

HISTORIES, OPERATIONS, PROCESSES = 20, 300, 5
FEW = {
    "resources": 1,
    "quarters": 16,
    "ttls": [0.15, 0.6, 60],
    "changes": 0.5,
    "keeps": 1,
    "lingers": 0.1,
    "reads": 0.3,
    "pause": 0.002,
}
LOST = tuple(SCRIPTS[name].sha for name in ("hold", "confirm", "cancel", "move"))


def record(server, proxy, namespace, folder, seed, *, bug="", **changes):
    """Let a few processes fight for one resource through some faults; return what they saw."""
    folder.mkdir()
    each = OPERATIONS // PROCESSES * 3 // 4  # a booking attempt brings some more calls with it
    urls = [server.url, proxy.url, server.url, proxy.url, server.url]
    crew = Crew("book", urls, namespace, folder, each=each, bug=bug, **FEW | changes)
    nemesis = Nemesis(crew, random.Random(seed), server=server, proxy=proxy, lost=LOST, gentle=True)
    rampage(crew, nemesis, faults=1, pause=(0.05, 0.2), seconds=60)
    return read(folder), nemesis.done


@pytest.mark.timeout(400)
def test_what_processes_see_of_an_agenda_has_an_order(own_server, proxy_to, namespace, tmp_path, many):
    server = own_server()
    proxy = proxy_to(server)
    sizes, faults, outcomes = [], Counter(), Counter()
    for number in range(many.of(HISTORIES)):
        history, done = record(server, proxy, f"{namespace}{number}", tmp_path / f"h{number}", number)
        assert linearizable(history), f"history {number} in {tmp_path} has no order"
        sizes.append(len(history))
        faults += done
        outcomes += Counter(op.outcome for op in history)
    assert sum(sizes) >= OPERATIONS * len(sizes)
    assert {"ok", "taken", "gone"} <= set(outcomes)
    sys.stderr.write(f"{len(sizes)} histories of {min(sizes)} to {max(sizes)} calls {dict(outcomes)}; faults {dict(faults)}\n")


def op(kind, called, returned, outcome, result=None, **args):
    ends = float("inf") if outcome == UNKNOWN else returned
    return Op("p", kind, {"resource": "r", "ttl": 60, **args}, called, ends, outcome, result)


HELD = {"state": "held", "until": 1e6}
GOOD = {
    "one after the other": [
        op("hold", 1, 2, "ok", HELD, id="a", start=0, end=4),
        op("hold", 3, 4, "taken", id="b", start=2, end=6),
        op("hold", 5, 6, "ok", HELD, id="c", start=4, end=6),
        op("confirm", 7, 8, "ok", HELD, id="a"),
        op("read", 9, 10, "ok", [("a", 0, 4, "confirmed"), ("c", 4, 6, "held")]),
    ],
    "refused before the call that took it was answered": [
        op("hold", 1, 10, "ok", HELD, id="a", start=0, end=4),
        op("hold", 2, 3, "taken", id="b", start=2, end=6),
    ],
    "taken by one that nobody heard of again": [
        op("hold", 1, 2, UNKNOWN, id="a", start=0, end=4),
        op("hold", 30, 31, "taken", id="b", start=2, end=6),
    ],
    "never taken by one that nobody heard of again": [
        op("hold", 1, 2, UNKNOWN, id="a", start=0, end=4),
        op("hold", 30, 31, "ok", HELD, id="b", start=2, end=6),
    ],
    "taken after the hold expired": [
        op("hold", 1, 2, "ok", {"state": "held", "until": 5}, id="a", start=0, end=4),
        op("hold", 6, 7, "ok", HELD, id="b", start=2, end=6),
        op("confirm", 8, 9, "gone", id="a"),
    ],
    "moved while somebody reads": [
        op("hold", 1, 2, "ok", HELD, id="a", start=0, end=4),
        op("move", 3, 9, "ok", HELD, id="a", start=8, end=9),
        op("read", 4, 5, "ok", [("a", 0, 4, "held")]),
        op("read", 6, 7, "ok", [("a", 8, 9, "held")]),
        op("hold", 7.5, 8, "ok", HELD, id="b", start=0, end=4),
    ],
}
BAD = {
    "two that overlap": [
        op("hold", 1, 2, "ok", HELD, id="a", start=0, end=4),
        op("hold", 3, 4, "ok", HELD, id="b", start=2, end=6),
    ],
    "two that overlap, at once": [
        op("hold", 1, 5, "ok", HELD, id="a", start=0, end=4),
        op("hold", 2, 4, "ok", HELD, id="b", start=2, end=6),
    ],
    "refused although it only touches": [
        op("hold", 1, 2, "ok", HELD, id="a", start=0, end=4),
        op("hold", 3, 4, "taken", id="b", start=4, end=6),
    ],
    "taken before the hold expired": [
        op("hold", 1, 2, "ok", {"state": "held", "until": 50}, id="a", start=0, end=4),
        op("hold", 6, 7, "ok", HELD, id="b", start=2, end=6),
    ],
    "lost": [
        op("hold", 1, 2, "ok", HELD, id="a", start=0, end=4),
        op("confirm", 3, 4, "ok", HELD, id="a"),
        op("read", 5, 6, "ok", []),
    ],
    "seen, then not, then seen": [
        op("hold", 1, 9, "ok", HELD, id="a", start=0, end=4),
        op("read", 2, 3, "ok", [("a", 0, 4, "held")]),
        op("read", 4, 5, "ok", []),
        op("read", 6, 7, "ok", [("a", 0, 4, "held")]),
    ],
    "read in both places": [
        op("hold", 1, 2, "ok", HELD, id="a", start=0, end=4),
        op("move", 3, 4, "ok", HELD, id="a", start=8, end=9),
        op("hold", 5, 6, "taken", id="b", start=0, end=4),
    ],
    "confirmed after it expired": [
        op("hold", 1, 2, "ok", {"state": "held", "until": 5}, id="a", start=0, end=4),
        op("confirm", 8, 9, "ok", HELD, id="a"),
    ],
    "back after it was cancelled": [
        op("hold", 1, 2, "ok", HELD, id="a", start=0, end=4),
        op("cancel", 3, 4, "ok", HELD, id="a"),
        op("read", 5, 6, "ok", [("a", 0, 4, "held")]),
    ],
}


@pytest.mark.parametrize("history", GOOD.values(), ids=GOOD.keys())
def test_a_history_with_an_order_is_accepted(history):
    assert linearizable(history)


@pytest.mark.parametrize("history", BAD.values(), ids=BAD.keys())
def test_a_history_without_an_order_is_refused(history):
    assert not linearizable(history)
