"""The wire contract: another program, in another language, shares these keys.

Each test is a row of the table in docs/reference/wire.md: it reads the raw keys with a bare client, as that program would.
"""

import json
import re
import time

from conformance.foreign import base, ctx, msgs
from luni import Attachment, SessionUpdate, ToolCall, ToolResult
from luni.testing.conformance.store import rounds, talk


def test_ctx_is_a_hash_with_the_fields_of_the_contract(server_store):
    store = server_store
    before = int(time.time() * 1000)
    talk(store.session(), "oi")
    after = int(time.time() * 1000)
    assert store.raw.type(f"{base(store)}:ctx") == b"hash"
    fields = ctx(store)
    assert re.fullmatch("[a-z2-7]{26}", fields["sessionId"])
    assert fields["clienteId"] == "shop"
    for name in ("createdAt", "lastActivity", "updated_at"):
        assert re.fullmatch(r"\d{13}", fields[name])
        assert before <= int(fields[name]) <= after
    assert fields["metadata"] == '{"focoAtual":null,"etapaFunil":"descoberta","primeiraInteracao":false}'
    context = json.loads(fields["context"])
    assert list(context) == ["messages", "variables", "tags", "ultimaInteracaoTimestamp"]
    assert (context["messages"], context["variables"], context["tags"]) == ([], {}, [])
    assert before <= context["ultimaInteracaoTimestamp"] <= after
    stats = json.loads(fields["stats"])
    assert stats["messageCount"] == 2
    assert stats["totalTime"] >= 0
    assert (fields["summary"], fields["focus"], fields["paused"]) == ("", "", "0")
    assert fields["token_est"].isdigit()


def test_the_first_interaction_is_true_only_in_a_session_created_without_a_message(server_store):
    store = server_store
    store.session().update(SessionUpdate(variables={"a": 1}))
    assert '"primeiraInteracao":true' in ctx(store)["metadata"]
    talk(store.session(), "oi")
    assert '"primeiraInteracao":false' in ctx(store)["metadata"]


def test_the_time_of_the_last_interaction_follows_every_turn(server_store):
    store = server_store
    talk(store.session(), "oi")
    first = json.loads(ctx(store)["context"])["ultimaInteracaoTimestamp"]
    time.sleep(0.005)
    talk(store.session(), "outra", begin=2)
    assert json.loads(ctx(store)["context"])["ultimaInteracaoTimestamp"] > first


def test_msgs_is_a_list_of_the_newest_twenty_newest_first(server_store):
    store = server_store
    rounds(store.session(), 15)
    assert store.raw.type(f"{base(store)}:msgs") == b"list"
    found = msgs(store)
    assert len(found) == 20
    expected = [text for number in range(15, 5, -1) for text in (f"re: u{number}", f"u{number}")]
    assert [item["text"] for item in found] == expected


def test_a_stored_message_has_what_old_readers_know_and_ours_beside_it(server_store):
    store = server_store
    session = store.session()
    with session.turn("veja 🙂", message_id="wamid.1", tags=["vip"], attachments=[Attachment("image", url="u")]) as turn:
        turn.reply("vi", steps=[ToolCall("c", "look"), ToolResult("c", "seen")])
    answer, result, call, said = msgs(store)
    assert (said["text"], said["tags"], said["role"], said["id"]) == ("veja 🙂", ["vip"], "user", "wamid.1")
    assert said["attachments"] == [{"kind": "image", "url": "u"}]
    assert call["tool_calls"] == [{"id": "c", "name": "look", "arguments": "{}"}]
    assert (result["role"], result["tool_call_id"]) == ("tool", "c")
    for item in (answer, result, call, said):
        assert isinstance(item["timestamp"], int)
        assert isinstance(item["text"], str)
        assert isinstance(item["tags"], list)
        assert re.fullmatch(r"\d{13}-[a-z2-7]{26}-\d+\.\d+", item["k"])
    keys = [item["k"] for item in (said, call, result, answer)]
    assert keys == sorted(keys)
    raw = store.raw.lindex(f"{base(store)}:msgs", 0)
    assert raw.startswith(b'{"k":"')


def test_the_lease_is_owner_and_token_with_an_expiry(server_store):
    store = server_store
    key = f"{base(store)}:locks"
    with store.session(lease=5.0).turn("oi", message_id="1") as turn:
        assert store.raw.type(key) == b"string"
        owner, token = store.raw.get(key).decode().split("|")
        assert re.fullmatch(r"[a-z2-7]{26}\.\d+\.[A-Za-z0-9_-]{22}", owner)
        assert int(token) == turn.token
        assert 4000 < store.raw.pttl(key) <= 5000
        turn.reply("olá")
    assert store.raw.get(key) is None


def test_the_index_leads_from_the_id_to_the_base_key(server_store):
    store = server_store
    talk(store.session(), "oi")
    session_id = ctx(store)["sessionId"]
    assert store.raw.get(f"{store.namespace}:sess:id:{session_id}").decode() == base(store)
    assert store.raw.get(f"{store.namespace}:client:shop").decode() == session_id


def test_the_clients_key_names_the_session_touched_last(server_store):
    store = server_store
    for user in ("ana", "bob", "ana"):
        store.session(user).append("user", "oi")
        assert store.raw.get(f"{store.namespace}:client:shop").decode() == ctx(store, user)["sessionId"]


def test_parts_are_percent_encoded_and_plain_ones_are_not(server_store):
    store = server_store
    memory = store.open()
    memory.session(tenant="a:b", channel="{c}", user="é*\n%").receive("oi", message_id="1")
    memory.session(tenant="A-z_0.9", channel="a@b+c=d~e", user="5547999990000").receive("oi", message_id="1")
    keys = {key.decode() for key in store.raw.scan_iter(match=f"{store.namespace}:sess:*:ctx")}
    assert keys == {
        f"{store.namespace}:sess:a%3Ab:%7Bc%7D:%C3%A9%2A%0A%25:ctx",
        f"{store.namespace}:sess:A-z_0.9:a@b+c=d~e:5547999990000:ctx",
    }


def test_seen_holds_digests_and_no_message_id(server_store):
    store = server_store
    store.session().receive("oi", message_id="wamid.5547999990000")
    assert store.raw.type(f"{base(store)}:seen") == b"hash"
    for key in store.raw.scan_iter(match=f"{store.namespace}:*"):
        if not key.endswith(b":msgs"):
            assert b"wamid" not in repr(store.dump()[key]).encode()


def test_fold_is_a_list_oldest_first_and_bounded(server_store):
    store = server_store
    for number in range(25):
        store.session().append("system", f"s{number}")
    assert store.raw.type(f"{base(store)}:fold") == b"list"
    assert [json.loads(text)["text"] for text in store.raw.lrange(f"{base(store)}:fold", 0, -1)] == [f"s{n}" for n in range(5)]


def test_the_tenants_lists_are_sorted_sets(server_store):
    store = server_store
    store.session().receive("oi", message_id="1")
    prefix = f"{store.namespace}:tenant:shop"
    activity = int(ctx(store)["lastActivity"])
    assert store.raw.zrange(f"{prefix}:sessions", 0, -1, withscores=True) == [(b"web:ana", activity)]
    assert store.raw.zrange(f"{prefix}:waiting", 0, -1) == [b"web:ana"]
    assert store.raw.zrange(f"{prefix}:channels", 0, -1) == [b"web"]
    assert store.raw.zrange(f"{store.namespace}:tenants", 0, -1) == [b"shop"]
    with store.session().turn() as turn:
        turn.reply("olá")
    assert store.raw.exists(f"{prefix}:waiting") == 0


def test_every_key_has_an_expiry_and_a_sessions_keys_expire_together(server_store):
    store = server_store
    session = store.session(ttl=100.0)
    rounds(session, 12)
    session.turn("aberto", message_id="x").open()
    hour, week = 3_600_000, 7 * 24 * 3_600_000
    expected = {":ctx": 100_000, ":msgs": 100_000, ":fold": 100_000, ":seen": week, ":locks": 60_000, ":client:shop": 100_000}
    seen = 0
    for key in store.raw.scan_iter(match=f"{store.namespace}:*"):
        left = store.raw.pttl(key)
        assert left > 0, f"{key} never expires"
        name = key.decode()
        known = next((most for end, most in expected.items() if name.endswith(end)), 100_000 + hour)
        assert known - 5_000 <= left <= known, name
        seen += 1
    assert seen == 11
    together = {store.raw.execute_command("PEXPIRETIME", f"{base(store)}:{part}") for part in ("ctx", "msgs", "fold")}
    assert max(together) - min(together) <= 1


def test_the_expiry_of_a_session_is_72_hours_unless_set(server_store):
    store = server_store
    talk(store.session(), "oi")
    assert 0 <= 72 * 3_600_000 - store.raw.pttl(f"{base(store)}:ctx") < 5_000


def test_the_server_lets_a_session_expire_by_its_own_clock(server_store):
    store = server_store
    session = store.session(ttl=1.0)
    rounds(session, 12)
    store.clock.advance(100 * 3600)  # a host's clock 100 h ahead deletes nothing
    assert session.info() is not None
    talk(session, "still here", begin=100)
    time.sleep(1.1)
    assert session.info() is None
    left = {key.decode().removeprefix(base(store)) for key in store.raw.scan_iter(match=f"{base(store)}:*")}
    assert left == {":seen"}


def test_an_end_leaves_only_the_digests_for_seven_days(server_store):
    store = server_store
    session = store.session()
    rounds(session, 12)
    session.end()
    left = {key.decode().removeprefix(store.namespace) for key in store.raw.scan_iter(match=f"{store.namespace}:*")}
    assert left == {":sess:shop:web:ana:seen", ":tenant:shop:channels", ":tenants"}
    assert 0 <= 7 * 24 * 3_600_000 - store.raw.pttl(f"{base(store)}:seen") < 5_000
