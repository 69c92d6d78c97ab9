"""The pure rules of catching up: whatever order two hosts' journals are replayed in, the same comes of it."""

import random

import msgspec
import pytest

from luni import operations as ops
from luni import wire
from luni.backends.failover.entries import Entry, decode, encode
from luni.backends.failover.healing import healed, lacks
from luni.backends.failover.merging import merged
from luni.errors import Damaged
from luni.models import Address, Message

ANA = Address("shop", "web", "ana")
NOW = 1_700_000_000_000
TTL = 3_600_000
PERMUTATIONS = 2000


def draft(text, message_id, role="user"):
    message = Message(text=text, role=role, id=message_id, tokens=len(text))
    return ops.Draft(wire.body(message), message.tokens, wire.message_digest(message_id))


def entry(operation, at_ms, **more):
    return Entry(operation=operation, at_ms=at_ms, clock_ms=at_ms, stamp_ms=at_ms, expire_ms=at_ms + TTL, **more)


class Host:
    """A host's journal: its operations in their order."""

    def __init__(self, name, rng):
        self.name, self.rng, self.seq, self.entries, self.waiting = name, rng, 0, [], []
        self.at = NOW + rng.randrange(1000)

    def who(self):
        self.seq += 1
        self.at += self.rng.randrange(1, 400)
        return {"address": ANA, "writer": self.name, "seq": self.seq, "session_id": f"s-{self.name}", "ttl_ms": TTL}

    def hear(self):
        who = self.who()
        said = draft(f"{self.name} {self.seq}", f"{self.name}-{self.seq}")
        self.waiting.append(said.digest)
        self.entries.append(entry(ops.Receive(**who, draft=said, fresh=True), self.at))

    def answer(self):
        who = self.who()
        said = draft(f"re {self.seq}", f"{self.name}.{self.seq}.0", role="assistant")
        reply = ops.Reply(**who, owner_id="o", token=1, cut=9, lease_ms=1, outcome="a", drafts=(said,))
        self.entries.append(entry(reply, self.at, settles=tuple(self.waiting), late=True))
        self.waiting = []

    def change(self):
        who, key = self.who(), f"k{self.rng.randrange(3)}"
        text = msgspec.json.encode({key: f"{self.name}{self.seq}", "other": 1})
        patch = ops.Patch("", text, keys=(key,))
        update = ops.Update(
            **who, fresh=True, metadata=patch, focus=f"f-{self.name}-{self.seq}", summary=f"s-{self.name}-{self.seq}"
        )
        self.entries.append(entry(update, self.at))

    def pause(self):
        note = b'["' + self.name.encode() + b'",null]'
        self.entries.append(entry(ops.Pause(**self.who(), fresh=True, paused=self.rng.random() < 0.5, note=note), self.at))


def journal(name, rng):
    host = Host(name, rng)
    for _ in range(rng.randrange(3, 14)):
        rng.choice((host.hear, host.hear, host.answer, host.change, host.pause))()
    return host.entries


def replayed(entries, rng):
    """Replay in batches, as the replayer does: each merged into what the last one left."""
    state, left = ops.State(), list(entries)
    while left:
        size = rng.randrange(1, 5)
        state, outcomes = merged(state, left[:size], NOW + 60_000)
        assert set(outcomes) <= {"replayed", "known"}, outcomes
        del left[:size]
    return state


def shown(state):
    """The window and what waits to be folded, the fields, the counters."""
    texts = [*state.waiting, *reversed(state.window)]
    messages = [wire.decode_message(text) for text in texts]
    return {
        "messages": [(m.key, m.id, m.text, m.role, m.late) for m in messages],
        "metadata": {
            key: bytes(value) for key, value in wire.raw_object(state.metadata, "metadata").items() if key.startswith("k")
        },
        "fields": (state.focus, state.summary, state.paused, state.pause),
        "counters": (state.count, state.tokens, state.n, state.folded, state.rev),
        "answered": {one.digest: one.state for one in state.arrivals},
        "stamps": dict(state.stamps),
    }


def test_two_hosts_journals_give_the_same_in_any_order_of_the_two():
    rng = random.Random(5)
    for _ in range(PERMUTATIONS // 10):
        ours, theirs = journal("a" * 26, rng), journal("b" * 26, rng)
        expected = None
        for _ in range(10):
            left, right, mixed = list(ours), list(theirs), []
            while left or right:
                mixed.append((left if left and (not right or rng.random() < 0.5) else right).pop(0))
            found = shown(replayed(mixed, rng))
            expected = expected or found
            assert found == expected
    print(f"{PERMUTATIONS} interleavings of two hosts' journals: equal")  # noqa: T201  counts are to be seen


def test_an_entry_replayed_twice_has_one_effect():
    rng = random.Random(6)
    for _ in range(100):
        entries = journal("a" * 26, rng)
        once, _ = merged(ops.State(), entries, NOW + 60_000)
        again, outcomes = merged(once, entries, NOW + 60_000)
        assert shown(again) == shown(once)
        assert set(outcomes) == {"known"}


def test_a_session_healed_from_a_mirror_is_what_the_mirror_had():
    """200 states, each older one healed by the newer: what was acknowledged is there again."""
    rng = random.Random(7)
    for number in range(200):
        entries = journal("a" * 26, rng)
        cut = rng.randrange(len(entries))
        older, _ = merged(ops.State(), entries[:cut], NOW + 60_000)
        mirror, _ = merged(ops.State(), entries, NOW + 60_000)
        assert shown(healed(older, mirror)) == shown(mirror), number
        assert not lacks(healed(older, mirror), mirror, NOW + 60_000)
    print("200 older sessions healed: equal")  # noqa: T201  counts are to be seen


def test_healing_never_makes_a_waiting_message_forgotten():
    """What the primary remembers of old ids has new numbers here: only as many as the ring has room for."""
    rng = random.Random(8)
    host = Host("a" * 26, rng)
    for number in range(200):
        host.hear()
        if number < 150 and number % 8 == 7:
            host.answer()
    older, _ = merged(ops.State(), host.entries[:150], NOW + 200_000)
    mirror, _ = merged(older, host.entries, NOW + 200_000)
    waiting = {one.digest for one in mirror.arrivals if one.state == "w"}
    found = healed(older, mirror)
    assert {one.digest for one in found.arrivals if one.state == "w"} == waiting
    assert found.n == mirror.n, "ids of before the ring's reach take no new numbers"
    elsewhere = msgspec.structs.replace(older, session_id="another")
    found = healed(elsewhere, mirror)
    assert {one.digest for one in found.arrivals if one.state == "w"} >= waiting


def test_a_session_that_was_ended_is_not_healed():
    entries = journal("a" * 26, random.Random(8))
    mirror, _ = merged(ops.State(), entries, NOW + 60_000)
    end = Entry(operation=ops.End(address=ANA, session_id=mirror.session_id), at_ms=NOW + 50_000)
    ended, (outcome,) = merged(mirror, [end], NOW + 60_000)
    assert outcome == "replayed"
    assert ended.session_id == ""
    assert not lacks(ended, mirror, NOW + 60_000)


def test_what_has_expired_is_dropped_and_revives_nothing():
    entries = journal("a" * 26, random.Random(9))
    state, outcomes = merged(ops.State(), entries, NOW + 100 * TTL)
    assert state == ops.State()
    assert set(outcomes) == {"expired"}


def test_the_later_of_two_changes_of_a_field_wins_whichever_is_replayed_first():
    who = {"address": ANA, "session_id": "s", "ttl_ms": TTL, "fresh": True}
    early = entry(ops.Update(**who, writer="b", seq=1, focus="early"), NOW)
    late = entry(ops.Update(**who, writer="a", seq=1, focus="late"), NOW + 1)
    for order in ([early, late], [late, early]):
        assert merged(ops.State(), order, NOW + 2)[0].focus == "late"


def test_a_message_id_accepted_by_two_hosts_is_one_message_where_the_earlier_put_it():
    who = {"address": ANA, "session_id": "s", "ttl_ms": TTL, "fresh": True}
    said = draft("hi", "m1")
    one = entry(ops.Receive(**who, writer="a", seq=1, draft=said), NOW)
    other = entry(ops.Receive(**who, writer="b", seq=1, draft=said), NOW + 5)
    found = [shown(merged(ops.State(), order, NOW + 9)[0]) for order in ([one, other], [other, one])]
    assert found[0]["messages"] == found[1]["messages"]
    assert len(found[0]["messages"]) == 1


def test_a_command_that_a_sleeping_server_executes_late_leaves_the_order():
    """Its message stands under the clock of its execution; what was acknowledged after it is replayed under earlier ones."""
    who = {"address": ANA, "session_id": "s", "ttl_ms": TTL, "fresh": True, "transcript": 9}
    said = [entry(ops.Receive(**who, writer="a", seq=n, draft=draft(f"{n}", f"m{n}")), NOW + n) for n in (1, 2, 3)]
    late = msgspec.structs.replace(said[0], clock_ms=NOW + 500, at_ms=NOW + 500)
    state, _ = merged(ops.State(), [late], NOW + 500)
    state, outcomes = merged(state, said, NOW + 600)
    assert outcomes == ("known", "replayed", "replayed")
    assert [m[2] for m in shown(state)["messages"]] == ["1", "2", "3"]
    assert [wire.decode_message(text).text for text in state.transcript] == ["3", "2", "1"]


def test_an_entry_of_which_a_bit_was_flipped_is_told_from_a_good_one():
    body, checksum = encode(journal("a" * 26, random.Random(3))[0])
    assert decode(body, checksum).operation.writer == "a" * 26
    spoilt = bytes([body[0] ^ 1]) + body[1:]
    with pytest.raises(Damaged, match="checksum"):
        decode(spoilt, checksum)
