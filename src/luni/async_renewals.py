"""Renewing open turns and held locks from the event loop's timer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from luni import operations as ops
from luni.clock import Clock
from luni.errors import BackendError, LuniError
from luni.events import Hook
from luni.leases import Leased
from luni.renewals import Leases

__all__ = ["AsyncRenewals"]


class AsyncRenewals(Leases):
    """Renews from the event loop's timer."""

    def __init__(self, execute: Callable[[ops.Operation], asyncio.Future[Any]], clock: Clock, hook: Hook | None) -> None:
        super().__init__(clock, hook)
        self._execute = execute
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._fires_at = 0.0

    def add(self, lease: Leased) -> None:
        """Renew a lease until it is discarded."""
        if self._clock.automatic:
            self._arm(asyncio.get_running_loop(), self._put(lease))

    def _arm(self, loop: asyncio.AbstractEventLoop, at: float) -> None:
        if self._timer is not None and self._loop is loop:
            if self._fires_at <= at:
                return
            self._timer.cancel()
        self._loop, self._fires_at = loop, at
        self._timer = loop.call_later(max(0.0, at - self._clock.monotonic()), self._fire)

    def _fire(self) -> None:
        self._timer = None
        sent_at = self._clock.monotonic()
        for leases, operation in self._take_due(sent_at):
            future = self._execute(operation)
            future.add_done_callback(partial(self._answered, leases, operation, sent_at))
        self._arm_for_next()

    def _answered(self, leases: list[Leased], operation: ops.Renew, sent_at: float, done: asyncio.Future[Any]) -> None:
        error = BackendError("cancelled") if done.cancelled() else done.exception()
        self._note(leases, operation, sent_at, error if isinstance(error, LuniError) else done.result())
        self._arm_for_next()

    def _arm_for_next(self) -> None:
        soonest = self._next()
        if soonest is not None:
            self._arm(asyncio.get_running_loop(), soonest)

    def close(self) -> None:
        """Stop renewing."""
        self._due_at.clear()
        self._times.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
