"""What an outage of a session with a transcript leaves in the transcript."""

from __future__ import annotations

import time

import pytest

from luni import Memory, Policy

KEPT = {"*": Policy(transcript_messages=1000)}
BEFORE = [text for number in range(3) for text in (f"before {number}", f"re: before {number}")]


def until(condition, seconds=15.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that in time"
        time.sleep(0.02)


def talk(session, text):
    with session.turn(text, message_id=text) as turn:
        while turn.should_reply:
            turn.reply(f"re: {text}")
    return turn


def said(session):
    """What a session has, where a model looks, and where a person looks."""
    export = session.export()
    return [message.text for message in export.messages], [message.text for message in export.transcript]


@pytest.fixture
def server(own_server):
    return own_server()


@pytest.fixture
def memory(server, namespace, tmp_path):
    memory = Memory.open(server.url, namespace=namespace, fallback=f"sqlite:///{tmp_path}/local.db", policies=KEPT)
    with memory:
        yield memory


def test_a_turn_just_before_an_outage_is_in_the_transcript_too(memory, server):
    """Of the last second the mirror has no snapshot: only what the turn's opening showed, which has no transcript."""
    session = memory.session(tenant="shop", channel="web", user="ana")
    talk(session, "before 0")
    time.sleep(1.5)
    talk(session, "before 1")
    talk(session, "before 2")
    server.stop()
    assert talk(session, "out").degraded
    assert said(session) == ([*BEFORE, "out", "re: out"],) * 2
    server.start()
    until(lambda: not memory.health().degraded)
    assert said(session) == ([*BEFORE, "out", "re: out"],) * 2
