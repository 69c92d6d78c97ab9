"""The one place where the ``redis`` client's exceptions become luni's."""

from __future__ import annotations

import re

import redis.exceptions as driver

from luni.errors import BackendError, Damaged, Unavailable

__all__ = ["is_demoted", "is_unauthenticated", "reason", "refused"]

# The server says no before it does anything: the operation can be tried again elsewhere or later.
_REFUSALS = (
    "OOM", "READONLY", "LOADING", "CLUSTERDOWN", "MASTERDOWN", "NOREPLICAS", "NOAUTH", "WRONGPASS", "NOPERM", "MISCONF",
    "BUSY", "TRYAGAIN", "MOVED", "ASK",
)  # fmt: skip

_DAMAGE = {
    "WRONGTYPE": "a key has another type than the wire format gives it; nothing was written",
    "DAMAGED": "a stored booking cannot be read; it was left as it is, and nothing was written",
}


_REASONS: tuple[tuple[type[Exception] | tuple[type[Exception], ...], str], ...] = (
    (
        (driver.AuthenticationError, driver.AuthorizationError, driver.AuthenticationWrongNumberOfArgsError),
        "it does not accept the credentials",
    ),
    (driver.NoPermissionError, "its ACL does not allow the user this"),
    (driver.OutOfMemoryError, "its memory is full (maxmemory)"),
    (driver.ReadOnlyError, "it is read-only, a replica"),
    (driver.BusyLoadingError, "it is still loading its data"),
    (driver.ClusterDownError, "the Cluster is down"),
    ((driver.TimeoutError, TimeoutError), "it took too long"),
    ((driver.ConnectionError, ConnectionError), "the connection was refused or lost"),
)


def reason(error: Exception) -> str:
    """Return what an error of the client or the system is about, in words; never what a server or a user wrote."""
    return next((words for kinds, words in _REASONS if isinstance(error, kinds)), type(error).__name__)


def is_demoted(error: Exception) -> bool:
    """Whether a server says that it is no primary any more."""
    return isinstance(error, driver.ReadOnlyError) or "READONLY" in str(error)


def is_unauthenticated(error: Exception) -> bool:
    """Whether a server does not know (any more) who the connection's user is: it has executed nothing."""
    if isinstance(error, driver.AuthenticationError):
        return True
    return "unauthenticated" in str(error)  # what it says to more than ten arguments, before it closes the connection


def _missing_right(text: str) -> str:
    """Return which right the user lacks, ``""`` for another error; without the server's words, which may name a key."""
    command = re.search(r"permissions to run the '([\w|]+)'", text)
    if command:
        return f"the command {command[1]}"
    if "can't run this command" in text:
        return "a command of luni's scripts"
    if "permissions to access" in text or "can't access at least one of the keys" in text:
        return "a key: it needs those of the namespace"
    return ""


def refused(error: Exception) -> BackendError:
    """Return what a server's error reply means for the caller."""
    found = _meaning(error)
    found.answered = True
    found.denied = _is_denied(error)
    return found


def _is_denied(error: Exception) -> bool:
    """Whether a server answers, and this user may not: trying again does not help, somebody has to mend the credentials."""
    kinds = driver.AuthenticationError, driver.AuthorizationError, driver.NoPermissionError
    text = str(error)
    told = text.startswith(("NOAUTH", "WRONGPASS", "NOPERM")) or bool(_missing_right(text)) or "unauthenticated" in text
    return told or isinstance(error, kinds)


def _meaning(error: Exception) -> BackendError:
    text = str(error)
    code = text.split(" ", 1)[0].rstrip(":")
    unavailable = _unavailable(error, text, code)
    if unavailable:
        return Unavailable(unavailable)
    damage = next((what for word, what in _DAMAGE.items() if word in text), None)
    if damage is not None:
        return Damaged(damage)
    return BackendError(f"the server could not execute the script: {text[:200]}")


def _unavailable(error: Exception, text: str, code: str) -> str:
    """Return why the server refuses now, ``""`` for what it would always refuse."""
    right = _missing_right(text)
    if right:
        return f"the server's ACL does not allow the user {right}"
    if isinstance(error, driver.AuthenticationError | driver.AuthorizationError | driver.NoPermissionError):
        return f"the server refused the credentials or the command: {reason(error)}"
    if isinstance(error, driver.OutOfMemoryError | driver.ReadOnlyError | driver.BusyLoadingError | driver.ClusterDownError):
        return f"the server refused the operation: {reason(error)}"
    if code in _REFUSALS or "-OOM" in text or " OOM " in text or "command not allowed when used memory" in text:
        return f"the server refused the operation: {code}"
    if "unauthenticated" in text:  # what a server that wants a password says to more than ten arguments
        return "the server refused the operation: it asks for a password"
    return ""
