"""`Session`: the synchronous client of one conversation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from luni import flows, views
from luni.client.lock import Lock
from luni.client.turn import Turn
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
    from luni.client.memory import Memory

__all__ = ["Session"]


class Session(SessionBase):
    """The memory of one conversation: one session per (tenant, channel, user). Cheap to make; holds no state of its own."""

    def __init__(self, memory: Memory, scope: Any) -> None:
        super().__init__(scope)
        self._memory = memory

    def _run(self, flow: flows.Flow) -> Any:
        return self._memory._run(self._scope.address, flow)  # noqa: SLF001  the session is its memory's

    def receive(
        self,
        text: str,
        *,
        message_id: str,
        attachments: Iterable[Attachment] = (),
        tags: Iterable[str] = (),
        metadata: dict[str, Any] | None = None,
        timestamp: float | None = None,
    ) -> Received:
        """Store a message once, to be answered by a turn: what a webhook does before it says 200.

        One atomic step, no lease. A second delivery of ``message_id`` is a ``duplicate`` and writes nothing. ``timestamp`` is
        in seconds since the epoch; the server's time without it. Raises `Backlog` if 120 messages wait for an answer.
        """
        message = self._incoming(text, message_id, attachments, tags, metadata, required=True)
        return self._run(self._receive_flow(message, timestamp))  # type: ignore[no-any-return]

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
    ) -> Turn:
        """Return a turn: accept a message and answer it, or with no text answer what waits.

        I/O happens on entering the ``with`` block. ``message_id=None`` gives no protection against second deliveries.
        Leaving the block without an answer leaves the message unanswered, to be opened again by the next turn.

        ``coalesce`` (seconds; the policy's without it) gathers a burst: the turn opens when nobody has said anything for so
        long, at the latest ``coalesce_max`` (the policy's) after the first message; the other messages of the burst are
        ``joined``. ``wait`` (seconds) queues for a conversation another turn is open in, instead of joining: first come, first
        served, and each of them answers what came up to its own message. What is over by then is ``joined``.
        """
        asked = self._incoming_turn(text, message_id, attachments, tags, metadata, timestamp, coalesce, wait)
        return Turn(self._memory, self._scope, asked)

    def reply(
        self,
        handle: str,
        *texts: str,
        steps: Sequence[ToolCall | ToolResult] = (),
        update: SessionUpdate | None = None,
        tags: Iterable[str] = (),
    ) -> Replied:
        """Reply to a turn that was opened elsewhere, by its `Turn.handle`; otherwise as `Turn.reply`. Two round trips.

        Raises `Fenced` (nothing was stored) if the turn's lease has ended, and `InvalidInput` for what is no handle. The same
        call again is the same operation, whoever makes it.
        """
        return self._run(self._reply_flow(handle, texts, steps, update, tags))  # type: ignore[no-any-return]

    def append(
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
        """Append a message without a turn and return it as stored.

        Role ``human`` or ``assistant`` settles what came before it. With ``message_id`` a repetition stores nothing and returns
        the message stored before.
        """
        flow = self._append_flow(role, text, message_id, tool_calls, tool_call_id, attachments, metadata, tags, timestamp)
        return self._run(flow)  # type: ignore[no-any-return]

    def load(self, messages: Sequence[Message], *, summary: str | None = None) -> int:
        """Import a history, oldest first, after what is there; return how many messages were added.

        Idempotent: messages up to the last one that is already there (by id) are passed over, and so is the very same import.
        What leaves the window is folded into the summary, unless ``summary`` is given to begin with.
        """
        return self._run(self._load_flow(messages, summary))  # type: ignore[no-any-return]

    def messages(self, limit: int = 20, *, before: str | None = None) -> list[Message]:
        """Return the newest ``limit`` messages held (before the message with id ``before``), oldest first.

        Held are the window and what waits to be folded, and the transcript where the policy keeps one. Raises `Damaged` if one
        of them cannot be read.
        """
        self._check_limit(limit)
        snapshot = self._run(self._read_flow(transcript=self._scope.policy.transcript_messages > 0))
        return self._messages_of(snapshot, limit, before)

    def amend(self, message_id: str, text: str) -> Message | None:
        """Replace a stored message's text (an edit, a transcript that arrived later); ``None`` if it is no longer held."""
        return self._run(self._amend_flow(message_id, text))  # type: ignore[no-any-return]

    def redact(self, message_id: str) -> Message | None:
        """Take a stored message's text, attachments and metadata away; ``None`` if it is no longer held.

        What was folded into the summary before is not undone: see `set_summary`.
        """
        return self._run(self._redact_flow(message_id))  # type: ignore[no-any-return]

    def context(self, *, policy: Policy | None = None) -> Context:
        """Return what a model may see now, under ``policy`` if given. Writes nothing."""
        snapshot = self._run(self._read_flow())
        return views.context_of(self._scope.under(policy), snapshot.view)

    def info(self) -> SessionInfo | None:
        """Return the session without its messages, ``None`` if there is none. Writes nothing."""
        snapshot = self._run(self._read_flow())
        return views.info(self._scope.address, snapshot.view, snapshot.unanswered) if snapshot.view else None

    def update(self, update: SessionUpdate, *, expected_revision: int | None = None, token: int | None = None) -> int:
        """Change metadata, variables or focus, key by key; return the new revision. Creates the session if there is none.

        Concurrent changes of other keys survive. With ``expected_revision`` raises `Conflict` if the session is at another.
        With ``token``, that of one of this session's locks (`lock`), raises `Fenced` unless that lock is held with it.
        """
        self._memory._held_locks.refuse_lost(self._place, token)  # noqa: SLF001  the session is its memory's
        return self._run(self._update_flow(update, expected_revision, token))  # type: ignore[no-any-return]

    def set_summary(self, text: str) -> int:
        """Replace the summary (at most 400 characters, cut between grapheme clusters); return the new revision."""
        return self._run(self._summary_flow(text))  # type: ignore[no-any-return]

    def pause(self, for_seconds: float | None = None, *, by: str | None = None, reason: str | None = None) -> None:
        """Let a person take over: messages are stored and wait, no turn opens, an open turn's reply is `Fenced`.

        The person's words go in with ``append("human", …)``, which settles what came before them. What nobody has settled when
        the session is resumed waits for a turn. After ``for_seconds`` (at most the session's expiry, by the server's clock) it
        resumes by itself; with ``None`` somebody has to. ``by`` and ``reason`` are shown by `info`. A pause of a paused session
        replaces it; one where there is no session yet begins it.
        """
        self._run(self._pause_flow(for_seconds, by, reason))

    def resume(self) -> bool:
        """End a pause; return whether there was one. What waits is answered by the next turn: see `turn` without a text."""
        return self._run(session_flows.resume(self._scope))  # type: ignore[no-any-return]

    def mark_sent(self, message_id: str, *, provider_id: str | None = None) -> bool:
        """Confirm that a reply's message was sent: `Memory.unsent` offers it no more. Return whether it had waited for that.

        ``provider_id`` is stored with the message, as far as it is still held. Not an activity. For policies with ``outbox``.
        """
        return self._run(self._sent_flow(message_id, provider_id))  # type: ignore[no-any-return]

    def lock(self, name: str, *, ttl: float = 30.0, wait: float = 0.0) -> Lock:
        """Return a lock of this session, to be used in a ``with`` block: as `Memory.lock`, but raises `NoSession` without one.

        Its token guards `update`. It does not stop turns: those have a lease of their own. No I/O.
        """
        return Lock(self._memory, locked_place(self.tenant, name, self.channel, self.user), ttl, wait)

    def end(self) -> bool:
        """End the session: everything of it is deleted; return whether there was one.

        The digests of its message ids stay for seven days, so a late second delivery does not begin a new session.
        """
        return self._run(session_flows.end(self._scope))  # type: ignore[no-any-return]

    def export(self) -> SessionExport | None:
        """Return everything stored of the session, ``None`` if there is none. Raises `Damaged` if an item cannot be read."""
        return views.exported(self._scope.address, self._run(self._read_flow(transcript=True)))
