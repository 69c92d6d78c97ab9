"""The journal's file, shared by processes: what waits is known to all of them before they go on."""

import os
import stat

import pytest

from luni import operations as ops
from luni.backends.failover.entries import Entry
from luni.backends.failover.flag import Flag
from luni.backends.failover.journal import Journal
from luni.errors import Unavailable
from luni.models import Address
from luni.settings import Settings

ANA, BEN = Address("shop", "web", "ana"), Address("shop", "web", "ben")


@pytest.fixture
def opened(tmp_path):
    journals = []

    def open_one(namespace="n"):
        journals.append(Journal(str(tmp_path / "local.journal.db"), Settings(namespace=namespace)))
        return journals[-1]

    yield open_one
    for one in journals:
        one.close()


def entry(address=ANA, seq=1):
    return Entry(operation=ops.End(address=address, session_id=f"s{seq}"), at_ms=1_700_000_000_000)


def test_what_one_process_adds_the_others_know_at_once(opened):
    one, other = opened(), opened()
    assert not other.waits(ANA)
    assert not other.waits(ANA), "by what it has seen"
    one.add(entry())
    assert (other.waits(ANA), other.waits(BEN)) == (True, False)
    (kept,) = one.pending(ANA, 9)
    one.settle([kept.id], [], {})
    assert not other.waits(ANA)
    other.add(entry(BEN))
    assert (one.waits(BEN), one.waits(ANA)) == (True, False)


def test_another_namespace_s_entries_make_nobody_wait(opened):
    one, other = opened(), opened("other")
    assert not other.waits(ANA)
    one.add(entry())
    assert not other.waits(ANA)
    assert one.waits(ANA)


def test_a_dead_entry_that_waits_again_is_known_too(opened):
    one, other = opened(), opened()
    one.add(entry())
    (kept,) = one.pending(ANA, 9)
    one.settle([], [(kept.id, "why")], {})
    assert not other.waits(ANA)
    assert one.retry(kept.id)
    assert other.waits(ANA)


def test_a_process_that_died_before_it_could_tell_is_found_out(opened, monkeypatch):
    one, other = opened(), opened()
    assert not other.waits(ANA)
    monkeypatch.setattr(one._flag, "change", lambda: None)
    one.add(entry())
    assert not other.waits(ANA), "it is the thread that looks again"
    other.doubt()
    assert other.waits(ANA)


def test_the_flag_is_its_owner_s_alone_and_tells_what_is_wrong_with_its_place(opened, tmp_path):
    assert not opened().waits(ANA)
    assert stat.S_IMODE((tmp_path / "local.journal.flag").stat().st_mode) == 0o600
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match=r"x\.flag cannot be opened"):
        Flag(tmp_path / "file" / "x.flag").value()


def test_a_forked_child_and_its_parent_see_the_same_flag(tmp_path):
    flag = Flag(tmp_path / "x.flag")
    before = flag.value()
    child = os.fork()
    if child == 0:
        flag.change()
        os._exit(0)
    os.waitpid(child, 0)
    assert flag.value() != before
