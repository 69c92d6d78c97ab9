"""A host whose clock is 100 hours wrong goes through an outage: nothing expires early, nothing is lost, order is kept."""

from __future__ import annotations

import time

import pytest
from outages import KEEPING, reaches
from redis import Redis

from luni import Memory
from luni.backends.failover.journal import Journal
from luni.backends.failover.places import journal_path
from luni.ops.chaos_verdict import heard
from luni.settings import Settings

WHO = {"tenant": "shop", "channel": "web", "user": "ana"}
HOUR, TTL = 3600, 72 * 3600
MINUTES = 600
"""Seconds that the test itself may take on a busy machine."""


def asked(process, word):
    """Let a process speak; return how many messages it sees, and whether the server was away."""
    process.stdin.write(f"{word}\n")
    process.stdin.flush()
    seen, degraded = process.stdout.readline().split()
    return int(seen), degraded == "True"


@pytest.mark.parametrize("hours", [-100, 100])
def test_a_host_s_wrong_clock_changes_nothing(own_server, namespace, fallback, worker, hours):
    server = own_server(*KEEPING)
    words = [f"{phase} {number}" for phase in ("before", "out", "out again", "after") for number in range(3)]
    journal = Journal(journal_path(fallback, namespace), Settings(namespace=namespace))

    def phase(process, first, **expected):
        for count, word in enumerate(words[first : first + 3], first + 1):
            assert asked(process, word) == (3 * count, expected["degraded"]), "it does not see what was said before"

    try:
        one = worker("live_at_another_time", server.url, namespace, fallback, hours)
        phase(one, 0, degraded=False)
        assert reaches(lambda: journal.note("clock")), "nobody notes how wrong the clock is"
        server.stop()
        phase(one, 3, degraded=True)
        one.kill()
        one.wait()
        another = worker("live_at_another_time", server.url, namespace, fallback, hours)  # it has never met the server
        phase(another, 6, degraded=True)
        server.start()
        assert reaches(lambda: journal.depth() == 0)
        phase(another, 9, degraded=False)
        assert journal.dead() == 0
    finally:
        journal.close()
    with Memory.open(server.url, namespace=namespace) as direct, Redis(port=server.port) as plain:
        export = direct.session(**WHO).export()
        assert heard(export) == [text for word in words for text in (f"asks {word}", f"answers {word}", f"notes {word}")]
        now = time.time()
        assert all(abs(message.timestamp_ms / 1000 - now) < MINUTES for message in export.transcript)
        assert abs(export.info.last_activity - now) < MINUTES
        left = plain.ttl(f"{namespace}:sess:shop:web:ana:ctx")
        assert TTL - MINUTES < left <= TTL
