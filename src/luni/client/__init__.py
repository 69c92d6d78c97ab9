"""The synchronous client. `luni.async_client` is its twin, method for method."""

from luni.client.agenda import Agenda
from luni.client.lock import Lock
from luni.client.memory import Memory
from luni.client.session import Session
from luni.client.turn import Turn

__all__ = ["Agenda", "Lock", "Memory", "Session", "Turn"]
