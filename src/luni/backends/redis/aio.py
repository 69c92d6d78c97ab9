"""Redis from an event loop: operations leave together and replies resolve each caller's future.

One connection of the client library carries all of them: a writer task sends what has gathered, a reader task takes the
replies in order. A caller that is cancelled disturbs nobody: its future stays with the reader.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import math
from collections import deque
from typing import Any

import redis.exceptions as driver
from hiredis import pack_command

from luni.backends.redis import connect
from luni.backends.redis.call import Call, with_replicas
from luni.backends.redis.codec import decode, encode, unreadable
from luni.backends.redis.errors import is_demoted, is_unauthenticated, reason, refused
from luni.backends.redis.info import described
from luni.errors import BackendError, Indeterminate, LuniError, Unavailable
from luni.operations import Operation
from luni.settings import Settings

__all__ = ["AsyncRedisBackend"]

logger = logging.getLogger("luni")

WAITING_LINES = 8
"""Connections for changes that wait for replicas: one that is away holds up those of its own line only."""

_LOST = (driver.ConnectionError, driver.TimeoutError, driver.InvalidResponse, OSError, EOFError)
_REPLIES = (driver.ResponseError, driver.BusyLoadingError, driver.AuthenticationError)


class _Entry:
    """A command on its way: who waits for it, and what it means."""

    __slots__ = ("command", "future", "operation", "renewed", "sent_at", "text")

    def __init__(self, future: asyncio.Future[Any], operation: Operation | None, command: tuple[Any, ...], text: bytes) -> None:
        self.future = future
        self.operation = operation
        self.command = command
        self.text = text
        self.sent_at = math.inf
        self.renewed = False

    def fail(self, error: LuniError) -> None:
        """Tell the caller, if there still is one."""
        if not self.future.done():
            self.future.set_exception(error)
            self.future.exception()  # retrieved: nobody may be left to look at it


class _Line:
    """One connection with its writer and its reader; dead for good once it has failed."""

    def __init__(self, backend: AsyncRedisBackend, connection: Any) -> None:
        self._backend = backend
        self._connection = connection
        self._gathered: deque[_Entry] = deque()
        self._awaited: deque[_Entry] = deque()
        self._wake = asyncio.Event()
        self._dead = False
        self._closed = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._watch: asyncio.TimerHandle | None = None
        self._task = loop.create_task(self._write())
        self._reader: asyncio.Task[None] | None = None

    @property
    def alive(self) -> bool:
        """Whether it still takes commands."""
        return not self._dead

    def __len__(self) -> int:
        return len(self._gathered) + len(self._awaited)

    def submit(self, entry: _Entry) -> None:
        """Send a command with the next batch."""
        self._gathered.append(entry)
        self._wake.set()

    async def _write(self) -> None:
        try:
            async with asyncio.timeout(self._backend.timeout):  # AUTH and SELECT wait for replies, too
                await self._backend.connect(self._connection)
        except (*_LOST, *_REPLIES) as error:
            known = refused(error) if isinstance(error, _REPLIES) else self._unreachable(error)
            await self._die(known)
            return
        loop = asyncio.get_running_loop()
        self._reader = loop.create_task(self._read())
        self._watch = loop.call_later(self._backend.timeout / 4, self._look)
        try:
            while not self._dead:
                await self._wake.wait()
                self._wake.clear()
                if self._gathered:
                    await self._send_gathered(loop.time())
        except _LOST as error:
            await self._die(Indeterminate(f"the operation was sent and no reply came: {reason(error)}"))

    def _unreachable(self, error: Exception) -> Unavailable:
        return self._backend.unreachable(error)

    async def _send_gathered(self, now: float) -> None:
        batch: list[bytes] = []
        while self._gathered:
            entry = self._gathered.popleft()
            entry.sent_at = now
            batch.append(pack_command(entry.command))
            self._awaited.append(entry)
        await self._connection.send_packed_command(b"".join(batch), check_health=False)

    async def _read(self) -> None:
        read, awaited = self._connection.read_response, self._awaited
        try:
            while True:
                try:
                    reply = await read(timeout=math.inf, disconnect_on_error=False)
                except _REPLIES as error:
                    self._refuse(awaited.popleft(), error)
                else:
                    self._resolve(awaited.popleft(), reply)
        except (*_LOST, IndexError) as error:
            await self._die(Indeterminate(f"the operation was sent and no reply came: {reason(error)}"))

    def _resolve(self, entry: _Entry, reply: Any) -> None:
        if entry.future.done():
            return
        if entry.operation is None:
            entry.future.set_result(reply)
            return
        try:
            entry.future.set_result(decode(self._backend.namespace, entry.operation, reply))
        except LuniError as error:
            entry.fail(error)
        except (ValueError, IndexError, TypeError, AttributeError) as error:
            entry.fail(unreadable(error))

    def _refuse(self, entry: _Entry, error: Exception) -> None:
        if isinstance(error, driver.NoScriptError) and entry.command[0] == "EVALSHA":
            entry.command = ("EVAL", entry.text, *entry.command[2:])
            self.submit(entry)
        elif is_unauthenticated(error) and not entry.renewed:
            self._renew([entry, *self._awaited, *self._gathered])
        else:
            entry.fail(refused(error))
            if self._backend.follows and is_demoted(error):
                loop = asyncio.get_running_loop()
                self._backend.keep(loop.create_task(self._die(Indeterminate("the server is a replica now"))))

    def _renew(self, entries: list[_Entry]) -> None:
        """The server does not know who this is, so it executed none of these: once more, with fresh credentials."""
        self._awaited.clear()
        self._gathered.clear()
        other = self._backend.line_in_place_of(self)
        for entry in entries:
            if entry.command[0] == "WAIT":  # it would wait for what another connection has written
                entry.fail(Unavailable("the connection was made anew"))
                continue
            entry.renewed, entry.sent_at = True, math.inf
            other.submit(entry)
        again = Unavailable("the connection was made anew")
        self._backend.keep(asyncio.get_running_loop().create_task(self._die(again)))

    def _look(self) -> None:
        """Replies come in order, so the oldest one tells whether the server has fallen silent."""
        if self._dead:
            return
        loop = asyncio.get_running_loop()
        if self._awaited and loop.time() - self._awaited[0].sent_at > self._backend.timeout:
            self._backend.keep(loop.create_task(self._die(Indeterminate("the operation was sent and no reply came in time"))))
            return
        self._watch = loop.call_later(self._backend.timeout / 4, self._look)

    async def _die(self, error: LuniError) -> None:
        if self._dead:
            return
        self._dead = True
        unsent = error if isinstance(error, Unavailable) else Unavailable("the connection was lost before this was sent")
        while self._awaited:
            self._awaited.popleft().fail(error)
        while self._gathered:
            self._gathered.popleft().fail(unsent)
        if self._watch:
            self._watch.cancel()
        for task in (self._task, self._reader):
            if task is not None and task is not asyncio.current_task():
                task.cancel()
        try:
            with contextlib.suppress(*_LOST):  # TLS says goodbye first; a server that does not answer is not waited for
                await self._connection.disconnect()
        finally:
            self._closed.set()

    async def close(self) -> None:
        """Wait for what is on its way, then until the connection is closed: the loop may end at once."""
        waiting = [entry.future for entry in (*self._gathered, *self._awaited)]
        if waiting and self.alive:
            await asyncio.wait(waiting, timeout=self._backend.timeout)
        await self._die(Unavailable("the memory was closed"))
        await self._closed.wait()


class AsyncRedisBackend:
    """Executes operations on a Redis or Valkey server from one event loop at a time."""

    name = "redis"

    def __init__(self, url: str, settings: Settings) -> None:
        self._kind, self._arguments, self._primary = connect.watched(url, settings, asynchronous=True)
        self.follows = self._primary is not None
        self._place = connect.place(url)
        self._most = settings.queue_max_length
        self._lines: dict[str, _Line] = {}
        self._waits = itertools.count()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self.namespace = settings.namespace
        self.timeout = settings.timeout

    def execute(self, operation: Operation) -> asyncio.Future[Any]:
        """Begin to execute one operation; the future is the reader's, so shield it."""
        call = encode(self.namespace, operation)
        command = call.command()
        if call.wait is None:
            return self._submit(operation, command, call.script.text)
        task = asyncio.get_running_loop().create_task(self._confirmed(operation, command, call))
        self.keep(task)
        return task

    async def _confirmed(self, operation: Operation, command: tuple[Any, ...], call: Call) -> Any:
        """Execute an operation and wait for replicas, on a line of its own kind: who waits there holds up what comes after."""
        assert call.wait is not None  # noqa: S101  the only caller looks
        line = self._line_for(f"waiting {next(self._waits) % WAITING_LINES}")
        result = await self._submit_on(line, operation, command, call.script.text)
        if not line.alive:
            raise Indeterminate("the operation was sent, and nobody can ask the replicas any more")
        try:
            confirmed = await self._submit_on(line, None, ("WAIT", call.wait.replicas, call.wait.ms))
        except Unavailable as error:  # the script was executed: a server that does not wait for its replicas has none
            logger.warning("the server does not wait for its replicas: %s", error)
            confirmed = 0
        return with_replicas(result, confirmed)

    def _submit(self, operation: Operation | None, command: tuple[Any, ...], text: bytes = b"") -> asyncio.Future[Any]:
        return self._submit_on(self._line_for("all"), operation, command, text)

    def _line_for(self, use: str) -> _Line:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._lines = loop, {}
        line = self._lines.get(use)
        if line is None or not line.alive:
            line = self._lines[use] = self._new_line()
        return line

    def _new_line(self) -> _Line:
        return _Line(self, connect.async_connection(self._kind, self._arguments))

    def line_in_place_of(self, former: _Line) -> _Line:
        """Return a new line that takes what the former one would have taken."""
        other = self._new_line()
        self._lines |= {use: other for use, line in self._lines.items() if line is former}
        return other

    def unreachable(self, error: Exception) -> Unavailable:
        """Return what a connection that could not be made means."""
        return connect.unreachable(error, self._arguments)

    def _submit_on(
        self, line: _Line, operation: Operation | None, command: tuple[Any, ...], text: bytes = b""
    ) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        entry = _Entry(future, operation, command, text)
        if len(line) >= self._most:
            entry.fail(Unavailable(f"{self._most} operations (REDIS_QUEUE_MAX_LENGTH) are waiting already"))
        else:
            line.submit(entry)
        return future

    async def connect(self, connection: Any) -> None:
        """Connect: behind Sentinels, to whoever is the primary now."""
        if self._primary is None:
            await connection.connect()
            return
        connection.host, connection.port = await self._primary.address()
        await connection.connect()
        await self._primary.check(connection)

    def keep(self, task: asyncio.Task[Any]) -> None:
        """Hold on to a background task until it is done."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def ping(self) -> None:
        """Return if the server answers."""
        await self._command("PING")

    async def describe(self) -> dict[str, Any]:
        """Return the server's version, place and persistence."""
        try:
            config = await self._command("CONFIG", "GET", "save") + await self._command("CONFIG", "GET", "appendfsync")
        except BackendError:
            config = None
        return described(self._place, await self._command("INFO"), config)

    async def _command(self, *words: str) -> Any:
        return await asyncio.shield(self._submit(None, words))

    async def close(self) -> None:
        """Wait for what is on its way, then close the connection."""
        lines, self._lines = self._lines, {}
        for line in lines.values() if self._loop is asyncio.get_running_loop() else ():
            await line.close()
