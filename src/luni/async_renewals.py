"""Renewing the leases of open turns from the event loop's timer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from luni.clock import Clock
from luni.errors import LuniError
from luni.events import Hook
from luni.operations import Operation
from luni.renewals import OpenTurns
from luni.turns import TurnBase

__all__ = ["AsyncRenewals"]


class AsyncRenewals(OpenTurns):
    """Renews from the event loop's timer."""

    def __init__(self, execute: Callable[[Operation], asyncio.Future[Any]], clock: Clock, hook: Hook | None) -> None:
        super().__init__(clock, hook)
        self._execute = execute
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._fires_at = 0.0

    def add(self, turn: TurnBase) -> None:
        """Renew a turn's lease until it is discarded."""
        self._turns[turn] = None
        loop = asyncio.get_running_loop()
        if self._timer is None or self._loop is not loop or turn._renew_at < self._fires_at:  # noqa: SLF001  the turn is ours
            self._arm(loop, turn._renew_at)  # noqa: SLF001  the same

    def _arm(self, loop: asyncio.AbstractEventLoop, at: float) -> None:
        if not self._clock.automatic:
            return
        if self._timer is not None and self._loop is loop:
            self._timer.cancel()
        self._loop, self._fires_at = loop, at
        self._timer = loop.call_later(max(0.0, at - self._clock.monotonic()), self._fire)

    def _fire(self) -> None:
        self._timer = None
        sent_at = self._clock.monotonic()
        for turn in self._due(sent_at):
            future = self._execute(turn._renewal())  # noqa: SLF001  the turn is ours
            turn._renew_at = turn._deadline  # noqa: SLF001  until the answer is here
            future.add_done_callback(lambda done, turn=turn: self._answered(turn, sent_at, done))  # type: ignore[misc]
        soonest = self._next()
        if soonest is not None:
            self._arm(asyncio.get_running_loop(), soonest)

    def _answered(self, turn: TurnBase, sent_at: float, done: asyncio.Future[Any]) -> None:
        if turn not in self._turns or done.cancelled():
            return
        error = done.exception()
        self._note(turn, sent_at, error if isinstance(error, LuniError) else error is None and done.result())
        if turn in self._turns and self._loop is not None and turn._renew_at < self._fires_at:  # noqa: SLF001  the turn is ours
            self._arm(self._loop, turn._renew_at)  # noqa: SLF001  the same

    def close(self) -> None:
        """Stop renewing."""
        self._turns.clear()
        if self._timer is not None:
            self._timer.cancel()
