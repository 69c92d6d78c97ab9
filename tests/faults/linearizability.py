"""Whether a history of one resource's agenda can be explained by calls that took effect one at a time.

The search is that of Wing and Gong ("Testing and Verifying Concurrent Objects", 1993) with Lowe's memory of what was tried
before ("Testing for Linearizability", 2017). Holds expire by the clock, so an order also has to fit the times: ``t`` is the
earliest instant at which the last call may have taken effect, and of two ways to the same state the one with the smaller ``t``
can do all that the other can.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from histories import UNKNOWN, Op

SLACK = 0.02
"""The server's time is in whole milliseconds, and read a little before or after the client's."""


class Held(NamedTuple):
    """A booking in the model: ``h`` until ``until`` (at the earliest, where that is not known), ``c`` or ``x``."""

    start: int
    end: int
    state: str
    until: float
    sure: bool


State = tuple[tuple[str, Held], ...]


def linearizable(history: list[Op]) -> bool:
    """Return whether there is an order that explains every outcome."""
    ops = list(history)
    events = sorted(
        [(op.called, 0, i) for i, op in enumerate(ops)]
        + [(op.returned, 1, i) for i, op in enumerate(ops) if op.returned < math.inf]
    )
    must = frozenset(i for i, op in enumerate(ops) if op.returned < math.inf)
    order = [i for _, kind, i in events if kind == 0]
    seen: dict[tuple[frozenset[int], State], float] = {}
    stack: list[tuple[frozenset[int], State, float]] = [(frozenset(), (), 0.0)]
    while stack:
        done, state, t = stack.pop()
        if must <= done:
            return True
        limit = min(ops[i].returned for i in must - done)
        for i in order:
            op = ops[i]
            if op.called > limit:
                break
            if i in done:
                continue
            for after, at in steps(state, max(t, op.called), op):
                key = (done | {i}, after)
                if at < seen.get(key, math.inf):
                    seen[key] = at
                    stack.append((*key, at))
    return False


def steps(state: State, t: float, op: Op) -> Iterator[tuple[State, float]]:
    """Yield the states that a call may lead to, each with the earliest instant at which it does."""
    bookings = dict(state)
    own = bookings.get(op.args.get("id", ""))
    yield from _STEPS[op.kind](bookings, own, t, op)


def _frozen(bookings: dict[str, Held]) -> State:
    return tuple(sorted(bookings.items()))


def _expired_by(one: Held, t: float) -> float | None:
    """The earliest instant from ``t`` on at which a booking no longer counts; ``None``: never."""
    if one.state == "x":
        return t
    return max(t, one.until - SLACK) if one.state == "h" else None


def _alive_at(one: Held, t: float) -> bool:
    return one.state == "c" or (one.state == "h" and (t < one.until + SLACK or not one.sure))


def _rivals(bookings: dict[str, Held], name: str, start: int, end: int) -> list[Held]:
    return [
        one for other, one in bookings.items() if other != name and one.start < end and one.end > start and one.state != "x"
    ]


def _free_from(bookings: dict[str, Held], name: str, start: int, end: int, t: float) -> float | None:
    """The earliest instant from ``t`` on at which an interval is free; ``None``: never."""
    for one in _rivals(bookings, name, start, end):
        gone = _expired_by(one, t)
        if gone is None:
            return None
        t = max(t, gone)
    return t


def _hold(bookings: dict[str, Held], own: Held | None, t: float, op: Op) -> Iterator[tuple[State, float]]:
    name, start, end = op.args["id"], op.args["start"], op.args["end"]
    if op.outcome in {"ok", UNKNOWN}:
        if own and (own.start, own.end) == (start, end) and own.state != "x" and _alive_at(own, t):
            yield _frozen(bookings), t
        begin = t if own is None else _expired_by(own, t) if own.state == "h" else None
        free = None if begin is None else _free_from(bookings, name, start, end, begin)
        if free is not None and free <= op.returned + SLACK:
            sure = op.outcome == "ok"
            until = op.result["until"] if sure and op.result["state"] == "held" else free + op.args["ttl"]
            yield _frozen(bookings | {name: Held(start, end, "h", until, sure)}), free
    elif op.outcome == "taken":
        if any(_alive_at(one, t) for one in _rivals(bookings, name, start, end)):
            yield _frozen(bookings), t
    elif op.outcome == "reused" and own and (own.state == "x" or (own.start, own.end) != (start, end)):
        yield _frozen(bookings), t


def _settle(bookings: dict[str, Held], own: Held | None, t: float, op: Op) -> Iterator[tuple[State, float]]:
    """Confirm or cancel."""
    name, state = op.args["id"], "c" if op.kind == "confirm" else "x"
    if op.outcome in {"ok", UNKNOWN} and own and (_alive_at(own, t) or own.state == state):
        yield _frozen(bookings | {name: own._replace(state=state)}), t
    if op.outcome == "gone":
        yield from _gone(bookings, own, t, op)


def _gone(bookings: dict[str, Held], own: Held | None, t: float, op: Op) -> Iterator[tuple[State, float]]:
    since = t if own is None else _expired_by(own, t)
    if since is not None and since <= op.returned + SLACK:
        yield _frozen(bookings), since


def _move(bookings: dict[str, Held], own: Held | None, t: float, op: Op) -> Iterator[tuple[State, float]]:
    name, start, end = op.args["id"], op.args["start"], op.args["end"]
    if op.outcome == "gone":
        yield from _gone(bookings, own, t, op)
    elif own is not None and _alive_at(own, t):
        if op.outcome == "taken":
            if any(_alive_at(one, t) for one in _rivals(bookings, name, start, end)):
                yield _frozen(bookings), t
            return
        free = _free_from(bookings, name, start, end, t)
        if free is not None and free <= op.returned + SLACK and _alive_at(own, free):
            yield _frozen(bookings | {name: own._replace(start=start, end=end)}), free


def _read(bookings: dict[str, Held], _own: Held | None, t: float, op: Op) -> Iterator[tuple[State, float]]:
    if op.outcome != "ok":
        return
    shown = {name: (start, end, state) for name, start, end, state in op.result}
    for name, one in bookings.items():
        if one.state == "x" or name in shown:
            continue
        gone = _expired_by(one, t)
        if gone is None:
            return
        t = max(t, gone)
    for name, (start, end, state) in shown.items():
        one = bookings.get(name)
        if one is None or (one.start, one.end, one.state) != (start, end, {"held": "h", "confirmed": "c"}[state]):
            return
        if not _alive_at(one, t):
            return
    if t <= op.returned + SLACK:
        yield _frozen(bookings), t


_STEPS: dict[str, Any] = {"hold": _hold, "confirm": _settle, "cancel": _settle, "move": _move, "read": _read}
