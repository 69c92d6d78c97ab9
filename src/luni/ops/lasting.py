"""Whether what is written to a path lasts: which file system it is on, as Linux tells in ``/proc/self/mountinfo``."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["MOUNTINFO", "file_system", "lost_when"]

MOUNTINFO = Path("/proc/self/mountinfo")
_LOST_WHEN = {
    "tmpfs": "the machine restarts", "ramfs": "the machine restarts", "overlay": "the container is removed",
    "aufs": "the container is removed",
}  # fmt: skip
MOUNT_POINT = 4
_OCTAL = re.compile(r"\\([0-7]{3})")


def lost_when(path: Path) -> str:
    """Return when what is written there is lost; ``""`` if its file system lasts, or that cannot be told (not Linux)."""
    return _LOST_WHEN.get(file_system(path), "")


def file_system(path: Path) -> str:
    """Return the type of the file system that a path is on, or will be once it is made; ``""`` where that cannot be told."""
    try:
        lines = MOUNTINFO.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return ""
    place, best, kind = path.resolve(), -1, ""
    for line in lines:  # id, parent, device, root, mount point, options, fields …, "-", type, source, options: see proc(5)
        words, separator, rest = line.partition(" - ")
        fields = words.split(" ")
        if not separator or len(fields) <= MOUNT_POINT:
            continue
        point = Path(_OCTAL.sub(lambda found: chr(int(found[1], 8)), fields[MOUNT_POINT]))
        if place.is_relative_to(point) and len(point.parts) >= best:  # of two on one point the later one hides the former
            best, kind = len(point.parts), rest.partition(" ")[0]
    return kind
