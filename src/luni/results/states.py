"""A whole session in the terms of neither backend: what `luni.operations.Dump` answers, and `Restore` writes."""

from __future__ import annotations

from typing import Literal

from luni.models import Discreet

__all__ = ["Acquainted", "Arrival", "Dumped", "Mark", "State"]


class Arrival(Discreet, frozen=True):
    """The record of an accepted message id. ``state``: w waits, a answered, s settled without an answer."""

    n: int
    digest: str
    state: Literal["w", "a", "s"]
    token: int
    attempt: int
    answer: str
    arrived_ms: int


class Mark(Discreet, frozen=True):
    """What a writer did last in a session, and its result."""

    writer: str
    seq: int
    ms: int
    result: str


class State(Discreet, frozen=True, kw_only=True):
    """Everything stored of one session, in the terms of neither backend. Without a session id only ``arrivals`` are there.

    ``window`` and ``transcript`` are newest first, ``waiting`` (to be folded) oldest first; ``arrivals`` in order of ``n``.
    ``lease`` is ``owner|token`` until ``lease_end_ms``, empty if no turn is open. ``unsent`` are (message id, stored text).
    ``stamps`` are (name, stamp) of the fields that somebody set: ``focus``, ``summary``, ``paused``, ``m:{key}`` of metadata,
    ``v:{key}`` of variables; a stamp sorts by time: ``clock-writer-seq``. Times are milliseconds.
    """

    session_id: str = ""
    created_ms: int = 0
    activity_ms: int = 0
    clock_ms: int = 0
    expire_ms: int = 0
    seen_end_ms: int = 0
    metadata: bytes = b""
    context: bytes = b""
    summary: str = ""
    focus: str = ""
    paused: bool = False
    pause: bytes = b""
    token_est: int = 0
    n: int = 0
    settled: int = 0
    count: int = 0
    tokens: int = 0
    folded: int = 0
    rev: int = 0
    fence: int = 0
    loaded: str = ""
    lease: str = ""
    lease_end_ms: int = 0
    window: tuple[bytes, ...] = ()
    waiting: tuple[bytes, ...] = ()
    transcript: tuple[bytes, ...] = ()
    arrivals: tuple[Arrival, ...] = ()
    marks: tuple[Mark, ...] = ()
    unsent: tuple[tuple[str, bytes], ...] = ()
    stamps: tuple[tuple[str, str], ...] = ()

    def waiting_since(self) -> int:
        """Return when the oldest message arrived that waits for an answer (ms), 0 if none waits."""
        first = self.settled
        return next((one.arrived_ms for one in self.arrivals if one.state == "w" and first < one.n <= self.n), 0)


class Dumped(Discreet, frozen=True):
    """A session as it is stored at one instant, and the version of that."""

    now_ms: int
    version: str
    state: State


class Acquainted(Discreet, frozen=True):
    """Which server it is: the name its data was given, and that of its process (``""`` where it does not tell)."""

    generation: str
    run_id: str
