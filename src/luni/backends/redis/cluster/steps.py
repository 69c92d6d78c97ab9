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
An operation of one slot needs nothing at all. One over several sessions needs an entry in `_SPREAD`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from luni import operations as ops
from luni.backends import keys
from luni.backends.redis.call import Call, with_replicas
from luni.backends.redis.cluster.chains import Chain, Everywhere
from luni.backends.redis.codec import decode, encode, unreadable
from luni.backends.redis.scripts import SCRIPTS
from luni.errors import BackendError, Indeterminate, Unavailable

__all__ = ["PROMISES", "SUBJECTS", "Promise", "Steps", "steps"]

logger = logging.getLogger("luni")

Promise = Literal["waiting", "unsent", "session", ""]
Steps = Generator[list[Chain] | Everywhere, Any, Any]
"""Yields what is to be sent at once, and is given the answers of each chain."""

OWN_KEYS = 6
HOUR_MS = 3600_000
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
}

SUBJECTS: dict[type[ops.Operation], Callable[[Any], tuple[str, int]]] = {}


class _Listed(NamedTuple):
    """What `enlist` answered."""

    version: bytes
    before: bytes
    score: bytes
    now: bytes
    waiting: int
    unsent: int


class _Standing(NamedTuple):
    """What `standing` answered."""

    session: bytes
    activity: bytes
    version: bytes
    waits: bytes
    unsent: bytes
    lives: bytes


def steps(namespace: keys.Tagged, operation: ops.Operation) -> Steps:
    """Execute an operation; raise what a backend's ``execute`` raises."""
    kind = type(operation)
    if kind in PROMISES:
        return (yield from _written(namespace, operation, PROMISES[kind](operation)))
    if kind in _SPREAD:
        return (yield from _spread(namespace, operation, *_SPREAD[kind]))
    if isinstance(operation, ops.End):
        return (yield from _ended(namespace, operation))
    if isinstance(operation, ops.Guarantees):
        return (yield from _guaranteed(namespace, operation))
    call = encode(namespace, operation)
    if isinstance(operation, ops.OnSession):
        call = call._replace(keys=call.keys[:OWN_KEYS])
    ((reply, *confirmed),) = yield [Chain((call,))]
    result = _decoded(namespace, operation, reply)
    return with_replicas(result, *confirmed) if confirmed else result


def _decoded(namespace: keys.Tagged, operation: ops.Operation, reply: Any) -> Any:
    try:
        return decode(namespace, operation, reply)
    except (ValueError, IndexError, TypeError, AttributeError) as error:
        raise unreadable(error) from None


class _Index:
    """The calls that tell other slots of one session."""

    def __init__(self, namespace: keys.Tagged, op: Any, call: Call) -> None:
        self._own = keys.session_keys(namespace, op.address)
        self._lists = keys.list_keys(namespace, op.address.tenant)
        self._tenants = keys.tenants_key(namespace)
        self._base = self._own.own[0].removesuffix(":ctx")
        self._id = call.keys[OWN_KEYS]
        subject = SUBJECTS.get(type(op))
        found: tuple[str, int] = subject(op) if subject else (op.session_id, getattr(op, "ttl_ms", 0))
        self.session, self._ttl = found

    def before(self, promise: Promise, too_low: int) -> list[Chain]:
        """Return what is told before a script: the lists, the session's id, the tenants."""
        lists = self.listing("enlist", self._ttl, self._own.channel, promise, too_low)
        return [Chain((lists,)), self._pointing(self._id, self._base, 0), self._living()]

    def listing(self, script: str, *arguments: Any) -> Call:
        """Return a call of one of the scripts of the tenant's lists."""
        return Call(SCRIPTS[script], self._lists, [self._own.member, *arguments])

    def standing(self) -> Call:
        """Return the question how the session stands."""
        return Call(SCRIPTS["standing"], self._own.own, [])

    def settle(self, stands: _Standing) -> Call:
        """Return what puts the lists right."""
        return self.listing(
            "settle", self._ttl, self._own.channel, stands.version, stands.activity, stands.waits, stands.unsent
        )

    def begun(self, stands: _Standing) -> Chain:
        """Return what tells the old reader of the session."""
        return self._pointing(self._own.client, self.session, int(stands.lives))

    def active(self, stands: _Standing) -> list[Chain]:
        """Return what follows an activity: the session lives longer, and was the tenant's last."""
        until = int(stands.lives) + HOUR_MS
        return [self.begun(stands), self._living(), self._pointing(self._id, self._base, until)]

    def unpointed(self) -> Chain:
        """Return what takes the session's id away."""
        return Chain((Call(SCRIPTS["unpoint"], (self._id,), [self._base]),))

    def ended(self, version: bytes) -> list[Chain]:
        """Return what takes the session off everything."""
        client = Chain((Call(SCRIPTS["unpoint"], (self._own.client,), [self.session]),))
        return [Chain((self.listing("delist", version),)), client, self.unpointed()]

    def _living(self) -> Chain:
        return Chain((Call(SCRIPTS["living"], (self._tenants,), [self._own.tenant, self._ttl]),))

    def _pointing(self, key: str, value: str, until: int) -> Chain:
        return Chain((Call(SCRIPTS["point"], (key,), [value, until, self._ttl]),))


def _written(namespace: keys.Tagged, op: Any, promise: Promise) -> Steps:
    call = encode(namespace, op)
    index = _Index(namespace, op, call)
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
        outcome = _decoded(namespace, op, answers[0])
    except BackendError as error:  # superseded, damaged: the lists are put right all the same
        outcome = error
    if len(answers) > 1:
        yield from _told_after(_afterwards(index, op, promise, listed, pointed, _Standing(*answers[1]), outcome))
    if isinstance(outcome, BackendError):
        raise outcome
    return outcome


def _told_before(index: _Index, promise: Promise, too_low: int) -> Generator[list[Chain], Any, tuple[_Listed, int]]:
    """Tell the lists; nothing of the operation itself has happened if that fails."""
    began = time.monotonic()
    try:
        (reply,), (created,), _ = yield index.before(promise, too_low)
    except Indeterminate as error:
        raise Unavailable(f"the tenant's lists cannot be told: {error}") from None
    if time.monotonic() - began > LATEST:
        raise Unavailable("the tenant's lists were told so long ago that they may have forgotten; nothing was sent")
    return _Listed(*reply), created


def _afterwards(
    index: _Index, op: Any, promise: Promise, listed: _Listed | None, pointed: int, stands: _Standing, outcome: Any
) -> list[Chain]:
    """Return what other slots have to be told now."""
    found, lists = [], list[Call]()
    if pointed and stands.session.decode() != index.session:
        found.append(index.unpointed())
    if listed is not None and (not stands.session or (promise != "session" and stands.version != listed.version)):
        lists.append(index.listing("withdraw", *listed))  # nothing was done, or it had been done before
    if promise == "waiting":
        if getattr(outcome, "created", False) and not lists:
            lists.append(index.settle(stands))
            found.append(index.begun(stands))
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
    index = _Index(namespace, op, call)
    (answers,) = yield [Chain((index.standing(), call._replace(keys=call.keys[:OWN_KEYS])))]
    stands, ended = _Standing(*answers[0]), _decoded(namespace, op, answers[1])
    if ended and stands.session.decode() == index.session:
        yield from _told_after(index.ended(stands.version))
    else:
        yield from _told_after([index.unpointed()])
    return ended


def _guaranteed(namespace: keys.Tagged, op: ops.Guarantees) -> Steps:
    """What all primaries guarantee: the weakest of them decides."""
    call = encode(namespace, op)._replace(whole=True)
    replies = yield Everywhere(call.command())
    found = [_decoded(namespace, op, reply) for reply in replies]
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
    results = [_decoded(namespace, part, reply) for part, (reply,) in zip(parts, answers, strict=True)]
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


_SPREAD: dict[type[ops.Operation], tuple[str, Callable[[Any, Any], Any]]] = {
    ops.Inspect: ("addresses", _inspected),
    ops.Examine: ("addresses", _examined),
    ops.Renew: ("leases", _renewed),
    ops.Pending: ("tenants", _pending),
}
