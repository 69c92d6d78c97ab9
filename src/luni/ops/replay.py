"""Recorded conversations through memory, turn by turn, with what it took and what it saved."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from luni.backends.keys import session_keys
from luni.client import Memory, Session
from luni.errors import BackendError, Backlog, InvalidInput, LuniError
from luni.models import Address
from luni.operations import RING
from luni.ops.conversations import BadLine, Conversation, Line, Step, plan, read

__all__ = ["TENANT", "Advance", "Report", "replay"]

TENANT = "replay"

Advance = Callable[[int, int], None]
"""Told after every line: how many bytes of the files it took, and how many turns there have been."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a replay did.

    Attributes:
        conversations: Replayed, each as a session of its own.
        turns: Users' messages that a reply follows.
        messages: Of these conversations, whether stored now or before.
        duplicates_refused: Deliveries refused because their message id had been accepted before; they cost no prompt.
        p50_ms: Of a turn: opening it, reading its context, replying; so are p95 and p99. Where every turn was refused, of a
            refusal; ``None`` without a turn.
        turns_per_second: On one connection, one turn after the other.
        prompt_tokens: Sum of what the context of every answered turn costs.
        full_history_tokens: Sum of what sending the whole history would have cost in the same turns.
        reduction_pct: How much less the former is; ``None`` if no turn was answered.
        bytes_stored: On SQLite the database's size, whatever else is in it; on Redis ``MEMORY USAGE`` of the keys of these
            sessions; ``None`` where the server does not tell.
        backend: ``sqlite`` or ``redis``.
        folded: Messages that are in summaries now and no longer word for word.
        bad_lines: Lines passed over because they are no conversation.
        seconds: From the first line to the last.
        largest_saving_pct: The highest ``reduction_pct`` of one conversation.
        largest_saving_conversation: Its id.
        largest_saving_channel: Its channel.
    """

    conversations: int
    turns: int
    messages: int
    duplicates_refused: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    turns_per_second: float
    prompt_tokens: int
    full_history_tokens: int
    reduction_pct: float | None
    bytes_stored: int | None
    backend: str
    folded: int
    bad_lines: int
    seconds: float
    largest_saving_pct: float | None
    largest_saving_conversation: str
    largest_saving_channel: str


def replay(
    memory: Memory,
    paths: Iterable[Path],
    *,
    tenant: str = TENANT,
    limit: int | None = None,
    skip_bad: bool = False,
    advance: Advance | None = None,
) -> Report:
    """Run conversations through memory, each as the session (tenant, its source, its id); return the report.

    Message ids follow from the conversation's id and the message's place, so a second run is refused message by message and
    changes nothing. Raises `BadLine` for a line that cannot be replayed unless ``skip_bad``; what came before it is stored.
    """
    run = _Run(memory, tenant)
    for line in _limited(read(paths), run, limit):
        try:
            run.take(line)
        except BadLine:
            if not skip_bad:
                raise
            run.bad_lines += 1
        if advance:
            advance(line.size_bytes, run.total.turns)
    return run.report()


def _limited(lines: Iterable[Line], run: _Run, limit: int | None) -> Iterable[Line]:
    for line in lines:
        if limit is not None and run.conversations >= limit:
            return
        yield line


class _Tally:
    """Counts of a conversation, or of all of them."""

    def __init__(self) -> None:
        self.turns = self.messages = self.refused = self.prompt_tokens = self.full_tokens = 0
        self.latencies, self.refusals = array("d"), array("d")

    def add(self, other: _Tally) -> None:
        self.turns += other.turns
        self.messages += other.messages
        self.refused += other.refused
        self.prompt_tokens += other.prompt_tokens
        self.full_tokens += other.full_tokens
        self.latencies.extend(other.latencies)
        self.refusals.extend(other.refusals)

    @property
    def reduction_pct(self) -> float | None:
        return round(100 * (1 - self.prompt_tokens / self.full_tokens), 2) if self.full_tokens else None


class _Run:
    """One replay: the memory, and what was counted so far."""

    def __init__(self, memory: Memory, tenant: str) -> None:
        self._memory, self._tenant = memory, tenant
        self._began = time.perf_counter()
        self._folded: dict[Address, int] = {}
        self._largest: tuple[float, str, str] = (-1.0, "", "")
        self.total = _Tally()
        self.conversations = self.bad_lines = 0

    def take(self, line: Line) -> None:
        """Replay one line; raise `BadLine` if it cannot be."""
        conversation = line.conversation
        if conversation is None:
            raise BadLine(line.place, line.problem)
        try:
            tally = self._conversation(conversation)
        except (InvalidInput, Backlog) as error:
            raise BadLine(line.place, str(error)) from None
        self.conversations += 1
        self.total.add(tally)
        saved = tally.reduction_pct
        if saved is not None and saved > self._largest[0]:
            self._largest = saved, conversation.id, conversation.source

    def _conversation(self, conversation: Conversation) -> _Tally:
        session = self._memory.session(tenant=self._tenant, channel=conversation.source, user=conversation.id)
        info = session.info()
        stored = info.message_count if info else 0
        replayed = _Replayed(session, conversation, stored)
        steps = plan(conversation.messages)
        for index, step in enumerate(steps):
            replayed.take(step, forgotten=len(steps) - index > RING)
        address = Address(self._tenant, conversation.source, conversation.id)
        after = session.info()
        self._folded[address] = after.folded if after else 0
        return replayed.tally

    def report(self) -> Report:
        seconds = time.perf_counter() - self._began
        total, latencies = self.total, sorted(self.total.latencies or self.total.refusals)
        saving, user, channel = self._largest
        described = self._memory.describe()
        return Report(
            conversations=self.conversations, turns=total.turns, messages=total.messages, duplicates_refused=total.refused,
            p50_ms=_percentile(latencies, 50), p95_ms=_percentile(latencies, 95), p99_ms=_percentile(latencies, 99),
            turns_per_second=round(total.turns / seconds, 1), prompt_tokens=total.prompt_tokens,
            full_history_tokens=total.full_tokens, reduction_pct=total.reduction_pct,
            bytes_stored=_bytes_stored(self._memory, described, self._folded), backend=described["backend"],
            folded=sum(self._folded.values()), bad_lines=self.bad_lines, seconds=round(seconds, 3),
            largest_saving_pct=saving if saving >= 0 else None, largest_saving_conversation=user,
            largest_saving_channel=channel,
        )  # fmt: skip


class _Replayed:
    """One conversation on its way through memory."""

    def __init__(self, session: Session, conversation: Conversation, stored: int) -> None:
        self._session, self._conversation, self._stored = session, conversation, stored
        self.tally = _Tally()

    def take(self, step: Step, *, forgotten: bool) -> None:
        """Take a step. ``forgotten``: so many ids come after it that memory no longer knows this one if it is there."""
        self.tally.messages += 1 + step.last - step.first
        self.tally.turns += step.kind == "turn"
        if forgotten and step.last < self._stored:
            self.tally.refused += 1
        elif step.kind == "turn":
            self._turn(step)
        elif step.kind == "receive":
            self._receive(step.first)
        else:
            self._append(step.first)

    def _turn(self, step: Step) -> None:
        messages = self._conversation.messages
        asked, bubbles = messages[step.first], [message.text for message in messages[step.first + 1 : step.last + 1]]
        message_id = self._conversation.message_id(step.first)
        began = time.perf_counter()
        with self._session.turn(asked.text, message_id=message_id, timestamp=asked.timestamp) as turn:
            if turn.should_reply:
                context = turn.context
                turn.reply(*bubbles)
                self.tally.prompt_tokens += context.prompt_tokens
                self.tally.full_tokens += context.full_history_tokens
        took = 1000 * (time.perf_counter() - began)
        if turn.state == "open":
            self.tally.latencies.append(took)
        elif turn.state == "duplicate":
            self.tally.refusals.append(took)
            self.tally.refused += 1
        else:
            raise LuniError(f"{message_id}: {_ELSEWHERE.get(turn.state, turn.state)}")

    def _receive(self, index: int) -> None:
        said = self._conversation.messages[index]
        message_id = self._conversation.message_id(index)
        received = self._session.receive(said.text, message_id=message_id, timestamp=said.timestamp)
        self.tally.refused += received.state == "duplicate"

    def _append(self, index: int) -> None:
        said = self._conversation.messages[index]
        message_id = self._conversation.message_id(index)
        message = self._session.append(said.role, said.text, message_id=message_id, timestamp=said.timestamp)
        self.tally.refused += index < self._stored or not message.key  # memory gives what it stores a key


_ELSEWHERE = {
    "in_progress": "another process is answering this message; once its lease has expired, run the same command again",
    "joined": "another process has a turn open in this conversation; once its lease has expired, run the same command again",
    "paused": "the conversation is paused: resume it, then run the same command again",
}


def _percentile(ordered: Sequence[float], percent: int) -> float | None:
    """Return the smallest value that this share of them does not exceed."""
    return round(ordered[-(-len(ordered) * percent // 100) - 1], 3) if ordered else None


def _bytes_stored(memory: Memory, described: dict[str, Any], addresses: Iterable[Address]) -> int | None:
    if "size_bytes" in described:
        return int(described["size_bytes"])
    from luni.backends.redis.sync import RedisBackend  # noqa: PLC0415  only what is used is imported

    server = RedisBackend(memory.settings.url, memory.settings)
    keys = (key for address in addresses for key in session_keys(memory.settings.namespace, address).own)
    try:
        return sum(server.command("MEMORY", "USAGE", key, "SAMPLES", 0) or 0 for key in keys)
    except BackendError:
        return None
    finally:
        server.close()
