"""Where a fallback's files are, and what the primary is asked with beside one."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import msgspec

from luni.backends.sqlite.connection import path_of
from luni.errors import ConfigError, InvalidInput
from luni.settings import DEFAULT_NAMESPACE, Settings

__all__ = ["impatient", "journal_path", "mirror_url"]


def impatient(settings: Settings) -> Settings:
    """Return the settings for the primary alone: a call must not wait longer than it takes to go on locally."""
    most = settings.failover_after
    return msgspec.structs.replace(
        settings, fallback="", timeout=min(settings.timeout, most), connect_timeout=min(settings.connect_timeout, most)
    )  # fmt: skip


def mirror_url(fallback: str, namespace: str) -> str:
    """Return where a namespace's mirror is: one that is not the usual one has a file of its own, named after it."""
    if namespace == DEFAULT_NAMESPACE or not fallback.startswith("sqlite:///") or fallback.endswith(":memory:"):
        return fallback
    path = Path(fallback.removeprefix("sqlite:///"))
    name = f"{path.stem}.{quote(namespace, safe='')}{path.suffix}"
    return f"sqlite:///{path.with_name(name)}"


def journal_path(fallback: str, namespace: str) -> str:
    """Return where the journal of a fallback is: beside its mirror. Raises `ConfigError` if the fallback is no file."""
    try:
        place = path_of(mirror_url(fallback, namespace))
    except (ConfigError, InvalidInput):
        place = ""
    if not place:
        raise ConfigError("fallback: must be a file, sqlite:///relative.db or sqlite:////absolute.db: memory loses everything")
    path = Path(place)
    return str(path.with_name(f"{path.stem}.journal{path.suffix}"))
