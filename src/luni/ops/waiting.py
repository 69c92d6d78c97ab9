"""`luni unanswered` and `luni unsent`: what waits, and for how long. Looking claims nothing."""

from __future__ import annotations

import msgspec

from luni.client import Memory

__all__ = ["Waiting", "unanswered", "unsent"]


class Waiting(msgspec.Struct, frozen=True, omit_defaults=True):
    """A conversation that waits for an answer, or a message that waits to be sent. Times are seconds."""

    tenant: str
    channel: str
    user: str
    session_id: str
    since: float
    waited: float
    message_id: str = ""
    text: str = ""


def unanswered(memory: Memory, tenant: str | None, *, older_than: float, limit: int) -> list[Waiting]:
    """Return conversations that wait for an answer, the longest waiting first."""
    page = memory.unanswered(tenant, older_than=older_than, limit=limit, claim=False)
    return [Waiting(i.tenant, i.channel, i.user, i.session_id, i.since, i.waited) for i in page]


def unsent(memory: Memory, tenant: str | None, *, older_than: float, limit: int) -> list[Waiting]:
    """Return messages that wait to be sent, in the order to send them."""
    page = memory.unsent(tenant, older_than=older_than, limit=limit, claim=False)
    return [
        Waiting(i.tenant, i.channel, i.user, i.session_id, i.since, i.waited, i.message.id, i.message.text) for i in page
    ]  # fmt: skip
