"""The mirror and the tails: what this host knows of its sessions, without a server."""

import pytest

from luni import operations as ops
from luni import wire
from luni.backends.failover.healing import lacks
from luni.backends.failover.journal import Journal
from luni.backends.failover.local import Local
from luni.backends.failover.stories import story_of
from luni.backends.failover.tails import Tails
from luni.backends.sqlite.backend import SQLiteBackend
from luni.models import Address, Message
from luni.settings import Settings
from luni.testing import FakeClock

ANA = Address("shop", "web", "ana")
TTL = 3_600_000
LEASE = 60_000


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def journal(tmp_path):
    journal = Journal(str(tmp_path / "local.journal.db"), Settings())
    yield journal
    journal.close()


@pytest.fixture
def local(tmp_path, clock, journal):
    local = Local(f"sqlite:///{tmp_path / 'local.db'}", Settings(), clock, journal)
    yield local
    local.close()


class Served:
    """What the primary has acknowledged of Ana's session to one process, made by a store of its own."""

    def __init__(self, store, clock, writer="a" * 26):
        self.store, self.clock, self.writer, self.seq, self.tails = store, clock, writer, 0, Tails()

    def do(self, operation):
        result = self.store.execute(operation)
        self.clock.advance(0.002)
        self.tails.note(operation, result, 0.0, self.clock.time_ms())
        return result

    def who(self):
        self.seq += 1
        return {"address": ANA, "writer": self.writer, "seq": self.seq, "session_id": "s1", "ttl_ms": TTL, "fresh": True}

    def hear(self, text):
        body = wire.body(Message(text=text, id=text, tokens=1))
        return self.do(ops.Receive(**self.who(), draft=ops.Draft(body, 1, wire.message_digest(text)), transcript=99))

    def open(self, text=""):
        draft = ops.Draft(wire.body(Message(text=text, id=text, tokens=1)), 1, wire.message_digest(text)) if text else None
        return self.do(ops.Open(**self.who(), draft=draft, nonce="x", lease_ms=LEASE, transcript=99))

    def renew(self, token, seq):
        lease = ops.Lease(ANA, f"{self.writer}.{seq}.x", token, LEASE)
        self.tails.note(lease, self.store.execute(ops.Renew(leases=(lease,))).held[0], 0.0, self.clock.time_ms())

    def dump(self):
        return self.store.execute(ops.Dump(address=ANA)).state


@pytest.fixture
def store(tmp_path, clock):
    store = SQLiteBackend(f"sqlite:///{tmp_path / 'primary.db'}", Settings(), clock)
    yield store
    store.close()


@pytest.fixture
def served(store, clock):
    return Served(store, clock)


def said(state):
    return [wire.decode_message(text).text for text in (*state.waiting, *reversed(state.window))]


def test_what_was_said_before_a_turn_was_opened_is_in_the_mirror_and_answered_by_it(local, served):
    served.hear("one")
    local.keep(ANA, served.dump(), leased_by=(served.writer,))
    served.tails.clear()
    served.hear("two")
    opened = served.open()
    local.absorb(ANA, story_of(served.tails.of(ANA)))
    here, there = local.state(ANA), served.dump()
    assert said(here) == ["one", "two"]
    assert (here.n, here.lease, here.lease_end_ms) == (there.n, there.lease, there.lease_end_ms)
    reply = ops.Reply(
        address=ANA, writer=served.writer, seq=9, session_id="s1", ttl_ms=TTL, owner_id=f"{served.writer}.3.x",
        token=opened.token, cut=opened.cut, lease_ms=LEASE, outcome="s", drafts=(),
    )  # fmt: skip
    assert local.execute(reply).state == "released"


def test_what_a_turn_was_opened_with_is_in_the_transcript(local, served):
    for text in ("one", "two", "three"):
        served.hear(f"before {text}")
        served.open(text)
        local.absorb(ANA, story_of(served.tails.of(ANA)))
        served.tails.clear()
    lines = [wire.decode_message(line).text for line in reversed(local.state(ANA).transcript)]
    assert lines == ["before one", "one", "before two", "two", "before three", "three"]


def test_what_another_host_said_meanwhile_is_shown_by_the_opening(local, served, store, clock):
    served.hear("one")
    local.keep(ANA, served.dump(), leased_by=(served.writer,))
    served.tails.clear()
    Served(store, clock, "b" * 26).hear("theirs")
    served.hear("two")
    served.open()
    local.absorb(ANA, story_of(served.tails.of(ANA)))
    assert said(local.state(ANA)) == ["one", "theirs", "two"]


def test_a_renewed_lease_is_held_as_long_as_the_primary_said(local, served, clock):
    served.hear("one")
    opened = served.open()
    local.keep(ANA, served.dump(), leased_by=(served.writer,))
    served.tails.clear()
    clock.advance(50)
    served.renew(opened.token, served.seq)
    local.absorb(ANA, story_of(served.tails.of(ANA)))
    clock.advance(50)
    assert local.state(ANA).lease_end_ms > clock.time_ms()
    served.renew(opened.token + 1, served.seq)
    assert story_of(served.tails.of(ANA))[-1].until_ms == 0, "another one's token: no longer held"


def test_a_lease_that_ran_out_in_the_mirror_alone_is_held(local, served, clock):
    """The snapshot is older than the lease is long: only the renewals since tell that the turn goes on."""
    served.hear("one")
    opened = served.open()
    local.keep(ANA, served.dump(), leased_by=(served.writer,))
    served.tails.clear()
    for _ in range(3):
        clock.advance(LEASE / 1000 * 0.6)
        served.renew(opened.token, served.seq)
    assert local.state(ANA).lease == ""
    local.absorb(ANA, story_of(served.tails.of(ANA)))
    assert local.state(ANA).lease_end_ms > clock.time_ms() + LEASE / 2


def test_what_is_taken_in_twice_gives_no_lease_back_that_is_over(local, served, clock):
    """By the keeper's thread, while the call that it comes from replies: what was noted is older than the reply."""
    served.hear("one")
    opened = served.open()
    local.keep(ANA, served.dump(), leased_by=(served.writer,))
    served.tails.clear()
    clock.advance(50)
    served.renew(opened.token, served.seq)
    clock.advance(15)
    story = story_of(served.tails.of(ANA))
    reply = ops.Reply(
        address=ANA, writer=served.writer, seq=9, session_id="s1", ttl_ms=TTL, owner_id=f"{served.writer}.2.x",
        token=opened.token, cut=opened.cut, lease_ms=LEASE, outcome="s", drafts=(),
    )  # fmt: skip
    assert local.execute(reply, story).state == "released"
    local.absorb(ANA, story)
    assert local.state(ANA).lease == "", "nobody could speak, or replay, before that lease ends"


def test_what_is_noted_while_the_mirror_is_brought_up_stays_noted(served):
    served.hear("one")
    taken = served.tails.of(ANA)
    served.hear("two")
    served.tails.forget(ANA, taken)
    assert [one.operation.seq for one in served.tails.of(ANA)] == [2]
    served.tails.forget(ANA, served.tails.of(ANA))
    assert len(served.tails) == 0


def test_another_process_s_snapshot_leaves_this_host_s_lease(local, served):
    served.hear("one")
    served.open()
    held = served.dump()
    assert local.keep(ANA, held, leased_by=("b" * 26,))
    assert local.state(ANA).lease == "", "another host's turn is none of this host"
    assert local.keep(ANA, held, leased_by=(served.writer,))
    assert local.keep(ANA, held, leased_by=("b" * 26,))
    assert local.state(ANA).lease == held.lease


def test_a_session_with_a_turn_open_here_is_not_replayed(local, served, clock):
    served.store = local
    served.hear("one")
    assert [kept.entry.operation.seq for kept in local.replayable(ANA, 10).kept] == [1]
    served.open()
    assert local.replayable(ANA, 10) is None
    clock.advance(LEASE / 1000 + 1)
    assert len(local.replayable(ANA, 10).kept) == 2


def test_folding_in_an_outage_is_no_sign_of_a_loss(local, served, clock):
    served.store = local
    for number in range(30):
        served.hear(f"say {number}")
    opened = served.open()
    reply = ops.Reply(
        address=ANA, writer=served.writer, seq=99, session_id="s1", ttl_ms=TTL, owner_id=f"{served.writer}.31.x",
        token=opened.token, cut=opened.cut, lease_ms=LEASE, outcome="s", drafts=(),
    )  # fmt: skip
    assert local.execute(reply).state == "released"
    fold = ops.Fold(
        address=ANA, writer=f"{served.writer}-fold", seq=100, session_id="s1", ttl_ms=TTL,
        folding=ops.Folding(0, 5, "they said things", wire.text_digest(b"")),
    )  # fmt: skip
    before = local.state(ANA)
    local.execute(fold)
    state = local.state(ANA)
    assert (state.folded, state.summary) == (5, "they said things")
    assert not lacks(before, state, clock.time_ms())
