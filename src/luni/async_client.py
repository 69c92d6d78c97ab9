"""`AsyncMemory`, `AsyncSession` and `AsyncTurn`: the twins of `luni.client`, with the same docstrings, awaited."""

from __future__ import annotations

import asyncio
import logging
import time
import weakref
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

from luni import flows, views
from luni import operations as ops
from luni.async_renewals import AsyncRenewals
from luni.backends import open_async_backend
from luni.client import Memory, Session, Turn
from luni.context import Context
from luni.errors import Indeterminate, LuniError
from luni.flows import sessions as session_flows
from luni.flows.awaiting import drive_async
from luni.memory import MemoryBase, SessionBase
from luni.models import (
    Address,
    Attachment,
    Health,
    Message,
    Page,
    Received,
    Replied,
    SessionExport,
    SessionInfo,
    SessionUpdate,
    ToolCall,
    ToolResult,
)
from luni.settings import Policy
from luni.turns import Asked, TurnBase

__all__ = ["AsyncMemory", "AsyncSession", "AsyncTurn"]

logger = logging.getLogger("luni")

C = TypeVar("C", bound=type)


def _documented_like(twin: type) -> Callable[[C], C]:
    """Give each method its twin's docstring: one contract, written once."""

    def document(cls: C) -> C:
        for name, member in vars(cls).items():
            if getattr(member, "__doc__", None) is None and hasattr(twin, name):
                member.__doc__ = getattr(twin, name).__doc__
        return cls

    return document


@_documented_like(Memory)
class AsyncMemory(MemoryBase):
    """The short-term memory of chat assistants, on one store, for one event loop. Close it when done.

    Make one with `open` or `from_env`. It does no I/O until it is used. On SQLite a worker thread does the work.
    """

    def _begin(self) -> None:
        self._backend = open_async_backend(self.settings.url, self.settings, self._clock)
        self._execute = self._observed(self._backend.execute) if self._hook else self._backend.execute
        self._locks: weakref.WeakValueDictionary[Address, asyncio.Lock] = weakref.WeakValueDictionary()
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

    async def _run(self, address: Address | None, flow: flows.Flow) -> Any:
        """Run a flow. The session's local lock is held until the outcome is final, even if the caller is cancelled."""
        self._check_open()
        if address is None:
            return await drive_async(flow, self._execute, self._abandon)
        lock = self._locks.get(address)
        if lock is None:
            lock = self._locks[address] = asyncio.Lock()
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

        future.add_done_callback(partial(undo, asks_again=isinstance(operation, ops.Open)))

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

    async def health(self) -> Health:
        began = time.perf_counter()
        try:
            self._check_open()
            await self._backend.ping()
        except LuniError as error:
            return self._unwell(self._backend.name, error)
        return self._well(self._backend.name, began)

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


@_documented_like(Session)
class AsyncSession(SessionBase):
    """The memory of one conversation: one session per (tenant, channel, user). Cheap to make; holds no state of its own."""

    def __init__(self, memory: AsyncMemory, scope: Any) -> None:
        super().__init__(scope)
        self._memory = memory

    async def _run(self, flow: flows.Flow) -> Any:
        return await self._memory._run(self._scope.address, flow)  # noqa: SLF001  the session is its memory's

    async def receive(
        self,
        text: str,
        *,
        message_id: str,
        attachments: Iterable[Attachment] = (),
        tags: Iterable[str] = (),
        metadata: dict[str, Any] | None = None,
        timestamp: float | None = None,
    ) -> Received:
        message = self._incoming(text, message_id, attachments, tags, metadata, required=True)
        return await self._run(self._receive_flow(message, timestamp))  # type: ignore[no-any-return]

    def turn(
        self,
        text: str | None = None,
        *,
        message_id: str | None = None,
        coalesce: float | None = None,
        wait: float = 0.0,
        attachments: Iterable[Attachment] = (),
        tags: Iterable[str] = (),
        metadata: dict[str, Any] | None = None,
        timestamp: float | None = None,
    ) -> AsyncTurn:
        asked = self._incoming_turn(text, message_id, attachments, tags, metadata, timestamp, coalesce, wait)
        return AsyncTurn(self._memory, self._scope, asked)

    async def reply(
        self,
        handle: str,
        *texts: str,
        steps: Sequence[ToolCall | ToolResult] = (),
        update: SessionUpdate | None = None,
        tags: Iterable[str] = (),
    ) -> Replied:
        return await self._run(self._reply_flow(handle, texts, steps, update, tags))  # type: ignore[no-any-return]

    async def append(
        self,
        role: str,
        text: str,
        *,
        message_id: str | None = None,
        tool_calls: Iterable[ToolCall] = (),
        tool_call_id: str | None = None,
        attachments: Iterable[Attachment] = (),
        metadata: dict[str, Any] | None = None,
        tags: Iterable[str] = (),
        timestamp: float | None = None,
    ) -> Message:
        flow = self._append_flow(role, text, message_id, tool_calls, tool_call_id, attachments, metadata, tags, timestamp)
        return await self._run(flow)  # type: ignore[no-any-return]

    async def load(self, messages: Sequence[Message], *, summary: str | None = None) -> int:
        return await self._run(self._load_flow(messages, summary))  # type: ignore[no-any-return]

    async def messages(self, limit: int = 20, *, before: str | None = None) -> list[Message]:
        self._check_limit(limit)
        snapshot = await self._run(self._read_flow(transcript=self._scope.policy.transcript_messages > 0))
        return self._messages_of(snapshot, limit, before)

    async def amend(self, message_id: str, text: str) -> Message | None:
        return await self._run(self._amend_flow(message_id, text))  # type: ignore[no-any-return]

    async def redact(self, message_id: str) -> Message | None:
        return await self._run(self._redact_flow(message_id))  # type: ignore[no-any-return]

    async def context(self, *, policy: Policy | None = None) -> Context:
        snapshot = await self._run(self._read_flow())
        return views.context_of(self._scope.under(policy), snapshot.view)

    async def info(self) -> SessionInfo | None:
        snapshot = await self._run(self._read_flow())
        return views.info(self._scope.address, snapshot.view, snapshot.unanswered) if snapshot.view else None

    async def update(self, update: SessionUpdate, *, expected_revision: int | None = None) -> int:
        return await self._run(self._update_flow(update, expected_revision))  # type: ignore[no-any-return]

    async def set_summary(self, text: str) -> int:
        return await self._run(self._summary_flow(text))  # type: ignore[no-any-return]

    async def pause(self, for_seconds: float | None = None, *, by: str | None = None, reason: str | None = None) -> None:
        await self._run(self._pause_flow(for_seconds, by, reason))

    async def resume(self) -> bool:
        return await self._run(session_flows.resume(self._scope))  # type: ignore[no-any-return]

    async def mark_sent(self, message_id: str, *, provider_id: str | None = None) -> bool:
        return await self._run(self._sent_flow(message_id, provider_id))  # type: ignore[no-any-return]

    async def end(self) -> bool:
        return await self._run(session_flows.end(self._scope))  # type: ignore[no-any-return]

    async def export(self) -> SessionExport | None:
        return views.exported(self._scope.address, await self._run(self._read_flow(transcript=True)))


@_documented_like(Turn)
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
                if self._clock.automatic:
                    await asyncio.sleep(pause)
                else:
                    self._clock.sleep(pause)
                    await asyncio.sleep(0)
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
