"""Values of replies that another program may have written: read leniently."""

from __future__ import annotations

__all__ = ["number", "string"]


def number(value: bytes | None) -> int:
    """Return a number; what is none counts as 0."""
    if not value:
        return 0
    try:
        return int(value)
    except ValueError:
        return _foreign_number(value)


def _foreign_number(value: bytes) -> int:
    """Another program may write a time or an estimate with a fraction; what is no number at all counts as none."""
    try:
        return int(float(value))
    except (ValueError, OverflowError):
        return 0


def string(value: bytes | None) -> str:
    """Return a text; what is not UTF-8 in it is replaced."""
    return value.decode("utf-8", "replace") if value else ""
