"""`Turn`: the synchronous client of one turn."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from luni import flows
from luni.errors import LuniError
from luni.models import (
    Message,
    SessionUpdate,
    ToolCall,
    ToolResult,
)
from luni.turns import Asked, TurnBase

if TYPE_CHECKING:
    from luni.client.memory import Memory

__all__ = ["Turn"]

logger = logging.getLogger("luni")


class Turn(TurnBase):
    """One turn of a conversation: a context manager. Reply in ``while turn.should_reply``."""

    def __init__(self, memory: Memory, scope: Any, asked: Asked) -> None:
        super().__init__(scope, memory._clock, memory._hook, asked)  # noqa: SLF001  the turn is its memory's
        self._memory = memory

    def _run(self, flow: flows.Flow) -> Any:
        return self._memory._run(self._scope.address, flow)  # noqa: SLF001  the turn is its memory's

    def open(self) -> Self:
        """Accept the message and lease the conversation; one round trip for a client that has met the session.

        Gathers a burst and waits for the conversation first, if the turn was asked to.
        """
        try:
            while (pause := self._run(self._open_flow())) is not None:
                self._clock.sleep(pause)
        except KeyboardInterrupt:
            self.close()
            raise
        if self.should_reply:
            self._memory._renewals.add(self)  # noqa: SLF001  the turn is its memory's
        return self

    def reply(
        self,
        *texts: str,
        steps: Sequence[ToolCall | ToolResult] = (),
        update: SessionUpdate | None = None,
        tags: Iterable[str] = (),
    ) -> list[Message]:
        """Store the answer to everything the turn has seen and release the lease; return what was stored.

        Several texts are several bubbles; ``steps`` (tool calls and results) come before them. If newer messages have arrived,
        the lease stays, `context` is fresh and `should_reply` is true again. Raises `Fenced` (nothing was stored) if the lease
        was lost or the session paused. After `Unavailable` or `Indeterminate` the same call again is safe: it is the same
        operation.
        """
        stored = self._run(self._reply_flow(texts, steps, update, tags))
        if not self.should_reply:
            self._memory._renewals.discard(self)  # noqa: SLF001  the turn is its memory's
        return stored  # type: ignore[no-any-return]

    def skip(self, reason: str = "") -> None:
        """Settle everything the turn has seen without an answer (a poison message, a reaction); ``reason`` is logged."""
        self._run(self._skip_flow(reason))
        logger.info("a turn was skipped", extra={"reason": reason})
        if not self.should_reply:
            self._memory._renewals.discard(self)  # noqa: SLF001  the turn is its memory's

    def detach(self) -> str:
        """Leave the turn to whoever gets its handle, and return that: the lease is no longer renewed, nor released here.

        It ends after its length (60 s, or the policy's), unless `Session.reply` keeps it for newer messages.
        """
        handle = self._detach()
        self._memory._renewals.discard(self)  # noqa: SLF001  the turn is its memory's
        return handle

    def close(self) -> None:
        """Release the lease if the turn is still open; what was not answered stays unanswered. Never raises a store's error."""
        self._memory._renewals.discard(self)  # noqa: SLF001  the turn is its memory's
        operation = self._release()
        if operation is None:
            return
        try:
            self._memory._execute(operation)  # noqa: SLF001  the same
        except LuniError as error:
            logger.warning("a turn's lease could not be released, it will expire: %s", type(error).__name__)

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
