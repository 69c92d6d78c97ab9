"""`luni journal`: what waits, what is dead and whose it is, and never what was said."""

import threading

import apsw
import msgspec
import pytest
from test_cli import CANARY, alone, luni, one_line, told  # noqa: F401  fixtures

from luni import operations as ops
from luni import wire
from luni.backends.failover.entries import Entry
from luni.backends.failover.journal import Journal
from luni.backends.failover.places import journal_path
from luni.models import Address, Message
from luni.ops import journal_commands
from luni.settings import Settings

ANA, BEA = Address("shop", "web", "ana"), Address("shop", "web", "bea")
NOW = 1_700_000_000_000
WHY = "Backlog: too many messages of this conversation wait for an answer"


def entry(address, seq):
    draft = ops.Draft(wire.body(Message(text=CANARY, id=f"m{seq}", tokens=1)), 1, wire.message_digest(f"m{seq}"))
    said = ops.Receive(address=address, writer="w", seq=seq, session_id="s", ttl_ms=3_600_000, draft=draft, fresh=True)
    return Entry(operation=said, at_ms=NOW + seq, clock_ms=NOW + seq, stamp_ms=NOW + seq, expire_ms=NOW + 3_600_000)


@pytest.fixture
def fallback(tmp_path, monkeypatch):
    url = f"sqlite:///{tmp_path / 'local.db'}"
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("LUNI_URL", "redis://127.0.0.1:1")
    monkeypatch.setenv("LUNI_FALLBACK", url)
    return url


@pytest.fixture
def opened(fallback):
    journal = Journal(journal_path(fallback, "luni"), Settings())
    yield journal
    journal.close()


@pytest.fixture
def journal(opened):
    """Two entries of Ana's wait, one of them and one of Bea's are dead."""
    for seq in (1, 2, 3):
        opened.add(entry(ANA, seq))
    opened.add(entry(BEA, 4))
    opened.settle([], [(2, WHY), (4, WHY)], {"replayed": 7})
    return opened


def numbers(found):
    return [one["id"] for one in found]


def test_a_journal_that_is_not_there_yet(luni, fallback, tmp_path):  # noqa: F811  a fixture
    for command in (["status"], ["list"], ["retry", "1"], ["drop", "1"]):
        status, out, err = luni("journal", *command)
        assert (status, out) == (1, "")
        assert one_line(err).endswith("is not there yet: nothing has ever had to wait\n")
    assert not (tmp_path / "local.journal.db").exists(), "looking makes no file"


def test_without_a_fallback_there_is_no_journal(luni):  # noqa: F811
    status, out, err = luni("journal", "status")
    assert (status, out) == (2, "")
    assert "LUNI_FALLBACK" in one_line(err)


@pytest.mark.parametrize("url", ["sqlite://", "redis://127.0.0.1:1", "local.db", "sqlite:///"])
def test_a_fallback_that_is_no_file(luni, url):  # noqa: F811
    status, out, err = luni("journal", "status", "--fallback", url)
    assert (status, out) == (2, "")
    assert "fallback" in one_line(err)


def test_a_file_that_is_no_journal(luni, fallback, tmp_path):  # noqa: F811
    (tmp_path / "local.journal.db").write_bytes(b"not a database, but long enough to be taken for one" * 99)
    status, out, err = luni("journal", "status")
    assert (status, out) == (1, "")
    assert "local.journal.db" in one_line(err)


def test_status_says_what_waits_what_is_dead_and_what_became_of_the_others(luni, journal):  # noqa: F811
    status, out, err = luni("journal", "status", "--json")
    assert (status, err) == (0, "")
    found = told(out)
    assert (found["pending"], found["sessions"], found["oldest_ms"], found["dead"]) == (2, 1, NOW + 1, 2)
    assert found["counts"] == {"replayed": 7}
    status, out, _ = luni("journal", "status")
    assert status == 0
    assert [line.split()[:2] for line in out.splitlines()[-3:]] == [["waiting", "2"], ["dead", "2"], ["replayed", "7"]]


def test_an_empty_journal(luni, opened):  # noqa: F811
    opened.add(entry(ANA, 1))
    opened.settle([1], [], {})
    assert told(luni("journal", "status", "--json")[1])["pending"] == 0
    assert luni("journal", "list") == (0, "Nothing waits, and nothing is dead.\n", "")


def test_a_list_says_whose_an_entry_is_and_why_it_is_dead_and_not_what_was_said(luni, journal):  # noqa: F811
    status, out, err = luni("journal", "list", "--json")  # the fixture looks for the canary everywhere
    assert (status, err) == (0, "")
    found = told(out)
    assert numbers(found) == [1, 2, 3, 4]
    assert {key: found[1][key] for key in ("state", "kind", "tenant", "channel", "user", "reason")} == {
        "state": "dead", "kind": "receive", "tenant": "shop", "channel": "web", "user": "ana", "reason": WHY,
    }  # fmt: skip
    assert numbers(told(luni("journal", "list", "--dead", "--json")[1])) == [2, 4]
    assert numbers(told(luni("journal", "list", "--limit", "1", "--json")[1])) == [1]
    status, out, _ = luni("journal", "list", "--dead")
    assert status == 0
    assert "shop · web · bea" in out
    assert WHY in out


def test_a_dead_entry_waits_again_under_a_new_id_behind_the_others(luni, journal):  # noqa: F811
    assert luni("journal", "retry", "2") == (0, "Entry 2 waits again.\n", "")
    waiting = journal.pending(ANA, 9)
    assert [kept.id for kept in waiting] == [1, 3, 5]
    assert waiting[2].entry.operation.writer != "w"
    assert waiting[2].entry.operation.draft == entry(ANA, 2).operation.draft
    assert numbers(told(luni("journal", "list", "--dead", "--json")[1])) == [4]


def test_a_dead_entry_is_dropped(luni, journal):  # noqa: F811
    assert told(luni("journal", "drop", "4", "--yes", "--json")[1]) == {"dropped": 4}
    assert journal.dead_sessions(9) == {ANA: 1}
    assert told(luni("journal", "status", "--json")[1])["counts"] == {"replayed": 7, "dropped": 1}


def test_dropping_asks_first(luni, journal, monkeypatch):  # noqa: F811
    status, out, err = luni("journal", "drop", "4")
    assert (status, out) == (2, "")
    assert "--yes" in one_line(err)
    assert journal.dead() == 2
    asked = []
    monkeypatch.setattr(journal_commands, "ask", lambda question, **_: asked.append(question))
    assert luni("journal", "drop", "4")[0] == 0
    assert (len(asked), journal.dead()) == (1, 1)


@pytest.mark.parametrize("command", ["retry", "drop"])
def test_only_what_is_dead_is_retried_or_dropped(luni, journal, command):  # noqa: F811
    for number in ("1", "99"):
        status, out, err = luni("journal", command, number)
        assert (status, out) == (1, "")
        assert one_line(err) == f"luni: there is no dead entry {number}\n"
    for number in ("0", "two", "1.5", str(2**70), ""):
        status, out, err = luni("journal", command, number)
        assert (status, out) == (2, "")
        one_line(err)
    assert (journal.depth(), journal.dead()) == (2, 2)


def test_an_entry_that_cannot_be_read_can_be_dropped_and_not_retried(luni, journal):  # noqa: F811
    plain = apsw.Connection(journal.place)
    plain.execute("UPDATE entry SET checksum = checksum + 1 WHERE id = 2")
    plain.close()
    status, out, err = luni("journal", "retry", "2")
    assert (status, out) == (1, "")
    assert "checksum" in one_line(err)
    assert luni("journal", "drop", "2", "--yes")[0] == 0


def test_another_namespace_s_entries_are_its_own(luni, journal, monkeypatch):  # noqa: F811
    monkeypatch.setenv("LUNI_NAMESPACE", "other")
    status, out, err = luni("journal", "status", "--json")
    assert (status, out) == (1, "")
    assert "local.other.journal.db is not there yet" in err
    assert journal.dead() == 2


def test_a_journal_that_a_live_process_writes_to(luni, journal):  # noqa: F811
    """Looking never waits; what changes it waits for the other's commit."""
    began, done = threading.Event(), threading.Event()

    def write():
        plain = apsw.Connection(journal.place)
        plain.execute("BEGIN IMMEDIATE; UPDATE entry SET reason = 'half' WHERE id = 4")
        began.set()
        done.wait(20)
        plain.execute("ROLLBACK")
        plain.close()

    other = threading.Thread(target=write)
    other.start()
    began.wait(20)
    try:
        assert told(luni("journal", "status", "--json")[1])["dead"] == 2
        assert {one["reason"] for one in told(luni("journal", "list", "--dead", "--json")[1])} == {WHY}
        threading.Timer(0.3, done.set).start()
        assert luni("journal", "retry", "2")[0] == 0
    finally:
        done.set()
        other.join()
    assert journal.depth() == 3


def test_a_journal_that_stays_locked_says_so(luni, journal, monkeypatch):  # noqa: F811
    settings = journal_commands.settings_for
    monkeypatch.setattr(journal_commands, "settings_for", lambda url: msgspec.structs.replace(settings(url), timeout=0.2))
    plain = apsw.Connection(journal.place)
    plain.execute("BEGIN IMMEDIATE")
    status, out, err = luni("journal", "retry", "2")
    plain.execute("ROLLBACK")
    plain.close()
    assert (status, out) == (3, "")
    one_line(err)
    assert journal.dead() == 2
