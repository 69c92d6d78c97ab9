"""What both shells share: whether the primary is away, the journal, the mirror, and the one thread that looks after them.

The thread probes a primary that is away, replays the journal when it is back (one process of the host does, under a file lock),
and takes snapshots of the sessions this process serves.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from luni import operations as ops
from luni.backends.base import Backend
from luni.backends.failover.breaker import Breaker, ServerClock
from luni.backends.failover.forking import tell_of_forks
from luni.backends.failover.gate import Belonging, BookingGate
from luni.backends.failover.healing import Healer
from luni.backends.failover.journal import Journal
from luni.backends.failover.local import Local
from luni.backends.failover.places import journal_path, mirror_url
from luni.backends.failover.replaying import Replayer
from luni.backends.failover.stories import story_of
from luni.backends.failover.sweeping import Sweeper
from luni.backends.failover.tails import MOST_SESSIONS, NOTED, Noted, Tails
from luni.backends.failover.watching import Guard
from luni.errors import BackendError, Indeterminate, LuniError, Unavailable
from luni.events import FailedOver, Hook, Recovered, emit
from luni.models import Address
from luni.settings import Settings

__all__ = ["Keeper"]

logger = logging.getLogger("luni")

SNAPSHOTS_A_ROUND = 200
DUTY = 0.02
"""The part of the time that snapshots may take: the rest is the application's. Who is not in one is in the tails."""
BEHIND, HURRY = 30, 0.1
"""If they are so many intervals behind, they take more of it: the tails are in memory, and must not grow for ever."""
ROUNDS = 4
"""How often a mirror's interval the thread looks."""
CLOSING_SECONDS = 2.0
ABSORBING_SECONDS = 0.2
"""Between two probes: the primary may be back, and what is needed here is absorbed when it is asked for."""
CLOCK_EVERY = 60.0
ERASING_MS = 1000
"""Whoever was asked to erase does so, and says how much that was; the thread makes up for it later."""
LOOK_EVERY = 2.0
MOST_FLAGGED = 10_000
"""How many sessions with dead entries are told as such, those with the newest ones."""


def _no_eraser(_tenant: str, _user: str, _at_ms: int, _execute: Callable[[ops.Operation], Any]) -> Any:
    raise Unavailable("nobody has said how to erase")


class Keeper:
    """Knows whether the primary is away, and keeps what must not be lost. No I/O before it is used; threads share it."""

    def __init__(self, settings: Settings, primary: Callable[[], Backend], hook: Hook | None) -> None:
        self.settings, self.hook = settings, hook
        self._open_primary = primary
        self.journal = Journal(journal_path(settings.fallback, settings.namespace), settings)
        self.clock = ServerClock()
        self.local = Local(mirror_url(settings.fallback, settings.namespace), settings, self.clock, self.journal)
        self.guard = Guard(self.journal, self.local, hook)
        self.eraser: Callable[[str, str, int, Callable[[ops.Operation], Any]], Any] = _no_eraser
        self.closed = self._shut = False
        self._begin()
        tell_of_forks(self)

    def _begin(self) -> None:
        """Begin anew: at the start, and in a forked child, which has no thread and has served nobody."""
        self._pid = os.getpid()
        self._waking = threading.Lock()
        self._quiet, self._busy = threading.Condition(), 0
        self.replayer = Replayer(self)
        self.breaker = Breaker(self.settings.failover_after)
        self.tails = Tails()
        self.healer, self.sweeper = Healer(self), Sweeper(self)
        self._writers: set[str] = set()
        self._erasing: set[tuple[str, str]] = set()
        self._thread: threading.Thread | None = None
        self._event = threading.Event()
        self._primary: Backend | None = None
        self.bookings = BookingGate(self.journal)
        self.belonging = Belonging(self.journal, self.settings.url)
        self._clock_noted_at = self._looked_at = self._dead_counted_at = float("-inf")
        self._dead: dict[Address, int] = {}

    # what the flows ask and tell

    def away(self) -> bool:
        """Whether the primary is not to be asked now."""
        return self.breaker.open

    def waits(self, address: Address) -> bool:
        """Whether something of this session is still to be replayed."""
        if self._thread is None:
            self.start()
        return not self.belonging.foreign and bool(self.guard.ask(False, self.journal.waits, address))

    def holds(self, lease: ops.Lease) -> bool:
        """Whether this turn was opened on this host while the primary was away: its opening waits in the journal."""
        writer, _, rest = lease.owner_id.partition(".")
        return bool(self.guard.ask(False, self.journal.has, lease.address, writer, int(rest.partition(".")[0] or 0)))

    def bookings_closed(self) -> bool:
        """Whether the primary has lost data, and nobody has looked at the bookings yet."""
        return bool(self.guard.ask(self.bookings.known, self.bookings.closed))

    def expects(self, met: ops.Acquainted) -> bool:
        """Whether this is the primary that was looked at; if not, it is looked at now."""
        expected = self.healer.expects(met)
        if not expected:
            self.wake()
        return expected

    def dead_letters(self, address: Address) -> int:
        """How many operations of this session the primary has refused for good; at most a few seconds old."""
        return self._dead.get(address, 0)

    def failed(self, error: BackendError, seconds: float) -> bool:
        """Take note of a failure; return whether another attempt makes sense: a connection that was lost, and no more."""
        if error.answered:
            self.breaker.refused(error)
            return False
        if self.breaker.failed(seconds):
            self.wake()
            logger.warning("the server is away: going on from this host's own storage")
            emit(self.hook, FailedOver(type(error).__name__))
        return seconds < self.settings.failover_after / 2

    def noted(self, operation: ops.Operation, result: Any) -> None:
        """Take note of an answer. On the way of every operation."""
        self.breaker.answered()
        now_ms = getattr(result, "now_ms", 0)
        if now_ms:
            self.clock.tell(now_ms)
        kind = type(operation)
        if kind in NOTED:
            self.tails.note(operation, result, time.monotonic(), self.clock.time_ms())
            if isinstance(operation, ops.Write) and operation.writer not in self._writers:
                self._writers.add(operation.writer)
        elif kind is ops.Renew:
            for lease, held in zip(operation.leases, result.held, strict=True):  # type: ignore[attr-defined]
                if isinstance(lease, ops.Lease):
                    self.tails.note(lease, held, time.monotonic(), self.clock.time_ms())

    def locally(self, operation: ops.Operation) -> Any:
        """Execute an operation on what this host has, and journal it."""
        self.belonging.check()
        with self._quiet:
            if self._shut:
                raise Unavailable("the memory was closed")
            self._busy += 1
        try:
            return self.guard.twice(self._locally, operation)
        finally:
            with self._quiet:
                self._busy -= 1
                self._quiet.notify_all()

    def _locally(self, operation: ops.Operation) -> Any:
        if isinstance(operation, ops.OnSession):
            noted = self.tails.of(operation.address)
            result = self.local.execute(operation, story_of(noted))
            self.tails.forget(operation.address, noted)
            return result
        return self.local.execute(operation)

    # the thread

    def wake(self) -> None:
        """Let the thread look now."""
        self._event.set()

    def start(self) -> None:
        """Begin to look after the journal and the mirror, unless that was begun."""
        with self._waking:
            if self._thread is None and not self.closed:
                self._recall_clock()
                self.guard.attempt(self.belonging.recall)
                self._thread = threading.Thread(target=self._run, name="luni-failover", daemon=True)
                self._thread.start()
                self.wake()  # which server this is has to be known before it goes away

    def _recall_clock(self) -> None:
        known = self.guard.ask("", self.journal.note, "clock")
        if known:
            self.clock.recall(int(known))

    def primary(self) -> Backend:
        """Return the primary as the thread asks it."""
        if self._primary is None:
            self._primary = self._open_primary()
        return self._primary

    def _run(self) -> None:
        while not self.closed:
            self._event.wait(self._pause())
            self._event.clear()
            try:
                self._round(self.replayer)
            except LuniError as error:
                if not self.breaker.denied(error):
                    logger.warning("looking after the journal and the mirror failed: %s", type(error).__name__)
                self._suspect()
            except Exception as error:  # noqa: BLE001  a background loop: it must go on
                logger.error("looking after the journal and the mirror failed: %s", type(error).__name__)  # noqa: TRY400

    def _suspect(self) -> None:
        """Look whether the primary is why: where everything waits behind the journal, no call would notice."""
        if not self.breaker.open:
            try:
                self.primary().ping()
            except BackendError as error:
                self.failed(error, 0.0)

    def _pause(self) -> float:
        if self.breaker.open:
            return max(0.0, self.breaker.probe_at - time.monotonic())
        return self.settings.mirror_interval / ROUNDS

    def _round(self, replayer: Replayer) -> None:
        usable = self.guard.look()
        self.count_dead(LOOK_EVERY)
        if self.breaker.open:
            self.guard.attempt(lambda: self.absorbed(seconds=ABSORBING_SECONDS))
            if self.closed or time.monotonic() < self.breaker.probe_at:
                return
            self._probe()
        looks_again = time.monotonic() - self._looked_at >= LOOK_EVERY
        if usable and not self.breaker.open and (len(self.tails) or self.journal.sessions(1) or looks_again):
            with replayer.alone() as alone:
                self.healer.look(alone=alone)
                self._looked_at = time.monotonic()
                if self.belonging.foreign:
                    return
                if alone:
                    self.sweeper.look()
                for tenant, user, at_ms in self.journal.owed_erasures() if alone else ():
                    if (tenant, user) not in self._erasing and at_ms <= self.clock.time_ms() - ERASING_MS:
                        self.erase_there(tenant, user, at_ms)
                if alone:
                    replayer.round()
            self._snapshots(self.settings.mirror_interval)
            self._note_clock()

    def count_dead(self, seconds: float = 0.0) -> None:
        """Look which sessions have dead entries, unless that was done so recently: a person may retry or drop them."""
        if time.monotonic() - self._dead_counted_at >= seconds:
            self._dead_counted_at = time.monotonic()
            self._dead = self.guard.ask({}, self.journal.dead_sessions, MOST_FLAGGED)

    def absorbed(self, *, lost: bool = False, seconds: float = float("inf")) -> list[Address]:
        """Put what only this process's memory knows where every process of the host finds it; return what that was about.

        ``lost``: the primary has lost data, so that another session than the known one is no newer one.
        """
        addresses, until = self.tails.due(float("inf"), MOST_SESSIONS), time.monotonic() + seconds
        for address in addresses:
            if time.monotonic() > until:
                break
            noted = self.tails.of(address)
            self.local.absorb(address, story_of(noted), lost=lost)
            self.tails.forget(address, noted)
        return addresses

    def _probe(self) -> None:
        try:
            self.primary().ping()
        except BackendError:
            self.breaker.probed(well=False)
            return
        if self.breaker.probed(well=True):
            seconds = time.monotonic() - self.breaker.opened_at
            logger.warning("the server is back after %.1f s", seconds)
            emit(self.hook, Recovered(seconds, self.guard.ask(0, self.journal.depth)))

    def _snapshots(self, older_than: float) -> None:
        """Take snapshots of what has changed, for a small part of the time; kept if the primary is still the one it was."""
        began = time.monotonic()
        behind = began - self.tails.oldest() > BEHIND * self.settings.mirror_interval
        most = (HURRY if behind else DUTY) * self.settings.mirror_interval / ROUNDS
        taken: list[tuple[Address, tuple[Noted, ...], ops.State]] = []
        for address in self.tails.due(began - older_than, SNAPSHOTS_A_ROUND):
            noted = self.tails.of(address)  # what is noted by now is in the snapshot
            dumped: ops.Dumped = self.primary().execute(ops.Dump(address=address))
            taken.append((address, noted, dumped.state))
            if time.monotonic() - began > most / 2 or self.breaker.open:
                break
        if not taken or not self.healer.knows():
            return
        for address, noted, state in taken:
            self.local.keep(address, state, leased_by=tuple(self._writers))
            self.tails.forget(address, noted)

    def _note_clock(self) -> None:
        if self.clock.told and time.monotonic() - self._clock_noted_at > CLOCK_EVERY:
            self._clock_noted_at = time.monotonic()
            self.journal.write_note("clock", str(self.clock.difference_ms()))

    # erasing

    def erase(self, tenant: str, user: str) -> tuple[Any, int, Any]:
        """Erase a person (without ``user`` a tenant) here, and on the primary as soon as it is there.

        Return what was erased of the mirror, how many of the journal's entries, and what was of the primary: ``None``, later.
        """
        self._erasing.add((tenant, user))
        try:
            return self._erased(tenant, user, self.clock.time_ms())
        finally:
            self._erasing.discard((tenant, user))
            self.wake()

    def _erased(self, tenant: str, user: str, at_ms: int) -> tuple[Any, int, Any]:
        self.journal.owe_erasure(tenant, user, at_ms)
        self.tails.drop(tenant, user)
        mirror = self.eraser(tenant, user, at_ms, self.local.store().execute)
        entries = self.journal.forget(tenant, user=user or None)
        self.count_dead()
        self.tails.drop(tenant, user)
        try:
            return mirror, entries, self.erase_there(tenant, user, 0)
        except (Unavailable, Indeterminate):
            return mirror, entries, None

    def erase_there(self, tenant: str, user: str, at_ms: int) -> Any:
        """Tell the primary of an erasure of ``at_ms`` (0: now). Raises `Unavailable` or `Indeterminate`: it is owed still."""
        if self.away():
            raise Unavailable("the server is away")
        there = self.eraser(tenant, user, at_ms, self.primary().execute)
        self.journal.erasure_is_done(tenant, user, at_ms or there.ms)
        return there

    def close(self) -> None:
        """Stop the thread, and let what was begun here come to its end.

        What has not been put into the mirror goes there now, as far as that is quick.
        """
        self.closed = True
        self.wake()
        thread, self._thread = self._thread, None
        if thread is not None and self._pid == os.getpid() and thread is not threading.current_thread():
            thread.join(CLOSING_SECONDS)
            try:
                self.absorbed(seconds=CLOSING_SECONDS)
                if len(self.tails):
                    logger.warning("not everything that the server has acknowledged reached this host's mirror in time")
            except LuniError as error:
                logger.warning("the mirror could not be written: %s", type(error).__name__)
        with self._quiet:
            self._quiet.wait_for(lambda: not self._busy, CLOSING_SECONDS)
            self._shut = True
        self.local.close()
        self.journal.close()

    def forked(self) -> None:
        """This is a forked child: its parent's thread, connections and lock are none of its own."""
        self.replayer.forget()
        self._begin()
