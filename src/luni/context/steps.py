"""Which tool result belongs to which call: a step is shown, dropped and folded whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from luni.models import Message, ToolCall

__all__ = ["Step", "calls", "has_steps", "steps"]


class Step(msgspec.Struct, frozen=True):
    """An assistant message that calls tools, and the messages that answer it, as positions in their list."""

    call: int
    results: tuple[int, ...]
    complete: bool

    @property
    def last(self) -> int:
        """The position of the newest message of this step."""
        return max(self.results, default=self.call)


def calls(message: Message) -> tuple[ToolCall, ...]:
    """Return the calls of a message that a model may see: one for each id, none of a redacted message."""
    if not message.tool_calls or message.role != "assistant" or message.redacted:
        return ()
    return tuple({call.id: call for call in message.tool_calls}.values())


def has_steps(messages: Sequence[Message]) -> bool:
    """Tell whether any message is a call or a result; most conversations have none, and need no pairing."""
    return any(message.tool_calls or message.role == "tool" for message in messages)


def steps(messages: Sequence[Message]) -> list[Step]:
    """Pair calls with results, oldest call first.

    A result belongs to the newest earlier call of its id that has no result yet: some models use an id again.
    A result that finds none is an orphan, and in no step.
    """
    waiting: dict[str | None, int] = {}
    asked: dict[int, int] = {}
    answered: dict[int, list[int]] = {}
    for position, message in enumerate(messages):
        if message.role == "tool":
            call = waiting.pop(message.tool_call_id, None)
            if call is not None:
                answered[call].append(position)
        elif made := calls(message):
            waiting.update((call.id, position) for call in made)
            asked[position], answered[position] = len(made), []
    return [Step(call, tuple(answered[call]), len(answered[call]) == count) for call, count in asked.items()]
