"""`Memory`, `Session` and `Turn`: the synchronous client. `luni.async_client` is its twin, method for method."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, Self

from luni import flows, views
from luni import operations as ops
from luni.backends import open_backend
from luni.context import Context
from luni.errors import LuniError
from luni.flows import sessions as session_flows
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
from luni.renewals import Renewals
from luni.settings import Policy
from luni.turns import Asked, TurnBase

__all__ = ["Memory", "Session", "Turn"]

logger = logging.getLogger("luni")

STRIPES = 512


class Memory(MemoryBase):
    """The short-term memory of chat assistants, on one store. Threads may share it; close it when done.

    Make one with `open` or `from_env`. It does no I/O until it is used.
    """

    def _begin(self) -> None:
        self._backend = open_backend(self.settings.url, self.settings, self._clock)
        self._execute = self._observed(self._backend.execute) if self._hook else self._backend.execute
        self._pid, self._locks = os.getpid(), [threading.RLock() for _ in range(STRIPES)]
        self._renewals = Renewals(self._execute, self._clock, self._hook)

    def _observed(self, execute: Callable[[ops.Operation], Any]) -> Callable[[ops.Operation], Any]:
        def observed(operation: ops.Operation) -> Any:
            began = time.perf_counter()
            try:
                result = execute(operation)
            except LuniError as error:
                self._tell(operation, self._backend.name, type(error).__name__, began)
                raise
            self._tell(operation, self._backend.name, "ok", began)
            return result

        return observed

    def _run(self, address: Address | None, flow: flows.Flow) -> Any:
        """Run a flow. The session's local lock is held until the outcome is final, so its operations keep their order."""
        self._check_open()
        if address is None:
            return flows.drive(flow, self._execute)
        if self._pid != os.getpid():  # a forked child: who held these is not there to give them back
            self._pid, self._locks = os.getpid(), [threading.RLock() for _ in range(STRIPES)]
        with self._locks[hash(address) % STRIPES]:
            return flows.drive(flow, self._execute)

    def session(self, *, tenant: str, channel: str, user: str) -> Session:
        """Return the session of a (tenant, channel, user). No I/O; raises `InvalidInput` for an address that cannot be one."""
        return Session(self, self._scope(tenant, channel, user))

    def find(self, session_id: str, *, tenant: str) -> Session | None:
        """Return a tenant's session by its id, ``None`` if there is none with that id now."""
        address = self._run(None, session_flows.find(self._scope_at, self._base, *self._checked_id(session_id, tenant)))
        return Session(self, self._scope_at(address)) if address else None

    def sessions(self, tenant: str, *, paused: bool | None = None, limit: int = 50, cursor: str | None = None) -> Page:
        """Return a page of a tenant's sessions as `SessionInfo`, the latest activity first; ``paused`` filters.

        ``unanswered`` is not counted in lists. ``limit`` is 1 to 200; ``cursor`` is the former page's.
        """
        self._check_page(tenant, limit)
        flow = session_flows.sessions(self._base, tenant, paused=paused, limit=limit, cursor=cursor)
        return self._run(None, flow)  # type: ignore[no-any-return]

    def unanswered(self, tenant: str | None = None, *, older_than: float = 30.0, limit: int = 100, claim: bool = True) -> Page:
        """Return conversations whose oldest unanswered message has waited ``older_than`` seconds, as `Unanswered`.

        Of one tenant, or of all; the longest waiting first; without paused ones and those a turn is open in. What a call
        returns is claimed for it for the lease's length (60 s): no other call returns it, so several sweepers share the work.
        After that, what is still unanswered is returned again; ``claim=False`` only looks. ``limit`` is 1 to 200.
        """
        found = self._run(None, self._pending_flow("waiting", tenant, older_than, limit, claim=claim))
        return self._swept(lambda scope: Session(self, scope), found, unsent=False)

    def unsent(self, tenant: str | None = None, *, older_than: float = 30.0, limit: int = 100, claim: bool = True) -> Page:
        """Return the messages of replies that were stored ``older_than`` seconds ago and never marked as sent, as `Unsent`.

        Only replies under a policy with ``outbox`` wait to be marked. A conversation's messages are claimed together, as in
        `unanswered`, and come in their order, so a page can have more than ``limit`` messages: ``limit`` counts conversations.
        """
        found = self._run(None, self._pending_flow("unsent", tenant, older_than, limit, claim=claim))
        return self._swept(lambda scope: Session(self, scope), found, unsent=True)

    def health(self) -> Health:
        """Return whether the store answers, and how fast. Never raises because of the store."""
        began = time.perf_counter()
        try:
            self._check_open()
            self._backend.ping()
        except LuniError as error:
            return self._unwell(self._backend.name, error)
        return self._well(self._backend.name, began)

    def describe(self) -> dict[str, Any]:
        """Return what `luni doctor` shows of the store: versions, place, what a power failure would lose. No secrets."""
        self._check_open()
        return self._backend.describe()

    def close(self) -> None:
        """Let go of connections, files and the renewal thread; closing twice is fine. What comes after is `Unavailable`."""
        self._closed = True
        self._renewals.close()
        self._backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


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

    def update(self, update: SessionUpdate, *, expected_revision: int | None = None) -> int:
        """Change metadata, variables or focus, key by key; return the new revision. Creates the session if there is none.

        Concurrent changes of other keys survive. With ``expected_revision`` raises `Conflict` if the session is at another.
        """
        return self._run(self._update_flow(update, expected_revision))  # type: ignore[no-any-return]

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

    def end(self) -> bool:
        """End the session: everything of it is deleted; return whether there was one.

        The digests of its message ids stay for seven days, so a late second delivery does not begin a new session.
        """
        return self._run(session_flows.end(self._scope))  # type: ignore[no-any-return]

    def export(self) -> SessionExport | None:
        """Return everything stored of the session, ``None`` if there is none. Raises `Damaged` if an item cannot be read."""
        return views.exported(self._scope.address, self._run(self._read_flow(transcript=True)))


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
