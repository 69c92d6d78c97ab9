"""From an operation to a script call, and from its reply to a result. Pure functions, one pair an operation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from luni import operations as ops
from luni.backends import keys
from luni.backends.redis import agenda, erasure, locks, states, sweeps
from luni.backends.redis.call import Arg, Call
from luni.backends.redis.scripts import SCRIPTS
from luni.backends.redis.values import number, string
from luni.errors import BackendError, Superseded
from luni.models import Address

__all__ = ["Call", "decode", "encode"]

DAY_MS = 24 * 3600 * 1000
SEEN_MS = 7 * DAY_MS


def encode(namespace: str, operation: ops.Operation) -> Call:
    """Return the call that executes ``operation``."""
    return _ENCODERS[type(operation)](namespace, operation)


def decode(namespace: str, operation: ops.Operation, reply: Any) -> Any:
    """Return the result of ``operation`` that its reply tells."""
    return _DECODERS[type(operation)](namespace, operation, reply)


def _keys(namespace: str, address: Address, session_id: str) -> tuple[tuple[str, ...], keys.SessionKeys]:
    found = keys.session_keys(namespace, address)
    return (*found.own, f"{namespace}:sess:id:{session_id}", found.client, *found.tenant_lists), found


def _begin(op: ops.Write, member: str) -> list[Arg]:
    return [op.writer, op.seq, op.session_id, op.ttl_ms, max(SEEN_MS, op.ttl_ms), member]


def _accept(namespace: str, op: ops.Open | ops.Receive) -> Call:
    all_keys, own = _keys(namespace, op.address, op.session_id)
    draft, lease = op.draft, op.lease_ms if isinstance(op, ops.Open) else 0
    args = _begin(op, own.member)
    args += (own.channel, own.tenant, int(op.fresh), lease)
    if draft is None:
        args += ("", "", "", 0)
    else:
        args += (draft.digest, draft.body, "" if draft.timestamp_ms is None else draft.timestamp_ms, draft.tokens)
    args += (op.transcript, op.address.tenant)
    if isinstance(op, ops.Open):
        args += (op.nonce, op.quiet_ms, op.burst_ms, op.ticket, op.ticket_ms)
    else:
        args += ("", 0, 0, "", 0)
    return Call(SCRIPTS["accept"], all_keys, args)


def _reply(namespace: str, op: ops.Reply) -> Call:
    all_keys, own = _keys(namespace, op.address, op.session_id)
    folding = op.folding
    args = _begin(op, own.member)
    args += (op.owner_id, op.token, op.cut, op.lease_ms, op.outcome, op.owner)
    args += _patch(op.metadata)
    args += _patch(op.context)
    args += (int(op.binding), int(op.focus is not None), op.focus or "")
    args += (folding.start, folding.count, folding.summary, folding.basis) if folding else (0, 0, "", "")
    args += (op.token_est, sum([draft.tokens for draft in op.drafts]), op.transcript, op.first_unsent, _names(op))
    args += [draft.body for draft in op.drafts]
    if op.first_unsent:
        all_keys = (*all_keys, own.unsent)
    return Call(SCRIPTS["reply"], all_keys, args)


def _patch(patch: ops.Patch | None) -> tuple[Arg, Arg]:
    return (patch.digest, patch.text) if patch else ("", "")


def _names(op: ops.Reply | ops.Update) -> bytes:
    encoded = [name.encode() for name in ops.stamped(op)]
    return b"".join(b"%d:%b" % (len(name), name) for name in encoded)


def _append(namespace: str, op: ops.Append) -> Call:
    all_keys, own = _keys(namespace, op.address, op.session_id)
    draft = op.draft
    args = _begin(op, own.member)
    args += (own.channel, own.tenant, int(op.fresh), int(op.settles), op.transcript, op.address.tenant, op.owner)
    args += (draft.digest, "" if draft.timestamp_ms is None else draft.timestamp_ms, draft.tokens, draft.body)
    return Call(SCRIPTS["append"], all_keys, args)


def _update(namespace: str, op: ops.Update) -> Call:
    all_keys, own = _keys(namespace, op.address, op.session_id)
    args = _begin(op, own.member)
    args += (own.channel, own.tenant, int(op.fresh), op.address.tenant)
    args.append("" if op.expected_revision is None else op.expected_revision)
    args += _patch(op.metadata)
    args += _patch(op.context)
    args += (int(op.focus is not None), op.focus or "", int(op.summary is not None), op.summary or "")
    args += ("" if op.token is None else op.token, _names(op))
    return Call(SCRIPTS["update"], all_keys, args)


def _pause(namespace: str, op: ops.Pause) -> Call:
    all_keys, own = _keys(namespace, op.address, op.session_id)
    args = _begin(op, own.member)
    args += (own.channel, own.tenant, int(op.fresh), op.address.tenant, int(op.paused), op.duration_ms, op.note)
    return Call(SCRIPTS["pause"], all_keys, args)


def _fold(namespace: str, op: ops.Fold) -> Call:
    all_keys, _ = _keys(namespace, op.address, op.session_id)
    folding = op.folding
    return Call(
        SCRIPTS["fold"],
        all_keys,
        [op.writer, op.seq, op.session_id, folding.start, folding.count, folding.summary, folding.basis],
    )


def _amend(namespace: str, op: ops.Amend) -> Call:
    all_keys, own = _keys(namespace, op.address, op.session_id)
    return Call(
        SCRIPTS["amend"],
        all_keys,
        [*_begin(op, own.member), op.digest, op.text, op.tokens_delta, op.message_id, int(op.redacted)],
    )


def _mark_sent(namespace: str, op: ops.MarkSent) -> Call:
    all_keys, own = _keys(namespace, op.address, op.session_id)
    args: list[Arg] = [op.writer, op.seq, op.message_id, op.provider_id, own.member]
    return Call(SCRIPTS["mark_sent"], (*all_keys, own.unsent), args)


def _load(namespace: str, op: ops.Load) -> Call:
    all_keys, own = _keys(namespace, op.address, op.session_id)
    args = _begin(op, own.member)
    args += (own.channel, own.tenant, int(op.fresh), op.address.tenant, op.digest, op.added, op.added_tokens)
    args += (op.summary, op.folded, op.import_digest, len(op.window), len(op.digests), *op.digests, *op.window, *op.waiting)
    return Call(SCRIPTS["load"], all_keys, args)


def _end(namespace: str, op: ops.End) -> Call:
    all_keys, own = _keys(namespace, op.address, op.session_id)
    return Call(SCRIPTS["end"], all_keys, [op.session_id, SEEN_MS, own.member])


def _gather(namespace: str, op: ops.Gather) -> Call:
    own = keys.session_keys(namespace, op.address).own
    return Call(SCRIPTS["gather"], own, [f"{op.owner_id}|{op.token}", op.lease_ms, op.quiet_ms, op.burst_ms])


def _release(namespace: str, op: ops.Release) -> Call:
    own = keys.session_keys(namespace, op.address).own
    return Call(SCRIPTS["release"], own, [f"{op.owner_id}|{op.token}"])


def _read(namespace: str, op: ops.Read) -> Call:
    return Call(SCRIPTS["read"], keys.session_keys(namespace, op.address).own, [int(op.transcript)])


def _locate(namespace: str, op: ops.Locate) -> Call:
    return Call(SCRIPTS["locate"], (keys.id_key(namespace, op.session_id),), [])


def _sessions(namespace: str, op: ops.Sessions) -> Call:
    highest = "+inf" if op.before_ms is None else op.before_ms
    return Call(SCRIPTS["sessions"], (keys.sessions_key(namespace, op.tenant),), [highest, op.limit, op.passed])


def _inspect(namespace: str, op: ops.Inspect) -> Call:
    return Call(SCRIPTS["inspect"], tuple(keys.session_keys(namespace, a).own[0] for a in op.addresses), [])


def _view(fields: list[bytes | None], window: list[bytes], waiting: list[bytes]) -> ops.View | None:
    if not fields or fields[0] is None:
        return None
    session, created, activity, metadata, context, summary, focus, paused, token_est, *numbers, pause = fields
    n, settled, count, tokens, folded, rev = map(number, numbers)
    return ops.View(
        string(session),
        number(created),
        number(activity),
        metadata or b"",
        context or b"",
        string(summary),
        string(focus),
        paused == b"1",
        number(token_est),
        n,
        settled,
        count,
        tokens,
        folded,
        rev,
        pause or b"",
        tuple(window),
        tuple(waiting),
    )


def _opened(_namespace: str, _op: ops.Operation, reply: list[Any]) -> ops.Opened | ops.Met:
    state = reply[0].decode()
    if state == "session":
        return ops.Met(reply[1].decode())
    if state in {"full", "fold"}:
        return ops.Opened(state)
    _refuse_superseded(state)
    _, now, session, token, cut, attempt, created, arrival, clock, stamp, answer, fields, window, waiting, left = reply
    return ops.Opened(
        state,
        int(now),
        session.decode(),
        number(token),
        int(cut),
        int(attempt),
        created == b"1",
        int(arrival),
        int(clock),
        int(stamp),
        answer.decode(),
        _view(fields, window, waiting),
        int(left),
    )


def _gathered(_namespace: str, _op: ops.Operation, reply: list[Any]) -> ops.Gathered:
    state = reply[0].decode()
    if state == "gather":
        return ops.Gathered("gather", gather_ms=int(reply[1]))
    if state == "lost":
        return ops.Gathered("lost")
    _, now, cut, attempt, fields, window, waiting = reply
    return ops.Gathered("open", int(now), int(cut), int(attempt), _view(fields, window, waiting))


def _replied(_namespace: str, _op: ops.Operation, reply: list[Any]) -> ops.Replied | ops.Changed:
    state = reply[0].decode()
    if state == "changed":
        return ops.Changed(reply[1], reply[2])
    if state == "fenced":
        return ops.Replied("fenced", reason=reply[1].decode())
    if state == "full":
        return ops.Replied("full")
    _refuse_superseded(state)
    _, now, clock, cut, attempt, fields, window, waiting = reply
    view = _view(fields, window, waiting) if state == "kept" else None
    return ops.Replied(state, int(now), int(clock), int(cut), int(attempt), view)


def _appended(_namespace: str, _op: ops.Operation, reply: list[Any]) -> ops.Appended | ops.Met:
    state = reply[0].decode()
    if state == "session":
        return ops.Met(reply[1].decode())
    if state in {"full", "fold"}:
        return ops.Appended(state)
    _refuse_superseded(state)
    _, now, session, arrival, clock, stamp, window, waiting = reply
    return ops.Appended(state, int(now), session.decode(), int(arrival), int(clock), int(stamp), (*window, *reversed(waiting)))


def _updated(_namespace: str, _op: ops.Operation, reply: list[Any]) -> ops.Updated | ops.Met | ops.Changed:
    state = reply[0].decode()
    if state == "session":
        return ops.Met(reply[1].decode())
    if state == "changed":
        return ops.Changed(reply[1], reply[2])
    if state == "fenced":
        return ops.Updated(0, fenced=True)
    _refuse_superseded(state)
    return ops.Updated(int(reply[1]), state == "conflict")


def _paused(_namespace: str, _op: ops.Operation, reply: list[Any]) -> bool | ops.Met:
    state = reply[0].decode()
    if state == "session":
        return ops.Met(reply[1].decode())
    _refuse_superseded(state)
    return bool(state == "done")


def _done(_namespace: str, _op: ops.Operation, reply: list[Any]) -> bool:
    state = reply[0].decode()
    _refuse_superseded(state)
    return state in {"folded", "amended", "ended", "done"}


def _loaded(_namespace: str, _op: ops.Operation, reply: list[Any]) -> ops.Loaded | ops.Met | None:
    state = reply[0].decode()
    if state == "session":
        return ops.Met(reply[1].decode())
    _refuse_superseded(state)
    return ops.Loaded(int(reply[1])) if state == "loaded" else None


def _flag(_namespace: str, _op: ops.Operation, reply: int) -> bool:
    return reply == 1


def _snapshot(_namespace: str, _op: ops.Operation, reply: list[Any]) -> ops.Snapshot:
    now, unanswered, fields, window, waiting, log = reply
    return ops.Snapshot(int(now), unanswered, _view(fields, window, waiting), tuple(log))


def _located(namespace: str, _op: ops.Operation, reply: bytes | None) -> Address | None:
    return keys.address_of(namespace, reply.decode("utf-8", "replace")) if reply else None


def _listed(_namespace: str, op: ops.Sessions, reply: list[bytes]) -> ops.SessionsListed:
    pairs = zip(reply[::2], reply[1::2], strict=True)
    return ops.SessionsListed(tuple((keys.address_of_member(op.tenant, m.decode()), int(float(score))) for m, score in pairs))


def _inspected(_namespace: str, _op: ops.Operation, reply: list[list[bytes | None]]) -> ops.Inspected:
    return ops.Inspected(tuple(_view(fields, [], []) for fields in reply))


def _refuse_superseded(state: str) -> None:
    if state == "superseded":
        raise Superseded("a later operation of this writer was executed; this one was not repeated")


_ENCODERS: dict[type[ops.Operation], Callable[[str, Any], Call]] = {
    ops.Receive: _accept,
    ops.Open: _accept,
    ops.Reply: _reply,
    ops.Append: _append,
    ops.Update: _update,
    ops.Pause: _pause,
    ops.Fold: _fold,
    ops.Amend: _amend,
    ops.MarkSent: _mark_sent,
    ops.Load: _load,
    ops.End: _end,
    ops.Gather: _gather,
    ops.Release: _release,
    ops.Read: _read,
    ops.Locate: _locate,
    ops.Sessions: _sessions,
    ops.Inspect: _inspect,
    **sweeps.ENCODERS,
    **locks.ENCODERS,
    **states.ENCODERS,
    **agenda.ENCODERS,
    **erasure.ENCODERS,
}

_DECODERS: dict[type[ops.Operation], Callable[[str, Any, Any], Any]] = {
    ops.Receive: _opened,
    ops.Open: _opened,
    ops.Reply: _replied,
    ops.Append: _appended,
    ops.Update: _updated,
    ops.Pause: _paused,
    ops.Fold: _done,
    ops.Amend: _done,
    ops.MarkSent: _done,
    ops.Load: _loaded,
    ops.End: _done,
    ops.Gather: _gathered,
    ops.Release: _flag,
    ops.Read: _snapshot,
    ops.Locate: _located,
    ops.Sessions: _listed,
    ops.Inspect: _inspected,
    **sweeps.DECODERS,
    **locks.DECODERS,
    **states.DECODERS,
    **agenda.DECODERS,
    **erasure.DECODERS,
}


def unreadable(error: Exception) -> BackendError:
    """Return the error for a reply that does not have the form its script promises."""
    return BackendError(f"the server's reply has another form than the script gives ({type(error).__name__})")
