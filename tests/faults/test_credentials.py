"""Who luni is to the server: rights withdrawn and given back, passwords that change meanwhile, secrets that stay secret."""

from __future__ import annotations

import asyncio
import datetime as dt
import re
import threading
import time
from pathlib import Path

import pytest
from redis import Redis

from luni import AsyncMemory, Memory
from luni.errors import ConfigError, Unavailable
from luni.testing.clusters import Cluster
from luni.testing.sentinels import Sentinels

ROOT = Path(__file__).parent.parent.parent
SECRETS = ("first-canary-81ab", "second-canary-55cd")
SHOP = {"tenant": "shop", "channel": "web", "user": "ana"}


def documented_rights(number=0):
    """The rights of every user; 1: of one who erases, too; 2: on a Cluster, too."""
    page = (ROOT / "docs" / "guides" / "topologies.md").read_text(encoding="utf-8")
    return re.findall(r"^ACL SETUSER luni (.*)$", page, re.MULTILINE)[number]


@pytest.fixture
def allow(own_server):
    """Starts a server with a user of the documented rights; returns its URL and a client of somebody who may do anything."""
    clients = []

    def start(kind="valkey", namespace="luni"):
        server = own_server("--appendonly", "no", "--maxmemory-policy", "noeviction", kind=kind)
        plain = Redis(port=server.port, decode_responses=True, protocol=2)
        clients.append(plain)
        line = documented_rights().replace("PASSWORD", SECRETS[0]).replace("~luni:*", f"~{namespace}:*")
        plain.execute_command("ACL", "SETUSER", "luni", *line.split())
        return server.url.replace("redis://", f"redis://luni:{SECRETS[0]}@"), plain

    yield start
    for client in clients:
        client.close()


def everything(run, memory):
    """Use what an assistant uses: a conversation, the sweeps, locks, an agenda, an end."""
    session = memory.session(**SHOP)
    for number in range(14):
        turn = run(session.turn(f"message {number}", message_id=f"m{number}").open())
        run(turn.reply(f"answer {number}"))
    run(session.receive("and this?", message_id="last"))
    run(memory.unanswered("shop", older_than=0.0))
    run(memory.unsent(older_than=0.0))
    run(session.amend("m13", "other words"))
    run(session.pause(5))
    run(session.resume())
    run(session.set_summary("all said"))
    run(session.export())
    run(memory.sessions("shop"))
    run(memory.find(run(session.info()).session_id, tenant="shop"))
    lock = memory.lock("shop", "stock")
    run(lock.acquire())
    run(lock.renew())
    run(lock.release())
    agenda = memory.agenda("shop", "chair")
    start = dt.datetime(2030, 1, 7, 10, tzinfo=dt.UTC)
    hour = dt.timedelta(hours=1)
    run(agenda.hold(start, start + hour, by="ana", ttl=60, id="b1"))
    run(agenda.confirm("b1"))
    run(agenda.move("b1", start + hour, start + 2 * hour))
    run(agenda.free(start, start + 8 * hour, duration=3600))
    run(agenda.bookings(start, start + 8 * hour))
    run(memory.bookings("shop", by="ana"))
    run(memory.resources("shop"))
    run(agenda.cancel("b1"))
    run(session.end())
    assert run(memory.health()).ok


@pytest.mark.parametrize("kind", ["valkey", "redis"])
def test_everything_works_with_the_documented_rights(allow, run, kind, namespace):
    url, _ = allow(kind, namespace)
    everything(run, run.open(url, namespace=namespace, max_retries=0))


def erase(run, memory, user="eva"):
    """Use what erases, of everything that there is."""
    session = memory.session(tenant="shop", channel="web", user=user)
    run(session.receive("hello", message_id="m1"))
    run(session.lock("stock").acquire())
    start = dt.datetime(2030, 1, 7, 10, tzinfo=dt.UTC)
    run(memory.agenda("shop", user).hold(start, start + dt.timedelta(hours=1), by=user, ttl=60, id="b1"))
    assert len(run(memory.export("shop", user)).items) == 2
    assert run(memory.erase("shop", user)).counts["bookings"] == 1
    run(session.receive("hello", message_id="m1"))
    assert run(memory.erase("shop")).counts["sessions"] == 1


@pytest.mark.parametrize("kind", ["valkey", "redis"])
def test_people_are_erased_with_the_documented_rights(allow, run, kind, namespace):
    url, plain = allow(kind, namespace)
    memory = run.open(url, namespace=namespace, max_retries=0)
    plain.execute_command("ACL", "SETUSER", "luni", *documented_rights(1).split())
    erase(run, memory)
    for number, right in enumerate(documented_rights(1).split()):
        plain.execute_command("ACL", "SETUSER", "luni", right.replace("+", "-"))
        with pytest.raises(Unavailable, match="ACL"):
            erase(run, memory, f"user{number}")
        plain.execute_command("ACL", "SETUSER", "luni", right)


def test_everything_works_on_a_cluster_with_the_documented_rights(run, namespace):
    with Cluster() as nodes:
        rights = documented_rights().replace("PASSWORD", SECRETS[0]).replace("~luni:*", f"~{namespace}:*").split()
        for one in nodes.servers:
            nodes.ask(one, "ACL", "SETUSER", "luni", *rights, *documented_rights(1).split(), *documented_rights(2).split())
        url = nodes.url.replace("://", f"://luni:{SECRETS[0]}@")
        memory = run.open(url, namespace=namespace, max_retries=0)
        everything(run, memory)
        erase(run, memory)
        for right in ("slots", "nodes"):
            for one in nodes.servers:
                nodes.ask(one, "ACL", "SETUSER", "luni", f"-cluster|{right}")
            with pytest.raises(Unavailable, match=f"(?i)ACL.*cluster.{right}"):
                erase(run, run.open(url, namespace=namespace, max_retries=0))
            for one in nodes.servers:
                nodes.ask(one, "ACL", "SETUSER", "luni", f"+cluster|{right}")


def test_the_documented_rights_are_no_more_than_the_scripts_need():
    lua = "\n".join(path.read_text() for path in (ROOT / "src/luni/backends/redis/lua").glob("*.lua"))
    called = {name.lower() for name in re.findall(r"'([A-Z]{3,})'", lua)}
    granted = {word[1:] for word in documented_rights().split() if word.startswith("+")}
    assert granted - called <= {"ping", "select", "eval", "evalsha", "wait"}


def test_other_keys_are_closed_to_it(allow, run):
    url, _ = allow(namespace="somebody-elses")
    with pytest.raises(Unavailable, match=r"ACL.*a key"):
        run(run.open(url, max_retries=0).session(**SHOP).receive("hi", message_id="m1"))


@pytest.mark.parametrize("kind", ["valkey", "redis"])
@pytest.mark.parametrize(
    ("withdrawn", "named"), [(["-@all"], "evalsha|eval"), (["resetkeys"], "a key"), (["-hset"], "hset|a command of luni")]
)
def test_rights_withdrawn_in_the_middle_are_named_and_nothing_is_lost(allow, run, namespace, withdrawn, named, kind, caplog):
    url, plain = allow(kind, namespace)
    memory = run.open(url, namespace=namespace, max_retries=1)
    session = memory.session(**SHOP)
    turn = run(session.turn("hello", message_id="m1").open())
    rights = documented_rights().replace("~luni:*", f"~{namespace}:*").replace(">PASSWORD", "").split()
    plain.execute_command("ACL", "SETUSER", "luni", *withdrawn)
    for call in (lambda: turn.reply("hi"), lambda: session.receive("again", message_id="m2")):
        with pytest.raises(Unavailable, match=f"ACL.*({named})") as caught:
            run(call())
        assert "ana" not in str(caught.value)
    plain.execute_command("ACL", "SETUSER", "luni", *rights)
    run(turn.reply("hi"))
    run(session.receive("again", message_id="m2"))
    assert [m.text for m in run(session.messages())] == ["hello", "hi", "again"]
    assert not any(secret in caplog.text for secret in SECRETS)


# rotation


@pytest.fixture
def password_file(tmp_path):
    path = tmp_path / "password"
    path.write_text(SECRETS[0] + "\n")
    path.chmod(0o600)
    return path


def replace(path, text):
    new = path.with_name("new")
    new.write_text(text + "\n")
    new.replace(path)


def forget(run, memory):
    """Make the server forget who the memory's connection is: what NOAUTH means, without the connection's end."""
    backend = memory._backend
    assert run(backend._command("RESET") if run.kind == "async" else backend.command("RESET")) in {b"RESET", "RESET"}


@pytest.mark.parametrize("way", ["file", "callable"])
def test_a_connection_that_was_forgotten_is_made_anew_with_the_new_password(own_server, run, namespace, password_file, way):
    server = own_server("--requirepass", SECRETS[0])
    source = {"password_file": str(password_file)}
    if way == "callable":
        source = {"credentials": lambda: (None, password_file.read_text().strip())}
    memory = run.open(server.url, namespace=namespace, max_retries=0, **source)
    session = memory.session(**SHOP)
    run(session.append("user", "one"))
    with Redis(port=server.port, password=SECRETS[0]) as plain:
        plain.config_set("requirepass", SECRETS[1])
    replace(password_file, SECRETS[1])
    forget(run, memory)
    run(session.append("user", "two"))  # more than ten arguments: the server closes the connection
    forget(run, memory)
    assert run(memory.health()).ok  # NOAUTH, and the connection stays
    replace(password_file, SECRETS[0])
    forget(run, memory)
    with pytest.raises(Unavailable) as caught:
        run(session.append("user", "never"))
    assert not any(secret in str(caught.value) + repr(memory) + repr(memory.settings) for secret in SECRETS)
    replace(password_file, SECRETS[1])
    run(session.append("user", "three"))
    assert [m.text for m in run(session.messages())] == ["one", "two", "three"]


def test_many_calls_on_their_way_when_the_server_forgets_are_all_executed_once(own_server, namespace, password_file):
    server = own_server("--requirepass", SECRETS[0])

    async def main():
        async with AsyncMemory.open(server.url, namespace=namespace, max_retries=0, password_file=str(password_file)) as memory:
            sessions = [memory.session(**SHOP | {"user": f"user{n}"}) for n in range(50)]
            assert (await memory.health()).ok
            for _ in range(5):
                forgotten = asyncio.ensure_future(memory._backend._command("RESET"))
                await asyncio.gather(forgotten, *(session.append("user", "hello") for session in sessions))
            assert {(await session.info()).message_count for session in sessions} == {5}

    asyncio.run(main())


class Traffic:
    """Appends from threads and from a task until it is told to stop; counts what was done, and keeps what failed."""

    def __init__(self, url, **settings):
        self.url, self.settings, self.failed, self.done = url, settings, [], 0
        self._over = threading.Event()
        self._memory = Memory.open(url, **settings)
        self._crew = [threading.Thread(target=self._synchronous, args=(n,)) for n in range(3)]
        self._crew.append(threading.Thread(target=lambda: asyncio.run(self._asynchronous())))

    def _synchronous(self, number):
        session = self._memory.session(**SHOP | {"user": f"thread{number}"})
        while not self._over.is_set():
            try:
                session.append("user", "hello")
                self.done += 1
            except Exception as error:  # noqa: BLE001  every kind is a failure
                self.failed.append(error)

    async def _asynchronous(self):
        async with AsyncMemory.open(self.url, **self.settings) as memory:
            session = memory.session(**SHOP | {"user": "task"})
            while not self._over.is_set():
                try:
                    await session.append("user", "hello")
                    self.done += 1
                except Exception as error:  # noqa: BLE001  the same
                    self.failed.append(error)

    def __enter__(self):
        for one in self._crew:
            one.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        for one in self._crew:
            one.join()
        self._memory.close()


@pytest.mark.parametrize("cut", [False, True])
def test_a_password_is_rotated_while_turns_go_on_and_no_call_fails(own_server, namespace, password_file, cut):
    """By the order that the guide gives: the new one is let in, the file is replaced, the old one goes."""
    server = own_server()
    with Redis(port=server.port) as plain:
        plain.acl_setuser("app", enabled=True, passwords=[f"+{SECRETS[0]}"], commands=["+@all"], keys=["*"])
        url = server.url.replace("redis://", "redis://app@")
        with Traffic(url, namespace=namespace, password_file=str(password_file)) as traffic:
            for turn in range(1, 7):
                old, new = SECRETS[(turn - 1) % 2], SECRETS[turn % 2]
                plain.execute_command("ACL", "SETUSER", "app", f">{new}")
                replace(password_file, new)
                plain.execute_command("ACL", "SETUSER", "app", f"<{old}")
                if cut:  # so that new connections are made with it
                    plain.client_kill_filter(user="app", skipme=True)
                time.sleep(0.1)
    assert traffic.failed == []
    assert traffic.done > 50


def test_the_only_password_is_replaced_and_the_retries_mend_the_moment_between(own_server, namespace, password_file):
    server = own_server("--requirepass", SECRETS[0])
    with Traffic(server.url, namespace=namespace, password_file=str(password_file)) as traffic:
        for turn in range(1, 5):
            with Redis(port=server.port, password=SECRETS[(turn - 1) % 2]) as plain:
                plain.config_set("requirepass", SECRETS[turn % 2])
                plain.client_kill_filter(_type="normal", skipme=True)
                replace(password_file, SECRETS[turn % 2])
            time.sleep(0.1)
    assert traffic.failed == []
    assert traffic.done > 50


@pytest.mark.parametrize("what", ["missing", "a folder", "not text"])
def test_a_password_file_that_cannot_be_read_is_named_at_first_use(server, run, namespace, tmp_path, what):
    path = tmp_path / "the-password"
    if what == "a folder":
        path.mkdir()
    if what == "not text":
        path.write_bytes(b"\xff\xfe")
    memory = run.open(server.url, namespace=namespace, max_retries=0, password_file=str(path))
    with pytest.raises(Unavailable, match=r"REDIS_PASSWORD_FILE.*the-password"):
        run(memory.session(**SHOP).receive("hi", message_id="m1"))


@pytest.mark.parametrize("given", [lambda: 1 / 0, lambda: SECRETS[0], lambda: ("app", 7), lambda: None])
def test_credentials_that_fail_are_unavailable_and_their_words_stay_secret(server, run, namespace, given):
    memory = run.open(server.url, namespace=namespace, max_retries=0, credentials=given)
    with pytest.raises(Unavailable, match="credentials gives no password") as caught:
        run(memory.session(**SHOP).receive("hi", message_id="m1"))
    assert SECRETS[0] not in str(caught.value)
    assert not run(memory.health()).ok


def test_a_coroutine_function_gives_credentials_to_the_asynchronous_client(own_server, namespace):
    server = own_server("--requirepass", SECRETS[0])

    async def token():
        await asyncio.sleep(0)
        return "default", SECRETS[0]

    async def main():
        async with AsyncMemory.open(server.url, namespace=namespace, credentials=token) as memory:
            assert (await memory.health()).ok

    asyncio.run(main())
    with Memory.open(server.url, credentials=token, max_retries=0) as memory:
        assert "(user, password)" in memory.health().detail


@pytest.mark.parametrize(
    "settings",
    [
        {"url": "redis://:s3cret@h", "password_file": "f"},
        {"url": "redis://:s3cret@h", "credentials": lambda: ("a", "b")},
        {"url": "redis://app@h", "credentials": lambda: ("a", "b")},
        {"url": "redis://h", "credentials": lambda: ("a", "b"), "password_file": "f"},
        {"url": "redis://h", "credentials": "app:s3cret"},
        {"url": "redis+sentinel://h/n", "sentinel_password": "s3cret", "sentinel_password_file": "f"},
        {"url": "redis+sentinel://h/n", "sentinel_username": "app"},
    ],
)
def test_a_password_has_one_source(run, settings):
    with pytest.raises(ConfigError) as caught:
        run.open(**settings)
    assert "s3cret" not in str(caught.value)


# Sentinels


def test_sentinels_have_a_password_of_their_own(run, namespace, password_file, caplog):
    with Sentinels("valkey") as pair:
        for one in pair.watchers:
            with Redis(port=one.port) as plain:
                plain.execute_command("ACL", "SETUSER", "default", "resetpass", f">{SECRETS[0]}")
        for one in pair.servers:
            with Redis(port=one.port) as plain:
                plain.config_set("requirepass", SECRETS[1])
        url = pair.url.replace("://", f"://:{SECRETS[1]}@")
        for way in ({"sentinel_password": SECRETS[0]}, {"sentinel_password_file": str(password_file)}):
            memory = run.open(url, namespace=namespace, **way)
            assert run(memory.health()).ok
        for way in ({}, {"sentinel_password": SECRETS[1]}):
            health = run(run.open(url, namespace=namespace, max_retries=0, **way).health())
            assert not health.ok
            assert "no Sentinel" in health.detail
            told = health.detail + caplog.text
            assert not any(secret in told for secret in SECRETS)


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [
        ("[::1]:26379", [("::1", 26379)]),
        ("[::1],[fe80::2]:7", [("::1", 26379), ("fe80::2", 7)]),
        ("::1,h:8,10.0.0.1", [("::1", 26379), ("h", 8), ("10.0.0.1", 26379)]),
    ],
)
def test_sentinels_are_found_by_ipv6_addresses_too(hosts, expected):
    from luni.backends.redis.connect import place  # noqa: PLC0415  only here
    from luni.backends.redis.sentinel import plain_url  # noqa: PLC0415  only here

    assert plain_url(f"redis+sentinel://u:p@{hosts}/name/3")[1] == expected
    assert place(f"redis+sentinel://u:p@{hosts}/name/3?x=1") == f"redis+sentinel://{hosts}/name/3"


@pytest.mark.parametrize("hosts", ["[::1", "[nonsense]:1", "[::1]x", "[::1]:x", "a:b:c"])
def test_an_address_that_is_none_is_refused_at_open(run, hosts):
    with pytest.raises(ConfigError, match=r"redis\+sentinel://"):
        run.open(f"redis+sentinel://{hosts}/name")
