"""`AsyncMemory`, `AsyncSession` and `AsyncTurn`: the twins of `luni.client`, with the same docstrings, awaited."""

from luni.async_client.memory import AsyncMemory
from luni.async_client.session import AsyncSession
from luni.async_client.turn import AsyncTurn

__all__ = ["AsyncMemory", "AsyncSession", "AsyncTurn"]
