"""A worker or a sweeper of `test_nothing_lost`: answers, sends, and dies at random places. ``python chaos.py ROLE URL …``."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

from luni import Memory, Policy
from luni.errors import Fenced

LEASE, UNANSWERED, UNSENT = 3.0, 3.2, 4.0
THREADS = 6
TENANT = {"tenant": "shop", "channel": "whatsapp"}


def tell(line):
    os.write(1, f"{line}\n".encode())  # whole or not at all, whichever thread dies


class Life:
    """A process that may die where it is asked whether it does, and leaves a note of what its threads were sending."""

    def __init__(self, chance, seed, folder):
        self._random, self._chance = random.Random(seed), chance
        self._sending = set()
        self._guard = threading.Lock()
        self._provider = os.open(f"{folder}/sent", os.O_APPEND | os.O_CREAT | os.O_WRONLY)
        self._deaths = os.open(f"{folder}/deaths", os.O_APPEND | os.O_CREAT | os.O_WRONLY)

    def may_end(self, place):
        with self._guard:
            if self._random.random() >= self._chance:
                return
            os.write(self._deaths, (json.dumps([place, sorted(self._sending)]) + "\n").encode())
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)

    def send(self, session, message):
        """The provider says yes, which is for good; then it is noted, if this process still lives."""
        with self._guard:
            self._sending.add(message.id)
            os.write(self._provider, (json.dumps([session.user, message.id]) + "\n").encode())
        self.may_end("sent")
        session.mark_sent(message.id, provider_id=f"provider-{message.id}")
        with self._guard:
            self._sending.discard(message.id)

    def answer(self, session):
        with session.turn() as turn:
            while turn.should_reply:
                asked = [message.text for message in turn.messages]
                seen = [message.text for message in turn.context.messages if message.role == "user"]
                time.sleep(random.uniform(0, 0.1))  # the model thinks
                self.may_end("model")
                try:
                    stored = turn.reply(json.dumps({"to": asked, "seen": seen}))
                except Fenced:
                    return
                self.may_end("reply")
                for message in stored:
                    self.send(session, message)


def work(memory, life):
    """Webhooks come in as lines; ``200 number`` is said as soon as a message is stored."""

    def handle(number, user, text):
        try:
            session = memory.session(**TENANT, user=user)
            session.receive(text, message_id=f"wamid.{user}.{text}")
            life.may_end("receive")
            tell(f"200 {number}")
            life.may_end("accepted")
            life.answer(session)
        except Exception:  # noqa: BLE001  whatever it is, the test is told
            tell(f"error {json.dumps(traceback.format_exc())}")

    with ThreadPoolExecutor(THREADS) as pool:
        for line in sys.stdin:
            pool.submit(handle, *json.loads(line))


def sweep(memory, life):
    while True:
        for waiting in memory.unanswered(older_than=UNANSWERED, limit=20):
            life.answer(waiting.session)
        for unsent in memory.unsent(older_than=UNSENT, limit=20):
            life.send(unsent.session, unsent.message)
        time.sleep(0.1)


def main():
    role, url, namespace, chance, seed, folder = sys.argv[1:]
    life = Life(float(chance), int(seed), folder)
    policies = {"*": Policy(outbox=True)}
    with Memory.open(url, namespace=namespace, policies=policies, lease=LEASE, timeout=30.0) as memory:
        {"work": work, "sweep": sweep}[role](memory, life)


if __name__ == "__main__":
    main()
