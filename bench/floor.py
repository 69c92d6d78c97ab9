"""The floor: what a bare client needs for the very same work, and nothing of luni in the timed loop.

luni rehearses the turns once and its operations are kept; then the conversations are put back to where they were, and the
bare client sends the same scripts, keys and arguments (SQLite: executes the same statements). Only the lease's token has
to be taken over from the reply to ``open``, because the server makes a new one each time.
"""

# ruff: noqa: SLF001  a rehearsal listens behind the curtain

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any, NamedTuple

import redis
import redis.asyncio

from lanes import CHANNEL, NAMESPACE, TENANT, Pair, at_once, sync_turn, user
from luni import Memory
from luni import operations as ops
from luni.backends.redis.codec import Call, encode
from luni.backends.sqlite.connection import path_of

TOKEN_OF_OPENED, CUT_OF_OPENED = 3, 4
MESSAGES_OF_OPENED = (12, 13)

Command = list[Any]


class Commands(NamedTuple):
    """One turn's two calls, as the arguments of ``evalsha``: where token and cut stand in the second, and what they bring."""

    opened: Command
    reply: Command
    token_at: int
    cut_at: int
    bodies: list[bytes]


def rehearse(memory: Memory, history: int, conversations: int, each: int, said: Iterator[Pair]) -> list[list[Commands]]:
    """Let luni do the turns and return what it sent, conversation by conversation."""
    sent: list[ops.Operation] = []
    execute = memory._execute

    def recorded(operation: ops.Operation) -> Any:
        sent.append(operation)
        return execute(operation)

    memory._execute = recorded
    found = []
    try:
        for number in range(conversations):
            session = memory.session(tenant=TENANT, channel=CHANNEL, user=user(history, number))
            sent.clear()
            for turn in range(each):
                sync_turn(session, next(said), f"rehearsed-{history}-{number}-{turn}")
            found.append([_commands(a, b) for a, b in zip(sent[::2], sent[1::2], strict=True)])
    finally:
        memory._execute = execute
    return found


def _commands(opened: ops.Operation, reply: ops.Operation) -> Commands:
    assert isinstance(opened, ops.Open)
    assert isinstance(reply, ops.Reply)
    assert opened.draft
    first, second = (_arguments(encode(NAMESPACE, operation)) for operation in (opened, reply))
    token_at = second.index(reply.token)
    assert second[token_at + 1] == reply.cut
    return Commands(first, second, token_at, token_at + 1, [opened.draft.body, *(draft.body for draft in reply.drafts)])


def _arguments(call: Call) -> Command:
    return [call.script.sha, len(call.keys), *call.keys, *call.args]


class BareRedis:
    """``redis.Redis.evalsha``, twice a turn."""

    def __init__(self, url: str, prepared: list[list[Commands]]) -> None:
        self._client = redis.Redis.from_url(url)
        self._prepared = prepared

    def __call__(self) -> None:
        evalsha = self._client.evalsha
        for conversation in self._prepared:
            for opened, reply, token_at, cut_at, _ in conversation:
                found = evalsha(*opened)
                reply[token_at], reply[cut_at] = found[TOKEN_OF_OPENED], found[CUT_OF_OPENED]
                done = evalsha(*reply)
                assert done[0] == b"released", done

    def message_bytes(self) -> tuple[int, int]:
        """Do the turns once more; return how many bytes to and fro were messages' texts, and messages as they are stored."""
        said = whole = 0
        for conversation in self._prepared:
            for opened, reply, token_at, cut_at, bodies in conversation:
                found = self._client.evalsha(*opened)
                reply[token_at], reply[cut_at] = found[TOKEN_OF_OPENED], found[CUT_OF_OPENED]
                self._client.evalsha(*reply)
                texts = [*bodies, *(text for place in MESSAGES_OF_OPENED for text in found[place])]
                whole += sum(map(len, texts))
                said += sum(map(_said_bytes, texts))
        return said, whole


def _said_bytes(text: bytes) -> int:
    body = text.partition(b'"text":"')[2]
    return len(body.partition(b'","role":')[0])


class PipelinedRedis:
    """The most the server can do: all conversations' calls in one pipeline a step, no event loop."""

    def __init__(self, url: str, prepared: list[list[Commands]]) -> None:
        self._client = redis.Redis.from_url(url)
        self._prepared = prepared

    def __call__(self) -> None:
        for turns in zip(*self._prepared, strict=True):
            pipe = self._client.pipeline(transaction=False)
            for turn in turns:
                pipe.evalsha(*turn.opened)
            for turn, found in zip(turns, pipe.execute(), strict=True):
                turn.reply[turn.token_at], turn.reply[turn.cut_at] = found[TOKEN_OF_OPENED], found[CUT_OF_OPENED]
                pipe.evalsha(*turn.reply)
            pipe.execute()


class BareAsyncRedis:
    """``redis.asyncio.Redis.evalsha`` with a pool of its own, so many conversations at once."""

    def __init__(self, url: str, prepared: list[list[Commands]], concurrent: int) -> None:
        self._client = redis.asyncio.Redis.from_url(url, max_connections=concurrent)
        self._prepared = prepared
        self._concurrent = concurrent

    async def __call__(self) -> None:
        await at_once(self._prepared, self._talk, self._concurrent)

    async def _talk(self, conversation: list[Commands]) -> None:
        evalsha = self._client.evalsha
        for opened, reply, token_at, cut_at, _ in conversation:
            found = await evalsha(*opened)
            reply[token_at], reply[cut_at] = found[TOKEN_OF_OPENED], found[CUT_OF_OPENED]
            done = await evalsha(*reply)
            assert done[0] == b"released", done

    async def close(self) -> None:
        await self._client.aclose()


Statement = tuple[str, tuple[Any, ...]]


def rehearse_sqlite(memory: Memory, turns: Any, rounds: int) -> list[list[Statement]]:
    """Let luni do ``turns`` once for each round and return the statements it executed."""
    with memory._backend._connections.turn:
        connection = memory._backend._connections.take()
    found: list[list[Statement]] = []

    def note(_cursor: Any, sql: str, bindings: Any) -> bool:
        found[-1].append((sql, tuple(bindings or ())))
        return True

    connection.exec_trace = note
    for _ in range(rounds):
        found.append([])
        turns()
    connection.exec_trace = None
    return found


class BareSQLite:
    """The standard library's ``sqlite3`` with the same pragmas, executing the statements of one round after the other."""

    def __init__(self, url: str, rounds: list[list[Statement]]) -> None:
        self._connection = sqlite3.connect(path_of(url), isolation_level=None, cached_statements=256)
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "secure_delete=ON"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._rounds = iter(rounds)

    def __call__(self) -> None:
        execute = self._connection.execute
        for sql, bindings in next(self._rounds):
            execute(sql, bindings).fetchall()
