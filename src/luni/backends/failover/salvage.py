"""What can be read of a journal that was set aside: entries whose checksums fit, and what was noted."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from typing import Any

import apsw
import msgspec

__all__ = ["GAP", "Salvaged", "note_of_a_gap", "salvaged"]

GAP = "gap"

_ENTRY = "namespace, tenant, channel, user, state, kind, writer, seq, at_ms, reason, checksum, body"
_INSERTS = {
    "entry": f"INSERT OR IGNORE INTO entry ({_ENTRY}) VALUES ({', '.join('?' * 12)})",
    "erasure": "INSERT OR IGNORE INTO erasure VALUES (?, ?, ?, ?)",
    "note": "INSERT OR IGNORE INTO note VALUES (?, ?, ?)",
}


class Salvaged(msgspec.Struct):
    """Rows of each table; ``spoilt`` entries had another checksum, ``complete``: SQLite read every table to its end."""

    rows: dict[str, dict[Any, tuple[Any, ...]]]
    spoilt: int = 0
    complete: bool = True

    def statements(self) -> Iterator[tuple[str, tuple[Any, ...]]]:
        """Return what puts them into a new journal, entries in their order; others may be in it already."""
        for table, rows in self.rows.items():
            for key in sorted(rows):
                yield _INSERTS[table], rows[key][1:] if table == "entry" else rows[key]

    def told(self) -> str:
        """Return in words what this is."""
        left = "" if self.complete and not self.spoilt else "; the mirror gives the server what others may have said"
        return f"{len(self.rows['entry'])} of its entries could be read and are in the new one{left}"


def salvaged(path: str) -> Salvaged:
    """Return what can be read of a journal's file, from its beginning and from its end; the file is left as it is."""
    found = Salvaged({table: {} for table in _INSERTS})
    if not path or os.stat(path).st_size == 0:  # noqa: PTH116  SQLite would delete what stands beside it
        found.complete = False
        return found
    try:
        connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE)
    except apsw.Error:
        found.complete = False
        return found
    try:
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        for table, columns, key in (("entry", f"id, {_ENTRY}", 1), ("erasure", "*", 3), ("note", "*", 2)):
            for order in ("ASC", "DESC"):
                _read(connection, f"SELECT {columns} FROM {table} ORDER BY 1 {order}", found, table, key)
                if found.complete:
                    break
    finally:
        connection.close()
    return found


def note_of_a_gap(namespace: str) -> tuple[str, tuple[str, ...]]:
    """Return what notes in a new journal that entries may have been lost with the former one."""
    return "INSERT OR REPLACE INTO note VALUES (?, ?, ?)", (namespace, GAP, "1")


def _read(connection: Any, select: str, found: Salvaged, table: str, key: int) -> None:
    try:
        for row in connection.execute(select):
            if table != "entry" or (isinstance(row[-1], bytes) and zlib.crc32(row[-1]) == row[-2]):
                found.rows[table][row[:key]] = row
            else:
                found.spoilt += 1
    except apsw.Error:
        found.complete = False
