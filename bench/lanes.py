"""luni's own lanes: a turn is opened and answered, from a thread, from an event loop, and on SQLite."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from luni import AsyncMemory, Memory

NAMESPACE = "bnch"  # as long as "luni", so that bytes are the same, and nobody else's
TENANT, CHANNEL = "bench", "web"

Pair = tuple[str, str]

numbers = itertools.count(1)


@dataclass
class Lane:
    """One contestant at one length of history. ``run`` does ``turns`` turns; ``rewind`` puts the history back first."""

    name: str
    history: int
    turns: int
    run: Callable[[], object]
    rewind: Callable[[], object] = lambda: None
    patterns: list[str] = field(default_factory=list)
    conversations: int = 1


def user(history: int, number: int) -> str:
    return f"h{history}-{number}"


def patterns(history: int, number: int | str = "*") -> list[str]:
    """Match the keys of one conversation of luni's, or of all with this history."""
    return [f"{NAMESPACE}:sess:{TENANT}:{CHANNEL}:{user(history, number)}:*"]  # type: ignore[arg-type]


def sync_turn(session: Any, pair: Pair, message_id: str, *, prompt: bool = False) -> None:
    with session.turn(pair[0], message_id=message_id) as turn:
        if prompt:
            turn.context.to_openai()
        turn.reply(pair[1])


async def async_turn(session: Any, pair: Pair, message_id: str) -> None:
    async with session.turn(pair[0], message_id=message_id) as turn:
        await turn.reply(pair[1])


class SyncTurns:
    """Turns one after the other, conversation by conversation. The memory has met its sessions before."""

    def __init__(
        self, memory: Memory, history: int, conversations: int, each: int, said: Iterator[Pair], *, prompt: bool = False
    ) -> None:
        self._sessions = [
            memory.session(tenant=TENANT, channel=CHANNEL, user=user(history, number)) for number in range(conversations)
        ]
        self._each, self._said, self._prompt = each, said, prompt

    def __call__(self) -> None:
        said, prompt = self._said, self._prompt
        for session in self._sessions:
            for _ in range(self._each):
                sync_turn(session, next(said), f"message-{next(numbers)}", prompt=prompt)


class AsyncTurns:
    """The same from an event loop, so many conversations at once."""

    def __init__(
        self, memory: AsyncMemory, history: int, conversations: int, each: int, said: Iterator[Pair], concurrent: int
    ) -> None:
        self._sessions = [
            memory.session(tenant=TENANT, channel=CHANNEL, user=user(history, number)) for number in range(conversations)
        ]
        self._each, self._said, self._concurrent = each, said, concurrent

    async def __call__(self) -> None:
        await at_once(self._sessions, self._talk, self._concurrent)

    async def _talk(self, session: Any) -> None:
        for _ in range(self._each):
            await async_turn(session, next(self._said), f"message-{next(numbers)}")


async def at_once(items: list[Any], work: Callable[[Any], Any], concurrent: int) -> None:
    """Do ``work`` on every item, ``concurrent`` at a time."""
    waiting = iter(items)

    async def worker() -> None:
        for item in waiting:
            await work(item)

    if concurrent == 1:
        await worker()
        return
    async with asyncio.TaskGroup() as group:
        for _ in range(concurrent):
            group.create_task(worker())
