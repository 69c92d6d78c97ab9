"""Recorded conversations: JSON lines read and checked one at a time, and the steps that replay each."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Annotated, BinaryIO, Literal

import msgspec

from luni.errors import InvalidInput

__all__ = ["BadLine", "Conversation", "Line", "Recorded", "Step", "bundled", "check_files", "plan", "read"]

MAX_LINE_BYTES = 32 * 1024 * 1024
MAX_MESSAGES = 10_000
MAX_BUBBLES = 64
"""How many texts luni stores as one reply."""

STDIN = Path("-")
_BOM = b"\xef\xbb\xbf"


class Recorded(msgspec.Struct, frozen=True):
    """One message of a recording. ``ts`` is seconds since the epoch, or ISO 8601."""

    role: Literal["user", "assistant", "human", "system"]
    text: str
    ts: float | str | None = None

    @property
    def timestamp(self) -> float | None:
        """Seconds since the epoch; ISO 8601 without an offset is UTC. Raises `ValueError` for another form."""
        if not isinstance(self.ts, str):
            return self.ts
        moment = datetime.fromisoformat(self.ts)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


class Conversation(msgspec.Struct, frozen=True):
    """One line of a file; fields beside these are passed over."""

    id: Annotated[str, msgspec.Meta(min_length=1)]
    messages: Annotated[tuple[Recorded, ...], msgspec.Meta(min_length=1, max_length=MAX_MESSAGES)]
    source: Annotated[str, msgspec.Meta(min_length=1)] = "file"
    locale: str = ""

    def message_id(self, index: int) -> str:
        """Return the id of a message: the same in every run, so that a second run is refused as second deliveries."""
        return f"{self.id}#{index}"


class BadLine(InvalidInput):
    """A line of a file is not a conversation that can be replayed; the message begins with ``file:line``."""

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(f"{place}: {reason}")


class Line(msgspec.Struct, frozen=True):
    """One line read: a conversation, or why it is none; and how many bytes it took."""

    place: str
    size_bytes: int
    conversation: Conversation | None = None
    problem: str = ""


class Step(msgspec.Struct, frozen=True):
    """What memory is told at once: messages ``first`` to ``last`` of the recording.

    ``append`` and ``receive`` are one message; ``turn`` is a user's message and the bubbles that answered it.
    """

    kind: Literal["append", "receive", "turn"]
    first: int
    last: int


def bundled() -> Path:
    """Return the demo's conversations: beside this module in a wheel, in ``examples`` of a checkout."""
    here = Path(__file__).resolve()
    for path in (here.with_name("conversations.jsonl"), here.parents[3] / "examples" / "conversations.jsonl"):
        if path.is_file():
            return path
    raise InvalidInput("the bundled conversations are missing: install luni again, or give `luni replay` a file")


def check_files(paths: Sequence[Path]) -> int | None:
    """Return how many bytes the files have together, ``None`` with standard input; raise `InvalidInput` for one unreadable."""
    total: int | None = 0
    for path in paths:
        if path == STDIN:
            total = None
            continue
        try:
            with path.open("rb") as file:
                file.read(1)
            total = None if total is None else total + path.stat().st_size
        except OSError as error:
            raise InvalidInput(f"{path}: {error.strerror or type(error).__name__}") from None
    return total


def read(paths: Iterable[Path]) -> Iterator[Line]:
    """Yield what each line of the files holds, one file after the other; empty lines are passed over."""
    for path in paths:
        with nullcontext(sys.stdin.buffer) if path == STDIN else path.open("rb") as file:
            for number, text, size in _lines(file):
                place = f"{'stdin' if path == STDIN else path}:{number}"
                if text is None:
                    yield Line(place, size, problem=f"longer than {MAX_LINE_BYTES} bytes")
                elif text.strip():
                    yield _line(place, size, text)


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes | None, int]]:
    """Yield number, text and size of each line; ``None`` for one too long, which is never held in memory whole."""
    number = 0
    while text := file.readline(MAX_LINE_BYTES):
        number += 1
        size, whole = len(text), text.endswith(b"\n") or len(text) < MAX_LINE_BYTES
        rest = b"" if whole else file.readline(MAX_LINE_BYTES)
        too_long = bool(rest.rstrip(b"\n"))
        while rest:
            size += len(rest)
            rest = b"" if rest.endswith(b"\n") else file.readline(MAX_LINE_BYTES)
        yield number, None if too_long else text.removeprefix(_BOM if number == 1 else b""), size


_DECODER = msgspec.json.Decoder(Conversation)


def _line(place: str, size: int, text: bytes) -> Line:
    try:
        found = _DECODER.decode(text)
        problem = _problem(found)
    except msgspec.ValidationError as error:
        return Line(place, size, problem=str(error))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Line(place, size, problem="not a JSON object of a conversation")
    return Line(place, size, problem=problem) if problem else Line(place, size, found)


def _problem(conversation: Conversation) -> str:
    for index, message in enumerate(conversation.messages):
        if not message.text:
            return f"messages[{index}].text is empty"
        try:
            _ = message.timestamp
        except (ValueError, OverflowError):
            return f"messages[{index}].ts is neither seconds since the epoch nor ISO 8601"
    return ""


def plan(messages: Sequence[Recorded]) -> list[Step]:
    """Return the steps that replay a conversation.

    A user's message with the assistant's after it is a turn (of at most 64 bubbles); one that another message follows, or
    nothing, is received; everything else is appended.
    """
    steps: list[Step] = []
    for role, group in groupby(range(len(messages)), key=lambda index: messages[index].role):
        indices = list(group)
        if role == "user":
            steps += [Step("receive", index, index) for index in indices]
        elif role == "assistant" and steps and steps[-1].kind == "receive":
            asked = steps.pop().first
            steps.append(Step("turn", asked, indices[:MAX_BUBBLES][-1]))
            steps += [Step("append", index, index) for index in indices[MAX_BUBBLES:]]
        else:
            steps += [Step("append", index, index) for index in indices]
    return steps
