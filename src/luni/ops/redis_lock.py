"""One `luni redis setup` or `cleanup` of a directory at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from luni.errors import Unavailable

__all__ = ["only_one"]


@contextmanager
def only_one(base: Path) -> Iterator[None]:
    """Hold the directory's lock, or raise `Unavailable` at once. Neither its file nor an empty directory is left behind.

    The system gives the lock back when its holder dies, however it dies.
    """
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = base / "redis.lock"
    held = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            ours = path.exists() and path.stat().st_ino == os.fstat(held).st_ino  # else its holder has just removed it
        except BlockingIOError:
            ours = False
        if not ours:
            raise Unavailable(f"another luni redis setup or cleanup is at work in {base}: wait for it, then try again")
        try:
            yield
        finally:
            path.unlink()
            if not any(base.iterdir()):
                base.rmdir()
    finally:
        os.close(held)
