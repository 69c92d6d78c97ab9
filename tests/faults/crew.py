"""Processes that work while a nemesis stops, kills and cuts off whatever it can."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import luni

HERE = Path(__file__).parent


class Crew:
    """Recorded workers. One that is killed is followed by another, which does what is left."""

    def __init__(
        self, role: str, urls: list[str], namespace: str, folder: Path, *, each: int, bug: str = "", **options: Any
    ) -> None:
        self.folder, self._role, self._urls, self._namespace = folder, role, urls, namespace
        self._each, self._bug, self._options = each, bug, options
        self._numbers = iter(range(10_000))
        self.working: dict[int, tuple[str, subprocess.Popen[str]]] = {}
        self.errors: list[str] = []
        self._left = dict.fromkeys(range(len(urls)), each)

    def start(self) -> None:
        for place in self._left:
            self._spawn(place)

    def _spawn(self, place: int) -> None:
        number = next(self._numbers)
        name = f"p{place}n{number}"
        arguments = [self._role, self._urls[place], self._namespace, name, number, self._left[place], self.folder, self._bug]
        process = subprocess.Popen(
            [sys.executable, str(HERE / "booking_worker.py"), *map(str, arguments), json.dumps(self._options)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONPATH": str(Path(luni.__file__).parents[1])},
        )  # fmt: skip
        self.working[place] = name, process

    def attempts(self, name: str) -> int:
        """How many bookings, or guarded calls, a worker has attempted."""
        file = self.folder / f"{name}.jsonl"
        words = '"kind": "guard"' if self._role == "lock" else '"kind": "hold"'
        return file.read_text().count(words) if file.exists() else 0

    def look(self) -> bool:
        """Let others follow those that were killed; return whether anybody still works."""
        for place, (name, process) in list(self.working.items()):
            status = process.poll()
            if status is None:
                continue
            _, err = process.communicate()
            self._left[place] -= self.attempts(name)
            del self.working[place]
            if status == -signal.SIGKILL and self._left[place] > 0:
                self._spawn(place)
            elif status not in {0, -signal.SIGKILL}:
                self.errors.append(err)
        return bool(self.working)

    def somebody(self, chance: random.Random) -> subprocess.Popen[str] | None:
        """Return one of those at work."""
        working = [process for _, process in self.working.values() if process.poll() is None]
        return chance.choice(working) if working else None

    def stop(self) -> None:
        for _, process in self.working.values():
            if process.poll() is None:
                process.kill()
            process.communicate()


class Nemesis:
    """Does one fault after the other, and counts them."""

    def __init__(
        self, crew: Crew, chance: random.Random, *, server: Any = None, proxy: Any = None, lost: tuple[bytes, ...] = (),
        gentle: bool = False, only: str = "",
    ) -> None:  # fmt: skip
        self._crew, self._chance, self._server, self._proxy, self._lost = crew, chance, server, proxy, lost
        self.done: Counter[str] = Counter()
        self._ways = [self.worker_killed, self.worker_paused]
        if server is not None:
            self._ways += [self.server_paused] if gentle else [self.server_paused, self.server_killed]
        if proxy is not None:
            self._ways += [self.connections_reset, self.reply_lost, self.reply_lost]
        self._ways = [way for way in self._ways if only in {"", way.__name__}]

    def strike(self) -> None:
        """Do one fault; every way in turn, at random times."""
        way = self._ways[sum(self.done.values()) % len(self._ways)]
        way()
        self.done[way.__name__] += 1

    def worker_killed(self) -> None:
        process = self._crew.somebody(self._chance)
        if process:
            process.kill()

    def worker_paused(self) -> None:
        process = self._crew.somebody(self._chance)
        if process:
            process.send_signal(signal.SIGSTOP)
            time.sleep(self._chance.uniform(0.3, 0.5))
            process.send_signal(signal.SIGCONT)

    def server_paused(self) -> None:
        self._server.signal(signal.SIGSTOP)
        time.sleep(self._chance.uniform(0.1, 0.4))
        self._server.signal(signal.SIGCONT)

    def server_killed(self) -> None:
        self._server.stop()
        self._server.start()

    def connections_reset(self) -> None:
        self._proxy.reset()

    def reply_lost(self) -> None:
        self._proxy.match(self._chance.choice(self._lost), times=self._chance.randint(1, 4))
        time.sleep(0.1)
        self._proxy.passing()


def rampage(crew: Crew, nemesis: Nemesis, *, faults: int, pause: tuple[float, float], seconds: float) -> None:
    """Let the crew work to its end, through at least so many faults."""
    crew.start()
    chance, deadline = random.Random(1), time.monotonic() + seconds
    try:
        while crew.look():
            assert time.monotonic() < deadline, f"the crew is not done after {seconds} s: {dict(nemesis.done)}"
            nemesis.strike()
            time.sleep(chance.uniform(*pause))
    finally:
        crew.stop()
    assert crew.errors == []
    assert sum(nemesis.done.values()) >= faults, "too few faults for what is to be shown"
