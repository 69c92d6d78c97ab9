"""Every message answered, every answer sent: workers die between receive, model, reply and send, and sweepers take over."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from pathlib import Path

import pytest
from chaos import LEASE, TENANT

import luni
from luni import Memory

CONVERSATIONS, BURST, WORKERS, SWEEPERS = 1_000, 3, 4, 2
CHANCE = 0.004
IN_FLIGHT = 24
PATIENCE = 100.0


class Crew:
    """Processes of chaos.py that are started again when they die; those that work are given webhooks and say 200."""

    def __init__(self, url, namespace, folder):
        self._arguments, self._seeds = (url, namespace), itertools.count(1)
        self._folder, self._stopped = folder, threading.Event()
        self._alive, self.errors = set(), []
        self.chance = CHANCE
        self.webhooks, self.acknowledged = deque(), set()
        self._threads = [threading.Thread(target=self._keep, args=("work",)) for _ in range(WORKERS)]
        self._threads += [threading.Thread(target=self._keep, args=("sweep",)) for _ in range(SWEEPERS)]

    def start(self):
        for thread in self._threads:
            thread.start()

    def _spawn(self, role):
        program = [sys.executable, str(Path(__file__).parent / "chaos.py"), role, *self._arguments]
        process = subprocess.Popen(
            [*program, str(self.chance), str(next(self._seeds)), str(self._folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONPATH": str(Path(luni.__file__).parents[1])},
        )  # fmt: skip
        self._alive.add(process)
        if self._stopped.is_set():
            process.kill()
        return process

    def _keep(self, role):
        while not self._stopped.is_set():
            process = self._spawn(role)
            given = {}
            feeder = threading.Thread(target=self._feed, args=(process, given), daemon=True)
            if role == "work":
                feeder.start()
            for line in process.stdout:
                word, _, rest = line.strip().partition(" ")
                if word == "200":
                    self.acknowledged.add(int(rest))
                    given.pop(int(rest), None)
                else:
                    self.errors.append(json.loads(rest) if word == "error" else line)
            process.wait()
            self._alive.discard(process)
            if role == "work":
                feeder.join()
                self.webhooks.extend(given.values())  # nobody said 200: the provider delivers again
            process.stdout.close()
            with contextlib.suppress(OSError):  # what was still to be written, it cannot read any more
                process.stdin.close()

    def _feed(self, process, given):
        try:
            while process.poll() is None and not self._stopped.is_set():
                if len(given) >= IN_FLIGHT or not self.webhooks:
                    time.sleep(0.002)
                    continue
                try:
                    webhook = self.webhooks.popleft()
                except IndexError:
                    continue
                given[webhook[0]] = webhook
                process.stdin.write(json.dumps(webhook) + "\n")
                process.stdin.flush()
        except OSError:
            pass  # it died

    def stop(self):
        self._stopped.set()
        for process in list(self._alive):
            process.kill()
        for thread in self._threads:
            thread.join()


def deliveries(count):
    """Each message twice, the burst of a conversation close together, hundreds of conversations at once."""
    numbers = itertools.count()
    for first in range(0, count, 10):
        for text in range(BURST):
            for user in range(first, min(first + 10, count)):
                for _ in range(2):
                    yield [next(numbers), f"u{user}", f"m{text}"]


def settled(memory, crew, expected):
    """Wait until every webhook has been acknowledged, and nothing waits for an answer or to be sent."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if len(crew.acknowledged) == expected and not crew.webhooks:
            crew.chance = 0.0  # those that are started from here on live
            # In this order: once all is answered, nothing new comes to wait for being sent.
            if not any(unanswered(memory)) and not memory.unsent(older_than=0, limit=1, claim=False):
                return True
        time.sleep(0.2)
    return False


def unanswered(memory):
    """Whether a message waits anywhere, in an open turn too: those are in no list."""
    for user in range(CONVERSATIONS):
        info = memory.session(**TENANT, user=f"u{user}").info()
        yield info is None or info.unanswered > 0


@pytest.fixture
def place(request, tmp_path, _servers):
    from conftest import _shared  # noqa: PLC0415

    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'm.db'}"
    return _shared(_servers, request.param).url


@pytest.mark.timeout(400)
@pytest.mark.parametrize("place", ["sqlite", "valkey", "redis"], indirect=True)
def test_every_message_is_answered_and_every_answer_sent(place, namespace, tmp_path):
    crew = Crew(place, namespace, tmp_path)
    crew.webhooks.extend(deliveries(CONVERSATIONS))
    expected = len(crew.webhooks)
    with Memory.open(place, namespace=namespace, lease=LEASE, timeout=30.0) as memory:
        crew.start()
        try:
            assert settled(memory, crew, expected), "something was left unanswered or unsent"
        finally:
            crew.stop()
        assert crew.errors == []
        deaths = [json.loads(line) for line in (tmp_path / "deaths").read_text().splitlines()]
        assert {place for place, _ in deaths} == {"receive", "accepted", "model", "reply", "sent"}
        assert len(deaths) >= 20
        sent = [json.loads(line) for line in (tmp_path / "sent").read_text().splitlines()]
        stored = [check_conversation(memory.session(**TENANT, user=f"u{user}")) for user in range(CONVERSATIONS)]
    check_sending(sent, {reply for replies in stored for reply in replies}, deaths)


def check_conversation(session):
    """Nothing twice, nothing without an answer, no answer that had not seen what came before; return the replies' ids."""
    messages = session.messages(500)
    asked = [m.text for m in messages if m.role == "user"]
    replies = [m for m in messages if m.role == "assistant"]
    assert sorted(asked) == [f"m{number}" for number in range(BURST)], "a webhook was lost or stored twice"
    answers = [json.loads(m.text) for m in replies]
    assert [text for answer in answers for text in answer["to"]] == asked, "in order, each answered once"
    for answer in answers:
        assert answer["seen"] == asked[: asked.index(answer["to"][-1]) + 1], "it had not seen what it should have seen"
    heard = []
    for message in messages:  # every answer stands after what it answers and before what came later
        if message.role == "user":
            heard.append(message.text)
        else:
            assert heard == json.loads(message.text)["seen"]
    assert session.info().unanswered == 0
    return [m.id for m in replies]


def check_sending(sent, stored, deaths):
    times = Counter(message_id for _, message_id in sent)
    assert set(times) == stored, "an answer was not sent, or something that is no answer was"
    died_sending = Counter(message_id for _, sending in deaths for message_id in sending)
    twice = {message_id: count for message_id, count in times.items() if count > 1}
    assert all(count - 1 <= died_sending[message_id] for message_id, count in twice.items()), "sent twice without a death"
    sys.stderr.write(f"{len(deaths)} deaths; {len(stored)} answers; {len(twice)} sent twice, each under its one id\n")
