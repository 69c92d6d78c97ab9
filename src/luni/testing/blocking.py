"""The asynchronous client behind the synchronous API, so that one test in plain calls holds both to their contract.

```python
memory = Blocking(AsyncMemory.open("sqlite://"))
with memory.session(tenant="shop", channel="web", user="ana").turn("hi") as turn:
    turn.reply("hello")
memory.close()
```
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self

from luni.async_client import AsyncAgenda, AsyncLock, AsyncMemory, AsyncSession, AsyncTurn

__all__ = ["Blocking"]

_TWINS = (AsyncMemory, AsyncSession, AsyncTurn, AsyncLock, AsyncAgenda)


class _Loop:
    """An event loop on a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="luni-blocking", daemon=True)
        self._thread.start()

    @property
    def closed(self) -> bool:
        return self._loop.is_closed()

    def run(self, awaitable: Awaitable[Any]) -> Any:
        """Run an awaitable to its end; an interrupt of the caller cancels it."""
        future = asyncio.run_coroutine_threadsafe(_awaited(awaitable), self._loop)
        try:
            return future.result()
        finally:
            future.cancel()

    def close(self) -> None:
        """Let what was begun end, then stop."""
        if self.closed:
            return
        self.run(_finished())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


async def _finished() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_asyncgens()


class Blocking:
    """An `AsyncMemory` (and the sessions and turns it gives) with the calls of `Memory`; threads may share it.

    What is awaited runs to its end on an event loop of its own, which goes when the memory is closed. Everything else,
    properties and errors included, passes through.
    """

    def __init__(self, target: Any, loop: _Loop | None = None) -> None:
        self._target = target
        self._owns = loop is None
        self._loop = loop or _Loop()

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        return self._plain(value) if inspect.ismethod(value) or inspect.isfunction(value) else value

    def __repr__(self) -> str:
        return repr(self._target)

    def _plain(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            return self._given(method(*arguments, **named))

        return call

    def _given(self, result: Any) -> Any:
        if inspect.isawaitable(result):
            result = self._loop.run(result)
        if result is self._target:
            return self
        return Blocking(result, self._loop) if isinstance(result, _TWINS) else result

    def on_loop(self, function: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
        """Call ``function`` on the event loop and run what it returns to its end: for what needs a running loop to begin."""

        async def begun() -> Any:
            return await function(*arguments)

        return self._loop.run(begun())

    def close(self) -> None:
        """Close what is behind it; with a memory its event loop goes, too. Closing twice is fine."""
        if self._owns and self._loop.closed:
            return
        self._loop.run(self._target.close())
        if self._owns:
            self._loop.close()

    def __enter__(self) -> Self:
        self._loop.run(self._target.__aenter__())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self._loop.run(self._target.__aexit__(kind, error, trace))
        finally:
            if self._owns:
                self._loop.close()
