"""The operations that take a whole session out of a store and put it into one: mirrors, replay, moving, healing.

Nothing is merged in a store: who changes a state reads it, makes the new one (pure functions), and writes it back under a
compare with the version it was made from. A repetition whose first answer was lost finds another version, reads again, and
sees its own marks.
"""

from __future__ import annotations

from luni.operations.base import OnSession, Operation
from luni.results import State

__all__ = ["Acquaint", "Dump", "Restore"]


class Dump(OnSession, frozen=True, kw_only=True):
    """Read everything that is stored of a session. Writes nothing."""


class Restore(OnSession, frozen=True, kw_only=True):
    """Make a session what ``state`` says, if what is stored still has this version (``None``: whatever is there).

    Not an activity: it expires when the state says. ``former``: the id of the session that was found, where it was another one.
    What the wire has and a `State` has not (foreign fields, named locks, turns that queue) is left as it is while the session
    is the same one.
    """

    state: State
    version: str | None
    former: str = ""


class Acquaint(Operation, frozen=True, kw_only=True):
    """Ask which server this is. One that has no name yet, because it is new or has lost everything, gets the proposed one."""

    proposed: str
