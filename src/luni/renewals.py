"""Renewing open turns and held locks: one thread for all of them (`luni.async_renewals`: the event loop's timer).

Those that are due at about the same time are renewed together, by one operation: ten thousand cost a few calls a second.
"""
# ruff: noqa: SLF001  what is leased is ours

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

from luni import operations as ops
from luni.clock import Clock
from luni.errors import LuniError
from luni.events import Hook, emit
from luni.leases import Leased

__all__ = ["Leases", "Renewals"]

IDLE_SECONDS = 30.0
AT_ONCE = 200
"""At most so many leases in one operation, so that no server is busy with one for long."""
STEPS_A_LEASE = 240
SHORTEST_STEP = 0.01
"""They are due at multiples of a 240th of their length (at least of 10 ms), so that many are due together."""


class Leases:
    """The open turns and the locks held now, by when they are due; threads share it without a lock.

    Only who renews takes a time's leases away, and who adds to them looks afterwards whether they were taken meanwhile.
    """

    def __init__(self, clock: Clock, hook: Hook | None) -> None:
        self._clock, self._hook = clock, hook
        self._due_at: dict[Leased, float] = {}
        self._times: dict[float, dict[Leased, None]] = {}
        self._begun_by = os.getpid()

    def _put(self, lease: Leased) -> float:
        """Let a lease be due at its time; return that."""
        if self._begun_by != os.getpid():  # a forked child renews nothing of its parent's
            self._begun_by = os.getpid()
            self._due_at.clear()
            self._times.clear()
        step = max(SHORTEST_STEP, lease._lease_seconds / STEPS_A_LEASE)
        due = self._due_at[lease] = math.ceil(lease._renew_at / step) * step
        while True:
            leases = self._times.setdefault(due, {})
            leases[lease] = None
            if self._times.get(due) is leases:
                return due

    def discard(self, lease: Leased) -> None:
        """Stop renewing a lease."""
        due = self._due_at.pop(lease, None)
        if due is not None and (leases := self._times.get(due)) is not None:
            leases.pop(lease, None)

    def _next(self) -> float | None:
        """Return when a lease is due next; ``None`` if there is none."""
        return min(list(self._times), default=None)

    def _take_due(self, now: float) -> Iterator[tuple[list[Leased], ops.Renew]]:
        """Take the leases that are due, some at a time, with the operation that renews them."""
        due: list[Leased] = []
        for time in [time for time in list(self._times) if time <= now]:
            due += [lease for lease in list(self._times.pop(time)) if lease in self._due_at]
        for begin in range(0, len(due), AT_ONCE):
            leases = due[begin : begin + AT_ONCE]
            yield leases, ops.Renew(leases=tuple([lease._lease() for lease in leases]))

    def _note(self, leases: list[Leased], operation: ops.Renew, sent_at: float, result: ops.Renewed | LuniError) -> None:
        """Take note of the outcome for each of the leases, and of when it is due again."""
        outcomes: Any = result.held if isinstance(result, ops.Renewed) else [None] * len(leases)
        for lease, sent, held in zip(leases, operation.leases, outcomes, strict=True):
            if lease not in self._due_at or lease._lease() != sent:
                continue  # closed meanwhile, or acquired anew
            lease._renewed(sent_at, held=held)
            if lease.lost:
                self.discard(lease)
                emit(self._hook, lease._lost_event())
            elif held is False:
                self.discard(lease)
            else:
                self._put(lease)
                if not lease._wanted:  # released by another thread while its renewal was noted
                    self.discard(lease)


class Renewals(Leases):
    """Renews from one daemon thread, which begins with the first lease and goes when there has been none for a while."""

    def __init__(self, execute: Callable[[ops.Operation], Any], clock: Clock, hook: Hook | None) -> None:
        super().__init__(clock, hook)
        self._execute = execute
        self._wake = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._pid = 0
        self._sleeps_until = 0.0
        self._closed = False

    def add(self, lease: Leased) -> None:
        """Renew a lease until it is discarded."""
        if not self._clock.automatic:
            return
        due = self._put(lease)
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
            self._sleeps_until = math.inf  # a lease that is added from here on wakes the thread
            soonest = self._next()
            pause = IDLE_SECONDS if soonest is None else max(0.0, soonest - self._clock.monotonic())
            self._sleeps_until = self._clock.monotonic() + pause
            if not self._wake.wait(pause) and soonest is None and self._stop_if_idle():
                return
            self._wake.clear()
            sent_at = self._clock.monotonic()
            for leases, operation in self._take_due(sent_at):
                self._renew(leases, operation)

    def _stop_if_idle(self) -> bool:
        with self._starting:
            if self._times:
                return False
            self._thread = None
            return True

    def _renew(self, leases: list[Leased], operation: ops.Renew) -> None:
        sent_at = self._clock.monotonic()
        result: ops.Renewed | LuniError
        try:
            result = self._execute(operation)
        except LuniError as error:
            result = error
        self._note(leases, operation, sent_at, result)

    def close(self) -> None:
        """Stop renewing."""
        self._closed = True
        self._due_at.clear()
        self._times.clear()
        self._wake.set()
