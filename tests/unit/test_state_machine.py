"""Random calls of several workers on one store, step by step compared with a model of a hundred lines."""

from __future__ import annotations

import math
import os
import uuid
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from model import LEASE, SEEN, TTL, Conversation
from places import OnFile, OnServer

from luni import Memory, Message, Policy, SessionUpdate
from luni.errors import Fenced, InvalidInput
from luni.testing.servers import Server, available

SOAK = max(1, int(os.environ.get("LUNI_SOAK", "1")))
WORKERS, USERS = 3, ("ana", "rui")
INCOMING = [f"wamid.{number}" for number in range(8)]
OUTBOX = {"*": Policy(outbox=True)}
APPENDED = ["crm-1", "crm-2", ""]
BATCHES = [
    [(f"batch {b} line {i}", "user" if i % 2 else "assistant", f"b{b}-{i}") for i in range(size)]
    for b, size in enumerate((3, 14, 40))
]

roles = st.sampled_from(["user", "assistant", "human", "system"])
users, workers = st.sampled_from(USERS), st.integers(0, WORKERS - 1)
odd = st.sampled_from(["oi", "1.234,56 reais", "👩\u200d👩\u200d👧 é", '"}]', "\x00\n"])
words = st.text(min_size=1, max_size=12).filter(str.strip) | odd
values = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.lists(st.integers(0, 3), max_size=2) | words
patches = st.dictionaries(st.sampled_from(["a", "b", "ç"]), values, max_size=2)


class Conversations(RuleBasedStateMachine):
    """The machine; a subclass says where it runs."""

    place_of: ClassVar[Any]
    turns = Bundle("turns")

    @initialize()
    def begin(self) -> None:
        self.place = type(self).place_of()
        options: Any = {"clock": self.place.clock} if self.place.clock else {}
        name = f"m{uuid.uuid4().hex[:12]}"
        self.memories = [Memory.open(self.place.url(), namespace=name, policies=OUTBOX, **options) for _ in range(WORKERS)]
        self.real = {user: Conversation() for user in USERS}
        self.memories[0].health()

    @property
    def now(self) -> float:
        return self.place.clock.monotonic() if self.place.clock else 0.0

    def both(self, worker: int, user: str) -> tuple[Any, Conversation]:
        model = self.real[user]
        model.at(self.now)
        return self.memories[worker].session(tenant="shop", channel="web", user=user), model

    def full(self, model: Conversation, more: int) -> bool:
        """Whether an unanswered message may keep so many more from being folded: a `Backlog`, which is not modelled."""
        return bool(model.unanswered) and len(model.held) + more > 110

    # what callers do

    @rule(worker=workers, user=users, text=words, message_id=st.sampled_from(INCOMING))
    def receive(self, worker, user, text, message_id):
        session, model = self.both(worker, user)
        before, new = self.place.writes(), not model.session
        got, expected = session.receive(text, message_id=message_id), model.receive(text, message_id, self.now)
        assert got.state == expected
        assert got.new_session is (new and expected == "accepted")
        if expected == "duplicate":
            assert self.place.writes() == before, "a duplicate writes nothing"

    @rule(
        target=turns, worker=workers, user=users, text=words | st.none(), message_id=st.sampled_from(INCOMING),
        coalesce=st.sampled_from([0, 0, 0.02]), wait=st.sampled_from([0, 0, 0.05]),
    )  # fmt: skip
    def open(self, worker, user, text, message_id, coalesce=0, wait=0):
        session, model = self.both(worker, user)
        before, fresh, now = self.place.writes(), not model.session, self.now
        if model.lease and model.lease.end - now < 1:
            wait = 0  # it would end meanwhile
        name = None if text is None else message_id
        turn = session.turn(text, message_id=name, coalesce=coalesce, wait=wait).open()
        state, attempt, held = model.open(text, message_id, now)
        if held:
            model.hold(held, self.now)
        assert (turn.state, turn.attempt) == (state, attempt)
        assert turn.should_reply is (held is not None)
        if held:
            assert [m.text for m in turn.messages] == model.answered_by(held.cut)
            assert turn.new_session is fresh
            self.sees(turn.context, model)
        elif state in {"duplicate", "in_progress", "idle"}:
            assert self.place.writes() == before, f"{state} writes nothing"
        return turn, held, user

    @rule(turn=turns, texts=st.lists(words, min_size=1, max_size=3), metadata=patches | st.none())
    def reply(self, turn, texts, metadata):
        turn, held, user = turn
        model = self.real[user]
        model.at(self.now)
        update = None if metadata is None else SessionUpdate(metadata=metadata)
        allowed = held is not None and model.settle(held, "a", texts, self.now)
        if not allowed:
            before = self.place.writes()
            with pytest.raises(Fenced):
                turn.reply(*texts, update=update)
            assert self.place.writes() == before, "a fenced reply writes nothing"
            return
        stored = turn.reply(*texts, update=update)
        if metadata:
            model.metadata |= metadata
            model.revision += 1
        assert [m.text for m in stored] == texts
        model.unsent += [(m.id, m.text) for m in stored]
        self.settled(turn, held, model)

    @rule(turn=turns, worker=workers, text=words)
    def reply_by_handle(self, turn, worker, text):
        turn, held, user = turn
        session, model = self.both(worker, user)
        handle = held and held.open and turn.handle
        if not handle:
            return
        if not model.settle(held, "a", [text], self.now):
            with pytest.raises(Fenced):
                session.reply(handle, text)
            return
        done = session.reply(handle, text)
        model.unsent += [(m.id, m.text) for m in done.messages]
        assert [m.text for m in done.messages] == [text]
        assert done.should_reply is held.open
        if held.open:
            self.sees(done.context, model)
            model.close(held)  # its handle is lost, its worker knows nothing of it
            turn.close()

    @rule(turn=turns)
    def skip(self, turn):
        turn, held, user = turn
        model = self.real[user]
        model.at(self.now)
        if held is not None and model.settle(held, "s", [], self.now):
            turn.skip("noise")
            self.settled(turn, held, model)
        else:
            with pytest.raises(Fenced):
                turn.skip("noise")

    def settled(self, turn, held, model):
        assert turn.should_reply is held.open
        if held.open:
            assert [m.text for m in turn.messages] == model.answered_by(held.cut)
            self.sees(turn.context, model)

    @rule(turn=consumes(turns))
    def close(self, turn):
        turn, held, user = turn
        self.real[user].at(self.now)
        if held:
            self.real[user].close(held)
        turn.close()

    @rule(worker=workers, user=users, text=words)
    def fail_inside_a_turn(self, worker, user, text):
        session, model = self.both(worker, user)
        turn = session.turn(text, message_id="poison")
        with pytest.raises(ZeroDivisionError):
            failing(turn)
        state, attempt, held = model.open(text, "poison", self.now)
        assert (turn.state, turn.attempt) == (state, attempt)
        if held:
            model.close(held)

    @rule(worker=workers, user=users, role=roles, text=words, message_id=st.sampled_from(APPENDED))
    def append(self, worker, user, role, text, message_id):
        session, model = self.both(worker, user)
        before = self.place.writes()
        got = session.append(role, text, message_id=message_id or None)
        if model.append(role, text, message_id, self.now):
            assert (got.role, got.text) == (role, text)
        else:
            assert self.place.writes() == before, "a repeated append writes nothing"

    @rule(worker=workers, user=users, count=st.sampled_from([7, 25]), role=st.sampled_from(["user", "assistant"]))
    def append_many(self, worker, user, count, role):
        session, model = self.both(worker, user)
        if self.full(model, count):
            return
        for number in range(count):
            assert session.append(role, f"line {number}").text == f"line {number}"
            model.append(role, f"line {number}", "", self.now)

    @rule(worker=workers, user=users, seconds=st.sampled_from([None, LEASE, TTL / 2]))
    def pause(self, worker, user, seconds):
        session, model = self.both(worker, user)
        session.pause(seconds, by="carla")
        model.pause(math.inf if seconds is None else self.now + seconds, self.now)

    @rule(worker=workers, user=users)
    def resume(self, worker, user):
        session, model = self.both(worker, user)
        before = self.place.writes()
        paused = model.resume(self.now)
        assert session.resume() is paused
        if not paused:
            assert self.place.writes() == before, "resuming what is not paused writes nothing"

    @rule(worker=workers, user=users, metadata=patches, variables=patches)
    def update(self, worker, user, metadata, variables):
        session, model = self.both(worker, user)
        got = session.update(SessionUpdate(metadata=metadata, variables=variables))
        assert got == model.update(metadata, variables, self.now)

    @rule(worker=workers, user=users, text=st.text(max_size=600))
    def set_summary(self, worker, user, text):
        session, model = self.both(worker, user)
        assert session.set_summary(text.encode("utf-8", "ignore").decode()) == model.update({}, {}, self.now)

    @rule(worker=workers, user=users, number=st.integers(0, len(BATCHES) - 1))
    def load(self, worker, user, number):
        batch = BATCHES[number]
        session, model = self.both(worker, user)
        if self.full(model, len(batch)):
            return
        added = session.load([Message(text=text, role=role, id=name, timestamp_ms=1) for text, role, name in batch])
        assert added == model.load(batch, self.now)

    @rule(worker=workers, user=users, message_id=st.sampled_from([*INCOMING, "b0-1", "b1-13"]), text=words | st.none())
    def amend_or_redact(self, worker, user, message_id, text):
        session, model = self.both(worker, user)
        if text is not None and model.redacted(message_id):
            with pytest.raises(InvalidInput):
                session.amend(message_id, text)
            return
        got = session.redact(message_id) if text is None else session.amend(message_id, text)
        there = model.amend(message_id, text, self.now)
        assert (got.text if got else None) == ((text or "") if there else None)

    @rule(worker=workers, user=users, number=st.integers(0, 3))
    def mark_sent(self, worker, user, number):
        session, model = self.both(worker, user)
        message_id, _ = model.unsent.pop(number) if number < len(model.unsent) else ("nothing", "")
        before = self.place.writes()
        assert session.mark_sent(message_id, provider_id="SM") is (message_id != "nothing")
        if message_id == "nothing":
            assert self.place.writes() == before, "marking what does not wait writes nothing"

    @rule(worker=workers)
    def sweep(self, worker):
        for user in USERS:
            self.both(worker, user)
        models, memory = self.real, self.memories[worker]
        found = {item.user for item in memory.unanswered("shop", older_than=0, claim=False)}
        assert found == {user for user in USERS if models[user].free and models[user].unanswered}
        unsent = [(item.user, item.message.id, item.message.text) for item in memory.unsent(older_than=0, claim=False)]
        for user in USERS:
            expected = models[user].unsent if models[user].free else []
            assert [(name, text) for owner, name, text in unsent if owner == user] == expected

    @rule(worker=workers, user=users)
    def end(self, worker, user):
        session, model = self.both(worker, user)
        assert session.end() is model.end(self.now)

    @rule(worker=workers, user=users)
    def find(self, worker, user):
        session, model = self.both(worker, user)
        info = session.info()
        if info:
            found = self.memories[worker].find(info.session_id, tenant="shop")
            assert found is not None
            assert found.user == user
            assert self.memories[worker].find(info.session_id, tenant="other") is None
        listed = {item.user for item in self.memories[worker].sessions("shop")}
        assert (user in listed) is bool(model.session)

    @precondition(lambda self: self.place.clock is not None)
    @rule(seconds=st.sampled_from([1.0, LEASE / 2, LEASE, TTL / 2, TTL - 1, TTL, SEEN + 1]))
    def time_passes(self, seconds):
        self.place.clock.advance(seconds)

    # what must hold

    def sees(self, context, model):
        shown = [m.text for m in context.messages]
        hidden = len(model.said) - len(shown)
        assert hidden >= model.folded
        assert shown == [m.text for m in model.said[hidden:]]
        assert not context.partial
        assert not context.damaged

    @invariant()
    def the_store_is_as_the_model_says(self):
        for user in USERS:
            session, model = self.both(0, user)
            before = self.place.writes()
            info, messages, context = session.info(), session.messages(500), session.context()
            assert self.place.writes() == before, f"reading {user} wrote something"
            if not model.session:
                assert (info, messages) == (None, [])
                continue
            assert info.folded >= model.folded
            unanswered_ids = {name for name, record in model.seen.items() if record in model.unanswered}
            model.folded = info.folded
            assert unanswered_ids <= {m.id for m in model.held}, "an unanswered message was folded"
            assert [(m.text, m.role, m.amended) for m in messages] == [(m.text, m.role, m.amended) for m in model.held]
            assert len({m.id for m in messages}) == len(messages)
            assert len(messages) <= 20 + 100
            assert (info.message_count, info.unanswered) == (len(model.said), len(model.unanswered))
            assert len(info.summary) <= 400
            assert info.revision == model.revision
            assert (info.paused, info.paused_by) == ((True, "carla") if model.paused else (False, None))
            assert {key: info.metadata[key] for key in model.metadata} == model.metadata
            assert info.variables == model.variables
            assert len(context.messages) == len(model.held)
            self.sees(context, model)

    def teardown(self):
        for memory in getattr(self, "memories", ()):
            memory.close()
        if hasattr(self, "place"):
            self.place.done()


def failing(turn: Any) -> None:
    with turn:
        raise ZeroDivisionError


def explore(place_of: Any, examples: int) -> None:
    machine = type("Machine", (Conversations,), {"place_of": staticmethod(place_of)})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples * SOAK,
            stateful_step_count=40,
            deadline=None,
            database=None,
            derandomize=SOAK == 1,
            report_multiple_bugs=False,
            phases=[Phase.generate] if SOAK == 1 else [Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        ),
    )


def repeated_import(machine: Any) -> None:
    machine.receive(worker=0, user="ana", text="unanswered", message_id="wamid.1")
    machine.load(worker=0, user="ana", number=2)
    machine.the_store_is_as_the_model_says()
    machine.append_many(worker=1, user="ana", count=25, role="assistant")
    machine.load(worker=0, user="ana", number=2)


def hundreds_of_lines_without_a_reply(machine: Any) -> None:
    for worker in (0, 1, 0, 1, 2, 0):
        machine.append_many(worker=worker, user="ana", count=25, role="user")
        machine.the_store_is_as_the_model_says()


def append_repeated_in_a_blank_session(machine: Any) -> None:
    machine.append(worker=0, user="ana", role="user", text="one", message_id="crm-1")
    machine.end(worker=0, user="ana")
    machine.update(worker=0, user="ana", metadata={}, variables={})
    machine.append(worker=0, user="ana", role="user", text="two", message_id="crm-1")


def unanswered_in_a_former_session(machine: Any) -> None:
    machine.receive(worker=0, user="ana", text="one", message_id="wamid.1")
    if machine.place.clock:
        machine.time_passes(seconds=TTL)
    else:
        machine.end(worker=0, user="ana")
    machine.append(worker=0, user="ana", role="assistant", text="new session", message_id="")
    machine.close(turn=machine.open(worker=1, user="ana", text="one", message_id="wamid.1"))


def appended_to_a_turn_that_goes_on(machine: Any) -> None:
    turn = machine.open(worker=0, user="ana", text="one", message_id="wamid.0")
    machine.receive(worker=0, user="ana", text="two", message_id="wamid.1")
    machine.load(worker=0, user="ana", number=0)
    machine.append_many(worker=0, user="ana", count=7, role="user")
    machine.skip(turn=turn)


FOUND = [
    repeated_import,
    hundreds_of_lines_without_a_reply,
    append_repeated_in_a_blank_session,
    unanswered_in_a_former_session,
    appended_to_a_turn_that_goes_on,
]


def replay(place_of: Any, story: Any) -> None:
    """What the machine has found before, step by step."""
    machine = type("Machine", (Conversations,), {"place_of": staticmethod(place_of)})()
    try:
        machine.begin()
        story(machine)
        machine.the_store_is_as_the_model_says()
    finally:
        machine.teardown()


@pytest.mark.parametrize("story", FOUND)
def test_what_was_found_on_sqlite_stays_mended(story):
    replay(OnFile, story)


def test_sqlite_does_what_the_model_does():
    explore(OnFile, 100)


@pytest.mark.parametrize("kind", ["valkey", "redis"])
def test_a_server_does_what_the_model_does(kind):
    if not available(kind):
        if kind in os.environ.get("LUNI_REQUIRE", "").split(","):
            pytest.fail(f"there is no {kind} server here, and LUNI_REQUIRE asks for one")
        pytest.skip(f"there is no {kind} server here")
    with Server(kind) as server:
        for story in FOUND:
            replay(lambda: OnServer(server), story)
        explore(lambda: OnServer(server), 40)
