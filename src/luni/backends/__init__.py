"""Things that execute operations. `open_backend` and `open_async_backend` choose one by the URL's scheme."""

from __future__ import annotations

from typing import TYPE_CHECKING

from luni.errors import ConfigError

if TYPE_CHECKING:
    from luni.backends.base import AsyncBackend, Backend
    from luni.clock import Clock
    from luni.settings import Settings

__all__ = ["open_async_backend", "open_backend"]

_REDIS_SCHEMES = frozenset(
    {"redis", "rediss", "valkey", "valkeys", "unix"}
    | {f"{scheme}+sentinel" for scheme in ("redis", "rediss", "valkey", "valkeys")}
    | {f"{scheme}+cluster" for scheme in ("redis", "rediss", "valkey", "valkeys")}
)


def open_backend(url: str, settings: Settings, clock: Clock) -> Backend:
    """Return the backend for ``url``; no I/O. Raises `ConfigError` for a URL of no known form."""
    if _scheme(url) == "sqlite":
        from luni.backends.sqlite.backend import SQLiteBackend  # noqa: PLC0415  only what is used is imported

        return SQLiteBackend(url, settings, clock)
    if _scheme(url).endswith("+cluster"):
        from luni.backends.redis.cluster.sync import ClusterBackend  # noqa: PLC0415  the same

        return ClusterBackend(url, settings)
    from luni.backends.redis.sync import RedisBackend  # noqa: PLC0415  the same

    return RedisBackend(url, settings)


def open_async_backend(url: str, settings: Settings, clock: Clock) -> AsyncBackend:
    """Return the asynchronous backend for ``url``; no I/O. Raises `ConfigError` for a URL of no known form."""
    if _scheme(url) == "sqlite":
        from luni.backends.sqlite.backend import AsyncSQLiteBackend  # noqa: PLC0415  only what is used is imported

        return AsyncSQLiteBackend(url, settings, clock)
    if _scheme(url).endswith("+cluster"):
        from luni.backends.redis.cluster.aio import AsyncClusterBackend  # noqa: PLC0415  the same

        return AsyncClusterBackend(url, settings)
    from luni.backends.redis.aio import AsyncRedisBackend  # noqa: PLC0415  the same

    return AsyncRedisBackend(url, settings)


def _scheme(url: str) -> str:
    scheme = url.partition("://")[0]
    if scheme == "sqlite" or scheme in _REDIS_SCHEMES:
        return scheme
    raise ConfigError(f"the URL's scheme is not one of sqlite, {', '.join(sorted(_REDIS_SCHEMES))}")
