"""`luni doctor`: what runs here, on which store, with which settings, and what to mend."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import apsw
import msgspec

import luni
from luni import operations as ops
from luni.backends.sqlite.connection import path_of
from luni.client import Memory
from luni.clock import SystemClock
from luni.errors import ConfigError, LuniError
from luni.flows.locks import Guarantee
from luni.ops.fallback import CLOSED_UNTIL, Fallback, look
from luni.ops.lasting import lost_when
from luni.ops.store import missing_file
from luni.settings import ENVIRONMENT, Settings

__all__ = ["Diagnosis", "Setting", "examine"]

_SECRET = frozenset({"sentinel_password"})


class Setting(msgspec.Struct, frozen=True):
    """A setting in force; ``value`` has no credentials."""

    name: str
    value: str
    changed: bool


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """What was found. ``healthy``: the store answers, or can be made at first use; ``warnings`` are what to mend."""

    healthy: bool
    problem: str
    latency_ms: float | None
    lost_on_power_failure: str
    locks_and_bookings: str
    versions: dict[str, str]
    store: dict[str, Any]
    fallback: Fallback
    warnings: list[str]
    settings: list[Setting]


def examine(settings: Settings) -> Diagnosis:
    """Look at versions, settings and the store; raise `ConfigError` for a URL that leads nowhere, or bad policies."""
    settings.load_policies()
    fallback = look(settings)
    missing = missing_file(settings)
    if missing is not None:
        return _not_there(settings, missing, fallback)
    with Memory(msgspec.structs.replace(settings, fallback="")) as memory:  # the server itself, not what goes on without it
        health = memory.health()
        store, problem = _described(memory) if health.ok else ({}, health.detail)
    place = {"backend": health.backend, "place": _place(settings.url)} | store
    promise = _promise(place, settings) if not problem else "cannot be told: the store does not answer"
    if fallback.bookings_closed:
        promise = f"locks: {promise}; {CLOSED_UNTIL}"
    lost = str(place.pop("lost_on_power_failure", "cannot be told: the store does not answer"))
    versions = _versions(str(place.pop("server", "")), settings.url)
    return Diagnosis(
        healthy=not problem,
        problem=problem,
        latency_ms=round(health.latency_ms, 3) if health.ok else None,
        lost_on_power_failure=lost,
        locks_and_bookings=promise,
        versions=versions,
        store=place,
        fallback=fallback,
        warnings=_warnings(place) + _file_warnings(settings.url) + _secret_warnings(settings) + fallback.warnings,
        settings=_settings(settings),
    )


_ONE_FILE = "kept: one file is the one authority"


def _promise(store: dict[str, Any], settings: Settings) -> str:
    """Return whether locks and bookings are kept here, or why they are refused."""
    if store["backend"] == "sqlite":
        return _ONE_FILE
    eviction = store.get("eviction", "unknown")
    found = ops.Guaranteed("" if eviction == "unknown" else eviction, int(store.get("replicas", 0)))
    guarantee = Guarantee(SystemClock())
    try:
        guarantee.note(found, declared=settings.noeviction)
    except ConfigError as error:
        return f"refused: {error}"
    needed = guarantee.replicas(settings.wait_replicas)
    kept = "kept" if eviction != "unknown" else "kept, as LUNI_NOEVICTION declares"
    return f"{kept}; a booking is pending until {needed} of {found.replicas} replicas has it" if needed else kept


def _described(memory: Memory) -> tuple[dict[str, Any], str]:
    try:
        return memory.describe(), ""
    except LuniError as error:
        return {}, str(error)


def _not_there(settings: Settings, path: Path, fallback: Fallback) -> Diagnosis:
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    able = folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
    kept = "nothing the disk has confirmed" if settings.durability == "full" else "the last moments before it"
    return Diagnosis(
        healthy=able,
        problem="" if able else f"{path} cannot be made: {folder} is not a directory that can be written",
        latency_ms=None,
        lost_on_power_failure=f"{kept} (there is no file yet)",
        locks_and_bookings=_ONE_FILE,
        versions=_versions("", settings.url),
        store={"backend": "sqlite", "place": str(path), "file": "none yet: it is made at first use"},
        fallback=fallback,
        warnings=_file_warnings(settings.url) + fallback.warnings,
        settings=_settings(settings),
    )


def _versions(server: str, url: str) -> dict[str, str]:
    versions = {
        "luni": luni.__version__,
        "python": f"{platform.python_version()} ({platform.system()} {platform.machine()})",
        "sqlite": f"{apsw.sqlite_lib_version()} (apsw {apsw.apsw_version()})",
        "redis client": _installed("redis"),
        "hiredis": _installed("hiredis"),
    }
    return versions if url.startswith("sqlite:") else versions | {"server": server or "unknown: it does not answer"}


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _warnings(store: dict[str, Any]) -> list[str]:
    found = []
    eviction = store.get("eviction")
    if eviction not in {None, "noeviction"}:
        found.append(
            f"maxmemory-policy is {eviction}: under pressure the server throws sessions away, and locks and "
            "bookings are refused; set noeviction"
        )
    if store.get("append_only_file") is False:
        found.append("the append-only file is off: a restart of the server loses turns and bookings; set appendonly yes")
    return found


def _file_warnings(url: str) -> list[str]:
    if not url.startswith("sqlite:"):
        return []
    if url == "sqlite://":
        return ["everything is in the memory of one process: give LUNI_URL a file"]
    path = Path(path_of(url)).absolute()
    found = []
    if path.exists() and path.stat().st_mode & 0o077:
        found.append(f"others may read or write {path}: chmod 600 it")
    lost = lost_when(path)
    if lost:
        found.append(f"{path} is not on a lasting disk: it is gone when {lost}")
    return found


def _secret_warnings(settings: Settings) -> list[str]:
    if settings.url.startswith("sqlite:"):
        return []
    paths = [Path(path) for path in (settings.password_file, settings.sentinel_password_file, settings.tls_key) if path]
    return [f"others may read {path}: chmod 600 it" for path in paths if path.is_file() and path.stat().st_mode & 0o077]


def _settings(settings: Settings) -> list[Setting]:
    default = Settings()
    return [
        Setting(name, _as_set(name, getattr(settings, field)), getattr(settings, field) != getattr(default, field))
        for name, (field, _) in ENVIRONMENT.items()
    ]


def _as_set(name: str, value: Any) -> str:
    """Return a value as the environment would give it, in its unit, without credentials."""
    field, parse = ENVIRONMENT[name]
    if value is None or value == "":
        return "not set"
    if field in _SECRET:
        return "set"
    if field in {"url", "redis_url"}:
        return _place(str(value))
    if not isinstance(value, float):
        return str(value)
    return next((text for scale in (1, 1000) if parse(name, text := f"{scale * value:g}") == value), str(value))


def _place(url: str) -> str:
    """Return a URL without credentials and options."""
    if url.startswith("sqlite:"):
        return url.partition("?")[0] if "@" not in url else "sqlite:…"
    scheme, _, rest = url.partition("://")
    if "+" in scheme:  # several hosts
        netloc, slash, path = rest.partition("?")[0].partition("/")
        return f"{scheme}://{netloc.rpartition('@')[2]}{slash}{path if '@' not in path else '…'}"
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        raise ConfigError(
            "a URL (LUNI_URL, REDIS_URL or --url) cannot be read; it is not shown, it may hold a password"
        ) from None
    path = "/…" if "@" in parts.path else parts.path
    host = parts.hostname or ""
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{port}{path}"
