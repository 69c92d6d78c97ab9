"""Redis from threads: a call takes a connection, sends one script, reads one reply."""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Sequence
from typing import Any

import redis.exceptions as driver
from hiredis import pack_command

from luni.backends.redis import connect
from luni.backends.redis.call import Call, Wait, with_replicas
from luni.backends.redis.codec import decode, encode, unreadable
from luni.backends.redis.errors import is_demoted, is_unauthenticated, reason, refused
from luni.backends.redis.info import described
from luni.errors import BackendError, Indeterminate, Unavailable
from luni.operations import Operation
from luni.settings import Settings

__all__ = ["RedisBackend"]

logger = logging.getLogger("luni")

_LOST = (driver.ConnectionError, driver.TimeoutError, driver.InvalidResponse, OSError)
_REPLIES = (driver.ResponseError, driver.BusyLoadingError, driver.AuthenticationError)


class Connections:
    """At most ``pool_max`` connections, the latest used first; a forked child begins with none."""

    def __init__(self, url: str, settings: Settings) -> None:
        self._kind, self._arguments, self._primary = connect.watched(url, settings, asynchronous=False)
        self._most, self._least, self._patience = settings.pool_max, settings.pool_min, settings.timeout
        self._begin()

    def _begin(self) -> None:
        self._idle: deque[Any] = deque()
        self._free = threading.BoundedSemaphore(self._most)
        self._pid = os.getpid()
        self._warmed = self._least == 0

    def take(self) -> Any:
        """Return a connected connection; raise `Unavailable` if there is none."""
        if self._pid != os.getpid():
            self._begin()
        if not self._free.acquire(timeout=self._patience):
            raise Unavailable(f"all {self._most} connections (REDIS_POOL_MAX) are busy")
        try:
            if not self._warmed:
                self._warm()
            return self._connected()
        except BaseException:
            self._free.release()
            raise

    def _connected(self) -> Any:
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = connect.sync_connection(self._kind, self._arguments)
        return self.renewed(connection, stale=False)

    def renewed(self, connection: Any, *, stale: bool) -> Any:
        """Return the connection connected: if it is ``stale``, with credentials asked for anew."""
        try:
            if not stale:
                self._connect(connection)
                stale = self._stale(connection)
            if stale:
                connection.disconnect()
                self._connect(connection)
        except (*_LOST, *_REPLIES) as error:
            connection.disconnect()
            if isinstance(error, _REPLIES):
                raise refused(error) from None
            raise connect.unreachable(error, self._arguments) from None
        return connection

    def _connect(self, connection: Any) -> None:
        """Connect, if it is not connected: behind Sentinels, to whoever is the primary now."""
        if self._primary is None or connection.is_connected:
            connection.connect()
            return
        connection.host, connection.port = self._primary.address()
        connection.connect()
        self._primary.check(connection)

    def demoted(self, connection: Any) -> None:
        """The server is a replica now: behind Sentinels, what leads there is of no use any more."""
        if self._primary is not None:
            connection.disconnect()
            self.close()

    @staticmethod
    def _stale(connection: Any) -> bool:
        """A reply nobody asked for, or the end of the stream: the connection is of no use, and nothing has been sent."""
        try:
            return bool(connection.can_read(0))
        except _LOST:
            return True

    def _warm(self) -> None:
        self._warmed = True
        warmed = [self._connected() for _ in range(self._least)]
        self._idle.extend(warmed)

    def give_back(self, connection: Any) -> None:
        """Take a connection back."""
        self._idle.append(connection)
        self._free.release()

    def close(self) -> None:
        """Close what is idle."""
        while self._idle:
            self._idle.pop().disconnect()


class RedisBackend:
    """Executes operations on a Redis or Valkey server; threads share it."""

    name = "redis"

    def __init__(self, url: str, settings: Settings) -> None:
        self._connections = Connections(url, settings)
        self._namespace = settings.namespace
        self._place = connect.place(url)

    def execute(self, operation: Operation) -> Any:
        """Execute one operation in one round trip (two where the server has lost the script)."""
        call = encode(self._namespace, operation)
        reply, confirmed = self._exchange(call)
        result = self._decoded(operation, reply)
        return result if confirmed is None else with_replicas(result, confirmed)

    def execute_all(self, operations: Sequence[Operation]) -> list[Any]:
        """Execute operations of which none waits for replicas, in one round trip; return the result or the error of each."""
        replies = self._exchange_all([encode(self._namespace, operation) for operation in operations])
        results = list[Any]()
        for operation, reply in zip(operations, replies, strict=True):
            try:
                results.append(reply if isinstance(reply, BackendError) else self._decoded(operation, reply))
            except BackendError as error:
                results.append(error)
        return results

    def _decoded(self, operation: Operation, reply: Any) -> Any:
        try:
            return decode(self._namespace, operation, reply)
        except (ValueError, IndexError, TypeError, AttributeError) as error:
            raise unreadable(error) from None

    def _exchange_all(self, calls: Sequence[Call]) -> list[Any]:
        """Return the reply to each call, or what it failed with."""
        connection = self._connections.take()
        try:
            replies = self._sent_all(connection, [call.command() for call in calls])
            unknown = [place for place, reply in enumerate(replies) if isinstance(reply, driver.NoScriptError)]
            texts = [calls[place]._replace(whole=True).command() for place in unknown]
            for place, reply in zip(unknown, self._sent_all(connection, texts) if texts else (), strict=True):
                replies[place] = reply
        finally:
            self._connections.give_back(connection)
        if any(isinstance(reply, _REPLIES) and is_demoted(reply) for reply in replies):
            self._connections.demoted(connection)
        return [refused(reply) if isinstance(reply, _REPLIES) else reply for reply in replies]

    @staticmethod
    def _sent_all(connection: Any, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Send commands together; return the reply to each. Those whose replies do not come are `Indeterminate`."""
        replies = list[Any]()
        try:
            packed = b"".join([pack_command(command) for command in commands])
            connection.send_packed_command((packed,), check_health=False)
            while len(replies) < len(commands):
                try:
                    replies.append(connection.read_response())
                except _REPLIES as error:
                    replies.append(error)
        except _LOST as error:
            connection.disconnect()
            lost = Indeterminate(f"the operation was sent and no reply came: {type(error).__name__}")
            return replies + [lost] * (len(commands) - len(replies))
        except BaseException:
            connection.disconnect()  # replies may still be on their way
            raise
        return replies

    def _exchange(self, call: Call) -> tuple[Any, int | None]:
        """Return a call's reply, and how many replicas have confirmed what it wrote, where somebody asks for that."""
        connection = self._connections.take()
        try:
            try:
                reply = self._send(connection, *call.command())
            except driver.NoScriptError:
                reply = self._send(connection, "EVAL", call.script.text, len(call.keys), *call.keys, *call.args)
            return reply, call.wait and self._confirmed(connection, call.wait)
        except _REPLIES as error:
            if is_demoted(error):
                self._connections.demoted(connection)
            raise refused(error) from None
        finally:
            self._connections.give_back(connection)

    def _confirmed(self, connection: Any, wait: Wait) -> int:
        """Return how many replicas have what this connection has written; a server that does not say so has none."""
        try:
            return int(self._send_once(connection, "WAIT", wait.replicas, wait.ms))
        except _REPLIES as error:
            logger.warning("the server does not wait for its replicas: %s", type(error).__name__)
            return 0

    def _send(self, connection: Any, *command: Any) -> Any:
        """Send a command; a server that does not know who this is has executed nothing: once more, with fresh credentials."""
        try:
            return self._send_once(connection, *command)
        except _REPLIES as error:
            if not is_unauthenticated(error):
                raise
        self._connections.renewed(connection, stale=True)
        return self._send_once(connection, *command)

    @staticmethod
    def _send_once(connection: Any, *command: Any) -> Any:
        try:
            connection.send_packed_command((pack_command(command),), check_health=False)
            return connection.read_response()
        except _REPLIES:
            raise
        except _LOST as error:
            connection.disconnect()
            raise Indeterminate(f"the operation was sent and no reply came: {reason(error)}") from None
        except BaseException:
            connection.disconnect()  # a reply may still be on its way
            raise

    def command(self, *words: Any) -> Any:
        """Send one plain command, for checks of the server."""
        connection = self._connections.take()
        try:
            return self._send(connection, *words)
        except _REPLIES as error:
            raise refused(error) from None
        finally:
            self._connections.give_back(connection)

    def ping(self) -> None:
        """Return if the server answers."""
        self.command("PING")

    def describe(self) -> dict[str, Any]:
        """Return the server's version, place and persistence."""
        try:
            config = self.command("CONFIG", "GET", "save") + self.command("CONFIG", "GET", "appendfsync")
        except BackendError:
            config = None
        return described(self._place, self.command("INFO"), config)

    def close(self) -> None:
        """Close the idle connections."""
        self._connections.close()
