"""The disk under the fallback fails at any write, sync, truncation or deletion: only what the journal has is acknowledged."""

from __future__ import annotations

import itertools
import shutil
from collections import Counter

import pytest
from disks import WAYS, Disk
from outages import reaches, told

from luni import Memory, wire
from luni.backends.failover.journal import Journal
from luni.backends.failover.places import journal_path
from luni.errors import Indeterminate, Unavailable
from luni.models import Address
from luni.settings import Settings

NOWHERE = "redis://127.0.0.1:1"
WHO = {"tenant": "shop", "channel": "web", "user": "ana"}
CALLS, EVERY = 6, 9


class Told:
    """What callers were told in an outage, and what the files were at that moment: the process could die there."""

    def __init__(self, folder):
        self.acknowledged, self.refused, self.unknown, self.moments = [], [], [], []
        self.folder = folder
        self.fallback = f"sqlite:///{folder / 'local.db'}"

    def speak(self, namespace, disk):
        """Say something a few times, the last time on a disk that is mended."""
        with Memory.open(NOWHERE, namespace=namespace, fallback=self.fallback, max_retries=0, mirror_interval=0.1) as memory:
            session = memory.session(**WHO)
            for number in range(CALLS - 1):
                self._say(session, number)
            disk.mended()
            assert reaches(lambda: self._say(session, CALLS - 1)), "it does not go on after the disk is mended"

    def _say(self, session, number):
        """Say something; return whether it was acknowledged."""
        try:
            session.append("user", f"says {number}", message_id=f"m{number}")
        except Unavailable:
            self.refused.append(number)
        except Indeterminate:
            self.unknown.append(number)
        else:
            self.acknowledged.append(number)
            return True
        if number < CALLS - 1:
            self.moments.append((len(self.acknowledged), self._copied()))
        return False

    def _copied(self):
        copy = self.folder.with_name(f"{self.folder.name}-{len(self.moments)}")
        copy.mkdir()
        for file in self.folder.glob("*.journal.db*"):
            if not file.name.endswith("-shm"):
                shutil.copy(file, copy)
        return copy

    def judge(self, namespace):
        """What was acknowledged is there, what was refused is not: now, and at each moment something went wrong."""
        refused = set(self.refused) - {CALLS - 1}
        for acknowledged, folder in [*self.moments, (CALLS, self.folder)]:
            found = kept(folder, namespace)
            assert len(set(found)) == len(found)
            assert set(self.acknowledged[:acknowledged]) <= set(found), "acknowledged, and not in the journal"
            assert not refused & set(found), "said to be refused, and in the journal"


def kept(folder, namespace):
    """Return what is in a journal, as another process reads it."""
    journal = Journal(journal_path(f"sqlite:///{folder / 'local.db'}", namespace), Settings(namespace=namespace))
    try:
        entries = journal.pending(Address(*WHO.values()), 100)
        assert all(one.entry is not None for one in entries), "unreadable"
        numbers = {wire.message_digest(f"m{number}"): number for number in range(CALLS)}
        return [numbers[one.entry.operation.draft.digest] for one in entries]
    finally:
        journal.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # what fails as a file is closed
@pytest.mark.parametrize("way", WAYS)
def test_what_is_acknowledged_is_in_the_journal_whichever_step_fails(tmp_path, namespace, many, way):
    counts = Counter()
    step = EVERY if way in {"write", "full"} and many.soak == 1 else 1
    for nth in itertools.count(1, step):
        told_of = Told(tmp_path / str(nth))
        with Disk(way, nth) as disk:
            told_of.speak(namespace, disk)
        told_of.judge(namespace)
        counts += Counter(acknowledged=len(told_of.acknowledged), refused=len(told_of.refused), unknown=len(told_of.unknown))
        if not disk.failed:
            break
        counts["steps"] += 1
    told(f"{way} failing", **counts)
    assert counts["steps"] > 0 or way == "truncate", "the fault was never met"
