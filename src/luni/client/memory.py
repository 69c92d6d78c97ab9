"""`Memory`: the synchronous client of a store."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Hashable
from types import TracebackType
from typing import Any, Self

from luni import flows
from luni import operations as ops
from luni.backends import open_backend
from luni.client.agenda import Agenda
from luni.client.lock import Lock
from luni.client.session import Session
from luni.errors import LuniError
from luni.flows import sessions as session_flows
from luni.locks import locked_place
from luni.memory import MemoryBase
from luni.models import (
    Booking,
    Health,
    Page,
    Receipt,
)
from luni.renewals import Renewals

__all__ = ["Memory"]

STRIPES = 512


class Memory(MemoryBase):
    """The short-term memory of chat assistants, on one store. Threads may share it; close it when done.

    Make one with `open` or `from_env`. It does no I/O until it is used.
    """

    def _begin(self) -> None:
        self._backend = open_backend(self.settings.url, self.settings, self._clock, self._hook)
        if (keeper := getattr(self._backend, "keeper", None)) is not None:
            keeper.eraser = self._eraser
        self._execute = self._observed(self._backend.execute) if self._hook else self._backend.execute
        self._pid, self._locks = os.getpid(), [threading.RLock() for _ in range(STRIPES)]
        self._renewals = Renewals(self._execute, self._clock, self._hook)

    def _observed(self, execute: Callable[[ops.Operation], Any]) -> Callable[[ops.Operation], Any]:
        def observed(operation: ops.Operation) -> Any:
            began = time.perf_counter()
            try:
                result = execute(operation)
            except LuniError as error:
                self._tell(operation, self._backend.name, type(error).__name__, began)
                raise
            self._tell(operation, self._backend.name, "ok", began)
            return result

        return observed

    def _run(self, aggregate: Hashable | None, flow: flows.Flow) -> Any:
        """Run a flow. The aggregate's local lock is held until the outcome is final, so its operations keep their order."""
        self._check_open()
        if aggregate is None:
            return flows.drive(flow, self._execute)
        if self._pid != os.getpid():  # a forked child: who held these is not there to give them back
            self._pid, self._locks = os.getpid(), [threading.RLock() for _ in range(STRIPES)]
        with self._locks[hash(aggregate) % STRIPES]:
            return flows.drive(flow, self._execute)

    def session(self, *, tenant: str, channel: str, user: str) -> Session:
        """Return the session of a (tenant, channel, user). No I/O; raises `InvalidInput` for an address that cannot be one."""
        return Session(self, self._scope(tenant, channel, user))

    def find(self, session_id: str, *, tenant: str) -> Session | None:
        """Return a tenant's session by its id, ``None`` if there is none with that id now."""
        address = self._run(None, session_flows.find(self._scope_at, self._base, *self._checked_id(session_id, tenant)))
        return Session(self, self._scope_at(address)) if address else None

    def sessions(self, tenant: str, *, paused: bool | None = None, limit: int = 50, cursor: str | None = None) -> Page:
        """Return a page of a tenant's sessions as `SessionInfo`, the latest activity first; ``paused`` filters.

        ``unanswered`` is not counted in lists. ``limit`` is 1 to 200; ``cursor`` is the former page's.
        """
        self._check_page(tenant, limit)
        flow = session_flows.sessions(self._base, tenant, paused=paused, limit=limit, cursor=cursor)
        return self._run(None, flow)  # type: ignore[no-any-return]

    def unanswered(self, tenant: str | None = None, *, older_than: float = 30.0, limit: int = 100, claim: bool = True) -> Page:
        """Return conversations whose oldest unanswered message has waited ``older_than`` seconds, as `Unanswered`.

        Of one tenant, or of all; the longest waiting first; without paused ones and those a turn is open in. What a call
        returns is claimed for it for the lease's length (60 s): no other call returns it, so several sweepers share the work.
        After that, what is still unanswered is returned again; ``claim=False`` only looks. ``limit`` is 1 to 200.
        """
        found = self._run(None, self._pending_flow("waiting", tenant, older_than, limit, claim=claim))
        return self._swept(lambda scope: Session(self, scope), found, unsent=False)

    def unsent(self, tenant: str | None = None, *, older_than: float = 30.0, limit: int = 100, claim: bool = True) -> Page:
        """Return the messages of replies that were stored ``older_than`` seconds ago and never marked as sent, as `Unsent`.

        Only replies under a policy with ``outbox`` wait to be marked. A conversation's messages are claimed together, as in
        `unanswered`, and come in their order, so a page can have more than ``limit`` messages: ``limit`` counts conversations.
        """
        found = self._run(None, self._pending_flow("unsent", tenant, older_than, limit, claim=claim))
        return self._swept(lambda scope: Session(self, scope), found, unsent=True)

    def lock(self, tenant: str, name: str, *, ttl: float = 30.0, wait: float = 0.0) -> Lock:
        """Return a named lock of a tenant, to be used in a ``with`` block. No I/O.

        The block runs once or not at all, and begins only while the lock is held. It is renewed in the background at a third
        of ``ttl`` (0.05 s to a day) and ends by itself so long after its holder's death. ``wait`` (seconds, up to 300) queues
        for it, first come, first served; without, `LockHeld` is raised if somebody holds it. A holder that was asleep for too
        long finds `Lock.lost`; what it writes with `Lock.token` is `Fenced`. Raises `ConfigError` at first use on a server that
        may throw the lock away.
        """
        return Lock(self, locked_place(tenant, name), ttl, wait)

    def agenda(self, tenant: str, resource: str, *, capacity: int = 1) -> Agenda:
        """Return the agenda of a resource: holds and bookings that cannot overlap. No I/O.

        ``capacity`` is how many bookings it takes at a time; say the same everywhere.
        """
        return Agenda(self, tenant, resource, capacity)

    def bookings(self, tenant: str, *, by: str, limit: int = 100) -> list[Booking]:
        """Return a customer's bookings of a tenant that are held or confirmed, by their start; at most ``limit`` (1 to 200)."""
        return self._run(None, self._bookings_by_flow(tenant, by, limit))  # type: ignore[no-any-return]

    def resources(self, tenant: str) -> list[str]:
        """Return the names of a tenant's resources that have bookings, at most a thousand, in order."""
        return self._run(None, self._resources_flow(tenant))  # type: ignore[no-any-return]

    def erase(self, tenant: str, user: str | None = None) -> Receipt:
        """Erase all that is stored of a person at a tenant, on every channel, bookings too; without ``user`` all of a tenant.

        It writes a keyed tombstone first, for replay and restore; then nothing of the person is left, not even in free space
        of an SQLite file. What arrives meanwhile begins a new session and is kept; an open turn's reply is `Fenced`. Slots
        that were booked are free. Erasing again, or somebody unknown, is fine: the receipt has zeros then. What the receipt
        lists as ``out_of_reach`` is the caller's to see to. After an error erase again: it goes on with what is left.
        """
        if (keeper := getattr(self._backend, "keeper", None)) is not None:
            self._check_open()
            return self._erase_both(keeper, self._backend.name, tenant, user)
        return self._run(None, self._erase_flow(self._backend.name, tenant, user))  # type: ignore[no-any-return]

    def export(self, tenant: str, user: str | None = None, *, limit: int = 50, cursor: str | None = None) -> Page:
        """Return a page of all that is stored of a person at a tenant, or without ``user`` of a tenant.

        `SessionExport` for each session, the latest activity first, then `Booking` for each booking, expired and cancelled ones
        too. Go on with the page's ``cursor`` until there is none. ``limit`` is 1 to 200; a page may have more bookings. What
        cannot be read is left out: ``info.damaged`` says so of a session, `luni bookings reconcile` of a resource.
        """
        return self._run(None, self._export_flow(tenant, user, limit, cursor))  # type: ignore[no-any-return]

    def reopen_bookings(self) -> bool:
        """Say that somebody has looked at the bookings after the server had lost data; return whether they were closed.

        With a fallback, this host closes them when it finds a server that is back empty or older. Open them on every host.
        """
        return self._reopened(self._backend)

    def health(self) -> Health:
        """Return whether the store answers, and how fast. Never raises because of the store."""
        began = time.perf_counter()
        try:
            self._check_open()
            self._backend.ping()
        except LuniError as error:
            return self._unwell(self._backend, error)
        return self._well(self._backend, began)

    def describe(self) -> dict[str, Any]:
        """Return what `luni doctor` shows of the store: versions, place, what a power failure would lose. No secrets."""
        self._check_open()
        return self._backend.describe()

    def close(self) -> None:
        """Let go of connections, files and the renewal thread; closing twice is fine. What comes after is `Unavailable`."""
        self._closed = True
        self._renewals.close()
        self._backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
