"""The command line around an outage: what is owed is shown, nobody who was erased is, and statuses are as the README says."""

import msgspec
import pytest
from test_cli import alone, luni, told  # noqa: F401  fixtures

from luni import Memory
from luni.backends.failover.entries import Entry
from luni.backends.failover.gate import CLOSED
from luni.backends.failover.journal import Journal
from luni.models import Address
from luni.operations import Draft, Receive
from luni.settings import Settings
from luni.testing.proxy import Proxy
from luni.testing.servers import Server, available

KIND = next((kind for kind in ("valkey", "redis") if available(kind)), None)
pytestmark = pytest.mark.skipif(KIND is None, reason="there is no server here")


@pytest.fixture(scope="module")
def server():
    with Server(KIND) as started:
        yield started


@pytest.fixture
def link(server, monkeypatch, tmp_path):
    """The way to the server, which can be cut, in the deployment that `luni redis setup` makes."""
    monkeypatch.delenv("LUNI_URL")
    monkeypatch.setenv("USE_REDIS", "1")
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setenv("LUNI_NAMESPACE", f"o{abs(hash(str(tmp_path)))}")
    with Proxy(server.port) as proxy:
        monkeypatch.setenv("REDIS_URL", proxy.url)
        yield proxy


def say(text="hello", user="ana"):
    with Memory(Settings.from_env()) as memory, memory.session(tenant="shop", channel="web", user=user).turn(text) as turn:
        turn.reply("yes")


def users(out):
    return [one["user"] for one in told(out)["items"]]


@pytest.fixture
def owed(luni, link):  # noqa: F811
    """Ana and Bea are known to the server; Ana was erased while it was away."""
    say(user="ana")
    say(user="bea")
    link.refuse()
    status, out, _ = luni("erase", "shop", "ana", "--yes", "--json")
    assert (status, told(out)["pending"]) == (0, ["redis"])


def test_an_owed_erasure_is_shown_and_carried_out_by_the_next_look(luni, link, owed, server):  # noqa: F811
    assert told(luni("journal", "status", "--json")[1])["erasures"] == 1
    assert "erasures  1" in luni("journal", "status")[1]
    status, out, _ = luni("doctor", "--json")
    assert (status, told(out)["fallback"]["erasures"]) == (3, 1)
    assert any("1 erasure did not reach the server" in warning for warning in told(out)["warnings"])
    with Memory(Settings.from_env()) as memory:
        health = memory.health()
        assert (health.owed_erasures, health.degraded) == (1, True)
        assert memory.describe()["journal"]["erasures"] == 1
    link.passing()
    assert users(luni("sessions", "shop", "--json")[1]) == ["bea"]
    assert luni("export", "shop", "ana")[1] == ""
    assert told(luni("journal", "status", "--json")[1])["erasures"] == 0
    with Memory(msgspec.structs.replace(Settings.from_env(), url=server.url, fallback="")) as direct:
        assert [one.user for one in direct.sessions("shop")] == ["bea"], "the server itself has heard of it"


def test_who_was_erased_is_not_shown_even_if_the_server_cannot_be_told(luni, link, owed, monkeypatch):  # noqa: F811
    link.passing()
    monkeypatch.setattr("luni.backends.failover.keeper.Keeper.erase_there", refusing)
    assert "ana" not in users(luni("sessions", "shop", "--json")[1])
    assert "ana" not in luni("export", "shop")[1]


def refusing(*_):
    from luni.errors import Unavailable  # noqa: PLC0415

    raise Unavailable("not now")


def test_closed_bookings_are_shown_until_somebody_has_looked(luni, link):  # noqa: F811
    say()
    with Memory(Settings.from_env()) as memory:
        memory._backend.keeper.journal.write_note("bookings", CLOSED)
        assert memory.health().bookings_closed
    found = told(luni("doctor", "--json")[1])
    assert "closed on this host until luni bookings reconcile" in found["locks_and_bookings"]
    assert any("luni bookings reconcile" in warning for warning in found["warnings"])
    assert "until luni bookings reconcile" in luni("doctor")[1]
    assert "bookings  closed" in luni("journal", "status")[1]
    assert luni("bookings", "add", "shop", "chair", "2031-05-06T10:00", "45", "--by", "ana")[0] != 0
    assert luni("bookings", "reconcile", "shop")[0] == 0
    assert "closed" not in luni("journal", "status")[1] + told(luni("doctor", "--json")[1])["locks_and_bookings"]


@pytest.mark.parametrize("made", [False, True])
def test_what_waits_is_found_and_warned_of_where_redis_is_off(luni, monkeypatch, tmp_path, made):  # noqa: F811
    monkeypatch.delenv("LUNI_URL")
    monkeypatch.setenv("LUNI_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("USE_REDIS", "0")
    monkeypatch.setenv("LUNI_FALLBACK", "0")
    journal = Journal(str(tmp_path / "local.journal.db"), Settings())
    said = Receive(
        address=Address("shop", "web", "ana"), writer="w", seq=1, session_id="s", ttl_ms=9000, draft=Draft(b"{}", 1, "d"),
        fresh=True,
    )  # fmt: skip
    journal.add(Entry(operation=said, at_ms=1, clock_ms=1))
    journal.close()
    if made:
        luni("chat", stdin="hi\n")
    status, out, _ = luni("doctor", "--json")
    found = told(out)
    assert (status, found["fallback"]["configured"], found["fallback"]["waiting"]) == (0, False, 1)
    (warning,) = (one for one in found["warnings"] if "USE_REDIS=1" in one)
    assert warning.startswith("1 operation of this host still to reach the server")
    assert "1 operation of this host" in luni("doctor")[1]
    status, out, err = luni("journal", "status", "--json")
    assert (status, told(out)["pending"]) == (0, 1)
    assert "USE_REDIS=1" in err
    assert luni("journal", "list")[1].count("shop") == 1


def test_erasing_by_the_settings_own_url_reaches_this_host_s_mirror(luni, link):  # noqa: F811
    say()
    where = told(luni("erase", "shop", "ana", "--yes", "--json", "--url", link.url)[1])["where"]
    assert set(where) == {"mirror", "journal", "redis"}


@pytest.mark.parametrize("way", ["another url", "redis is off", "no fallback"])
def test_a_receipt_names_the_mirror_that_was_not_reached(luni, link, server, monkeypatch, tmp_path, way):  # noqa: F811
    say()
    url = ("--url", server.url) if way == "another url" else ()
    if way == "redis is off":
        monkeypatch.setenv("USE_REDIS", "0")
    if way == "no fallback":
        monkeypatch.setenv("LUNI_FALLBACK", "0")
    status, out, _ = luni("erase", "shop", "ana", "--yes", "--json", *url)
    first = told(out)["out_of_reach"][0]
    assert status == 0
    assert first.startswith(f"{tmp_path}/local.")
    assert "was left as it is" in luni("erase", "shop", "ana", "--yes", *url)[1]


def test_what_cannot_be_done_in_an_outage_is_status_three_and_says_what_it_was(luni, link):  # noqa: F811
    say()
    link.refuse()
    for command, words in (
        (("bookings", "list", "shop"), "this host has no copy of the bookings"),
        (("export", "shop"), "this host has no copy of the bookings"),
        (("bookings", "add", "shop", "chair", "2031-05-06T10:00", "45", "--by", "ana"), "cannot be promised now"),
    ):
        status, _, err = luni(*command)
        assert (status, words in err) == (3, True), (command, err)
        assert "Error" not in err


SECRET = "wrong-canary-77"


def test_wrong_credentials_are_told_once_and_nothing_is_lost(luni, monkeypatch, tmp_path, caplog):  # noqa: F811
    monkeypatch.delenv("LUNI_URL")
    monkeypatch.setenv("USE_REDIS", "1")
    with Server(KIND, "--requirepass", "right-canary-55") as guarded:
        address = guarded.url.partition("://")[2].rpartition("@")[2]
        monkeypatch.setenv("REDIS_URL", f"redis://:{SECRET}@{address}")
        with caplog.at_level("WARNING", logger="luni"):
            status, out, err = luni("chat", stdin="my name is Ana\nwhat is my name?\n")
        told_of = [one for one in caplog.messages if one.startswith("credentials: ")]
        assert (status, len(told_of)) == (0, 1)
        assert caplog.messages == told_of, "the thread that looks after the journal meets it, too, and does not repeat it"
        assert "does not accept the credentials" in told_of[0]
        assert "this host's own storage" in told_of[0]
        status, doctors, warned = luni("doctor")
        assert status == 3
        assert "credentials" in doctors + warned
        assert told(luni("journal", "status", "--json")[1])["pending"] > 0
        for text in (out, err, doctors, warned, caplog.text):
            assert SECRET not in text
            assert "AuthenticationError" not in text
        monkeypatch.setenv("REDIS_URL", f"redis://:right-canary-55@{address}")
        luni("chat", stdin="and now?\n")
        with Memory(Settings.from_env()) as memory:
            assert memory.session(tenant="chat", channel="terminal", user="you").info().message_count >= 5
