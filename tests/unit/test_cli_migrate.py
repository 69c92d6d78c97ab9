"""`luni migrate`: sessions moved between stores, whole, as often as it takes."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from test_cli import alone, luni, told  # noqa: F401  fixtures

from luni import Memory, Policy, SessionUpdate
from luni.backends.failover.entries import Entry
from luni.backends.failover.journal import Journal
from luni.errors import Unavailable
from luni.models import Address
from luni.operations import BookingsIn, Draft, Dump, Receive, Restore
from luni.ops import migrate as moving
from luni.ops import migrate_bookings
from luni.settings import Settings
from luni.testing.clusters import Cluster
from luni.testing.servers import Server, available

POLICIES = {"*": Policy(outbox=True, transcript_messages=30)}
USERS = ("ana", "bea", "caio")


@pytest.fixture(scope="module")
def server():
    kind = next((kind for kind in ("valkey", "redis") if available(kind)), None)
    if kind is None:
        pytest.skip("there is no server here")
    with Server(kind) as started:
        yield started


@pytest.fixture(scope="module")
def cluster():
    if not available("valkey"):
        pytest.skip("there is no server here")
    with Cluster() as started:
        yield started


@pytest.fixture
def embedded(tmp_path):
    return f"sqlite:///{tmp_path / 'luni.db'}"


@pytest.fixture
def names(request, tmp_path):
    return f"m{abs(hash((request.node.nodeid, str(tmp_path))))}"


def opened(url, namespace="luni"):
    return Memory.open(url, namespace=namespace, policies=POLICIES)


def fill(url, namespace="luni", tenants=("shop", "clinic")):
    with opened(url, namespace) as memory:
        for tenant in tenants:
            for user in USERS:
                session = memory.session(tenant=tenant, channel="web", user=user)
                for number in range(15):
                    with session.turn(f"u{number}", message_id=f"m{number}") as turn:
                        turn.reply(f"re: u{number}", update=SessionUpdate(variables={"n": number}))
                session.receive("waits", message_id="w")


def states(url, namespace="luni", tenants=("shop", "clinic")):
    with opened(url, namespace) as memory:
        found = [
            memory._backend.execute(Dump(address=Address(tenant, "web", user))) for tenant in tenants for user in USERS
        ]  # fmt: skip
        return [moving._content(one.state, one.now_ms) for one in found]


def counts(out):
    found = told(out)
    return {name: found[name] for name in ("moved", "there", "newer", "expired", "failed") if found[name]}


def test_sessions_move_to_a_server_and_back_and_are_equal(luni, embedded, tmp_path, server, names):  # noqa: F811
    fill(embedded)
    before = states(embedded)
    status, out, err = luni("migrate", "--from", embedded, "--to", server.url, "--to-namespace", names, "--json")
    assert (status, counts(out), err) == (0, {"moved": 6}, "")
    assert states(server.url, names) == before == states(embedded)
    back = f"sqlite:///{tmp_path / 'back.db'}"
    status, out, _ = luni("migrate", "--from", server.url, "--to", back, "--namespace", names, "--json")
    assert (status, counts(out)) == (0, {"moved": 6})
    assert states(back) == before
    with opened(back) as memory:
        session = memory.session(tenant="shop", channel="web", user="ana")
        assert session.receive("u3", message_id="m3").state == "duplicate"
        assert [one.session.user for one in memory.unanswered("shop", older_than=0)] == list(USERS)
        assert session.info().message_count == 31


def test_a_second_run_passes_over_what_is_there_and_takes_what_was_written_since(luni, embedded, server, names):  # noqa: F811
    fill(embedded)
    command = ("migrate", "--from", embedded, "--to", server.url, "--to-namespace", names, "--json")
    luni(*command)
    assert counts(luni(*command)[1]) == {"there": 6}
    with opened(embedded) as memory:
        memory.session(tenant="shop", channel="web", user="bea").receive("more", message_id="more")
    assert counts(luni(*command)[1]) == {"moved": 1, "there": 5}
    assert states(server.url, names) == states(embedded)


def test_what_is_newer_in_the_target_is_left(luni, embedded, server, names):  # noqa: F811
    fill(embedded)
    command = ("migrate", "--from", embedded, "--to", server.url, "--to-namespace", names, "--json")
    luni(*command)
    with opened(server.url, names) as memory:
        memory.session(tenant="shop", channel="web", user="ana").receive("after the switch", message_id="s")
        memory.session(tenant="shop", channel="web", user="bea").end()
    after = states(server.url, names)
    assert counts(luni(*command)[1]) == {"newer": 2, "there": 4}
    assert states(server.url, names) == after


def test_an_older_session_of_another_id_is_replaced(luni, embedded, tmp_path):  # noqa: F811
    other = f"sqlite:///{tmp_path / 'other.db'}"
    fill(other, tenants=("shop",))
    fill(embedded, tenants=("shop",))
    assert counts(luni("migrate", "--from", embedded, "--to", other, "--json")[1]) == {"moved": 3}
    assert states(other, tenants=("shop",)) == states(embedded, tenants=("shop",))


def test_a_dry_run_writes_nothing(luni, embedded, tmp_path):  # noqa: F811
    fill(embedded)
    other = tmp_path / "other.db"
    status, out, _ = luni("migrate", "--from", embedded, "--to", f"sqlite:///{other}", "--dry-run")
    assert status == 0
    assert "6  would be moved" in out
    assert not other.exists()


def test_one_tenant_is_moved_alone(luni, embedded, tmp_path):  # noqa: F811
    fill(embedded)
    other = f"sqlite:///{tmp_path / 'other.db'}"
    assert counts(luni("migrate", "--from", embedded, "--to", other, "--tenant", "clinic", "--json")[1]) == {"moved": 3}
    with opened(other) as memory:
        assert list(memory.sessions("shop")) == []
        assert len(list(memory.sessions("clinic"))) == 3


def test_an_interrupted_run_is_resumed(embedded, tmp_path, luni):  # noqa: F811
    fill(embedded)
    other = f"sqlite:///{tmp_path / 'other.db'}"
    with opened(embedded) as source, Memory.open(other, max_retries=0) as target:
        execute, left = target._execute, 3

        def failing(operation):
            nonlocal left
            if isinstance(operation, Restore):
                left -= 1
                if left < 0:
                    raise Unavailable("gone on purpose")
            return execute(operation)

        target._execute = failing
        with pytest.raises(Unavailable):
            moving.migrate(source, target)
    assert counts(luni("migrate", "--from", embedded, "--to", other, "--json")[1]) == {"moved": 3, "there": 3}
    assert states(other) == states(embedded)


def test_what_cannot_be_moved_is_told_and_is_status_one(embedded, tmp_path, luni, monkeypatch):  # noqa: F811
    fill(embedded, tenants=("shop",))
    other = f"sqlite:///{tmp_path / 'other.db'}"
    with opened(embedded) as memory:
        state = memory._backend.execute(Dump(address=Address("shop", "web", "ana"))).state
    with opened(other) as memory:  # its id lives at another address there
        memory._backend.execute(Restore(address=Address("shop", "web", "zoe"), state=state, version=None))
    status, out, err = luni("migrate", "--from", embedded, "--to", other, "--json")
    assert (status, counts(out)) == (1, {"moved": 2, "failed": 1})
    assert told(out)["failures"] == [
        {
            "tenant": "shop",
            "channel": "web",
            "user": "ana",
            "reason": "the session lives at another address; nothing was stored",
        }
    ]
    assert err == "luni: 1 of 3 sessions could not be moved; the others are\n"
    assert "failed: shop web ana: the session lives" in luni("migrate", "--from", embedded, "--to", other)[1]


def test_a_session_that_keeps_changing_is_not_said_to_be_moved(embedded, tmp_path):
    fill(embedded, tenants=("shop",))
    with opened(embedded) as source, opened(f"sqlite:///{tmp_path / 'other.db'}") as target:
        execute = target._execute

        def losing(operation):
            if not isinstance(operation, Restore):
                return execute(operation)
            return execute(msgspec.structs.replace(operation, state=msgspec.structs.replace(operation.state, summary="?")))

        target._execute = losing
        found = moving.migrate(source, target)
    assert (found.moved, found.failed) == (0, 3)


DAY = "2031-05-06T"


def book(luni, url, number, *, resource="chair", also="room", id_=None):  # noqa: F811
    also = ("--also", also) if also else ()
    arguments = ("bookings", "add", "shop", resource, f"{DAY}1{number}:00", "45", "--by", "Ana", "--zone", "UTC", *also)
    assert luni(*arguments, "--id", id_ or f"b{number}", "--note", "corte", "--url", url)[0] == 0


def agenda(url, namespace="luni"):
    """Gives every booking as it is stored at each of its resources."""
    with opened(url, namespace) as memory:
        records = list(migrate_bookings.bookings_of(memory, "shop"))
        return {
            one.id: list(map(migrate_bookings._content, migrate_bookings._everywhere(memory, "shop", one))) for one in records
        }


def bookings_told(out):
    return {name: told(out)[f"bookings_{name}"] for name in ("moved", "there", "expired", "failed")}


@pytest.mark.parametrize("direction", ["to a server", "from a server", "to a cluster", "from a cluster"])
def test_bookings_are_moved_as_they_are(luni, request, embedded, names, monkeypatch, direction):  # noqa: F811
    other = request.getfixturevalue("cluster" if "cluster" in direction else "server").url
    monkeypatch.setenv("LUNI_NAMESPACE", names)
    source, target = (embedded, other) if direction.startswith("to") else (other, embedded)
    fill(source, names, tenants=("shop",))
    for number in range(5):
        book(luni, source, number)
    with opened(source, names) as memory:
        chair = memory.agenda("shop", "chair")
        at = datetime(2031, 5, 7, 10, tzinfo=UTC)
        chair.hold(at, at + timedelta(hours=1), by="bea", id="held", ttl=600, details={"note": "x"})
        chair.cancel("b4")
    expected = agenda(source, names)
    assert len(expected) == 5
    command = ("migrate", "--from", source, "--to", target, "--json")
    assert bookings_told(luni(*command, "--dry-run")[1]) == {"moved": 5, "there": 0, "expired": 0, "failed": 0}
    status, out, _ = luni(*command)
    assert (status, bookings_told(out)) == (0, {"moved": 5, "there": 0, "expired": 0, "failed": 0})
    assert agenda(target, names) == agenda(source, names) == expected
    assert bookings_told(luni(*command)[1]) == {"moved": 0, "there": 5, "expired": 0, "failed": 0}
    with opened(target, names) as memory:
        assert [one.id for one in memory.bookings("shop", by="Ana")] == ["b0", "b1", "b2", "b3"]
        memory.agenda("shop", "chair").confirm("held")


def test_a_booking_is_never_put_over_another_one(luni, embedded, tmp_path):  # noqa: F811
    """Two that differ under one id, and one whose time is taken: both stay where they are, and are told."""
    other = f"sqlite:///{tmp_path / 'other.db'}"
    fill(embedded, tenants=("shop",))
    for number in range(4):
        book(luni, embedded, number)
    book(luni, other, 1, also=None, id_="theirs")
    book(luni, other, 7, id_="b2")
    here, there = agenda(embedded), agenda(other)
    command = ("migrate", "--from", embedded, "--to", other)
    assert bookings_told(luni(*command, "--dry-run", "--json")[1])["failed"] == 2
    status, out, err = luni(*command, "--json")
    assert status == 1
    assert "2 of 4 bookings could not be moved" in err
    assert bookings_told(out) == {"moved": 2, "there": 0, "expired": 0, "failed": 2}
    assert {(one["id"], one["reason"].partition(":")[0]) for one in told(out)["booking_failures"]} == {
        ("b1", "conflict"), ("b2", "conflict"),
    }  # fmt: skip
    assert agenda(embedded) == here
    assert agenda(other) == there | {name: here[name] for name in ("b0", "b3")}
    status, out, _ = luni(*command)
    assert status == 1
    assert "NOT moved: booking shop chair b1: conflict: its time is taken there" in out


def test_a_server_that_may_evict_keeps_no_bookings(luni, embedded):  # noqa: F811
    fill(embedded, tenants=("shop",))
    book(luni, embedded, 1)
    kind = next(kind for kind in ("valkey", "redis") if available(kind))
    with Server(kind, "--maxmemory-policy", "allkeys-lru") as evicting:
        status, out, _ = luni("migrate", "--from", embedded, "--to", evicting.url, "--json")
    assert status == 1
    assert bookings_told(out)["failed"] == 1
    assert "noeviction" in told(out)["booking_failures"][0]["reason"]
    assert told(out)["moved"] == 3


def test_more_bookings_than_a_page_are_each_moved_once(embedded, tmp_path, monkeypatch):
    at = datetime(2031, 5, 7, tzinfo=UTC)
    with opened(embedded) as source, opened(f"sqlite:///{tmp_path / 'other.db'}") as target:
        chair = source.agenda("shop", "chair", capacity=3)
        chair.hold(at, at + timedelta(days=9), by="long", id="long", ttl=900)
        for number in range(20):
            begin = at + timedelta(hours=number // 2)
            chair.hold(begin, begin + timedelta(hours=1), by="x", id=f"b{number:02}", ttl=900)
        do = migrate_bookings.do
        monkeypatch.setattr(
            migrate_bookings,
            "do",
            lambda memory, op: do(memory, msgspec.structs.replace(op, limit=5) if isinstance(op, BookingsIn) else op),
        )
        records = list(migrate_bookings.bookings_of(source, "shop"))
        assert sorted(one.id for one in records) == sorted(["long", *(f"b{number:02}" for number in range(20))])
        found = moving.migrate(source, target, tenant="shop")
        assert (found.bookings_moved, found.bookings_failed) == (21, 0)


def test_sessions_that_have_ended_are_not_moved(luni, embedded, tmp_path):  # noqa: F811
    fill(embedded, tenants=("shop",))
    with opened(embedded) as memory:
        memory.session(tenant="shop", channel="web", user="ana").end()
    assert counts(luni("migrate", "--from", embedded, "--to", f"sqlite:///{tmp_path / 'o.db'}", "--json")[1]) == {"moved": 2}


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("--from", "mysql://x", "--to", "sqlite:///b.db"), 2),
        (("--from", "sqlite:///there.db", "--to", "ftp://x"), 2),
        (("--from", "sqlite:///there.db", "--to", "sqlite:///there.db"), 2),
        (
            (
                "--from",
                "sqlite:///there.db",
            ),
            2,
        ),
        (("--from", "sqlite:///missing.db", "--to", "sqlite:///b.db"), 1),
        (("--from", "sqlite:///there.db", "--to", "redis://127.0.0.1:1/0"), 3),
        (("--from", "redis://:s3cr3t-canary@127.0.0.1:1/0", "--to", "sqlite:///b.db"), 3),
        (("--from", "sqlite:///there.db", "--to", "sqlite:///b.db", "--namespace", "a b"), 2),
    ],
)
def test_bad_stores_are_one_line_and_a_status(luni, tmp_path, arguments, status):  # noqa: F811
    fill(f"sqlite:///{tmp_path / 'there.db'}", tenants=("shop",))
    told_status, out, err = luni("migrate", *arguments)
    assert (told_status, out) == (status, "")
    assert err.startswith("luni: ")
    assert err.count("\n") == 1


# in the deployment that `luni redis setup` makes: a server's URL with a fallback


@pytest.fixture
def deployed(monkeypatch, server, tmp_path):
    monkeypatch.delenv("LUNI_URL")
    monkeypatch.setenv("USE_REDIS", "1")
    monkeypatch.setenv("REDIS_URL", server.url)
    return Settings.from_env()


def waiting_in(tmp_path, namespace):
    journal = Journal(str(tmp_path / f"local.{namespace}.journal.db"), Settings(namespace=namespace))
    draft = Draft(b"{}", 1, "d")
    said = Receive(
        address=Address("shop", "web", "ana"), writer="w", seq=1, session_id="s", ttl_ms=60_000, draft=draft, fresh=True
    )
    journal.add(Entry(operation=said, at_ms=1, clock_ms=1))
    journal.owe_erasure("shop", "bea", 5)
    journal.close()


def test_with_the_default_fallback_both_directions_work(luni, deployed, embedded, tmp_path, server, names):  # noqa: F811
    fill(embedded, tenants=("shop",))
    assert luni("migrate", "--from", embedded, "--to", server.url, "--to-namespace", names, "--json")[0] == 0
    back = f"sqlite:///{tmp_path / 'back.db'}"
    status, out, err = luni("migrate", "--from", server.url, "--to", back, "--namespace", names, "--json")
    assert (status, counts(out), err) == (0, {"moved": 3}, "")
    assert states(back, tenants=("shop",)) == states(embedded, tenants=("shop",))
    assert not (tmp_path / "local.db").exists(), "a server is moved from itself, not from this host's mirror"


@pytest.mark.parametrize("flag", ["1", "0"])
def test_what_waits_in_this_host_s_journal_is_said_first(luni, deployed, monkeypatch, tmp_path, server, names, flag):  # noqa: F811
    monkeypatch.setenv("USE_REDIS", flag)
    fill(server.url, names, tenants=("shop",))
    waiting_in(tmp_path, names)
    back = tmp_path / "back.db"
    command = ("migrate", "--from", server.url, "--to", f"sqlite:///{back}", "--namespace", names, "--json")
    status, out, err = luni(*command)
    assert (status, out) == (2, "")
    assert "1 operation and 1 erasure of this host still wait in" in err
    assert "--yes" in err
    assert not back.exists()
    status, out, _ = luni(*command, "--yes")
    assert (status, counts(out)) == (0, {"moved": 3})
