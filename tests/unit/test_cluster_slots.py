"""On a Cluster every script's keys fall into one slot, and the two layouts never meet."""

import inspect

import pytest
from redis.crc import key_slot

from luni import operations as ops
from luni.backends import keys
from luni.backends.redis.cluster.chains import Chain, Everywhere
from luni.backends.redis.cluster.slots import Slots, node_url, seeds_of
from luni.backends.redis.cluster.steps import PROMISES, steps
from luni.errors import ConfigError, InvalidInput
from luni.models import Address

ANA, BOB = Address("shop", "web", "ana"), Address("other", "web", "bob{1}")
WHO = {"address": ANA, "writer": "w" * 26, "seq": 1, "session_id": "s1", "ttl_ms": 1000}
DRAFT = ops.Draft(b'"text":"hi"}', 1, "d" * 40)
LEASE = ops.Lease(ANA, "owner", 1, 1000)
PLACE = ops.Place(tenant="shop", name="chair")
OF_SESSION = ops.Place(tenant="shop", name="chair", channel="web", user="ana")
SHARES = (ops.Share("chair", 1), ops.Share("room", 2))
CHANGE = {"tenant": "shop", "writer": "w" * 26, "seq": 1, "id": "b1", "shares": SHARES, "guard": "chair", "grace_ms": 1}


def pages(**more):
    return {"limit": 10, **more}


CURSORS = ("", "1:0", "2:0", "3:0", "4:0", "5:")
SAMPLES = [
    ops.Receive(**WHO, draft=DRAFT, fresh=True),
    ops.Open(**WHO, draft=DRAFT, lease_ms=1000, fresh=True, nonce="n"),
    ops.Open(**WHO, draft=None, lease_ms=1000, fresh=False, nonce="n"),
    ops.Reply(**WHO, owner_id="o", token=1, cut=1, lease_ms=1000, outcome="a", drafts=(DRAFT,), first_unsent=1),
    ops.Append(**WHO, draft=DRAFT, settles=True, fresh=True),
    ops.Update(**WHO, fresh=True),
    ops.Pause(**WHO, fresh=False, paused=True),
    ops.Fold(**WHO, folding=ops.Folding(0, 1, "s", "b")),
    ops.Amend(**WHO, digest="d", text=b"{}", message_id="m"),
    ops.MarkSent(**WHO, message_id="m"),
    ops.Load(
        **WHO, fresh=True, digest="d", import_digest="i", window=(), waiting=(), summary="", folded=0, added=0, added_tokens=0
    ),
    ops.End(address=ANA, session_id="s1"),
    ops.Gather(address=ANA, owner_id="o", token=1, lease_ms=1, quiet_ms=1, burst_ms=1),
    ops.Release(address=ANA, owner_id="o", token=1),
    ops.Read(address=ANA),
    ops.Locate(session_id="s1"),
    ops.Sessions(tenant="shop", **pages()),
    ops.Tenants(**pages()),
    ops.Pending(kind="waiting", tenants=("shop", "other"), older_ms=0, **pages()),
    ops.Examine(kind="waiting", addresses=(ANA, BOB)),
    ops.Claim(kind="unsent", tenant="shop", claimer="c", claim_ms=1, wanted=((ANA, 1),)),
    ops.Inspect(addresses=(ANA, BOB, ANA)),
    ops.Renew(leases=(LEASE, ops.LockLease(PLACE, "o", 1, 1), ops.LockLease(OF_SESSION, "o", 1, 1))),
    ops.Lock(place=PLACE, owner="o", ttl_ms=1),
    ops.Lock(place=OF_SESSION, owner="o", ttl_ms=1),
    ops.Unlock(place=OF_SESSION, owner="o"),
    ops.Guarantees(),
    ops.Hold(**CHANGE, start_us=1, end_us=2, hold_ms=1, by="ana"),
    ops.Confirm(**CHANGE),
    ops.Cancel(**CHANGE),
    ops.Move(**CHANGE, start_us=1, end_us=2),
    ops.Adopt(
        **CHANGE, state="c", units=(0, 0), start_us=1, end_us=2, until_ms=ops.NEVER_MS, keep_ms=3, created_ms=1, by="ana"
    ),
    ops.BookingsIn(tenant="shop", resource="chair", start_us=1, end_us=2, limit=1),
    ops.BusyIn(tenant="shop", resource="chair", start_us=1, end_us=2, limit=1, capacity=1),
    ops.BookingsBy(tenant="shop", by="ana", limit=1),
    ops.Recall(tenant="shop", resource="chair", ids=("b1",)),
    ops.Resources(tenant="shop", limit=1),
    ops.Reconcile(tenant="shop", resource="chair", limit=1),
    ops.Dump(address=ANA),
    ops.Restore(address=ANA, state=ops.State(session_id="s1", expire_ms=2000), version="v", former="s0"),
    ops.Acquaint(proposed="p"),
    ops.Tombstones(tenant="shop", user="ana"),
    ops.BookingsOf(tenant="shop", resource="chair", cursor="", limit=1),
    ops.Bury(tenant="shop", user="ana", secret="s"),
    *[ops.Traces(tenant="shop", user=user, cursor=cursor, limit=1) for user in ("ana", "") for cursor in CURSORS],
    ops.Erase(address=ANA, session_id="s1", before_ms=1, fresh_id="s2"),
    ops.EraseBookings(tenant="shop", user="ana", resource="chair", before_ms=1, cursor="", limit=1),
    ops.Scrub(tenant="shop", strays=("luni:lock:{shop}:x", "luni:lock:{shop}:x:fence", "luni:foco:shop:web:a:b"), before_ms=1),
    ops.Vacate(tenant="shop", before_ms=1),
    ops.Expunge(),
]
ABSTRACT = {"Operation", "OnSession", "Write", "Change", "Erasing"}
TOLD = [[[b"2", b"1", b"", b"1", 0, 0]], [0], [0]]
"""What the lists answer to an operation that tells them before."""

GONE, STANDS = [b"", b"0", b"", b"", b"", b"0"], [b"s2", b"1", b"2", b"", b"", b"9000"]
ERASED = [b"erased", 1, 2, 1, 0]
ANSWERS = {
    ops.Erase: ([[[b"2"]], [[ERASED, GONE]], [[1]], [[STANDS]], [[1], [0], [0]], [[1]], [[1]]], [[[b"2"]], [[ERASED, STANDS]]]),
    ops.Vacate: ([[[b"s1"], [[0, 0, 0]]], [[1], [1]], [[[1, 0, 5]]], [[1]]], [[[None], [[0, 0, 0]]], [[1]], [[[0, 0, 0]]]]),
}
"""What the steps of an operation that goes ways of its own may be answered, one after the other."""


def batches(operation):
    """Everything that an operation would send first, and what follows answers that lead on."""
    going = steps(keys.Tagged("luni"), operation)
    batch = next(going, None)
    if batch is None:
        return
    yield batch
    if type(operation) in PROMISES and len(batch) > 1:
        yield going.send(TOLD)
    for answers in ANSWERS.get(type(operation), ()):
        going = steps(keys.Tagged("luni"), operation)
        batch = next(going)
        for answer in answers:
            yield batch
            assert len(answer) == len(batch)
            try:
                batch = going.send(answer)
            except StopIteration:
                break
        else:
            yield batch


def test_there_is_a_sample_of_every_operation():
    known = {name for name, one in inspect.getmembers(ops, inspect.isclass) if issubclass(one, ops.Operation)}
    assert {type(one).__name__ for one in SAMPLES} >= known - ABSTRACT


@pytest.mark.parametrize("operation", SAMPLES, ids=lambda one: type(one).__name__)
def test_the_keys_of_every_call_are_in_one_slot(operation):
    for batch in batches(operation):
        if isinstance(batch, Everywhere):
            continue
        for chain in batch:
            slots = {key_slot(key.encode()) for command in chain._left for key in command.call.keys}
            assert slots == {chain.slot}


def test_what_is_spread_is_one_call_a_slot():
    lease = ops.LockLease(PLACE, "o", 1, 1)
    (first,) = batches(ops.Renew(leases=(lease, LEASE, lease)))
    assert [len(chain._left[0].call.keys) for chain in first] == [4, 2]


def test_the_layouts_never_meet():
    plain, tagged = "luni", keys.Tagged("luni")
    assert plain != tagged
    assert tagged != plain
    assert {plain: 1, tagged: 2} == {tagged: 2, plain: 1}
    assert keys.session_keys(plain, ANA).own[0] == "luni:sess:shop:web:ana:ctx"
    assert keys.session_keys(tagged, ANA).own[0] == "luni:sess:{shop:web:ana}:ctx"
    assert keys.session_keys(tagged, ANA).client == "luni:client:shop"
    assert keys.session_keys(tagged, BOB).own[0] == "luni:sess:{other:web:bob%7B1%7D}:ctx"
    for namespace in (plain, tagged):
        base = keys.session_keys(namespace, BOB).own[0].removesuffix(":ctx")
        assert keys.address_of(namespace, base) == BOB


def test_a_cluster_is_named_by_its_nodes():
    assert seeds_of("redis+cluster://u:p%2C@one:7000,two,[::1]:7001") == [("one", 7000), ("two", 6379), ("::1", 7001)]
    assert node_url("valkeys+cluster://u:p@one,two?ssl_ca_certs=x", ("::1", 7)) == "rediss://u:p@[::1]:7/0?ssl_ca_certs=x"
    for bad in ("redis+cluster://", "redis+cluster://a,:1", "redis+cluster://a/1", "redis+cluster://a:x"):
        with pytest.raises(ConfigError):
            seeds_of(bad)


def test_a_map_is_doubted_where_a_slot_has_nobody():
    slots = Slots([("one", 1)])
    assert slots.due
    assert slots.load([[0, 16383, [b"", 7000, b"id"], [b"two", 7001, b"id2"]]], ("one", 1))
    assert not slots.due
    assert slots.owner(5) == ("one", 7000)
    assert slots.primaries() == [("one", 7000)]
    slots.doubt(("one", 7000))
    assert slots.to_ask()[-1] == ("one", 7000)


def test_a_part_that_cannot_be_a_key_is_refused_before_anything_is_sent():
    with pytest.raises(InvalidInput):
        next(steps(keys.Tagged("luni"), ops.Read(address=Address("", "web", "ana"))))


def test_a_chain_goes_on_where_it_was_not_executed():
    (batch,) = batches(ops.Reply(**WHO, owner_id="o", token=1, cut=1, lease_ms=1000, outcome="a"))
    (chain,) = batch
    assert isinstance(chain, Chain)
    from redis.exceptions import AskError, MovedError, NoScriptError  # noqa: PLC0415  only here

    chain.take([NoScriptError("x"), [b"stale"]])
    assert [words[0] for words in chain.words()] == ["EVAL", "EVALSHA"]
    chain.take([MovedError("1 two:7000"), MovedError("1 two:7000")])
    assert chain.moved == ("two", 7000)
    chain.take([AskError("1 three:7000"), AskError("1 three:7000")])
    assert [words[0] for words in chain.on_the_wire()] == ["ASKING", "EVAL", "ASKING", "EVALSHA"]
    chain.take(["one", "two"])
    assert chain.done
    assert chain.answers == ["one", "two"]
