"""Renewing the leases of open turns: one thread for all of them (`luni.async_renewals`: the event loop's timer)."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable
from typing import Any

from luni.clock import Clock
from luni.errors import LuniError
from luni.events import Hook, LeaseLost, emit
from luni.operations import Operation
from luni.turns import TurnBase

__all__ = ["OpenTurns", "Renewals"]

IDLE_SECONDS = 30.0


class OpenTurns:
    """The turns that are open now. Adding and discarding are one dictionary step: they are on every turn's way."""

    def __init__(self, clock: Clock, hook: Hook | None) -> None:
        self._clock, self._hook = clock, hook
        self._turns: dict[TurnBase, None] = {}

    def discard(self, turn: TurnBase) -> None:
        """Stop renewing a turn's lease."""
        self._turns.pop(turn, None)

    def _due(self, now: float) -> list[TurnBase]:
        return [turn for turn in list(self._turns) if turn._renew_at <= now]  # noqa: SLF001  the turn is ours

    def _next(self) -> float | None:
        return min((turn._renew_at for turn in list(self._turns)), default=None)  # noqa: SLF001  the turn is ours

    def _note(self, turn: TurnBase, sent_at: float, result: bool | LuniError) -> None:  # noqa: FBT001  an outcome
        turn._renewed(sent_at, result)  # noqa: SLF001  the turn is ours
        if turn.lost:
            self.discard(turn)
            emit(self._hook, LeaseLost(turn._scope.address, turn.token))  # noqa: SLF001  the turn is ours


class Renewals(OpenTurns):
    """Renews from one daemon thread, which begins with the first open turn and goes when none has been open for a while."""

    def __init__(self, execute: Callable[[Operation], Any], clock: Clock, hook: Hook | None) -> None:
        super().__init__(clock, hook)
        self._execute = execute
        self._wake = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._pid = 0
        self._sleeps_until = 0.0
        self._closed = False

    def add(self, turn: TurnBase) -> None:
        """Renew a turn's lease until it is discarded."""
        self._turns[turn] = None
        if self._thread is None or self._pid != os.getpid():
            self._start()
        elif turn._renew_at < self._sleeps_until:  # noqa: SLF001  the turn is ours
            self._wake.set()

    def _start(self) -> None:
        with self._starting:
            if (self._thread is None or self._pid != os.getpid()) and self._clock.automatic:
                self._pid = os.getpid()
                self._thread = threading.Thread(target=self._run, name="luni-renewals", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while not self._closed:
            self._sleeps_until = math.inf  # a turn that is added from here on wakes the thread
            soonest = self._next()
            pause = IDLE_SECONDS if soonest is None else max(0.0, soonest - self._clock.monotonic())
            self._sleeps_until = self._clock.monotonic() + pause
            if not self._wake.wait(pause) and soonest is None and self._stop_if_idle():
                return
            self._wake.clear()
            for turn in self._due(self._clock.monotonic()):
                self._renew(turn)

    def _stop_if_idle(self) -> bool:
        with self._starting:
            if self._turns:
                return False
            self._thread = None
            return True

    def _renew(self, turn: TurnBase) -> None:
        sent_at = self._clock.monotonic()
        result: bool | LuniError
        try:
            result = self._execute(turn._renewal())  # noqa: SLF001  the turn is ours
        except LuniError as error:
            result = error
        if turn in self._turns:
            self._note(turn, sent_at, result)

    def close(self) -> None:
        """Stop renewing."""
        self._closed = True
        self._turns.clear()
        self._wake.set()
