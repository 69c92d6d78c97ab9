"""Replying to a turn, by the worker that opened it or, with its handle, by another one."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Any, NamedTuple

import msgspec

from luni import drafts, views
from luni import operations as ops
from luni.errors import Fenced, InvalidInput
from luni.flows import Flow, attempt
from luni.flows.turns import folding_of, patches, reply
from luni.models import Message
from luni.scope import Scope

__all__ = ["Answer", "Held", "by_handle", "checked", "handle_of", "reply_operation"]

HANDLE_FORM = 1
WRITER_CHARACTERS = 26


class Held(msgspec.Struct, frozen=True, array_like=True):
    """A turn's lease as its worker knows it, and what the turn answers: everything up to the cut."""

    form: int
    session_id: str
    owner: str
    token: int
    cut: int


class Answer(NamedTuple):
    """What a turn is answered with; ``outcome`` is that of `luni.operations.Reply`."""

    outcome: Any
    texts: tuple[str, ...] = ()
    steps: tuple[Any, ...] = ()
    update: Any = None
    tags: tuple[str, ...] = ()


def checked(texts: Any, steps: Any, update: Any, tags: Any) -> Answer:
    """Return a reply's arguments; raise `InvalidInput` for what cannot be one."""
    if not texts and not steps:
        raise InvalidInput("a reply needs a text or a step; skip() settles without an answer")
    if not all(isinstance(text, str) and text for text in texts):
        raise InvalidInput("a reply's texts must be str and not empty")
    return Answer("a", tuple(texts), drafts.several(steps, "steps"), update, drafts.several(tags, "tags"))


def reply_operation(
    scope: Scope, held: Held, identity: tuple[str, int], view: ops.View, now_ms: int, answer: Answer
) -> tuple[ops.Reply, list[Message]]:
    """Return the operation that stores an answer, and the messages it will store."""
    update = answer.update
    if update is not None:
        drafts.checked_update(update, scope.settings)
    writer, seq = identity
    drafted = drafts.answer_of(scope, f"{writer}.{seq}", answer.texts, answer.steps, answer.tags)
    metadata, context = patches(view, update, max(now_ms, view.activity_ms), max_bytes=scope.settings.max_json_bytes)
    folding, folded_tokens = folding_of(scope, view, held.cut) or (None, 0)
    added = sum(draft.tokens for _, draft in drafted)
    operation = ops.Reply(
        address=scope.address, writer=writer, seq=seq, session_id=view.session_id, ttl_ms=scope.ttl_ms,
        owner_id=held.owner, token=held.token, cut=held.cut, lease_ms=scope.lease_ms, outcome=answer.outcome,
        drafts=tuple(draft for _, draft in drafted), metadata=metadata, context=context,
        binding=bool(update and (update.metadata or update.variables)), focus=update.focus if update else None,
        folding=folding, token_est=max(0, view.token_est + added - folded_tokens),
        transcript=scope.policy.transcript_messages,
        first_unsent=len(drafted) - len(answer.texts) + 1 if scope.policy.outbox and answer.texts else 0,
    )  # fmt: skip
    return operation, [message for message, _ in drafted]


def handle_of(held: Held) -> str:
    """Return what another worker needs to reply to a turn: opaque, and of no use for anything else."""
    return base64.urlsafe_b64encode(msgspec.json.encode(held)).decode().rstrip("=")


def _held(handle: object) -> Held:
    try:
        assert isinstance(handle, str)  # noqa: S101  one of the ways not to be a handle
        held = msgspec.json.decode(base64.urlsafe_b64decode(handle + "=" * (-len(handle) % 4)), type=Held)
    except (AssertionError, ValueError, binascii.Error, msgspec.DecodeError):
        raise InvalidInput("that is not the handle of a turn") from None
    if held.form != HANDLE_FORM or not 0 < held.cut < 2**53 or not 0 < held.token < 2**63:
        raise InvalidInput("that is not the handle of a turn of this version")
    return held


def by_handle(scope: Scope, handle: object, answer: Answer) -> Flow:
    """Reply to a turn that was opened elsewhere; return the messages stored, the result, and what is held after it."""
    held = _held(handle)
    if answer.update is not None:
        drafts.checked_update(answer.update, scope.settings)
    drafts.answer_of(
        scope, "", answer.texts, answer.steps, answer.tags
    )  # what cannot be stored is refused before anything is asked
    snapshot = yield from attempt(scope, ops.Read(address=scope.address))
    view = snapshot.view
    if view is None or view.session_id != held.session_id:
        raise Fenced("the session was ended; nothing was stored")
    operation, messages = reply_operation(scope, held, _identity(held, answer), view, snapshot.now_ms, answer)
    operation = msgspec.structs.replace(operation, cut_from_outside=True)
    result: ops.Replied = yield from reply(scope, operation, view, answer.update)
    stored = [
        views.stored(message, operation.writer, operation.seq, index, held.cut, result.clock_ms, result.now_ms)
        for index, message in enumerate(messages)
    ]
    return stored, result, msgspec.structs.replace(held, cut=result.cut) if result.state == "kept" else None


def _identity(held: Held, answer: Answer) -> tuple[str, int]:
    """The same reply to the same turn is the same operation, so the call can be repeated, by whichever worker."""
    digest = hashlib.sha256(msgspec.json.encode([held, answer])).digest()
    return base64.b32encode(digest).decode().lower()[:WRITER_CHARACTERS], 1
