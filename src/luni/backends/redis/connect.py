"""From a URL and settings to the ``redis`` client's own connections: its parser, TLS and authentication, not its retries."""

from __future__ import annotations

from typing import Any

import redis.asyncio.connection as driver_async
import redis.connection as driver
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry

from luni.backends.redis import credentials, sentinel, tls
from luni.errors import ConfigError, Unavailable
from luni.settings import Settings

__all__ = ["async_connection", "connection_arguments", "place", "sync_connection", "unreachable", "watched"]

_PINNED: dict[str, Any] = {
    "retry": None,  # luni owns the retries: the client's repeat writes
    "retry_on_timeout": False,
    "retry_on_error": [],
    "protocol": 2,
    "health_check_interval": 0,
    "decode_responses": False,
    "driver_info": None,
}


def watched(url: str, settings: Settings, *, asynchronous: bool) -> tuple[type[Any], dict[str, Any], Any]:
    """Return the same as `connection_arguments`, and what finds the primary where the URL names Sentinels (else ``None``)."""
    found = sentinel.plain_url(url)
    kind, arguments = connection_arguments(found[0] if found else url, settings, asynchronous=asynchronous)
    if found is None:
        return kind, arguments, None
    primary = sentinel.AsyncPrimary if asynchronous else sentinel.Primary
    return kind, arguments, primary(*found[1:], settings, arguments)


def connection_arguments(url: str, settings: Settings, *, asynchronous: bool) -> tuple[type[Any], dict[str, Any]]:
    """Return the client's connection class for ``url`` and its arguments; raise `ConfigError` for a URL it cannot read."""
    module: Any = driver_async if asynchronous else driver
    scheme, _, rest = url.partition("://")
    if scheme != "unix" and "@" in rest.partition("/")[2].partition("?")[0]:
        raise ConfigError("the URL has an @ after a /: percent-encode what is special in its password")
    try:
        found = dict(module.parse_url(f"{ {'valkey': 'redis', 'valkeys': 'rediss'}.get(scheme, scheme) }://{rest}"))
    except (ValueError, TypeError) as error:
        raise ConfigError(f"the URL is not one of a Redis server: {type(error).__name__}") from None
    try:
        str(found.get("host", "")).encode("idna")
    except UnicodeError:
        raise ConfigError("the URL's host is not a host name") from None
    kind = found.pop("connection_class", module.Connection)
    found.pop("max_connections", None)
    found |= tls.options(found, settings, encrypted=kind is module.SSLConnection, asynchronous=asynchronous)
    whose = credentials.provider(found, settings)
    found = {name: value for name, value in found.items() if name not in {"username", "password"}} | whose
    arguments: dict[str, Any] = {
        "socket_timeout": settings.timeout,
        "socket_connect_timeout": settings.connect_timeout,
        **found,
        **_PINNED,
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
    }
    try:
        (async_connection if asynchronous else sync_connection)(kind, arguments)
    except TypeError:
        raise ConfigError("the URL has an option that the redis client does not know") from None
    return kind, arguments


def sync_connection(kind: type[Any], arguments: dict[str, Any]) -> Any:
    """Return a connection that is not connected yet."""
    return kind(**arguments | {"retry": Retry(NoBackoff(), 0)})


def async_connection(kind: type[Any], arguments: dict[str, Any]) -> Any:
    """Return an asynchronous connection that is not connected yet; its reads and writes have no timeout of their own."""
    return kind(**arguments | {"retry": None, "socket_timeout": None})


def unreachable(error: Exception, arguments: dict[str, Any]) -> Unavailable:
    """Return what a connection that could not be made means for the caller, with what its TLS files have to do with it."""
    return Unavailable(f"the server cannot be reached: {error}{tls.hint(error, arguments)}")


def place(url: str) -> str:
    """Return where a URL leads, without credentials or options."""
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("?")[0].partition("#")[0].partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"
