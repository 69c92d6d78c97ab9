"""What the synchronous and the asynchronous memory share: settings, scopes, checks, and the flow of each call. No I/O."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from luni import drafts, flows, views
from luni import operations as ops
from luni.agenda import booking_of
from luni.backends.keys import part, session_keys
from luni.clock import Clock, SystemClock
from luni.context import ESTIMATE, Summariser, TokenCounter, extractive
from luni.errors import ConfigError, InvalidInput, LuniError, Unavailable
from luni.events import Executed, Hook, emit
from luni.flows import bookings as booking_flows
from luni.flows import erasure as erasure_flows
from luni.flows import locks as lock_flows
from luni.flows import sweeps as sweep_flows
from luni.leases import HeldLocks
from luni.models import Address, Health, Page, Receipt, Unanswered, Unsent
from luni.scope import MetSessions, Scope, Writer
from luni.settings import DEFAULT_POLICY, MAX_TTL, Policies, Settings, policy_for

__all__ = ["MemoryBase"]

MAX_PAGE = 200
OUT_OF_REACH = (
    "Exports and backups that were made before.",
    "What the application itself has written down: its logs, its own database, names of locks and resources made of people.",
    "Copies of those who carried the messages: the messaging provider, the provider of the model.",
    "What other conversations say about the person.",
)
OTHER_HOSTS = "Mirrors and journals of other hosts, until they reach the server again: they look for the tombstone then."
NOT_EXPUNGED = {
    "sqlite": "The file's log, and free space within the file: it is over 128 MiB, its disk is full, or somebody read an "
    "older state. Erase again when it is quiet, or run VACUUM.",
    "redis": "The server's own: its append-only file until it is rewritten, its snapshot until the next one, its slow log.",
}
MAX_RESOURCES = 1000


class MemoryBase:
    """Settings, policies, the writer's ids and the sessions met."""

    def __init__(
        self,
        settings: Settings,
        *,
        policies: Policies = None,
        on_event: Hook | None = None,
        summariser: Summariser = extractive,
        counter: TokenCounter = ESTIMATE,
        clock: Clock | None = None,
    ) -> None:
        self.settings = settings
        if not callable(policies):
            policy_for(policies, "", "")
        for name, given in (("on_event", on_event), ("summariser", summariser)):
            if given is not None and not callable(given):
                raise ConfigError(f"{name} must be callable")
        if not isinstance(counter, TokenCounter):
            raise ConfigError("counter must be a luni.TokenCounter")
        self._policies = policies
        self._hook = on_event
        self._summariser, self._counter = summariser, counter
        self._clock: Clock = clock or SystemClock()
        self._writer, self._met, self._held_locks = Writer(), MetSessions(), HeldLocks()
        self._guarantee = lock_flows.Guarantee(self._clock)
        self._closed = False
        self._base = self._make_scope(Address("", "", ""), DEFAULT_POLICY)
        self._begin()

    def _begin(self) -> None:
        raise NotImplementedError

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable("the memory was closed")

    @classmethod
    def open(
        cls,
        url: str,
        *,
        fallback: str | None = None,
        policies: Policies = None,
        namespace: str = "luni",
        on_event: Hook | None = None,
        summariser: Summariser = extractive,
        counter: TokenCounter = ESTIMATE,
        clock: Clock | None = None,
        **settings: Any,
    ) -> Self:
        """Return a memory on the store at ``url``. No I/O, and nothing is read from the environment.

        ``url`` is ``sqlite:///file.db``, ``sqlite:////absolute/file.db``, ``sqlite://`` (in memory), or ``redis://``,
        ``rediss://``, ``valkey://``, ``unix://``, or with Sentinels ``redis+sentinel://host,host/name``, or a Cluster's
        ``redis+cluster://host,host``, whose keys have other names than a single server's. ``policies`` says how each tenant's
        channel is served; ``fallback`` is a local file (``sqlite:///local.db``) to go on from while the server is away, with a
        journal beside it; ``namespace`` replaces the leading ``luni`` of the keys; ``on_event`` is told what happened;
        ``settings`` are fields of `Settings`. Raises `ConfigError`.
        """
        if not isinstance(url, str):
            raise ConfigError("the URL must be a str")
        known = set(Settings.__struct_fields__)
        for name in settings:
            if name not in known:
                raise ConfigError(f"{name!r} is not a setting; see luni.Settings")
        found = Settings(url=url, fallback=fallback or "", namespace=namespace, **settings)
        return cls(found, policies=policies, on_event=on_event, summariser=summariser, counter=counter, clock=clock)

    @classmethod
    def from_env(
        cls,
        *,
        environ: Mapping[str, str] | None = None,
        dotenv: str | Path | None = ".env",
        policies: Policies = None,
        on_event: Hook | None = None,
    ) -> Self:
        """Return a memory set up by the environment (and the file ``.env``); raise `ConfigError` naming a bad setting."""
        settings = Settings.from_env(environ, dotenv=dotenv)
        logging.getLogger("luni").setLevel(settings.log_level)
        return cls(settings, policies=policies or settings.load_policies(), on_event=on_event)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} on {self.settings.url.partition('://')[0]}>"

    def _make_scope(self, address: Address, policy: Any) -> Scope:
        return Scope(
            address, policy, self.settings, self._writer, self._met, summariser=self._summariser, counter=self._counter
        )  # fmt: skip

    def _scope_at(self, address: Address) -> Scope:
        return self._make_scope(address, policy_for(self._policies, address.tenant, address.channel))

    def _scope(self, tenant: str, channel: str, user: str) -> Scope:
        address = Address(tenant, channel, user)
        try:
            session_keys(self.settings.namespace, address)  # every backend refuses the same addresses
        except TypeError:
            raise InvalidInput("tenant, channel and user must be str") from None
        return self._scope_at(address)

    def _lock_needs(self) -> tuple[Scope, Clock, lock_flows.Guarantee, HeldLocks]:
        return self._base, self._clock, self._guarantee, self._held_locks

    def _agenda_needs(self) -> booking_flows.Needs:
        return booking_flows.Needs(self._base, self._guarantee, self._held_locks)

    def _bookings_by_flow(self, tenant: str, by: str, limit: int) -> flows.Flow:
        self._check_page(tenant, limit)
        part(by, "by")
        records = yield from booking_flows.bookings_by(self._agenda_needs(), tenant, by, limit)
        return [booking_of(tenant, record) for record in records]

    def _resources_flow(self, tenant: str) -> flows.Flow:
        part(tenant, "tenant")
        return booking_flows.resources(self._agenda_needs(), tenant, MAX_RESOURCES)

    def _erase_flow(self, name: str, tenant: str, user: str | None) -> flows.Flow:
        self._check_person(tenant, user)
        done = yield from erasure_flows.erase(self._base, tenant, user or "")
        beyond = OUT_OF_REACH if done.expunged else (NOT_EXPUNGED.get(name, NOT_EXPUNGED["redis"]), *OUT_OF_REACH)
        return Receipt(tenant, done.ms / 1000, done.counts, {name: dict(done.counts)}, out_of_reach=beyond)

    def _erase_both(self, keeper: Any, name: str, tenant: str, user: str | None) -> Receipt:
        """Erase on this host and on the server, or on the server as soon as it is back. This waits."""
        self._check_person(tenant, user)
        mirror, entries, there = keeper.erase(tenant, user or "")
        where = {"mirror": dict(mirror.counts), "journal": {"operations": entries}}
        where |= {name: dict(there.counts)} if there else {}
        beyond = OUT_OF_REACH if there and there.expunged else (NOT_EXPUNGED["redis"], *OUT_OF_REACH)
        counts = there.counts if there else mirror.counts
        ms = there.ms if there else mirror.ms
        return Receipt(
            tenant, ms / 1000, dict(counts), where, pending=() if there else (name,), out_of_reach=(OTHER_HOSTS, *beyond)
        )  # fmt: skip

    def _eraser(self, tenant: str, user: str, at_ms: int, execute: Callable[[ops.Operation], Any]) -> Any:
        return flows.drive(erasure_flows.erase(self._base, tenant, user, at_ms), execute)

    def _export_flow(self, tenant: str, user: str | None, limit: int, cursor: str | None) -> flows.Flow:
        self._check_person(tenant, user)
        self._check_page(tenant, limit)
        found, cursor = yield from erasure_flows.export(self._base, tenant, user or "", limit=limit, cursor=cursor)
        return Page(tuple(booking_of(tenant, one) if isinstance(one, ops.Record) else one for one in found), cursor)

    @staticmethod
    def _check_person(tenant: str, user: str | None) -> None:
        part(tenant, "tenant")
        if user is not None:
            part(user, "user")

    def _tell(self, operation: ops.Operation, backend: str, outcome: str, began: float) -> None:
        address = getattr(operation, "address", None)
        tenant, channel = (address.tenant, address.channel) if address else (getattr(operation, "tenant", ""), "")
        seconds = time.perf_counter() - began
        policy = policy_for(self._policies, tenant, channel).name if channel else ""
        emit(self._hook, Executed(type(operation).__name__.lower(), backend, outcome, seconds, tenant, channel, policy))

    @staticmethod
    def _checked_id(session_id: str, tenant: str) -> tuple[str, str]:
        part(session_id, "session_id")
        part(tenant, "tenant")
        return session_id, tenant

    @staticmethod
    def _check_page(tenant: str, limit: int) -> None:
        part(tenant, "tenant")
        if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MAX_PAGE:
            raise InvalidInput(f"limit must be a whole number from 1 to {MAX_PAGE}")

    def _pending_flow(
        self, kind: ops.PendingKind, tenant: str | None, older_than: float, limit: int, *, claim: bool
    ) -> flows.Flow:
        if tenant is not None:
            part(tenant, "tenant")
        self._check_page(tenant or "any", limit)
        older_ms = drafts.milliseconds(older_than, "older_than", low=0, high=round(1000 * MAX_TTL))
        return sweep_flows.pending(self._base, kind, tenant, older_ms=older_ms, limit=limit, claim=claim)

    def _swept(self, session_of: Callable[[Scope], Any], found: tuple[int, list[Any]], *, unsent: bool) -> Page:
        now_ms, rows = found
        items: list[Any] = []
        for address, since_ms, seen in rows:
            scope = self._scope_at(address)
            scope.meet(seen.session_id)
            place = (address.tenant, address.channel, address.user, seen.session_id)
            if unsent:
                items += [
                    Unsent(*place, m.timestamp, (now_ms - m.timestamp_ms) / 1000, session_of(scope), m)
                    for m in views.in_sending_order(seen.texts)
                ]
            else:
                items.append(Unanswered(*place, since_ms / 1000, (now_ms - since_ms) / 1000, session_of(scope)))
        return Page(tuple(items))

    @staticmethod
    def _reopened(backend: Any) -> bool:
        keeper = getattr(backend, "keeper", None)
        return bool(keeper is not None and keeper.bookings.open())

    def _unwell(self, backend: Any, error: LuniError) -> Health:
        """The store does not answer: with a fallback the memory goes on, degraded."""
        keeper = None if self._closed else getattr(backend, "keeper", None)
        if keeper is None:
            return Health(ok=False, degraded=False, backend=backend.name, detail=str(error))
        try:
            found = keeper.journal.standing()
        except LuniError as worse:
            return Health(ok=False, degraded=True, backend=backend.name, detail=f"{error}; {worse}")
        if keeper.guard.problem:
            return Health(ok=False, degraded=True, backend=backend.name, detail=f"{error}; {keeper.guard.problem}")
        return Health(
            ok=True, degraded=True, backend=backend.name, journal_depth=found.pending, detail=str(error),
            dead_letters=found.dead, owed_erasures=found.erasures, bookings_closed=found.bookings_closed,
        )  # fmt: skip

    @staticmethod
    def _well(backend: Any, began: float) -> Health:
        """The store answers; what still waits to reach it is told."""
        latency_ms, keeper = 1000 * (time.perf_counter() - began), getattr(backend, "keeper", None)
        try:
            found = keeper.journal.standing() if keeper else None
        except LuniError as error:
            return Health(ok=True, degraded=True, backend=backend.name, latency_ms=latency_ms, detail=str(error))
        if found is None:
            return Health(ok=True, degraded=False, backend=backend.name, latency_ms=latency_ms)
        problem = keeper.guard.problem if keeper else ""
        return Health(
            ok=True, degraded=found.pending + found.erasures > 0 or bool(problem), backend=backend.name,
            journal_depth=found.pending, latency_ms=latency_ms, detail=problem, dead_letters=found.dead,
            owed_erasures=found.erasures, bookings_closed=found.bookings_closed,
        )  # fmt: skip
