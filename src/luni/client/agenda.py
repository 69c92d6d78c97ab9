"""`Agenda`: the synchronous client of a resource's agenda."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from luni import flows
from luni.agenda import AgendaBase
from luni.client.lock import Lock
from luni.locks import locked_place
from luni.models import Booking, Interval

if TYPE_CHECKING:
    from luni.client.memory import Memory

__all__ = ["Agenda"]


class Agenda(AgendaBase):
    """The agenda of one resource: hold, confirm, cancel, move. Cheap to make; holds no state of its own.

    Intervals are ``[start, end)``: bookings that touch do not overlap. Times are aware datetimes; they are stored, and come
    back, in UTC. Check and change are one atomic step, so no lock is needed for two bookings never to overlap. With ``token``,
    that of the resource's `lock`, a change is `Fenced` unless that lock is held.
    """

    def __init__(self, memory: Memory, tenant: str, resource: str, capacity: int) -> None:
        super().__init__(memory._agenda_needs(), tenant, resource, capacity)  # noqa: SLF001  the agenda is its memory's
        self._memory = memory

    def _change(self, flow: flows.Flow) -> Any:
        """Changes of a tenant's agenda go one after the other, so that a writer's marks grow as its operations do."""
        return self._memory._run(("agenda", self._tenant), flow)  # noqa: SLF001  the agenda is its memory's

    def _read(self, flow: flows.Flow) -> Any:
        return self._memory._run(None, flow)  # noqa: SLF001  the same

    def hold(
        self,
        start: datetime,
        end: datetime,
        *,
        by: str,
        ttl: float | timedelta = 300.0,
        id: str | None = None,
        also: Iterable[Agenda | str] = (),
        details: dict[str, Any] | None = None,
        token: int | None = None,
    ) -> Booking:
        """Take ``[start, end)`` for a customer until it is confirmed, for ``ttl`` at the most (0.05 s to 7 days).

        The same ``id``, interval and customer again is the same hold: give an ``id`` that you can say again after a lost answer
        (``None`` gives a new one). ``also`` are other resources that the booking takes, all or none. Raises `SlotTaken` if the
        interval overlaps another booking, `IdReused` if the id names another one, or one that was cancelled.
        """
        return self._change(self._hold_flow(start, end, by, ttl, id, also, details, token))  # type: ignore[no-any-return]

    def confirm(self, id: str, *, token: int | None = None) -> Booking:
        """Confirm a hold: it is a booking now. Confirming again is fine. Raises `HoldExpired` if there is none (any more).

        On a server with replicas the booking is ``pending`` until one of them has it (`Settings.wait_replicas`).
        """
        return self._change(self._confirm_flow(id, token))  # type: ignore[no-any-return]

    def cancel(self, id: str, *, token: int | None = None) -> Booking | None:
        """Cancel a hold or a booking; return it, also if it was cancelled before; ``None`` if there is none.

        Its id stays known, so that a late repetition of its hold does not bring it back.
        """
        return self._change(self._cancel_flow(id, token))  # type: ignore[no-any-return]

    def move(
        self,
        id: str,
        start: datetime,
        end: datetime,
        *,
        token: int | None = None,
    ) -> Booking:
        """Give a hold or a booking another interval, in one step: it has the old one or the new one, never none, never both.

        Raises `SlotTaken` (it keeps the old one), and `HoldExpired` if there is none (any more).
        """
        return self._change(self._move_flow(id, start, end, token))  # type: ignore[no-any-return]

    def booking(self, id: str) -> Booking | None:
        """Return a booking by its id, a cancelled one too; ``None`` if there is none (any more)."""
        return self._read(self._booking_flow(id))  # type: ignore[no-any-return]

    def bookings(self, start: datetime, end: datetime) -> list[Booking]:
        """Return what is held or confirmed within ``[start, end)``, or reaches into it, by its start, as it is at one instant.

        Raises `InvalidInput` if there are more than 10 000.
        """
        return self._read(self._bookings_flow(start, end))  # type: ignore[no-any-return]

    def free(
        self,
        start: datetime,
        end: datetime,
        *,
        duration: float | timedelta,
        step: float | timedelta | None = None,
    ) -> list[Interval]:
        """Return the longest intervals within ``[start, end)`` that are free for at least ``duration``, by their start.

        With ``step``, instead, each interval of exactly ``duration`` that begins a whole number of steps after ``start``: what
        to offer. Another may be faster: only `hold` decides. With a capacity, free is where at least one unit is.
        """
        return self._read(self._free_flow(start, end, duration, step))  # type: ignore[no-any-return]

    def lock(self, *, ttl: float = 30.0, wait: float = 0.0) -> Lock:
        """Return the resource's lock: the tenant's lock of the same name. Its token guards the changes of this agenda.

        For work that is more than one step, say with an outside calendar. Bookings never overlap without it.
        """
        return Lock(self._memory, locked_place(self._tenant, self.resource), ttl, wait)
