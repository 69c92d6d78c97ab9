"""The peers, each doing what a turn needs of it: add the user's message, read all back for the prompt, add the answer."""

# ruff: noqa: PLC0415  a peer is imported where it is installed

from __future__ import annotations

import asyncio
import importlib
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lanes import Lane, Pair
from stores import Rewind

PEERS = {
    "langchain": ("LangChain RedisChatMessageHistory", "langchain_community.chat_message_histories"),
    "llamaindex": ("LlamaIndex RedisChatStore", "llama_index.storage.chat_store.redis"),
    "agents-redis": ("OpenAI Agents RedisSession", "agents.extensions.memory.redis_session"),
    "agents-sqlite": ("OpenAI Agents SQLiteSession", "agents"),
}
ON_REDIS = ("langchain", "llamaindex", "agents-redis")


def installed(name: str) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            importlib.import_module(PEERS[name][1])
        except ImportError:
            return False
    return True


def _langchain(url: str, history: int, number: int, said: Iterator[Pair]) -> Callable[[], None]:
    from langchain_community.chat_message_histories import RedisChatMessageHistory
    from langchain_core.messages import AIMessage, HumanMessage

    kept = RedisChatMessageHistory(f"h{history}-{number}", url=url, key_prefix="peer:langchain:")
    for _ in range(history // 2):
        asked, answered = next(said)
        kept.add_messages([HumanMessage(asked), AIMessage(answered)])

    def turn() -> None:
        asked, answered = next(said)
        kept.add_message(HumanMessage(asked))
        assert len(kept.messages) > history
        kept.add_message(AIMessage(answered))

    return turn


def _llamaindex(url: str, history: int, number: int, said: Iterator[Pair]) -> Callable[[], None]:
    from llama_index.core.base.llms.types import ChatMessage
    from llama_index.storage.chat_store.redis import RedisChatStore

    key = f"peer:llamaindex:h{history}-{number}"
    store = RedisChatStore(redis_url=url)
    for _ in range(history // 2):
        asked, answered = next(said)
        store.add_message(key, ChatMessage(role="user", content=asked))
        store.add_message(key, ChatMessage(role="assistant", content=answered))

    def turn() -> None:
        asked, answered = next(said)
        store.add_message(key, ChatMessage(role="user", content=asked))
        assert len(store.get_messages(key)) > history
        store.add_message(key, ChatMessage(role="assistant", content=answered))

    return turn


async def _agents_history(session: Any, history: int, said: Iterator[Pair]) -> None:
    items = []
    for _ in range(history // 2):
        asked, answered = next(said)
        items += [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
    await session.add_items(items)


async def _agents_turn(session: Any, history: int, said: Iterator[Pair]) -> None:
    asked, answered = next(said)
    await session.add_items([{"role": "user", "content": asked}])
    assert len(await session.get_items()) > history
    await session.add_items([{"role": "assistant", "content": answered}])


def _many_agents(
    runner: asyncio.Runner, sessions: list[Any], history: int, each: int, said: Iterator[Pair]
) -> Callable[[], None]:
    async def turns() -> None:
        for session in sessions:
            for _ in range(each):
                await _agents_turn(session, history, said)

    return lambda: runner.run(turns())


def redis_lane(
    name: str, url: str, history: int, conversations: int, each: int, said: Iterator[Pair], client: Any, runner: asyncio.Runner
) -> Lane:
    """Return a peer on Redis with its conversations preloaded through its own API."""
    run: Callable[[], object]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if name == "agents-redis":
            run = _agents_redis(url, history, conversations, each, said, runner)
        else:
            make = {"langchain": _langchain, "llamaindex": _llamaindex}[name]
            turns = [make(url, history, number, said) for number in range(conversations)]
            run = lambda: [turn() for turn in turns for _ in range(each)]  # noqa: E731  the lane's one line
    pattern = f"peer:{name}:h{history}-"
    rewind = Rewind(client, [f"{pattern}*"])
    return Lane(name, history, conversations * each, run, rewind, [f"{pattern}0", f"{pattern}0:*"], conversations)


def _agents_redis(
    url: str, history: int, conversations: int, each: int, said: Iterator[Pair], runner: asyncio.Runner
) -> Callable[[], None]:
    import redis.asyncio
    from agents.extensions.memory.redis_session import RedisSession

    client = redis.asyncio.Redis.from_url(url)
    sessions = [
        RedisSession(f"h{history}-{number}", redis_client=client, key_prefix="peer:agents-redis")
        for number in range(conversations)
    ]
    for session in sessions:
        runner.run(_agents_history(session, history, said))
    return _many_agents(runner, sessions, history, each, said)


def sqlite_lane(
    folder: Path, history: int, conversations: int, each: int, said: Iterator[Pair], runner: asyncio.Runner
) -> Lane:
    """Return OpenAI Agents' session on an SQLite file."""
    from agents import SQLiteSession

    file = folder / f"agents-{history}.db"
    sessions = [SQLiteSession(f"h{history}-{number}", file) for number in range(conversations)]

    async def preload() -> None:
        for session in sessions:
            await session.clear_session()
            await _agents_history(session, history, said)

    runner.run(preload())
    run = _many_agents(runner, sessions, history, each, said)
    return Lane("agents-sqlite", history, conversations * each, run, lambda: runner.run(preload()), [], conversations)
