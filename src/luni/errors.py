"""What can go wrong, split by what the caller does next.

LuniError
├── ConfigError            a setting or an argument of ``open`` is wrong: mend it and start again
├── InvalidInput           the call was refused before anything was stored: mend the call
├── Conflict               somebody changed the session meanwhile: read again, decide again
├── Backlog                too many messages of one conversation wait for an answer: nothing was stored
├── BackendError
│   ├── Unavailable        nothing was sent or the server refused: nothing happened, try again later
│   ├── Indeterminate      sent, and no reply: it happened or not; a call with a message id, or of a turn, can be repeated
│   ├── Incompatible       the store was written by a newer luni: upgrade this one
│   ├── Damaged            a stored value cannot be read: it was left as it is
│   └── Superseded         a later operation of this writer has been executed: this one was not repeated
├── LockError
│   ├── LockHeld           somebody else holds it, or waits for it: nothing was run, try again later
│   ├── LockLost           it was held and is no longer: what it protects may be somebody else's
│   ├── NoSession          a lock of a session that is not there: nothing was locked
│   └── Fenced             the lease or the token is not the current one: nothing was stored
├── BookingError
│   ├── SlotTaken          the interval overlaps another booking: offer another one
│   ├── HoldExpired        there is no such hold (any more): hold again before you confirm
│   └── IdReused           the id names another booking: choose a new id
└── Degraded               the server is away, and this cannot be promised without it: nothing was stored

"Not there" is ``None`` or an empty list, never an error; an error is never ``None``.
"""

from __future__ import annotations

__all__ = [
    "BackendError",
    "Backlog",
    "BookingError",
    "ConfigError",
    "Conflict",
    "Damaged",
    "Degraded",
    "Fenced",
    "HoldExpired",
    "IdReused",
    "Incompatible",
    "Indeterminate",
    "InvalidInput",
    "LockError",
    "LockHeld",
    "LockLost",
    "LuniError",
    "NoSession",
    "SlotTaken",
    "Superseded",
    "Unavailable",
]


class LuniError(Exception):
    """The root of every error luni raises on purpose."""


class ConfigError(LuniError):
    """A setting is wrong; the message has its name and what is allowed, never a secret."""


class InvalidInput(LuniError, ValueError):
    """The call was refused before anything was stored."""


class Conflict(LuniError):
    """The session is not at the revision the caller expected; nothing was stored."""


class Backlog(LuniError):
    """Too many messages of this conversation wait for an answer; nothing was stored."""


class BackendError(LuniError):
    """The store could not do what was asked. ``answered``: it said so itself, so it is there; ``denied``: to this user."""

    answered = False
    denied = False


class Unavailable(BackendError):
    """Nothing was sent, or the server refused it: nothing happened."""


class Indeterminate(BackendError):
    """Sent, and no reply came: it happened or it did not.

    Repeating the very same call is safe, and tells, if it has a ``message_id`` or is a turn's ``open``, ``reply`` or ``skip``.
    """


class Incompatible(BackendError):
    """The store was written by a newer version of luni; nothing was read or written."""


class Damaged(BackendError):
    """A stored value cannot be read; it was left as it is. ``corrupt``: the file, if SQLite itself cannot read it."""

    corrupt = ""


class Superseded(BackendError):
    """A later operation of the same writer was executed; this one was not repeated."""


class LockError(LuniError):
    """A lock or a lease is not as the caller needs it."""


class LockHeld(LockError):
    """Somebody else holds it, or waits for it; nothing was run."""


class LockLost(LockError):
    """It was held, and is no longer."""


class NoSession(LockError):
    """The session whose lock was asked for is not there; nothing was locked."""


class Fenced(LockError):
    """The lease or token is not the current one; nothing was stored."""


class BookingError(LuniError):
    """A booking was refused."""


class SlotTaken(BookingError):
    """The interval overlaps another booking; nothing was stored."""


class HoldExpired(BookingError):
    """There is no such hold: it expired, was cancelled or never was. Nothing was stored."""


class IdReused(BookingError):
    """The id names a booking of another interval, customer or resource, or one that was cancelled. Nothing was stored."""


class Degraded(LuniError):
    """Refused now, because the server is away and it cannot be promised without it; nothing was stored."""
