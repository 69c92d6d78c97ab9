"""A file that SQLite itself calls damaged is set aside under another name, with its side files, and kept."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from luni.errors import Unavailable

__all__ = ["Identity", "alone_with", "asides", "identity_of", "set_aside"]

Identity = tuple[int, int]
"""Which file it is, whatever its name: device and inode."""


def identity_of(path: str) -> Identity | None:
    """Return which file stands at a path, ``None`` if none does."""
    try:
        found = os.stat(path)  # noqa: PTH116  before every operation of an outage: a Path costs more than the call
    except OSError:
        return None
    return found.st_dev, found.st_ino


@contextmanager
def alone_with(path: str, *, exclusive: bool = False) -> Iterator[None]:
    """Within this block nobody sets the file aside; with ``exclusive`` nobody opens it either. Raises `Unavailable`."""
    try:
        lock = os.open(f"{path}-lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Unavailable(f"{path}-lock cannot be opened: {error.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        yield
    finally:
        os.close(lock)


def set_aside(path: str, damaged: Identity) -> str:
    """Rename a damaged file and its side files; return the new name, ``""`` if another process was faster.

    The caller is `alone_with` it. Raises `Unavailable` if it cannot be renamed.
    """
    if identity_of(path) != damaged:
        return ""
    place = Path(path)
    aside = place.with_name(f"{place.stem}.damaged-{time.strftime('%Y%m%dT%H%M%S')}-{time.time_ns() % 10**9:09d}{place.suffix}")
    try:
        for tail in ("-wal", "-shm", ""):  # the file last: until then it is the one that was there
            if os.path.exists(path + tail):  # noqa: PTH110  a name with a tail
                os.rename(path + tail, f"{aside}{tail}")  # noqa: PTH104  the same
    except OSError as error:
        raise Unavailable(f"{path} is damaged and cannot be set aside: {error.strerror}") from None
    return str(aside)


def asides(path: str) -> list[str]:
    """Return the names of the files that were set aside of this one, the oldest first."""
    place = Path(path)
    return sorted(str(one) for one in place.parent.glob(f"{place.stem}.damaged-*{place.suffix}"))
