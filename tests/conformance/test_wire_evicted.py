"""A server that evicts, restarts or loses its scripts: seen and reported, never shown as whole."""

from conformance.foreign import base, ctx
from luni.testing.conformance.store import rounds, talk


def test_a_session_whose_messages_were_evicted_is_shown_as_partial(server_store):
    store = server_store
    rounds(store.session(), 5)
    assert not store.session().context().partial
    store.raw.delete(f"{base(store)}:msgs")
    assert store.session().context().partial
    with store.session().turn("ainda aí?", message_id="x") as turn:
        assert turn.context.partial
        turn.reply("sim")
    assert store.session().context().partial


def test_a_session_whose_folding_messages_were_evicted_is_shown_as_partial(server_store):
    store = server_store
    for number in range(25):
        store.session().append("system", f"s{number}")
    assert not store.session().context().partial
    store.raw.delete(f"{base(store)}:fold")
    assert store.session().context().partial


def test_messages_whose_session_was_evicted_are_not_shown_as_the_next_ones(server_store):
    store = server_store
    rounds(store.session(), 3)
    store.raw.delete(f"{base(store)}:ctx")
    with store.session().turn("oi de novo", message_id="new") as turn:
        context = turn.context
        assert context.partial or [m.text for m in context.messages] == ["oi de novo"]
        turn.reply("olá")


def test_a_message_whose_record_was_evicted_is_still_shown_and_settled(server_store):
    store = server_store
    store.session().receive("por favor", message_id="1")
    store.raw.delete(f"{base(store)}:seen")
    with store.session().turn("alô?", message_id="2") as turn:
        assert [m.text for m in turn.context.messages] == ["por favor", "alô?"]
        turn.reply("desculpe")
    assert store.session().info().unanswered == 0


def test_a_session_without_its_index_is_found_again_after_activity_and_every_key_still_expires(server_store):
    store = server_store
    talk(store.session(), "oi")
    session_id = ctx(store)["sessionId"]
    store.raw.delete(f"{store.namespace}:sess:id:{session_id}", f"{store.namespace}:tenant:shop:sessions")
    assert store.open().find(session_id, tenant="shop") is None
    talk(store.session(), "oi", begin=2)
    assert store.open().find(session_id, tenant="shop") is not None
    assert len(store.open().sessions("shop")) == 1
    assert all(store.raw.pttl(key) > 0 for key in store.raw.scan_iter(match=f"{store.namespace}:*"))


def test_a_tenants_list_that_was_empty_for_a_moment_still_expires(server_store):
    store = server_store
    talk(store.session("ana"), "oi")
    talk(store.session("bob"), "oi")
    store.session("bob").end()
    store.session("ana").end()
    store.session("ana").receive("oi", message_id="x")
    store.session("ana").receive("oi", message_id="y")
    store.session("ana").receive("oi", message_id="z")
    never = [key for key in store.raw.scan_iter(match=f"{store.namespace}:*") if store.raw.pttl(key) <= 0]
    assert never == []


def test_the_scripts_may_be_flushed_between_any_two_calls(server_store):
    store = server_store
    session = store.session()
    for number in range(3):
        store.raw.script_flush()
        turn = session.turn(f"u{number}", message_id=str(number)).open()
        store.raw.script_flush()
        turn.reply("a")
        store.raw.script_flush()
        session.append("system", "s")
        store.raw.script_flush()
        assert session.info().message_count == 3 * number + 3


def test_two_namespaces_on_one_server_do_not_meet(server_store):
    store = server_store
    talk(store.session(), "oi")
    assert store.session(namespace=f"{store.namespace}-other").info() is None
