"""A fallback is one namespace's of one server; nobody books what that may have lost, who was erased there is gone here."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
from outages import KEEPING, caught_up, reaches

from luni.errors import Degraded, LuniError, Unavailable
from luni.events import StoreLost

WHO = {"tenant": "shop", "channel": "web", "user": "ana"}
NOON = datetime(2030, 5, 4, 12, tzinfo=UTC)


@pytest.fixture
def fallback(tmp_path):
    return f"sqlite:///{tmp_path / 'local.db'}"


def settled(memory):
    """Wait until the mirror has everything."""
    assert reaches(lambda: not len(memory._backend.keeper.tails) and memory._backend.keeper.healer._met)


def test_two_namespaces_of_one_fallback_know_nothing_of_each_other(own_server, run, fallback):
    server = own_server(*KEEPING)
    prod = run.open(server.url, namespace="prod", fallback=fallback)
    test = run.open(server.url, namespace="test", fallback=fallback)
    run(prod.session(**WHO).append("user", "prod's secret"))
    run(test.session(tenant="shop", channel="web", user="ben").append("user", "hello"))
    server.stop()
    run(test.session(**WHO).append("user", "test's own"))
    assert [m.text for m in run(prod.session(**WHO).messages())] == ["prod's secret"]
    assert [m.text for m in run(test.session(**WHO).messages())] == ["test's own"]


@pytest.mark.parametrize("run", ["sync"], indirect=True)
def test_another_server_gets_nothing_of_the_first_one_s(own_server, run, namespace, fallback):
    first, second, events = own_server(*KEEPING), own_server(*KEEPING), []
    memory = run.open(first.url, namespace=namespace, fallback=fallback)
    memory.session(**WHO).append("user", "the first server's secret")
    settled(memory)
    first.stop()
    memory.session(**WHO).append("user", "still the first one's")
    memory.close()

    other = run.open(second.url, namespace=namespace, fallback=fallback, on_event=events.append)
    assert other.session(**WHO).info() is None
    ben = other.session(tenant="shop", channel="web", user="ben")
    ben.append("user", "hello")
    assert reaches(lambda: other._backend.keeper.healer._met)
    time.sleep(0.5)
    assert other.session(**WHO).info() is None
    assert not [event for event in events if isinstance(event, StoreLost)]
    second.stop()
    with pytest.raises(Unavailable, match="belongs to another server"):
        ben.append("user", "nobody keeps this")
    other.close()

    first.start()
    again = run.open(first.url, namespace=namespace, fallback=fallback)
    again.session(tenant="shop", channel="web", user="ben").info()
    assert caught_up(again)
    assert [m.text for m in again.session(**WHO).messages()] == ["the first server's secret", "still the first one's"]


@pytest.mark.parametrize("run", ["sync"], indirect=True)
def test_the_same_server_at_another_address_is_the_same(own_server, proxy_to, run, namespace, fallback):
    server = own_server(*KEEPING)
    memory = run.open(proxy_to(server).url, namespace=namespace, fallback=fallback)
    memory.session(**WHO).append("user", "one")
    settled(memory)
    memory.close()
    other = run.open(server.url, namespace=namespace, fallback=fallback)
    other.session(**WHO).append("user", "two")
    assert reaches(lambda: other._backend.keeper.healer._met and not other._backend.keeper.belonging.foreign)
    server.stop()
    other.session(**WHO).append("user", "three")
    assert [m.text for m in other.session(**WHO).messages()] == ["one", "two", "three"]


@pytest.mark.parametrize("run", ["sync"], indirect=True)
def test_nobody_books_on_a_server_that_is_back_empty(own_server, run, namespace, fallback):
    """Not in the moment before that is noticed either."""
    server = own_server()
    memory = run.open(server.url, namespace=namespace, fallback=fallback)
    for user in range(200):
        memory.session(tenant="shop", channel="web", user=f"u{user}").append("user", "hello")
    agenda = memory.agenda("shop", "chair")
    hold = agenda.hold(NOON, NOON + timedelta(hours=1), by="ana", ttl=60)
    agenda.confirm(hold.id)
    settled(memory)
    server.stop()
    server.start()
    refused, until = 0, time.monotonic() + 2.5
    while time.monotonic() < until:
        try:
            booked = agenda.hold(NOON, NOON + timedelta(hours=1), by="ben", ttl=60)
        except (Degraded, LuniError):
            refused += 1
            time.sleep(0.01)
        else:
            pytest.fail(f"booked twice after {refused} refusals: {booked.by}")
    assert refused > 10
    assert memory.reopen_bookings()
    assert agenda.hold(NOON, NOON + timedelta(hours=1), by="ben", ttl=60).by == "ben"


@pytest.mark.parametrize("run", ["sync"], indirect=True)
def test_who_was_erased_on_another_host_is_erased_here(own_server, run, namespace, tmp_path):
    server = own_server(*KEEPING)
    here = run.open(server.url, namespace=namespace, fallback=f"sqlite:///{tmp_path / 'here.db'}")
    there = run.open(server.url, namespace=namespace, fallback=f"sqlite:///{tmp_path / 'there.db'}")
    here.session(**WHO).append("user", "zqcanary")
    here.session(tenant="shop", channel="web", user="ben").append("user", "hello")
    settled(here)
    there.erase("shop", "ana")

    def gone():
        here.session(tenant="shop", channel="web", user="ben").append("user", "more")
        return not any(b"zqcanary" in file.read_bytes() for file in tmp_path.glob("here*"))

    assert reaches(gone, 20)
    server.stop()
    with pytest.raises(Degraded, match="has not served this session"):
        here.session(**WHO).messages()
    assert here.session(tenant="shop", channel="web", user="ben").messages()[-1].text == "more", "others stay"
