"""`luni chaos`, the verdict: what was acknowledged against what the server has. Pure, but for reading the server."""

from __future__ import annotations

import itertools
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import msgspec

from luni.client import Memory
from luni.errors import Damaged
from luni.models import SessionExport

__all__ = ["Conversation", "Fault", "Findings", "Latencies", "Verdict", "compare", "heard", "judge", "misplaced"]

EXAMPLES = 10
MS = 1000


class Conversation(msgspec.Struct):
    """What one session was told, in order; written by one thread.

    ``begun``: when the call of each of these messages began, on the local monotonic clock.
    """

    user: str
    acknowledged: list[str] = []
    begun: array[float] = msgspec.field(default_factory=lambda: array("d"))

    def note(self, text: str, begun: float) -> None:
        """A message was acknowledged."""
        self.acknowledged.append(text)
        self.begun.append(begun)


class Fault(msgspec.Struct, kw_only=True):
    """One fault: when it came (seconds since the beginning), how long it lasted, and how long luni took to recover after it.

    ``recovered`` is ``None`` where that took too long, and where the next fault came before.
    """

    kind: str
    at: float
    lasted: float = 0.0
    recovered: float | None = None


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """What comparing found. ``wiped``: acknowledged before a restart without data, where nothing was there to heal it."""

    acknowledged: int = 0
    lost: int = 0
    duplicated: int = 0
    out_of_order: int = 0
    wiped: int = 0
    examples: tuple[str, ...] = ()


class Latencies(msgspec.Struct, frozen=True):
    """How long the calls took, in milliseconds; zeros without a call."""

    p50_ms: float = 0.0
    p99_ms: float = 0.0
    worst_ms: float = 0.0

    @classmethod
    def of(cls, seconds: Iterable[float]) -> Latencies:
        """Return those of these calls."""
        ordered = sorted(seconds)
        if not ordered:
            return cls()
        at = (ordered[int(share * len(ordered))] for share in (0.5, 0.99))
        return cls(*(round(MS * one, 1) for one in (*at, ordered[-1])))


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a rehearsal found. Times are seconds, but where their names say milliseconds.

    ``passed``: nothing lost, duplicated or out of order, and nothing waits. ``refused``: calls that were refused, by the
    error's name; they are repeated, and no losses. ``waiting``: operations that had not reached the server in the end.
    """

    passed: bool
    acknowledged: int
    lost: int
    duplicated: int
    out_of_order: int
    served_degraded: int
    worst_ms: float
    p99_ms: float
    p50_ms: float
    wiped: int
    refused: dict[str, int]
    waiting: int
    turns: int
    sessions: int
    replayed: int
    healed_messages: int
    faults: dict[str, int]
    slowest_recovery: float
    history: list[Fault]
    server: str
    fallback: bool
    seed: int
    planned: float
    seconds: float
    ended_early: bool
    examples: tuple[str, ...] = ()


def misplaced(acknowledged: Sequence[str], found: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """Return what of the acknowledged is lost, what is there twice, and what stands before its predecessor."""
    times = Counter(found)
    lost = [one for one in acknowledged if one not in times]
    twice = [one for one, count in times.items() if count > 1]
    place = {one: number for number, one in enumerate(found)}
    there = [one for one in acknowledged if one in place]
    early = [after for before, after in itertools.pairwise(there) if place[after] < place[before]]
    return lost, twice, early


def heard(export: SessionExport | None) -> list[str]:
    """Return every text of a session, the oldest first: its transcript keeps what the window has folded."""
    return [message.text for message in export.transcript or export.messages] if export else []


def compare(conversations: Iterable[Conversation], found: Callable[[str], Sequence[str]], wiped_at: float = 0.0) -> Findings:
    """Compare what was acknowledged with what is ``found`` of each user.

    ``wiped_at``: when the server was last restarted without its data and without anybody to heal it, on the clock of
    `Conversation.begun`: what was said before may be gone.
    """
    acknowledged = lost = twice = early = wiped = 0
    examples: list[str] = []
    for one in conversations:
        missing, doubled, before = misplaced(one.acknowledged, found(one.user))
        gone = {text for text, begun in zip(one.acknowledged, one.begun, strict=True) if begun < wiped_at} & set(missing)
        missing = [text for text in missing if text not in gone]
        acknowledged, wiped = acknowledged + len(one.acknowledged), wiped + len(gone)
        lost, twice, early = lost + len(missing), twice + len(doubled), early + len(before)
        named = (("lost", missing), ("duplicated", doubled), ("out of order", before))
        examples += [f"{what}: {text} of {one.user}" for what, texts in named for text in texts]
    return Findings(
        acknowledged=acknowledged, lost=lost, duplicated=twice, out_of_order=early, wiped=wiped,
        examples=tuple(examples[:EXAMPLES]),
    )  # fmt: skip


def judge(memory: Memory, tenant: str, channel: str, conversations: Iterable[Conversation], wiped_at: float) -> Findings:
    """Compare what was acknowledged with what the store of ``memory`` has: one without a fallback, so the server itself.

    What cannot be read counts as lost. Raises the store's errors.
    """

    def found(user: str) -> list[str]:
        try:
            return heard(memory.session(tenant=tenant, channel=channel, user=user).export())
        except Damaged:
            return []

    return compare(conversations, found, wiped_at)
