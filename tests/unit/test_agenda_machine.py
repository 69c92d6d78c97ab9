"""Random calls of agendas and locks, on SQLite and on servers, against a model of a few lines."""

from __future__ import annotations

import itertools
import os
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule, run_state_machine_as_test
from places import OnFile, OnServer

from luni import Memory
from luni.errors import Fenced, HoldExpired, IdReused, LockHeld, SlotTaken
from luni.testing.servers import Server, available

DAY, HOUR = datetime(2031, 5, 6, tzinfo=UTC), timedelta(hours=1)
CAPACITY = {"chair": 1, "sofa": 1, "class": 2}
HOLD = 30.0
SOAK = max(1, int(os.environ.get("LUNI_SOAK", "1")))
EXAMPLES = itertools.count()

resources = st.sampled_from(sorted(CAPACITY))
starts = st.integers(0, 12)
lengths = st.integers(1, 3)
ids = st.sampled_from(["a", "b", "c", "d:1", "e|2", "f/3"])


class Agendas(RuleBasedStateMachine):
    """Two memories share a store. The model: what each id is, and where."""

    place_of: Any
    locks = Bundle("locks")

    @initialize()
    def begin(self) -> None:
        self.place = type(self).place_of()
        tenant = f"t{next(EXAMPLES)}-{secrets.token_hex(4)}"
        self.tenant = tenant
        self.memories = [Memory.open(self.place.url(), clock=self.place.clock) for _ in range(2)]
        self.now = 0.0
        self.booked: dict[str, dict[str, Any]] = {}
        self.held: dict[str, int] = {}

    def agenda(self, resource: str, which: int = 0) -> Any:
        return self.memories[which].agenda(self.tenant, resource, capacity=CAPACITY[resource])

    def alive(self, name: str) -> dict[str, Any] | None:
        """The booking of an id, a cancelled one too; an expired hold is as good as gone."""
        one = self.booked.get(name)
        return None if one is None or (one["state"] == "held" and one["until"] <= self.now) else one

    def fits(self, where: tuple[str, ...], span: tuple[int, int], name: str) -> bool:
        """Whether every resource has a unit that is free; units are given as the store gives them: the first that is."""
        return all(self.unit(resource, span, name) is not None for resource in where)

    def unit(self, resource: str, span: tuple[int, int], name: str) -> int | None:
        own = self.alive(name)
        units = range(CAPACITY[resource])
        preferred = [own["units"][resource]] if own and resource in own["units"] else []
        for unit in (*preferred, *units):
            others = [o for n in self.booked if n != name and (o := self.alive(n)) and o["state"] != "cancelled"]
            busy = [o["span"] for o in others if o["units"].get(resource) == unit]
            if all(span[1] <= other[0] or span[0] >= other[1] for other in busy):
                return unit
        return None

    @rule(
        resource=resources,
        also=st.sampled_from(["", "chair", "class"]),
        start=starts,
        length=lengths,
        name=ids,
        which=st.integers(0, 1),
    )
    def hold(self, resource: str, also: str, start: int, length: int, name: str, which: int) -> None:
        where = tuple(dict.fromkeys([resource, *([also] if also else [])]))
        span, one = (start, start + length), self.alive(name)
        clash = one is not None and (one["state"] == "cancelled" or one["where"] != where or one["span"] != span)
        if one is not None and not set(where) & set(one["where"]):
            return  # an id is one resource's: elsewhere it would be another booking, which this model does not know
        expected = IdReused if clash else None if one else None if self.fits(where, span, name) else SlotTaken
        others = [self.agenda(extra, which) for extra in where[1:]]
        try:
            found = self.agenda(resource, which).hold(
                DAY + span[0] * HOUR, DAY + span[1] * HOUR, by=f"by-{name}", id=name, ttl=HOLD, also=others
            )  # fmt: skip
        except (IdReused, SlotTaken) as error:
            assert type(error) is expected  # noqa: PT017  the model says which, if any
            return
        assert expected is None
        if one is None:
            units = {each: self.unit(each, span, name) for each in where}
            self.booked[name] = {"state": "held", "span": span, "where": where, "units": units, "until": self.now + HOLD}
        assert found.state == self.booked[name]["state"]

    @rule(name=ids, which=st.integers(0, 1))
    def confirm(self, name: str, which: int) -> None:
        one = self.alive(name)
        for resource in one["where"] if one else ("chair",):
            try:
                assert self.agenda(resource, which).confirm(name).state == "confirmed"
                assert one is not None
                assert one["state"] != "cancelled"
                one["state"] = "confirmed"
            except HoldExpired:
                assert one is None or one["state"] == "cancelled"

    @rule(name=ids, which=st.integers(0, 1))
    def cancel(self, name: str, which: int) -> None:
        one = self.alive(name)
        found = self.agenda(one["where"][-1] if one else "chair", which).cancel(name)
        assert (found is None) == (one is None)
        if one:
            one["state"] = "cancelled"

    @rule(name=ids, start=starts, length=lengths)
    def move(self, name: str, start: int, length: int) -> None:
        one, span = self.alive(name), (start, start + length)
        gone = one is None or one["state"] == "cancelled"
        fits = not gone and (one["span"] == span or self.fits(one["where"], span, name))
        try:
            self.agenda(one["where"][0] if one else "chair").move(name, DAY + span[0] * HOUR, DAY + span[1] * HOUR)
        except HoldExpired:
            assert gone
        except SlotTaken:
            assert not gone
            assert not fits
        else:
            assert fits
            if one["span"] != span:
                one["units"] = {resource: self.unit(resource, span, name) for resource in one["where"]}
            one["span"] = span

    @rule(seconds=st.sampled_from([5.0, 40.0]))
    def let_pass(self, seconds: float) -> None:
        if self.place.clock is not None:
            self.place.clock.advance(seconds)
            self.now += seconds

    @rule(target=locks, resource=resources)
    def lock(self, resource: str) -> Any:
        lock = self.memories[1].lock(self.tenant, resource, ttl=86_000)
        try:
            lock.acquire()
        except LockHeld:
            assert resource in self.held
            return resource, None
        assert resource not in self.held
        self.held[resource] = lock.token
        return resource, lock

    @rule(one=consumes(locks))
    def unlock(self, one: Any) -> None:
        resource, lock = one
        if lock is not None:
            assert lock.release()
            del self.held[resource]

    @rule(one=locks, name=ids)
    def guarded(self, one: Any, name: str) -> None:
        """A token counts as long as its lock is held, for the calls of its resource."""
        resource, lock = one
        booking = self.alive(name)
        if lock is None or booking is None or resource not in booking["where"]:
            return
        try:
            self.agenda(resource).cancel(name, token=lock.token)
        except Fenced:
            assert self.held.get(resource) != lock.token
        else:
            assert self.held.get(resource) == lock.token
            booking["state"] = "cancelled"

    @invariant()
    def the_store_is_as_the_model_says(self) -> None:
        if not hasattr(self, "booked"):
            return
        there = {name: one for name in self.booked if (one := self.alive(name)) and one["state"] != "cancelled"}
        for resource in CAPACITY:
            found = self.agenda(resource).bookings(DAY, DAY + 24 * HOUR)
            expected = {name: one for name, one in there.items() if resource in one["where"]}
            assert {one.id: ((one.start - DAY) // HOUR, one.state) for one in found} == {
                name: (one["span"][0], one["state"]) for name, one in expected.items()
            }
            free = self.agenda(resource).free(DAY, DAY + 16 * HOUR, duration=HOUR, step=HOUR)
            assert [(slot.start - DAY) // HOUR for slot in free] == [
                hour for hour in range(16) if self.unit(resource, (hour, hour + 1), "") is not None
            ]
        for name, one in there.items():
            (found_one,) = self.memories[1].bookings(self.tenant, by=f"by-{name}")
            assert (found_one.id, found_one.resources) == (name, one["where"])

    def teardown(self) -> None:
        for memory in getattr(self, "memories", ()):
            memory.close()
        if hasattr(self, "place"):
            self.place.done()


def explore(place_of: Any, examples: int) -> None:
    machine = type("Machine", (Agendas,), {"place_of": staticmethod(place_of)})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples * SOAK, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck),
            derandomize=SOAK == 1, database=None,
        ),
    )  # fmt: skip


def test_agendas_on_sqlite_do_what_the_model_does():
    explore(OnFile, 60)


@pytest.mark.parametrize("kind", ["valkey", "redis"])
def test_agendas_on_a_server_do_what_the_model_does(kind):
    if not available(kind):
        if kind in os.environ.get("LUNI_REQUIRE", "").split(","):
            pytest.fail(f"there is no {kind} server here, and LUNI_REQUIRE asks for one")
        pytest.skip(f"there is no {kind} server here")
    with Server(kind) as server:
        explore(lambda: OnServer(server), 40)
