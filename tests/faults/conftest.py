"""Servers, proxies and clients for fault tests: each test has a namespace of its own on servers that belong to this run."""

from __future__ import annotations

import asyncio
import itertools
import os
import uuid
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from loaded import load_scripts
from redis import Redis

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
def somebody() -> Callable[[], dict[str, str]]:
    """Gives the address of somebody new each time."""
    numbers = itertools.count(1)
    return lambda: {"tenant": "shop", "channel": "web", "user": f"user{next(numbers)}"}


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow at once: for tests that need many of them."""
    monkeypatch.setattr(luni.flows, "FIRST_PAUSE", 0.0005)


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
