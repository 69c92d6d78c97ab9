"""Renewing the leases of open turns: one thread for all of them (`luni.async_renewals`: the event loop's timer).

Turns that are due at about the same time are renewed together, by one operation: ten thousand cost a few calls a second.
"""
# ruff: noqa: SLF001  the turns are ours

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

from luni import operations as ops
from luni.clock import Clock
from luni.errors import LuniError
from luni.events import Hook, LeaseLost, emit
from luni.turns import TurnBase

__all__ = ["OpenTurns", "Renewals"]

IDLE_SECONDS = 30.0
AT_ONCE = 200
"""At most so many turns in one operation, so that no server is busy with one for long."""
STEPS_A_LEASE = 240
SHORTEST_STEP = 0.01
"""Turns are due at multiples of a 240th of their lease (at least of 10 ms), so that many are due together."""


class OpenTurns:
    """The turns that are open now, by when they are due; threads share it without a lock.

    Only who renews takes a time's turns away, and who adds to them looks afterwards whether they were taken meanwhile.
    """

    def __init__(self, clock: Clock, hook: Hook | None) -> None:
        self._clock, self._hook = clock, hook
        self._due_at: dict[TurnBase, float] = {}
        self._times: dict[float, dict[TurnBase, None]] = {}

    def _put(self, turn: TurnBase) -> float:
        """Let a turn be due at its time; return that."""
        step = max(SHORTEST_STEP, turn._lease_seconds / STEPS_A_LEASE)
        due = self._due_at[turn] = math.ceil(turn._renew_at / step) * step
        while True:
            turns = self._times.setdefault(due, {})
            turns[turn] = None
            if self._times.get(due) is turns:
                return due

    def discard(self, turn: TurnBase) -> None:
        """Stop renewing a turn's lease."""
        due = self._due_at.pop(turn, None)
        if due is not None and (turns := self._times.get(due)) is not None:
            turns.pop(turn, None)

    def _next(self) -> float | None:
        """Return when a turn is due next; ``None`` if none is open."""
        return min(list(self._times), default=None)

    def _take_due(self, now: float) -> Iterator[tuple[list[TurnBase], ops.Renew]]:
        """Take the turns that are due, some at a time, with the operation that renews them."""
        due: list[TurnBase] = []
        for time in [time for time in list(self._times) if time <= now]:
            due += [turn for turn in list(self._times.pop(time)) if turn in self._due_at]
        for begin in range(0, len(due), AT_ONCE):
            turns = due[begin : begin + AT_ONCE]
            yield turns, ops.Renew(leases=tuple([turn._lease() for turn in turns]))

    def _note(self, turns: list[TurnBase], sent_at: float, result: ops.Renewed | LuniError) -> None:
        """Take note of the outcome for each of the turns, and of when it is due again."""
        outcomes: Any = result.held if isinstance(result, ops.Renewed) else [None] * len(turns)
        for turn, held in zip(turns, outcomes, strict=True):
            if turn not in self._due_at:
                continue  # closed meanwhile
            turn._renewed(sent_at, held=held)
            if turn.lost:
                self.discard(turn)
                emit(self._hook, LeaseLost(turn._scope.address, turn.token))
            else:
                self._put(turn)


class Renewals(OpenTurns):
    """Renews from one daemon thread, which begins with the first open turn and goes when none has been open for a while."""

    def __init__(self, execute: Callable[[ops.Operation], Any], clock: Clock, hook: Hook | None) -> None:
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
        if not self._clock.automatic:
            return
        due = self._put(turn)
        if self._thread is None or self._pid != os.getpid():
            self._start()
        elif due < self._sleeps_until:
            self._wake.set()

    def _start(self) -> None:
        with self._starting:
            if self._thread is None or self._pid != os.getpid():
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
            sent_at = self._clock.monotonic()
            for turns, operation in self._take_due(sent_at):
                self._renew(turns, operation)

    def _stop_if_idle(self) -> bool:
        with self._starting:
            if self._times:
                return False
            self._thread = None
            return True

    def _renew(self, turns: list[TurnBase], operation: ops.Renew) -> None:
        sent_at = self._clock.monotonic()
        result: ops.Renewed | LuniError
        try:
            result = self._execute(operation)
        except LuniError as error:
            result = error
        self._note(turns, sent_at, result)

    def close(self) -> None:
        """Stop renewing."""
        self._closed = True
        self._due_at.clear()
        self._times.clear()
        self._wake.set()
