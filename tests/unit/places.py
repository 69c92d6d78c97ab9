"""Where the state machine's conversations are kept, and how many writes the place has seen."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import apsw
from redis import Redis

from luni.testing import FakeClock
from luni.testing.servers import Server


class Place:
    """Where the workers meet. ``clock`` is ``None`` where the server has its own."""

    clock: FakeClock | None = None

    def url(self) -> str:
        raise NotImplementedError

    def writes(self) -> int:
        """A number that grows with every write to the store."""
        raise NotImplementedError

    def done(self) -> None:
        """Clean up after one example."""


class OnFile(Place):
    def __init__(self) -> None:
        self.clock = FakeClock()
        self._folder = Path(tempfile.mkdtemp(prefix="luni-machine-"))
        self._watch: Any = None

    def url(self) -> str:
        return f"sqlite:///{self._folder / 'm.db'}"

    def writes(self) -> int:
        self._watch = self._watch or apsw.Connection(str(self._folder / "m.db"))
        return int(self._watch.pragma("data_version"))

    def done(self) -> None:
        if self._watch:
            self._watch.close()
        shutil.rmtree(self._folder)


class OnServer(Place):
    def __init__(self, server: Server) -> None:
        self._url = server.url
        self._plain = Redis(port=server.port)

    def url(self) -> str:
        return self._url

    def writes(self) -> int:
        return int(self._plain.info("persistence")["rdb_changes_since_last_save"])

    def done(self) -> None:
        self._plain.close()
