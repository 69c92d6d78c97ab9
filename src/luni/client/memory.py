"""`Memory`: the synchronous client of a store."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from luni import flows
from luni import operations as ops
from luni.backends import open_backend
from luni.client.session import Session
from luni.errors import LuniError
from luni.flows import sessions as session_flows
from luni.memory import MemoryBase
from luni.models import (
    Address,
    Health,
    Page,
)
from luni.renewals import Renewals

__all__ = ["Memory"]

STRIPES = 512


class Memory(MemoryBase):
    """The short-term memory of chat assistants, on one store. Threads may share it; close it when done.

    Make one with `open` or `from_env`. It does no I/O until it is used.
    """

    def _begin(self) -> None:
        self._backend = open_backend(self.settings.url, self.settings, self._clock)
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

    def _run(self, address: Address | None, flow: flows.Flow) -> Any:
        """Run a flow. The session's local lock is held until the outcome is final, so its operations keep their order."""
        self._check_open()
        if address is None:
            return flows.drive(flow, self._execute)
        if self._pid != os.getpid():  # a forked child: who held these is not there to give them back
            self._pid, self._locks = os.getpid(), [threading.RLock() for _ in range(STRIPES)]
        with self._locks[hash(address) % STRIPES]:
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

    def health(self) -> Health:
        """Return whether the store answers, and how fast. Never raises because of the store."""
        began = time.perf_counter()
        try:
            self._check_open()
            self._backend.ping()
        except LuniError as error:
            return self._unwell(self._backend.name, error)
        return self._well(self._backend.name, began)

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
