"""A disk that fails once: SQLite's files on a VFS whose nth write, sync, truncation or deletion does."""

from __future__ import annotations

import itertools
from typing import Self

import apsw

WAYS = ("write", "full", "sync", "truncate", "delete")
"""SQLite renames nothing: it truncates and deletes."""
_FAILS_WITH = {
    "write": apsw.SQLITE_IOERR_WRITE,
    "full": apsw.SQLITE_FULL,
    "sync": apsw.SQLITE_IOERR_FSYNC,
    "truncate": apsw.SQLITE_IOERR_TRUNCATE,
    "delete": apsw.SQLITE_IOERR_DELETE,
}
_numbers = itertools.count(1)


class Disk(apsw.VFS):
    """The default for connections that are opened within its block; counts, and fails at the nth of one kind.

    Args:
        way: What fails, one of `WAYS`; a full disk is full from then on, until it is ``mended``.
        nth: Which one of its kind.
    """

    def __init__(self, way: str, nth: int) -> None:
        self.name, self.base, self._way, self._left = f"disk{next(_numbers)}", apsw.vfs_names()[0], way, nth
        self.failed = False
        super().__init__(self.name, self.base, makedefault=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.unregister()

    def mended(self) -> None:
        """Let nothing fail any more."""
        self._way = ""

    def met(self, *kinds: str) -> None:
        """Something is done: fail, if it is that one's turn."""
        if self._way not in kinds:
            return
        self._left -= 1
        if self._left == 0 or (self._left < 0 and self._way == "full"):
            self.failed = True
            raise apsw.exception_for(_FAILS_WITH[self._way])

    def xOpen(self, name, flags):  # noqa: N802  SQLite's name
        return _File(self, name, flags)

    def xDelete(self, name, sync):  # noqa: N802
        self.met("delete")
        return super().xDelete(name, sync)


class _File(apsw.VFSFile):
    def __init__(self, disk, name, flags) -> None:
        self._disk = disk
        super().__init__(disk.base, name, flags)

    def xWrite(self, data, offset):  # noqa: N802
        self._disk.met("write", "full")
        return super().xWrite(data, offset)

    def xSync(self, flags):  # noqa: N802
        self._disk.met("sync")
        return super().xSync(flags)

    def xTruncate(self, size):  # noqa: N802
        self._disk.met("truncate")
        return super().xTruncate(size)
