"""A forked child begins anew: what looks after its parent's outages is told."""

from __future__ import annotations

import os
import weakref
from typing import Protocol

__all__ = ["tell_of_forks"]


class Forked(Protocol):
    """Who wants to know."""

    def forked(self) -> None:
        """This is a forked child."""


_LIVING: weakref.WeakSet[Forked] = weakref.WeakSet()


def tell_of_forks(one: Forked) -> None:
    """Call its ``forked`` in every child, for as long as it lives."""
    _LIVING.add(one)


def _forked() -> None:
    for one in list(_LIVING):
        one.forked()


os.register_at_fork(after_in_child=_forked)
