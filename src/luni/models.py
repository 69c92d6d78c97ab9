"""What users hand in and get back: frozen structs, no I/O."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import Any, ClassVar, Literal

import msgspec

__all__ = [
    "REMOVE",
    "ROLES",
    "Address",
    "Attachment",
    "Booking",
    "BookingState",
    "Discreet",
    "Health",
    "Interval",
    "Message",
    "Page",
    "Pending",
    "Receipt",
    "Received",
    "Removal",
    "Replied",
    "Role",
    "SessionExport",
    "SessionInfo",
    "SessionUpdate",
    "ToolCall",
    "ToolResult",
    "TurnState",
    "Unanswered",
    "Unsent",
]

Role = Literal["user", "assistant", "human", "system", "tool"]
"""Who said it. ``human`` is a person of the business who took over from the assistant."""

ROLES: frozenset[str] = frozenset(("user", "assistant", "human", "system", "tool"))

TurnState = Literal["open", "duplicate", "in_progress", "joined", "paused", "idle", "accepted"]
"""What opening a turn found:

- ``open``: this worker holds the conversation's lease and should reply;
- ``duplicate``: the message was answered before;
- ``in_progress``: this very message is being answered now, elsewhere;
- ``joined``: another turn of this conversation is open and will answer it;
- ``paused``: a person has taken over; the message is stored;
- ``idle``: a turn without text, and nothing waits;
- ``accepted``: the server is away and the policy says to stay silent: it is stored, and answered by a later turn.
"""


class Removal(Enum):
    """The type of `REMOVE`."""

    REMOVE = "remove"


REMOVE = Removal.REMOVE
"""As a value in `SessionUpdate`: take this key away (``None`` stores a JSON null)."""


class Discreet(msgspec.Struct, frozen=True, gc=False):
    """Shows its type and what is no one's secret: reprs end up in logs and tracebacks, where no message text belongs."""

    _shown: ClassVar[tuple[str, ...]] = ()

    def __repr__(self) -> str:
        shown = "".join(f" {name}={getattr(self, name)!r}" for name in self._shown)
        return f"<{type(self).__name__}{shown}>"

    def __rich_repr__(self) -> Any:
        for name in self._shown:
            yield name, getattr(self, name)


class Address(Discreet, frozen=True):
    """Whose conversation: one session per (tenant, channel, user)."""

    _shown = ("channel",)

    tenant: str
    channel: str
    user: str


class Attachment(Discreet, frozen=True, omit_defaults=True):
    """A file that came with a message; luni stores where it is, never its bytes."""

    _shown = ("kind", "mime", "size_bytes")

    kind: str
    url: str | None = None
    mime: str | None = None
    caption: str | None = None
    transcript: str | None = None
    size_bytes: int | None = None


class ToolCall(Discreet, frozen=True):
    """A step: the assistant calls a tool. ``arguments`` is JSON text, as models write it."""

    _shown = ("id", "name")

    id: str
    name: str
    arguments: str = "{}"


class ToolResult(Discreet, frozen=True):
    """A step: what the tool called as ``call_id`` answered."""

    _shown = ("call_id",)

    call_id: str
    text: str


class Message(
    Discreet,
    frozen=True,
    omit_defaults=True,
    rename={"key": "k", "arrival": "n", "timestamp_ms": "timestamp"},
):
    """One message of a conversation, in the field order and names of the wire.

    Foreign writers store at least ``text``, ``timestamp`` and ``tags``; everything else has a default. ``late``: it was said
    while the server was away and stored afterwards; somebody else may have answered the same messages meanwhile.
    """

    _shown = ("role", "arrival", "timestamp_ms", "tokens")

    text: str
    role: str = "user"
    id: str = ""
    timestamp_ms: int = 0
    tags: tuple[str, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    attachments: tuple[Attachment, ...] = ()
    metadata: dict[str, Any] | None = None
    tokens: int = -1
    counter: str = ""
    amended: int = 0
    redacted: bool = False
    late: bool = False
    provider_id: str = ""
    arrival: int = 0
    key: str = ""

    @property
    def timestamp(self) -> float:
        """Seconds since the epoch, by the server's clock unless the caller gave a time."""
        return self.timestamp_ms / 1000


class SessionUpdate(Discreet, frozen=True, forbid_unknown_fields=True):
    """A change of a session: only the keys named change; `REMOVE` as a value takes a key away."""

    metadata: dict[str, Any] = {}
    variables: dict[str, Any] = {}
    focus: str | None = None


class SessionInfo(Discreet, frozen=True):
    """A session without its messages. Times are seconds since the epoch, by the server's clock.

    ``paused_until`` is ``None`` for a pause that somebody has to end; ``paused_by`` and ``paused_reason`` are what
    `Session.pause` was given. ``damaged``: in a list, metadata or variables cannot be read and are left empty (in an
    export of `Memory.export` messages, too); `Session.info` raises `Damaged` then. ``degraded``: the server is
    away, and this is what this host knew at ``as_of``. ``dead_letters``: how many of its operations, acknowledged by this
    host in an outage, the server has refused for good (`luni journal list --dead`).
    """

    _shown = ("session_id", "channel", "message_count", "revision")

    session_id: str
    tenant: str
    channel: str
    user: str
    created_at: float
    last_activity: float
    metadata: dict[str, Any]
    variables: dict[str, Any]
    summary: str
    focus: str
    paused: bool
    message_count: int
    folded: int
    unanswered: int
    revision: int
    damaged: bool = False
    paused_at: float | None = None
    paused_until: float | None = None
    paused_by: str | None = None
    paused_reason: str | None = None
    degraded: bool = False
    as_of: float | None = None
    dead_letters: int = 0


class SessionExport(msgspec.Struct, frozen=True):
    """Everything stored of one session: `info`, the messages still held (oldest first), the transcript if kept."""

    info: SessionInfo
    messages: tuple[Message, ...]
    transcript: tuple[Message, ...] = ()


class Received(msgspec.Struct, frozen=True):
    """What `receive` did: ``accepted`` (stored now) or ``duplicate`` (stored before).

    ``message`` is ``None`` for a duplicate whose text the window no longer holds. ``degraded``: the server is away; the message
    is on this host's disk and follows.
    """

    state: Literal["accepted", "duplicate"]
    message: Message | None
    session_id: str
    new_session: bool = False
    degraded: bool = False


class Replied(Discreet, frozen=True):
    """What `Session.reply` stored. If newer messages wait, ``should_reply`` is true; ``context`` and ``handle`` are fresh."""

    _shown = ("should_reply",)

    messages: tuple[Message, ...]
    should_reply: bool = False
    context: Any = None
    handle: str | None = None


class Pending(Discreet, frozen=True):
    """What a sweeper finds: whose, since when (seconds since the epoch), and for how long (seconds), by the server's clock.

    ``session`` is the `Session` (or `AsyncSession`) to go on with.
    """

    _shown = ("channel", "session_id", "waited")

    tenant: str
    channel: str
    user: str
    session_id: str
    since: float
    waited: float
    session: Any


class Unanswered(Pending, frozen=True):
    """A conversation with messages that wait for an answer, since the oldest of them arrived: open a turn without a text."""


class Unsent(Pending, frozen=True):
    """A reply's message that was stored and never marked as sent. ``message.id`` is the same each time it is offered.

    Give it to a provider that knows idempotency keys, then call ``session.mark_sent(message.id, …)``.
    """

    message: Message


BookingState = Literal["held", "confirmed", "cancelled", "pending"]
"""What a booking is. ``pending``: the server has it, too few of its replicas have said so; the same call again asks them."""


class Booking(Discreet, frozen=True, kw_only=True):
    """An interval ``[start, end)`` of one resource or several. Times are UTC.

    ``expires`` is when a hold ends that nobody confirms, by the store's clock; ``resources`` are all that it takes,
    ``capacities`` theirs as they were then, ``unit`` which of the first one's units it takes; ``by`` whose it is; ``details``
    what `Agenda.hold` was given.
    """

    _shown = ("resource", "state", "start", "end")

    id: str
    tenant: str
    resource: str
    start: datetime
    end: datetime
    by: str
    state: BookingState
    expires: datetime | None = None
    resources: tuple[str, ...] = ()
    capacities: tuple[int, ...] = ()
    unit: int = 0
    details: dict[str, Any] | None = None
    created: datetime | None = None


class Interval(msgspec.Struct, frozen=True, order=True):
    """A time ``[start, end)`` in which something is free. UTC."""

    start: datetime
    end: datetime


class Page(msgspec.Struct, frozen=True):
    """Some items and where to go on; without a ``cursor`` nothing follows (with one, the next page may be empty)."""

    items: tuple[Any, ...]
    cursor: str | None = None

    def __iter__(self) -> Any:
        """Iterate over the items of this page."""
        return iter(self.items)

    def __len__(self) -> int:
        """Return how many items this page has."""
        return len(self.items)


class Receipt(Discreet, frozen=True):
    """What was erased. It names nobody but the tenant, so it may be kept as evidence.

    ``erased_at`` (seconds since the epoch) is when, by the store's clock: what was stored by then is gone. ``counts`` says how
    much: ``sessions`` ``messages`` ``message_ids`` ``bookings`` ``locks``; at least so much, where an answer was lost on its
    way. ``where`` has the same for each store. ``pending`` are stores that could not be reached, and will be erased when they
    are back. ``out_of_reach`` are sentences: where copies may be that luni cannot erase.
    """

    _shown = ("erased_at", "counts", "pending")

    tenant: str
    erased_at: float
    counts: dict[str, int]
    where: dict[str, dict[str, int]]
    pending: tuple[str, ...] = ()
    out_of_reach: tuple[str, ...] = ()


class Health(msgspec.Struct, frozen=True):
    """Whether the memory works. ``detail`` says why not, without secrets.

    ``degraded``: the server is away and this host goes on from its own storage, or so many operations (``journal_depth``)
    still wait to reach it, or so many erasures (``owed_erasures``), or that storage cannot be used: an outage would not be
    bridged. ``dead_letters``: how many it has refused for good; they wait for a person. ``bookings_closed``: the server has
    lost data, and nobody has looked at the bookings since.
    """

    ok: bool
    degraded: bool
    backend: str
    journal_depth: int = 0
    latency_ms: float = 0.0
    detail: str = ""
    dead_letters: int = 0
    owed_erasures: int = 0
    bookings_closed: bool = False
