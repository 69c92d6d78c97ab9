"""Bugs that are planted in a process, so that the suite shows that it would see them."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from luni import flows, wire
from luni import operations as ops
from luni.backends.redis import aio, sync
from luni.backends.redis.scripts import SCRIPTS, Script
from luni.client import Lock, agenda
from luni.errors import Indeterminate, SlotTaken
from luni.flows import bookings as booking_flows
from luni.flows import locks as lock_flows


def _rewrite(name: str, good: bytes, bad: bytes) -> None:
    text = SCRIPTS[name].text
    assert good in text, f"{name}: the line to spoil is not there any more"
    text = text.replace(good, bad)
    SCRIPTS[name] = Script(name, text, hashlib.sha1(text, usedforsecurity=False).hexdigest().encode())


def release_without_owner_check() -> None:
    _rewrite(
        "unlock", b"local mine = held_by == ARGV[1] and (ARGV[3] == '0' or token == ARGV[3])", b"local mine = held_by ~= nil"
    )


def set_without_nx() -> None:
    _rewrite("lock", b"if value or ahead > 0 then", b"if ahead > 0 then")


def check_then_insert_in_two_calls() -> None:
    _rewrite("hold", b"place.unit = free_unit(place, from, till, id)", b"place.unit = '0000'")
    hold = agenda.Agenda.hold

    def checked_first(self: Any, start: Any, end: Any, **named: Any) -> Any:
        if any(one.id != named["id"] for one in self.bookings(start, end)):
            raise SlotTaken("it was taken a moment ago")
        return hold(self, start, end, **named)

    agenda.Agenda.hold = checked_first  # type: ignore[method-assign]


def less_or_equal_for_less() -> None:
    _rewrite("hold", b"return tonumber(ends_at) <= tonumber(from) end", b"return tonumber(ends_at) < tonumber(from) end")


def incremented_token() -> None:
    _rewrite("lock", b"math.max((tonumber(kept[1]) or 0) + 1, us)", b"(tonumber(kept[1]) or 0) + 1")


def retry_with_a_new_id() -> None:
    attempt = flows.attempt

    def anew(scope: Any, operation: Any) -> Any:
        try:
            return (yield flows.Do(operation))
        except Indeterminate:
            if isinstance(operation, ops.Hold):
                operation = msgspec.structs.replace(operation, id=wire.new_id(), writer=wire.new_id(), seq=1)
            return (yield from attempt(scope, operation))

    booking_flows.attempt = lock_flows.attempt = anew  # type: ignore[assignment]


def run_again_on_error() -> None:
    def run(self: Any, function: Any, *arguments: Any) -> Any:
        with self:
            try:
                return function(*arguments)
            except Exception:  # noqa: BLE001  the bug
                return function(*arguments)

    Lock.run = run  # type: ignore[method-assign]


def answer_of_wait_ignored() -> None:
    def believed(result: Any, _confirmed: int) -> Any:
        return msgspec.structs.replace(result, replicas=99)

    sync.with_replicas = aio.with_replicas = believed  # type: ignore[attr-defined]


BUGS = {
    bug.__name__: bug
    for bug in (
        release_without_owner_check, set_without_nx, check_then_insert_in_two_calls, less_or_equal_for_less, incremented_token,
        retry_with_a_new_id, run_again_on_error, answer_of_wait_ignored,
    )
}  # fmt: skip


def plant(name: str) -> None:
    """Plant a bug in this process; ``""`` plants none."""
    if name:
        BUGS[name]()


__all__ = ["BUGS", "plant"]
