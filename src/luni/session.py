"""What the synchronous and the asynchronous session share: checks, and the flow of each call. No I/O."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from luni import drafts, flows, views, wire
from luni import operations as ops
from luni.context import message_tokens
from luni.errors import InvalidInput
from luni.flows import replies
from luni.flows import sessions as session_flows
from luni.flows import sweeps as sweep_flows
from luni.flows import turns as turn_flows
from luni.models import REMOVE, Attachment, Message, Replied, SessionUpdate, ToolCall
from luni.scope import Scope
from luni.turns import Asked

__all__ = ["SessionBase"]

MAX_MESSAGES = 10_000
MAX_COALESCE_MS = 60_000
MAX_WAIT_MS = 300_000


class SessionBase:
    """A session's address and the flow of each call."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def __repr__(self) -> str:
        return f"<{type(self).__name__} on channel {self.channel!r}>"

    @property
    def tenant(self) -> str:
        """Whose assistant it is."""
        return self._scope.address.tenant

    @property
    def channel(self) -> str:
        """Where the conversation is held."""
        return self._scope.address.channel

    @property
    def user(self) -> str:
        """Who talks to the assistant."""
        return self._scope.address.user

    def _incoming(
        self,
        text: str,
        message_id: str,
        attachments: Iterable[Attachment],
        tags: Iterable[str],
        metadata: dict[str, Any] | None,
        *,
        required: bool,
    ) -> Message:
        if required and (not isinstance(message_id, str) or not message_id):
            raise InvalidInput("message_id must be a str and not empty: it is what makes a message exactly-once")
        return drafts.message(
            self._scope.settings, role="user", text=text, message_id=message_id, tags=tags,
            attachments=attachments, metadata=metadata,
        )  # fmt: skip

    def _incoming_turn(
        self,
        text: str | None,
        message_id: str | None,
        attachments: Iterable[Attachment],
        tags: Iterable[str],
        metadata: dict[str, Any] | None,
        timestamp: float | None,
        coalesce: float | None,
        wait: float,
    ) -> Asked:
        if coalesce is not None:
            drafts.milliseconds(coalesce, "coalesce", low=0, high=MAX_COALESCE_MS)
        drafts.milliseconds(wait, "wait", low=0, high=MAX_WAIT_MS)
        message = None
        if text is not None:
            given = message_id is not None
            message = self._incoming(text, message_id or "", attachments, tags, metadata, required=given)
        elif message_id is not None or attachments or tags or metadata:
            raise InvalidInput(
                "message_id, attachments, tags and metadata belong to a text; a turn without one answers what waits"
            )
        return Asked(message, timestamp, coalesce, wait)

    def _receive_flow(self, message: Message, timestamp: float | None) -> flows.Flow:
        counted, draft = drafts.draft_of(self._scope, message, remember=True, timestamp=timestamp)
        return turn_flows.receive(self._scope, counted, draft)

    def _append_flow(
        self,
        role: str,
        text: str,
        message_id: str | None,
        tool_calls: Iterable[ToolCall],
        tool_call_id: str | None,
        attachments: Iterable[Attachment],
        metadata: dict[str, Any] | None,
        tags: Iterable[str],
        timestamp: float | None,
    ) -> flows.Flow:
        if message_id is not None and not message_id:
            raise InvalidInput("message_id must not be empty; None lets luni give one")
        message = drafts.message(
            self._scope.settings, role=role, text=text, message_id=message_id or "", tags=tags, attachments=attachments,
            metadata=metadata, tool_calls=tool_calls, tool_call_id=tool_call_id,
        )  # fmt: skip

        def prepare(owner: str) -> drafts.Draft:
            named = message if message.id else msgspec.structs.replace(message, id=f"{owner}.0")
            return drafts.draft_of(self._scope, named, remember=message_id is not None, timestamp=timestamp)

        return session_flows.append(self._scope, prepare)

    def _load_flow(self, messages: Sequence[Message], summary: str | None) -> flows.Flow:
        given = drafts.several(messages, "messages")
        if len(given) > drafts.MAX_LOAD:
            raise InvalidInput(f"at most {drafts.MAX_LOAD} messages are accepted in one load")
        named = [self._importable(message, index) for index, message in enumerate(given)]
        if len({message.id for message in named}) < len(named):
            raise InvalidInput("two messages have the same id")
        return session_flows.load(self._scope, named, None if summary is None else drafts.clipped_summary(summary))

    def _importable(self, given: Message, index: int) -> Message:
        """Messages without an id get one from their place and words, so that the same import gives the same ids."""
        if not isinstance(given, Message):
            raise InvalidInput("load takes luni.Message objects")
        if isinstance(given.timestamp_ms, bool) or not isinstance(given.timestamp_ms, int):
            raise InvalidInput("timestamp_ms must be a whole number")
        digest = hashlib.sha256(f"{index}\n{given.role}\n{given.text!r}\n{given.timestamp_ms}".encode()).hexdigest()[:24]
        checked = drafts.message(
            self._scope.settings, role=given.role, text=given.text, message_id=given.id or f"load-{digest}", tags=given.tags,
            attachments=given.attachments, metadata=given.metadata, tool_calls=given.tool_calls,
            tool_call_id=given.tool_call_id,
        )  # fmt: skip
        drafts.draft_of(self._scope, checked, remember=False, timestamp=given.timestamp_ms / 1000)
        return msgspec.structs.replace(checked, timestamp_ms=given.timestamp_ms)

    def _read_flow(self, *, transcript: bool = False) -> flows.Flow:
        return flows.attempt(self._scope, ops.Read(address=self._scope.address, transcript=transcript))

    @staticmethod
    def _check_limit(limit: int) -> None:
        if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MAX_MESSAGES:
            raise InvalidInput(f"limit must be a whole number from 1 to {MAX_MESSAGES}")

    @staticmethod
    def _messages_of(snapshot: ops.Snapshot, limit: int, before: str | None) -> list[Message]:
        if snapshot.view is None:
            return []
        found = views.whole(snapshot.view)
        if len(snapshot.transcript) > len(found):
            found = views.readable(reversed(snapshot.transcript))
        if before is not None:
            place = next((i for i, message in enumerate(found) if message.id == before), 0)
            found = found[:place]
        return found[-limit:]

    def _amend_flow(self, message_id: str, text: str) -> flows.Flow:
        new = wire.valid_text(text, "text", max_bytes=self._scope.settings.max_text_bytes)

        def rewrite(message: Message) -> dict[str, Any]:
            if message.redacted:
                raise InvalidInput("the message was redacted; it cannot be amended")
            changed = msgspec.structs.replace(message, text=new, tokens=-1, counter="")
            tokens = message_tokens(changed, self._scope.counter)
            return {
                "text": new,
                "tokens": tokens,
                "counter": self._scope.counter.name,
                "amended": message.amended + 1,
                "id": message.id,
            }

        return session_flows.amend(self._scope, message_id, rewrite)

    def _redact_flow(self, message_id: str) -> flows.Flow:
        def rewrite(message: Message) -> dict[str, Any]:
            gone = {"attachments": REMOVE, "metadata": REMOVE, "tags": [], "id": message.id}
            calls = [{"id": call.id, "name": call.name, "arguments": "{}"} for call in message.tool_calls]
            tokens = {"tokens": 0, "counter": self._scope.counter.name, "redacted": True}
            return {"text": "", **gone, **tokens, **({"tool_calls": calls} if calls else {})}

        return session_flows.amend(self._scope, message_id, rewrite)

    @property
    def _place(self) -> ops.Place:
        """Whose locks guard its writes."""
        return ops.Place(self.tenant, "", self.channel, self.user)

    def _update_flow(self, update: SessionUpdate, expected_revision: int | None, token: int | None) -> flows.Flow:
        if expected_revision is not None and (isinstance(expected_revision, bool) or not isinstance(expected_revision, int)):
            raise InvalidInput("expected_revision must be a whole number")
        checked = drafts.checked_update(update, self._scope.settings)
        return session_flows.update(self._scope, checked, expected_revision, None, drafts.checked_token(token))

    def _pause_flow(self, for_seconds: float | None, by: str | None, reason: str | None) -> flows.Flow:
        duration_ms = 0
        if for_seconds is not None:
            duration_ms = drafts.milliseconds(for_seconds, "for_seconds", low=1, high=self._scope.ttl_ms)
        given = [
            None if value is None else wire.valid_text(value, name, max_bytes=drafts.MAX_ID_BYTES)
            for name, value in (("by", by), ("reason", reason))
        ]
        return session_flows.pause(self._scope, duration_ms, msgspec.json.encode(given))

    def _reply_flow(self, handle: str, texts: Any, steps: Any, update: Any, tags: Any) -> flows.Flow:
        answer = replies.checked(texts, steps, update, tags)
        stored, result, held = yield from replies.by_handle(self._scope, handle, answer)
        if held is None:
            return Replied(tuple(stored))
        context = views.context_of(self._scope, result.view, cut=held.cut)
        return Replied(tuple(stored), should_reply=True, context=context, handle=replies.handle_of(held))

    def _sent_flow(self, message_id: str, provider_id: str | None) -> flows.Flow:
        wire.valid_text(message_id, "message_id", max_bytes=drafts.MAX_ID_BYTES)
        noted = b""
        if provider_id:
            noted = msgspec.json.encode(wire.valid_text(provider_id, "provider_id", max_bytes=drafts.MAX_ID_BYTES))
        return sweep_flows.mark_sent(self._scope, message_id, noted)

    def _summary_flow(self, text: str) -> flows.Flow:
        return session_flows.update(self._scope, SessionUpdate(), None, drafts.clipped_summary(text))
