"""Logic of more than one step: generators that do no I/O, and the driver that does it for them.

`luni.flows.awaiting` has its asynchronous twin.

A flow yields only `Do` (an operation; it is sent the result, or thrown the error) and `Sleep`, and returns its result.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator
from typing import Any

import msgspec

from luni import operations as ops
from luni.errors import Degraded, Indeterminate, LuniError, Unavailable
from luni.scope import Scope

__all__ = ["Do", "Flow", "Sleep", "attempt", "drive"]

FIRST_PAUSE = 0.02


class Do(msgspec.Struct, frozen=True):
    """Execute this operation."""

    operation: ops.Operation


class Sleep(msgspec.Struct, frozen=True):
    """Let this many seconds pass."""

    seconds: float


Flow = Generator[Do | Sleep, Any, Any]


def drive(flow: Flow, execute: Callable[[ops.Operation], Any]) -> Any:
    """Run a flow to its end on this thread."""
    try:
        step = next(flow)
        while True:
            try:
                if isinstance(step, Do):  # noqa: SIM108  the two arms differ in kind
                    result = execute(step.operation)
                else:
                    result = time.sleep(step.seconds)  # type: ignore[func-returns-value]  # None, like every sleep
            except LuniError as error:
                step = flow.throw(error)
            else:
                step = flow.send(result)
    except StopIteration as end:
        return end.value


def attempt(scope: Scope, operation: ops.Operation) -> Flow:
    """Execute an operation, and again if it may not have happened: with its id it has one effect and one answer.

    Raises `Indeterminate` if any of the attempts was, whatever the last one met: it may have happened.
    """
    pause, unsure = FIRST_PAUSE, None
    for left in range(scope.settings.max_retries, -1, -1):
        try:
            return (yield Do(operation))
        except Degraded as error:
            raise unsure or error from None  # what may have happened is no refusal
        except (Unavailable, Indeterminate) as error:
            unsure = error if isinstance(error, Indeterminate) else unsure
            if left == 0:
                raise unsure or error from None
        yield Sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311  jitter is no secret
        pause *= 2
    raise AssertionError("the last attempt returns or raises")
