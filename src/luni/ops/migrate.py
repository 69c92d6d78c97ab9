"""What `luni migrate` runs: moving live sessions from one store to another, whole, as often as it takes."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator

import msgspec

from luni import operations as ops
from luni.client import Memory
from luni.errors import Indeterminate, InvalidInput, LuniError, Unavailable
from luni.models import Address
from luni.ops import migrate_bookings as agendas
from luni.ops.migrate_bookings import do
from luni.ops.replay import Advance
from luni.ops.store import NotFound, missing_file, open_memory
from luni.settings import Settings

__all__ = ["BookingFailure", "Failure", "Migration", "count", "migrate", "source_of", "target_of"]

PAGE = 200
TRIES = 5
FAILURES_TOLD = 20

Outcome = str
"""``moved``, ``there`` (already, the same), ``newer`` (there), ``expired`` (or ended, in the source)."""


class Failure(msgspec.Struct, frozen=True):
    """A session that could not be moved, and why."""

    tenant: str
    channel: str
    user: str
    reason: str


class BookingFailure(msgspec.Struct, frozen=True):
    """A booking that could not be moved, and why; it is in the source as before."""

    tenant: str
    resource: str
    id: str
    reason: str


class Migration(msgspec.Struct):
    """What became of the sessions of the source, and of its bookings.

    ``bookings_there``: the same, already. ``bookings_failed``: something else is there in their place, which was left, or they
    could not be moved; ``booking_failures`` tells the first of them.
    """

    dry_run: bool
    tenants: int = 0
    sessions: int = 0
    moved: int = 0
    there: int = 0
    newer: int = 0
    expired: int = 0
    failed: int = 0
    failures: list[Failure] = []
    bookings: int = 0
    bookings_moved: int = 0
    bookings_there: int = 0
    bookings_expired: int = 0
    bookings_failed: int = 0
    booking_failures: list[BookingFailure] = []
    seconds: float = 0.0

    def note(self, outcome: Outcome) -> None:
        """Count a session."""
        self.sessions += 1
        setattr(self, outcome, getattr(self, outcome) + 1)

    def fail(self, address: Address, reason: str) -> None:
        """Count a session that could not be moved, and tell the first of them by name."""
        self.note("failed")
        if len(self.failures) < FAILURES_TOLD:
            self.failures.append(Failure(address.tenant, address.channel, address.user, reason))

    def note_booking(self, tenant: str, record: ops.Record, outcome: str) -> None:
        """Count a booking, and tell the first of those that could not be moved by name."""
        self.bookings += 1
        if outcome in {"moved", "there", "expired"}:
            name = f"bookings_{outcome}"
            setattr(self, name, getattr(self, name) + 1)
            return
        self.bookings_failed += 1
        if len(self.booking_failures) < FAILURES_TOLD:
            self.booking_failures.append(BookingFailure(tenant, record.shares[0][0], record.id, outcome))


def source_of(settings: Settings, url: str, namespace: str | None) -> Memory:
    """Return the memory that sessions are moved from, and it alone; raise `NotFound` if it is a file that is not there."""
    wanted = _settings(settings, url, namespace)
    if missing_file(wanted) is not None:
        raise NotFound("--from: there is no such file")
    return open_memory(wanted)


def target_of(settings: Settings, url: str, namespace: str | None, source: Memory, *, dry_run: bool) -> Memory:
    """Return the memory that they are moved to; raise `InvalidInput` if it is the source. A dry run makes no file."""
    wanted, given = _settings(settings, url, namespace), source.settings
    if wanted.url == given.url and (url.startswith("sqlite") or wanted.namespace == given.namespace):
        raise InvalidInput("--from and --to are the same store")
    return open_memory(wanted, reading=dry_run)


def _settings(settings: Settings, url: str, namespace: str | None) -> Settings:
    found = msgspec.structs.replace(settings, url=url, fallback="")  # the stores themselves, not a mirror
    return msgspec.structs.replace(found, namespace=namespace) if namespace else found


def migrate(
    source: Memory, target: Memory, *, tenant: str | None = None, dry_run: bool = False, advance: Advance | None = None
) -> Migration:
    """Move the sessions and bookings of a tenant, or of all. The source is left as it is.

    Safe to interrupt and to repeat: what is there already is passed over, and what is newer there is left. Raises
    `Unavailable` or `Indeterminate` if a store is gone; what was moved by then is moved.
    """
    found, began = Migration(dry_run=dry_run), time.monotonic()
    do(target, ops.Tenants(limit=1))  # a target that is away is told although there is nothing to move
    for name in _tenants(source, tenant):
        found.tenants += 1
        for address in _addresses(source, name):
            try:
                outcome = _move(source, target, address, dry_run=dry_run)
            except (Unavailable, Indeterminate):
                raise
            except LuniError as error:
                found.fail(address, str(error))
            else:
                if outcome in {"moved", "there", "newer", "expired"}:
                    found.note(outcome)
                else:
                    found.fail(address, outcome)
            if advance:
                advance(1, found.moved)
        _move_bookings(source, target, name, found, advance)
    found.seconds = round(time.monotonic() - began, 3)
    return found


def count(source: Memory, tenant: str | None) -> int:
    """Return how many sessions and bookings there are, for a progress bar."""
    names = list(_tenants(source, tenant))
    sessions = sum(1 for name in names for _ in _addresses(source, name))
    return sessions + sum(1 for name in names for _ in agendas.bookings_of(source, name))


def _move_bookings(source: Memory, target: Memory, tenant: str, found: Migration, advance: Advance | None) -> None:
    step = agendas.would_move if found.dry_run else agendas.move
    for record in agendas.bookings_of(source, tenant):
        try:
            outcome = step(source, target, tenant, record)
        except (Unavailable, Indeterminate):
            raise
        except LuniError as error:
            outcome = str(error)
        found.note_booking(tenant, record, outcome)
        if advance:
            advance(1, found.moved + found.bookings_moved)


def _tenants(source: Memory, tenant: str | None) -> Iterator[str]:
    if tenant is not None:
        yield tenant
        return
    seen: set[str] = set()  # a tenant's place in the list changes while it writes
    passed = 0
    while page := do(source, ops.Tenants(limit=PAGE, passed=passed)).tenants:
        passed += len(page)
        for name in page:
            if name not in seen:
                seen.add(name)
                yield name


def _addresses(source: Memory, tenant: str) -> Iterator[Address]:
    """The latest activity first, page by page. A session that writes meanwhile leaves its place: the next run meets it."""
    before, passed = None, 0
    while pairs := do(source, ops.Sessions(tenant=tenant, limit=PAGE, before_ms=before, passed=passed)).addresses:
        for address, score in pairs:
            passed = passed + 1 if score == before else 1
            before = score
            yield address


def _move(source: Memory, target: Memory, address: Address, *, dry_run: bool) -> Outcome:
    """Move one session under a compare with what is there; return what became of it, or why it could not be moved."""
    written = False
    for _ in range(TRIES):
        mine: ops.Dumped = do(source, ops.Dump(address=address))
        theirs: ops.Dumped = do(target, ops.Dump(address=address))
        state, now = mine.state, max(mine.now_ms, theirs.now_ms)
        if not state.session_id or state.expire_ms <= theirs.now_ms:
            return "expired"
        if _content(state, now) == _content(theirs.state, now):
            return "moved" if written else "there"
        if _is_newer(theirs.state, state):
            return "moved" if written else "newer"
        if dry_run:
            return "moved"
        written = written or _write(target, address, mine, theirs)
    return "it changes faster than it can be moved" if written else "what is there changes faster than it can be compared"


def _write(target: Memory, address: Address, mine: ops.Dumped, theirs: ops.Dumped) -> bool:
    """Write a state; the next look at the target tells whether it is what is there now."""
    former = theirs.state.session_id if theirs.state.session_id != mine.state.session_id else ""
    operation = ops.Restore(address=address, state=mine.state, version=theirs.version, former=former)
    try:
        return bool(do(target, operation))
    except Indeterminate:
        return True  # perhaps


def _is_newer(theirs: ops.State, mine: ops.State) -> bool:
    """Whether what is there must not be overwritten: somebody wrote there later, or it has ended there."""
    if not theirs.session_id:
        return 0 < mine.n <= theirs.n
    return _last_ms(theirs) > _last_ms(mine)


def _last_ms(state: ops.State) -> int:
    """When something was last written; what is no activity leaves a mark."""
    return max((state.clock_ms, *(mark.ms for mark in state.marks)))


def _content(state: ops.State, now_ms: int) -> str:
    """Return a digest of what a session holds, the same on every kind of store.

    Without what passes by itself (expiry, a lease, a pause that is over), and without what one kind of store counts otherwise.
    """
    held = (*state.waiting, *reversed(state.window))
    until = int(state.pause.partition(b"|")[0] or 0) if state.pause else 0
    bare = msgspec.structs.replace(
        state, expire_ms=0, seen_end_ms=0, lease="", lease_end_ms=0, count=0, window=held, waiting=()
    )  # fmt: skip
    if 0 < until <= now_ms:
        bare = msgspec.structs.replace(bare, paused=False, pause=b"")
    return hashlib.sha256(msgspec.msgpack.encode(bare)).hexdigest()
