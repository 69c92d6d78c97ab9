"""When a field was last set: what a later replay of an older change is compared with, so that the last writer wins."""

from __future__ import annotations

from luni.operations.sessions import Pause, Reply, Update

__all__ = ["STAMPS", "stamped"]

STAMPS = 512
"""A session has so many stamps at most; a field that would have one more has none."""


def stamped(operation: Reply | Update | Pause) -> tuple[str, ...]:
    """Return the names of the fields that a caller sets: ``focus``, ``summary``, ``paused``, ``m:{key}``, ``v:{key}``.

    What a reply refreshes or folds, and not its caller, is not among them. A removed key is: its stamp stays.
    """
    if isinstance(operation, Pause):
        return ("paused",)
    names = [f"m:{key}" for key in operation.metadata.keys] if operation.metadata else []
    names += [f"v:{key}" for key in operation.context.keys] if operation.context else []
    names = names[:STAMPS]
    if operation.focus is not None:
        names.append("focus")
    if isinstance(operation, Update) and operation.summary is not None:
        names.append("summary")
    return tuple(names)
