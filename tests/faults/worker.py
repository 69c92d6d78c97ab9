"""Programs that fault tests run as processes of their own: ``python worker.py NAME ARGUMENT …``."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

from luni import Memory, Policy
from luni.errors import Fenced, LuniError
from luni.events import Replayed

WHO = {"tenant": "shop", "channel": "web"}


def tell(word):
    os.write(1, f"{word}\n".encode())  # a whole line at once, whichever thread it is


def answer_late(url, namespace, users, lease):
    """Open turns, say so, and reply when told: the test has stopped this process for longer than the lease meanwhile."""
    policies = {"*": Policy(lease=float(lease))}
    with Memory.open(url, namespace=namespace, policies=policies) as memory:
        turns = [memory.session(**WHO, user=user).turn(f"hello {user}", message_id="m1").open() for user in users.split(",")]
        tell(" ".join(turn.state for turn in turns))
        sys.stdin.readline()
        tell(" ".join(_outcome(turn) for turn in turns))


def _outcome(turn):
    try:
        turn.reply("too late")
    except Fenced:
        return "fenced"
    except LuniError as error:
        return type(error).__name__
    return "stored"


def append(url, user, count, name):
    """Write messages to one session, saying which are acknowledged."""
    with Memory.open(url, timeout=60.0) as memory:
        session = memory.session(**WHO, user=user)
        for number in range(int(count)):
            try:
                session.append("assistant", f"{name}-{number}", message_id=f"{name}-{number}")
            except LuniError as error:
                tell(f"error {error}")
            else:
                tell(f"{name}-{number}")


def converse(url, user, name):
    """Hold turns until killed, saying which are acknowledged."""
    with Memory.open(url, timeout=60.0) as memory:
        session, number = memory.session(**WHO, user=user), 0
        while True:
            number += 1
            with session.turn(f"q-{name}-{number}", message_id=f"{name}-{number}") as turn:
                turn.reply(f"a-{name}-{number}-1", f"a-{name}-{number}-2")
            tell(f"{name}-{number}")


def speak(url, namespace, fallback, users, name):
    """Append to sessions in turn, telling what is acknowledged and replayed, until nobody listens; then let it catch up."""
    ended, number = threading.Event(), 0
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    policies = {"*": Policy(transcript_messages=2000)}
    with Memory.open(url, namespace=namespace, fallback=fallback, policies=policies, on_event=_tell_of_replays) as memory:
        while not ended.is_set():
            number += 1
            for user in users.split(","):
                text = f"{user} hears {name} {number}"
                memory.session(**WHO, user=user).append("system", text, message_id=text)
                tell(f"said {text}")
                ended.wait(0.005)
        while memory.health().degraded:
            time.sleep(0.02)


def _tell_of_replays(event):
    if isinstance(event, Replayed):
        for name, count in event.counts.items():
            tell(f"{name} {count}")


def live_at_another_time(url, namespace, fallback, hours):
    """Speak each time a line comes, on a host whose clock is so many hours wrong; tell what is stored, and how much is seen."""
    right, right_ns = time.time, time.time_ns
    time.time = lambda: right() + float(hours) * 3600
    time.time_ns = lambda: right_ns() + int(float(hours) * 3600 * 1e9)
    policies = {"*": Policy(transcript_messages=500)}
    with Memory.open(url, namespace=namespace, fallback=fallback, policies=policies) as memory:
        for line in sys.stdin:
            session, word = memory.session(**WHO, user="ana"), line.strip()
            with session.turn(f"asks {word}", message_id=f"asks {word}") as turn:
                turn.reply(f"answers {word}")
            session.append("system", f"notes {word}", message_id=f"notes {word}")
            tell(f"{len(session.messages(100))} {turn.degraded}")


def fork_after_connecting(url, namespace, loud):
    """Use a memory, fork, and use it on both sides at once."""
    memory = Memory.open(url, namespace=namespace)
    session = memory.session(**WHO, user="ana")
    session.append("user", "before")
    child = os.fork()
    name = "parent" if child else "child"
    for number in range(int(loud)):
        said = session.append("user", f"{name} {number}")
        assert said.text == f"{name} {number}"
    with session.turn(f"{name} asks", message_id=name) as turn:
        writer = turn._owner.partition(".")[0]
        if turn.should_reply:
            turn.reply(f"to {name}")
    if child == 0:
        tell(f"child {writer} {said.key.split('-')[1]}")
        memory.close()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status == 0
    session.append("user", "after")
    tell(f"parent {writer} {said.key.split('-')[1]}")
    memory.close()


def fork_amid_traffic(url, namespace, forks):
    """Fork while other threads are in the middle of calls: what they hold, nobody in the child will ever give back."""
    memory, going, users = Memory.open(url, namespace=namespace), True, [f"user{n}" for n in range(4)]

    def talk(user):
        number = 0
        while going:
            number += 1
            memory.session(**WHO, user=user).append("user", f"{user} {number}")

    threads = [threading.Thread(target=talk, args=(user,)) for user in users]
    for thread in threads:
        thread.start()
    stuck = 0
    for fork in range(int(forks)):
        child = os.fork()
        if child == 0:
            signal.alarm(3)
            for user in users:
                memory.session(**WHO, user=user).append("assistant", f"child {fork}")
            os._exit(0)
        stuck += os.waitpid(child, 0)[1] != 0
    going = False
    for thread in threads:
        thread.join()
    memory.close()
    tell(f"stuck {stuck}")


if __name__ == "__main__":
    programs = (answer_late, append, converse, speak, live_at_another_time, fork_after_connecting, fork_amid_traffic)
    {program.__name__: program for program in programs}[sys.argv[1]](*sys.argv[2:])
