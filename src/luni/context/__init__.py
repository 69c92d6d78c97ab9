"""From stored state to a prompt: pure functions, no I/O, no clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from luni.context import render
from luni.context.render import focus_note, memory_note
from luni.context.summary import SUMMARY_LIMIT, Summariser, clip, extractive
from luni.context.tokens import ESTIMATE, MESSAGE_OVERHEAD, TokenCounter, estimate, message_tokens
from luni.context.window import FOLD_CHUNK, foldable, select
from luni.models import Discreet, Message

if TYPE_CHECKING:
    from collections.abc import Sequence

    from luni.settings import Policy

__all__ = [
    "ESTIMATE",
    "FOLD_CHUNK",
    "MESSAGE_OVERHEAD",
    "SUMMARY_LIMIT",
    "Context",
    "Summariser",
    "TokenCounter",
    "assemble",
    "clip",
    "estimate",
    "extractive",
    "focus_note",
    "foldable",
    "memory_note",
    "message_tokens",
    "select",
]


class Context(Discreet, frozen=True):
    """What a model may see of a conversation at one moment.

    Attributes:
        summary: What was folded, in a few hundred characters.
        focus: What the user is after.
        messages: Oldest first, the current ones last.
        current: How many trailing messages are being answered.
        prompt_tokens: Of everything the renderings give, except the application's system prompt.
        full_history_tokens: What sending every message of the session would cost, framing included.
        language: In which language luni's own words in the prompt are; ``"pt"`` is known, others read English.
        partial: Part of the session was evicted by the server.
        damaged: Stored items that could not be read and were left out.
        held: Every message held, also those that the policy left out, oldest first.
        first_position: How many messages of the session precede ``held[0]``.
        as_of: While the server is away: up to when this host knows the session, in seconds since the epoch; else ``None``.
        dead_letters: How many acknowledged operations of the session the server has refused for good after an outage: what they
            said is not in here (`luni journal list --dead`).
    """

    _shown = ("current", "prompt_tokens", "full_history_tokens", "partial", "damaged")

    summary: str
    focus: str
    messages: tuple[Message, ...]
    current: int = 0
    prompt_tokens: int = 0
    full_history_tokens: int = 0
    language: str = "en"
    partial: bool = False
    damaged: int = 0
    held: tuple[Message, ...] = ()
    first_position: int = 0
    as_of: float | None = None
    dead_letters: int = 0

    @property
    def degraded(self) -> bool:
        """Whether the server is away and this is what this host knows."""
        return self.as_of is not None

    def render(self, policy: Policy, *, counter: TokenCounter = ESTIMATE) -> Context:
        """Return the same moment's context under another policy: its window, budget and language. Pure."""
        chosen = assemble(
            summary=self.summary,
            focus=self.focus,
            messages=self.held,
            current=self.current,
            history_tokens=0,
            history_messages=0,
            limit=policy.prompt_window,
            budget=policy.token_budget,
            counter=counter,
            language=policy.language,
            first_position=self.first_position,
            partial=self.partial,
            damaged=self.damaged,
            as_of=self.as_of,
            dead_letters=self.dead_letters,
        )
        return msgspec.structs.replace(chosen, full_history_tokens=self.full_history_tokens)

    def to_openai(self, *, system: str | None = None) -> list[dict[str, Any]]:
        """Return the messages for an OpenAI-compatible chat endpoint; only ``system`` instructs, notes are quoted."""
        return render.to_openai(self, system=system)

    def to_anthropic(self, *, system: str | None = None) -> dict[str, Any]:
        """Return ``messages``, and ``system`` if given, for Anthropic's messages endpoint; notes are quoted."""
        return render.to_anthropic(self, system=system)

    def to_text(self) -> str:
        """Return the context as readable text with a label for each speaker."""
        return render.to_text(self)


def assemble(
    *,
    summary: str,
    focus: str,
    messages: Sequence[Message],
    current: int,
    history_tokens: int,
    history_messages: int,
    limit: int | None = None,
    budget: int | None = None,
    counter: TokenCounter = ESTIMATE,
    language: str = "en",
    first_position: int = 0,
    partial: bool = False,
    damaged: int = 0,
    as_of: float | None = None,
    dead_letters: int = 0,
) -> Context:
    """Make the context of a turn: choose the messages, and count what they and the notes cost.

    Args:
        summary: The stored summary.
        focus: What the user is after; ``""`` if nothing is known.
        messages: The stored window, oldest first, the ones being answered last.
        current: How many of them are being answered.
        history_tokens: Tokens of every message of the session, framing not included.
        history_messages: How many messages the session has had.
        limit: How many messages before the current ones the prompt may show; ``None`` for all.
        budget: How many tokens the prompt may have besides the application's system prompt; ``None`` for any.
        counter: What counts tokens where no count of its own is stored.
        language: In which language luni's own words are.
        first_position: How many messages of the session precede ``messages[0]``.
        partial: Part of the session was evicted by the server.
        damaged: How many stored items could not be read.
        as_of: Up to when the session is known, where the server is away.
        dead_letters: How many of its operations the server has refused for good.
    """
    notes = (memory_note(summary, language=language), focus_note(focus, language=language))
    fixed = sum(counter.count(note) + MESSAGE_OVERHEAD for note in notes if note)
    chosen = select(
        messages,
        current=current,
        limit=limit,
        budget=budget,
        fixed_tokens=fixed,
        counter=counter,
        first_position=first_position,
    )
    spoken = sum(message_tokens(message, counter) for message in chosen)
    return Context(
        summary=summary,
        focus=focus,
        messages=chosen,
        current=min(max(0, current), len(chosen)),
        prompt_tokens=fixed + spoken + MESSAGE_OVERHEAD * len(chosen),
        full_history_tokens=history_tokens + MESSAGE_OVERHEAD * history_messages,
        language=language,
        partial=partial,
        damaged=damaged,
        held=tuple(messages),
        first_position=first_position,
        as_of=as_of,
        dead_letters=dead_letters,
    )
