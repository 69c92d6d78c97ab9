"""The wire contract of pauses, queues, outboxes and sweepers' lists, row by row, as another program reads it."""

import json
import time

from conformance.foreign import base, ctx
from luni import Policy
from luni.testing.conformance.bursts import one_step
from luni.testing.conformance.store import talk

OUTBOX = {"*": Policy(outbox=True)}


def lists(store, name):
    return f"{store.namespace}:tenant:shop:{name}"


def test_a_pause_is_1_and_says_who_until_when(server_store):
    store = server_store
    session = store.session()
    before = int(time.time() * 1000)
    session.pause(for_seconds=60, by="carla", reason="reembolso")
    fields = ctx(store)
    assert fields["paused"] == "1"
    until, at, note = fields["pause"].split("|", 2)
    assert int(until) - int(at) == 60_000
    assert 0 <= int(at) - before < 5_000
    assert json.loads(note) == ["carla", "reembolso"]
    session.resume()
    assert (ctx(store)["paused"], ctx(store)["pause"]) == ("0", "")


def test_a_pause_that_is_over_is_0_again_at_the_next_write(server_store):
    store = server_store
    session = store.session()
    session.pause(for_seconds=60)
    store.let_pass(61)
    assert session.info().paused is False
    assert ctx(store)["paused"] == "1", "reading writes nothing"
    session.receive("oi", message_id="1")
    assert (ctx(store)["paused"], ctx(store)["pause"]) == ("0", "")


def test_what_another_program_resumes_is_resumed(server_store):
    store = server_store
    session = store.session()
    session.receive("oi", message_id="1")
    session.pause(by="carla")
    store.raw.hset(f"{base(store)}:ctx", "paused", "0")
    with session.turn() as turn:
        assert turn.state == "open"
        turn.reply("olá")
    assert ctx(store)["pause"] == ""


def test_what_waits_is_listed_by_its_oldest_arrival(server_store):
    store = server_store
    session = store.session()
    before = int(time.time() * 1000)
    session.receive("oi", message_id="1")
    session.receive("alguém?", message_id="2")
    ((member, score),) = store.raw.zrange(lists(store, "waiting"), 0, -1, withscores=True)
    assert member == b"web:ana"
    assert 0 <= score - before < 5_000
    with session.turn() as turn:
        turn.reply("olá")
    assert store.raw.exists(lists(store, "waiting")) == 0


def test_an_unsent_reply_is_a_field_of_ctx_and_the_session_is_listed(server_store):
    store = server_store
    session = store.session(policies=OUTBOX)
    talk(session, "oi")
    reply = session.messages()[-1]
    stored = json.loads(ctx(store)[f"o:{reply.id}"])
    assert (stored["text"], stored["id"]) == ("re: oi", reply.id)
    assert ctx(store)["unsent"] == "1"
    assert store.raw.zscore(lists(store, "unsent"), "web:ana") == stored["timestamp"]
    assert store.raw.pttl(lists(store, "unsent")) > 30 * 86_400_000
    session.mark_sent(reply.id, provider_id='SM"1')
    assert ctx(store)["unsent"] == "0"
    assert not [name for name in ctx(store) if name.startswith("o:")]
    assert store.raw.exists(lists(store, "unsent")) == 0
    newest = json.loads(store.raw.lindex(f"{base(store)}:msgs", 0))
    assert newest["provider_id"] == 'SM"1'


def test_a_claim_names_its_claimer_and_its_end(server_store):
    store = server_store
    store.session().receive("oi", message_id="1")
    before = int(time.time() * 1000)
    assert len(store.open(lease=5.0).unanswered(older_than=0)) == 1
    ((name, claim),) = store.raw.hgetall(lists(store, "claims")).items()
    score = store.raw.zscore(lists(store, "waiting"), "web:ana")
    assert name.decode() == f"waiting|web:ana|{score:.0f}"
    assert 0 <= int(claim.decode().rpartition("|")[2]) - before - 5_000 < 5_000
    assert 0 < store.raw.pttl(lists(store, "claims")) <= 5_000


def test_a_session_that_is_gone_leaves_the_list_when_a_sweeper_meets_it(server_store):
    store = server_store
    store.session().receive("oi", message_id="1")
    store.raw.delete(f"{base(store)}:ctx")  # evicted
    assert store.raw.zcard(lists(store, "waiting")) == 1
    assert list(store.open().unanswered(older_than=0)) == []
    assert store.raw.zcard(lists(store, "waiting")) == 0


def test_the_queue_is_a_field_of_ctx(server_store):
    store = server_store
    holder = store.session().turn("um", message_id="1").open()
    one_step(store.session().turn("dois", message_id="2", wait=60))
    ticket, until = ctx(store)["queue"].split(",")
    assert ticket.count(".") == 1
    assert 0 < int(until) - int(time.time() * 1000) <= 2_000
    holder.close()
