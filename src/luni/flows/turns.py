"""The flows of a turn: accepting, opening, replying, and folding what left the window."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from luni import operations as ops
from luni import views, wire
from luni.context.window import FOLD_CHUNK, foldable
from luni.errors import Backlog, Conflict, Fenced, Unavailable
from luni.flows import Flow, attempt
from luni.models import Message, Received, SessionUpdate
from luni.scope import Scope

__all__ = ["fold", "fold_waiting", "folding_of", "making_room", "meeting", "open_turn", "patches", "receive", "reply"]

MEETINGS = 8
MERGES = 50

_FENCED = {
    "ended": "the session was ended; nothing was stored",
    "paused": "the session is paused: a person has taken over; nothing was stored",
    "lease": "the turn's lease is no longer held; nothing was stored",
}


def meeting(scope: Scope, make: Callable[[str, bool], ops.Operation]) -> Flow:
    """Execute what ``make(session id, may it be new)`` gives, against the session that there is."""
    for _ in range(MEETINGS):
        met = scope.met()
        operation = make(met or wire.new_id(), met is None)
        result = yield from attempt(scope, operation)
        if not isinstance(result, ops.Met):
            return result
        scope.meet(result.session_id)
    raise Unavailable("the session changes faster than it can be met; nothing was stored")


def making_room(scope: Scope, make: Callable[[str, bool], ops.Operation]) -> Flow:
    """The same, folding first where a hundred messages wait to be folded."""
    for _ in range(MEETINGS):
        result = yield from meeting(scope, make)
        if result.state == "full":
            break
        if result.state != "fold":
            scope.meet(result.session_id)
            return result
        if not (yield from fold_waiting(scope)):
            break
    raise Backlog("too many messages of this conversation wait for an answer; nothing was stored")


def receive(scope: Scope, message: Message, draft: ops.Draft) -> Flow:
    """Accept a message without a turn; return what became of it."""
    writer, seq = scope.next_id()

    def make(session_id: str, fresh: bool) -> ops.Operation:  # noqa: FBT001  as `meeting` calls it
        return ops.Receive(
            address=scope.address, writer=writer, seq=seq, session_id=session_id, ttl_ms=scope.ttl_ms,
            draft=draft, fresh=fresh, transcript=scope.policy.transcript_messages, outage=scope.policy.outage,
        )  # fmt: skip

    done: ops.Opened = yield from making_room(scope, make)
    if done.state == "duplicate":
        texts = (*done.view.window, *done.view.waiting) if done.view else ()
        return Received("duplicate", views.with_id(texts, message.id), done.session_id, degraded=done.degraded)
    stored = views.stored(message, writer, seq, 0, done.arrival, done.clock_ms, done.timestamp_ms)
    return Received("accepted", stored, done.session_id, done.created, done.degraded)


def open_turn(scope: Scope, identity: tuple[str, int, str], draft: ops.Draft | None, **queueing: Any) -> Flow:
    """Accept a message, if there is one, and lease the conversation; return what was found."""
    writer, seq, nonce = identity

    def make(session_id: str, fresh: bool) -> ops.Operation:  # noqa: FBT001  as `meeting` calls it
        return ops.Open(
            address=scope.address, writer=writer, seq=seq, session_id=session_id, ttl_ms=scope.ttl_ms, draft=draft,
            lease_ms=scope.lease_ms, fresh=fresh, nonce=nonce, transcript=scope.policy.transcript_messages,
            outage=scope.policy.outage, **queueing,
        )  # fmt: skip

    return (yield from making_room(scope, make))


def reply(scope: Scope, operation: ops.Reply, view: ops.View, update: SessionUpdate | None) -> Flow:
    """Store a turn's answer; merge the update again while others change the same texts."""
    for _ in range(MERGES):
        result = yield from attempt(scope, operation)
        if isinstance(result, ops.Replied):
            break
        assert isinstance(result, ops.Changed)  # noqa: S101  the only other answer to a reply
        view = msgspec.structs.replace(view, metadata=result.metadata, context=result.context)
        metadata, context = patches(view, update, view.activity_ms, max_bytes=scope.settings.max_json_bytes)
        operation = msgspec.structs.replace(operation, metadata=metadata, context=context)
    else:
        raise Conflict("others change this session faster than the update can be merged; nothing was stored")
    if result.state == "full":
        raise Backlog(f"{ops.UNSENT_MAX} messages of this conversation wait to be marked as sent; nothing was stored")
    if result.state == "fenced":
        raise Fenced(_FENCED[result.reason])
    return result


def patches(
    view: ops.View, update: SessionUpdate | None, now_ms: int, *, max_bytes: int
) -> tuple[ops.Patch | None, ops.Patch | None]:
    """Return the new metadata and context texts, each with the digest of what it was made from; ``None``: leave it."""
    metadata = context = None
    changes: dict[str, Any] = dict(update.metadata) if update else {}
    if b'"primeiraInteracao":true' in view.metadata and "primeiraInteracao" not in changes and view.count:
        changes["primeiraInteracao"] = False
    if changes:
        text = wire.merge(view.metadata, changes, "metadata", max_bytes=max_bytes)
        metadata = ops.Patch(wire.text_digest(view.metadata), text, tuple(update.metadata) if update else ())
    stamped = wire.stamped_context(view.context, now_ms)
    if update and update.variables:
        stamped = wire.merge_inner(stamped or view.context, "variables", update.variables, "variables", max_bytes=max_bytes)
    if stamped is not None:
        context = ops.Patch(wire.text_digest(view.context), stamped, tuple(update.variables) if update else ())
    return metadata, context


def folding_of(scope: Scope, view: ops.View, settled: int) -> tuple[ops.Folding, int] | None:
    """Return the summary that covers what may be folded now, and the tokens of what it covers; ``None`` under ten."""
    if len(view.waiting) < FOLD_CHUNK:
        return None
    waiting = views.in_place(view.waiting)
    called = any(message.tool_calls for message in waiting)  # only a call's results may lie in the window
    window = views.in_place(view.window[::-1]) if called else []
    count = foldable(waiting, settled=settled, stored=window)
    if count == 0:
        return None
    summary = scope.summarise(view.summary, waiting[:count])
    return ops.Folding(view.folded, count, summary, _basis(view)), sum(max(0, m.tokens) for m in waiting[:count])


def _basis(view: ops.View) -> str:
    return wire.text_digest(view.summary.encode())


def fold_waiting(scope: Scope) -> Flow:
    """Fold what may be folded; return whether there is room now."""
    snapshot = yield from attempt(scope, ops.Read(address=scope.address))
    view = snapshot.view
    if view is None or len(view.waiting) < ops.FOLD_MAX:
        return True
    folding = folding_of(scope, view, view.settled)
    if folding is None:
        return False
    yield from fold(scope, view.session_id, folding[0])
    return True


def fold(scope: Scope, session_id: str, folding: ops.Folding) -> Flow:
    """Apply a folding, unless somebody folded meanwhile.

    It happens within an operation that has its number already, so it is marked as another writer's: that one is still to come.
    """
    writer, seq = scope.next_id()
    operation = ops.Fold(
        address=scope.address, writer=writer + ops.FOLDER, seq=seq, session_id=session_id, ttl_ms=scope.ttl_ms, folding=folding
    )
    return (yield from attempt(scope, operation))
