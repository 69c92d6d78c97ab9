"""The commands: what each takes, what it calls, what it prints. Statuses and errors are `luni.cli`'s."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import prompt_toolkit  # noqa: F401  chat needs it: a missing extra is told at once, by `luni.cli`
import typer

import luni
from luni.client import Session
from luni.errors import InvalidInput, Unavailable
from luni.ops import chat as talk
from luni.ops import demo as demonstration
from luni.ops import doctor as health
from luni.ops import replay as recording
from luni.ops import screens, waiting
from luni.ops.booking_commands import bookings
from luni.ops.chaos_commands import chaos
from luni.ops.conversations import check_files
from luni.ops.erasure_commands import add_to as add_erasure
from luni.ops.journal_commands import journal
from luni.ops.migrate_commands import migrate
from luni.ops.redis_commands import redis_app
from luni.ops.store import NotFound, data_dir, locate, missing_file, open_memory, settings_for
from luni.ops.terminal import AsJson, Tenant, Url, ask, progress, report, stderr, stdout
from luni.ops.words import counted
from luni.settings import Policy

__all__ = ["app"]

app = typer.Typer(
    name="luni", add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown",
    help="The short-term memory of chat assistants.",
    epilog="Status: 0 done · 1 failed or not found · 2 usage or bad input · 3 the store is unavailable.",
    context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip
app.add_typer(redis_app, name="redis", rich_help_panel="Look after the store")
app.add_typer(journal, name="journal", rich_help_panel="Look after the store")
app.add_typer(bookings, name="bookings", rich_help_panel="Look after bookings")
app.command("migrate", rich_help_panel="Look after the store")(migrate)
app.command("chaos", rich_help_panel="Look after the store")(chaos)
add_erasure(app)

ChannelOrId = Annotated[str, typer.Argument(help="The channel; without USER, a session's id.", metavar="CHANNEL|ID")]
User = Annotated[str | None, typer.Argument(help="Who talks to the assistant.", show_default=False)]


def _version(wanted: bool) -> None:  # noqa: FBT001  as typer calls it
    if wanted:
        print(f"luni {luni.__version__}")  # noqa: T201  a command prints
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _luni(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,  # noqa: ARG001, FBT002
) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())  # noqa: T201  the same


@app.command(rich_help_panel="See it work")
def demo(url: Url = None, as_json: AsJson = False) -> None:  # noqa: FBT002  typer's way to say an option
    """Run the bundled conversations through memory and report what it took and saved.

    On a temporary SQLite file, or on --url with a tenant of its own; its sessions are ended afterwards.
    """
    settings = settings_for(url) if url else None
    with progress("replaying", demonstration.size(), shown=not as_json) as advance:
        found = demonstration.demo(settings, advance=advance)
    report(as_json, found, lambda: screens.demo(found))


@app.command(rich_help_panel="See it work")
def replay(
    files: Annotated[list[Path], typer.Argument(help="Conversations as JSON lines; - is standard input.", metavar="FILE...")],
    url: Url = None,
    tenant: Annotated[str, typer.Option(help="Store the sessions under this tenant.")] = recording.TENANT,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Pass over bad lines and count them.")] = False,  # noqa: FBT002
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after this many conversations.")] = None,
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Run recorded conversations through memory, turn by turn, and report what it took and saved.

    A line of FILE: `{"id", "source", "locale", "messages": [{"role", "text", "ts"?}]}`. Each becomes the session of channel
    *source* and user *id*. Message ids follow from the id and the place, so a second run stores nothing. *bytes_stored* is the
    database's size on SQLite, and MEMORY USAGE of these sessions' keys on Redis.
    """
    size = check_files(files)
    total = None if limit else size
    with open_memory(settings_for(url)) as memory, progress("replaying", total, shown=not as_json) as advance:
        found = recording.replay(memory, files, tenant=tenant, limit=limit, skip_bad=skip_bad, advance=advance)
    report(as_json, found, lambda: screens.replay(found))


@app.command(rich_help_panel="See it work")
def chat(
    url: Url = None,
    tenant: Annotated[str, typer.Option(help="Whose assistant it is.")] = "chat",
    channel: Annotated[str, typer.Option(help="The channel.")] = "terminal",
    user: Annotated[str, typer.Option(help="Who you are.")] = "you",
    language: Annotated[str | None, typer.Option(help="en or pt; the locale decides without it.", metavar="en|pt")] = None,
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Talk to the offline responder; memory keeps the conversation. Lines of a pipe are answered one by one."""
    if language not in {None, "en", "pt"}:
        raise InvalidInput("--language: allowed are en and pt")
    spoken = talk.language_of(language or os.environ.get("LC_ALL") or os.environ.get("LANG", ""))
    settings = settings_for(url)
    policies = settings.load_policies() or {"*": Policy(language=spoken)}
    with open_memory(settings, policies=policies) as memory:
        session = memory.session(tenant=tenant, channel=channel, user=user)
        _converse(session, lambda: data_dir(settings) / "chat_history", spoken, as_json=as_json)


@app.command("sessions", rich_help_panel="Look after sessions")
def list_sessions(
    tenant: Tenant,
    url: Url = None,
    paused: Annotated[bool | None, typer.Option("--paused/--not-paused", help="Only these.", show_default=False)] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many.")] = 50,
    cursor: Annotated[str | None, typer.Option(help="Where a former page ended.")] = None,
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """List a tenant's sessions, the latest activity first."""
    settings = settings_for(url)
    with open_memory(settings, reading=True) as memory:
        page = memory.sessions(tenant, paused=paused, limit=limit, cursor=cursor)
    path = missing_file(settings)
    if path is not None and not as_json:
        stderr().print(f"{path} is not there yet", style="dim", highlight=False)
    report(as_json, page, lambda: screens.sessions(tenant, page, time.time()))


@app.command(rich_help_panel="Look after sessions")
def show(
    tenant: Tenant, channel: ChannelOrId, user: User = None, url: Url = None, as_json: AsJson = False  # noqa: FBT002
) -> None:  # fmt: skip
    """Show a session: its state, its summary, its messages. With --json, everything that is stored of it."""
    with open_memory(settings_for(url), reading=True) as memory:
        export = locate(memory, tenant, channel, user).export()
    if export is None:
        raise NotFound("the session ended meanwhile")
    report(as_json, export, lambda: screens.show(export, time.time()))


OptionalTenant = Annotated[str | None, typer.Argument(help="Of this tenant only; of all without it.", show_default=False)]
OlderThan = Annotated[float, typer.Option(min=0, help="Only what has waited for so many seconds.", metavar="SECONDS")]
Limit = Annotated[int, typer.Option(min=1, max=200, help="At most so many conversations.")]


@app.command(rich_help_panel="Look after sessions")
def unanswered(
    tenant: OptionalTenant = None, url: Url = None, older_than: OlderThan = 30.0, limit: Limit = 100, as_json: AsJson = False  # noqa: FBT002
) -> None:  # fmt: skip
    """List conversations with messages nobody answered, the longest waiting first. It only looks: sweepers still get them.

    Without paused ones and those a turn is open in.
    """
    with open_memory(settings_for(url), reading=True) as memory:
        found = waiting.unanswered(memory, tenant, older_than=older_than, limit=limit)
    report(as_json, found, lambda: screens.pending(found, "Nothing waits for an answer."))


@app.command(rich_help_panel="Look after sessions")
def unsent(
    tenant: OptionalTenant = None, url: Url = None, older_than: OlderThan = 30.0, limit: Limit = 100, as_json: AsJson = False  # noqa: FBT002
) -> None:  # fmt: skip
    """List replies that were stored and never marked as sent, the oldest first. It only looks: sweepers still get them.

    Only policies with an *outbox* have such.
    """
    with open_memory(settings_for(url), reading=True) as memory:
        found = waiting.unsent(memory, tenant, older_than=older_than, limit=limit)
    report(as_json, found, lambda: screens.pending(found, "Nothing waits to be sent."))


@app.command(rich_help_panel="Look after sessions")
def end(
    tenant: Tenant,
    channel: ChannelOrId,
    user: User = None,
    url: Url = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,  # noqa: FBT002
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """End a session: everything of it is deleted, for good."""
    with open_memory(settings_for(url), reading=True) as memory:
        session = locate(memory, tenant, channel, user)
        info = session.info()
        if not yes:
            ask(
                f"Delete {counted(info.message_count if info else 0, 'message')} and all else of {session.user!r} for good?",
                instead="ends the session",
            )
        if info is None or not session.end():
            raise NotFound("the session ended meanwhile")
    report(as_json, {"ended": True, "session_id": info.session_id}, lambda: f"Ended {info.session_id}.")


@app.command(rich_help_panel="Look after the store")
def doctor(url: Url = None, as_json: AsJson = False) -> None:  # noqa: FBT002
    """Check versions, settings and the store; say what a power failure would lose. Status 3 if the store is unreachable."""
    found = health.examine(settings_for(url))
    report(as_json, found, lambda: screens.doctor(found))
    if not found.healthy:
        raise Unavailable(found.problem)


def _converse(session: Session, history: Callable[[], Path], language: talk.Language, *, as_json: bool) -> None:
    say, status = talk.words(language), ""
    console = stdout()
    if sys.stdin.isatty() and not as_json:
        console.print(screens.heading("luni chat", say.welcome), screens.plain(say.help), "", sep="\n")
    with talk.lines(history, lambda: status) as next_line:
        while (text := next_line()) is not None and text.strip() != "/quit":
            if text.strip().startswith("/"):
                _command(session, text.strip(), say, as_json=as_json)
            elif text.strip():
                said = talk.exchange(session, text, language)
                status = f" {said.prompt_tokens:,} prompt tokens · full history {said.full_history_tokens:,} "
                reply = said.reply or say.elsewhere.format(state=said.state)
                report(as_json, said, lambda reply=reply: screens.plain(reply))  # type: ignore[misc]


def _command(session: Session, command: str, say: talk.Words, *, as_json: bool) -> None:
    if command == "/context":
        text = session.context().to_text() or say.no_session
        report(as_json, {"context": text}, lambda: screens.plain(text))
    elif command == "/show":
        export = session.export()
        report(as_json, export, lambda: screens.show(export, time.time()) if export else say.no_session)
    elif command == "/end":
        ended = session.end()
        report(as_json, {"ended": ended}, lambda: say.ended if ended else say.no_session)
    else:
        text = say.help if command == "/help" else say.unknown.format(help=say.help)
        report(as_json, {"help": text}, lambda: text)
