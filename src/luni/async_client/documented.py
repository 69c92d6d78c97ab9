"""One contract, written once: the asynchronous twins have the docstrings of the synchronous classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

__all__ = ["documented_like"]

C = TypeVar("C", bound=type)


def documented_like(twin: type) -> Callable[[C], C]:
    """Give each method its twin's docstring: one contract, written once."""

    def document(cls: C) -> C:
        for name, member in vars(cls).items():
            if getattr(member, "__doc__", None) is None and hasattr(twin, name):
                member.__doc__ = getattr(twin, name).__doc__
        return cls

    return document
