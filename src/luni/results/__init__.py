"""What backends answer, one frozen struct each; `luni.operations` has what they are asked."""

from __future__ import annotations

from typing import Literal

import msgspec

from luni.models import Address, Discreet
from luni.results.states import Acquainted, Arrival, Dumped, Mark, State

__all__ = [
    "Acquainted",
    "Appended",
    "Arrival",
    "BookedAt",
    "Bookings",
    "Busy",
    "Changed",
    "Claimed",
    "Dumped",
    "Examination",
    "Examined",
    "Gathered",
    "Guaranteed",
    "Inspected",
    "Loaded",
    "Locked",
    "Mark",
    "Met",
    "Opened",
    "Outcome",
    "PendingListed",
    "Reconciled",
    "Record",
    "Renewed",
    "Replied",
    "ResourcesListed",
    "Result",
    "SessionsListed",
    "Snapshot",
    "State",
    "TenantsListed",
    "Updated",
    "View",
]


class View(Discreet, frozen=True):
    """What is stored of a session, its texts undecoded. ``window`` is newest first, ``waiting`` (to be folded) oldest first."""

    session_id: str
    created_ms: int
    activity_ms: int
    metadata: bytes
    context: bytes
    summary: str
    focus: str
    paused: bool
    token_est: int
    n: int
    settled: int
    count: int
    tokens: int
    folded: int
    rev: int
    pause: bytes = b""
    """``until|at|note``, milliseconds; empty if it is not paused, or by another program."""
    window: tuple[bytes, ...] = ()
    waiting: tuple[bytes, ...] = ()
    as_of_ms: int = 0
    """While the server is away: up to when this host knows the session; 0: it is what the server has now."""
    dead_letters: int = 0
    """How many operations of the session, acknowledged by this host in an outage, the server has refused for good."""


class TenantsListed(msgspec.Struct, frozen=True, gc=False):
    """A page of tenants."""

    tenants: tuple[str, ...]


class PendingListed(msgspec.Struct, frozen=True, gc=False):
    """Addresses and since when they wait (ms); ``full``: there may be more behind them."""

    now_ms: int
    waiting: tuple[tuple[Address, int], ...]
    full: bool


class Examination(Discreet, frozen=True):
    """A session as a sweeper sees it; without a session id it is gone. ``texts`` wait to be sent, in no order."""

    session_id: str
    paused: bool
    leased: bool
    waits: bool
    texts: tuple[bytes, ...] = ()


class Examined(msgspec.Struct, frozen=True, gc=False):
    """An examination for each address that was asked for."""

    sessions: tuple[Examination, ...]


class Claimed(msgspec.Struct, frozen=True, gc=False):
    """Whether each of the wanted is the claimer's now."""

    mine: tuple[bool, ...]


class Met(msgspec.Struct, frozen=True, gc=False):
    """Nothing was done: the session is another one (``""``: there is none)."""

    session_id: str


class Opened(msgspec.Struct, frozen=True, gc=False):
    """What accepting found. ``refusal`` ``"full"``: too many wait; ``"fold"``: fold first; nothing was done then.

    ``gather_ms``: the turn gathers a burst and is to be asked again then (`Gather`). ``degraded``: the server is away.
    """

    state: Literal["accepted", "open", "duplicate", "in_progress", "joined", "paused", "idle", "queued", "full", "fold"]
    now_ms: int = 0
    session_id: str = ""
    token: int = 0
    cut: int = 0
    attempt: int = 0
    created: bool = False
    arrival: int = 0
    clock_ms: int = 0
    timestamp_ms: int = 0
    answer: str = ""
    view: View | None = None
    gather_ms: int = 0
    degraded: bool = False


class Gathered(msgspec.Struct, frozen=True, gc=False):
    """Whether a burst is over (``open``) or goes on for ``gather_ms`` at least; ``lost``: the turn has nothing to answer."""

    state: Literal["open", "gather", "lost"]
    now_ms: int = 0
    cut: int = 0
    attempt: int = 0
    view: View | None = None
    gather_ms: int = 0


class Changed(Discreet, frozen=True):
    """Nothing was done: a text is not the one the patch was made from. These are the stored ones."""

    metadata: bytes
    context: bytes


class Replied(msgspec.Struct, frozen=True, gc=False):
    """What replying did; ``kept``: newer messages wait, up to ``cut``; ``fenced``, ``full``: nothing was stored."""

    state: Literal["released", "kept", "fenced", "full"]
    now_ms: int = 0
    clock_ms: int = 0
    cut: int = 0
    attempt: int = 0
    view: View | None = None
    reason: str = ""


class Appended(msgspec.Struct, frozen=True, gc=False):
    """What appending did. A duplicate comes with the texts among which it may be found."""

    state: Literal["appended", "duplicate", "full", "fold"]
    now_ms: int = 0
    session_id: str = ""
    arrival: int = 0
    clock_ms: int = 0
    timestamp_ms: int = 0
    texts: tuple[bytes, ...] = ()


class Loaded(msgspec.Struct, frozen=True, gc=False):
    """How many messages an import added; 0 for one that was done before."""

    added: int


class Updated(msgspec.Struct, frozen=True, gc=False):
    """The revision after an update; with ``conflict`` the one that was found instead of the expected one.

    ``fenced``: the token is not that of a lock that is held; nothing was stored.
    """

    revision: int
    conflict: bool = False
    fenced: bool = False


class Renewed(msgspec.Struct, frozen=True, gc=False):
    """Whether each of the leases is still held."""

    held: tuple[bool, ...]


class Snapshot(msgspec.Struct, frozen=True, gc=False):
    """What reading found; ``view`` is ``None`` where there is no session. ``transcript`` is newest first."""

    now_ms: int
    unanswered: int
    view: View | None
    transcript: tuple[bytes, ...] = ()


class SessionsListed(msgspec.Struct, frozen=True, gc=False):
    """A page of addresses and their last activity, the latest first."""

    addresses: tuple[tuple[Address, int], ...]


class Inspected(msgspec.Struct, frozen=True, gc=False):
    """Views without messages, in the order asked for; ``None`` where there is no session."""

    views: tuple[View | None, ...]


class Locked(msgspec.Struct, frozen=True, gc=False):
    """What asking for a lock found. ``left_ms``: for how long it is somebody's (-1: for good); ``ahead``: who waits before."""

    state: Literal["acquired", "held", "no_session", "full"]
    token: int = 0
    left_ms: int = 0
    ahead: int = 0


class Guaranteed(msgspec.Struct, frozen=True, gc=False):
    """What the store says of itself: whether it may throw keys away, and how many replicas it has.

    ``eviction`` is the name of its policy, ``""`` where it does not tell; ``replicas`` is -1 there.
    """

    eviction: str
    replicas: int = 0


class Record(Discreet, frozen=True):
    """A booking as it is stored. ``state``: h held, c confirmed, x cancelled.

    ``shares`` are (resource, capacity), the first one leads; ``unit`` is the leading one's.
    """

    id: str
    state: Literal["h", "c", "x"]
    unit: int
    start_us: int
    end_us: int
    until_ms: int
    keep_ms: int
    created_ms: int
    by: str
    shares: tuple[tuple[str, int], ...]
    details: bytes = b""


class Outcome(Discreet, frozen=True):
    """What a change of an agenda did.

    ``booked``: ``record`` is what is stored. Else nothing was done: the interval is ``taken`` (on ``resource``), the booking
    is ``gone``, the id is ``reused``, the token is ``fenced``, or the booking is on other resources (``elsewhere``: these are
    its ``shares``).
    ``replicas``: how many have confirmed the change; ``None`` where nobody asked.
    """

    state: Literal["booked", "taken", "gone", "reused", "fenced", "elsewhere"]
    now_ms: int = 0
    record: Record | None = None
    resource: str = ""
    shares: tuple[tuple[str, int], ...] = ()
    replicas: int | None = None


class Bookings(Discreet, frozen=True):
    """Bookings that are held or confirmed, in order of their start; ``full``: there are more than the limit."""

    now_ms: int
    records: tuple[Record, ...]
    full: bool = False


class Busy(msgspec.Struct, frozen=True, gc=False):
    """The busy intervals (start, end) of each unit in µs, in order; ``full``: there are more than the limit."""

    units: tuple[tuple[tuple[int, int], ...], ...]
    full: bool = False


class BookedAt(Discreet, frozen=True):
    """The resources and ids of a customer's bookings, in order of their start."""

    places: tuple[tuple[str, str], ...]


class ResourcesListed(msgspec.Struct, frozen=True, gc=False):
    """A tenant's resources that have bookings."""

    resources: tuple[str, ...]


class Reconciled(msgspec.Struct, frozen=True, gc=False):
    """What looking through a resource's bookings found: how many there are, and what was mended or cannot be.

    ``missing`` were not where conflicts are looked for, ``orphans`` were there without a booking, ``overlaps`` are pairs of
    ids that overlap, ``damaged`` are ids whose booking cannot be read. ``full``: there are more than one look can hold.
    """

    bookings: int
    missing: int = 0
    orphans: int = 0
    overlaps: tuple[tuple[str, str], ...] = ()
    damaged: tuple[str, ...] = ()
    full: bool = False


Result = (
    Opened
    | Gathered
    | Renewed
    | Replied
    | Appended
    | Loaded
    | Updated
    | Snapshot
    | SessionsListed
    | Inspected
    | TenantsListed
    | PendingListed
    | Examined
    | Claimed
    | Locked
    | Guaranteed
    | Outcome
    | Bookings
    | Busy
    | BookedAt
    | ResourcesListed
    | Reconciled
    | Dumped
    | Acquainted
    | Met
    | Changed
    | Address
    | bool
    | None
)
