"""What the flows of one session need to know, and what a `Memory` remembers between them."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Sequence

from luni import wire
from luni.context import ESTIMATE, SUMMARY_LIMIT, Summariser, TokenCounter, clip, extractive
from luni.errors import InvalidInput
from luni.models import Address, Message
from luni.settings import Policy, Settings

__all__ = ["MetSessions", "Scope", "Writer"]

logger = logging.getLogger("luni")

MET_MAX = 10_000


class Writer:
    """Gives operations their ids: 128 random bits for each `Memory`, new after a fork, and one counter."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._id = wire.new_id()
        self._count = itertools.count(1)

    def next(self) -> tuple[str, int]:
        """Return the next operation's id."""
        if self._pid != os.getpid():
            self._begin()
        return self._id, next(self._count)


class MetSessions:
    """Which session id each address had when last met, so that a turn costs two round trips. Bounded; never the truth."""

    def __init__(self) -> None:
        self._ids: dict[Address, str] = {}

    def get(self, address: Address) -> str | None:
        """Return the id last met at an address."""
        return self._ids.get(address)

    def put(self, address: Address, session_id: str) -> None:
        """Remember an id; ``""`` forgets it."""
        if not session_id:
            self._ids.pop(address, None)
            return
        if self._ids.get(address) == session_id:
            return
        self._ids[address] = session_id
        if len(self._ids) > MET_MAX:
            self._ids.pop(next(iter(self._ids)), None)


class Scope:
    """One session's address and rules, with its memory's ids, settings and summariser."""

    __slots__ = ("_met", "_writer", "address", "counter", "lease_ms", "policy", "settings", "summariser", "ttl_ms")

    def __init__(
        self,
        address: Address,
        policy: Policy,
        settings: Settings,
        writer: Writer,
        met: MetSessions,
        *,
        summariser: Summariser = extractive,
        counter: TokenCounter = ESTIMATE,
    ) -> None:
        self.address = address
        self.policy = policy
        self.settings = settings
        self.summariser = summariser
        self.counter = counter
        self.ttl_ms = int(1000 * (settings.ttl if policy.ttl is None else policy.ttl))
        self.lease_ms = int(1000 * (settings.lease if policy.lease is None else policy.lease))
        self._writer = writer
        self._met = met

    def under(self, policy: Policy | None) -> Scope:
        """Return the same session under another policy; itself for ``None``."""
        if policy is None:
            return self
        if not isinstance(policy, Policy):
            raise InvalidInput("policy must be a luni.Policy")
        return Scope(
            self.address, policy, self.settings, self._writer, self._met, summariser=self.summariser, counter=self.counter
        )  # fmt: skip

    @property
    def prompt_window(self) -> int | None:
        """At most this many messages before the current ones in a prompt."""
        return self.settings.prompt_window if self.policy.prompt_window is None else self.policy.prompt_window

    @property
    def token_budget(self) -> int | None:
        """At most this many tokens in a prompt."""
        return self.settings.token_budget if self.policy.token_budget is None else self.policy.token_budget

    def burst_ms(self, coalesce: float | None) -> tuple[int, int]:
        """Return the quiet time that ends a burst, and the longest that one may take; ``coalesce`` replaces the policy's."""
        quiet = self.policy.coalesce if coalesce is None else coalesce
        return round(1000 * quiet), round(1000 * max(quiet, self.policy.coalesce_max))

    def summarise(self, summary: str, messages: Sequence[Message]) -> str:
        """Return the summary that covers ``messages`` too, of at most 400 characters.

        An application's summariser that fails must not cost its customers their answers: the extractive one stands in.
        """
        if self.summariser is extractive:
            return extractive(summary, messages)
        try:
            return clip(self.summariser(summary, messages), SUMMARY_LIMIT).encode().decode()
        except Exception as error:  # noqa: BLE001  somebody else's code, and a turn's reply depends on it
            logger.warning("the summariser failed with %s; the extractive one stands in", type(error).__name__)
            return extractive(summary, messages)

    def next_id(self) -> tuple[str, int]:
        """Return the next operation's id; the caller holds the session's local lock."""
        return self._writer.next()

    def met(self) -> str | None:
        """Return the session id last met here."""
        return self._met.get(self.address)

    def meet(self, session_id: str) -> None:
        """Remember the session id that is here; ``""``: there is none."""
        self._met.put(self.address, session_id)
