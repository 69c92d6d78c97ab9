"""Who luni says it is: asked anew for each connection, so that a password is rotated without a restart."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis.exceptions as driver
from redis.credentials import CredentialProvider

from luni.errors import ConfigError
from luni.settings import Settings

__all__ = ["provider", "sentinel_provider"]

Pair = tuple[str] | tuple[str, str]


class _Asked(CredentialProvider):
    """Asks a source for each connection; whatever it raises is told without its words, which may hold the secret."""

    def __init__(self, name: str, source: Callable[[], Any]) -> None:
        self._name, self._source = name, source

    def get_credentials(self) -> Pair:
        """Return ``(password,)`` or ``(user, password)``; raise the client's own error if there is none."""
        with self._named():
            return self._checked(self._source())

    async def get_credentials_async(self) -> Pair:
        """Return the same; a source that is not asynchronous is asked on a thread."""
        with self._named():
            found = await asyncio.to_thread(self._source)
            return self._checked(await found if inspect.isawaitable(found) else found)

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001  the application's code, and callers wait for the connection
            raise self._failed(error) from None

    def _checked(self, found: Any) -> Pair:
        if isinstance(found, tuple) and len(found) == 2 and isinstance(found[1], str) and isinstance(found[0], str | None):  # noqa: PLR2004  a pair
            return (found[0], found[1]) if found[0] else (found[1],)
        if inspect.iscoroutine(found):
            found.close()
        raise TypeError("not (user, password)")

    def _failed(self, error: Exception) -> driver.ConnectionError:
        why = error.strerror if isinstance(error, OSError) else type(error).__name__
        if isinstance(error, TypeError):
            why = "it must give (user, password)"
        return driver.ConnectionError(f"{self._name} gives no password: {why}")

    def __repr__(self) -> str:
        return f"<credentials of {self._name}>"


def provider(found: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """Return a connection's credentials: the URL's, or in their place what asks for them. No I/O.

    Raises `ConfigError` where two places give a password.
    """
    given = [name for name, value in _sources(found, settings).items() if value]
    if len(given) > 1:
        raise ConfigError(f"a password is given by {' and by '.join(given)}: only one may be")
    user = found.get("username")
    if settings.credentials is not None:
        if user:
            raise ConfigError("credentials: gives the user too, so the URL may not")
        asked = _Asked("credentials", settings.credentials)
    elif settings.password_file:
        asked = _Asked(f"REDIS_PASSWORD_FILE, {settings.password_file},", _file(settings.password_file, user))
    else:
        return {name: found[name] for name in ("username", "password") if name in found}
    return {"credential_provider": asked}


def _sources(found: dict[str, Any], settings: Settings) -> dict[str, Any]:
    return {
        "the URL": found.get("password"),
        "REDIS_PASSWORD_FILE": settings.password_file,
        "credentials": settings.credentials,
    }


def sentinel_provider(settings: Settings) -> dict[str, Any]:
    """Return the credentials for the Sentinels, which are not the server's; nothing where none are set."""
    user, password, path = settings.sentinel_username, settings.sentinel_password, settings.sentinel_password_file
    if password and path:
        raise ConfigError("a password is given by REDIS_SENTINEL_PASSWORD and by REDIS_SENTINEL_PASSWORD_FILE: only one may be")
    if path:
        return {"credential_provider": _Asked(f"REDIS_SENTINEL_PASSWORD_FILE, {path},", _file(path, user))}
    if user and not password:
        raise ConfigError("REDIS_SENTINEL_USERNAME: needs REDIS_SENTINEL_PASSWORD or REDIS_SENTINEL_PASSWORD_FILE")
    return {"credential_provider": _Asked("REDIS_SENTINEL_PASSWORD", lambda: (user, password))} if password else {}


def _file(path: str, user: str | None) -> Callable[[], Any]:
    return lambda: (user, Path(path).read_text(encoding="utf-8").rstrip("\r\n"))
