"""The operations of sessions and their turns."""

from __future__ import annotations

from typing import Literal

from luni.models import Address, Discreet
from luni.operations.base import OnSession, Operation, Write
from luni.operations.locks import Lock, LockLease, Unlock
from luni.results import Opened

__all__ = [
    "FOLDER",
    "FOLD_MAX",
    "RING",
    "UNSENT_MAX",
    "WINDOW",
    "WRITERS",
    "WRITES",
    "Amend",
    "Append",
    "Claim",
    "Draft",
    "End",
    "Examine",
    "Fold",
    "Folding",
    "Gather",
    "Inspect",
    "Lease",
    "Load",
    "Locate",
    "MarkSent",
    "Open",
    "Patch",
    "Pause",
    "Pending",
    "PendingKind",
    "Read",
    "Receive",
    "Release",
    "Renew",
    "Reply",
    "Sessions",
    "Tenants",
    "Update",
    "compensation",
]

WINDOW = 20
FOLD_MAX = 100
UNSENT_MAX = 100
RING = 128
WRITERS = 64
FOLDER = "-fold"
"""What the writer of a `Fold` has behind its name: it happens within another operation, whose number is still to come."""


Outage = Literal["answer", "accept", "refuse"]

PendingKind = Literal["waiting", "unsent"]
"""Messages that wait for an answer, or replies that wait to be marked as sent."""


class Draft(Discreet, frozen=True):
    """A message before the store gives it a key, an arrival number and a time."""

    body: bytes
    tokens: int
    digest: str = ""
    timestamp_ms: int | None = None


class Patch(Discreet, frozen=True):
    """A new text for a JSON field, and the digest of the text it was made from. ``keys``: those that the caller changes."""

    digest: str
    text: bytes
    keys: tuple[str, ...] = ()


class Folding(Discreet, frozen=True):
    """A summary that covers ``count`` waiting messages more than the ``start`` folded before.

    Void if those differ, or if the summary is not the one with the digest ``basis`` that it was made from.
    """

    start: int
    count: int
    summary: str
    basis: str


class Receive(Write, frozen=True, kw_only=True):
    """Accept a message: store it once, to be answered by a turn."""

    draft: Draft
    fresh: bool
    transcript: int = 0
    outage: Outage = "answer"


class Open(Write, frozen=True, kw_only=True):
    """Accept a message, if there is one, and lease the conversation for the turn that answers what waits."""

    draft: Draft | None
    lease_ms: int
    fresh: bool
    nonce: str
    """What the lease's owner ends with, so that nobody guesses it."""
    transcript: int = 0
    quiet_ms: int = 0
    """A burst of messages is over when nobody has said anything for so long, or after ``burst_ms``; 0: nothing is gathered."""
    burst_ms: int = 0
    ticket: str = ""
    """Of a turn that waits its turn instead of joining; its place is kept for ``ticket_ms``, 0 gives it up."""
    ticket_ms: int = 0
    outage: Outage = "answer"
    """What becomes of it while the server is away; see `luni.settings.Policy`."""

    @property
    def lease_owner(self) -> str:
        """Who holds the lease if this takes it."""
        return f"{self.owner}.{self.nonce}"


class Reply(Write, frozen=True, kw_only=True):
    """Store what answers everything up to ``cut``; release the lease, or keep it if newer messages wait.

    ``outcome`` ``"a"`` answers, ``"s"`` settles without an answer. With ``binding`` the patches are the caller's changes and a
    difference refuses the whole operation; without, they refresh what old readers look at and a difference skips them.
    """

    owner_id: str
    token: int
    cut: int
    lease_ms: int
    outcome: Literal["a", "s"]
    drafts: tuple[Draft, ...] = ()
    metadata: Patch | None = None
    context: Patch | None = None
    binding: bool = False
    focus: str | None = None
    folding: Folding | None = None
    token_est: int = 0
    transcript: int = 0
    first_unsent: int = 0
    """Which draft is the first that waits to be marked as sent; 0: none does."""
    cut_from_outside: bool = False
    """Whether somebody may have tampered with the cut: it must be one that this token was given."""


class Append(Write, frozen=True, kw_only=True):
    """Append a message without a turn; ``settles`` marks what came before it as answered."""

    draft: Draft
    settles: bool
    fresh: bool
    transcript: int = 0


class Update(Write, frozen=True, kw_only=True):
    """Change fields of a session if they still are what the change was made from."""

    fresh: bool
    expected_revision: int | None = None
    metadata: Patch | None = None
    context: Patch | None = None
    focus: str | None = None
    summary: str | None = None
    token: int | None = None
    """Of one of the session's locks, which must be held with it."""


class Pause(Write, frozen=True, kw_only=True):
    """Pause the session for ``duration_ms`` (0: until it is resumed) and take an open turn's lease away; or resume it.

    ``note`` is the JSON array of who paused it and why.
    """

    fresh: bool
    paused: bool
    duration_ms: int = 0
    note: bytes = b""


class Fold(Write, frozen=True, kw_only=True):
    """Fold waiting messages into the summary, if nobody folded meanwhile. Not an activity."""

    folding: Folding


class Amend(Write, frozen=True, kw_only=True):
    """Replace the stored message whose text has this digest."""

    digest: str
    text: bytes
    message_id: str
    tokens_delta: int = 0
    redacted: bool = False


class MarkSent(Write, frozen=True, kw_only=True):
    """Note that a message of a reply was sent. Not an activity."""

    message_id: str
    provider_id: bytes = b""
    """As a JSON text; empty for none."""


class Load(Write, frozen=True, kw_only=True):
    """Replace what is held of a conversation, if it still is what the new state was made from."""

    fresh: bool
    digest: str
    import_digest: str
    window: tuple[bytes, ...]
    waiting: tuple[bytes, ...]
    summary: str
    folded: int
    added: int
    added_tokens: int
    digests: tuple[str, ...] = ()
    """Ids that are to be known as settled, oldest first: a late second delivery of an imported message is a duplicate."""


class End(OnSession, frozen=True, kw_only=True):
    """End this session, not one that came after it. Accepted ids stay known for seven days."""

    session_id: str


class Gather(OnSession, frozen=True, kw_only=True):
    """Ask whether the burst that a turn gathers is over; if so, take what has arrived into the turn."""

    owner_id: str
    token: int
    lease_ms: int
    quiet_ms: int
    burst_ms: int


class Lease(Discreet, frozen=True):
    """A turn's lease, and for how long it is to be held from now on."""

    address: Address
    owner_id: str
    token: int
    lease_ms: int


class Renew(Operation, frozen=True, kw_only=True):
    """Renew the leases of several turns, and several locks, those that are still held with their tokens."""

    leases: tuple[Lease | LockLease, ...]


class Release(OnSession, frozen=True, kw_only=True):
    """Release a turn's lease without an answer, if it is still held with this token."""

    owner_id: str
    token: int


class Read(OnSession, frozen=True, kw_only=True):
    """Read a session. Writes nothing."""

    transcript: bool = False


class Locate(Operation, frozen=True, kw_only=True):
    """Find where a session id leads. Writes nothing."""

    session_id: str


class Sessions(Operation, frozen=True, kw_only=True):
    """List a tenant's sessions, the latest activity first. Writes nothing.

    ``before_ms`` and ``passed`` say where the former page ended: that score, and how many of that very score it showed.
    """

    tenant: str
    limit: int
    before_ms: int | None = None
    passed: int = 0


class Tenants(Operation, frozen=True, kw_only=True):
    """List the tenants that have sessions, in any lasting order. Writes nothing."""

    limit: int
    passed: int = 0


class Pending(Operation, frozen=True, kw_only=True):
    """List what has waited for ``older_ms``, the longest first, without what is claimed. Writes nothing."""

    kind: PendingKind
    tenants: tuple[str, ...]
    older_ms: int
    limit: int
    passed: int = 0


class Examine(Operation, frozen=True, kw_only=True):
    """Look at sessions before they are claimed. Writes nothing."""

    kind: PendingKind
    addresses: tuple[Address, ...]


class Claim(Operation, frozen=True, kw_only=True):
    """Claim sessions of one tenant for one sweeper; take what is ``gone`` off the list. Each with its time in the list."""

    kind: PendingKind
    tenant: str
    claimer: str
    claim_ms: int
    wanted: tuple[tuple[Address, int], ...]
    gone: tuple[tuple[Address, int], ...] = ()


class Inspect(Operation, frozen=True, kw_only=True):
    """Read the fields of several sessions, without messages. Writes nothing."""

    addresses: tuple[Address, ...]


WRITES = (Receive, Open, Reply, Append, Update, Pause, Fold, Amend, MarkSent, Load)


def compensation(operation: Operation, result: object) -> Operation | None:
    """Return what undoes an effect nobody waits for any more: a turn or a lock whose caller is gone is released."""
    if isinstance(operation, Open) and isinstance(result, Opened) and result.state == "open":
        return Release(address=operation.address, owner_id=operation.lease_owner, token=result.token)
    if isinstance(operation, Lock):
        return Unlock(place=operation.place, owner=operation.owner)
    return None
