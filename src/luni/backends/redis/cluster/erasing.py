"""Erasing on a Cluster, step by step: a conversation's own slot first, then what other slots know of it. No I/O.

Whoever dies between two steps leaves what a repetition finds: an id's key by its name, a list's members in the list.
"""

from __future__ import annotations

from luni import operations as ops
from luni.backends import keys
from luni.backends.redis.call import Call
from luni.backends.redis.cluster.chains import Chain
from luni.backends.redis.cluster.index import OWN_KEYS, Index, Standing, Steps, decoded
from luni.backends.redis.codec import encode
from luni.backends.redis.scripts import SCRIPTS
from luni.models import Address

__all__ = ["erased", "expunged", "vacated"]

SECOND_MS = 1000


def erased(namespace: keys.Tagged, op: ops.Erase) -> Steps:
    """Erase one conversation.

    The lists' version is read before anything else: what is told afterwards changes it, and then nothing is taken off. What
    was told before, and begins between the erasure and the lists, is put back onto them by a last look.
    """
    met = Index(namespace, op.address, op.session_id, 0)
    ((version,),) = yield [met.told()]
    own = encode(namespace, op)
    (answers,) = yield [Chain((own._replace(keys=own.keys[:OWN_KEYS]), met.standing()))]
    result, stands = decoded(namespace, op, answers[0]), Standing(*answers[1])
    if isinstance(result, ops.Met):
        return result
    if not stands.session:
        yield [Chain((met.forgotten(version),))]
        ((again,),) = yield [Chain((met.standing(),))]
        stands = Standing(*again)
    session = stands.session.decode()
    if session:
        yield _listed(namespace, op, session, stands)
    if op.session_id not in {"", session}:
        yield [met.unread()]
        yield [met.unpointed()]  # last: by this key a repetition knows what is left
    return result


def _listed(namespace: keys.Tagged, op: ops.Erase, session: str, stands: Standing) -> list[Chain]:
    """Return what lets other slots know the session that goes on, or has begun."""
    index = Index(namespace, op.address, session, max(SECOND_MS, int(stands.lives) - int(stands.activity)))
    calls = [index.settle(stands)]
    if session == op.fresh_id:
        calls.append(index.forgotten(None))
    return [Chain(calls), index.found(stands), index.living()]


def vacated(namespace: keys.Tagged, op: ops.Vacate) -> Steps:
    """Erase what is left of a tenant: its lists, then that it has sessions, unless it has some again."""
    call, tenants = encode(namespace, op), keys.tenants_key(namespace)
    own = keys.session_keys(namespace, Address(op.tenant, "-", "-"))  # only the tenant's keys of it
    (last,), (left,) = yield [Chain((Call(SCRIPTS["locate"], (own.client,), []),)), Chain((call,))]
    if left[0] == 0:
        leaving = [Chain((Call(SCRIPTS["depart"], (tenants,), [own.tenant]),))]
        if last is not None:
            leaving.append(Chain((Call(SCRIPTS["unpoint"], (own.client,), [last]),)))
        yield leaving
        ((left,),) = yield [Chain((call,))]
        if left[0] > 0:  # begun since
            yield [Chain((Call(SCRIPTS["living"], (tenants,), [own.tenant, max(SECOND_MS, left[2])]),))]
    return decoded(namespace, op, left)


def expunged(_namespace: keys.Tagged, _op: ops.Expunge) -> Steps:
    """Servers rewrite their own files: no script can, and nobody is asked."""
    yield from ()
    return False
