"""The mirror: sessions this host has served, on a local SQLite file, and what goes on there while the primary is away.

Healthy, it takes snapshots. In an outage it executes operations exactly as an embedded store does, and each one that has an
effect is committed to the journal before it is committed here: what is here and not in the journal was never acknowledged, and
what is in the journal and not here, because a process died between the two, is made up for before the next operation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import msgspec

from luni import operations as ops
from luni import wire
from luni.backends.failover.entries import JOURNALED, Entry
from luni.backends.failover.journal import Journal, Kept
from luni.backends.failover.stories import Story, continued, since
from luni.backends.failover.watching import Watch
from luni.backends.sqlite import erasure, states
from luni.backends.sqlite.backend import HANDLERS, SQLiteBackend
from luni.backends.sqlite.rows import Conversation, Tables
from luni.clock import Clock
from luni.errors import Damaged, Degraded, Indeterminate, Unavailable
from luni.models import Address
from luni.settings import Settings

__all__ = ["Local"]

AT_ONCE = 1000
_ON_SEVERAL = (ops.Sessions, ops.Inspect, ops.Tenants, ops.Pending, ops.Examine, ops.Claim, ops.Locate, ops.Renew)
_OF_AGENDAS = (ops.BookingsIn, ops.BusyIn, ops.BookingsBy, ops.Recall, ops.Resources, ops.BookingsOf)
_UNKNOWN = "the server is away and this host has not served this session: nobody here can tell what it holds"


class Waiting(NamedTuple):
    """The oldest entries of a session that wait to be replayed; the session was erased at ``erased_ms``."""

    kept: list[Kept]
    erased_ms: int


class Mirror(SQLiteBackend):
    """An embedded store whose file is only a copy: one that is damaged is set aside, and another one begun."""

    def __init__(self, url: str, settings: Settings, clock: Clock) -> None:
        super().__init__(url, settings, clock, watched=True)
        self.watch = Watch(self._connections, lambda _aside: "the sessions it has come back as they are served again")

    def execute(self, operation: ops.Operation) -> Any:
        """Execute one operation in one transaction."""
        with self.watch.watching():
            return super().execute(operation)

    @contextmanager
    def transaction(self) -> Iterator[Tables]:
        """One write transaction around several handlers."""
        with self.watch.watching(), super().transaction() as tables:
            yield tables

    @contextmanager
    def reading(self) -> Iterator[Tables]:
        """Look, as on an embedded store."""
        with self.watch.watching(), super().reading() as tables:
            yield tables


class Local:
    """The mirror's file, in front of the journal. Threads and processes share it."""

    def __init__(self, url: str, settings: Settings, clock: Clock, journal: Journal) -> None:
        self._store = Mirror(url, settings, clock)
        self.watch = self._store.watch
        self._journal = journal

    # an outage

    def execute(self, operation: ops.Operation, tail: Story = ()) -> Any:
        """Execute an operation on what this host has, and journal it if it has an effect.

        ``tail`` is what the primary has acknowledged to this process since the last snapshot. Raises `Degraded` for what
        cannot be told, or promised, without the primary; `Unavailable` if the journal cannot be written; `Indeterminate` if it
        was, and the mirror cannot be: it reaches the primary all the same.
        """
        if isinstance(operation, _ON_SEVERAL):
            return self._store.execute(operation)
        if not isinstance(operation, ops.OnSession):
            raise Degraded(_without_the_server(operation))
        _refuse_comparisons(operation)
        journaled: list[Entry] = []
        try:
            with self._store.transaction() as tables:
                behind = self._catch_up(tables, operation, tail)
                tables.saved = False
                result = self._executed(tables, operation, journaled)
                tables.saved = tables.saved or behind
        except (Damaged, Unavailable) as error:
            if not journaled:
                raise
            raise Indeterminate(f"the journal has it, and the mirror has not: {error}") from None
        return _marked(result)

    def _journaled(self, entry: Entry, journaled: list[Entry]) -> None:
        self._journal.add(entry)
        journaled.append(entry)

    def _executed(self, tables: Tables, operation: Any, journaled: list[Entry]) -> Any:
        handler = HANDLERS[type(operation)][1]
        if not isinstance(operation, JOURNALED):
            if isinstance(operation, ops.Read | ops.Dump) and not self._known(tables, operation.address):
                raise Degraded(_UNKNOWN)
            return handler(tables, operation)
        if isinstance(operation, ops.Write) and _has_mark(tables, operation):
            return handler(tables, operation)  # a repetition: journaled before, or known to the primary
        settles = _about_to_be_settled(tables, operation)
        result = handler(tables, operation)
        if _has_mark(tables, operation) if isinstance(operation, ops.Write) else result:
            self._journaled(_entry(tables, operation, result, settles), journaled)
        elif isinstance(operation, ops.MarkSent) and not self._known(tables, operation.address):
            self._journaled(Entry(operation=operation, at_ms=tables.now_ms, clock_ms=tables.now_ms), journaled)
            return True
        return result

    def _known(self, tables: Tables, address: Address) -> bool:
        """Whether this host can tell what the session holds: it has served it, or ended it since."""
        row = tables.find(address)
        return row is not None and (row.session_id is not None or self._journal.waits(address))

    def absorb(self, address: Address, tail: Story, *, lost: bool = False) -> None:
        """Bring a session here up to what the primary has acknowledged to this process: it is away, or has ``lost`` data."""
        with self._store.transaction() as tables:
            self._catch_up(tables, ops.Read(address=address), tail, lost=lost)

    def _catch_up(self, tables: Tables, operation: Any, tail: Story, *, lost: bool = False) -> bool:
        """Bring the session here up to what was acknowledged; return whether that changed anything."""
        address = operation.address
        story = since((*tail, *self._missing(tables, address)), erased_at(tables, address))
        row = tables.find(address)
        begun = isinstance(operation, JOURNALED) and not getattr(operation, "fresh", True)
        if not story and not (begun and operation.session_id and (row is None or row.session_id is None)):
            return False
        state = states.dump(tables, ops.Dump(address=address)).state
        if row is not None and state.session_id:  # a lease that is over here may have been renewed since
            state = msgspec.structs.replace(state, lease=row.lease, lease_end_ms=row.lease_end_ms)
        after = continued(state, story, tables.now_ms, lost=lost, alone=not self._journal.waits(address))
        if not after.session_id and begun and operation.session_id:
            after = _unknown(after, operation, tables.now_ms)
        if after == state and state.session_id and row is not None and row.session_id == state.session_id:
            return False
        if not after.session_id and not state.session_id:
            return False
        return states.restore(tables, ops.Restore(address=address, state=after, version=None))

    def _missing(self, tables: Tables, address: Address) -> list[Entry]:
        """Return what is journaled and, because its process died, not here."""
        last = self._journal.last(address)
        if last is None or _mark(tables, address, last[0]) >= last[1]:
            return []
        return [kept.entry for kept in self._journal.pending(address, AT_ONCE) if kept.entry is not None]

    # snapshots

    def keep(self, address: Address, state: ops.State, *, leased_by: Sequence[str] = ()) -> bool:
        """Keep a snapshot, unless something newer is here; return whether it was kept.

        Of its lease only one that was given to one of these writers, or that another process of this host has put here: an
        outage knows this host's turns alone.
        """
        with self._store.transaction() as tables:
            return self._keep(tables, address, state, leased_by)

    def keep_all(self, snapshots: Sequence[tuple[Address, ops.State]]) -> None:
        """Keep snapshots of several sessions, in one step."""
        with self._store.transaction() as tables:
            for address, state in snapshots:
                self._keep(tables, address, state, ())

    def _keep(self, tables: Tables, address: Address, state: ops.State, leased_by: Sequence[str]) -> bool:
        ours = state.lease.startswith(tuple(f"{writer}." for writer in leased_by))
        if self._journal.waits(address):
            return False
        row = tables.find(address)
        if state.session_id and state.activity_ms <= erased_at(tables, address):
            return False
        if row is not None and _is_older(state, row):
            return False
        if not state.session_id:
            return self._forget(tables, address)
        if not ours and (row is None or row.lease != state.lease):
            state = msgspec.structs.replace(state, lease="", lease_end_ms=0)
        kept = states.restore(tables, ops.Restore(address=address, state=state, version=None))
        row = tables.find(address)
        if row is not None:
            tables.purge(row)
        return kept

    def _forget(self, tables: Tables, address: Address) -> bool:
        row = tables.find(address)
        if row is None or row.session_id is None:
            return False
        tables.forget(row)
        tables.save(row)
        return True

    def state(self, address: Address) -> ops.State:
        """Return what is here of a session."""
        found: ops.Dumped = self._store.execute(ops.Dump(address=address))
        return found.state

    def erased_before(self, tenant: str, user: str) -> int:
        """Return when this person, or the tenant, was last erased here (ms)."""
        with self._store.reading() as tables:
            return erasure.tombstones(tables, ops.Tombstones(tenant=tenant, user=user)).ms

    def replayable(self, address: Address, limit: int) -> Waiting | None:
        """Return the oldest entries of a session; ``None`` while a turn of it is open here.

        What the turn says has to be replayed with what it answers. An opening is in the journal before it is in the mirror, so
        where the mirror has not got the last entry yet, both are looked at in one step, in which nobody writes.
        """
        kept = self._journal.pending(address, limit)
        with self._store.reading() as tables:
            if self._has(tables, address, kept):
                return _waiting(tables, address, kept)
        with self._store.transaction() as tables:
            return _waiting(tables, address, self._journal.pending(address, limit))

    def _has(self, tables: Tables, address: Address, kept: Sequence[Kept]) -> bool:
        """Whether the last of these entries is here, and with it those before."""
        if not kept or kept[-1].entry is None:
            return not kept
        operation = kept[-1].entry.operation
        return not isinstance(operation, ops.Write) or _mark(tables, address, operation.writer) >= operation.seq

    def addresses(self, passed: int, limit: int = AT_ONCE) -> list[Address]:
        """Return sessions that are here, page by page."""
        with self._store.transaction() as tables:
            rows = tables.execute(
                "SELECT tenant, channel, user FROM conversation WHERE session_id IS NOT NULL AND expire_ms > ? "
                "ORDER BY id LIMIT ? OFFSET ?",
                (tables.now_ms, limit, passed),
            ).fetchall()
        return [Address(*row) for row in rows]

    def store(self) -> SQLiteBackend:
        """Return the embedded store itself, for what is not of one session."""
        return self._store

    def close(self) -> None:
        """Close every thread's connection."""
        self._store.close()


def _waiting(tables: Tables, address: Address, kept: list[Kept]) -> Waiting | None:
    row = tables.find(address)
    if row is not None and row.leased(tables.now_ms):
        return None
    return Waiting(kept, erased_at(tables, address))


def erased_at(tables: Tables, address: Address) -> int:
    """Return when this person, or the tenant, was last erased here (ms)."""
    return erasure.tombstones(tables, ops.Tombstones(tenant=address.tenant, user=address.user)).ms


def _without_the_server(operation: ops.Operation) -> str:
    """Return why one host does not do this: it has no agendas and no locks, and cannot promise anything of them."""
    if isinstance(operation, _OF_AGENDAS):
        return "the server is away, and this host has no copy of the bookings: they cannot be shown now"
    what = "locks" if isinstance(operation, ops.Lock | ops.Unlock) else "bookings"
    what = "locks and bookings" if isinstance(operation, ops.Guarantees) else what
    return f"the server is away: {what} cannot be promised now, so nothing was done"


def _refuse_comparisons(operation: ops.OnSession) -> None:
    """What depends on what everybody else sees cannot be promised by one host."""
    if isinstance(operation, ops.Update) and operation.token is not None:
        raise Degraded("the server is away: nobody can tell whether the lock is held; nothing was stored")
    if isinstance(operation, ops.Update) and operation.expected_revision is not None:
        raise Degraded("the server is away: nobody can tell which revision the session is at; nothing was stored")
    if isinstance(operation, ops.Load):
        raise Degraded("the server is away: histories are imported when it is back; nothing was stored")


def _mark(tables: Tables, address: Address, writer: str) -> int:
    found = tables.execute(
        "SELECT seq FROM mark JOIN conversation ON id = conversation "
        "WHERE tenant = ? AND channel = ? AND user = ? AND writer = ?",
        (address.tenant, address.channel, address.user, writer),
    ).fetchone()
    return int(found[0]) if found else 0


def _has_mark(tables: Tables, operation: ops.Write) -> bool:
    return _mark(tables, operation.address, operation.writer) >= operation.seq


def _about_to_be_settled(tables: Tables, operation: Any) -> tuple[str, ...]:
    """Return the digests of the arrivals that an answer settles: their numbers are others on the primary."""
    row = tables.find(operation.address)
    if row is None or row.session_id is None:
        return ()
    if isinstance(operation, ops.Reply):
        return _digests(tables, row, operation.cut)
    return _digests(tables, row, row.n) if isinstance(operation, ops.Append) and operation.settles else ()


def _digests(tables: Tables, row: Conversation, cut: int) -> tuple[str, ...]:
    return tuple(one.digest for one in tables.waiting(row, row.settled + 1, cut))


def _entry(tables: Tables, operation: Any, result: Any, settles: tuple[str, ...]) -> Entry:
    """Return what the journal keeps of an operation that was executed here."""
    row = tables.find(operation.address)
    clock = getattr(result, "clock_ms", 0) or (row.clock_ms if row else tables.now_ms)
    if isinstance(operation, ops.End | ops.MarkSent):
        return Entry(operation=operation, at_ms=tables.now_ms, clock_ms=clock)
    return Entry(
        operation=operation,
        at_ms=tables.now_ms,
        clock_ms=clock,
        stamp_ms=getattr(result, "timestamp_ms", 0) or tables.now_ms,
        expire_ms=tables.now_ms + operation.ttl_ms,
        settles=settles,
        late=isinstance(operation, ops.Reply),
    )


def _is_older(state: ops.State, row: Conversation) -> bool:
    """Whether a snapshot is of before what is here: the primary has lost something, and the mirror is to heal it."""
    if row.session_id is None:
        return False
    return state.clock_ms < row.clock_ms if state.session_id == row.session_id else state.n < row.n


def _unknown(state: ops.State, operation: Any, now_ms: int) -> ops.State:
    """Return a session of which nothing is known but its id: its caller has met it, this host has no copy."""
    return msgspec.structs.replace(
        state, session_id=operation.session_id, created_ms=now_ms, activity_ms=now_ms, clock_ms=now_ms,
        expire_ms=now_ms + operation.ttl_ms, metadata=wire.first_metadata(with_message=True),
        context=wire.first_context(now_ms),
    )  # fmt: skip


def _marked(result: Any) -> Any:
    """Return a result that says where it comes from; whether a session is new nobody can tell here."""
    if isinstance(result, ops.Opened | ops.Snapshot | ops.Replied | ops.Gathered) and result.view is not None:
        view = msgspec.structs.replace(result.view, as_of_ms=result.view.activity_ms)
        result = msgspec.structs.replace(result, view=view)
    return msgspec.structs.replace(result, degraded=True, created=False) if isinstance(result, ops.Opened) else result
