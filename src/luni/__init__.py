"""luni: the short-term memory of chat assistants."""

from typing import TYPE_CHECKING, Any

from luni import errors
from luni.client import Agenda, Lock, Memory, Session, Turn
from luni.context import Context, Summariser, TokenCounter
from luni.models import (
    REMOVE,
    Attachment,
    Booking,
    Health,
    Interval,
    Message,
    Page,
    Receipt,
    Received,
    Replied,
    SessionExport,
    SessionInfo,
    SessionUpdate,
    ToolCall,
    ToolResult,
    Unanswered,
    Unsent,
)
from luni.settings import Policy, Settings

if TYPE_CHECKING:
    from luni.async_client import AsyncAgenda, AsyncLock, AsyncMemory, AsyncSession, AsyncTurn

__all__ = [
    "REMOVE",
    "Agenda",
    "AsyncAgenda",
    "AsyncLock",
    "AsyncMemory",
    "AsyncSession",
    "AsyncTurn",
    "Attachment",
    "Booking",
    "Context",
    "Health",
    "Interval",
    "Lock",
    "Memory",
    "Message",
    "Page",
    "Policy",
    "Receipt",
    "Received",
    "Replied",
    "Session",
    "SessionExport",
    "SessionInfo",
    "SessionUpdate",
    "Settings",
    "Summariser",
    "TokenCounter",
    "ToolCall",
    "ToolResult",
    "Turn",
    "Unanswered",
    "Unsent",
    "errors",
]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import the asynchronous client when it is first asked for: asyncio is a third of the time that importing luni takes."""
    if name in {"AsyncAgenda", "AsyncLock", "AsyncMemory", "AsyncSession", "AsyncTurn"}:
        from luni import async_client  # noqa: PLC0415  see above

        return getattr(async_client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
