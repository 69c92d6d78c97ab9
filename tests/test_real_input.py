"""Real dialogues through memory: the same counts on every store, and a second run that changes nothing."""

import os
from pathlib import Path

import pytest

from luni.ops.replay import replay

DATA = Path(__file__).parents[2] / "shared" / "data" / "economy"
FILES = [DATA / "dev-pt.jsonl", DATA / "dev-sgd.jsonl"]
COUNTED = ("conversations", "turns", "messages", "prompt_tokens", "full_history_tokens", "folded", "reduction_pct")
EXPECTED = {"conversations": 350, "turns": 10_021, "messages": 20_042}

first_counts = {}


@pytest.fixture
def dialogues():
    if not all(path.is_file() for path in FILES):
        if "data" in os.environ.get("LUNI_REQUIRE", "").split(","):
            pytest.fail("LUNI_REQUIRE names data, and the shared dialogues are not beside the project", pytrace=False)
        pytest.skip("the shared dialogues are not beside the project")
    return FILES


@pytest.mark.timeout(300)
@pytest.mark.parametrize("store", [("sync", "sqlite"), ("sync", "valkey"), ("sync", "redis")], indirect=True, ids="-".join)
def test_the_same_counts_on_every_store_and_a_second_run_changes_nothing(store, dialogues):
    memory = store.open()
    first = replay(memory, dialogues)
    counts = {name: getattr(first, name) for name in COUNTED}
    assert {name: counts[name] for name in EXPECTED} == EXPECTED
    assert first.duplicates_refused == 0
    assert first_counts.setdefault("any store", counts) == counts
    stored = store.dump()
    second = replay(store.open(), dialogues)
    assert (second.turns, second.duplicates_refused) == (first.turns, first.turns)
    assert store.dump() == stored
