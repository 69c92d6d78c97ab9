"""Following a primary that Sentinels watch: who it is now, by the ``redis`` client's own discovery.

Asked before each new connection, and the server is asked for its role: a Sentinel may still name the former primary.
Connections are dropped when a server says that it is a replica now.
"""

from __future__ import annotations

import ipaddress
from typing import Any
from urllib.parse import unquote

import redis.asyncio.sentinel as driver_async
import redis.exceptions as errors
import redis.sentinel as driver

from luni.backends.redis.credentials import sentinel_provider
from luni.errors import ConfigError
from luni.settings import Settings

__all__ = ["AsyncPrimary", "Primary", "plain_url"]

SCHEMES = {"redis+sentinel": "redis", "valkey+sentinel": "redis", "rediss+sentinel": "rediss", "valkeys+sentinel": "rediss"}
DEFAULT_PORT = 26379
_SILENT = (errors.ConnectionError, errors.TimeoutError, errors.ResponseError)
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
    rest, _, query = url.partition("://")[2].partition("?")
    netloc, _, path = rest.partition("/")
    credentials, at, hosts = netloc.rpartition("@")
    name, _, database = path.strip("/").partition("/")
    try:
        sentinels = [_address(one) for one in hosts.split(",")]
    except ValueError:
        sentinels = []
    if not sentinels or not name or "/" in database:
        raise ConfigError("allowed is redis+sentinel://[user:password@]host[:port][,host[:port]…]/name[/database]")
    query = f"?{query}" if query else ""
    return f"{SCHEMES[scheme]}://{credentials}{at}localhost/{database or 0}{query}", sentinels, unquote(name)


def _address(text: str) -> tuple[str, int]:
    """Return a host and its port; an IPv6 address stands in brackets where a port follows."""
    if text.startswith("["):
        host, end, port = text[1:].partition("]")
        if not end or not _is_ipv6(host) or (port and not port.startswith(":")):
            raise ValueError(text)
        return host, int(port[1:] or DEFAULT_PORT)
    host, _, port = (text, "", "") if _is_ipv6(text) else text.partition(":")
    if not host:
        raise ValueError(text)
    return host, int(port or DEFAULT_PORT)


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


class _Watched:
    """What both clients know of the Sentinels."""

    def __init__(self, sentinels: list[tuple[str, int]], name: str, settings: Settings, arguments: dict[str, Any]) -> None:
        self._sentinels, self._name = sentinels, name
        patience = min(settings.timeout, settings.connect_timeout) / (len(sentinels) + 1)  # silent ones must leave time
        self._options: dict[str, Any] = {
            "socket_timeout": patience,
            "socket_connect_timeout": patience,
            "retry": None,
            **sentinel_provider(settings),
            **{key: value for key, value in arguments.items() if key.startswith("ssl")},
            "ssl": "ssl_cert_reqs" in arguments,
        }

    def _unknown(self, why: list[str]) -> errors.ConnectionError:
        return errors.ConnectionError("; ".join((f"no Sentinel knows a primary named {self._name!r}", *why)))

    def _found(self, asked: Any, masters: Any) -> tuple[str, int] | None:
        state = masters.get(self._name)
        return (state["ip"], state["port"]) if state and asked.check_master_state(state, self._name) else None

    @staticmethod
    def _check_role(reply: Any) -> None:
        if not reply or reply[0] != b"master":
            raise errors.ReadOnlyError("READONLY the Sentinels named a server that is no primary (any more)")


class Primary(_Watched):
    """Finds the primary for the synchronous client."""

    def address(self) -> tuple[str, int]:
        """Return where the primary is now; raise the client's own error if no Sentinel knows."""
        why: list[str] = []
        found: Any = _SENTINEL(self._sentinels, sentinel_kwargs=self._options)
        try:
            for one, (host, port) in zip(found.sentinels, self._sentinels, strict=True):
                try:
                    place = self._found(found, one.sentinel_masters())
                except _SILENT as error:
                    why.append(f"{host}:{port}: {error}")
                    continue
                if place:
                    return place
            raise self._unknown(why)
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
        why: list[str] = []
        found: Any = _ASYNC_SENTINEL(self._sentinels, sentinel_kwargs=self._options)
        try:
            for one, (host, port) in zip(found.sentinels, self._sentinels, strict=True):
                try:
                    place = self._found(found, await one.sentinel_masters())
                except _SILENT as error:
                    why.append(f"{host}:{port}: {error}")
                    continue
                if place:
                    return place
            raise self._unknown(why)
        finally:
            for one in found.sentinels:
                await one.aclose()

    async def check(self, connection: Any) -> None:
        """Raise if the server behind a new connection is no primary."""
        await connection.send_command("ROLE", check_health=False)
        self._check_role(await connection.read_response())
