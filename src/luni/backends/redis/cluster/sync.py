"""A Cluster from threads: connections of their own for each node; one step sends to all its nodes, then reads from them."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

from hiredis import pack_command

from luni.backends.keys import Tagged
from luni.backends.redis import connect
from luni.backends.redis.cluster.chains import LOST, REPLIES, Chain, Everywhere, Node, Pause
from luni.backends.redis.cluster.described import described_cluster
from luni.backends.redis.cluster.slots import Slots, node_url, seeds_of
from luni.backends.redis.cluster.steps import steps
from luni.backends.redis.cluster.travels import Travels, of_everywhere
from luni.backends.redis.errors import reason
from luni.backends.redis.sync import Connections
from luni.errors import BackendError, Indeterminate, LuniError, Unavailable
from luni.operations import Operation
from luni.settings import Settings

__all__ = ["ClusterBackend"]


class ClusterBackend:
    """Executes operations on a Cluster; threads share it."""

    name = "redis"

    def __init__(self, url: str, settings: Settings) -> None:
        self._slots = Slots(seeds_of(url))
        self._url, self._settings = url, settings
        self._namespace = Tagged(settings.namespace)
        self._nodes: dict[Node, Connections] = {}
        self._making = threading.Lock()
        self._place = connect.place(url)
        for seed in self._slots.to_ask():
            self._connections(seed)

    def execute(self, operation: Operation) -> Any:
        """Execute one operation: see `luni.backends.redis.cluster.steps`."""
        going = steps(self._namespace, operation)
        try:
            wanted = next(going)
            while True:
                try:
                    answers = self._answers(wanted)
                except LuniError as error:
                    wanted = going.throw(error)
                else:
                    wanted = going.send(answers)
        except StopIteration as end:
            return end.value

    def _answers(self, wanted: list[Chain] | Everywhere | Pause) -> Any:
        if isinstance(wanted, Pause):
            return time.sleep(wanted.seconds)
        return self._everywhere(wanted) if isinstance(wanted, Everywhere) else self._exchange(wanted)

    def _everywhere(self, wanted: Everywhere) -> dict[Node, Any]:
        if wanted.anew:
            self._slots.doubt()
        self._refresh()
        chains = of_everywhere(wanted, self._slots)
        answers = self._exchange(list(chains.values()))
        return {node: answer for node, (answer,) in zip(chains, answers, strict=True)}

    def _exchange(self, chains: Sequence[Chain]) -> list[list[Any]]:
        """Return each chain's answers, following what is elsewhere."""
        travels = Travels(self._slots, chains, self._settings.timeout)
        while not travels.over:
            self._refresh()
            self._round(travels.placed())
            pause = travels.look()
            if pause:
                time.sleep(pause)
        return travels.answers()

    def _round(self, groups: dict[Node, list[Chain]]) -> None:
        """Send to all nodes, then read from all; nodes in one order everywhere, so that threads never wait for each other."""
        taken: list[tuple[Connections, Any, list[Chain], list[LuniError]]] = []
        try:
            for node in sorted(groups):
                connections = self._connections(node)
                try:
                    connection = connections.take()
                except BackendError as error:
                    self._slots.doubt(node)
                    _fail(groups[node], error)
                    continue
                lost: list[LuniError] = []
                taken.append((connections, connection, groups[node], lost))
                _send(connection, groups[node], lost)
            for _, connection, chains, lost in taken:
                for chain in chains:
                    replies: list[Any] = []
                    if not lost:
                        _read(connection, chain, replies, lost)
                    chain.take([*replies, *lost][: len(chain.words())])
        except BaseException:
            for _, connection, _, _ in taken:
                connection.disconnect()  # replies may still be on their way
            raise
        finally:
            for connections, connection, _, _ in taken:
                connections.give_back(connection)

    def _connections(self, node: Node) -> Connections:
        found = self._nodes.get(node)
        if found is None:
            with self._making:
                found = self._nodes.setdefault(node, Connections(node_url(self._url, node), self._settings))
        return found

    def _refresh(self) -> None:
        """Ask for the slot map, if the one that is known is doubtful; raise `Unavailable` if there is none at all."""
        if not self._slots.due and self._slots.known:
            return
        failure: LuniError = Unavailable("the nodes do not know each other yet")
        for node in self._slots.to_ask():
            asking = Chain.of_words(("CLUSTER", "SLOTS"), node)
            self._round({node: [asking]})
            if asking.answers and self._slots.load(asking.answers[0], node):
                return
            failure = asking.failure or failure
        if not self._slots.known:
            raise Unavailable(f"no node of the Cluster tells where its slots are: {failure}")

    def ping(self) -> None:
        """Return if every primary answers."""
        self._everywhere(Everywhere(("PING",)))

    def describe(self) -> dict[str, Any]:
        """Return the nodes' versions, places and persistence, and what the weakest of them keeps."""
        infos = self._everywhere(Everywhere(("INFO",)))
        try:
            saves = self._everywhere(Everywhere(("CONFIG", "GET", "save")))
            syncs = self._everywhere(Everywhere(("CONFIG", "GET", "appendfsync")))
        except BackendError:
            saves = syncs = {}
        return described_cluster(self._place, infos, saves, syncs)

    def close(self) -> None:
        """Close the idle connections."""
        for connections in list(self._nodes.values()):
            connections.close()


def _fail(chains: Sequence[Chain], error: LuniError) -> None:
    for chain in chains:
        chain.take([error])


def _drop(connection: Any, error: Exception, lost: list[LuniError]) -> None:
    connection.disconnect()
    lost.append(Indeterminate(f"the operation was sent and no reply came: {reason(error)}"))


def _send(connection: Any, chains: Sequence[Chain], lost: list[LuniError]) -> None:
    packed = [pack_command(words) for chain in chains for words in chain.on_the_wire()]
    try:
        connection.send_packed_command((b"".join(packed),), check_health=False)
    except LOST as error:
        _drop(connection, error, lost)


def _read(connection: Any, chain: Chain, replies: list[Any], lost: list[LuniError]) -> None:
    """Read the replies to a chain; those to ``ASKING`` say nothing."""
    for words in chain.on_the_wire():
        try:
            reply = connection.read_response()
        except REPLIES as error:
            reply = error
        except LOST as error:
            _drop(connection, error, lost)
            return
        if words != ("ASKING",):
            replies.append(reply)
