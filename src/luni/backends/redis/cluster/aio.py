"""A Cluster from an event loop: one connection with its writer and its reader for each node, as on a single server."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from typing import Any

from luni.backends.keys import Tagged
from luni.backends.redis import connect
from luni.backends.redis.aio import WAITING_LINES, _Entry, _Line
from luni.backends.redis.cluster.chains import Chain, Everywhere, Node, Pause
from luni.backends.redis.cluster.described import described_cluster
from luni.backends.redis.cluster.slots import Slots, node_url, seeds_of
from luni.backends.redis.cluster.steps import steps
from luni.backends.redis.cluster.travels import Travels, of_everywhere
from luni.errors import BackendError, LuniError, Unavailable
from luni.operations import Operation
from luni.settings import Settings

__all__ = ["AsyncClusterBackend"]


class _NodeLine(_Line):
    """A line that hands a server's refusals on as they are: a Cluster's say where to go."""

    def __init__(self, backend: Any, connection: Any, arguments: dict[str, Any]) -> None:
        super().__init__(backend, connection)
        self._arguments = arguments

    def _unreachable(self, error: Exception) -> Unavailable:
        return connect.unreachable(error, self._arguments)

    def _refuse(self, entry: _Entry, error: Exception) -> None:
        if not entry.future.done():
            entry.future.set_result(error)


class AsyncClusterBackend:
    """Executes operations on a Cluster from one event loop at a time."""

    name = "redis"
    follows = False

    def __init__(self, url: str, settings: Settings) -> None:
        self._slots = Slots(seeds_of(url))
        self._url, self._settings = url, settings
        self._place = connect.place(url)
        self._arguments: dict[Node, tuple[type[Any], dict[str, Any]]] = {}
        for seed in self._slots.to_ask():
            self._connection(seed)
        self._lines: dict[tuple[Node, str], _NodeLine] = {}
        self._waits = itertools.count()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._refreshing: asyncio.Task[None] | None = None
        self.namespace = Tagged(settings.namespace)
        self.timeout = settings.timeout

    def execute(self, operation: Operation) -> asyncio.Future[Any]:
        """Begin to execute one operation: see `luni.backends.redis.cluster.steps`."""
        self._here()
        if len(self._tasks) >= self._settings.queue_max_length:
            refused: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            refused.set_exception(
                Unavailable(f"{self._settings.queue_max_length} operations (REDIS_QUEUE_MAX_LENGTH) are waiting already")
            )
            refused.exception()  # retrieved: nobody may be left to look at it
            return refused
        task = asyncio.get_running_loop().create_task(self._run(operation))
        self.keep(task)
        return task

    async def _run(self, operation: Operation) -> Any:
        going = steps(self.namespace, operation)
        try:
            wanted = next(going)
            while True:
                try:
                    answers = await self._answers(wanted)
                except LuniError as error:
                    wanted = going.throw(error)
                else:
                    wanted = going.send(answers)
        except StopIteration as end:
            return end.value

    async def _answers(self, wanted: list[Chain] | Everywhere | Pause) -> Any:
        if isinstance(wanted, Pause):
            return await asyncio.sleep(wanted.seconds)
        return await self._everywhere(wanted) if isinstance(wanted, Everywhere) else await self._exchange(wanted)

    async def _everywhere(self, wanted: Everywhere) -> dict[Node, Any]:
        if wanted.anew:
            self._slots.doubt()
        await self._refresh()
        chains = of_everywhere(wanted, self._slots)
        answers = await self._exchange(list(chains.values()))
        return {node: answer for node, (answer,) in zip(chains, answers, strict=True)}

    async def _exchange(self, chains: Sequence[Chain]) -> list[list[Any]]:
        """Return each chain's answers, following what is elsewhere."""
        travels = Travels(self._slots, chains, self.timeout)
        while not travels.over:
            await self._refresh()
            await self._round(travels.placed())
            pause = travels.look()
            if pause:
                await asyncio.sleep(pause)
        return travels.answers()

    async def _round(self, groups: dict[Node, list[Chain]]) -> None:
        """Send to all nodes; a chain's commands are handed to its line together, so nothing comes between them."""
        sent = [
            (node, chain, self._submit(node, chain)) for node, chains in groups.items() for chain in chains
        ]  # fmt: skip
        for node, chain, futures in sent:
            replies = [await _reply(future) for future in futures]
            if any(isinstance(reply, LuniError) for reply in replies):
                self._slots.doubt(node)
            chain.take(replies)

    def _submit(self, node: Node, chain: Chain) -> list[asyncio.Future[Any]]:
        line = self._line(node, f"waiting {next(self._waits) % WAITING_LINES}" if chain.waits else "all")
        futures = []
        for words in chain.on_the_wire():
            entry = _Entry(asyncio.get_running_loop().create_future(), None, words, b"")
            line.submit(entry)
            if words != ("ASKING",):
                futures.append(entry.future)
        return futures

    def _line(self, node: Node, use: str) -> _NodeLine:
        line = self._lines.get((node, use))
        if line is None or not line.alive:
            kind, arguments = self._connection(node)
            line = self._lines[node, use] = _NodeLine(self, connect.async_connection(kind, arguments), arguments)
        return line

    def _connection(self, node: Node) -> tuple[type[Any], dict[str, Any]]:
        found = self._arguments.get(node)
        if found is None:
            found = connect.connection_arguments(node_url(self._url, node), self._settings, asynchronous=True)
            self._arguments[node] = found
        return found

    def _here(self) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._lines, self._refreshing = loop, {}, None

    async def _refresh(self) -> None:
        """Ask for the slot map, if the one that is known is doubtful, once for all who need it."""
        self._here()
        if not self._slots.due and self._slots.known:
            return
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.get_running_loop().create_task(self._load())
        await asyncio.shield(self._refreshing)

    async def _load(self) -> None:
        failure: LuniError = Unavailable("the nodes do not know each other yet")
        for node in self._slots.to_ask():
            asking = Chain.of_words(("CLUSTER", "SLOTS"), node)
            await self._round({node: [asking]})
            if asking.answers and self._slots.load(asking.answers[0], node):
                return
            failure = asking.failure or failure
        if not self._slots.known:
            raise Unavailable(f"no node of the Cluster tells where its slots are: {failure}")

    async def connect(self, connection: Any) -> None:
        """Connect, as a line asks for."""
        await connection.connect()

    def keep(self, task: asyncio.Task[Any]) -> None:
        """Hold on to a background task until it is done; nobody may be left to look at its error."""
        self._tasks.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()

    async def ping(self) -> None:
        """Return if every primary answers."""
        await self._everywhere(Everywhere(("PING",)))

    async def describe(self) -> dict[str, Any]:
        """Return the nodes' versions, places and persistence, and what the weakest of them keeps."""
        infos = await self._everywhere(Everywhere(("INFO",)))
        try:
            saves = await self._everywhere(Everywhere(("CONFIG", "GET", "save")))
            syncs = await self._everywhere(Everywhere(("CONFIG", "GET", "appendfsync")))
        except BackendError:
            saves = syncs = {}
        return described_cluster(self._place, infos, saves, syncs)

    async def close(self) -> None:
        """Wait for what is on its way, then close the connections."""
        if self._loop is not asyncio.get_running_loop():
            self._lines = {}
            return
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=self.timeout)
        lines, self._lines = self._lines, {}
        for line in lines.values():
            await line.close()


async def _reply(future: asyncio.Future[Any]) -> Any:
    try:
        return await future
    except LuniError as error:
        return error
