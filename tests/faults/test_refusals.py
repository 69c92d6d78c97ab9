"""The server refuses: clear errors, nothing half done, no secret told."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest
from redis import Redis

from luni import Message, SessionUpdate
from luni.errors import BackendError, Damaged, InvalidInput, Unavailable

SECRET = "pw-canary-7f3a"


def calls(session, turn=None):
    found = {
        "receive": lambda: session.receive("hi", message_id="new"),
        "open": lambda: session.turn("hi", message_id="new").open(),
        "append": lambda: session.append("human", "hi", message_id="h1"),
        "update": lambda: session.update(SessionUpdate(metadata={"a": 1}, variables={"b": 2})),
        "amend": lambda: session.amend("m1", "other words"),
        "load": lambda: session.load([Message(text=f"old {n}", timestamp_ms=n) for n in range(25)]),
        "end": session.end,
    }
    return found | ({"reply": lambda: turn.reply("hi", update=SessionUpdate(metadata={"c": 1}))} if turn else {})


NAMES = ["receive", "open", "reply", "append", "update", "amend", "load", "end"]


def populated(run, memory, address):
    """A session with every one of its keys, and a turn open in it."""
    session = memory.session(**address)
    for number in range(12):
        run(session.append("user", f"line {number}"))
        run(session.append("assistant", f"answer {number}"))
    run(session.receive("hello", message_id="m1"))
    return session, run(session.turn().open())


@pytest.mark.parametrize("name", NAMES)
def test_out_of_memory_leaves_nothing_half_done(own_server, run, namespace, somebody, dump, name):
    server = own_server("--maxmemory-policy", "noeviction")
    memory = run.open(server.url, namespace=namespace, max_retries=1)
    session, turn = populated(run, memory, somebody())
    with Redis(port=server.port) as plain:
        plain.config_set("maxmemory", 1)
        before = dump(server, namespace)
        with pytest.raises(Unavailable):
            run(calls(session, turn)[name]())
        assert dump(server, namespace) == before
        assert run(session.info()).message_count == 25, "reading goes on"
        plain.config_set("maxmemory", 0)
    run(calls(session, turn)[name]())
    assert dump(server, namespace) != before


KEYS = {
    "ctx": "{n}:sess:shop:web:{u}:ctx", "msgs": "{n}:sess:shop:web:{u}:msgs", "locks": "{n}:sess:shop:web:{u}:locks",
    "seen": "{n}:sess:shop:web:{u}:seen", "fold": "{n}:sess:shop:web:{u}:fold", "log": "{n}:sess:shop:web:{u}:log",
    "id": "{n}:sess:id:{s}", "client": "{n}:client:shop", "sessions": "{n}:tenant:shop:sessions",
    "waiting": "{n}:tenant:shop:waiting", "channels": "{n}:tenant:shop:channels", "tenants": "{n}:tenants",
}  # fmt: skip


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("name", NAMES)
def test_a_key_of_another_type_leaves_nothing_half_done(server, run, namespace, somebody, dump, name, key):
    """Either the call does not need that key and is whole, or it is refused and not one byte has changed."""
    from luni import Policy  # noqa: PLC0415  only here

    memory = run.open(server.url, namespace=namespace, max_retries=0, policies={"*": Policy(transcript_messages=50)})
    address = somebody()
    session, turn = populated(run, memory, address)
    full_name = KEYS[key].format(n=namespace, u=address["user"], s=turn.session_id)
    with Redis(port=server.port) as plain:
        assert plain.exists(full_name), "the key must be there to be damaged"
        plain.delete(full_name)
        plain.sadd(full_name, "somebody's")
        before = dump(server, namespace)
        try:
            run(calls(session, turn)[name]())
        except BackendError:
            assert dump(server, namespace) == before
        else:
            assert (name, key) in WHOLE or plain.type(full_name) != b"set", "it was needed and was not missed"
            after = dump(server, namespace)
            assert after != before


WHOLE = {
    (name, key) for name in NAMES for key in ("locks", "waiting", "channels", "tenants", "log", "seen", "id", "client")
    if (name, key) not in {("open", "locks"), ("reply", "locks"), ("receive", "seen"), ("open", "seen"), ("reply", "seen")}
}  # fmt: skip


LOOKED_AT = [
    (name, key) for name in ("open", "reply", "append", "update") for key in ("ctx", "msgs", "seen", "fold", "locks")
    if (name, key) not in {("append", "locks"), ("update", "locks")}
]  # fmt: skip


@pytest.mark.parametrize(("name", "key"), LOOKED_AT)
def test_a_damaged_session_is_called_damaged(server, run, namespace, somebody, name, key):
    memory = run.open(server.url, namespace=namespace, max_retries=0)
    address = somebody()
    session, turn = populated(run, memory, address)
    full_name = KEYS[key].format(n=namespace, u=address["user"], s="")
    with Redis(port=server.port) as plain:
        plain.delete(full_name)
        plain.sadd(full_name, "somebody's")
    with pytest.raises(Damaged):
        run(calls(session, turn)[name]())


@pytest.mark.parametrize("given", [f":{SECRET}@", f"default:{SECRET}@", f"nobody:{SECRET}@", ""])
def test_wrong_credentials_are_unavailable_and_stay_secret(own_server, run, namespace, somebody, caplog, given):
    server = own_server("--requirepass", "the right one")
    memory = run.open(server.url.replace("redis://", f"redis://{given}"), namespace=namespace, max_retries=1)
    with pytest.raises(Unavailable) as caught:
        run(memory.session(**somebody()).receive("hello", message_id="m1"))
    health = run(memory.health())
    assert not health.ok
    for told in (str(caught.value), repr(caught.value), repr(caught.value.__cause__), repr(memory), health.detail, caplog.text):
        assert SECRET not in told


def test_a_database_that_is_not_there_is_a_clear_error(server, run, namespace, somebody):
    memory = run.open(server.url.removesuffix("0") + "99", namespace=namespace, max_retries=0)
    with pytest.raises(BackendError):
        run(memory.session(**somebody()).receive("hello", message_id="m1"))
    assert not run(memory.health()).ok


def test_a_permission_withdrawn_is_unavailable(own_server, run, namespace, somebody, dump):
    server = own_server()
    with Redis(port=server.port) as plain:
        plain.acl_setuser("app", enabled=True, passwords=[f"+{SECRET}"], commands=["+@all"], keys=["*"])
        memory = run.open(server.url.replace("redis://", f"redis://app:{SECRET}@"), namespace=namespace, max_retries=0)
        _, turn = populated(run, memory, somebody())
        plain.acl_setuser("app", enabled=True, commands=["+@all", "-hset", "-@dangerous"], keys=["*"])
        before = dump(server, namespace)
        with pytest.raises(BackendError) as caught:
            run(turn.reply("hi"))
        assert SECRET not in str(caught.value)
        assert dump(server, namespace) == before


def test_a_replica_is_unavailable_for_writes(own_server, server, run, namespace, somebody):
    replica = own_server("--replicaof", f"127.0.0.1 {server.port}")
    memory = run.open(replica.url, namespace=namespace, max_retries=1)
    with pytest.raises(Unavailable):
        run(memory.session(**somebody()).receive("hello", message_id="m1"))


def test_too_few_replicas_is_unavailable(own_server, run, namespace, somebody, dump):
    server = own_server("--min-replicas-to-write", "1")
    memory = run.open(server.url, namespace=namespace, max_retries=1)
    with pytest.raises(Unavailable):
        run(memory.session(**somebody()).receive("hello", message_id="m1"))
    assert dump(server, namespace) == {}


def test_a_server_that_loads_its_data_is_unavailable(own_server, run, namespace, somebody):
    server = own_server("--key-load-delay", "2000", "--loading-process-events-interval-bytes", "1024", "--save", "100000 1")
    with Redis(port=server.port) as plain:
        plain.mset({f"filler:{n}": "x" * 64 for n in range(1500)})
        plain.save()
    server.signal(signal.SIGKILL)
    server.stop()
    starting = threading.Thread(target=server.start)
    starting.start()
    memory = run.open(server.url, namespace=namespace, max_retries=0)
    refusals = []
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            run(memory.session(**somebody()).receive("hello", message_id="m1"))
            break
        except BackendError as error:
            refusals.append(error)
            time.sleep(0.05)
    starting.join()
    assert any("cannot be reached" not in str(error) for error in refusals), "it was never seen loading"
    assert {type(error) for error in refusals} == {Unavailable}


def test_ten_megabytes_are_refused_before_they_are_sent(server, proxy_to, run, namespace, somebody):
    proxy = proxy_to(server)
    session = run.open(proxy.url, namespace=namespace).session(**somebody())
    turn = run(session.turn("hello", message_id="m1").open())
    sent, large = proxy.request_bytes, "x" * (10 * 1024 * 1024)
    attempts = [
        lambda: session.receive(large, message_id="m2"),
        lambda: session.turn(large, message_id="m2").open(),
        lambda: turn.reply(large),
        lambda: session.append("user", large),
        lambda: session.append("user", "hi", metadata={"a": large}),
        lambda: session.update(SessionUpdate(metadata={"a": large})),
        lambda: session.amend("m1", large),
        lambda: session.load([Message(text=large)]),
        lambda: session.set_summary(large),
    ]
    for attempt in attempts:
        with pytest.raises(InvalidInput):
            run(attempt())
    assert proxy.request_bytes == sent
    run(turn.reply("and the turn goes on"))


def test_what_the_process_may_not_open_is_unavailable(run, tmp_path):
    if os.geteuid() == 0:
        place = tmp_path / "is-a-folder.db"
        place.mkdir()
    else:
        (tmp_path / "shut").mkdir(mode=0o500)
        place = tmp_path / "shut" / "m.db"
    memory = run.open(f"sqlite:///{place}", max_retries=0)
    with pytest.raises(Unavailable):
        run(memory.session(tenant="t", channel="c", user="u").receive("hello", message_id="m1"))
