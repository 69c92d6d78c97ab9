"""Things that execute operations. `open_backend` and `open_async_backend` choose one by the URL's scheme."""

from __future__ import annotations

from typing import TYPE_CHECKING

from luni.errors import ConfigError

if TYPE_CHECKING:
    from luni.backends.base import AsyncBackend, Backend
    from luni.clock import Clock
    from luni.events import Hook
    from luni.settings import Settings

__all__ = ["open_async_backend", "open_backend"]

_REDIS_SCHEMES = frozenset(
    {"redis", "rediss", "valkey", "valkeys", "unix"}
    | {f"{scheme}+sentinel" for scheme in ("redis", "rediss", "valkey", "valkeys")}
)


def open_backend(url: str, settings: Settings, clock: Clock, hook: Hook | None = None) -> Backend:
    """Return the backend for ``url``, with the settings' fallback if there is one; no I/O.

    Raises `ConfigError` for a URL of no known form. ``hook`` is told of outages.
    """
    if _with_fallback(url, settings):
        from luni.backends.failover.shells import FailoverBackend  # noqa: PLC0415  only what is used is imported

        return FailoverBackend(settings, lambda impatient: open_backend(url, impatient, clock), hook)
    if _scheme(url) == "sqlite":
        from luni.backends.sqlite.backend import SQLiteBackend  # noqa: PLC0415  only what is used is imported

        return SQLiteBackend(url, settings, clock)
    from luni.backends.redis.sync import RedisBackend  # noqa: PLC0415  the same

    return RedisBackend(url, settings)


def open_async_backend(url: str, settings: Settings, clock: Clock, hook: Hook | None = None) -> AsyncBackend:
    """Return the asynchronous backend for ``url``, as `open_backend` does."""
    if _with_fallback(url, settings):
        from luni.backends.failover.shells import AsyncFailoverBackend  # noqa: PLC0415  only what is used is imported

        return AsyncFailoverBackend(
            settings,
            lambda impatient: open_async_backend(url, impatient, clock),
            lambda impatient: open_backend(url, impatient, clock),
            hook,
        )
    if _scheme(url) == "sqlite":
        from luni.backends.sqlite.backend import AsyncSQLiteBackend  # noqa: PLC0415  only what is used is imported

        return AsyncSQLiteBackend(url, settings, clock)
    from luni.backends.redis.aio import AsyncRedisBackend  # noqa: PLC0415  the same

    return AsyncRedisBackend(url, settings)


def _with_fallback(url: str, settings: Settings) -> bool:
    if settings.fallback and _scheme(url) == "sqlite":
        raise ConfigError("fallback: belongs to a server's URL; an embedded store has nothing to fall back from")
    return bool(settings.fallback)


def _scheme(url: str) -> str:
    scheme = url.partition("://")[0]
    if scheme == "sqlite" or scheme in _REDIS_SCHEMES:
        return scheme
    raise ConfigError(f"the URL's scheme is not one of sqlite, {', '.join(sorted(_REDIS_SCHEMES))}")
