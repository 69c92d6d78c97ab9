"""The driver of flows on an event loop. Apart, so that synchronous programs never import asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from luni import operations as ops
from luni.errors import LuniError
from luni.flows import Do, Flow, Sleep

__all__ = ["drive_async"]


async def drive_async(
    flow: Flow,
    execute: Callable[[ops.Operation], asyncio.Future[Any]],
    abandoned: Callable[[ops.Operation, asyncio.Future[Any]], None],
) -> Any:
    """Run a flow to its end on this loop. Cancelled, it hands what is on its way, or in doubt, to ``abandoned`` and goes."""
    doubtful: ops.Operation | None = None
    try:
        step = next(flow)
        while True:
            try:
                if isinstance(step, Do):
                    doubtful = step.operation
                    result = await _executed(step.operation, execute, abandoned)
                else:
                    result = await asyncio.sleep(step.seconds, None)
            except asyncio.CancelledError:
                if isinstance(step, Sleep) and doubtful is not None:  # between two attempts: the next one tells
                    abandoned(doubtful, execute(doubtful))
                raise
            except LuniError as error:
                step = flow.throw(error)
            else:
                step = flow.send(result)
    except StopIteration as end:
        return end.value


async def _executed(
    operation: ops.Operation,
    execute: Callable[[ops.Operation], asyncio.Future[Any]],
    abandoned: Callable[[ops.Operation, asyncio.Future[Any]], None],
) -> Any:
    future = execute(operation)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        abandoned(operation, future)
        raise
