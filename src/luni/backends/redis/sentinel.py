"""Following a primary that Sentinels watch: who it is now, by the ``redis`` client's own discovery.

Asked before each new connection, and the server is asked for its role: a Sentinel may still name the former primary.
Connections are dropped when a server says that it is a replica now.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote, urlsplit

import redis.asyncio.sentinel as driver_async
import redis.exceptions as errors
import redis.sentinel as driver

from luni.errors import ConfigError
from luni.settings import Settings

__all__ = ["AsyncPrimary", "Primary", "plain_url"]

SCHEMES = {"redis+sentinel": "redis", "valkey+sentinel": "redis", "rediss+sentinel": "rediss", "valkeys+sentinel": "rediss"}
DEFAULT_PORT = 26379
_SENTINEL: Any = driver.Sentinel  # their constructors have no types
_ASYNC_SENTINEL: Any = driver_async.Sentinel


def plain_url(url: str) -> tuple[str, list[tuple[str, int]], str] | None:
    """Return a URL of a server with the same credentials and options, the Sentinels, and the primary's name.

    ``None`` for a URL that names no Sentinels; raises `ConfigError` for one that is not
    ``redis+sentinel://[user:password@]host[:port][,host[:port]…]/name[/database]``.
    """
    scheme = url.partition("://")[0]
    if scheme not in SCHEMES:
        return None
    try:
        parts = urlsplit(url)
        credentials, at, hosts = parts.netloc.rpartition("@")
        name, _, database = parts.path.strip("/").partition("/")
        sentinels = [_address(one) for one in hosts.split(",")]
    except ValueError:
        sentinels, name, database = [], "", ""
    if not sentinels or not name or "/" in database:
        raise ConfigError("allowed is redis+sentinel://[user:password@]host[:port][,host[:port]…]/name[/database]")
    query = f"?{parts.query}" if parts.query else ""
    first = f"{sentinels[0][0]}:{sentinels[0][1]}"
    return f"{SCHEMES[scheme]}://{credentials}{at}{first}/{database or 0}{query}", sentinels, unquote(name)


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":") if text.count(":") == 1 else (text, "", "")
    if not host:
        raise ValueError(text)
    return host, int(port or DEFAULT_PORT)


class _Watched:
    """What both clients know of the Sentinels."""

    def __init__(self, sentinels: list[tuple[str, int]], name: str, settings: Settings, arguments: dict[str, Any]) -> None:
        self._sentinels, self._name = sentinels, name
        patience = min(settings.timeout, settings.connect_timeout) / (len(sentinels) + 1)  # silent ones must leave time
        self._options: dict[str, Any] = {
            "socket_timeout": patience,
            "socket_connect_timeout": patience,
            "retry": None,
            **{key: value for key, value in arguments.items() if key.startswith("ssl")},
        }

    @staticmethod
    def _check_role(reply: Any) -> None:
        if not reply or reply[0] != b"master":
            raise errors.ReadOnlyError("READONLY the Sentinels named a server that is no primary (any more)")


class Primary(_Watched):
    """Finds the primary for the synchronous client."""

    def address(self) -> tuple[str, int]:
        """Return where the primary is now; raise the client's own error if no Sentinel knows."""
        found: Any = _SENTINEL(self._sentinels, sentinel_kwargs=self._options)
        try:
            return found.discover_master(self._name)  # type: ignore[no-any-return]
        finally:
            for one in found.sentinels:
                one.close()

    def check(self, connection: Any) -> None:
        """Raise if the server behind a new connection is no primary."""
        connection.send_command("ROLE", check_health=False)
        self._check_role(connection.read_response())


class AsyncPrimary(_Watched):
    """The same for an event loop."""

    async def address(self) -> tuple[str, int]:
        """Return where the primary is now; raise the client's own error if no Sentinel knows."""
        found: Any = _ASYNC_SENTINEL(self._sentinels, sentinel_kwargs=self._options)
        try:
            return await found.discover_master(self._name)  # type: ignore[no-any-return]
        finally:
            for one in found.sentinels:
                await one.aclose()

    async def check(self, connection: Any) -> None:
        """Raise if the server behind a new connection is no primary."""
        await connection.send_command("ROLE", check_health=False)
        self._check_role(await connection.read_response())
