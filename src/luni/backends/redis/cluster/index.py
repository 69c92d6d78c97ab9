"""The calls that tell other slots of a Cluster of one session, and what their scripts answer."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, NamedTuple

from luni import operations as ops
from luni.backends import keys
from luni.backends.redis.call import Arg, Call
from luni.backends.redis.cluster.chains import Chain, Everywhere, Pause
from luni.backends.redis.codec import decode, unreadable
from luni.backends.redis.scripts import SCRIPTS
from luni.models import Address

__all__ = ["OWN_KEYS", "Index", "Listed", "Standing", "Steps", "decoded"]

Steps = Generator[list[Chain] | Everywhere | Pause, Any, Any]
"""Yields what is to be sent at once, and is given the answers: of each chain, or of each node."""

OWN_KEYS = 6
HOUR_MS = 3600_000


class Listed(NamedTuple):
    """What `enlist` answered."""

    version: bytes
    before: bytes
    score: bytes
    now: bytes
    waiting: int
    unsent: int


class Standing(NamedTuple):
    """What `standing` answered."""

    session: bytes
    activity: bytes
    version: bytes
    waits: bytes
    unsent: bytes
    lives: bytes


def decoded(namespace: keys.Tagged, operation: ops.Operation, reply: Any) -> Any:
    """Return the result of an operation; raise `BackendError` for a reply that has not its form."""
    try:
        return decode(namespace, operation, reply)
    except (ValueError, IndexError, TypeError, AttributeError) as error:
        raise unreadable(error) from None


class Index:
    """The calls that tell other slots of one session: ``session`` is its id, ``ttl`` how many ms it lives without activity."""

    def __init__(self, namespace: keys.Tagged, address: Address, session: str, ttl: int) -> None:
        self._own = keys.session_keys(namespace, address)
        self._lists = keys.list_keys(namespace, address.tenant)
        self._claims = keys.pending_keys(namespace, address.tenant, "unsent")[1]
        self._tenants = keys.tenants_key(namespace)
        self._base = self._own.own[0].removesuffix(":ctx")
        self._id = f"{namespace}:sess:id:{session}"
        self.session, self._ttl = session, ttl

    def before(self, promise: str, too_low: int) -> list[Chain]:
        """Return what is told before a script: the lists, the session's id, the tenants."""
        lists = self.listing("enlist", self._ttl, self._own.channel, promise, too_low)
        return [Chain((lists,)), self._pointing(self._id, self._base, 0), self.living()]

    def listing(self, script: str, *arguments: Any) -> Call:
        """Return a call of one of the scripts of the tenant's lists."""
        return Call(SCRIPTS[script], self._lists, [self._own.member, *arguments])

    def standing(self) -> Call:
        """Return the question how the session stands."""
        return Call(SCRIPTS["standing"], self._own.own, [])

    def settle(self, stands: Standing) -> Call:
        """Return what puts the lists right."""
        return self.listing(
            "settle", self._ttl, self._own.channel, stands.version, stands.activity, stands.waits, stands.unsent
        )

    def begun(self, stands: Standing) -> Chain:
        """Return what tells the old reader of the session."""
        return self._pointing(self._own.client, self.session, int(stands.lives))

    def active(self, stands: Standing) -> list[Chain]:
        """Return what follows an activity: the session lives longer, and was the tenant's last."""
        until = int(stands.lives) + HOUR_MS
        return [self.begun(stands), self.living(), self._pointing(self._id, self._base, until)]

    def unpointed(self) -> Chain:
        """Return what takes the session's id away."""
        return Chain((Call(SCRIPTS["unpoint"], (self._id,), [self._base]),))

    def unread(self) -> Chain:
        """Return what takes the session from the old reader."""
        return Chain((Call(SCRIPTS["unpoint"], (self._own.client,), [self.session]),))

    def ended(self, version: bytes) -> list[Chain]:
        """Return what takes the session off everything."""
        return [Chain((self.listing("delist", version),)), self.unread(), self.unpointed()]

    # of one that is erased

    def told(self) -> Chain:
        """Return the question under which version the lists were told last."""
        return Chain((self.listing("told"),))

    def forgotten(self, version: bytes | None) -> Call:
        """Return what takes the session off claims, and off the lists if this is still their version (``None``: not)."""
        arguments: list[Arg] = [self._own.member, int(version is not None), version or b""]
        return Call(SCRIPTS["forget"], (*self._lists, self._claims), arguments)

    def found(self, stands: Standing) -> Chain:
        """Return what lets the session's id lead to it."""
        return self._pointing(self._id, self._base, int(stands.lives) + HOUR_MS)

    def living(self) -> Chain:
        """Return what says until when the tenant has a session."""
        return Chain((Call(SCRIPTS["living"], (self._tenants,), [self._own.tenant, self._ttl]),))

    def _pointing(self, key: str, value: str, until: int) -> Chain:
        return Chain((Call(SCRIPTS["point"], (key,), [value, until, self._ttl]),))
