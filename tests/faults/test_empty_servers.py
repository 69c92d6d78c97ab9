"""A server that keeps nothing is killed and started anew, again and again: what it acknowledged comes back from this host."""

from __future__ import annotations

import itertools
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from outages import LONG, caught_up, reaches, told

from luni import Memory
from luni.errors import LuniError
from luni.events import StoreLost
from luni.ops.chaos_verdict import heard, misplaced

WHO = {"tenant": "shop", "channel": "whatsapp"}
USERS, LANES, RESTARTS, EACH = 48, 4, 6, 240


class Talk:
    """Messages and answered turns of many sessions; what was acknowledged of each, in order."""

    def __init__(self, memory, seed):
        self.memory, self.stopped, self.errors = memory, threading.Event(), []
        self.said = {f"user{number}": [] for number in range(USERS)}
        self._seed = seed

    def lane(self, number):
        chance, users = random.Random(self._seed + number), list(self.said)[number::LANES]
        for count in itertools.count():
            for user in users:
                if self.stopped.wait(0.004):
                    return
                if len(self.said[user]) < EACH:
                    self._say(user, f"{user} {count}", answered=chance.random() < 0.5)

    def _say(self, user, text, *, answered):
        session, said = self.memory.session(**WHO, user=user), self.said[user]
        try:
            if not answered:
                session.append("user", text, message_id=text)
                said.append(text)
                return
            with session.turn(text, message_id=text) as turn:
                said.append(text)
                if turn.should_reply:
                    turn.reply(f"re: {text}")
                    said.append(f"re: {text}")
        except LuniError as error:
            self.errors.append(type(error).__name__)


@pytest.mark.timeout(200)
def test_a_server_that_comes_back_empty_takes_nothing_with_it(own_server, namespace, tmp_path, many):
    server, events, chance = own_server(), [], random.Random(7)
    options = {"fallback": f"sqlite:///{tmp_path / 'local.db'}", "policies": LONG, "on_event": events.append}
    with Memory.open(server.url, namespace=namespace, **options) as memory, ThreadPoolExecutor(LANES) as pool:
        talk = Talk(memory, 7)
        lanes = [pool.submit(talk.lane, number) for number in range(LANES)]
        try:
            for restart in range(many.of(RESTARTS)):
                time.sleep(chance.uniform(0.8, 2.0))
                server.stop()
                time.sleep((0.0, 0.05, 0.6)[restart % 3])  # so short that no call meets it, or longer than the breaker waits
                server.start()
        finally:
            talk.stopped.set()
        for one in lanes:
            one.result()
        assert caught_up(memory, seconds=60)
        assert reaches(memory._backend.keeper.healer.knows, 60), "the last one was not looked at"
        judge(talk, server, namespace, [event for event in events if isinstance(event, StoreLost)])


def judge(talk, server, namespace, found):
    lost = twice = late = 0
    with Memory.open(server.url, namespace=namespace) as direct:
        for user, said in talk.said.items():
            export = direct.session(**WHO, user=user).export()
            numbers = [len(one) for one in misplaced(said, heard(export))]
            lost, twice, late = lost + numbers[0], twice + numbers[1], late + numbers[2]
    total = sum(map(len, talk.said.values()))
    told(
        "emptied", times=len(found), acknowledged=total, lost=lost, duplicated=twice, out_of_order=late, errors=len(talk.errors)
    )
    assert (lost, twice, late) == (0, 0, 0)
    assert total > 1000
    assert len(found) >= RESTARTS / 2
    assert set(talk.errors) <= {"Fenced"}, "a turn that was open when its server went is over"
