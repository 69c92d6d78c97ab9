"""What the server refuses for good after an outage: its session says so, nobody is held up, and a person decides."""

import pytest
from redis import Redis
from test_failover import DURABLE, talk, texts, until

from luni import SessionUpdate
from luni.events import ReplayRefused


@pytest.fixture
def refused(own_server, run, namespace, fallback):
    """Ana's change meets what another program has broken meanwhile; Bea's message meets nothing."""
    server, events = own_server(*DURABLE), []
    memory = run.open(server.url, namespace=namespace, fallback=fallback, on_event=events.append)
    ana, bea = (memory.session(tenant="shop", channel="web", user=user) for user in ("ana", "bea"))
    talk(run, ana, "hello", "m1")
    until(lambda: not len(memory._backend.keeper.tails))
    server.stop()
    run(ana.update(SessionUpdate(metadata={"size": "L"})))
    talk(run, bea, "hello", "m1")
    server.start()
    key = f"{namespace}:sess:shop:web:ana:ctx"
    with Redis(port=server.port) as plain:
        (whole,) = plain.hmget(key, "metadata")
        plain.hset(key, "metadata", "[broken]")
    until(lambda: not run(memory.health()).degraded)
    yield memory, ana, bea, lambda: Redis(port=server.port).hset(key, "metadata", whole)
    assert [one.kind for one in events if isinstance(one, ReplayRefused)] == ["update"]


def test_a_session_says_that_something_of_it_is_dead(refused, run):
    memory, ana, bea, mend = refused
    assert run(memory.health()).dead_letters == 1
    turn = run(ana.turn("more", message_id="m2").open())
    assert turn.context.dead_letters == 1
    run(turn.skip())
    assert run(bea.context()).dead_letters == 0
    assert {info.user: info.dead_letters for info in run(memory.sessions("shop"))} == {"ana": 1, "bea": 0}
    mend()
    assert run(ana.info()).dead_letters == 1


def test_a_dead_entry_is_retried_under_a_new_id(refused, run):
    memory, ana, _, mend = refused
    journal = memory._backend.keeper.journal
    (dead,) = journal.entries(state="d", limit=9)
    mend()
    assert journal.retry(dead.id)
    (waiting,) = journal.entries(state="p", limit=9)
    assert waiting.id > dead.id
    until(lambda: not run(memory.health()).degraded)
    until(lambda: run(ana.info()).dead_letters == 0)
    assert run(ana.info()).metadata["size"] == "L"


def test_a_dropped_entry_flags_nobody(refused, run):
    memory, ana, _, mend = refused
    journal = memory._backend.keeper.journal
    (dead,) = journal.entries(state="d", limit=9)
    assert journal.drop(dead.id)
    mend()
    until(lambda: run(ana.info()).dead_letters == 0)
    assert run(memory.health()).dead_letters == 0
    assert texts(run, ana) == ["hello", "re: hello"]
