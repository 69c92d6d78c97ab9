"""What every operation is."""

from __future__ import annotations

from luni.models import Address, Discreet

__all__ = ["OnSession", "Operation", "Write"]


class Operation(Discreet, frozen=True, kw_only=True, tag=True):
    """One atomic step."""


class OnSession(Operation, frozen=True, kw_only=True):
    """An operation whose aggregate is one session."""

    address: Address


class Write(OnSession, frozen=True, kw_only=True):
    """An operation that leaves a mark: executed twice, it has one effect and one answer.

    ``session_id`` is the session the caller has met; an answer `Met` tells that it is another one.
    Times are milliseconds.
    """

    writer: str
    seq: int
    session_id: str
    ttl_ms: int

    @property
    def owner(self) -> str:
        """The operation's id, as the lease names its owner."""
        return f"{self.writer}.{self.seq}"
