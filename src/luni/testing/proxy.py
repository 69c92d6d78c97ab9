"""A small TCP proxy for tests of what luni does when the way to the server fails."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Literal, Self

__all__ = ["Proxy"]

CHUNK = 65536
RESET = struct.pack("ii", 1, 0)
PATIENCE = 5.0


class Proxy:
    """Stands between a client and a server on loopback; a context manager. Every mode holds until the next one is set.

    Args:
        port: The server's port.
        connect: Gives a connection to the server each time, where it is not on that port of loopback; raises `OSError`.
    """

    def __init__(self, port: int, *, connect: Callable[[], socket.socket] | None = None) -> None:
        self._connect = connect or (lambda: socket.create_connection(("127.0.0.1", port), timeout=PATIENCE))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._refusing = False
        self.port = int(self._listener.getsockname()[1])
        self._lock = threading.Lock()
        self._ways: set[_Way] = set()
        self._closed = False
        self.connections = self.knocks = self.request_bytes = self.reply_bytes = self.matches = 0
        self.passing()

    @property
    def url(self) -> str:
        """Where it listens, as a URL of a Redis server."""
        return f"redis://127.0.0.1:{self.port}/0"

    # Modes.

    def passing(self) -> None:
        """Let everything pass."""
        if self._refusing:
            self._refusing = False
            self._listener.listen()
            self.start()
        with self._lock:
            self._delay, self._left, self._cuts, self._dropped = 0.0, -1, 0, ""
            self._needle, self._losing = b"", range(0)
            self.matches = 0

    def delay(self, seconds: float) -> None:
        """Hold every reply back for so long."""
        self._delay = seconds

    def cut_after(self, size_bytes: int, *, times: int = 1) -> None:
        """Let so many bytes of replies pass, then cut that connection; the next ones (``times`` in all) at their first byte."""
        with self._lock:
            self._left, self._cuts = size_bytes, times

    def drop(self, direction: Literal["requests", "replies"]) -> None:
        """Swallow what goes one way; the connections stay open."""
        self._dropped = direction

    def match(self, needle: bytes, n: int = 1, *, times: int = 1) -> None:
        """Forward the nth request with ``needle`` (``times`` in a row), let the server execute it, lose the reply."""
        with self._lock:
            self._needle, self._losing, self.matches = needle, range(n, n + times), 0

    def reset(self) -> None:
        """Reset every connection there is."""
        with self._lock:
            ways = list(self._ways)
        for way in ways:
            way.reset()

    def refuse(self) -> None:
        """Reset every connection there is, and let nobody connect; the port stays this one's."""
        if not self._refusing:
            self._refusing = True
            self._end_listening()
            self._listener = socket.socket()  # bound, and nobody listens: who knocks is refused
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._listener.bind(("127.0.0.1", self.port))
        self.reset()

    # Machinery.

    def start(self) -> Self:
        """Begin to listen."""
        threading.Thread(target=self._accept, args=(self._listener,), name="proxy", daemon=True).start()
        return self

    def close(self) -> None:
        """Stop listening and reset every connection."""
        self._closed = True
        self._end_listening()
        self.reset()

    def _end_listening(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _accept(self, listener: socket.socket) -> None:
        while not self._closed:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self.knocks += 1
            try:
                server = self._connect()
            except OSError:
                _reset(client)
                continue
            server.settimeout(None)
            for one in (client, server):
                if one.family != socket.AF_UNIX:
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self.connections += 1
                way = _Way(client, server)
                self._ways.add(way)
            if self._refusing:  # it came just before
                way.reset()
            for pump in (self._requests, self._replies):
                threading.Thread(target=self._pump, args=(way, pump), name="proxy-way", daemon=True).start()

    def _pump(self, way: _Way, pump: Callable[[_Way], bool]) -> None:
        with contextlib.suppress(OSError):
            while pump(way):
                pass
        way.end()
        with self._lock:
            self._ways.discard(way)

    def _requests(self, way: _Way) -> bool:
        data = way.client.recv(CHUNK)
        self.request_bytes += len(data)
        if not data:
            return False
        if self._dropped == "requests":
            return True
        if self._loses(way, data):
            way.losing = True
            way.server.sendall(data)
            way.server.shutdown(socket.SHUT_WR)  # the server executes what it has, then ends the connection
            return way.finished.wait(PATIENCE) and False
        way.server.sendall(data)
        return True

    def _loses(self, way: _Way, data: bytes) -> bool:
        """Whether a request in these bytes is one whose reply is to be lost; a needle may lie across two of them."""
        with self._lock:
            if not self._needle:
                return False
            seen = way.tail + data
            found = seen.count(self._needle)
            way.tail = seen[seen.rfind(self._needle) + len(self._needle) if found else 0 :][-len(self._needle) + 1 :]
            first = self.matches + 1
            self.matches += found
            return any(number in self._losing for number in range(first, self.matches + 1))

    def _replies(self, way: _Way) -> bool:
        data = way.server.recv(CHUNK)
        if not data:
            if way.losing:
                way.finished.set()
                way.reset()
            return False
        if way.losing or self._dropped == "replies":
            return True
        if self._delay:
            time.sleep(self._delay)
        with self._lock:
            cut = 0 <= self._left < len(data)
            data = data[: self._left] if cut else data
            if cut:
                self._cuts -= 1
                self._left = 0 if self._cuts > 0 else -1
            elif self._left >= 0:
                self._left -= len(data)
            self.reply_bytes += len(data)
        way.client.sendall(data)
        return not cut


class _Way:
    """One connection through the proxy."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client, self.server = client, server
        self.losing = False
        self.finished = threading.Event()
        self.tail = b""

    def end(self) -> None:
        """Close both sides, as a peer does that goes away; the other pump wakes up."""
        for one in (self.client, self.server):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def reset(self) -> None:
        """Reset the client's side, as a network does that loses its state."""
        with contextlib.suppress(OSError):
            self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.end()


def _reset(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    one.close()
