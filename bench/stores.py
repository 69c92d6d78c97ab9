"""What the contestants share: texts people wrote, a server's counters, and stored state that can be put back."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import redis

CONVERSATIONS = Path(__file__).parent.parent / "examples" / "conversations.jsonl"


def texts() -> Iterator[tuple[str, str]]:
    """Give pairs of what a user said and what an assistant answered, for ever."""
    pairs: list[tuple[str, str]] = []
    with CONVERSATIONS.open(encoding="utf-8") as lines:
        for line in lines:
            said = [(message["role"], message["text"]) for message in json.loads(line)["messages"]]
            pairs += [(a[1], b[1]) for a, b in itertools.pairwise(said) if (a[0], b[0]) == ("user", "assistant")]
    return itertools.cycle(pairs)


class Counters(NamedTuple):
    """What a server had done at one moment, this reading of it left out."""

    calls: int
    evalsha: int
    evalsha_us: int
    bytes_in: int
    bytes_out: int

    def since(self, before: Counters) -> Counters:
        return Counters(*[now - then for now, then in zip(self, before, strict=True)])


class Inspector:
    """Reads a server's counters over a connection of its own, and takes its own traffic out of them."""

    def __init__(self, url: str) -> None:
        self.client = redis.Redis.from_url(url)
        first, second = self._raw(), self._raw()
        self._own_in = second.bytes_in - first.bytes_in
        self._own_out = second.bytes_out - first.bytes_out

    def _raw(self) -> Counters:
        info = self.client.info("everything")
        commands = {name: stats for name, stats in info.items() if name.startswith("cmdstat_")}
        evalsha = commands.get("cmdstat_evalsha", {})
        calls = sum(stats["calls"] for name, stats in commands.items() if name != "cmdstat_info")
        return Counters(
            calls,
            evalsha.get("calls", 0),
            evalsha.get("usec", 0),
            info["total_net_input_bytes"],
            info["total_net_output_bytes"],
        )

    def begin(self) -> Counters:
        return self._raw()

    def end(self, before: Counters) -> Counters:
        done = self._raw().since(before)
        return done._replace(bytes_in=done.bytes_in - self._own_in, bytes_out=done.bytes_out - self._own_out)

    def stored_bytes(self, patterns: list[str]) -> int:
        """Return the memory of every key that matches one of ``patterns``."""
        keys = {key for pattern in patterns for key in self.client.scan_iter(pattern, count=1000)}
        return sum(self.client.memory_usage(key, samples=0) or 0 for key in keys)


class Rewind:
    """The keys of some conversations as they were, so that every round begins with the same history."""

    def __init__(self, client: redis.Redis, patterns: list[str]) -> None:
        self._client = client
        self._patterns = patterns
        names = self._names()
        pipe = client.pipeline(transaction=False)
        for name in names:
            pipe.dump(name)
            pipe.pttl(name)
        found = pipe.execute()
        self._kept = dict(zip(names, _pairs(found), strict=True))

    def _names(self) -> list[Any]:
        return sorted({name for pattern in self._patterns for name in self._client.scan_iter(pattern, count=1000)})

    def __call__(self) -> None:
        pipe = self._client.pipeline(transaction=False)
        for name in self._names():
            if name not in self._kept:
                pipe.delete(name)
        for name, (dump, ttl) in self._kept.items():
            pipe.restore(name, max(0, ttl), dump, replace=True)
        pipe.execute()


def _pairs(values: list[Any]) -> list[tuple[Any, Any]]:
    return list(zip(values[::2], values[1::2], strict=True))
