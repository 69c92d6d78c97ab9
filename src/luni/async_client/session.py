"""`AsyncSession`: the client of one conversation for an event loop."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from luni import flows, views
from luni.async_client.documented import documented_like
from luni.async_client.lock import AsyncLock
from luni.async_client.turn import AsyncTurn
from luni.client import Session
from luni.context import Context
from luni.flows import sessions as session_flows
from luni.locks import locked_place
from luni.models import (
    Attachment,
    Message,
    Received,
    Replied,
    SessionExport,
    SessionInfo,
    SessionUpdate,
    ToolCall,
    ToolResult,
)
from luni.session import SessionBase
from luni.settings import Policy

if TYPE_CHECKING:
    from luni.async_client.memory import AsyncMemory

__all__ = ["AsyncSession"]


@documented_like(Session)
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

    async def update(self, update: SessionUpdate, *, expected_revision: int | None = None, token: int | None = None) -> int:
        self._memory._held_locks.refuse_lost(self._place, token)  # noqa: SLF001  the session is its memory's
        return await self._run(self._update_flow(update, expected_revision, token))  # type: ignore[no-any-return]

    async def set_summary(self, text: str) -> int:
        return await self._run(self._summary_flow(text))  # type: ignore[no-any-return]

    async def pause(self, for_seconds: float | None = None, *, by: str | None = None, reason: str | None = None) -> None:
        await self._run(self._pause_flow(for_seconds, by, reason))

    async def resume(self) -> bool:
        return await self._run(session_flows.resume(self._scope))  # type: ignore[no-any-return]

    async def mark_sent(self, message_id: str, *, provider_id: str | None = None) -> bool:
        return await self._run(self._sent_flow(message_id, provider_id))  # type: ignore[no-any-return]

    def lock(self, name: str, *, ttl: float = 30.0, wait: float = 0.0) -> AsyncLock:
        return AsyncLock(self._memory, locked_place(self.tenant, name, self.channel, self.user), ttl, wait)

    async def end(self) -> bool:
        return await self._run(session_flows.end(self._scope))  # type: ignore[no-any-return]

    async def export(self) -> SessionExport | None:
        return views.exported(self._scope.address, await self._run(self._read_flow(transcript=True)))
