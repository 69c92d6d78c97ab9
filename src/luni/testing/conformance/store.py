"""What the suite needs of a place to store things: memories on it, time that passes, a look at what is stored."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import pytest

from luni import AsyncMemory, Memory
from luni.testing import FakeClock
from luni.testing.blocking import Blocking

__all__ = ["Store", "executed", "inner", "rounds", "talk", "together", "unattended", "watched"]


class Store:
    """An empty place of a test's own. Subclasses give at least `url` and `dump`.

    Args:
        asynchronous: Whether its memories are `AsyncMemory` behind `luni.testing.blocking.Blocking`.
        clock: What its memories read the time from, if it can be moved by hand; ``None`` where time is the server's.
    """

    kind = "other"
    namespace = "luni"

    def __init__(self, *, asynchronous: bool = False, clock: FakeClock | None = None) -> None:
        self.asynchronous = asynchronous
        self.clock = clock
        self._opened: list[Any] = []

    def url(self) -> str:
        """Where its memories open."""
        raise NotImplementedError

    def dump(self) -> Any:
        """Return everything that is stored there, expiry included, as something that compares."""
        raise NotImplementedError

    def stored_bytes(self) -> bytes:
        """Return all bytes that are stored there, free space and logs too where they can be looked at."""
        return repr(self.dump()).encode()

    def open(self, **options: Any) -> Any:
        """Return another memory on the same place, closed at the end of the test."""
        options = {"clock": self.clock, "namespace": self.namespace} | options
        memory = Blocking(AsyncMemory.open(self.url(), **options)) if self.asynchronous else Memory.open(self.url(), **options)
        self._opened.append(memory)
        return memory

    def session(self, user: str = "ana", **options: Any) -> Any:
        """Return the session of a user, in a memory of its own."""
        return self.open(**options).session(tenant="shop", channel="web", user=user)

    def let_pass(self, seconds: float) -> None:
        """Let this many seconds pass: at once where the clock can be moved, else by sleeping."""
        if self.clock is None:
            time.sleep(seconds)
        else:
            self.clock.advance(seconds)

    def pause(self, session: Any) -> None:
        """Pause a session as another program on the same store would."""
        pytest.skip(f"a {self.kind} store cannot be paused from outside")

    def spoil_newest(self, session: Any) -> None:
        """Make the newest stored message unreadable."""
        pytest.skip(f"a {self.kind} store cannot be spoilt on purpose")

    def spoil_field(self, session: Any, name: str) -> None:
        """Make the field ``metadata`` or ``context`` unreadable."""
        pytest.skip(f"a {self.kind} store cannot be spoilt on purpose")

    def writers(self, session: Any) -> int:
        """Return how many writers' marks the session has."""
        pytest.skip(f"the marks of a {self.kind} store cannot be counted from outside")

    def remembered(self, session: Any) -> int:
        """Return how many accepted messages the session remembers."""
        pytest.skip(f"the ring of a {self.kind} store cannot be counted from outside")

    def close(self) -> None:
        """Close the memories and remove what is stored."""
        while self._opened:
            self._opened.pop().close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def executed(memory: Any, operation: Any) -> Any:
    """Execute one operation, as it is, on a memory's backend: what a retry after a lost reply does."""
    execute = memory._backend.execute
    return memory.on_loop(execute, operation) if isinstance(memory, Blocking) else execute(operation)


def inner(thing: Any) -> Any:
    """Return the session or turn itself, out of its blocking shell."""
    return thing._target if isinstance(thing, Blocking) else thing


@contextmanager
def watched(memory: Any) -> Iterator[list[tuple[Any, Any]]]:
    """Note what a memory's backend is asked, and what it answers."""
    shell, seen = inner(memory), list[tuple[Any, Any]]()
    execute = shell._execute

    def recording(operation: Any) -> Any:
        result = execute(operation)
        if hasattr(result, "add_done_callback"):
            result.add_done_callback(lambda done: seen.append((operation, done.result())))
        else:
            seen.append((operation, result))
        return result

    shell._execute = recording
    yield seen
    shell._execute = execute


def unattended(turn: Any) -> None:
    """Let nobody renew a turn's lease, as if its worker were asleep."""
    inner(turn)._memory._renewals.discard(inner(turn))


def talk(session: Any, *said: str, begin: int = 1) -> None:
    """Hold turns: every text is answered with ``re: text``; message ids are ``m1``, ``m2`` and so on."""
    for number, text in enumerate(said, begin):
        with session.turn(text, message_id=f"m{number}") as turn:
            turn.reply(f"re: {text}")


def rounds(session: Any, count: int, *, begin: int = 1) -> None:
    """Hold ``count`` turns of two messages: ``u1``, ``re: u1``, ``u2`` and so on."""
    talk(session, *[f"u{number}" for number in range(begin, begin + count)], begin=begin)


def together(calls: Iterable[Callable[[], Any]]) -> list[Any]:
    """Run calls at the same time, each on a thread of its own; return their results in order, raise the first error."""
    waiting = list(calls)
    with ThreadPoolExecutor(len(waiting)) as pool:
        return [future.result() for future in [pool.submit(call) for call in waiting]]
