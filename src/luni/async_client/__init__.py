"""`AsyncMemory`, `AsyncSession`, `AsyncTurn`, `AsyncLock` and `AsyncAgenda`: the twins of `luni.client`, awaited."""

from luni.async_client.agenda import AsyncAgenda
from luni.async_client.lock import AsyncLock
from luni.async_client.memory import AsyncMemory
from luni.async_client.session import AsyncSession
from luni.async_client.turn import AsyncTurn

__all__ = ["AsyncAgenda", "AsyncLock", "AsyncMemory", "AsyncSession", "AsyncTurn"]
