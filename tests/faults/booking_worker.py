"""Processes whose calls are recorded: ``python booking_worker.py ROLE URL NAMESPACE NAME SEED COUNT FOLDER BUG OPTIONS``."""

from __future__ import annotations

import json
import random
import sys
import time
from collections import deque
from datetime import UTC, datetime, timedelta
from typing import Any

from histories import UNKNOWN, Recorder
from planted import plant

from luni import Memory, SessionUpdate
from luni.errors import (
    BackendError,
    Fenced,
    HoldExpired,
    IdReused,
    LockHeld,
    LockLost,
    LuniError,
    NoSession,
    SlotTaken,
)

DAY = datetime(2031, 5, 6, tzinfo=UTC)
QUARTER = timedelta(minutes=15)
OUTCOMES = {
    SlotTaken: "taken",
    IdReused: "reused",
    HoldExpired: "gone",
    Fenced: "fenced",
    LockHeld: "busy",
    LockLost: "late",
    NoSession: "none",
}


def quarters(moment: datetime) -> int:
    return round((moment - DAY) / QUARTER)


def told(found: Any) -> tuple[str, Any]:
    """Name what came of a change of an agenda."""
    if isinstance(found, BackendError):
        return UNKNOWN, None
    if isinstance(found, LuniError):
        return OUTCOMES[type(found)], None
    if isinstance(found, Exception):
        raise found
    if found is None:
        return "gone", None
    if isinstance(found, list):
        return "ok", [(one.id, quarters(one.start), quarters(one.end), one.state) for one in found]
    return "ok", {"state": found.state, "until": found.expires.timestamp() if found.expires else 0}


class Bookings:
    """Books, confirms, moves, cancels and reads at random, in a day that is too short for all who want something."""

    def __init__(self, memory: Memory, recorder: Recorder, options: dict[str, Any], seed: int) -> None:
        self._memory, self._recorder, self._options = memory, recorder, options
        self._random = random.Random(seed)
        self._mine: deque[tuple[str, str]] = deque()
        self._count = 0

    def step(self) -> None:
        """Attempt one booking, and do something else now and then."""
        resource = f"r{self._random.randrange(self._options['resources'])}"
        self._book(resource)
        if len(self._mine) > self._options["keeps"] and self._random.random() < self._options["changes"]:
            self._change(*self._mine.popleft())
        if self._random.random() < self._options["reads"]:
            self._read(resource)

    def _interval(self) -> tuple[int, int]:
        start = self._random.randrange(self._options["quarters"])
        return start, start + self._random.randint(1, 4)

    def _call(self, kind: str, resource: str, name: str, **more: Any) -> str:
        agenda = self._memory.agenda("shop", resource)
        args = {"resource": resource, "id": name, **more}
        times = [DAY + QUARTER * more[word] for word in ("start", "end") if word in more]
        named = {"hold": {"by": name, "ttl": more.get("ttl"), "id": name}}.get(kind, {})
        call = getattr(agenda, kind)
        given = times if kind == "hold" else [name, *times]
        outcome, _ = self._recorder.call(kind, args, lambda: call(*given, **named), told)
        return outcome

    def _book(self, resource: str) -> None:
        self._count += 1
        name, (start, end) = f"{self._recorder.process}-{self._count}", self._interval()
        ttl = self._random.choice(self._options["ttls"])
        outcome = self._call("hold", resource, name, start=start, end=end, ttl=ttl)
        if outcome == UNKNOWN and self._random.random() < 0.5:  # say it again, as a caller would
            outcome = self._call("hold", resource, name, start=start, end=end, ttl=ttl)
        fate = self._random.random()
        if self._random.random() < self._options["lingers"]:
            time.sleep(self._random.choice((0.1, 0.2)))  # long enough for some holds to expire
        if outcome in {"ok", UNKNOWN} and fate < 0.7:
            if self._call("confirm", resource, name) != "gone":
                self._mine.append((resource, name))
        elif outcome == "ok" and fate < 0.8:
            self._call("cancel", resource, name)

    def _change(self, resource: str, name: str) -> None:
        start, end = self._interval()
        if self._random.random() < 0.3:
            if self._call("move", resource, name, start=start, end=end) != "gone":
                self._mine.append((resource, name))
        else:
            self._call("cancel", resource, name)

    def _read(self, resource: str) -> None:
        agenda = self._memory.agenda("shop", resource)
        end = DAY + QUARTER * (self._options["quarters"] + 8)
        self._recorder.call("read", {"resource": resource}, lambda: agenda.bookings(DAY, end), told)


def book(memory: Memory, recorder: Recorder, count: int, options: dict[str, Any], seed: int) -> None:
    worker = Bookings(memory, recorder, options, seed)
    for _ in range(count):
        worker.step()
        time.sleep(options["pause"])


class Broken(Exception):
    """What a guarded function may raise."""


def lock(memory: Memory, recorder: Recorder, count: int, options: dict[str, Any], seed: int) -> None:
    """Run guarded functions that write with their token, sleep, and fail now and then."""
    chance = random.Random(seed)
    for attempt in range(count):
        name = f"l{chance.randrange(options['locks'])}"
        session = memory.session(tenant="shop", channel="web", user=name)
        guard = session.lock("guard", ttl=options["ttl"], wait=chance.choice((0, 0.5)))
        args = {"attempt": attempt, "lock": name}

        def guarded(guard: Any = guard, args: dict[str, Any] = args, session: Any = session) -> None:
            mine = args | {"token": guard.token}

            def seen() -> float:
                certain = 0.0
                for _ in range(chance.randrange(1, 6)):
                    at = time.time()
                    if guard.held:  # at that instant, whatever happens next
                        certain = at
                    time.sleep(0.005)
                return certain

            recorder.call("run", mine, seen, lambda until: ("held" if until else "not held", until))
            update = SessionUpdate(metadata={"token": guard.token})
            recorder.call("write", mine, lambda: session.update(update, token=guard.token), written)
            if chance.random() < 0.2:
                raise Broken

        recorder.call("guard", args, lambda guard=guard, guarded=guarded: guard.run(guarded), guard_told)
        if chance.random() < 0.3:
            time.sleep(0.02)


def written(found: Any) -> tuple[str, Any]:
    if isinstance(found, BackendError):
        return UNKNOWN, None
    return ("fenced", None) if isinstance(found, Fenced) else ("ok", found)


def guard_told(found: Any) -> tuple[str, Any]:
    if isinstance(found, Broken):
        return "raised", None
    if isinstance(found, BackendError):
        return UNKNOWN, None
    if isinstance(found, LuniError):
        return OUTCOMES[type(found)], None
    if isinstance(found, Exception):
        raise found
    return "ok", None


def hold_locks(memory: Memory, recorder: Recorder, count: int, options: dict[str, Any], seed: int) -> None:
    """Hold many locks and say so; write with their tokens when told: this process has been stopped meanwhile."""
    del seed
    held = []
    for number in range(count):
        name = f"{recorder.process}-{number}"
        session = memory.session(tenant="shop", channel="web", user=name)
        session.receive("hi", message_id="1")
        guard = session.lock("guard", ttl=options["ttl"]).acquire()
        chair = memory.agenda("shop", name).lock(ttl=options["ttl"]).acquire()
        held.append((session, guard, memory.agenda("shop", name), chair))
    sys.stdout.write("held\n")
    sys.stdout.flush()
    sys.stdin.readline()
    for session, guard, chair, lock_ in held:
        told_ = [_late(lambda: session.update(SessionUpdate(metadata={"late": 1}), token=guard.token))]  # noqa: B023
        told_ += [_late(lambda: chair.hold(DAY, DAY + QUARTER, by="late", token=lock_.token))]  # noqa: B023
        sys.stdout.write(" ".join(told_) + "\n")
    sys.stdout.flush()


def _late(call: Any) -> str:
    try:
        call()
    except Fenced:
        return "fenced"
    except LuniError as error:
        return type(error).__name__
    return "stored"


def main() -> None:
    role, url, namespace, name, seed, count, folder, bug, options = sys.argv[1:]
    plant(bug)
    with Memory.open(url, namespace=namespace, timeout=2.0, connect_timeout=0.5, pool_max=4) as memory:
        roles = {"book": book, "lock": lock, "hold_locks": hold_locks}
        roles[role](memory, Recorder(folder, name), int(count), json.loads(options), int(seed))


if __name__ == "__main__":
    main()
