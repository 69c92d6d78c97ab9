"""Forking while other threads use SQLite: the child would inherit their locks, held by nobody, for as long as it lives."""

from __future__ import annotations

import os
import threading
from types import TracebackType

__all__ = ["GATE", "Gate"]

PATIENCE = 2.0
"""Seconds that a fork waits for transactions to end: longer ones are left to their fate."""


class Gate:
    """Within this block nobody forks; a fork waits until everybody is out, and who comes meanwhile waits for the fork."""

    def __init__(self) -> None:
        self._depth = threading.local()
        self._begin()

    def _begin(self) -> None:
        self._turn, self._within = threading.Condition(), 0

    def __enter__(self) -> None:
        depth = getattr(self._depth, "depth", 0)
        if not depth:  # a block within a block is part of it
            with self._turn:
                self._within += 1
        self._depth.depth = depth + 1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._depth.depth -= 1
        if not self._depth.depth:
            with self._turn:
                self._within -= 1
                self._turn.notify_all()

    def shut(self) -> None:
        """Wait until everybody is out, and let nobody in."""
        self._turn.acquire()
        self._turn.wait_for(lambda: not self._within or getattr(self._depth, "depth", 0), PATIENCE)

    def open(self) -> None:
        """Go on, in the parent."""
        self._turn.release()

    def forget(self) -> None:
        """Begin anew, in the child: those within are the parent's threads."""
        self._begin()
        self._within = int(getattr(self._depth, "depth", 0) > 0)


GATE = Gate()
os.register_at_fork(before=GATE.shut, after_in_parent=GATE.open, after_in_child=GATE.forget)
