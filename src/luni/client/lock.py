"""`Lock`: the synchronous client of one named lock."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar

from luni import operations as ops
from luni.errors import ConfigError, LockHeld, LuniError, NoSession, Unavailable
from luni.locks import LockBase

if TYPE_CHECKING:
    from luni.client.memory import Memory

__all__ = ["Lock"]

logger = logging.getLogger("luni")

P = ParamSpec("P")
T = TypeVar("T")


class Lock(LockBase):
    """One named lock: a context manager. What is in its block runs once or not at all, and begins only while it is held."""

    def __init__(self, memory: Memory, place: ops.Place, ttl: float, wait: float) -> None:
        super().__init__(*memory._lock_needs(), place, ttl, wait)  # noqa: SLF001  the lock is its memory's
        self._memory = memory

    def _run(self, flow: Any) -> Any:
        return self._memory._run(None, flow)  # noqa: SLF001  the lock is its memory's

    def acquire(self) -> Self:
        """Acquire the lock and begin to renew it, at a third of its ``ttl``; wait for it, if it was asked to, in a fair order.

        Raises `LockHeld` (somebody else holds it, or waits for it), `NoSession` (a lock of a session that is not there),
        `LockLost` (the answer came after its ``ttl``), and `Unavailable` or `Indeterminate` (nobody can tell). Then nothing was
        run, and what may have been acquired is released.
        """
        self._take()
        try:
            while (pause := self._run(self._acquire_flow())) is not None:
                self._clock.sleep(pause)
        except (LockHeld, NoSession, Unavailable, ConfigError):
            self._give_up()
            raise
        except BaseException:
            self._let_go(self._attempt_flow)
            raise
        self._memory._renewals.add(self)  # noqa: SLF001  the lock is its memory's
        return self

    def renew(self) -> None:
        """Renew the lock now: it is held for its whole ``ttl`` again. Raises `LockLost` if it is not held any more."""
        self._run(self._renew_flow())

    def release(self) -> bool:
        """Release the lock; return whether it was still held. Never raises a store's error: the lock expires by itself."""
        self._memory._renewals.discard(self)  # noqa: SLF001  the lock is its memory's
        return self._let_go(self._release_flow)

    def _let_go(self, flow_of: Callable[[ops.Unlock], Any]) -> bool:
        operation = self._give_up()
        if operation is None:
            return False
        try:
            return bool(self._run(flow_of(operation)))
        except LuniError as error:
            logger.warning("a lock could not be released, it will expire: %s", type(error).__name__)
            return False

    def run(self, function: Callable[P, T], /, *arguments: P.args, **named: P.kwargs) -> T:
        """Acquire the lock, call ``function`` once, release the lock, return what it returned or raise what it raised.

        If the lock cannot be acquired it is not called at all.
        """
        with self:
            return function(*arguments, **named)

    def __enter__(self) -> Self:
        return self.acquire()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()
