"""`AsyncLock`: the client of one named lock for an event loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar

from luni import operations as ops
from luni.async_client.documented import documented_like
from luni.client import Lock
from luni.errors import ConfigError, LockHeld, LuniError, NoSession, Unavailable
from luni.locks import LockBase

if TYPE_CHECKING:
    from luni.async_client.memory import AsyncMemory

__all__ = ["AsyncLock"]

logger = logging.getLogger("luni")

P = ParamSpec("P")
T = TypeVar("T")


@documented_like(Lock)
class AsyncLock(LockBase):
    """One named lock: an asynchronous context manager. What is in its block begins only while it is held."""

    def __init__(self, memory: AsyncMemory, place: ops.Place, ttl: float, wait: float) -> None:
        super().__init__(*memory._lock_needs(), place, ttl, wait)  # noqa: SLF001  the lock is its memory's
        self._memory = memory

    async def _run(self, flow: Any) -> Any:
        return await self._memory._run(None, flow)  # noqa: SLF001  the lock is its memory's

    async def acquire(self) -> Self:
        self._take()
        try:
            while (pause := await self._run(self._acquire_flow())) is not None:
                await self._memory._sleep(pause)  # noqa: SLF001  the lock is its memory's
        except (LockHeld, NoSession, Unavailable, ConfigError):
            self._give_up()
            raise
        except BaseException:
            await self._let_go(self._attempt_flow)
            raise
        self._memory._renewals.add(self)  # noqa: SLF001  the lock is its memory's
        return self

    async def renew(self) -> None:
        await self._run(self._renew_flow())

    async def release(self) -> bool:
        self._memory._renewals.discard(self)  # noqa: SLF001  the lock is its memory's
        return await self._let_go(self._release_flow)

    async def _let_go(self, flow_of: Callable[[ops.Unlock], Any]) -> bool:
        operation = self._give_up()
        if operation is None:
            return False
        try:
            return bool(await asyncio.shield(self._run(flow_of(operation))))
        except LuniError as error:
            logger.warning("a lock could not be released, it will expire: %s", type(error).__name__)
            return False

    async def run(self, function: Callable[P, Awaitable[T]], /, *arguments: P.args, **named: P.kwargs) -> T:
        async with self:
            return await function(*arguments, **named)

    async def __aenter__(self) -> Self:
        return await self.acquire()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.release()
