"""One turn: what opening it found, what may be done with it, and the flows that do it. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from luni import drafts, flows, views, wire
from luni import operations as ops
from luni.clock import Clock
from luni.context import Context
from luni.errors import Fenced, Indeterminate, InvalidInput, LuniError, Superseded, Unavailable
from luni.events import DamageFound, Hook, emit
from luni.flows import turns as turn_flows
from luni.models import Message, SessionUpdate, ToolCall, ToolResult, TurnState
from luni.scope import Scope

__all__ = ["TurnBase"]

RENEWALS_A_LEASE = 3


class TurnBase:
    """What the synchronous and the asynchronous turn share."""

    def __init__(self, scope: Scope, clock: Clock, hook: Hook | None, message: Message | None, timestamp: float | None) -> None:
        self._scope, self._clock, self._hook = scope, clock, hook
        self._message, self._timestamp = message, timestamp
        self._opened: ops.Opened | None = None
        self._view: ops.View | None = None
        self._context: Context | None = None
        self._owner = ""
        self._opening: tuple[str, int] | None = None
        self._cut = self._attempt = 0
        self._deadline = self._renew_at = 0.0
        self._done = self._lost = False
        self._unsure: tuple[Any, ops.Reply, list[Message]] | None = None

    @property
    def _found(self) -> ops.Opened:
        if self._opened is None:
            raise InvalidInput("the turn is not open yet: use it in a with block, or call open()")
        return self._opened

    @property
    def state(self) -> TurnState:
        """What opening found; see `luni.models.TurnState`."""
        return self._found.state  # type: ignore[return-value]  # the other states never leave the flows

    @property
    def should_reply(self) -> bool:
        """Whether this worker holds the turn and something waits for an answer: reply in ``while turn.should_reply``."""
        return self._found.state == "open" and not self._done

    @property
    def answered(self) -> bool:
        """Whether this message was answered before (by another delivery of it)."""
        return self._found.state == "duplicate"

    @property
    def answer(self) -> tuple[Message, ...] | None:
        """For a duplicate, what was answered, while the window still holds it; ``None`` otherwise."""
        found = self._found
        return views.with_answer(found.view, found.answer) or None

    @property
    def context(self) -> Context:
        """What the model may see: summary, focus, and the window with the messages being answered last."""
        if self._context is None:
            self._context = views.context_of(self._scope, self._current_view)
            if self._context.damaged:
                emit(self._hook, DamageFound(self._scope.address, self._context.damaged))
        return self._context

    @property
    def _current_view(self) -> ops.View | None:
        return self._view or self._found.view

    @property
    def messages(self) -> tuple[Message, ...]:
        """The messages this turn answers, oldest first."""
        view = self._current_view
        return views.answered_messages(view, self._cut) if view and self._found.state == "open" else ()

    @property
    def attempt(self) -> int:
        """Which attempt at the oldest of these messages this is; from 2 on, an earlier turn ended without an answer."""
        self._found  # noqa: B018  raises before the turn is open
        return self._attempt

    @property
    def token(self) -> int:
        """The lease's fencing token: grows with every turn of the session; 0 unless the turn is open."""
        return self._found.token

    @property
    def new_session(self) -> bool:
        """Whether this message began the session: the first interaction; true for one turn only."""
        return self._found.created

    @property
    def session_id(self) -> str:
        """The session's id; ``""`` for an idle turn where there is no session."""
        return self._found.session_id

    @property
    def lost(self) -> bool:
        """Whether the lease was lost: a reply would be refused. Ask before spending money on a model."""
        return self.should_reply and (self._lost or self._clock.monotonic() >= self._deadline)

    # What the two clients do with it.

    def _open_flow(self) -> flows.Flow:
        if self._opened is not None:
            return self
        sent_at = self._clock.monotonic()
        self._opening = self._opening or self._scope.next_id()
        self._owner = "{}.{}".format(*self._opening)
        try:
            opened = yield from turn_flows.open_turn(self._scope, self._opening, self._prepare(self._owner))
        except (Superseded, Unavailable):
            self._opening = None  # overtaken, or nothing was done: the next call asks anew
            raise
        self._opened, self._cut, self._attempt = opened, opened.cut, opened.attempt
        self._held_from(sent_at)
        return self

    def _prepare(self, owner: str) -> ops.Draft | None:
        if self._message is None:
            return None
        message = self._message
        if not message.id:
            message = msgspec.structs.replace(message, id=f"{owner}.0")
        return drafts.draft_of(self._scope, message, remember=True, timestamp=self._timestamp)[1]

    def _held_from(self, sent_at: float) -> None:
        """The lease is counted from before it was asked for, so it never seems longer than it is."""
        lease = self._scope.lease_ms / 1000
        self._deadline = sent_at + lease
        self._renew_at = sent_at + lease / RENEWALS_A_LEASE

    def _renewal(self) -> ops.Renew:
        return ops.Renew(
            address=self._scope.address, owner_id=self._owner, token=self._found.token, lease_ms=self._scope.lease_ms
        )  # fmt: skip

    def _renewed(self, sent_at: float, result: object) -> None:
        """Take note of a renewal's outcome; what could not be told is tried again until the deadline."""
        if result is True:
            self._held_from(sent_at)
        elif result is False:
            self._lost = True
        else:
            self._renew_at = self._clock.monotonic() + self._scope.lease_ms / 10_000

    def _release(self) -> ops.Release | None:
        """Return what closes a turn that is open and unanswered."""
        if self._opened is None or not self.should_reply:
            return None
        self._done = True
        return ops.Release(address=self._scope.address, owner_id=self._owner, token=self._found.token)

    def _reply_flow(
        self,
        texts: Sequence[str],
        steps: Sequence[ToolCall | ToolResult],
        update: SessionUpdate | None,
        tags: Iterable[str],
    ) -> flows.Flow:
        if not texts and not steps:
            raise InvalidInput("a reply needs a text or a step; skip() settles without an answer")
        if not all(isinstance(text, str) and text for text in texts):
            raise InvalidInput("a reply's texts must be str and not empty")
        return self._settle_flow("a", tuple(texts), drafts.several(steps, "steps"), update, drafts.several(tags, "tags"))

    def _skip_flow(self, reason: str) -> flows.Flow:
        wire.valid_text(reason, "reason", max_bytes=drafts.MAX_NAME_BYTES)
        return self._settle_flow("s", (), (), None, ())

    def _settle_flow(self, outcome: Any, texts: Any, steps: Any, update: SessionUpdate | None, tags: Any) -> flows.Flow:
        view = self._current_view
        if not self.should_reply or view is None:
            raise Fenced("the turn is not open (any more); nothing was stored")
        if self.lost:
            raise Fenced("the turn's lease was lost; nothing was stored")
        arguments = (outcome, texts, steps, update, tags)
        repeated = self._unsure is not None and self._unsure[0] == arguments
        if self._unsure is None or not repeated:
            self._unsure = (arguments, *self._reply_operation(view, *arguments))
        _, operation, messages = self._unsure
        sent_at = self._clock.monotonic()
        try:
            result: ops.Replied = yield from turn_flows.reply(self._scope, operation, view, update)
        except (Unavailable, Indeterminate):
            raise  # the same call again sends the same operation
        except Superseded:
            self._unsure = None  # a repetition, overtaken, that was never stored: it is sent under a new id
            if not repeated:
                raise
            return (yield from self._settle_flow(outcome, texts, steps, update, tags))
        except LuniError:
            self._unsure = None
            raise
        self._unsure = None
        self._after(result, sent_at)
        return [
            views.stored(message, operation.writer, operation.seq, index, operation.cut, result.clock_ms, result.now_ms)
            for index, message in enumerate(messages)
        ]

    def _after(self, result: ops.Replied, sent_at: float) -> None:
        if result.state == "released":
            self._done = True
            return
        self._view, self._context = result.view, None
        self._cut, self._attempt = result.cut, result.attempt
        self._held_from(sent_at)

    def _reply_operation(
        self, view: ops.View, outcome: Any, texts: Any, steps: Any, update: SessionUpdate | None, tags: Any
    ) -> tuple[ops.Reply, list[Message]]:
        scope = self._scope
        if update is not None:
            drafts.checked_update(update, scope.settings)
        writer, seq = scope.next_id()
        answer = drafts.answer_of(scope, f"{writer}.{seq}", texts, steps, tags)
        now_ms = max(self._found.now_ms, view.activity_ms)
        metadata, context = turn_flows.patches(view, update, now_ms, max_bytes=scope.settings.max_json_bytes)
        folding, folded_tokens = turn_flows.folding_of(scope, view, self._cut) or (None, 0)
        added = sum(draft.tokens for _, draft in answer)
        operation = ops.Reply(
            address=scope.address, writer=writer, seq=seq, session_id=view.session_id, ttl_ms=scope.ttl_ms,
            owner_id=self._owner, token=self._found.token, cut=self._cut, lease_ms=scope.lease_ms, outcome=outcome,
            drafts=tuple(draft for _, draft in answer), metadata=metadata, context=context,
            binding=bool(update and (update.metadata or update.variables)), focus=update.focus if update else None,
            folding=folding, token_est=max(0, view.token_est + added - folded_tokens),
            transcript=scope.policy.transcript_messages,
            first_unsent=len(answer) - len(texts) + 1 if scope.policy.outbox and texts else 0,
        )  # fmt: skip
        return operation, [message for message, _ in answer]
