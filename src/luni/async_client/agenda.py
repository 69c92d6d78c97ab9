"""`AsyncAgenda`: the client of a resource's agenda for an event loop."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from luni import flows
from luni.agenda import AgendaBase
from luni.async_client.documented import documented_like
from luni.async_client.lock import AsyncLock
from luni.client import Agenda
from luni.locks import locked_place
from luni.models import Booking, Interval

if TYPE_CHECKING:
    from luni.async_client.memory import AsyncMemory

__all__ = ["AsyncAgenda"]


@documented_like(Agenda)
class AsyncAgenda(AgendaBase):
    """The agenda of one resource, for an event loop: as `Agenda`, awaited."""

    def __init__(self, memory: AsyncMemory, tenant: str, resource: str, capacity: int) -> None:
        super().__init__(memory._agenda_needs(), tenant, resource, capacity)  # noqa: SLF001  the agenda is its memory's
        self._memory = memory

    async def _change(self, flow: flows.Flow) -> Any:
        """Changes of a tenant's agenda go one after the other, so that a writer's marks grow as its operations do."""
        return await self._memory._run(("agenda", self._tenant), flow)  # noqa: SLF001  the agenda is its memory's

    async def _read(self, flow: flows.Flow) -> Any:
        return await self._memory._run(None, flow)  # noqa: SLF001  the same

    async def hold(
        self,
        start: datetime,
        end: datetime,
        *,
        by: str,
        ttl: float | timedelta = 300.0,
        id: str | None = None,
        also: Iterable[AsyncAgenda | str] = (),
        details: dict[str, Any] | None = None,
        token: int | None = None,
    ) -> Booking:
        return await self._change(self._hold_flow(start, end, by, ttl, id, also, details, token))  # type: ignore[no-any-return]

    async def confirm(self, id: str, *, token: int | None = None) -> Booking:
        return await self._change(self._confirm_flow(id, token))  # type: ignore[no-any-return]

    async def cancel(self, id: str, *, token: int | None = None) -> Booking | None:
        return await self._change(self._cancel_flow(id, token))  # type: ignore[no-any-return]

    async def move(
        self,
        id: str,
        start: datetime,
        end: datetime,
        *,
        token: int | None = None,
    ) -> Booking:
        return await self._change(self._move_flow(id, start, end, token))  # type: ignore[no-any-return]

    async def booking(self, id: str) -> Booking | None:
        return await self._read(self._booking_flow(id))  # type: ignore[no-any-return]

    async def bookings(self, start: datetime, end: datetime) -> list[Booking]:
        return await self._read(self._bookings_flow(start, end))  # type: ignore[no-any-return]

    async def free(
        self,
        start: datetime,
        end: datetime,
        *,
        duration: float | timedelta,
        step: float | timedelta | None = None,
    ) -> list[Interval]:
        return await self._read(self._free_flow(start, end, duration, step))  # type: ignore[no-any-return]

    def lock(self, *, ttl: float = 30.0, wait: float = 0.0) -> AsyncLock:
        return AsyncLock(self._memory, locked_place(self._tenant, self.resource), ttl, wait)
