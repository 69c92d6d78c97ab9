"""`luni demo`: the bundled conversations through memory, one of them looked at closely, and all of them delivered again."""

from __future__ import annotations

import hashlib
import secrets
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from luni.client import Memory, Session
from luni.ops.conversations import Conversation, bundled, plan, read
from luni.ops.replay import Advance, Report, replay
from luni.ops.store import open_memory
from luni.settings import Policy, Settings

__all__ = ["Demo", "Example", "demo", "size"]


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """The conversation with the largest saving, as memory has it afterwards.

    ``asked`` is its last question, delivered a second time; ``state`` and ``answer`` are what that delivery got.
    """

    conversation: str
    locale: str
    messages: int
    folded: int
    summary: str
    context: str
    prompt_tokens: int
    full_history_tokens: int
    asked: str
    state: str
    answer: str


class Demo(msgspec.Struct, frozen=True, kw_only=True):
    """What the demo shows. ``unchanged``: not a byte of any session changed when everything was delivered again."""

    report: Report
    again: Report
    unchanged: bool
    locales: dict[str, int]
    place: str
    server: str
    example: Example


def size() -> int:
    """Return how many bytes the demo reads, both times together."""
    return 2 * bundled().stat().st_size


def demo(settings: Settings | None, *, advance: Advance | None = None) -> Demo:
    """Run the demo on the store of ``settings``, on a temporary SQLite file with ``None``; leave nothing behind."""
    if settings is not None:
        return _on(settings, advance)
    with tempfile.TemporaryDirectory(prefix="luni-demo-") as folder:
        return _on(Settings(url=f"sqlite:///{folder}/luni.db"), advance)


def _on(settings: Settings, advance: Advance | None) -> Demo:
    path, tenant = bundled(), f"demo-{secrets.token_hex(4)}"
    recorded = [line.conversation for line in read([path]) if line.conversation is not None]
    with open_memory(settings, policies=_in_its_language) as memory:
        sessions = [memory.session(tenant=tenant, channel=one.source, user=one.id) for one in recorded]
        try:
            return _shown(memory, path, recorded, sessions, advance)
        finally:
            for session in sessions:
                session.end()


def _in_its_language(_tenant: str, channel: str) -> Policy:
    return Policy(language="pt" if channel.startswith("pt") else "en")


def _shown(memory: Memory, path: Path, recorded: list[Conversation], sessions: list[Session], advance: Advance | None) -> Demo:
    tenant = sessions[0].tenant
    first = replay(memory, [path], tenant=tenant, advance=advance)
    before = _digest(sessions)
    again = replay(memory, [path], tenant=tenant, advance=advance)
    place = next(i for i, one in enumerate(recorded) if one.id == first.largest_saving_conversation)
    described: dict[str, Any] = memory.describe()
    return Demo(
        report=first,
        again=again,
        unchanged=_digest(sessions) == before,
        locales=dict(Counter(one.locale for one in recorded)),
        place=described["place"],
        server=described["server"],
        example=_example(recorded[place], sessions[place]),
    )


def _digest(sessions: list[Session]) -> bytes:
    return hashlib.sha256(b"".join(msgspec.json.encode(session.export()) for session in sessions)).digest()


def _example(conversation: Conversation, session: Session) -> Example:
    context, info = session.context(), session.info()
    asked = [step.first for step in plan(conversation.messages) if step.kind == "turn"][-1]
    text = conversation.messages[asked].text
    with session.turn(text, message_id=conversation.message_id(asked)) as turn:
        state, answer = turn.state, turn.answer or ()
    return Example(
        conversation=conversation.id,
        locale=conversation.locale,
        messages=info.message_count if info else 0,
        folded=info.folded if info else 0,
        summary=context.summary,
        context=context.to_text(),
        prompt_tokens=context.prompt_tokens,
        full_history_tokens=context.full_history_tokens,
        asked=text,
        state=state,
        answer="\n".join(message.text for message in answer),
    )
