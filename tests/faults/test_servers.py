"""The server dies, falls silent, is not there, or has no room for one more client."""

from __future__ import annotations

import signal
import threading
import time

import pytest
from redis import Redis

from luni import SessionUpdate
from luni.errors import BackendError, Fenced, Indeterminate, Unavailable

CALLS = {
    "receive": lambda s: s.receive("hi", message_id="again"),
    "open": lambda s: s.turn("hi", message_id="again").open(),
    "append": lambda s: s.append("user", "hi"),
    "update": lambda s: s.update(SessionUpdate(metadata={"a": 1})),
    "read": lambda s: s.messages(),
    "amend": lambda s: s.amend("m1", "other"),
    "end": lambda s: s.end(),
}


def budget(timeout, retries):
    """Every attempt may take its time and a quarter (how often the watch looks), with pauses between; then generously more."""
    return (retries + 1) * 1.25 * timeout + 0.02 * 1.5 * 2**retries + 1.5


@pytest.mark.parametrize("call", CALLS)
def test_a_stopped_server_lets_every_call_end_in_its_budget(own_server, run, namespace, somebody, call):
    server = own_server()
    memory = run.open(server.url, namespace=namespace, timeout=0.2, connect_timeout=0.2, max_retries=1)
    session = memory.session(**somebody())
    run(session.receive("hello", message_id="m1"))
    server.signal(signal.SIGSTOP)
    began = time.monotonic()
    try:
        with pytest.raises((Indeterminate, Unavailable)):
            run(CALLS[call](session))
        assert time.monotonic() - began < budget(0.2, 1)
    finally:
        server.signal(signal.SIGCONT)
    assert run(session.info()) is not None or call == "end"


@pytest.mark.parametrize("path", ["0", "1", "0?password=secret-word"])
def test_a_stopped_server_ends_first_calls_too(own_server, run, namespace, somebody, path):
    """The kernel still accepts the connection; what the client must say first (AUTH, SELECT) gets no reply."""
    server = own_server()
    memory = run.open(server.url.removesuffix("0") + path, namespace=namespace, timeout=0.2, connect_timeout=0.2, max_retries=1)
    server.signal(signal.SIGSTOP)
    began = time.monotonic()
    failure = []

    def call():
        try:
            run(memory.session(**somebody()).receive("hello", message_id="m1"))
        except BackendError as error:
            failure.append(error)

    caller = threading.Thread(target=call, daemon=True)
    caller.start()
    caller.join(budget(0.4, 1) + 1)
    stuck = caller.is_alive()
    server.signal(signal.SIGCONT)
    caller.join(5)
    assert not stuck, f"no answer after {time.monotonic() - began:.1f} s"
    assert isinstance(failure[0], Indeterminate | Unavailable)


def test_commands_that_a_stopped_server_executes_late_change_nothing_twice(own_server, run, namespace, somebody):
    server = own_server()
    memory = run.open(server.url, namespace=namespace, timeout=0.2, max_retries=1)
    session = memory.session(**somebody())
    with Redis(port=server.port) as plain:
        turn = run(session.turn("hello", message_id="m1").open())
        server.signal(signal.SIGSTOP)
        try:
            with pytest.raises((Indeterminate, Unavailable)):
                run(turn.reply("hi"))
        finally:
            server.signal(signal.SIGCONT)
        plain.ping()
    assert [m.text for m in run(turn.reply("hi"))] == ["hi"]
    assert [m.text for m in run(session.messages())] == ["hello", "hi"]


def test_a_server_that_was_never_there_is_unavailable(own_server, run, namespace, somebody):
    server = own_server()
    server.stop()
    memory = run.open(server.url, namespace=namespace, max_retries=1)
    for call in CALLS.values():
        with pytest.raises(Unavailable):
            run(call(memory.session(**somebody())))
    assert run(memory.health()).ok is False
    server.start()
    assert run(memory.session(**somebody()).receive("hello", message_id="m1")).state == "accepted"
    assert run(memory.health()).ok is True


def test_a_server_killed_and_back_empty_is_used_again(own_server, run, namespace, somebody, many):
    server = own_server()
    memory = run.open(server.url, namespace=namespace, max_retries=0, connect_timeout=0.5, timeout=1.0)
    address = somebody()
    for outage in range(many.of(4)):
        session = memory.session(**address)
        turn = run(session.turn("hello", message_id=f"m{outage}").open())
        assert turn.new_session, "the store is empty: this is a new session"
        server.signal(signal.SIGKILL)
        server.stop()
        with pytest.raises((Indeterminate, Unavailable)):
            run(turn.reply("hi"))
        with pytest.raises(Unavailable):
            run(session.info())
        server.start()
        with pytest.raises(Fenced):  # the session this turn was opened in is gone
            run(turn.reply("hi"))
        run(turn.close())
        assert run(session.info()) is None


def test_kills_amid_traffic_are_clear_errors_and_acknowledged_replies_are_whole(own_server, run, namespace, somebody, many):
    server = own_server("--appendonly", "yes", "--appendfsync", "always")
    memory = run.open(server.url, namespace=namespace, max_retries=2, connect_timeout=0.5, timeout=1.0)
    address, said, number = somebody(), [], 0
    for _ in range(many.of(3)):
        killer = threading.Timer(0.15, lambda: server.signal(signal.SIGKILL))
        killer.start()
        while True:
            number += 1
            try:
                turn = run(memory.session(**address).turn(f"q{number}", message_id=f"m{number}").open())
                run(turn.reply(f"a{number}"))
            except (Indeterminate, Unavailable):
                break
            said.append(f"a{number}")
        killer.join()
        server.stop()
        server.start()
        session = memory.session(**address)
        texts = [m.text for m in run(session.messages(500))]
        answers = [text for text in texts if text.startswith("a")]
        folded = run(session.info()).folded
        assert len(answers) == len(set(answers))
        held = [text for text in said if text in answers]
        assert len(said) - len(held) <= folded, "an acknowledged answer is gone"
        assert all(f"q{text[1:]}" in texts for text in answers[1:])
        with Redis(port=server.port) as plain:  # the turn that was cut off must not hold up the next round
            plain.delete(f"{namespace}:sess:shop:web:{address['user']}:locks")


def test_no_room_for_one_more_client_is_a_clear_error(own_server, run, namespace, somebody):
    server = own_server("--maxclients", "4")
    others = [Redis(port=server.port, single_connection_client=True) for _ in range(4)]
    for other in others:
        other.ping()
    memory = run.open(server.url, namespace=namespace, max_retries=1)
    with pytest.raises((Unavailable, Indeterminate)):  # the server may close before its refusal is read
        run(memory.session(**somebody()).receive("hello", message_id="m1"))
    for other in others:
        other.close()
    time.sleep(0.05)
    assert run(memory.session(**somebody()).receive("hello", message_id="m1")).state == "accepted"


def test_a_reset_connection_is_replaced(server, proxy_to, run, namespace, somebody):
    proxy = proxy_to(server)
    session = run.open(proxy.url, namespace=namespace).session(**somebody())
    for number in range(10):
        proxy.reset()
        assert run(session.receive(f"hello {number}", message_id=f"m{number}")).state == "accepted"
    assert run(session.info()).message_count == 10
