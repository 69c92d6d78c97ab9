"""The wire contract, the other way: what another program writes is read, respected and left as it is."""

import json

import pytest

from conformance.foreign import base, ctx, foreign_message, foreign_session, msgs
from luni import SessionUpdate
from luni.errors import Damaged, Fenced
from luni.operations import Renew
from luni.testing.conformance.store import executed, inner, rounds, talk


def test_a_session_of_the_other_program_is_read_and_continued(server_store):
    store = server_store
    fields = foreign_session(store, "oi", "quero cortar o cabelo")
    session = store.session()
    info = session.info()
    assert (info.session_id, info.tenant, info.summary, info.focus) == (
        fields["sessionId"], "shop", "Ana quer cortar o cabelo", "corte",
    )  # fmt: skip
    assert info.variables == {"cidade": "Joinville", "lista": []}
    assert [(m.role, m.text, m.tags) for m in session.messages()] == [
        ("user", "oi", ("whatsapp",)), ("user", "quero cortar o cabelo", ("whatsapp",)),
    ]  # fmt: skip
    with session.turn("amanhã às 15h?", message_id="1") as turn:
        assert not turn.new_session
        assert turn.session_id == fields["sessionId"]
        assert [m.text for m in turn.context.messages] == ["oi", "quero cortar o cabelo", "amanhã às 15h?"]
        assert turn.context.summary == "Ana quer cortar o cabelo"
        assert [m.text for m in turn.messages] == ["amanhã às 15h?"]
        turn.reply("confirmado", update=SessionUpdate(variables={"hora": "15:00"}))
    assert [item["text"] for item in msgs(store)] == ["confirmado", "amanhã às 15h?", "quero cortar o cabelo", "oi"]
    assert store.open().find(fields["sessionId"], tenant="shop") is not None
    after = ctx(store)
    assert after["metadata"] == fields["metadata"]
    assert '"vazio":[]' in after["metadata"]
    assert '"longo":12345678901234567890' in after["metadata"]
    assert '"lista":[]' in after["context"]
    assert json.loads(after["context"])["variables"] == {"cidade": "Joinville", "lista": [], "hora": "15:00"}


def test_a_session_of_the_other_program_is_listed_once_luni_has_met_it(server_store):
    store = server_store
    fields = foreign_session(store, "oi")
    talk(store.session(), "olá")
    assert [info.session_id for info in store.open().sessions("shop")] == [fields["sessionId"]]


def test_a_message_pushed_by_the_other_program_between_turns_is_seen(server_store):
    store = server_store
    talk(store.session(), "oi")
    foreign_message(store, "do outro sistema")
    with store.session().turn("e agora?", message_id="2") as turn:
        assert [m.text for m in turn.context.messages] == ["oi", "re: oi", "do outro sistema", "e agora?"]
        turn.reply("pronto")
    assert len({m.id for m in store.session().messages()}) == 5


def test_a_message_pushed_by_the_other_program_during_a_turn_survives_the_reply(server_store):
    store = server_store
    with store.session().turn("oi", message_id="1") as turn:
        foreign_message(store, "do outro sistema")
        turn.reply("olá")
    assert sorted(m.text for m in store.session().messages()) == ["do outro sistema", "oi", "olá"]


def test_a_conversation_goes_on_while_both_programs_write(server_store):
    store = server_store
    session = store.session()
    for number in range(40):
        talk(session, f"u{number}", begin=number)
        foreign_message(store, f"f{number}")
    assert store.raw.llen(f"{base(store)}:msgs") == 20
    assert store.raw.llen(f"{base(store)}:fold") <= 100
    assert [item["text"] for item in msgs(store)][:3] == ["f39", "re: u39", "u39"]


def test_a_message_pushed_without_trimming_does_not_make_the_window_grow_for_ever(server_store):
    store = server_store
    session = store.session()
    rounds(session, 10)
    for number in range(5):
        store.raw.lpush(f"{base(store)}:msgs", json.dumps({"text": f"f{number}", "timestamp": 1, "tags": []}))
    rounds(session, 3, begin=20)
    assert store.raw.llen(f"{base(store)}:msgs") == 20
    held = [m.text for m in session.messages(limit=200)]
    assert [text for text in held if text.startswith("f")] == [f"f{number}" for number in range(5)]


@pytest.mark.parametrize(
    "item",
    [
        '{"text":"x","timestamp":1700000000000,"tags":[]}',
        '{"text":"x","timestamp":1700000000000.5,"tags":null,"extra":{"deep":[1,2,{}]}}',
        '{"tags":["a"],"timestamp":"1700000000000","text":"x"}',
        '{"text":"x"}',
        ' { "text" : "x", "role": "cliente", "timestamp": 1 , "tags": [1, "a"]}',
    ],
)
def test_a_message_in_the_other_programs_own_style_is_read_and_kept(server_store, item):
    store = server_store
    foreign_session(store)
    store.raw.lpush(f"{base(store)}:msgs", item)
    (message,) = store.session().messages()
    assert message.text == "x"
    assert message.id.startswith("foreign-")
    talk(store.session(), "oi")
    assert store.raw.lindex(f"{base(store)}:msgs", -1).decode() == item


def test_a_change_of_metadata_by_the_other_program_survives(server_store):
    store = server_store
    session = store.session()
    talk(session, "oi")
    with session.turn("mais", message_id="2") as turn:
        store.raw.hset(f"{base(store)}:ctx", "metadata", '{"etapaFunil":"fechado","n":[],"grande":98765432109876543210}')
        turn.reply("ok", update=SessionUpdate(metadata={"meu": True}))
    assert ctx(store)["metadata"] == '{"etapaFunil":"fechado","n":[],"grande":98765432109876543210,"meu":true}'


def test_a_change_of_context_by_the_other_program_during_a_turn_is_not_overwritten(server_store):
    store = server_store
    theirs = '{"messages":[],"variables":{"deles":{}},"tags":["x"],"ultimaInteracaoTimestamp":1}'
    with store.session().turn("oi", message_id="1") as turn:
        store.raw.hset(f"{base(store)}:ctx", "context", theirs)
        turn.reply("olá")
    assert ctx(store)["context"] == theirs
    store.session().update(SessionUpdate(variables={"meu": 1}))
    assert json.loads(ctx(store)["context"])["variables"] == {"deles": {}, "meu": 1}


def test_fields_of_the_other_program_are_left_alone(server_store):
    store = server_store
    talk(store.session(), "oi")
    store.raw.hset(f"{base(store)}:ctx", mapping={"campoDeles": "valor", "summary": "resumo deles", "focus": "foco deles"})
    talk(store.session(), "de novo", begin=2)
    fields = ctx(store)
    assert (fields["campoDeles"], fields["summary"], fields["focus"]) == ("valor", "resumo deles", "foco deles")
    assert store.session().context().summary == "resumo deles"


def test_paused_by_the_other_program_is_respected(server_store):
    store = server_store
    session = store.session()
    with session.turn("oi", message_id="1") as turn:
        store.raw.hset(f"{base(store)}:ctx", "paused", "1")
        with pytest.raises(Fenced):
            turn.reply("olá")
    with session.turn("alguém?", message_id="2") as turn:
        assert turn.state == "paused"
    store.raw.hset(f"{base(store)}:ctx", "paused", "0")
    with session.turn("e agora?", message_id="3") as turn:
        assert turn.state == "open"
        assert [m.text for m in turn.messages] == ["oi", "alguém?", "e agora?"]
        turn.reply("olá")


def test_a_lease_is_not_renewed_through_a_pause(server_store):
    store = server_store
    turn = store.session().turn("oi", message_id="1").open()
    store.raw.hset(f"{base(store)}:ctx", "paused", "1")
    assert executed(store.open(), Renew(leases=(inner(turn)._lease(),))).held == (False,)
    turn.close()


@pytest.mark.parametrize("value", ["somebody", "worker-7|not-a-number", "", "a|b|c", "|"])
def test_a_foreign_value_in_locks_is_left_alone_and_counts_as_held(server_store, value):
    store = server_store
    key = f"{base(store)}:locks"
    store.session().receive("antes", message_id="0")
    store.raw.set(key, value, px=60_000)
    with store.session().turn("oi", message_id="1") as turn:
        assert turn.state == "joined"
    with store.session().turn() as turn:
        assert turn.state == "joined"
    assert store.raw.get(key).decode() == value
    store.session().end()
    assert store.raw.get(key).decode() == value
    store.raw.delete(key)
    with store.session().turn("depois", message_id="2") as turn:
        assert turn.state == "open"
        turn.reply("olá")


def test_a_lock_put_in_the_leases_place_during_a_turn_fences_the_reply(server_store):
    store = server_store
    key = f"{base(store)}:locks"
    with store.session().turn("oi", message_id="1") as turn:
        store.raw.set(key, "somebody", px=60_000)
        with pytest.raises(Fenced):
            turn.reply("olá")
    assert store.raw.get(key) == b"somebody"


def test_named_locks_of_the_session_are_left_alone(server_store):
    store = server_store
    key = f"{base(store)}:locks:agenda"
    store.raw.set(key, "a|1", px=60_000)
    talk(store.session(), "oi")
    store.session().end()
    assert store.raw.get(key) == b"a|1"


@pytest.mark.parametrize("part", ["ctx", "msgs", "fold", "seen", "locks"])
def test_a_key_of_another_type_is_reported_and_nothing_is_written(server_store, part):
    store = server_store
    talk(store.session(), "oi")
    store.raw.delete(f"{base(store)}:{part}")
    store.raw.zadd(f"{base(store)}:{part}", {"x": 1})
    before = store.dump()
    with pytest.raises(Damaged):
        store.session().turn("mais", message_id="2").open()
    with pytest.raises(Damaged):
        store.session().receive("mais", message_id="2")
    assert store.dump() == before


def test_numbers_another_program_wrote_in_its_own_way_do_not_stop_a_turn(server_store):
    session = server_store.session()
    talk(session, "oi")
    odd = {"updated_at": "99999999999999.5", "lastActivity": "1700000000000.25", "token_est": "12.7", "createdAt": "ontem"}
    server_store.raw.hset(server_store.keys(session)["ctx"], mapping=odd)
    talk(session, "tudo bem?", begin=2)
    assert session.info().message_count == 4
