"""The flows of a session outside its turns."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from luni import drafts, views, wire
from luni import operations as ops
from luni.errors import Conflict, Fenced, InvalidInput
from luni.flows import Flow, attempt
from luni.flows.turns import MERGES, making_room, meeting
from luni.models import Address, Message, Page, SessionUpdate
from luni.scope import Scope

_CURSOR = re.compile(r"([0-9]{1,15})\.([0-9]{1,9})", re.ASCII)

__all__ = ["amend", "append", "end", "find", "load", "pause", "resume", "sessions", "update"]


def append(scope: Scope, prepare: Callable[[str], tuple[Message, ops.Draft]]) -> Flow:
    """Append a message; return it as stored (for a duplicate: as it was stored before)."""
    writer, seq = scope.next_id()
    message, draft = prepare(f"{writer}.{seq}")

    def make(session_id: str, fresh: bool) -> ops.Operation:  # noqa: FBT001  as `meeting` calls it
        return ops.Append(
            address=scope.address, writer=writer, seq=seq, session_id=session_id, ttl_ms=scope.ttl_ms, draft=draft,
            settles=message.role in {"human", "assistant"}, fresh=fresh, transcript=scope.policy.transcript_messages,
        )  # fmt: skip

    done = yield from making_room(scope, make)
    if done.state == "duplicate":
        return views.with_id(done.texts, message.id) or message
    return views.stored(message, writer, seq, 0, done.arrival, done.clock_ms, done.timestamp_ms)


def update(
    scope: Scope, change: SessionUpdate, expected_revision: int | None, summary: str | None, token: int | None = None
) -> Flow:
    """Merge a change into what is stored, again while others change the same texts; return the new revision."""
    writer, seq = scope.next_id()
    snapshot = yield from attempt(scope, ops.Read(address=scope.address))
    for _ in range(MERGES):
        view = snapshot.view or views.blank_view(snapshot.now_ms)
        operation = _update(scope, (writer, seq), view, change, expected_revision, summary)
        result = yield from attempt(scope, msgspec.structs.replace(operation, token=token))
        if isinstance(result, ops.Updated):
            break
        snapshot = yield from attempt(scope, ops.Read(address=scope.address))
    else:
        raise Conflict("others change this session faster than the update can be merged; nothing was stored")
    if result.fenced:
        raise Fenced("no lock of the session is held with this token; nothing was stored")
    if result.conflict:
        raise Conflict(f"the session is at revision {result.revision}, not {expected_revision}; nothing was stored")
    return result.revision


def _update(
    scope: Scope, identity: tuple[str, int], view: ops.View, change: SessionUpdate, expected: int | None, summary: str | None
) -> ops.Update:
    metadata = context = None
    limit = scope.settings.max_json_bytes
    if change.metadata:
        text = wire.merge(view.metadata, change.metadata, "metadata", max_bytes=limit)
        metadata = ops.Patch(wire.text_digest(view.metadata), text, tuple(change.metadata))
    if change.variables:
        text = wire.merge_inner(view.context, "variables", change.variables, "variables", max_bytes=limit)
        context = ops.Patch(wire.text_digest(view.context), text, tuple(change.variables))
    scope.meet(view.session_id)
    return ops.Update(
        address=scope.address, writer=identity[0], seq=identity[1], session_id=view.session_id or wire.new_id(),
        ttl_ms=scope.ttl_ms, fresh=not view.session_id, expected_revision=expected, metadata=metadata, context=context,
        focus=change.focus, summary=summary,
    )  # fmt: skip


def pause(scope: Scope, duration_ms: int, note: bytes) -> Flow:
    """Pause the session, which begins with that if there is none."""
    yield from _pausing(scope, paused=True, duration_ms=duration_ms, note=note)


def resume(scope: Scope) -> Flow:
    """Resume the session; return whether it was paused."""
    return (yield from _pausing(scope, paused=False))


def _pausing(scope: Scope, **change: Any) -> Flow:
    writer, seq = scope.next_id()

    def make(session_id: str, fresh: bool) -> ops.Operation:  # noqa: FBT001  as `meeting` calls it
        return ops.Pause(
            address=scope.address, writer=writer, seq=seq, session_id=session_id, ttl_ms=scope.ttl_ms, fresh=fresh, **change
        )  # fmt: skip

    return (yield from meeting(scope, make))


def amend(scope: Scope, message_id: str, rewrite: Callable[[Message], dict[str, Any]]) -> Flow:
    """Rewrite one stored message wherever it is kept; return it, or ``None`` if it is not there."""
    writer, seq = scope.next_id()
    for _ in range(MERGES):
        snapshot = yield from attempt(scope, ops.Read(address=scope.address, transcript=True))
        found = views.find(snapshot, message_id)
        if found is None or snapshot.view is None:
            return None
        text, message = found
        changes = rewrite(message)
        new = wire.rewrite(text, changes)
        operation = ops.Amend(
            address=scope.address, writer=writer, seq=seq, session_id=snapshot.view.session_id, ttl_ms=scope.ttl_ms,
            digest=wire.text_digest(text), text=new, message_id=message.id, redacted=changes.get("redacted", False),
            tokens_delta=changes.get("tokens", 0) - max(0, message.tokens),
        )  # fmt: skip
        if (yield from attempt(scope, operation)):
            return wire.decode_message(new)
    raise Conflict("others change this message faster than it can be rewritten; nothing was stored")


def load(scope: Scope, messages: Sequence[Message], summary: str | None) -> Flow:
    """Import a history after what is there; what is there already is passed over. Return how many were added."""
    import_digest = hashlib.sha256(msgspec.json.encode([messages, summary])).hexdigest()
    writer, seq = scope.next_id()
    for _ in range(MERGES):
        snapshot = yield from attempt(scope, ops.Read(address=scope.address))
        met = snapshot.view.session_id if snapshot.view else ""
        state = drafts.imported(scope, snapshot, messages, summary)
        if state is None:
            return 0
        operation = ops.Load(
            address=scope.address, writer=writer, seq=seq, session_id=met or wire.new_id(), ttl_ms=scope.ttl_ms, fresh=not met,
            import_digest=import_digest, **state,
        )  # fmt: skip
        result = yield from attempt(scope, operation)
        if isinstance(result, ops.Loaded):
            scope.meet(operation.session_id)
            return result.added
    raise Conflict("others write to this session faster than the history can be loaded; nothing was stored")


def end(scope: Scope) -> Flow:
    """End the session there is now; return whether there was one."""
    snapshot = yield from attempt(scope, ops.Read(address=scope.address))
    scope.meet("")
    if snapshot.view is None:
        return False
    yield from attempt(scope, ops.End(address=scope.address, session_id=snapshot.view.session_id))
    return True  # "missing" is also what a repetition hears whose first reply was lost


def find(scope_of: Callable[[Address], Scope], base: Scope, session_id: str, tenant: str) -> Flow:
    """Return the address of a tenant's session, ``None`` if there is none with that id."""
    address = yield from attempt(base, ops.Locate(session_id=session_id))
    if address is None or address.tenant != tenant:
        return None
    snapshot = yield from attempt(base, ops.Read(address=address))
    if snapshot.view is None or snapshot.view.session_id != session_id:
        return None
    scope_of(address).meet(session_id)
    return address


def sessions(base: Scope, tenant: str, *, paused: bool | None, limit: int, cursor: str | None) -> Flow:
    """Return a page of a tenant's sessions, the latest activity first; expired ones are passed over."""
    before, passed = _parse_cursor(cursor)
    items: list[Any] = []
    while len(items) < limit:
        listed = yield from attempt(base, ops.Sessions(tenant=tenant, limit=limit, before_ms=before, passed=passed))
        pairs = listed.addresses
        if not pairs:
            return Page(tuple(items))
        seen = yield from attempt(base, ops.Inspect(addresses=tuple(address for address, _ in pairs)))
        for (address, score), view in zip(pairs, seen.views, strict=True):
            passed = passed + 1 if score == before else 1
            before = score
            if view is not None and (paused is None or view.paused is paused):
                items.append(views.info(address, view, unanswered=0, strict=False))
                if len(items) == limit:
                    break
    return Page(tuple(items), f"{before}.{passed}")


def _parse_cursor(cursor: str | None) -> tuple[int | None, int]:
    if cursor is None:
        return None, 0
    found = _CURSOR.fullmatch(cursor) if isinstance(cursor, str) else None
    if found is None:
        raise InvalidInput("cursor is not one that a page gave")
    return int(found[1]), int(found[2])
