"""The tenant's lists on a Cluster, told before and after: whoever dies between two calls, all that waits is there."""

from __future__ import annotations

import random
import sys

import pytest
from redis import Redis

from luni import operations as ops
from luni import wire
from luni.backends.keys import Tagged, list_keys, session_keys
from luni.backends.redis.cluster.chains import REPLIES
from luni.backends.redis.cluster.steps import steps
from luni.errors import LuniError
from luni.models import Address

ANA = Address("shop", "web", "ana")
SESSION = "s" * 26
HISTORIES, WORKERS, STEPS, DIES = 300, 5, 60, 0.04


def draft(number):
    return ops.Draft(b'"text":"m%d","role":"user"}' % number, 1, f"{number:040d}")


class Worker:
    """Does one operation after another, each call of them at a time; may die between any two."""

    def __init__(self, raw, namespace, choice):
        self.raw, self.namespace, self.choice = raw, namespace, choice
        self.writer, self.seq = wire.new_id(), 0
        self.lease, self.stopping = None, False
        self.going = self.live()

    def who(self, session=SESSION):
        self.seq += 1
        return {"address": ANA, "writer": self.writer, "seq": self.seq, "session_id": session, "ttl_ms": 3600_000}

    def live(self):
        while not self.stopping:
            operation = self.next_operation()
            for _ in range(2 if self.choice.random() < 0.2 else 1):  # some are repeated, as after a lost reply
                result = yield from self.execute(operation)
            if isinstance(operation, ops.Open) and getattr(result, "state", "") == "open":
                self.lease = (operation.lease_owner, result.token, result.cut)
            if isinstance(operation, ops.Reply):
                self.lease = None

    def next_operation(self):  # noqa: PLR0911  one for each kind
        number = self.choice.randrange(8)
        if self.lease and self.choice.random() < 0.8:
            owner, token, cut = self.lease
            outcome = {"owner_id": owner, "token": token, "cut": cut, "lease_ms": 60_000, "outcome": "a"}
            return ops.Reply(**self.who(), **outcome, drafts=(draft(number),), first_unsent=self.choice.randrange(2))
        kind = self.choice.choice(["open", "open", "receive", "receive", "append", "end", "sent", "pause"])
        if kind == "open":
            return ops.Open(**self.who(), draft=draft(number), lease_ms=60_000, fresh=True, nonce=wire.new_id())
        if kind == "receive":
            return ops.Receive(**self.who(), draft=draft(number), fresh=True)
        if kind == "append":
            return ops.Append(**self.who(), draft=draft(100 + number), settles=True, fresh=False)
        if kind == "end":
            return ops.End(address=ANA, session_id=SESSION)
        if kind == "pause":
            return ops.Pause(**self.who(), fresh=False, paused=self.choice.random() < 0.2)
        ids = [name for name in self.raw.hkeys(session_keys(self.namespace, ANA).own[0]) if name.startswith(b"o:")]
        return ops.MarkSent(**self.who(), message_id=ids[0][2:].decode() if ids else "none")

    def execute(self, operation):
        going = steps(self.namespace, operation)
        try:
            batch = next(going)
            while True:
                for chain in batch:
                    while not chain.done:
                        (words, *_) = chain.words()
                        yield
                        chain.take([self.send(words)])
                    if chain.failure:
                        raise chain.failure
                batch = going.send([chain.answers for chain in batch])
        except StopIteration as end:
            return end.value
        except LuniError as error:
            return error

    def send(self, words):
        try:
            return self.raw.execute_command(*words)
        except REPLIES as error:
            return error


@pytest.mark.parametrize("seed", range(4))
def test_nothing_that_waits_is_ever_missing(server, namespace, many, seed):
    stale = 0
    with Redis(port=server.port) as raw:
        for history in range(many.of(HISTORIES)):
            choice = random.Random(seed * 1_000_000 + history)
            own = Tagged(f"{namespace}.{seed}.{history}")
            workers = [Worker(raw, own, choice) for _ in range(WORKERS)]
            for _ in range(STEPS):
                at = choice.randrange(WORKERS)
                next(workers[at].going)
                if choice.random() < DIES:
                    workers[at] = Worker(raw, own, choice)
            stale += looked_at(raw, own, f"history {history} of seed {seed}")
    sys.stderr.write(f"{many.of(HISTORIES)} histories: on a list for nothing {stale}\n")


def looked_at(raw, own, said):
    """Compare the session with the lists; return whether one of them names it for nothing."""
    sessions, waiting, _, unsent, _ = list_keys(own, "shop")
    member, ctx = b"web:ana", session_keys(own, ANA).own[0]
    examined = Worker(raw, own, random.Random()).execute(ops.Examine(kind="unsent", addresses=(ANA,)))
    found = finished(examined).sessions[0]
    waits, has_unsent = found.waits, bool(found.texts)
    listed = raw.zscore(waiting, member) is not None
    assert listed or not waits, said
    assert raw.zscore(unsent, member) is not None or not has_unsent, said
    assert raw.zscore(sessions, member) is not None or not raw.exists(ctx), said
    return int(listed and not waits)


class Eraser(Worker):
    """Erases the person, again and again; one that has died is made good by the next one that comes to its end."""

    def live(self):
        while True:
            seconds, us = self.raw.time()
            yield from self.erase(seconds * 1000 + us // 1000)

    def erase(self, before_ms):
        fresh, met = wire.new_id(), ops.Met("")
        while isinstance(met, ops.Met):
            session = met.session_id
            erasing = ops.Erase(address=ANA, session_id=session, before_ms=before_ms, fresh_id=fresh)
            met = yield from self.execute(erasing)
        return met


@pytest.mark.parametrize("seed", range(4))
def test_erasing_takes_nobody_off_the_lists_who_waits(server, namespace, many, seed):
    """Workers write while erasers, who may die between any two calls, erase; at the end the lists are right."""
    with Redis(port=server.port) as raw:
        for history in range(many.of(HISTORIES // 3)):
            said = f"history {history} of seed {seed}"
            choice = random.Random(7 + seed * 1_000_000 + history)
            own = Tagged(f"{namespace}.{seed}.{history}")
            workers = [Worker(raw, own, choice) for _ in range(WORKERS)]
            erasers = [Eraser(raw, own, choice) for _ in range(2)]
            for _ in range(2 * STEPS):
                next(choice.choice([*workers, *erasers]).going)
                if choice.random() < DIES:
                    erasers[choice.randrange(2)] = Eraser(raw, own, choice)
            for worker in workers:
                worker.stopping = True
                finished(worker.going)
            finished(Eraser(raw, own, choice).erase(1))  # of nothing: what others died over is put right
            looked_at(raw, own, said)
            finished(Eraser(raw, own, choice).erase(9_000_000_000_000))
            left = [name for name in raw.scan_iter(f"{own}:*", count=1000) if b":sess:" in name and b":id:" not in name]
            assert left == [], said
            told = {key: raw.dump(key) for key in list_keys(own, "shop")}
            assert [key for key, value in told.items() if value is not None and b"ana" in value] == [], said


def finished(going):
    while True:
        try:
            next(going)
        except StopIteration as end:
            return end.value
