"""`luni chaos`, the traffic: threads that talk in several sessions each, and note what luni acknowledged, in order."""

from __future__ import annotations

import itertools
import random
import threading
import time
from array import array
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import TypeVar

import msgspec

from luni.client import Memory, Session, Turn
from luni.errors import Indeterminate, LuniError, Unavailable
from luni.ops.chaos_verdict import Conversation
from luni.settings import Policy

__all__ = ["CHANNEL", "POLICY", "TENANT", "Second", "Traffic"]

TENANT, CHANNEL = "chaos", "rehearsal"
POLICY = Policy(ttl=24 * 3600.0, lease=5.0, transcript_messages=1000)
"""All that was said can be read in the end; a turn whose worker gave up is free soon."""
SESSIONS_EACH = 4
MESSAGES_EACH = 150
"""Then a new session takes its place: a transcript keeps all that was said in it, with the replies."""
REPLIES_TRIED = 3
REPLY_PAUSE = 0.1
BY_WEBHOOK = 5
"""One message of so many is received first, as a webhook does it, and answered by a turn without a text."""
SECONDS_SHOWN = 120

T = TypeVar("T")


class Second(msgspec.Struct):
    """What a second was like: turns that the server served, turns that this host served, calls that were refused."""

    served: int = 0
    degraded: int = 0
    refused: int = 0


class Traffic:
    """Customers who write, and an assistant who answers. A message is repeated under its id until it is acknowledged.

    Args:
        memory: Where they talk.
        workers: How many threads.
        rate: How many turns a second all of them together begin at the most.
        seed: Of the pauses between turns.
    """

    def __init__(self, memory: Memory, *, workers: int, rate: float, seed: int) -> None:
        self._memory, self._workers, self._rate, self._seed = memory, workers, rate, seed
        self._guard, self._stop = threading.Lock(), threading.Event()
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="chaos")
        self._running: list[Future[None]] = []
        self._began, self._newest = time.monotonic(), -1
        self._seconds: deque[Second] = deque(maxlen=SECONDS_SHOWN)
        self.conversations: list[Conversation] = []
        self.acknowledged = self.turns = self.degraded = 0
        self.latencies: array[float] = array("d")
        self.worst = 0.0
        self.refused: Counter[str] = Counter()

    def start(self) -> None:
        """Begin to talk."""
        self._began = time.monotonic()
        self._running = [self._pool.submit(self._work, number) for number in range(self._workers)]

    def check(self) -> None:
        """Raise what a thread has died of, if one has."""
        for one in wait(self._running, timeout=0, return_when=FIRST_EXCEPTION).done:
            one.result()

    def stop(self) -> None:
        """Talk no more; return when the calls on their way have ended."""
        self._stop.set()
        self._pool.shutdown()

    def leave(self) -> None:
        """Talk no more; do not wait."""
        self._stop.set()
        self._pool.shutdown(wait=False)

    def seconds(self) -> list[Second]:
        """Return the last seconds, the current one last."""
        with self._guard:
            self._second()
            return list(self._seconds)

    def _second(self) -> Second:
        now = int(time.monotonic() - self._began)
        while self._newest < now:
            self._seconds.append(Second())
            self._newest += 1
        return self._seconds[-1]

    # one thread

    def _work(self, number: int) -> None:
        chance, pause = random.Random(f"{self._seed}-{number}"), self._workers / self._rate  # noqa: S311  no secret
        names = (f"customer-{number}-{one}" for one in itertools.count(1))
        talks = [self._talk(next(names)) for _ in range(SESSIONS_EACH)]
        for step in itertools.count():
            if self._stop.wait(pause * chance.uniform(0.5, 1.5)):
                return
            place = step % len(talks)
            self._exchange(talks[place])
            if talks[place].number > MESSAGES_EACH:
                talks[place] = self._talk(next(names))

    def _talk(self, user: str) -> _Talk:
        talk = _Talk(Conversation(user))
        with self._guard:
            self.conversations.append(talk.of)
        return talk

    def _exchange(self, talk: _Talk) -> None:
        """One message, and its answer; what fails is tried again next time."""
        session = self._memory.session(tenant=TENANT, channel=CHANNEL, user=talk.of.user)
        text, begun = talk.message, time.monotonic()
        turn = self._received(session, talk, text) if talk.number % BY_WEBHOOK == 0 else session.turn(text, message_id=text)
        if turn is None or isinstance(self._call(turn.open), LuniError):
            return
        if talk.message == text:
            self._acknowledge(talk, text, begun)
        with self._guard:
            self.turns += 1
            self.degraded += turn.degraded
            if turn.degraded:
                self._second().degraded += 1
            else:
                self._second().served += 1
        self._answer(talk, turn)

    def _received(self, session: Session, talk: _Talk, text: str) -> Turn | None:
        begun = time.monotonic()
        if isinstance(self._call(lambda: session.receive(text, message_id=text)), LuniError):
            return None
        self._acknowledge(talk, text, begun)
        return session.turn()

    def _answer(self, talk: _Talk, turn: Turn) -> None:
        try:
            while turn.should_reply:
                text, begun = talk.reply(), time.monotonic()
                if not self._replied(turn, text):
                    return
                self._note(talk, text, begun)
        finally:
            turn.close()

    def _replied(self, turn: Turn, text: str) -> bool:
        """Reply, and repeat the very same reply where that is safe; return whether it was acknowledged."""
        for _ in range(REPLIES_TRIED):
            done = self._call(lambda: turn.reply(text))
            if not isinstance(done, LuniError):
                return True
            if not isinstance(done, Unavailable | Indeterminate) or self._stop.wait(REPLY_PAUSE):
                break
        return False

    def _call(self, action: Callable[[], T]) -> T | LuniError:
        """Do it, count and time it; return its result, or luni's error."""
        began = time.monotonic()
        refusal = ""
        try:
            return action()
        except LuniError as error:
            refusal = type(error).__name__
            return error
        finally:
            took = time.monotonic() - began
            with self._guard:
                self.latencies.append(took)
                self.worst = max(self.worst, took)
                if refusal:
                    self.refused[refusal] += 1
                    self._second().refused += 1

    def _acknowledge(self, talk: _Talk, text: str, begun: float) -> None:
        self._note(talk, text, begun)
        talk.number += 1

    def _note(self, talk: _Talk, text: str, begun: float) -> None:
        talk.of.note(text, begun)
        with self._guard:
            self.acknowledged += 1


class _Talk:
    """A conversation as its thread goes on with it: numbered messages, numbered replies."""

    def __init__(self, of: Conversation) -> None:
        self.of, self.number, self._replies = of, 1, 0

    @property
    def message(self) -> str:
        """The message that is to be acknowledged next."""
        return f"{self.of.user} message {self.number}"

    def reply(self) -> str:
        """Return a reply that was never said."""
        self._replies += 1
        return f"{self.of.user} reply {self._replies}"
