"""Which messages a prompt shows, and which may be folded into the summary."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from luni.context.steps import Step, has_steps, steps
from luni.context.tokens import MESSAGE_OVERHEAD, TokenCounter, message_tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from luni.models import Message

__all__ = ["FOLD_CHUNK", "foldable", "select"]

FOLD_CHUNK = 10
"""How many messages are folded or left out at a time, so that a prompt's beginning stays the same for several turns."""


def foldable(waiting: Sequence[Message], *, settled: int, chunk: int = FOLD_CHUNK, stored: Sequence[Message] = ()) -> int:
    """Return how many of the oldest waiting messages may be folded into the summary now.

    The largest multiple of ``chunk`` that stops before the first unanswered message, moved so that no tool call is parted from
    its results: on to the end of the step if it may be folded too, else back to before the call.

    Args:
        waiting: The messages that left the window, oldest first.
        settled: The newest arrival that has been answered; users' messages after it are never folded.
        chunk: How many are folded at a time; with fewer, none are.
        stored: The window that follows ``waiting``, oldest first: results may lie there.
    """
    answered = _before_unanswered(waiting, settled)
    count = answered // chunk * chunk
    if not count or not has_steps(waiting):
        return count
    paired = [step for step in steps([*waiting, *stored]) if step.results]
    forward = _grow(count, paired)
    return forward if forward <= answered else _shrink(count, paired)


def select(
    messages: Sequence[Message],
    *,
    current: int,
    limit: int | None,
    budget: int | None,
    fixed_tokens: int,
    counter: TokenCounter,
    chunk: int = FOLD_CHUNK,
    first_position: int = 0,
) -> tuple[Message, ...]:
    """Return the messages that go in the prompt, oldest first.

    The oldest are left out until the rest fits, up to a multiple of ``chunk`` counted from the session's first message,
    unless that would leave out all but the current ones. A step is in whole or not at all: orphan
    results and unfinished calls are left out, too, unless they are current or a call is the very last message.
    The current messages are never left out, even if they alone are over the budget.

    Args:
        messages: The window, oldest first.
        current: How many of the newest are being answered.
        limit: How many messages before the current ones there may be; ``None`` for all.
        budget: How many tokens the prompt may have, ``fixed_tokens`` and framing included; ``None`` for any.
        fixed_tokens: What the prompt has besides messages.
        counter: What counts the tokens of messages whose stored count is another counter's.
        chunk: How many messages are left out at a time.
        first_position: How many messages of the session precede ``messages[0]``.
    """
    tail = max(0, len(messages) - max(0, current))
    stepped = has_steps(messages)
    if not stepped and limit is None and budget is None:
        return tuple(messages)
    paired = steps(messages) if stepped else []
    tail = _shrink(tail, paired)
    shown = _presentable(messages, paired, tail) if stepped else list(range(len(messages)))
    start = 0
    if limit is not None:
        start = _start_within_limit(shown, tail, max(0, limit))
    if budget is not None:
        costs = [message_tokens(messages[at], counter) + MESSAGE_OVERHEAD for at in shown]
        start = max(start, _start_within_budget(shown, costs, tail, budget - fixed_tokens))
    start = _round_up(start, tail, chunk, first_position)
    headless = set(chain.from_iterable(step.results for step in paired if step.call < start))
    return tuple(messages[at] for at in shown if at >= start and at not in headless)


def _before_unanswered(waiting: Sequence[Message], settled: int) -> int:
    for position, message in enumerate(waiting):
        if message.role == "user" and message.arrival > settled:
            return position
    return len(waiting)


def _grow(end: int, paired: list[Step]) -> int:
    """Move ``end`` forward until no step lies on both sides of it."""
    for step in paired:  # oldest call first, so one pass meets every step that a move brings in
        if step.call < end:
            end = max(end, step.last + 1)
    return end


def _shrink(end: int, paired: list[Step]) -> int:
    """Move ``end`` back until no step lies on both sides of it."""
    for step in reversed(paired):
        if step.call < end <= step.last:
            end = step.call
    return end


def _presentable(messages: Sequence[Message], paired: list[Step], tail: int) -> list[int]:
    """Return the positions that may be shown: no orphan results or unfinished calls before ``tail``."""
    last = len(messages) - 1
    whole: set[int] = set()
    for step in paired:
        if step.complete or step.call == last:
            whole.update((step.call, *step.results))
    unfinished = {step.call for step in paired} - whole
    return [
        at
        for at, message in enumerate(messages)
        if at >= tail or at in whole or (message.role != "tool" and at not in unfinished)
    ]


def _start_within_limit(shown: list[int], tail: int, limit: int) -> int:
    context = [at for at in shown if at < tail]
    if len(context) <= limit:
        return 0
    return context[len(context) - limit] if limit else tail


def _start_within_budget(shown: list[int], costs: list[int], tail: int, room: int) -> int:
    start = 0
    excess = sum(costs) - room
    for at, cost in zip(shown, costs, strict=True):
        if excess <= 0 or at >= tail:
            break
        excess -= cost
        start = at + 1
    return min(start, tail)


def _round_up(start: int, tail: int, chunk: int, first_position: int) -> int:
    if start == 0:
        return 0
    rounded = start + -(first_position + start) % chunk
    return rounded if rounded < tail else start
