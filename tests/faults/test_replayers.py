"""Who replays the journal is killed again and again, and processes share it: nothing is lost or doubled, order is kept."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from outages import KEEPING, LONG, caught_up, reaches, told

from luni import Memory
from luni.backends.failover.journal import Journal
from luni.backends.failover.places import journal_path
from luni.events import FailedOver
from luni.ops.chaos_verdict import misplaced
from luni.settings import Settings

WHO = {"tenant": "shop", "channel": "web"}
KILLS, SESSIONS, EACH = 8, 240, 6


@pytest.fixture
def journal(fallback, namespace):
    found = Journal(journal_path(fallback, namespace), Settings(namespace=namespace))
    yield found
    found.close()


def outage(url, namespace, fallback, sessions, each):
    """Return what each of these sessions was told while the server was away, in order: messages, turns, changes."""
    said = defaultdict(list)
    with Memory.open(url, namespace=namespace, fallback=fallback, policies=LONG) as memory:
        for number, user in itertools.product(range(each // 3), sessions):
            session = memory.session(**WHO, user=user)
            session.append("system", f"{user} note {number}", message_id=f"{user}-note-{number}")
            with session.turn(f"{user} asks {number}", message_id=f"{user}-{number}") as turn:
                turn.reply(f"to {user}: {number}")
            said[user] += [f"{user} note {number}", f"{user} asks {number}", f"to {user}: {number}"]
    return said


def holder(journal):
    """Return the id of the process that has the replayer's lock; ``None``: nobody has."""
    lock = Path(journal.place).with_suffix(".lock")
    if not lock.exists():
        return None
    for line in Path("/proc/locks").read_text().splitlines():
        fields = line.split()
        if "FLOCK" in fields and int(fields[5].rpartition(":")[2]) == lock.stat().st_ino and fields[1] != "->":
            return int(fields[4])
    return None


class Speakers:
    """Processes that speak and replay; each has a place, and whoever follows one that was killed goes on in it."""

    def __init__(self, worker, *arguments):
        self._worker, self._arguments, self._names = worker, arguments, itertools.count(1)
        self.heard, self.events, self._readers = defaultdict(list), Counter(), []
        self.at_work = {}

    def start(self, place, users):
        process = self._worker("speak", *self._arguments, ",".join(users), f"p{next(self._names)}")
        self.at_work[process.pid] = place, users, process
        self._readers.append(threading.Thread(target=self._listen, args=(process,)))
        self._readers[-1].start()

    def _listen(self, process):
        for line in process.stdout:
            word, _, rest = line.rstrip("\n").partition(" ")
            if word == "said":
                self.heard[rest.partition(" ")[0]].append(rest)
            elif line.endswith("\n"):
                self.events[word] += int(rest or 1)

    def kill(self, pid):
        """Kill one; another takes its place."""
        place, users, process = self.at_work.pop(pid)
        process.kill()
        process.wait()
        self.start(place, users)

    def end(self):
        """Let them speak no more, replay what is left, and end."""
        for _, _, process in self.at_work.values():
            process.stdin.close()
        for reader in self._readers:
            reader.join()


def judge(what, url, namespace, said, **counts):
    """Each session has what it was told, once, each speaker's in its order; return what they have, and how much more."""
    lost = twice = late = unheard = 0
    found = {}
    with Memory.open(url, namespace=namespace) as direct:
        for user, speakers in said.items():
            export = direct.session(**WHO, user=user).export()
            found[user] = [message.text for message in export.transcript]
            for one in speakers:
                numbers = [len(texts) for texts in misplaced(one, [text for text in found[user] if text in set(one)])]
                lost, twice, late = lost + numbers[0], twice + numbers[1], late + numbers[2]
            unheard += len(set(found[user]) - set(itertools.chain(*speakers)))
            assert len(set(found[user])) == len(found[user]) == export.info.message_count
            assert export.info.unanswered == 0
    total = sum(len(one) for speakers in said.values() for one in speakers)
    told(what, acknowledged=total, lost=lost, doubled=twice, out_of_order=late, unheard=unheard, **counts)
    assert (lost, twice, late) == (0, 0, 0)
    return found, unheard


@pytest.mark.timeout(180)
def test_a_replayer_that_is_killed_is_followed_by_another(own_server, proxy_to, namespace, fallback, journal, worker, many):
    """Two processes speak and replay; whoever replays is killed in the middle of it, the other goes on."""
    server, chance = own_server(*KEEPING), random.Random(5)
    proxy, users = proxy_to(server), [f"u{number}" for number in range(SESSIONS)]
    server.stop()
    said = outage(proxy.url, namespace, fallback, users, EACH)
    server.start()
    proxy.delay(0.004)  # a replay takes long enough to be killed between any two of its steps
    speakers = Speakers(worker, proxy.url, namespace, fallback)
    for place in range(2):
        speakers.start(place, users[place::2])
    amid = 0
    for _ in range(many.of(KILLS)):
        assert reaches(lambda: holder(journal) in speakers.at_work), "nobody has taken over"
        time.sleep(chance.uniform(0, 0.04))
        pid, waiting = holder(journal), journal.depth()
        amid += pid is not None and waiting > 0
        speakers.kill(pid if pid in speakers.at_work else chance.choice(list(speakers.at_work)))
        assert journal.dead() == 0
    proxy.passing()
    speakers.end()
    with Memory.open(proxy.url, namespace=namespace, fallback=fallback) as memory:
        assert caught_up(memory), "what was left was not replayed"
    whole = {user: [said[user] + speakers.heard[user]] for user in users}
    _, unheard = judge("killed", server.url, namespace, whole, kills=many.of(KILLS), amid_a_replay=amid)
    assert unheard <= many.of(KILLS), "at most what each was killed over before it could tell"
    assert amid >= KILLS / 2, "most of them had nothing to do"


def test_processes_that_share_a_journal_replay_it_once_and_in_its_order(
    own_server, proxy_to, namespace, fallback, journal, worker
):
    """Two processes speak to the same sessions while the server is away, and go on when it is back."""
    server, users = own_server(*KEEPING), [f"u{number}" for number in range(40)]
    proxy = proxy_to(server)
    proxy.delay(0.002)  # so that both would be at it, if both could
    server.stop()
    speakers = Speakers(worker, proxy.url, namespace, fallback)
    for place in range(2):
        speakers.start(place, users)
    assert reaches(lambda: all(len(names(speakers.heard[user])) == 2 for user in users))
    assert reaches(lambda: journal.depth() > 600)
    server.start()
    assert reaches(lambda: journal.depth() == 0), "nobody replays"
    speakers.end()
    said = {
        user: [[one for one in speakers.heard[user] if name in one] for name in names(speakers.heard[user])] for user in users
    }
    found, unheard = judge("shared", server.url, namespace, said, **speakers.events)
    assert unheard == 0
    assert speakers.events["replayed"] > 600
    assert speakers.events["known"] == speakers.events["dead"] == 0, "two were at it"
    assert all(len(names(found[user][:40])) == 2 for user in users), "one of them had to wait for the other"


def names(texts):
    """Who said this."""
    return {text.split(" ")[2] for text in texts}


def test_what_an_earlier_process_has_left_is_replayed_before_anybody_speaks(own_server, run, namespace, fallback):
    server = own_server(*KEEPING)
    server.stop()
    said = outage(server.url, namespace, fallback, ["ana"], 6)
    server.start()
    memory = run.open(server.url, namespace=namespace, fallback=fallback)
    assert caught_up(memory, run), "whoever asks only how it is waits for ever"
    judge("left", server.url, namespace, {"ana": [said["ana"]]})


def test_a_process_whose_calls_all_wait_behind_the_journal_notices_that_the_server_is_away(own_server, namespace, fallback):
    server, events = own_server(*KEEPING), []
    server.stop()
    outage(server.url, namespace, fallback, ["ana"], 3)
    with Memory.open(server.url, namespace=namespace, fallback=fallback, on_event=events.append) as memory:
        memory.session(**WHO, user="ana").append("system", "behind them")
        assert reaches(lambda: any(isinstance(event, FailedOver) for event in events)), "it asks again and again, for nothing"
    server.start()
