"""What a backend is: something that executes operations."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from luni.operations import Operation

__all__ = ["AsyncBackend", "Backend"]


class Backend(Protocol):
    """Executes operations, one atomic step each; may be shared by threads.

    ``execute`` raises `luni.errors.Unavailable` where nothing was done, `luni.errors.Indeterminate` where nobody can tell.
    It never retries.
    """

    name: str

    def execute(self, operation: Operation) -> Any:
        """Execute one operation and return its result."""

    def ping(self) -> None:
        """Return if the store answers; raise what `execute` would raise otherwise."""

    def describe(self) -> dict[str, Any]:
        """Return what `luni doctor` shows: versions, where the data is, what a power failure would lose. No secrets."""

    def close(self) -> None:
        """Let go of connections and files; closing twice is fine."""


class AsyncBackend(Protocol):
    """The same for one event loop.

    ``execute`` returns a future that belongs to the backend: who awaits it shields it, because cancelling a caller never
    undoes what was sent (`luni.flows.drive_async` does).
    """

    name: str

    def execute(self, operation: Operation) -> asyncio.Future[Any]:
        """Begin to execute one operation; the future has its result."""

    async def ping(self) -> None:
        """Return if the store answers; raise what `execute` would raise otherwise."""

    async def describe(self) -> dict[str, Any]:
        """Return what `luni doctor` shows: versions, where the data is, what a power failure would lose. No secrets."""

    async def close(self) -> None:
        """Let go of connections and files; closing twice is fine."""
