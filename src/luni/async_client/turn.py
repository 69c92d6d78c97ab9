"""`AsyncTurn`: the client of one turn for an event loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from luni import flows
from luni.async_client.documented import documented_like
from luni.client import Turn
from luni.errors import LuniError
from luni.models import (
    Message,
    SessionUpdate,
    ToolCall,
    ToolResult,
)
from luni.turns import Asked, TurnBase

if TYPE_CHECKING:
    from luni.async_client.memory import AsyncMemory

__all__ = ["AsyncTurn"]

logger = logging.getLogger("luni")


@documented_like(Turn)
class AsyncTurn(TurnBase):
    """One turn of a conversation: an asynchronous context manager. Reply in ``while turn.should_reply``."""

    def __init__(self, memory: AsyncMemory, scope: Any, asked: Asked) -> None:
        super().__init__(scope, memory._clock, memory._hook, asked)  # noqa: SLF001  the turn is its memory's
        self._memory = memory

    async def _run(self, flow: flows.Flow) -> Any:
        return await self._memory._run(self._scope.address, flow)  # noqa: SLF001  the turn is its memory's

    async def open(self) -> Self:
        try:
            while (pause := await self._run(self._open_flow())) is not None:
                await self._memory._sleep(pause)  # noqa: SLF001  the turn is its memory's
        except asyncio.CancelledError:
            await self.close()
            raise
        if self.should_reply:
            self._memory._renewals.add(self)  # noqa: SLF001  the turn is its memory's
        return self

    async def reply(
        self,
        *texts: str,
        steps: Sequence[ToolCall | ToolResult] = (),
        update: SessionUpdate | None = None,
        tags: Iterable[str] = (),
    ) -> list[Message]:
        stored = await self._run(self._reply_flow(texts, steps, update, tags))
        if not self.should_reply:
            self._memory._renewals.discard(self)  # noqa: SLF001  the turn is its memory's
        return stored  # type: ignore[no-any-return]

    async def skip(self, reason: str = "") -> None:
        await self._run(self._skip_flow(reason))
        logger.info("a turn was skipped", extra={"reason": reason})
        if not self.should_reply:
            self._memory._renewals.discard(self)  # noqa: SLF001  the turn is its memory's

    def detach(self) -> str:
        handle = self._detach()
        self._memory._renewals.discard(self)  # noqa: SLF001  the turn is its memory's
        return handle

    async def close(self) -> None:
        self._memory._renewals.discard(self)  # noqa: SLF001  the turn is its memory's
        operation = self._release()
        if operation is None:
            return
        try:
            await asyncio.shield(self._memory._execute(operation))  # noqa: SLF001  the same
        except LuniError as error:
            logger.warning("a turn's lease could not be released, it will expire: %s", type(error).__name__)

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
