"""Where the tests' stores are: an SQLite file of the test's own, a namespace of its own on a server of the session's own."""

from __future__ import annotations

import itertools
import os
import secrets
from pathlib import Path

import pytest

pytest.register_assert_rewrite("luni.testing.conformance")

import apsw  # noqa: E402  after the rewriting has been asked for
import redis  # noqa: E402

from ageing import age  # noqa: E402
from luni.backends.keys import Tagged, session_keys  # noqa: E402
from luni.models import Address  # noqa: E402
from luni.testing import FakeClock  # noqa: E402
from luni.testing.clusters import Cluster  # noqa: E402
from luni.testing.conformance.store import Store  # noqa: E402
from luni.testing.servers import Server, available  # noqa: E402

KINDS = ("sqlite", "valkey", "redis", "cluster", "failover")
MODES = ("sync", "async")
_COUNT = itertools.count()


def needed(tool, *, there):
    """Skip without an optional tool; fail where LUNI_REQUIRE names it."""
    if there:
        return
    if tool in os.environ.get("LUNI_REQUIRE", "").split(","):
        pytest.fail(f"LUNI_REQUIRE names {tool}, and there is none here", pytrace=False)
    pytest.skip(f"there is no {tool} server here")


def pytest_collection_modifyitems(config, items):
    """Only a file can tell that an id is alive elsewhere."""
    elsewhere = "test_an_id_that_lives_elsewhere"
    gone = [item for item in items if item.name.startswith(elsewhere) and not item.name.endswith("-sqlite]")]
    if gone:
        config.hook.pytest_deselected(items=gone)
        items[:] = [item for item in items if item not in set(gone)]


def pytest_terminal_summary(terminalreporter):
    """What the fault tests have counted is to be read after a run that is well, too."""
    counted = [
        (report.nodeid.rpartition("/")[2], line)
        for report in terminalreporter.stats.get("passed", ())
        if "/faults/" in report.nodeid
        for line in f"{report.capstdout}\n{report.capstderr}".splitlines()
        if line.strip()
    ]
    if counted:
        terminalreporter.section("what the fault tests counted")
        for test, line in sorted(counted):
            terminalreporter.write_line(f"{test}: {line}")


@pytest.fixture(scope="session")
def server_of():
    """One server of each kind, started when first asked for."""
    started = {}

    def server(kind):
        needed(kind, there=available("valkey" if kind == "cluster" else kind))
        if kind not in started:
            started[kind] = (Cluster() if kind == "cluster" else Server(kind)).start()
        return started[kind]

    yield server
    for one in started.values():
        one.close()


@pytest.fixture(params=[(mode, kind) for kind in KINDS for mode in MODES], ids="-".join)
def store(request, tmp_path, server_of):
    mode, kind = request.param
    with _place(kind, mode, tmp_path, server_of) as place:
        yield place


def _place(kind, mode, tmp_path, server_of):
    if kind == "sqlite":
        return SQLiteStore(tmp_path / "luni.db", mode)
    if kind == "failover":
        return FailoverStore(server_of("valkey"), mode, tmp_path / "local.db")
    if kind == "cluster-failover":
        return ClusterFailoverStore(server_of("cluster"), mode, tmp_path / "local.db")
    return (ClusterStore if kind == "cluster" else RedisStore)(server_of(kind), mode)


@pytest.fixture(params=[(mode, kind) for kind in ("valkey", "redis") for mode in MODES], ids="-".join)
def server_store(request, server_of):
    mode, kind = request.param
    with RedisStore(server_of(kind), mode) as place:
        yield place


class SQLiteStore(Store):
    kind = "sqlite"

    def __init__(self, path, mode):
        super().__init__(asynchronous=mode == "async", clock=FakeClock())
        self.path = path

    def url(self):
        return f"sqlite:///{self.path}"

    def sql(self, statement, bindings=()):
        connection = apsw.Connection(str(self.path))
        try:
            return connection.execute(statement, bindings).fetchall()
        finally:
            connection.close()

    def dump(self):
        if not self.path.exists():
            return {}
        tables = [name for (name,) in self.sql("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        return {name: sorted(self.sql(f"SELECT * FROM {name}"), key=repr) for name in tables}

    def stored_bytes(self):
        """The file and its log, byte for byte."""
        return b"".join(
            Path(f"{self.path}{end}").read_bytes() for end in ("", "-wal", "-shm") if Path(f"{self.path}{end}").exists()
        )

    def _row(self, session):
        ((key,),) = self.sql("SELECT id FROM conversation WHERE (tenant, channel, user) = (?, ?, ?)", address(session))
        return key

    def pause(self, session):
        self.sql("UPDATE conversation SET paused = 1 WHERE id = ?", (self._row(session),))

    def spoil_newest(self, session):
        newest = "SELECT max(position) FROM message WHERE conversation = ?1"
        self.sql(
            f"UPDATE message SET text = ?2 WHERE conversation = ?1 AND position = ({newest})", (self._row(session), b"{bad")
        )

    def spoil_field(self, session, name):
        self.sql(f"UPDATE conversation SET {name} = ? WHERE id = ?", (b"[not an object", self._row(session)))

    def writers(self, session):
        return self.sql("SELECT count(*) FROM mark WHERE conversation = ?", (self._row(session),))[0][0]

    def remembered(self, session):
        return self.sql("SELECT count(*) FROM accepted WHERE conversation = ?", (self._row(session),))[0][0]


class RedisStore(Store):
    def __init__(self, server, mode):
        super().__init__(asynchronous=mode == "async", clock=FakeClock())
        self.kind = server.kind
        self.server = server
        self.namespace = f"t{next(_COUNT)}-{secrets.token_hex(4)}"
        self.raw = self.look()

    def look(self):
        return redis.Redis(port=self.server.port, decode_responses=False, retry=None)

    def url(self):
        return self.server.url

    def keys(self, session):
        own = session_keys(self.namespace, Address(*address(session))).own
        return dict(zip(("ctx", "msgs", "locks", "seen", "fold", "log"), own, strict=True))

    def dump(self):
        found = {}
        for key in sorted(self.raw.scan_iter(match=f"{self.namespace}:*", count=1000)):
            kind = self.raw.type(key)
            found[key] = (kind, READ[kind](self.raw, key), self.raw.execute_command("PEXPIRETIME", key))
        return found

    def stored_bytes(self):
        """Names and values as they read, and as the server dumps them."""
        found = self.dump()
        return repr(found).encode() + b"".join(self.raw.dump(key) or b"" for key in found)

    def let_pass(self, seconds):
        """Bring every expiry nearer: the server judges by its own clock, which nobody moves. Leases are local time, too."""
        self.clock.advance(seconds)
        for key in self.raw.scan_iter(match=f"{self.namespace}:*", count=1000):
            when = self.raw.execute_command("PEXPIRETIME", key)
            if when > 0:
                self.raw.execute_command("PEXPIREAT", key, when - round(seconds * 1000))
            age(self.raw, key, round(seconds * 1000))

    def pause(self, session):
        self.raw.hset(self.keys(session)["ctx"], "paused", "1")

    def spoil_newest(self, session):
        self.raw.lset(self.keys(session)["msgs"], 0, b"{bad")

    def spoil_field(self, session, name):
        self.raw.hset(self.keys(session)["ctx"], name, "[not an object")

    def writers(self, session):
        return sum(name.startswith(b"w:") for name in self.raw.hkeys(self.keys(session)["ctx"]))

    def remembered(self, session):
        names = self.raw.hkeys(self.keys(session)["seen"])
        records = [name for name in names if not name.startswith((b"r:", b"#"))]
        assert len(records) <= 128
        assert len(names) <= 2 * 128 + 2
        return len(records)

    def close(self):
        super().close()
        for key in self.raw.scan_iter(match=f"{self.namespace}:*", count=1000):
            self.raw.delete(key)
        self.raw.close()


class _WithFallback:
    """In front of a mirror and a journal, all of them well: every memory is a process of one host."""

    def __init__(self, server, mode, path):
        super().__init__(server, mode)
        self.path = path

    def open(self, **options):
        return super().open(**{"fallback": f"sqlite:///{self.path}", "failover_after": 2.0} | options)

    def dump(self):
        """Which server it is, luni asks in the background."""
        return {key: value for key, value in super().dump().items() if not key.endswith(b":generation")}


class FailoverStore(_WithFallback, RedisStore):
    pass


class ClusterStore(RedisStore):
    kind = "cluster"

    def __init__(self, server, mode):
        super().__init__(server, mode)
        self.kind = "cluster"

    def look(self):
        return redis.RedisCluster(host="127.0.0.1", port=self.server.port, decode_responses=False)

    def keys(self, session):
        own = session_keys(Tagged(self.namespace), Address(*address(session))).own
        return dict(zip(("ctx", "msgs", "locks", "seen", "fold", "log"), own, strict=True))


class ClusterFailoverStore(_WithFallback, ClusterStore):
    pass


READ = {
    b"hash": lambda raw, key: raw.hgetall(key),
    b"list": lambda raw, key: raw.lrange(key, 0, -1),
    b"string": lambda raw, key: raw.get(key),
    b"zset": lambda raw, key: raw.zrange(key, 0, -1, withscores=True),
    b"none": lambda *_: None,
}


def address(session):
    return session.tenant, session.channel, session.user
