"""An operation on a Cluster, step by step: what is sent to which slots, in which order. Generators that do no I/O.

A session's script touches the six keys of its own slot. What lies in other slots is told of it by small scripts of their
own, `enlist` before and `settle` after it, so that a crash between any two of them never leaves a session that owes an
answer, or a message to send, off the tenant's lists; on a list and owing nothing is possible, and harmless.

**To add an operation** on a session's own keys: an entry in `PROMISES` is all it takes. Its value says, of one operation,
what the lists have to be told *before* its script: ``"waiting"`` or ``"unsent"`` if it may leave an unanswered or unsent
message there, ``"session"`` if it may begin a session, ``""`` if none of these. Its codec gives the six own keys first and
the id's key seventh, as all do (the rest is cut off here); a script that leaves such messages takes the lists' version in
the argument that `Call.version_at` names and hands it to ``vouch`` (_prelude.lua). Afterwards the lists are brought up to
date with what is in the session then, whatever the operation was. An operation that has no ``session_id`` and ``ttl_ms``
of its own (of the session that is there afterwards) gives them in `SUBJECTS`.
An operation of one slot needs nothing at all. One over several sessions needs an entry in `_SPREAD`, one that goes ways of
its own an entry in `_OF_THEIR_OWN`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Sequence
from typing import Any, Literal

import msgspec

from luni import operations as ops
from luni.backends import keys
from luni.backends.redis.call import Call, with_replicas
from luni.backends.redis.cluster.chains import Chain, Everywhere
from luni.backends.redis.cluster.erasing import erased, expunged, vacated
from luni.backends.redis.cluster.index import OWN_KEYS, Index, Listed, Standing, Steps, decoded
from luni.backends.redis.cluster.traces import traced
from luni.backends.redis.codec import encode
from luni.errors import BackendError, Indeterminate, Unavailable

__all__ = ["PROMISES", "SUBJECTS", "Promise", "Steps", "steps"]

logger = logging.getLogger("luni")

Promise = Literal["waiting", "unsent", "session", ""]
TELLINGS = 16
"""Somebody whose script comes after that of a later teller tells the lists anew, at most so often."""

LATEST = 20.0
"""Seconds between telling the lists and sending the script. A sweeper drops nothing that was told in the last minute."""


def _accepts(op: ops.Open | ops.Receive) -> Promise:
    return "" if op.draft is None else "waiting"


def _replies(op: ops.Reply) -> Promise:
    return "unsent" if op.first_unsent else ""


def _begins(op: ops.Append | ops.Update | ops.Pause | ops.Load) -> Promise:
    return "session" if op.fresh else ""


def _nothing(_op: ops.Operation) -> Promise:
    return ""


PROMISES: dict[type[ops.Operation], Callable[[Any], Promise]] = {
    ops.Receive: _accepts,
    ops.Open: _accepts,
    ops.Reply: _replies,
    ops.Append: _begins,
    ops.Update: _begins,
    ops.Pause: _begins,
    ops.Load: _begins,
    ops.Amend: _nothing,
    ops.MarkSent: _nothing,
    ops.Restore: _nothing,
}

SUBJECTS: dict[type[ops.Operation], Callable[[Any], tuple[str, int]]] = {
    ops.Restore: lambda op: (op.state.session_id, max(1000, op.state.expire_ms - op.state.activity_ms)),
}


def steps(namespace: keys.Tagged, operation: ops.Operation) -> Steps:
    """Execute an operation; raise what a backend's ``execute`` raises."""
    kind = type(operation)
    if kind in PROMISES:
        return (yield from _written(namespace, operation, PROMISES[kind](operation)))
    if kind in _SPREAD:
        return (yield from _spread(namespace, operation, *_SPREAD[kind]))
    if kind in _OF_THEIR_OWN:
        return (yield from _OF_THEIR_OWN[kind](namespace, operation))
    call = encode(namespace, operation)
    if isinstance(operation, ops.OnSession):
        call = call._replace(keys=call.keys[:OWN_KEYS])
    ((reply, *confirmed),) = yield [Chain((call,))]
    result = decoded(namespace, operation, reply)
    return with_replicas(result, *confirmed) if confirmed else result


def _index(namespace: keys.Tagged, op: Any) -> Index:
    subject = SUBJECTS.get(type(op))
    session, ttl = subject(op) if subject else (op.session_id, getattr(op, "ttl_ms", 0))
    return Index(namespace, op.address, session, ttl)


def _written(namespace: keys.Tagged, op: Any, promise: Promise) -> Steps:
    call = encode(namespace, op)
    index = _index(namespace, op)
    listed, pointed = None, 0
    answers: list[Any] = [[b"late", 0]]
    for _ in range(TELLINGS):
        if promise:
            listed, created = yield from _told_before(index, promise, int(answers[0][1]))
            pointed |= created
            if call.version_at:
                args = list(call.args)
                args[call.version_at - 1] = listed.version
                call = call._replace(args=args)
        (answers,) = yield [Chain((call._replace(keys=call.keys[:OWN_KEYS]), index.standing()), needed=1)]
        if not isinstance(answers[0], list) or answers[0][:1] != [b"late"]:
            break
    else:
        raise Unavailable("so many write to this conversation that the tenant's lists cannot follow")
    outcome: Any
    try:
        outcome = decoded(namespace, op, answers[0])
    except BackendError as error:  # superseded, damaged: the lists are put right all the same
        outcome = error
    if len(answers) > 1:
        yield from _told_after(_afterwards(index, op, promise, listed, pointed, Standing(*answers[1]), outcome))
    if isinstance(outcome, BackendError):
        raise outcome
    return outcome


def _told_before(index: Index, promise: Promise, too_low: int) -> Generator[list[Chain], Any, tuple[Listed, int]]:
    """Tell the lists; nothing of the operation itself has happened if that fails."""
    began = time.monotonic()
    try:
        (reply,), (created,), _ = yield index.before(promise, too_low)
    except Indeterminate as error:
        raise Unavailable(f"the tenant's lists cannot be told: {error}") from None
    if time.monotonic() - began > LATEST:
        raise Unavailable("the tenant's lists were told so long ago that they may have forgotten; nothing was sent")
    return Listed(*reply), created


def _afterwards(
    index: Index, op: Any, promise: Promise, listed: Listed | None, pointed: int, stands: Standing, outcome: Any
) -> list[Chain]:
    """Return what other slots have to be told now."""
    found, lists = [], list[Call]()
    if pointed and stands.session.decode() != index.session:
        found.append(index.unpointed())
    if listed is not None and (not stands.session or (promise != "session" and stands.version != listed.version)):
        owed = (stands.session, stands.waits, stands.unsent)
        lists.append(index.listing("withdraw", *listed, *owed))  # nothing was done, or it had been done before
    if promise == "waiting":
        if getattr(outcome, "created", False) and not lists:
            lists.append(index.settle(stands))
            found += [index.begun(stands), index.living()]  # a tenant that is erased meanwhile has somebody again
    elif stands.session and not _did_nothing(outcome):
        lists.append(index.settle(stands))
        found += index.active(stands) if not isinstance(op, ops.MarkSent) and stands.session.decode() == index.session else []
    return [Chain(lists), *found] if lists else found


_IDLE_STATES = frozenset({"fenced", "full", "fold", "duplicate", "idle", "joined", "paused", "queued", "in_progress"})
"""What replying, appending, and opening without a message say when they have changed nothing."""


def _did_nothing(outcome: Any) -> bool:
    """Whether an outcome says that nothing was changed. A repetition's says what the first one did, so lists are told again."""
    if outcome is None or outcome is False or isinstance(outcome, BackendError | ops.Met | ops.Changed):
        return True
    if isinstance(outcome, ops.Updated):
        return outcome.conflict or outcome.fenced
    return getattr(outcome, "state", "") in _IDLE_STATES


def _told_after(chains: list[Chain]) -> Steps:
    """Tell other slots what was done. What they miss is harmless, so it is no failure of the operation."""
    if not chains:
        return
    try:
        yield chains
    except BackendError as error:
        logger.info("a tenant's lists were not told of a change; they are put right later: %s", type(error).__name__)


def _ended(namespace: keys.Tagged, op: ops.End) -> Steps:
    call = encode(namespace, op)
    index = _index(namespace, op)
    (answers,) = yield [Chain((index.standing(), call._replace(keys=call.keys[:OWN_KEYS])))]
    stands, ended = Standing(*answers[0]), decoded(namespace, op, answers[1])
    if ended and stands.session.decode() == index.session:
        yield from _told_after(index.ended(stands.version))
    else:
        yield from _told_after([index.unpointed()])
    return ended


def _guaranteed(namespace: keys.Tagged, op: ops.Guarantees) -> Steps:
    """What all primaries guarantee: the weakest of them decides."""
    call = encode(namespace, op)._replace(whole=True)
    replies = yield Everywhere(call.command())
    found = [decoded(namespace, op, reply) for reply in replies.values()]
    policies = sorted({one.eviction for one in found}, key=lambda policy: (policy == "noeviction", policy == ""))
    return ops.Guaranteed(policies[0], min(one.replicas for one in found))


def _spread(namespace: keys.Tagged, op: ops.Operation, field: str, join: Callable[[Any, list[Any]], Any]) -> Steps:
    """Execute an operation over several things slot by slot, and put the answers together in the order that was asked."""
    things = getattr(op, field)
    slots: dict[int, list[int]] = {}
    for place, thing in enumerate(things):
        one = encode(namespace, msgspec.structs.replace(op, **{field: (thing,)}))
        slots.setdefault(Chain((one,)).slot, []).append(place)
    parts = [msgspec.structs.replace(op, **{field: tuple(things[place] for place in places)}) for places in slots.values()]
    if not parts:
        return join([], [])
    answers = yield [Chain((encode(namespace, part),)) for part in parts]
    results = [decoded(namespace, part, reply) for part, (reply,) in zip(parts, answers, strict=True)]
    return join(list(slots.values()), results)


def _in_order(places: Sequence[Sequence[int]], lists: Sequence[Sequence[Any]]) -> tuple[Any, ...]:
    found = {place: one for some, values in zip(places, lists, strict=True) for place, one in zip(some, values, strict=True)}
    return tuple(found[place] for place in sorted(found))


def _inspected(places: list[list[int]], results: list[ops.Inspected]) -> ops.Inspected:
    return ops.Inspected(_in_order(places, [one.views for one in results]))


def _examined(places: list[list[int]], results: list[ops.Examined]) -> ops.Examined:
    return ops.Examined(_in_order(places, [one.sessions for one in results]))


def _renewed(places: list[list[int]], results: list[ops.Renewed]) -> ops.Renewed:
    return ops.Renewed(_in_order(places, [one.held for one in results]))


def _pending(_places: list[list[int]], results: list[ops.PendingListed]) -> ops.PendingListed:
    waiting = tuple(row for one in results for row in one.waiting)
    return ops.PendingListed(max((one.now_ms for one in results), default=0), waiting, full=any(one.full for one in results))


def _scrubbed(_places: list[list[int]], results: list[ops.Wiped]) -> ops.Wiped:
    return ops.Wiped(sum(one.count for one in results))


_SPREAD: dict[type[ops.Operation], tuple[str, Callable[[Any, Any], Any]]] = {
    ops.Inspect: ("addresses", _inspected),
    ops.Examine: ("addresses", _examined),
    ops.Renew: ("leases", _renewed),
    ops.Pending: ("tenants", _pending),
    ops.Scrub: ("strays", _scrubbed),
}

_OF_THEIR_OWN: dict[type[ops.Operation], Callable[[keys.Tagged, Any], Steps]] = {
    ops.End: _ended,
    ops.Guarantees: _guaranteed,
    ops.Traces: traced,
    ops.Erase: erased,
    ops.Vacate: vacated,
    ops.Expunge: expunged,
}
