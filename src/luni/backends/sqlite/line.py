"""Threads of one process that want to write to the same file stand in line: SQLite's own lock knows no order."""

from __future__ import annotations

import threading
from collections import deque
from types import TracebackType

from luni.errors import Unavailable

__all__ = ["Line"]


class Line:
    """Within this block no other thread that stands in this line writes; they come in their order.

    Raises `Unavailable` for who has waited for so many seconds. Not reentrant, as transactions are not.
    """

    def __init__(self, place: str, seconds: float) -> None:
        self._place, self._seconds = place, seconds
        self._guard, self._busy = threading.Lock(), False
        self._waiting: deque[threading.Lock] = deque()

    def __enter__(self) -> None:
        with self._guard:
            if not self._busy:
                self._busy = True
                return
            mine = threading.Lock()
            mine.acquire()
            self._waiting.append(mine)
        try:
            called = mine.acquire(timeout=self._seconds) or not self._left(mine)
        except BaseException:  # a signal's: nobody is there any more to be called
            if not self._left(mine):
                self.__exit__(None, None, None)
            raise
        if not called:
            raise Unavailable(f"{self._place} cannot be written now: others have written for {self._seconds} s")

    def _left(self, mine: threading.Lock) -> bool:
        """Leave the line; return ``False`` if one was called meanwhile."""
        with self._guard:
            if mine in self._waiting:
                self._waiting.remove(mine)
                return True
        return False

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._guard:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._busy = False
