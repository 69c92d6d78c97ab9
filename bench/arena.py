"""Everything that takes part in one run: servers, files, preloaded conversations, lanes. Nothing here is timed."""

# ruff: noqa: SLF001  a benchmark prepares what users never touch

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, Self

import apsw

import floor
import lanes
import peers
from lanes import Lane
from luni import AsyncMemory, Memory
from luni.backends.sqlite.connection import path_of
from luni.testing.servers import Server
from stores import Inspector, Rewind, texts

CONCURRENT = (1, 16, 64)


class Plan(NamedTuple):
    """How much is measured."""

    histories: tuple[int, ...]
    rounds: int
    conversations: int = 64
    each: int = 20
    sync_conversations: int = 16
    peer_each: int = 5
    peers: tuple[str, ...] = tuple(peers.PEERS)

    def peer_conversations(self, history: int) -> int:
        """Fewer where a turn reads two thousand messages."""
        return 16 if history <= 200 else 4


class Arena:
    """The lanes of one run, and what they stand on; a context manager."""

    def __init__(self, plan: Plan, server: str, note: Callable[[str], None]) -> None:
        self.plan = plan
        self.lanes: list[Lane] = []
        self.absent = [name for name in plan.peers if not peers.installed(name)]
        self._note = note
        self._stack = ExitStack()
        self._server = server
        self._said = texts()
        self.floors: dict[int, floor.BareRedis] = {}
        self.stored: dict[tuple[str, int], int] = {}

    def __enter__(self) -> Self:
        enter = self._stack.enter_context
        self._folder = Path(enter(tempfile.TemporaryDirectory(prefix="luni-bench-")))
        self.url = self._server if "://" in self._server else enter(Server(self._server)).url
        self.inspector = Inspector(self.url)
        self._runner = enter(asyncio.Runner())
        for history in self.plan.histories:
            self._add_redis(history)
            self._add_sqlite(history)
            self._add_peers(history)
        return self

    def __exit__(self, *_: object) -> None:
        for lane in self.lanes:
            lane.rewind()
        if "://" in self._server:
            self._leave_nothing()
        self._stack.close()

    def _leave_nothing(self) -> None:
        """On somebody else's server: take away our own keys, and no others."""
        client = self.inspector.client
        for pattern in (f"{lanes.NAMESPACE}:*", "peer:*:h*-*"):
            for key in client.scan_iter(pattern, count=1000):
                client.unlink(key)

    def _add_redis(self, history: int) -> None:
        plan, said, url = self.plan, self._said, self.url
        self._note(f"{plan.conversations} conversations of {history} messages on Redis")
        memory = self._stack.enter_context(Memory.open(url, namespace=lanes.NAMESPACE))
        several = self._runner.run(self._preloaded(history))
        some = plan.sync_conversations
        memory._met = several._met  # so that both have met the sessions
        rewind = Rewind(self.inspector.client, lanes.patterns(history))
        prepared = floor.rehearse(memory, history, plan.conversations, plan.each, said)
        rewind()

        def add(name: str, conversations: int, run: Callable[[], object]) -> None:
            one = lanes.patterns(history, 0)
            self.lanes.append(Lane(name, history, conversations * plan.each, run, rewind, one, conversations))

        self.floors[history] = floor.BareRedis(url, prepared[:some])
        add("luni", some, lanes.SyncTurns(memory, history, some, plan.each, said))
        add("floor", some, self.floors[history])
        add("luni+prompt", some, lanes.SyncTurns(memory, history, some, plan.each, said, prompt=True))
        add("floor pipelined", plan.conversations, floor.PipelinedRedis(url, prepared))
        for concurrent in CONCURRENT:
            talk = lanes.AsyncTurns(several, history, plan.conversations, plan.each, said, concurrent)
            add(f"luni async {concurrent}", plan.conversations, self._on_loop(talk))
            bare = floor.BareAsyncRedis(url, prepared, concurrent)
            add(f"floor async {concurrent}", plan.conversations, self._on_loop(bare))

    def _on_loop(self, work: Callable[[], Any]) -> Callable[[], object]:
        return lambda: self._runner.run(work())

    async def _preloaded(self, history: int) -> AsyncMemory:
        memory = AsyncMemory.open(self.url, namespace=lanes.NAMESPACE)
        turns = lanes.AsyncTurns(memory, history, self.plan.conversations, history // 2, self._said, self.plan.conversations)
        await turns()
        return memory

    def _add_sqlite(self, history: int) -> None:
        plan, said, some = self.plan, self._said, self.plan.sync_conversations
        self._note(f"{some} conversations of {history} messages on SQLite")
        ours, theirs = (f"sqlite:///{self._folder}/{name}-{history}.db" for name in ("luni", "bare"))
        memory = self._stack.enter_context(Memory.open(ours))
        lanes.SyncTurns(memory, history, some, history // 2, said)()
        _copy(memory, theirs)
        rounds = plan.rounds + 1
        with Memory.open(f"{theirs}.rehearsal") as rehearsal:
            _copy(memory, f"{theirs}.rehearsal")
            statements = floor.rehearse_sqlite(rehearsal, lanes.SyncTurns(rehearsal, history, some, plan.each, said), rounds)
        turns = some * plan.each
        self.lanes.append(Lane("luni sqlite", history, turns, lanes.SyncTurns(memory, history, some, plan.each, said)))
        self.lanes.append(Lane("floor sqlite", history, turns, floor.BareSQLite(theirs, statements)))

    def _add_peers(self, history: int) -> None:
        plan, some = self.plan, self.plan.peer_conversations(history)
        for name in plan.peers:
            if name in self.absent:
                continue
            self._note(f"{some} conversations of {history} messages with {peers.PEERS[name][0]}")
            if name in peers.ON_REDIS:
                lane = peers.redis_lane(
                    name, self.url, history, some, plan.peer_each, self._said, self.inspector.client, self._runner
                )
            else:
                lane = peers.sqlite_lane(self._folder, history, some, plan.peer_each, self._said, self._runner)
            self.lanes.append(lane)


def _copy(memory: Memory, url: str) -> None:
    """Copy an embedded memory's file, whole, while it is open."""
    with memory._backend._connections.turn:
        source = memory._backend._connections.take()
    target = apsw.Connection(path_of(url))
    with target.backup("main", source, "main") as backup:
        while not backup.done:
            backup.step(-1)
    target.close()
