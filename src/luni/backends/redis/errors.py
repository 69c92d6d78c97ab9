"""The one place where the ``redis`` client's exceptions become luni's."""

from __future__ import annotations

import redis.exceptions as driver

from luni.errors import BackendError, Damaged, LuniError, Unavailable

__all__ = ["is_demoted", "is_unauthenticated", "refused"]

# The server says no before it does anything: the operation can be tried again elsewhere or later.
_REFUSALS = (
    "OOM", "READONLY", "LOADING", "CLUSTERDOWN", "MASTERDOWN", "NOREPLICAS", "NOAUTH", "WRONGPASS", "NOPERM", "MISCONF",
    "BUSY", "TRYAGAIN", "MOVED", "ASK",
)  # fmt: skip

_DAMAGE = {
    "WRONGTYPE": "a key has another type than the wire format gives it; nothing was written",
    "DAMAGED": "a stored booking cannot be read; it was left as it is, and nothing was written",
}


def is_demoted(error: Exception) -> bool:
    """Whether a server says that it is no primary any more."""
    return isinstance(error, driver.ReadOnlyError) or "READONLY" in str(error)


def is_unauthenticated(error: Exception) -> bool:
    """Whether a server does not know (any more) who the connection's user is: it has executed nothing."""
    if isinstance(error, driver.AuthenticationError):
        return True
    return "unauthenticated" in str(error)  # what it says to more than ten arguments, before it closes the connection


def refused(error: Exception) -> LuniError:
    """Return what a server's error reply means for the caller."""
    text = str(error)
    code = text.split(" ", 1)[0].rstrip(":")
    if isinstance(error, driver.AuthenticationError | driver.AuthorizationError | driver.NoPermissionError):
        return Unavailable(f"the server refused the credentials or the command: {type(error).__name__}")
    if isinstance(error, driver.OutOfMemoryError | driver.ReadOnlyError | driver.BusyLoadingError | driver.ClusterDownError):
        return Unavailable(f"the server refused the operation: {type(error).__name__}")
    if code in _REFUSALS or "-OOM" in text or " OOM " in text or "command not allowed when used memory" in text:
        return Unavailable(f"the server refused the operation: {code}")
    if "unauthenticated" in text:  # what a server that wants a password says to more than ten arguments
        return Unavailable("the server refused the operation: it asks for a password")
    damage = next((what for word, what in _DAMAGE.items() if word in text), None)
    if damage is not None:
        return Damaged(damage)
    return BackendError(f"the server could not execute the script: {text[:200]}")
