"""Replaying the journal: one process of a host at a time, session by session, each in its order."""

from __future__ import annotations

import fcntl
import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luni.backends.failover.deciding import catching_up
from luni.backends.failover.driving import driven_together
from luni.backends.failover.journal import Kept
from luni.backends.failover.local import Waiting
from luni.errors import BackendError, Indeterminate, LuniError, Unavailable
from luni.events import Replayed, ReplayRefused, emit
from luni.models import Address

if TYPE_CHECKING:
    from luni.backends.failover.keeper import Keeper

__all__ = ["Replayer"]

logger = logging.getLogger("luni")

AT_ONCE = 1000
TOGETHER = 16
"""How many sessions are replayed side by side: a round trip, and the disk's time, are then a sixteenth each."""
ENTRIES = 500
COUNTED = ("replayed", "known", "expired", "gone", "erased")


class _Work:
    """What waits of one session, and what became of it. ``away``: the primary did not answer, and nothing is known."""

    def __init__(self, address: Address, waiting: Waiting) -> None:
        self.address, self.kept, self.erased_ms = address, waiting.kept, waiting.erased_ms
        self._good = [one for one in self.kept if one.entry is not None]
        self.entries = [one.entry for one in self.kept if one.entry is not None]
        self.dead = [(one.id, one.problem) for one in self.kept if one.entry is None]
        self.done: list[int] = []
        self.counts = Counter(dead=len(self.dead))
        self.state: Any = None
        self.away: BackendError | None = None

    def note(self, outcome: Any) -> None:
        """Take note of what the flow returned, or failed with."""
        if isinstance(outcome, Unavailable | Indeterminate):
            self.away = outcome
            return
        if isinstance(outcome, LuniError):  # the session cannot be read or written: that blocks nobody else
            outcomes: Sequence[str] = (f"{type(outcome).__name__}: {outcome}",) * len(self._good)
        else:
            self.state, outcomes = outcome
        for one, became in zip(self._good, outcomes, strict=True):
            if became in COUNTED:
                self.done.append(one.id)
            else:
                self.dead.append((one.id, became))
            self.counts[became if became in COUNTED else "dead"] += 1


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
        """Replay what waits, several sessions side by side."""
        keeper, total, passed = self._keeper, Counter[str](), 0
        try:
            while addresses := keeper.journal.sessions(AT_ONCE, passed):
                for first in range(0, len(addresses), TOGETHER):
                    passed += self._catch_up(addresses[first : first + TOGETHER], total)
                    if keeper.closed:
                        return
        finally:
            if total:
                emit(keeper.hook, Replayed(dict(total)))

    def _catch_up(self, addresses: Sequence[Address], total: Counter[str]) -> int:
        """Replay the oldest entries of these sessions; return of how many a turn is open here."""
        keeper = self._keeper
        looked = [(address, keeper.local.replayable(address, ENTRIES)) for address in addresses]
        works = [_Work(address, waiting) for address, waiting in looked if waiting is not None]
        flows = [catching_up(work.address, work.entries, work.erased_ms) for work in works]
        for work, outcome in zip(works, driven_together(keeper.primary(), flows), strict=True):
            work.note(outcome)
        done = [work for work in works if work.away is None]
        counts = sum((work.counts for work in done), Counter[str]())
        if done:
            dead = [one for work in done for one in work.dead]
            keeper.journal.settle([one for work in done for one in work.done], dead, counts)
        total.update(counts)
        if counts["dead"]:
            keeper.count_dead()
        for work in done:
            self._tell(work.address, work.kept, work.dead)
        for error in [work.away for work in works if work.away is not None][:1]:
            raise error  # away again: it is tried again
        self._keep([work for work in done if work.state is not None])
        return len(looked) - len(works)

    def _keep(self, works: Sequence[_Work]) -> None:
        if not works:
            return
        if not self._keeper.healer.knows():
            raise Unavailable("the server is another one than before: what it has lost comes first")
        self._keeper.local.keep_all([(work.address, work.state) for work in works])

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
