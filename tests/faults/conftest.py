"""Servers, proxies and clients for fault tests: each test has a namespace of its own on servers that belong to this run."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from loaded import load_scripts
from redis import Redis

import luni.backends.failover.breaker
import luni.flows
from luni import AsyncMemory, Memory
from luni.testing.clusters import Cluster
from luni.testing.proxy import Proxy
from luni.testing.servers import Server, available

SOAK = max(1, int(os.environ.get("LUNI_SOAK", "1")))
QUICK = {"connect_timeout": 1.0, "timeout": 3.0}


class Runner:
    """Opens memories of one kind, and gives what their calls give: at once, or by an event loop of its own."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._loop = asyncio.new_event_loop() if kind == "async" else None
        self._opened: list[Any] = []

    def __call__(self, value: Any) -> Any:
        return value if self._loop is None else self._loop.run_until_complete(value)

    def open(self, url: str, **options: Any) -> Any:
        opener = AsyncMemory if self._loop else Memory
        self._opened.append(opener.open(url, **QUICK | options))
        return self._opened[-1]

    def close(self) -> None:
        try:
            for memory in self._opened:
                self(memory.close())
        finally:
            if self._loop is not None:
                self._loop.run_until_complete(self._loop.shutdown_default_executor())
                self._loop.close()


@pytest.fixture(params=["sync", "async"])
def run(request: pytest.FixtureRequest) -> Iterator[Runner]:
    runner = Runner(request.param)
    yield runner
    runner.close()


def require(kind: str) -> None:
    if not available(kind):
        if kind in os.environ.get("LUNI_REQUIRE", "").split(","):
            pytest.fail(f"there is no {kind} server here, and LUNI_REQUIRE asks for one")
        pytest.skip(f"there is no {kind} server here")


@pytest.fixture(scope="session")
def _servers() -> Iterator[dict[str, Server]]:
    servers: dict[str, Server] = {}
    yield servers
    for server in servers.values():
        server.close()


def _shared(servers: dict[str, Server], kind: str) -> Server:
    require(kind)
    if kind not in servers:
        servers[kind] = Server(kind).start()
    load_scripts(servers[kind].port)
    return servers[kind]


@pytest.fixture
def server(_servers: dict[str, Server]) -> Server:
    """A Valkey shared by the tests of this run: nobody harms it."""
    return _shared(_servers, "valkey")


@pytest.fixture(params=["valkey", "redis"])
def each_server(request: pytest.FixtureRequest, _servers: dict[str, Server]) -> Server:
    """The same, once with each kind of server."""
    return _shared(_servers, request.param)


@pytest.fixture
def own_server() -> Iterator[Callable[..., Server]]:
    """Starts servers that the test may kill, stop or set up as it likes."""
    started: list[Server] = []

    def start(*arguments: str, kind: str = "valkey") -> Server:
        require(kind)
        started.append(Server(kind, *arguments))
        return started[-1].start()

    yield start
    for one in started:
        one.close()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Three primaries, shared by a module's tests."""
    require("valkey")
    with Cluster() as nodes:
        yield nodes


@pytest.fixture
def replicated() -> Iterator[Cluster]:
    """Three primaries with a replica each, of the test's own."""
    require("valkey")
    with Cluster(replicas=True) as nodes:
        yield nodes


@pytest.fixture
def proxy_to() -> Iterator[Callable[[Server], Proxy]]:
    started: list[Proxy] = []

    def start(target: Server) -> Proxy:
        started.append(Proxy(target.port).start())
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture
def namespace() -> str:
    return f"t{uuid.uuid4().hex[:12]}"


@pytest.fixture
def fallback(tmp_path: Path) -> str:
    """Where a memory keeps what the server cannot take; its journal lies beside it."""
    return f"sqlite:///{tmp_path / 'local.db'}"


@pytest.fixture
def worker() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts programs of worker.py; what is left of them at the end is killed."""
    started = []

    def start(*arguments: Any) -> subprocess.Popen[str]:
        source = str(Path(luni.__file__).parents[1])
        program = [sys.executable, "-W", "error", str(Path(__file__).parent / "worker.py"), *map(str, arguments)]
        process = subprocess.Popen(
            program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": source}
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):  # what was still to be written, it cannot read any more
                pipe.close()  # type: ignore[union-attr]


@pytest.fixture
def somebody() -> Callable[[], dict[str, str]]:
    """Gives the address of somebody new each time."""
    numbers = itertools.count(1)
    return lambda: {"tenant": "shop", "channel": "web", "user": f"user{next(numbers)}"}


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow at once: for tests that need many of them."""
    monkeypatch.setattr(luni.flows, "FIRST_PAUSE", 0.0005)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """A server that is back is found at once: for tests with many outages. Settings of a memory with a fallback."""
    monkeypatch.setattr(luni.backends.failover.breaker, "FIRST_PROBE", 0.02)
    return {"mirror_interval": 0.1}


@pytest.fixture
def dump() -> Callable[[Server, str], dict[bytes, Any]]:
    """Gives everything a server holds of a namespace, byte for byte, expiries included."""

    def taken(server: Server, namespace: str) -> dict[bytes, Any]:
        with Redis(port=server.port) as plain:
            keys = sorted(plain.scan_iter(match=f"{namespace}:*", count=1000))
            return {key: (plain.dump(key), plain.expiretime(key) // 2) for key in keys}

    return taken


@pytest.fixture
def many() -> SimpleNamespace:
    """How often to do what is done often: LUNI_SOAK=10 does ten times as much."""
    return SimpleNamespace(soak=SOAK, of=lambda count: count * SOAK)
