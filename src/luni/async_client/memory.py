"""`AsyncMemory`: the client of a store for an event loop."""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Callable, Hashable
from functools import partial
from types import TracebackType
from typing import Any, Self

from luni import flows
from luni import operations as ops
from luni.async_client.agenda import AsyncAgenda
from luni.async_client.documented import documented_like
from luni.async_client.lock import AsyncLock
from luni.async_client.session import AsyncSession
from luni.async_renewals import AsyncRenewals
from luni.backends import open_async_backend
from luni.client import Memory
from luni.errors import Indeterminate, LuniError
from luni.flows import sessions as session_flows
from luni.flows.awaiting import drive_async
from luni.locks import locked_place
from luni.memory import MemoryBase
from luni.models import (
    Booking,
    Health,
    Page,
    Receipt,
)

__all__ = ["AsyncMemory"]


@documented_like(Memory)
class AsyncMemory(MemoryBase):
    """The short-term memory of chat assistants, on one store, for one event loop. Close it when done.

    Make one with `open` or `from_env`. It does no I/O until it is used. On SQLite a worker thread does the work.
    """

    def _begin(self) -> None:
        self._backend = open_async_backend(self.settings.url, self.settings, self._clock, self._hook)
        if (keeper := getattr(self._backend, "keeper", None)) is not None:
            keeper.eraser = self._eraser
        self._execute = self._observed(self._backend.execute) if self._hook else self._backend.execute
        self._locks: weakref.WeakValueDictionary[Hashable, asyncio.Lock] = weakref.WeakValueDictionary()
        self._renewals = AsyncRenewals(self._execute, self._clock, self._hook)

    def _observed(
        self, execute: Callable[[ops.Operation], asyncio.Future[Any]]
    ) -> Callable[[ops.Operation], asyncio.Future[Any]]:
        def observed(operation: ops.Operation) -> asyncio.Future[Any]:
            began = time.perf_counter()
            future = execute(operation)

            def tell(done: asyncio.Future[Any]) -> None:
                error = None if done.cancelled() else done.exception()
                self._tell(operation, self._backend.name, type(error).__name__ if error else "ok", began)

            future.add_done_callback(tell)
            return future

        return observed

    async def _run(self, aggregate: Hashable | None, flow: flows.Flow) -> Any:
        """Run a flow. The aggregate's local lock is held until the outcome is final, even if the caller is cancelled."""
        self._check_open()
        if aggregate is None:
            return await drive_async(flow, self._execute, self._abandon)
        lock = self._locks.get(aggregate)
        if lock is None:
            lock = self._locks[aggregate] = asyncio.Lock()
        await lock.acquire()
        kept = False

        def abandoned(operation: ops.Operation, future: asyncio.Future[Any]) -> None:
            nonlocal kept
            kept = True
            self._abandon(operation, future)
            future.add_done_callback(lambda _: lock.release())

        try:
            return await drive_async(flow, self._execute, abandoned)
        finally:
            if not kept:
                lock.release()

    async def _sleep(self, seconds: float) -> None:
        if self._clock.automatic:
            await asyncio.sleep(seconds)
        else:
            self._clock.sleep(seconds)
            await asyncio.sleep(0)

    def _abandon(self, operation: ops.Operation, future: asyncio.Future[Any]) -> None:
        """What was sent stays sent; a turn that was opened for a caller who is gone is closed."""

        def undo(done: asyncio.Future[Any], *, asks_again: bool) -> None:
            error = None if done.cancelled() else done.exception()
            if done.cancelled() or (error and not (asks_again and isinstance(error, Indeterminate))):
                return
            if error:
                self._execute(operation).add_done_callback(partial(undo, asks_again=False))
                return
            release = ops.compensation(operation, done.result())
            if release is not None:
                self._execute(release).add_done_callback(lambda answer: answer.cancelled() or answer.exception())

        future.add_done_callback(partial(undo, asks_again=isinstance(operation, ops.Open | ops.Lock)))

    def session(self, *, tenant: str, channel: str, user: str) -> AsyncSession:
        return AsyncSession(self, self._scope(tenant, channel, user))

    async def find(self, session_id: str, *, tenant: str) -> AsyncSession | None:
        address = await self._run(None, session_flows.find(self._scope_at, self._base, *self._checked_id(session_id, tenant)))
        return AsyncSession(self, self._scope_at(address)) if address else None

    async def sessions(self, tenant: str, *, paused: bool | None = None, limit: int = 50, cursor: str | None = None) -> Page:
        self._check_page(tenant, limit)
        flow = session_flows.sessions(self._base, tenant, paused=paused, limit=limit, cursor=cursor)
        return await self._run(None, flow)  # type: ignore[no-any-return]

    async def unanswered(
        self, tenant: str | None = None, *, older_than: float = 30.0, limit: int = 100, claim: bool = True
    ) -> Page:
        found = await self._run(None, self._pending_flow("waiting", tenant, older_than, limit, claim=claim))
        return self._swept(lambda scope: AsyncSession(self, scope), found, unsent=False)

    async def unsent(
        self, tenant: str | None = None, *, older_than: float = 30.0, limit: int = 100, claim: bool = True
    ) -> Page:
        found = await self._run(None, self._pending_flow("unsent", tenant, older_than, limit, claim=claim))
        return self._swept(lambda scope: AsyncSession(self, scope), found, unsent=True)

    def lock(self, tenant: str, name: str, *, ttl: float = 30.0, wait: float = 0.0) -> AsyncLock:
        return AsyncLock(self, locked_place(tenant, name), ttl, wait)

    def agenda(self, tenant: str, resource: str, *, capacity: int = 1) -> AsyncAgenda:
        return AsyncAgenda(self, tenant, resource, capacity)

    async def bookings(self, tenant: str, *, by: str, limit: int = 100) -> list[Booking]:
        return await self._run(None, self._bookings_by_flow(tenant, by, limit))  # type: ignore[no-any-return]

    async def resources(self, tenant: str) -> list[str]:
        return await self._run(None, self._resources_flow(tenant))  # type: ignore[no-any-return]

    async def erase(self, tenant: str, user: str | None = None) -> Receipt:
        if (keeper := getattr(self._backend, "keeper", None)) is not None:
            self._check_open()
            return await asyncio.to_thread(self._erase_both, keeper, self._backend.name, tenant, user)
        return await self._run(None, self._erase_flow(self._backend.name, tenant, user))  # type: ignore[no-any-return]

    async def export(self, tenant: str, user: str | None = None, *, limit: int = 50, cursor: str | None = None) -> Page:
        return await self._run(None, self._export_flow(tenant, user, limit, cursor))  # type: ignore[no-any-return]

    async def reopen_bookings(self) -> bool:
        return await asyncio.to_thread(self._reopened, self._backend)

    async def health(self) -> Health:
        began = time.perf_counter()
        try:
            self._check_open()
            await self._backend.ping()
        except LuniError as error:
            return self._unwell(self._backend, error)
        return self._well(self._backend, began)

    async def describe(self) -> dict[str, Any]:
        self._check_open()
        return await self._backend.describe()

    async def close(self) -> None:
        self._closed = True
        self._renewals.close()
        await self._backend.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
