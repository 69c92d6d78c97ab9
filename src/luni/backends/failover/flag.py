"""Whether something may wait in the journal, told between processes by a few shared bytes: asked before every operation.

Asking SQLite costs two file locks and a look at its shared index, about a tenth of a turn; these bytes cost a look at memory.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path

from luni.errors import Unavailable

__all__ = ["Flag"]

_BYTES = 8


class Flag:
    """A file of eight bytes that whoever adds to the journal sets to others, before and after it is committed.

    As long as they are what they were when nothing waited, nothing does. Random, not counted: two who set them at the same time
    cannot arrive at what a third has seen. No I/O before it is used; threads, processes and forked children share it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._map: mmap.mmap | None = None

    def value(self) -> bytes:
        """Return the bytes as they are now. Raises `Unavailable` if the file cannot be opened."""
        shared = self._map or self._open()
        return shared[:_BYTES]

    def change(self) -> None:
        """Set them to others."""
        shared = self._map or self._open()
        shared[:_BYTES] = os.urandom(_BYTES)

    def _open(self) -> mmap.mmap:
        """Two threads may do so at the same time: either sees what the other does. A lock could be forked while it is held."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                if os.fstat(file).st_size < _BYTES:
                    os.ftruncate(file, _BYTES)
                self._map = shared = mmap.mmap(file, _BYTES)
            finally:
                os.close(file)
        except OSError as error:
            raise Unavailable(f"{self._path.name} cannot be opened: {error.strerror}") from None
        return shared

    def close(self) -> None:
        """Let go of the file. Whoever is just looking at it keeps it."""
        self._map = None
