"""What is done with a file of the fallback that is damaged, removed or full."""

import shutil
import threading

import apsw
import pytest

from luni import operations as ops
from luni.backends.failover.entries import Entry
from luni.backends.failover.journal import Journal
from luni.backends.failover.salvage import GAP
from luni.backends.sqlite.asides import asides
from luni.backends.sqlite.connection import translated
from luni.errors import Damaged, Indeterminate, Unavailable
from luni.models import Address
from luni.settings import Settings

ANA = Address("shop", "web", "ana")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "local.journal.db"


@pytest.fixture
def opened(path):
    journals = []

    def open_one(place=path, *, serving=True):
        told = []
        journals.append(Journal(str(place), Settings(namespace="n", timeout=0.2)))
        if serving:
            journals[-1].watch.tell = told.append
        return journals[-1], told

    yield open_one
    for one in journals:
        one.close()


def entry(seq):
    return Entry(operation=ops.End(address=ANA, session_id=f"s{seq}"), at_ms=1_700_000_000_000)


def ids(journal):
    return [kept.entry.operation.session_id for kept in journal.pending(ANA, 9)]


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (apsw.FullError("x"), "LUNI_JOURNAL_MAX_BYTES"),
        (apsw.BusyError("x"), "another process has it locked"),
        (apsw.IOError("x"), "the disk failed"),
        (apsw.ReadOnlyError("x"), "may only be read"),
    ],
)
def test_what_sqlite_says_is_told_in_words(error, meaning):
    found = translated(error, place="local.journal.db")
    assert isinstance(found, Unavailable)
    assert meaning in str(found)
    assert type(error).__name__ not in str(found)


def test_a_journal_that_is_full_says_which_setting_that_is(path):
    journal = Journal(str(path), Settings(namespace="n", journal_max_bytes=1 << 20))
    with pytest.raises(Unavailable, match="LUNI_JOURNAL_MAX_BYTES"):
        journal.add(entry("x" * (2 << 20)))
    journal.close()


def test_what_can_be_read_of_a_damaged_journal_is_in_the_new_one(opened, path):
    journal, told = opened()
    for seq in (1, 2, 3):
        journal.add(entry(seq))
    journal.write_note("clock", "17")
    journal.close()
    connection = apsw.Connection(str(path))
    connection.execute("UPDATE entry SET body = zeroblob(length(body)) WHERE id = 2")
    root = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'entry_pending'").get
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    with path.open("r+b") as file:  # the index is gone, the rows are not
        file.seek((root - 1) * 4096)
        file.write(b"\xa5" * 4096)
    journal, told = opened()
    with pytest.raises(Damaged):
        ids(journal)
    assert ids(journal) == ["s1", "s3"]
    assert (journal.note("clock"), journal.note(GAP)) == ("17", "1")
    assert len(asides(str(path))) == 1
    assert "2 of its entries could be read" in told[1]
    journal.add(entry(4))
    assert ids(journal) == ["s1", "s3", "s4"]


def test_who_only_looks_leaves_a_damaged_journal_as_it_is(opened, path):
    path.write_bytes(b"\xa5" * 9000)
    journal, _ = opened(serving=False)
    with pytest.raises(Damaged):
        journal.standing()
    assert path.read_bytes() == b"\xa5" * 9000
    assert not asides(str(path))


def test_two_who_meet_the_damage_set_one_file_aside(opened, path):
    path.write_bytes(b"\xa5" * 9000)
    journal, _ = opened()
    met = threading.Barrier(4)

    def use():
        met.wait()
        for _ in range(3):
            try:
                journal.depth()
            except (Damaged, Unavailable):
                continue

    threads = [threading.Thread(target=use) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(asides(str(path))) == 1
    assert journal.depth() == 0


def test_another_process_s_new_journal_is_gone_on_with(opened, path):
    one, other = opened()[0], opened()[0]
    one.add(entry(1))
    other.add(entry(2))
    opening = one._connections.opening
    assert one._connections.set_aside(opening)
    one.add(entry(3))
    other.add(entry(4))
    assert ids(one) == ids(other) == ["s3", "s4"]


def test_nothing_is_kept_in_a_file_that_goes_amid_the_writing(opened, path, monkeypatch):
    journal, told = opened()
    journal.add(entry(1))
    change = journal._flag.change

    def gone(times=[]):  # noqa: B006  how often it was called
        times.append(1)
        if len(times) == when:
            path.unlink()
        change()

    when = 1
    monkeypatch.setattr(journal._flag, "change", gone)
    with pytest.raises(Unavailable):
        journal.add(entry(2))
    monkeypatch.setattr(journal._flag, "change", change)
    journal.add(entry(3))
    assert ids(journal) == ["s3"]
    assert "removed or replaced" in told[0]

    when, times = 2, []
    monkeypatch.setattr(journal._flag, "change", lambda: gone(times))
    with pytest.raises(Indeterminate):
        journal.add(entry(4))


def test_a_file_that_was_put_back_is_another_one(opened, path, tmp_path):
    journal, told = opened()
    journal.add(entry(1))
    journal.checkpoint()
    copy = tmp_path / "copy.db"
    shutil.copyfile(path, copy)
    journal.add(entry(2))
    copy.replace(path)
    for tail in ("-wal", "-shm"):
        (path.parent / f"{path.name}{tail}").unlink()
    journal.add(entry(3))
    assert ids(journal) == ["s1", "s3"]
    assert "removed or replaced" in told[0]


def test_what_is_left_beside_an_emptied_file_is_not_deleted(opened, path):
    journal, _ = opened()
    journal.add(entry(1))
    wal = path.with_name(f"{path.name}-wal")
    content = wal.read_bytes()
    path.write_bytes(b"")
    assert content
    journal.add(entry(2))
    (aside,) = asides(str(path))
    with open(f"{aside}-wal", "rb") as file:  # noqa: PTH123  a name with a tail
        assert file.read() == content
