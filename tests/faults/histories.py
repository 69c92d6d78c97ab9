"""Histories: what processes called and what came of it, written down so that a death at any moment leaves it readable.

A line is written before a call and one after it. Times are this machine's clock, which is the server's, too.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, NamedTuple

UNKNOWN = "unknown"


class Op(NamedTuple):
    """One call. ``outcome`` is ``unknown`` where nobody can tell: it happened at some time from ``called`` on, or never."""

    process: str
    kind: str
    args: dict[str, Any]
    called: float
    returned: float
    outcome: str
    result: Any = None


class Recorder:
    """Writes one process's calls to a file of its own."""

    def __init__(self, folder: str, process: str) -> None:
        self.process = process
        self._file = os.open(f"{folder}/{process}.jsonl", os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o600)
        self._count = 0

    def note(self, **fields: Any) -> None:
        os.write(self._file, (json.dumps(fields) + "\n").encode())

    def call(self, kind: str, args: dict[str, Any], function: Any, outcomes: Any) -> tuple[str, Any]:
        """Call a function; return its outcome, which ``outcomes(result or error)`` names, and what is noted of its result."""
        self._count += 1
        number = self._count  # calls may be within others
        self.note(call=number, kind=kind, args=args, at=time.time())
        try:
            found = function()
        except Exception as error:  # noqa: BLE001  outcomes decides; what it does not know is raised
            found = error
        outcome, result = outcomes(found)
        self.note(end=number, outcome=outcome, result=result, at=time.time())
        return outcome, result


def read(folder: Path) -> list[Op]:
    """Return all calls of all processes, in the order in which they were called."""
    found = []
    for file in sorted(folder.glob("*.jsonl")):
        calls: dict[int, dict[str, Any]] = {}
        ends: dict[int, dict[str, Any]] = {}
        for line in file.read_text().splitlines():
            entry = json.loads(line)
            if "call" in entry:
                calls[entry["call"]] = entry
            elif "end" in entry:
                ends[entry["end"]] = entry
        for number, call in calls.items():
            end = ends.get(number, {"at": float("inf"), "outcome": UNKNOWN, "result": None})
            returned = float("inf") if end["outcome"] == UNKNOWN else end["at"]
            found.append(Op(file.stem, call["kind"], call["args"], call["at"], returned, end["outcome"], end["result"]))
    return sorted(found, key=lambda op: op.called)


def overlapping(intervals: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Return pairs of intervals (start, end, …) of one resource that overlap."""
    found, longest = [], None
    for one in sorted(intervals):
        if longest is not None and one[0] < longest[1]:
            found.append((longest, one))
        if longest is None or one[1] > longest[1]:
            longest = one
    return found


def overlaps_in_reads(history: list[Op]) -> list[Any]:
    """No read, whenever and by whom, shows two bookings that overlap."""
    return [
        bad for op in history if op.kind == "read" and op.outcome == "ok" for bad in overlapping([b[1:3] for b in op.result])
    ]


def acknowledged(history: list[Op]) -> dict[tuple[str, str], set[Any]]:
    """Return for each booking what it may be at the end: the intervals it was acknowledged with, or ``None``.

    A booking is changed by the process that made it and by no other, so its calls are in order.
    """
    may_be: dict[tuple[str, str], set[Any]] = defaultdict(lambda: {None})
    held: dict[tuple[str, str], tuple[int, int]] = {}
    for op in history:
        if op.kind not in {"hold", "confirm", "cancel", "move"}:
            continue
        key = (op.args["resource"], op.args["id"])
        unsure = op.outcome == UNKNOWN
        if op.kind == "hold":
            if op.outcome == "ok" or unsure:
                held[key] = (op.args["start"], op.args["end"])
        elif op.kind == "confirm":
            if op.outcome == "ok":
                may_be[key] = {held[key]}
            elif unsure:
                may_be[key] = may_be[key] | {held[key]}
        elif op.kind == "cancel" and (op.outcome == "ok" or unsure):
            may_be[key] = {None} | (may_be[key] if unsure else set())
        elif op.kind == "move" and (op.outcome == "ok" or unsure):
            held[key] = (op.args["start"], op.args["end"])
            sure = not unsure and op.result["state"] == "confirmed"  # else it may still be a hold, and expire
            may_be[key] = {held[key]} | (set() if sure else {None} if not unsure else may_be[key])
    return may_be


def lost(history: list[Op], stored: dict[tuple[str, str], tuple[int, int]]) -> list[Any]:
    """Every booking that was acknowledged is there, with an interval it was acknowledged with."""
    return [(key, may, stored.get(key)) for key, may in acknowledged(history).items() if stored.get(key) not in may]


def vanished(history: list[Op]) -> tuple[int, list[Any]]:
    """No booking that was acknowledged is gone when its process comes back to it; return how many were looked at, and those."""
    looked, found, there = 0, [], set()
    for op in history:
        key = (op.args.get("resource"), op.args.get("id"))
        if op.kind in {"cancel", "move"} and key in there:
            looked += 1
            if op.outcome == "gone":
                found.append((op, key))
        if op.kind in {"confirm", "move"} and op.outcome == "ok" and op.result["state"] == "confirmed":
            there.add(key)
        elif op.kind == "cancel" and op.outcome in {"ok", UNKNOWN}:
            there.discard(key)
    return looked, found


def certain_overlaps(history: list[Op]) -> list[Any]:
    """No two bookings of one resource that overlap were certainly there at one instant, whether anybody read then or not."""
    changes: dict[Any, list[Op]] = defaultdict(list)
    for op in history:
        if op.kind in {"hold", "confirm", "cancel", "move"}:
            changes[op.args["resource"], op.args["id"]].append(op)
    by_resource = defaultdict(list)
    for (resource, _), ops in changes.items():
        by_resource[resource] += _certain(ops)
    found = []
    for rows in by_resource.values():
        rows.sort(key=lambda row: row[2])
        for i, (start, end, since, until) in enumerate(rows):
            for other_start, other_end, other_since, _ in rows[i + 1 :]:
                if other_since >= until:
                    break
                if max(start, other_start) < min(end, other_end):
                    found.append(((start, end, since), (other_start, other_end, other_since)))
    return found


def _certain(ops: list[Op]) -> list[tuple[int, int, float, float]]:
    """From when to when one booking was certainly confirmed, and for which interval."""
    found, since, where = [], None, (0, 0)
    for op in ops:
        if since is not None and op.kind in {"cancel", "move"}:
            found.append((*where, since, op.called))
            since = None
        if op.kind in {"hold", "move"} and op.outcome in {"ok", UNKNOWN}:
            where = (op.args["start"], op.args["end"])
        if op.outcome == "ok" and op.result["state"] == "confirmed":
            since = op.returned
    return [*found, (*where, since, float("inf"))] if since is not None else found


def lock_violations(history: list[Op]) -> list[str]:
    """Return what a history of locks must not show, whatever was paused or killed meanwhile."""
    runs = [op for op in history if op.kind == "run"]
    by_lock: dict[str, list[Op]] = defaultdict(list)
    for op in history:
        if op.kind in {"run", "write"}:
            by_lock[op.args["lock"]].append(op)
    found = _miscounted(history, Counter((op.process, op.args["attempt"]) for op in runs))
    for lock, ops in by_lock.items():
        spans = [(op.called, op.result, op.args["token"]) for op in ops if op.kind == "run" and op.outcome == "held"]
        found += [f"{lock}: {a[2]} and {b[2]} both held it" for a, b in overlapping([one for one in spans if one[1] > one[0]])]
        writes = sorted((op.result, op.args["token"]) for op in ops if (op.kind, op.outcome) == ("write", "ok"))
        tokens = [token for _, token in writes]
        if tokens != sorted(tokens):
            found.append(f"{lock}: a write with an older token was accepted after one with a newer")
        given = [op.args["token"] for op in ops if op.kind == "run"]
        if len(set(given)) != len(given):
            found.append(f"{lock}: two runs had one token")
    return found


def _miscounted(history: list[Op], runs: Counter[Any]) -> list[str]:
    """A guarded function ran once where it was told so, at most once where nobody can tell, and else not at all."""
    found = []
    for op in history:
        if op.kind == "guard":
            times = runs[op.process, op.args["attempt"]]
            allowed = {1} if op.outcome in {"ok", "raised"} else {0, 1} if op.outcome == UNKNOWN else {0}
            if times not in allowed:
                found.append(f"{op.process} {op.args['attempt']}: {op.outcome}, and it ran {times} times")
    return found
