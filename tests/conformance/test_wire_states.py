"""Whole sessions on the wire: what others keep beside ours stays, and a session moves between the kinds of store."""

import msgspec
import pytest

from conformance.foreign import base, ctx, foreign_message, foreign_session
from luni import Memory, SessionUpdate
from luni.errors import Damaged, InvalidInput
from luni.models import Address
from luni.operations import Restore, State
from luni.testing.conformance.states import (
    ANA,
    CASES,
    POLICIES,
    assert_same,
    dumped,
    restored,
    taken_out,
    timeless,
    with_everything,
)  # fmt: skip
from luni.testing.conformance.store import executed, talk

SAME_EVERYWHERE = pytest.mark.parametrize("prepare", CASES.values(), ids=CASES.keys())


@pytest.fixture
def pair(server_store, tmp_path):
    """A memory on SQLite, whose clock is the machine's, and one on a server."""
    with Memory.open(f"sqlite:///{tmp_path / 'luni.db'}", policies=POLICIES) as embedded:
        yield embedded, server_store.open(policies=POLICIES)


@SAME_EVERYWHERE
@pytest.mark.parametrize("way", ["from sqlite", "from the server"])
def test_a_session_moves_between_the_kinds_of_store_and_back(pair, prepare, way):
    one, other = pair if way == "from sqlite" else pair[::-1]
    prepare(one.session(tenant="shop", channel="web", user="ana"))
    state = dumped(one).state
    assert restored(other, state)
    assert_same(dumped(other).state, state)
    assert restored(one, dumped(other).state, version=dumped(one).version)
    assert_same(dumped(one).state, state)
    taken_out(one)
    assert restored(one, dumped(other).state)
    assert_same(dumped(one).state, state)


def test_a_moved_session_goes_on_on_the_other_kind_of_store(pair):
    one, other = pair
    with_everything(one.session(tenant="shop", channel="web", user="ana"))
    assert restored(other, dumped(one).state)
    session = other.session(tenant="shop", channel="web", user="ana")
    assert session.receive("waits", message_id="w1").state == "duplicate"
    with session.turn() as turn:
        assert [message.text for message in turn.messages] == ["waits"]
        turn.reply("there you are", update=SessionUpdate(variables={"a": 1}))
    assert restored(one, dumped(other).state, version=dumped(one).version)
    back = one.session(tenant="shop", channel="web", user="ana")
    assert [m.text for m in back.messages(limit=2)] == ["waits", "there you are"]
    assert back.info().variables == {"city": "São Paulo", "a": 1}


@pytest.fixture
def memory(server_store):
    return server_store.open(policies=POLICIES)


def test_a_foreign_field_stays_while_the_session_is_the_same(server_store, memory):
    store = server_store
    talk(store.session(), "oi")
    theirs = {"campoDeles": "valor", "queue": "t,99999999999999", "locks": "till,1,99999999999999", "indexed": "1"}
    store.raw.hset(f"{base(store)}:ctx", mapping=theirs)
    found = dumped(memory)
    changed = msgspec.structs.replace(found.state, focus="haircut")
    assert restored(memory, changed, version=found.version)
    assert ctx(store).items() >= theirs.items()
    assert ctx(store)["focus"] == "haircut"
    assert ctx(store)["clienteId"] == "shop"
    another = msgspec.structs.replace(changed, session_id="another")
    assert restored(memory, another, former=found.state.session_id)
    assert not theirs.keys() & ctx(store).keys()
    assert ctx(store)["clienteId"] == "shop"
    assert '"messageCount":2' in ctx(store)["stats"]


def test_a_session_of_the_other_program_is_dumped_and_restored(server_store, memory):
    store = server_store
    foreign_session(store, "oi", "quero cortar o cabelo")
    foreign_message(store, "sem mais")
    before = store.dump()
    found = dumped(memory)
    assert store.dump() == before
    assert found.state.focus == "corte"
    assert len(found.state.window) == 3
    assert restored(memory, found.state, version=found.version)
    assert_same(dumped(memory).state, found.state)
    assert ctx(store)["metadata"] == before[f"{base(store)}:ctx".encode()][1][b"metadata"].decode()


def test_a_session_of_the_other_program_that_never_expires_is_not_lost(server_store, memory, tmp_path):
    foreign_session(server_store, "oi")
    for part in ("ctx", "msgs"):
        server_store.raw.persist(f"{base(server_store)}:{part}")
    with Memory.open(f"sqlite:///{tmp_path / 'luni.db'}") as other:
        assert restored(other, dumped(memory).state)
        assert [m.text for m in other.session(tenant="shop", channel="web", user="ana").messages()] == ["oi"]


def test_somebodys_lock_stays(server_store, memory):
    store = server_store
    store.session().turn("oi", message_id="1").open()
    found = dumped(memory)
    store.raw.set(f"{base(store)}:locks", "somebody")
    assert dumped(memory).state.lease == ""
    assert restored(memory, found.state)
    assert store.raw.get(f"{base(store)}:locks") == b"somebody"
    assert restored(memory, State())
    assert store.raw.get(f"{base(store)}:locks") == b"somebody"


def test_a_lease_that_was_renewed_meanwhile_is_not_shortened(server_store, memory):
    store = server_store
    store.session().turn("oi", message_id="1").open()
    found = dumped(memory)
    store.raw.pexpire(f"{base(store)}:locks", 3_600_000)
    assert restored(memory, found.state, version=found.version)
    assert store.raw.pttl(f"{base(store)}:locks") > 3_000_000


def test_all_keys_of_a_restored_session_expire_together(server_store, memory):
    store = server_store
    with_everything(store.session(policies=POLICIES))
    state = dumped(memory).state
    for part, ends in (
        ("ctx", state.expire_ms),
        ("msgs", state.expire_ms),
        ("log", state.expire_ms),
        ("seen", state.seen_end_ms),
    ):
        taken_out(memory)
        assert not [key for key in store.dump() if key.startswith(base(store).encode())]
        assert restored(memory, state)
        assert store.raw.execute_command("PEXPIRETIME", f"{base(store)}:{part}") == ends
    kept = store.dump()
    assert kept[f"{store.namespace}:sess:id:{state.session_id}".encode()][1] == base(store).encode()
    assert kept[f"{store.namespace}:client:shop".encode()][1] == state.session_id.encode()
    assert [name for name, (_, _, ends) in kept.items() if ends < 0] == []


@pytest.mark.parametrize("part", ["ctx", "msgs", "fold", "seen", "log", "locks"])
def test_a_key_of_another_type_refuses_a_restore_whole(server_store, memory, part):

    store = server_store
    with_everything(store.session(policies=POLICIES))
    state = dumped(memory).state
    store.raw.delete(f"{base(store)}:{part}")
    store.raw.zadd(f"{base(store)}:{part}", {"x": 1})
    before = store.dump()
    with pytest.raises(Damaged):
        restored(memory, state)
    with pytest.raises(Damaged):
        dumped(memory)
    assert store.dump() == before


def test_a_transcript_of_ten_thousand_messages_is_restored(server_store, memory):
    talk(server_store.session(), "oi")
    state = dumped(memory).state
    texts = tuple(b'{"text":"%d","timestamp":1}' % number for number in range(10_000))
    long = msgspec.structs.replace(state, transcript=texts)
    assert restored(memory, long)
    assert timeless(dumped(memory).state) == timeless(long)


def test_an_address_is_checked_before_anything_is_sent(memory):

    with pytest.raises(InvalidInput):
        executed(memory, Restore(address=Address("", "web", "ana"), state=State(), version=None))
    assert dumped(memory, ANA).state == State()
