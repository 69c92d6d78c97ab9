"""The failover backend: a primary and this host's own storage, composed. Two shells, for threads and for an event loop."""

from __future__ import annotations

import asyncio
import os
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

from luni.backends.failover.deciding import Ask, Step, executing
from luni.backends.failover.journal import Standing
from luni.backends.failover.keeper import CLOSING_SECONDS, Keeper
from luni.backends.failover.places import impatient
from luni.errors import BackendError, LuniError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from luni.backends.base import AsyncBackend, Backend
    from luni.events import Hook
    from luni.operations import Operation
    from luni.settings import Settings

__all__ = ["AsyncFailoverBackend", "FailoverBackend"]


class FailoverBackend:
    """Executes operations on the primary, and on this host's storage while it is away."""

    def __init__(self, settings: Settings, primary: Callable[[Settings], Backend], hook: Hook | None) -> None:
        self._primary = primary(impatient(settings))
        self.keeper = Keeper(settings, lambda: self._primary, hook)
        self.name = self._primary.name

    def execute(self, operation: Operation) -> Any:
        """Execute one operation, wherever that is possible now; see `luni.backends.failover.deciding`."""
        flow = executing(self.keeper, operation)
        try:
            step = next(flow)
            while True:
                try:
                    if isinstance(step, Ask):
                        result = self._primary.execute(step.operation)
                    else:
                        result = self.keeper.locally(step.operation)
                except LuniError as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(result)
        except StopIteration as end:
            return end.value

    def ping(self) -> None:
        """Return if the primary answers; raise `Unavailable` at once while it is known to be away.

        What an earlier process has left in the journal is replayed although nobody says anything yet.
        """
        self.keeper.start()
        if self.keeper.away():
            raise Unavailable("the server is away; this host goes on from its own storage")
        try:
            self._primary.ping()
        except BackendError as error:
            self.keeper.failed(error, 0.0)
            raise

    def describe(self) -> dict[str, Any]:
        """Return what the primary says of itself, or that it is away, and how the journal stands."""
        try:
            found = self._primary.describe()
        except BackendError as error:
            found = {"backend": self.name, "away": str(error)}
        return found | _described(self.keeper)

    def close(self) -> None:
        """Take the last snapshots, then close everything."""
        self.keeper.close()
        self._primary.close()


class AsyncFailoverBackend:
    """The same for one event loop; what is done locally is done by a worker thread."""

    def __init__(
        self,
        settings: Settings,
        primary: Callable[[Settings], AsyncBackend],
        own: Callable[[Settings], Backend],
        hook: Hook | None,
    ) -> None:
        patient = impatient(settings)
        self._primary = primary(patient)
        self._own: Backend | None = None
        self.keeper = Keeper(settings, partial(self._opened, own, patient), hook)
        self._pid, self._worker = os.getpid(), ThreadPoolExecutor(1, thread_name_prefix="luni-local")
        self.driving: set[_Drive] = set()
        self._ended = False
        self.name = self._primary.name

    def _opened(self, own: Callable[[Settings], Backend], settings: Settings) -> Backend:
        self._own = self._own or own(settings)
        return self._own

    def execute(self, operation: Operation) -> asyncio.Future[Any]:
        """Begin to execute one operation, wherever that is possible now; the future has its result."""
        loop = asyncio.get_running_loop()
        outer: asyncio.Future[Any] = loop.create_future()
        _Drive(self, executing(self.keeper, operation), outer, loop).go()
        return outer

    def begin(self, step: Any, loop: asyncio.AbstractEventLoop) -> asyncio.Future[Any]:
        """Begin one step of a flow."""
        if isinstance(step, Ask):
            return self._primary.execute(step.operation)
        if self._ended:
            refused: asyncio.Future[Any] = loop.create_future()
            refused.set_exception(Unavailable("the memory was closed"))
            return refused
        if self._pid != os.getpid():  # a forked child has not the worker's thread
            self._pid, self._worker = os.getpid(), ThreadPoolExecutor(1, thread_name_prefix="luni-local")
        return loop.run_in_executor(self._worker, self.keeper.locally, step.operation)

    async def ping(self) -> None:
        """Return if the primary answers; raise `Unavailable` at once while it is known to be away.

        What an earlier process has left in the journal is replayed although nobody says anything yet.
        """
        self.keeper.start()
        if self.keeper.away():
            raise Unavailable("the server is away; this host goes on from its own storage")
        try:
            await self._primary.ping()
        except BackendError as error:
            self.keeper.failed(error, 0.0)
            raise

    async def describe(self) -> dict[str, Any]:
        """Return what the primary says of itself, or that it is away, and how the journal stands."""
        try:
            found = await self._primary.describe()
        except BackendError as error:
            found = {"backend": self.name, "away": str(error)}
        return found | await asyncio.to_thread(_described, self.keeper)

    async def close(self) -> None:
        """Finish what was begun, take the last snapshots, then close everything."""
        await self._primary.close()
        deadline = time.monotonic() + CLOSING_SECONDS
        while self.driving and time.monotonic() < deadline:  # noqa: ASYNC110  an event for every call only to wait here once
            await asyncio.sleep(0.005)
        self._ended = True
        await asyncio.to_thread(self._closed)

    def _closed(self) -> None:
        self._worker.shutdown()
        self.keeper.close()
        if self._own is not None:
            self._own.close()


class _Drive:
    """A flow on its way: each step's future leads to the next step, without a task."""

    __slots__ = ("_backend", "_flow", "_loop", "_outer")

    def __init__(
        self, backend: AsyncFailoverBackend, flow: Step, outer: asyncio.Future[Any], loop: asyncio.AbstractEventLoop
    ) -> None:
        self._backend, self._flow, self._outer, self._loop = backend, flow, outer, loop

    def go(self) -> None:
        """Begin the first step."""
        self._backend.driving.add(self)
        self._advance(partial(next, self._flow))

    def _advance(self, resume: Callable[[], Any]) -> None:
        try:
            step = resume()
        except StopIteration as end:
            self._backend.driving.discard(self)
            if not self._outer.done():
                self._outer.set_result(end.value)
        except LuniError as error:
            self._backend.driving.discard(self)
            if not self._outer.done():
                self._outer.set_exception(error)
                self._outer.exception()  # retrieved: nobody may be left to look at it
        else:
            self._backend.begin(step, self._loop).add_done_callback(self._done)

    def _done(self, future: asyncio.Future[Any]) -> None:
        error = Unavailable("the call was cancelled before it was sent") if future.cancelled() else future.exception()
        if isinstance(error, LuniError):
            self._advance(partial(self._flow.throw, error))
        elif error is not None:
            self._flow.close()
            self._backend.driving.discard(self)
            if not self._outer.done():
                self._outer.set_exception(error)
        else:
            self._advance(partial(self._flow.send, future.result()))


def _described(keeper: Keeper) -> dict[str, Any]:
    standing = keeper.guard.ask(Standing(), keeper.journal.standing)
    return {
        "degraded": keeper.away() or standing.pending + standing.erasures > 0 or bool(keeper.guard.problem),
        "fallback": keeper.settings.fallback,
        "journal": {
            "pending": standing.pending,
            "dead": standing.dead,
            "erasures": standing.erasures,
            "place": keeper.journal.place,
            "problem": keeper.guard.problem,
        },
        "bookings_closed": standing.bookings_closed,
    }
