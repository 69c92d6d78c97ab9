"""What the synchronous and the asynchronous client share: settings, scopes, checks, and the flows of each call. No I/O."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import msgspec

from luni import drafts, flows, views, wire
from luni import operations as ops
from luni.backends.keys import part, session_keys
from luni.clock import Clock, SystemClock
from luni.context import ESTIMATE, Summariser, TokenCounter, extractive, message_tokens
from luni.errors import ConfigError, InvalidInput, LuniError, Unavailable
from luni.events import Executed, Hook, emit
from luni.flows import replies
from luni.flows import sessions as session_flows
from luni.flows import sweeps as sweep_flows
from luni.flows import turns as turn_flows
from luni.models import REMOVE, Address, Attachment, Health, Message, Page, Replied, SessionUpdate, ToolCall, Unanswered, Unsent
from luni.scope import MetSessions, Scope, Writer
from luni.settings import DEFAULT_POLICY, MAX_TTL, Policies, Settings, policy_for
from luni.turns import Asked

__all__ = ["MemoryBase", "SessionBase"]

MAX_PAGE = 200
MAX_MESSAGES = 10_000
MAX_COALESCE_MS = 60_000
MAX_WAIT_MS = 300_000


class MemoryBase:
    """Settings, policies, the writer's ids and the sessions met."""

    def __init__(
        self,
        settings: Settings,
        *,
        policies: Policies = None,
        on_event: Hook | None = None,
        summariser: Summariser = extractive,
        counter: TokenCounter = ESTIMATE,
        clock: Clock | None = None,
    ) -> None:
        self.settings = settings
        if not callable(policies):
            policy_for(policies, "", "")
        for name, given in (("on_event", on_event), ("summariser", summariser)):
            if given is not None and not callable(given):
                raise ConfigError(f"{name} must be callable")
        if not isinstance(counter, TokenCounter):
            raise ConfigError("counter must be a luni.TokenCounter")
        self._policies = policies
        self._hook = on_event
        self._summariser, self._counter = summariser, counter
        self._clock: Clock = clock or SystemClock()
        self._writer, self._met = Writer(), MetSessions()
        self._closed = False
        self._base = self._make_scope(Address("", "", ""), DEFAULT_POLICY)
        self._begin()

    def _begin(self) -> None:
        raise NotImplementedError

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable("the memory was closed")

    @classmethod
    def open(
        cls,
        url: str,
        *,
        policies: Policies = None,
        namespace: str = "luni",
        on_event: Hook | None = None,
        summariser: Summariser = extractive,
        counter: TokenCounter = ESTIMATE,
        clock: Clock | None = None,
        **settings: Any,
    ) -> Self:
        """Return a memory on the store at ``url``. No I/O, and nothing is read from the environment.

        ``url`` is ``sqlite:///file.db``, ``sqlite:////absolute/file.db``, ``sqlite://`` (in memory), or ``redis://``, ``rediss://``,
        ``valkey://``, ``unix://``. ``policies`` says how each tenant's channel is served; ``namespace`` replaces the leading
        ``luni`` of the keys; ``on_event`` is told what happened; ``settings`` are fields of `Settings`. Raises `ConfigError`.
        """
        if not isinstance(url, str):
            raise ConfigError("the URL must be a str")
        known = set(Settings.__struct_fields__)
        for name in settings:
            if name not in known:
                raise ConfigError(f"{name!r} is not a setting; see luni.Settings")
        found = Settings(url=url, namespace=namespace, **settings)
        return cls(found, policies=policies, on_event=on_event, summariser=summariser, counter=counter, clock=clock)

    @classmethod
    def from_env(
        cls,
        *,
        environ: Mapping[str, str] | None = None,
        dotenv: str | Path | None = ".env",
        policies: Policies = None,
        on_event: Hook | None = None,
    ) -> Self:
        """Return a memory set up by the environment (and the file ``.env``); raise `ConfigError` naming a bad setting."""
        settings = Settings.from_env(environ, dotenv=dotenv)
        logging.getLogger("luni").setLevel(settings.log_level)
        return cls(settings, policies=policies or settings.load_policies(), on_event=on_event)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} on {self.settings.url.partition('://')[0]}>"

    def _make_scope(self, address: Address, policy: Any) -> Scope:
        return Scope(
            address, policy, self.settings, self._writer, self._met, summariser=self._summariser, counter=self._counter
        )  # fmt: skip

    def _scope_at(self, address: Address) -> Scope:
        return self._make_scope(address, policy_for(self._policies, address.tenant, address.channel))

    def _scope(self, tenant: str, channel: str, user: str) -> Scope:
        address = Address(tenant, channel, user)
        try:
            session_keys(self.settings.namespace, address)  # every backend refuses the same addresses
        except TypeError:
            raise InvalidInput("tenant, channel and user must be str") from None
        return self._scope_at(address)

    def _tell(self, operation: ops.Operation, backend: str, outcome: str, began: float) -> None:
        address = getattr(operation, "address", None)
        tenant, channel = (address.tenant, address.channel) if address else (getattr(operation, "tenant", ""), "")
        seconds = time.perf_counter() - began
        policy = policy_for(self._policies, tenant, channel).name if channel else ""
        emit(self._hook, Executed(type(operation).__name__.lower(), backend, outcome, seconds, tenant, channel, policy))

    @staticmethod
    def _checked_id(session_id: str, tenant: str) -> tuple[str, str]:
        part(session_id, "session_id")
        part(tenant, "tenant")
        return session_id, tenant

    @staticmethod
    def _check_page(tenant: str, limit: int) -> None:
        part(tenant, "tenant")
        if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MAX_PAGE:
            raise InvalidInput(f"limit must be a whole number from 1 to {MAX_PAGE}")

    def _pending_flow(
        self, kind: ops.PendingKind, tenant: str | None, older_than: float, limit: int, *, claim: bool
    ) -> flows.Flow:
        if tenant is not None:
            part(tenant, "tenant")
        self._check_page(tenant or "any", limit)
        older_ms = drafts.milliseconds(older_than, "older_than", low=0, high=round(1000 * MAX_TTL))
        return sweep_flows.pending(self._base, kind, tenant, older_ms=older_ms, limit=limit, claim=claim)

    def _swept(self, session_of: Callable[[Scope], Any], found: tuple[int, list[Any]], *, unsent: bool) -> Page:
        now_ms, rows = found
        items: list[Any] = []
        for address, since_ms, seen in rows:
            scope = self._scope_at(address)
            scope.meet(seen.session_id)
            place = (address.tenant, address.channel, address.user, seen.session_id)
            if unsent:
                items += [
                    Unsent(*place, m.timestamp, (now_ms - m.timestamp_ms) / 1000, session_of(scope), m)
                    for m in views.in_sending_order(seen.texts)
                ]
            else:
                items.append(Unanswered(*place, since_ms / 1000, (now_ms - since_ms) / 1000, session_of(scope)))
        return Page(tuple(items))

    @staticmethod
    def _unwell(name: str, error: LuniError) -> Health:
        return Health(ok=False, degraded=False, backend=name, detail=str(error))

    @staticmethod
    def _well(name: str, began: float) -> Health:
        return Health(ok=True, degraded=False, backend=name, latency_ms=1000 * (time.perf_counter() - began))


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

    def _update_flow(self, update: SessionUpdate, expected_revision: int | None) -> flows.Flow:
        if expected_revision is not None and (isinstance(expected_revision, bool) or not isinstance(expected_revision, int)):
            raise InvalidInput("expected_revision must be a whole number")
        return session_flows.update(self._scope, drafts.checked_update(update, self._scope.settings), expected_revision, None)

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
