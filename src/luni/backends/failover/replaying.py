"""Replaying the journal: one process of a host at a time, session by session, each in its order."""

from __future__ import annotations

import fcntl
import logging
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from luni.backends.failover.deciding import catching_up
from luni.backends.failover.journal import Kept
from luni.errors import BackendError, Indeterminate, Unavailable
from luni.events import Replayed, ReplayRefused, emit
from luni.models import Address

if TYPE_CHECKING:
    from luni.backends.failover.keeper import Keeper

__all__ = ["Replayer"]

logger = logging.getLogger("luni")

AT_ONCE = 100
ENTRIES = 500
COUNTED = ("replayed", "known", "expired", "gone", "erased")


class Replayer:
    """Replays what waits, as long as it has the host's lock."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._lock: int | None = None

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Within this block no other process of the host replays or heals; ``False``: another one does."""
        try:
            yield self._locked()
        finally:
            self._unlock()

    def round(self) -> None:
        """Replay what waits."""
        keeper, total = self._keeper, Counter[str]()
        passed = 0
        while addresses := keeper.journal.sessions(AT_ONCE, passed):
            for address in addresses:
                if not self._session(address, total):
                    passed += 1
        if total:
            emit(keeper.hook, Replayed(dict(total)))

    def _session(self, address: Address, total: Counter[str]) -> bool:
        """Replay a session's oldest entries; return whether no turn of it is open here."""
        kept = self._keeper.local.replayable(address, ENTRIES)
        if kept is None:
            return False
        dead = [(one.id, one.problem) for one in kept if one.entry is None]
        good = [one for one in kept if one.entry is not None]
        try:
            entries = [one.entry for one in good if one.entry is not None]
            state, outcomes = self._keeper.driven(catching_up(address, entries, self._keeper.local.erased_at(address)))
        except (Unavailable, Indeterminate):
            raise  # away again: it is tried again
        except BackendError as error:  # the session cannot be read or written: that blocks nobody else
            state, outcomes = None, (f"{type(error).__name__}: {error}",) * len(good)
        dead += [(one.id, outcome) for one, outcome in zip(good, outcomes, strict=True) if outcome not in COUNTED]
        done = [one.id for one, outcome in zip(good, outcomes, strict=True) if outcome in COUNTED]
        counts = Counter([outcome if outcome in COUNTED else "dead" for outcome in outcomes])
        counts["dead"] += len(kept) - len(good)
        self._keeper.journal.settle(done, dead, {name: number for name, number in counts.items() if number})
        total.update(counts)
        if dead:
            self._keeper.count_dead()
        self._tell(address, kept, dead)
        if state is not None:
            if not self._keeper.healer.knows():
                raise Unavailable("the server is another one than before: what it has lost comes first")
            self._keeper.local.keep(address, state)
        return True

    def _tell(self, address: Address, kept: list[Kept], dead: list[tuple[int, str]]) -> None:
        kinds = {one.id: type(one.entry.operation).__name__.lower() if one.entry else "" for one in kept}
        for number, reason in dead:
            logger.error("the journal's entry %d was refused for good: %s", number, reason)
            emit(self._keeper.hook, ReplayRefused(address, number, kinds[number], reason))

    def _locked(self) -> bool:
        if self._lock is not None:
            return True
        path = Path(self._keeper.journal.place).with_suffix(".lock")
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            return False
        self._lock = lock
        return True

    def _unlock(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Let go of the descriptor. A forked child has it, too, and would keep the lock for as long as it lives."""
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)
