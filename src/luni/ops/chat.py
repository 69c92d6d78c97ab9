"""`luni chat`: a conversation in the terminal, kept by memory and answered offline, without any model."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final, Literal, NamedTuple, Protocol

import msgspec

from luni.client import Session
from luni.context import Context

__all__ = ["COMMANDS", "Exchange", "Language", "Lines", "answer", "exchange", "language_of", "lines", "words"]

Language = Literal["en", "pt"]

COMMANDS: Final = ("/context", "/show", "/end", "/help", "/quit")
MAX_LINE = 64 * 1024
QUOTED = 60


class Words(NamedTuple):
    """What chat and its responder say, in one language."""

    welcome: str
    help: str
    offline: str
    first: str
    heard: str
    before: str
    summary: str
    nothing: str
    known: str
    asks: tuple[str, ...]
    ended: str
    no_session: str
    unknown: str
    elsewhere: str


_ENGLISH: Final = Words(
    welcome="No model is connected: the answers are the offline responder's. What it remembers is luni's.",
    help="/context what a model would see · /show the session · /end forget it · /quit leave",
    offline="[offline]",
    first="Hello! I have no model behind me, but I remember what you tell me. Ask me “what do you remember?”.",
    heard="You said “{text}”.",
    before="Just before: “{text}”.",
    summary="From earlier I keep: {summary}",
    nothing="That is all I know of you so far.",
    known="I have {count} messages word for word.",
    asks=("remember", "recall", "summary", "know about me", "said before"),
    ended="The session was ended; everything of it is gone.",
    no_session="There is no session yet.",
    unknown="There is no such command. {help}",
    elsewhere="Stored, and not answered here: the turn is {state}.",
)
_PORTUGUESE: Final = Words(
    welcome="Nenhum modelo conectado: quem responde é o respondedor offline. O que ele lembra é do luni.",
    help="/context o que um modelo veria · /show a sessão · /end esquecer · /quit sair",
    offline="[offline]",
    first="Olá! Não tenho um modelo por trás, mas lembro do que você me diz. Pergunte “o que você lembra?”.",
    heard="Você disse “{text}”.",
    before="Logo antes: “{text}”.",
    summary="De antes eu guardo: {summary}",
    nothing="Por enquanto é tudo o que sei de você.",
    known="Tenho {count} mensagens palavra por palavra.",
    asks=("lembra", "recorda", "resumo", "sabe de mim", "sabe sobre mim", "disse antes"),
    ended="A sessão foi encerrada; tudo dela foi apagado.",
    no_session="Ainda não há sessão.",
    unknown="Não existe esse comando. {help}",
    elsewhere="Guardada, e não respondida aqui: o turno está {state}.",
)


class Exchange(msgspec.Struct, frozen=True):
    """One line said and what came back; ``reply`` is empty if the turn was not this process's to answer."""

    user: str
    reply: str
    state: str
    prompt_tokens: int
    full_history_tokens: int


def language_of(locale: str) -> Language:
    """Return the language for a locale such as ``pt_BR.UTF-8``."""
    return "pt" if locale.lower().startswith("pt") else "en"


def words(language: Language) -> Words:
    """Return what chat says in a language."""
    return _PORTUGUESE if language == "pt" else _ENGLISH


def exchange(session: Session, text: str, language: Language) -> Exchange:
    """Say one line and let the offline responder answer it."""
    reply = ""
    with session.turn(text, message_id=uuid.uuid4().hex) as turn:
        context = turn.context
        while turn.should_reply:
            context = turn.context
            reply = answer(context, language)
            turn.reply(reply)
    return Exchange(text, reply, turn.state, context.prompt_tokens, context.full_history_tokens)


def answer(context: Context, language: Language) -> str:
    """Return the offline responder's answer: it says that it is offline, and only what memory knows."""
    say = words(language)
    first = len(context.messages) - context.current
    said = [message.text for message in context.messages[first:]]
    earlier = [message.text for message in context.messages[:first] if message.role == "user"]
    asked = said[-1] if said else ""
    if not earlier and not context.summary:
        return f"{say.offline} {say.first}"
    if any(word in asked.lower() for word in say.asks):
        return f"{say.offline} {_all_known(context, earlier, say)}"
    before = [say.before.format(text=_quoted(earlier[-1]))] if earlier else []
    return " ".join([say.offline, say.heard.format(text=_quoted(asked)), *before])


def _all_known(context: Context, earlier: list[str], say: Words) -> str:
    summary = [say.summary.format(summary=context.summary)] if context.summary else []
    last = [f"“{_quoted(text)}”" for text in earlier[-3:]]
    return "\n".join([say.known.format(count=len(context.messages) - context.current), *summary, *last, say.nothing])


def _quoted(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= QUOTED else line[: QUOTED - 1].rstrip() + "…"


class Lines(Protocol):
    """Where the lines come from."""

    def __call__(self) -> str | None:
        """Return the next line; ``None`` at the end."""


def lines(history: Callable[[], Path], status: Callable[[], str]) -> AbstractContextManager[Lines]:
    """Return what asks for lines: a prompt with history in a terminal, standard input otherwise.

    ``history`` gives the file, which is made its owner's alone; ``status`` gives the line below the prompt.
    """
    return _prompted(history, status) if sys.stdin.isatty() and sys.stdout.isatty() else _piped()


@contextmanager
def _piped() -> Iterator[Lines]:
    def line() -> str | None:
        text = sys.stdin.readline(MAX_LINE)
        return text.rstrip("\r\n") if text else None

    yield line


@contextmanager
def _prompted(history: Callable[[], Path], status: Callable[[], str]) -> Iterator[Lines]:
    from prompt_toolkit import PromptSession  # noqa: PLC0415  only where there is a terminal
    from prompt_toolkit.completion import WordCompleter  # noqa: PLC0415  the same
    from prompt_toolkit.history import FileHistory  # noqa: PLC0415  the same
    from prompt_toolkit.styles import Style  # noqa: PLC0415  the same

    path = history()
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    path.chmod(0o600)
    prompt: PromptSession[str] = PromptSession(
        history=FileHistory(str(path)),
        completer=WordCompleter(list(COMMANDS), sentence=True),
        complete_while_typing=False,
        bottom_toolbar=status,
        style=Style.from_dict({"prompt": "bold ansicyan", "bottom-toolbar": "noreverse ansibrightblack"}),
    )

    def line() -> str | None:
        try:
            return prompt.prompt([("class:prompt", "> ")])
        except EOFError:
            return None

    yield line
