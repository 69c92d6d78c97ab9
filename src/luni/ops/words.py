"""How commands say numbers and times."""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = ["counted", "lasted", "since"]

_UNITS = ((86400, "d"), (3600, "h"), (60, "min"))


def counted(number: int, what: str, many: str = "") -> str:
    """Return a number and of what, in the singular if it is one; ``many`` where an s does not make the plural."""
    return f"{number:,} {what if number == 1 else many or f'{what}s'}"


def lasted(seconds: float) -> str:
    """Return how long something takes, in its largest unit."""
    length, unit = next((one for one in _UNITS if seconds >= one[0]), (1, "s"))
    return f"{int(max(0.0, seconds) // length)} {unit}"


def since(ms: int, now: float) -> str:
    """Return since when something stands, and how long that is; ``ms`` since the epoch, ``now`` seconds."""
    moment = datetime.fromtimestamp(ms // 1000, UTC).astimezone()
    return f"since {moment:%Y-%m-%d %H:%M}, {lasted(now - ms / 1000)}"
