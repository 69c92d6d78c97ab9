"""What is sent to one node of a Cluster in one go, and what its replies mean. No I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import redis.exceptions as driver
from redis.crc import key_slot

from luni.backends.redis.call import Call
from luni.backends.redis.errors import reason, refused
from luni.errors import Indeterminate, LuniError

__all__ = ["LOST", "REPLIES", "Chain", "Everywhere", "Node", "Pause"]

Node = tuple[str, int]

LOST = (driver.ConnectionError, driver.TimeoutError, driver.InvalidResponse, OSError, EOFError)
REPLIES = (driver.ResponseError, driver.BusyLoadingError, driver.AuthenticationError)


class Everywhere(NamedTuple):
    """Words for every primary of the Cluster; answered by what each of them says, by node.

    ``apart``: words for some of them in place of that; who is no primary any more is not asked, and does not answer.
    ``anew``: the map is asked for before, unless it just was.
    """

    words: tuple[Any, ...] = ()
    apart: Mapping[Node, tuple[Any, ...]] | None = None
    anew: bool = False


class Pause(NamedTuple):
    """Let this many seconds pass; answered by nothing."""

    seconds: float


class _Command(NamedTuple):
    words: tuple[Any, ...]
    call: Call | None = None


class Chain:
    """Calls of one slot, sent together and executed in their order on one connection.

    If one of them is not executed (the server lacks its script, the slot is elsewhere), it and those after it are sent again.
    The first ``needed`` answers are what matters: once they are there, a failure of the rest is none.
    """

    def __init__(self, calls: Sequence[Call], *, needed: int = 0) -> None:
        self.slot = key_slot(calls[0].keys[0].encode()) if calls else 0
        self.answers: list[Any] = []
        self.moved: Node | None = None
        """Where the slot is said to be from now on."""
        self.asks: Node | None = None
        """Where the slot's keys are said to be on their way to: the next attempt only."""
        self.again = False
        """Whether the slot is being moved right now, so that nobody can execute it."""
        self.failure: LuniError | None = None
        self.hops = 0
        self.changes = bool(calls)
        """Whether it may have changed anything: plain words ask, and no more."""
        self._left: deque[_Command] = deque()
        for call in calls:
            self._left.append(_Command(call.command(), call))
            if call.wait is not None:
                self._left.append(_Command(("WAIT", call.wait.replicas, call.wait.ms)))
        self._needed = needed or len(self._left)

    @classmethod
    def of_words(cls, words: tuple[Any, ...], node: Node) -> Chain:
        """Return a chain of one plain command for this node."""
        chain = cls(())
        chain._left.append(_Command(words))
        chain._needed, chain.asks = 1, node
        return chain

    @property
    def done(self) -> bool:
        """Whether what matters has been answered, and nothing is left that could be."""
        return not self._left or (self.failure is not None and len(self.answers) >= self._needed)

    @property
    def waits(self) -> bool:
        """Whether it waits for replicas, and so holds up what comes after it."""
        return any(command.call is not None and command.call.wait is not None for command in self._left)

    def words(self) -> list[tuple[Any, ...]]:
        """Return what is to be sent now."""
        return [command.words for command in self._left]

    def on_the_wire(self) -> list[tuple[Any, ...]]:
        """Return the same with what belongs before each of them where a slot is on its way."""
        if self.asks is None or self._left[0].call is None:
            return self.words()
        return [words for command in self._left for words in (("ASKING",), command.words)]

    def take(self, replies: Sequence[Any]) -> None:
        """Note the replies to `words`: what a command gave, or the exception that it met."""
        self.moved = self.asks = self.failure = None
        self.again = False
        for reply in replies:
            if self._stops(reply):
                return
            command = self._left.popleft()
            self.answers.append(0 if isinstance(reply, REPLIES) else reply)
            if command.call is None and isinstance(reply, REPLIES):
                self._left.clear()  # a server that does not wait for its replicas has none

    def _stops(self, reply: Any) -> bool:
        """Whether the first command that is left was not executed; if so, note what is to be done about it."""
        command = self._left[0]
        if isinstance(reply, LuniError):
            self.failure = reply
        elif isinstance(reply, driver.NoScriptError) and command.call is not None:
            self._left[0] = _Command(command.call._replace(whole=True).command(), command.call._replace(whole=True))
        elif isinstance(reply, driver.MovedError):
            self.moved, self.hops = (reply.host, reply.port), self.hops + 1
        elif isinstance(reply, driver.AskError):
            self.asks, self.hops = (reply.host, reply.port), self.hops + 1
        elif isinstance(reply, driver.TryAgainError):
            self.again = True
        elif isinstance(reply, REPLIES) and (command.call is not None or not self.answers):
            self.failure = refused(reply)
        elif isinstance(reply, LOST):
            self.failure = Indeterminate(f"the operation was sent and no reply came: {reason(reply)}")
        else:
            return False
        return True
