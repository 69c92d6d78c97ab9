"""This host's files may be damaged, removed or replaced, while the server is well: it serves on, and people are told."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from luni.backends.sqlite.connection import Connections
from luni.errors import BackendError, Damaged, Unavailable
from luni.events import FallbackImpaired, Hook, emit

if TYPE_CHECKING:
    from luni.backends.failover.journal import Journal
    from luni.backends.failover.local import Local

__all__ = ["Guard", "Watch"]

logger = logging.getLogger("luni")

Saved = Callable[[str], str]
"""Takes what can be read of a file that was set aside (its name, ``""``: it is gone) into the new one; says how much it was."""


class Watch:
    """Looks after one file of the fallback: what SQLite calls damaged is set aside, what was removed or replaced opened anew.

    Only for a process that serves (``tell`` is set then): others, such as ``luni doctor``, leave everything as it is.
    """

    def __init__(self, connections: Connections, saved: Saved) -> None:
        self._connections, self._saved = connections, saved
        self.tell: Callable[[str], None] | None = None

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Around each use of the file; what the use met is raised all the same."""
        opening = self._connections.opening
        if self.tell is not None and self._connections.moved():
            self._begin_anew(opening)
            opening = self._connections.opening
        try:
            yield
        except Damaged as error:
            if error.corrupt == self._connections.place and self.tell is not None:
                self._set_aside(opening)
            raise

    def insist(self, error: BackendError) -> None:
        """Raise this error if what was opened stands there no more."""
        if self._connections.moved():
            raise error

    def _begin_anew(self, opening: object) -> None:
        if self._connections.cut():
            self._set_aside(opening)
        elif self._connections.renew(opening) and self.tell is not None:
            self.tell(f"{self._connections.place} was removed or replaced while it was in use; {self._taken_over('')}")

    def _set_aside(self, opening: object) -> None:
        aside = self._connections.set_aside(opening)
        if aside and self.tell is not None:
            self.tell(f"{self._connections.place} is damaged; it was set aside as {aside}, and a new one is begun")
            self.tell(f"{aside}: {self._taken_over(aside)}")

    def _taken_over(self, aside: str) -> str:
        try:
            return self._saved(aside)
        except BackendError as error:
            return f"nothing of it could be taken over: {error}"


class Guard:
    """Whether the journal can be used. While it cannot, the primary is asked, and nothing is acknowledged here."""

    def __init__(self, journal: Journal, local: Local, hook: Hook | None) -> None:
        self._journal, self._hook = journal, hook
        self.problem = ""
        journal.watch.tell = local.watch.tell = self._told

    def _told(self, text: str) -> None:
        logger.error("this host's own storage: %s", text)
        emit(self._hook, FallbackImpaired(text))

    def ask(self, default: Any, question: Callable[..., Any], *of: Any) -> Any:
        """Return what the journal answers; ``default`` while it cannot be read."""
        if self.problem:
            return default
        try:
            return self.twice(question, *of)
        except BackendError as error:
            if not self.problem:
                self.problem = str(error)
                self._told(f"it cannot be used, and an outage of the server would not be bridged: {error}")
            return default

    def twice(self, deed: Callable[..., Any], *of: Any) -> Any:
        """Do something with the files, once more if one was damaged and set aside; raise `Unavailable` if that did not help."""
        if self.problem:
            raise Unavailable(f"this host's own storage cannot be used: {self.problem}")
        try:
            return deed(*of)
        except Damaged as error:
            if not error.corrupt:
                raise
        try:
            return deed(*of)
        except Damaged as error:
            if not error.corrupt:
                raise
            raise Unavailable(f"this host's own storage cannot be used: {error}") from None

    def attempt(self, deed: Callable[[], Any]) -> None:
        """Do something with the files if they can be used; what must not wait for it goes on."""
        try:
            if not self.problem:
                self.twice(deed)
        except BackendError as error:
            logger.warning("this host's own storage: %s", error)

    def look(self) -> bool:
        """Look again whether the journal can be used; return whether it can."""
        self._journal.doubt()
        if not self.problem:
            return True
        try:
            self._journal.check()
        except BackendError as error:
            self.problem = str(error)
            return False
        self.problem = ""
        logger.warning("this host's own storage can be used again")
        return True
