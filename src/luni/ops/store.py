"""Which store a command works on, and which session of it."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from luni.backends.sqlite.connection import path_of
from luni.client import Memory, Session
from luni.errors import Indeterminate, LuniError, Unavailable
from luni.ops.fallback import journal_here
from luni.settings import Policies, Settings

__all__ = ["NotFound", "base_dir", "data_dir", "locate", "missing_file", "open_memory", "settings_for"]


class NotFound(LuniError):
    """What was asked for is not there (any more)."""


def settings_for(url: str | None) -> Settings:
    """Return the settings of the environment; with another URL, if one is given, and that store alone.

    The settings' own URL is no other one: its fallback belongs to it.
    """
    settings = Settings.from_env()
    return msgspec.structs.replace(settings, url=url, fallback="") if url and url != settings.url else settings


def open_memory(settings: Settings, *, reading: bool = False, policies: Policies = None) -> Memory:
    """Return a memory on the store of ``settings``, with the policies set there unless others are given.

    ``reading`` a SQLite file that is not there gives an empty memory, and makes no file. An erasure that is owed to the server
    is made up for first, so that nobody is shown who was erased.
    """
    if reading and missing_file(settings) is not None:
        settings = msgspec.structs.replace(settings, url="sqlite://")
    memory = Memory(settings, policies=policies or settings.load_policies())
    try:
        if settings.fallback and journal_here(settings):
            _make_up(memory)
    except BaseException:
        memory.close()
        raise
    return memory


def _make_up(memory: Memory) -> None:
    """Tell the server of the erasures it does not know of; if that is not possible now, it is not read from."""
    keeper = memory._backend.keeper  # type: ignore[attr-defined]  # noqa: SLF001  of a memory with a fallback
    for tenant, user, at_ms in keeper.journal.owed_erasures():
        try:
            keeper.erase_there(tenant, user, at_ms)
        except (Unavailable, Indeterminate):
            keeper.breaker.failed(float("inf"))
            return


def missing_file(settings: Settings) -> Path | None:
    """Return the SQLite file of ``settings`` if it is not there yet."""
    if not settings.url.startswith("sqlite:"):
        return None
    path = path_of(settings.url)
    return Path(path) if path and not Path(path).exists() else None


def locate(memory: Memory, tenant: str, channel_or_id: str, user: str | None) -> Session:
    """Return the session of (tenant, channel, user), or with no user the one with this id; raise `NotFound`."""
    if user is None:
        found = memory.find(channel_or_id, tenant=tenant)
    else:
        session = memory.session(tenant=tenant, channel=channel_or_id, user=user)
        found = session if session.info() else None
    if found is None:
        what = f"id {channel_or_id!r}" if user is None else f"channel {channel_or_id!r} and user {user!r}"
        raise NotFound(f"tenant {tenant!r} has no session with {what} now: it never began, ended or expired")
    return found


def base_dir(settings: Settings) -> Path:
    """Return the directory for luni's own files, which may not be there yet."""
    default = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "luni"
    return (Path(settings.data_dir).expanduser() if settings.data_dir else default).absolute()


def data_dir(settings: Settings) -> Path:
    """Return the same, made if need be, its owner's alone."""
    path = base_dir(settings)
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path
