"""One turn: what opening it found, what may be done with it, and the flows that do it. No I/O."""

from __future__ import annotations

import secrets
from typing import Any

import msgspec

from luni import drafts, flows, views, wire
from luni import operations as ops
from luni.clock import Clock
from luni.context import Context
from luni.errors import Fenced, Indeterminate, InvalidInput, LuniError, Superseded, Unavailable
from luni.events import DamageFound, Event, Hook, LeaseLost, emit
from luni.flows import replies
from luni.flows import turns as turn_flows
from luni.leases import Leased
from luni.models import Message, TurnState
from luni.scope import Scope

__all__ = ["Asked", "TurnBase"]

NONCE_BYTES = 16
TICKET_MS = 2000
"""A turn that waits for its conversation keeps its place for so long without asking again: a dead worker's is free then."""
FIRST_POLL, LAST_POLL = 0.02, 0.2


class Asked(msgspec.Struct):
    """What a turn was asked for. Times are seconds."""

    message: Message | None
    timestamp: float | None = None
    coalesce: float | None = None
    wait: float = 0.0


class TurnBase(Leased):
    """What the synchronous and the asynchronous turn share."""

    def __init__(self, scope: Scope, clock: Clock, hook: Hook | None, asked: Asked) -> None:
        super().__init__(clock)
        self._scope, self._hook = scope, hook
        self._asked = asked
        self._opened: ops.Opened | None = None
        self._gathering: ops.Opened | None = None
        self._begun_at: float | None = None
        self._ticket, self._poll = "", FIRST_POLL
        self._view: ops.View | None = None
        self._context: Context | None = None
        self._owner = ""
        self._opening: tuple[str, int, str] | None = None
        self._cut = self._attempt = 0
        self._done = False
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
            self._context = views.context_of(self._scope, self._current_view, cut=self._cut if self.should_reply else None)
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
    def degraded(self) -> bool:
        """Whether the server was away when it was opened: exactly-once holds on this host, and its reply is stored late."""
        return self._found.degraded

    @property
    def lost(self) -> bool:
        """Whether the lease was lost: a reply would be refused. Ask before spending money on a model."""
        return self.should_reply and self._over

    def _detach(self) -> str:
        handle = self.handle
        if handle is None:
            raise Fenced("the turn is not open (any more): there is nothing to hand over")
        self._done = True
        return handle

    # What renews its lease needs of it.

    @property
    def _lease_seconds(self) -> float:
        return self._scope.lease_ms / 1000

    @property
    def _wanted(self) -> bool:
        return self.should_reply

    def _lease(self) -> ops.Lease:
        return ops.Lease(self._scope.address, self._owner, self._found.token, self._scope.lease_ms)

    def _lost_event(self) -> Event:
        return LeaseLost(self._scope.address, self.token)

    # What the two clients do with it.

    def _open_flow(self) -> flows.Flow:
        """Do one step; return how many seconds to sleep before the next one, ``None`` when the turn is opened."""
        if self._opened is not None:
            return None
        if self._gathering is not None:
            return (yield from self._gather(self._gathering))
        sent_at = self._clock.monotonic()
        self._begun_at = sent_at if self._begun_at is None else self._begun_at
        self._opening = self._opening or (*self._scope.next_id(), secrets.token_urlsafe(NONCE_BYTES))
        writer, seq, nonce = self._opening
        try:
            opened = yield from turn_flows.open_turn(
                self._scope, self._opening, self._prepare(f"{writer}.{seq}"), **self._queueing(f"{writer}.{seq}", sent_at)
            )
        except (Superseded, Unavailable):
            self._opening = None  # overtaken, or nothing was done: the next call asks anew
            raise
        if opened.state == "queued":
            self._opening = None
            return self._next_poll(sent_at)
        self._owner = f"{writer}.{seq}.{nonce}"
        self._held_from(sent_at)
        if opened.gather_ms:
            self._gathering = opened
            return opened.gather_ms / 1000
        self._begin(opened)
        return None

    def _queueing(self, owner: str, sent_at: float) -> dict[str, Any]:
        """The operation's own words for gathering a burst and for waiting one's turn."""
        quiet_ms, burst_ms = self._scope.burst_ms(self._asked.coalesce)
        fields: dict[str, Any] = {"quiet_ms": quiet_ms, "burst_ms": burst_ms} if quiet_ms else {}
        if self._asked.wait:
            self._ticket = self._ticket or owner
            over = sent_at >= (self._begun_at or 0.0) + self._asked.wait
            fields |= {"ticket": self._ticket, "ticket_ms": 0 if over else TICKET_MS}
        return fields

    def _next_poll(self, sent_at: float) -> float:
        self._poll = min(self._poll * 1.5, LAST_POLL)
        return max(0.001, min(self._poll, (self._begun_at or 0.0) + self._asked.wait - sent_at))

    def _gather(self, first: ops.Opened) -> flows.Flow:
        sent_at = self._clock.monotonic()
        quiet_ms, burst_ms = self._scope.burst_ms(self._asked.coalesce)
        found: ops.Gathered = yield from flows.attempt(
            self._scope,
            ops.Gather(
                address=self._scope.address, owner_id=self._owner, token=first.token, lease_ms=self._scope.lease_ms,
                quiet_ms=quiet_ms, burst_ms=burst_ms,
            ),
        )  # fmt: skip
        if found.state == "gather":
            return found.gather_ms / 1000
        self._gathering = None
        if found.state == "lost":  # paused, answered by a person, or overtaken: opening again tells
            self._opening = None
            return 0.0
        self._held_from(sent_at)
        self._begin(
            msgspec.structs.replace(first, now_ms=found.now_ms, cut=found.cut, attempt=found.attempt, view=found.view)
        )  # fmt: skip
        return None

    def _begin(self, opened: ops.Opened) -> None:
        self._opened, self._cut, self._attempt = opened, opened.cut, opened.attempt

    def _prepare(self, owner: str) -> ops.Draft | None:
        message = self._asked.message
        if message is None:
            return None
        if not message.id:
            message = self._asked.message = msgspec.structs.replace(message, id=f"{owner}.0")
        return drafts.draft_of(self._scope, message, remember=True, timestamp=self._asked.timestamp)[1]

    def _release(self) -> ops.Release | None:
        """Return what closes a turn that is open and unanswered, or still gathers."""
        held = self._gathering or (self._opened if self._opened and self.should_reply else None)
        if held is None or self._elsewhere:
            return None
        self._done, self._gathering = True, None
        return ops.Release(address=self._scope.address, owner_id=self._owner, token=held.token)

    @property
    def handle(self) -> str | None:
        """What `Session.reply` needs to reply to this turn from another process; ``None`` unless a reply is due.

        Opaque, and safe to hand to a client: it opens nothing but this very turn, as long as its lease lasts.
        """
        return replies.handle_of(self._held_now()) if self.should_reply else None

    def _held_now(self) -> replies.Held:
        found = self._found
        return replies.Held(replies.HANDLE_FORM, found.session_id, self._owner, found.token, self._cut)

    def _reply_flow(self, texts: Any, steps: Any, update: Any, tags: Any) -> flows.Flow:
        return self._settle_flow(replies.checked(texts, steps, update, tags))

    def _skip_flow(self, reason: str) -> flows.Flow:
        wire.valid_text(reason, "reason", max_bytes=drafts.MAX_NAME_BYTES)
        return self._settle_flow(replies.Answer("s"))

    def _settle_flow(self, answer: replies.Answer) -> flows.Flow:
        view = self._current_view
        if not self.should_reply or view is None:
            raise Fenced("the turn is not open (any more); nothing was stored")
        if self.lost:
            raise Fenced("the turn's lease was lost; nothing was stored")
        repeated = self._unsure is not None and self._unsure[0] == answer
        if self._unsure is None or not repeated:
            made = replies.reply_operation(
                self._scope, self._held_now(), self._scope.next_id(), view, self._found.now_ms, answer
            )  # fmt: skip
            self._unsure = (answer, *made)
        _, operation, messages = self._unsure
        sent_at = self._clock.monotonic()
        try:
            result: ops.Replied = yield from turn_flows.reply(self._scope, operation, view, answer.update)
        except (Unavailable, Indeterminate):
            raise  # the same call again sends the same operation
        except Superseded:
            self._unsure = None  # a repetition, overtaken, that was never stored: it is sent under a new id
            if not repeated:
                raise
            return (yield from self._settle_flow(answer))
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
