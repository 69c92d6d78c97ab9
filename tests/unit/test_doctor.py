"""`luni.ops.doctor`: what it finds, and what it does not touch."""

import io
from pathlib import Path

import msgspec
import pytest
from rich.console import Console
from test_cli_journal import BEA, entry

from luni.backends.failover.journal import Journal
from luni.errors import ConfigError
from luni.ops import lasting, screens
from luni.ops.doctor import examine
from luni.settings import Settings
from luni.testing.servers import Server


def test_a_file_that_is_not_there_is_healthy_and_is_not_made(tmp_path):
    found = examine(Settings(url=f"sqlite:///{tmp_path}/deep/luni.db"))
    assert found.healthy
    assert "none yet" in found.store["file"]
    assert not list(tmp_path.iterdir())


def test_a_file_says_what_a_power_failure_would_lose(tmp_path):
    (tmp_path / "luni.db").touch(mode=0o600)
    found = examine(Settings(url=f"sqlite:///{tmp_path}/luni.db", durability="full"))
    assert found.healthy
    assert "nothing the disk has confirmed" in found.lost_on_power_failure
    assert found.store["journal_mode"] == "wal"


def test_a_file_that_others_may_read_is_warned_of(tmp_path):
    (tmp_path / "luni.db").touch()
    (tmp_path / "luni.db").chmod(0o644)
    found = examine(Settings(url=f"sqlite:///{tmp_path}/luni.db"))
    assert any("chmod 600" in warning for warning in found.warnings)


def test_a_file_that_is_no_database_is_not_healthy(tmp_path):
    (tmp_path / "luni.db").write_bytes(b"hello" * 1000)
    found = examine(Settings(url=f"sqlite:///{tmp_path}/luni.db"))
    assert not found.healthy
    assert "not a readable SQLite file" in found.problem
    assert (tmp_path / "luni.db").read_bytes() == b"hello" * 1000


def test_storage_in_memory_is_warned_of():
    assert any("memory of one process" in warning for warning in examine(Settings(url="sqlite://")).warnings)


def test_a_server_that_evicts_and_keeps_no_file_is_warned_of():
    with Server("valkey", "--maxmemory-policy", "allkeys-lru") as server:
        found = examine(Settings(url=server.url))
        assert found.healthy
        assert found.latency_ms > 0
        assert found.versions["server"].startswith("valkey ")
        text = " ".join(found.warnings)
        assert "allkeys-lru" in text
        assert "append-only" in text
        assert "everything" in found.lost_on_power_failure


def test_a_server_as_it_should_be_has_no_warning():
    with Server("valkey", "--appendonly", "yes", "--maxmemory-policy", "noeviction") as server:
        assert examine(Settings(url=server.url)).warnings == []


def test_a_server_that_is_not_there_is_not_healthy():
    with Server("valkey") as server:
        url = server.url
    found = examine(Settings(url=url, connect_timeout=0.2))
    assert not found.healthy
    assert found.problem
    assert found.latency_ms is None


def test_settings_in_force_are_told_in_their_own_units_and_without_secrets():
    settings = Settings(
        url="redis://me:canary@127.0.0.1:1/0?password=canary", redis_url="rediss://:canary@h/1", connect_timeout=0.25
    )
    found = examine(settings)
    assert b"canary" not in msgspec.json.encode(found)
    told = {one.name: (one.value, one.changed) for one in found.settings}
    assert told["REDIS_CONNECT_TIMEOUT"] == ("250", True)
    assert told["LUNI_TIMEOUT"] == ("5", False)
    assert told["LUNI_URL"] == ("redis://127.0.0.1:1/0", True)
    assert told["REDIS_URL"] == ("rediss://h/1", True)


@pytest.mark.parametrize("url", ["redis://:can/ary@h:1", "foo://canary@h", "sqlite://canary@h/x"])
def test_a_url_that_leads_nowhere_is_an_error_without_it(url):
    with pytest.raises(ConfigError) as caught:
        examine(Settings(url=url))
    assert "ary" not in str(caught.value).replace("library", "")


def test_a_secret_is_not_shown_and_its_file_is_warned_of_if_others_may_read_it(tmp_path):
    path = tmp_path / "password"
    path.write_text("s3cret-in-file\n")
    path.chmod(0o644)
    settings = Settings(
        url="redis+sentinel://127.0.0.1:1,[::1]:1/luni", max_retries=0, password_file=str(path), sentinel_password="s3cret",
    )  # fmt: skip
    found = examine(settings)
    assert not found.healthy
    assert "s3cret" not in repr(found) + msgspec.json.encode(found).decode()
    assert {s.name: s.value for s in found.settings}["REDIS_SENTINEL_PASSWORD"] == "set"
    assert found.store["place"] == "redis+sentinel://127.0.0.1:1,[::1]:1/luni"
    assert f"others may read {path}: chmod 600 it" in found.warnings
    path.chmod(0o600)
    assert examine(settings).warnings == []


# the fallback

NOWHERE = "redis://127.0.0.1:1"
MOUNTS = """\
22 1 259:1 / / rw,relatime shared:1 - ext4 /dev/root rw
31 22 0:27 / /run rw,nosuid shared:2 master:7 - tmpfs tmpfs rw
garbage
32 22 259:2 / /run/kept rw - xfs /dev/sdb rw
33 22 0:30 / /with\\040space rw - tmpfs tmpfs rw
34 22 0:31 / /two rw - tmpfs tmpfs rw
35 34 0:32 / /two rw - btrfs /dev/sdc rw
36 22 0:33 / /box rw - overlay overlay rw,lowerdir=/a:/b - c
"""


@pytest.fixture
def mounts(tmp_path, monkeypatch):
    """Gives a way to say what is mounted."""
    place = tmp_path / "mountinfo"
    monkeypatch.setattr(lasting, "MOUNTINFO", place)
    place.write_text(MOUNTS)
    return place.write_text


@pytest.mark.parametrize(
    ("path", "kind", "lost"),
    [
        ("/var/lib/luni", "ext4", ""),
        ("/run/luni/local.db", "tmpfs", "the machine restarts"),
        ("/running", "ext4", ""),
        ("/run/kept/luni", "xfs", ""),
        ("/with space/luni", "tmpfs", "the machine restarts"),
        ("/two/luni", "btrfs", ""),
        ("/box/luni", "overlay", "the container is removed"),
    ],
)
def test_which_file_system_a_path_is_on(mounts, path, kind, lost):
    assert (lasting.file_system(Path(path)), lasting.lost_when(Path(path))) == (kind, lost)


def test_a_link_leads_to_where_the_data_is(mounts, tmp_path):
    (tmp_path / "data").symlink_to("/run/luni")
    assert lasting.file_system(tmp_path / "data" / "local.db") == "tmpfs"


def test_where_there_is_no_mountinfo_nothing_is_claimed(tmp_path, monkeypatch):
    monkeypatch.setattr(lasting, "MOUNTINFO", tmp_path / "none")
    assert lasting.file_system(tmp_path) == lasting.lost_when(tmp_path) == ""


def away(place):
    return Settings(url=NOWHERE, fallback=f"sqlite:///{place}", connect_timeout=0.2)


def test_without_a_fallback_it_says_so(tmp_path):
    assert not examine(Settings(url=f"sqlite:///{tmp_path}/luni.db")).fallback.configured


def test_a_fallback_says_where_it_will_be_and_is_not_made(mounts, tmp_path):
    found = examine(away(tmp_path / "deep" / "local.db"))
    assert not found.healthy, "it is the server that is asked"
    told = found.fallback
    assert (told.configured, told.made, told.file_system) == (True, False, "ext4")
    assert (told.place, told.journal) == (str(tmp_path / "deep" / "local.db"), str(tmp_path / "deep" / "local.journal.db"))
    assert not (tmp_path / "deep").exists()
    assert found.warnings == []


def test_a_fallback_says_what_waits_and_what_is_dead(mounts, tmp_path):
    journal = Journal(str(tmp_path / "local.journal.db"), Settings())
    journal.add(entry(BEA, 1))
    journal.add(entry(BEA, 2))
    journal.settle([], [(2, "why")], {})
    journal.close()
    found = examine(away(tmp_path / "local.db"))
    assert (found.fallback.made, found.fallback.waiting, found.fallback.dead) == (True, 1, 1)
    assert found.fallback.oldest_ms > 0
    assert [warning for warning in found.warnings if "luni journal list --dead" in warning]


@pytest.mark.parametrize("kind", ["tmpfs", "ramfs", "overlay"])
def test_a_fallback_that_is_not_on_a_lasting_disk_is_warned_of(mounts, tmp_path, kind):
    mounts(f"22 1 259:1 / / rw - ext4 /dev/root rw\n40 22 0:9 / {tmp_path} rw - {kind} {kind} rw\n")
    found = examine(away(tmp_path / "local.db"))
    (warning,) = found.warnings
    assert "'nothing lost' holds only while the host lives" in warning
    assert kind in warning
    assert found.fallback.file_system == kind


def test_a_journal_that_is_spoilt_or_open_to_others_is_warned_of(mounts, tmp_path):
    spoilt = tmp_path / "local.journal.db"
    spoilt.write_bytes(b"hello" * 1000)
    spoilt.chmod(0o644)
    text = " ".join(examine(away(tmp_path / "local.db")).warnings)
    assert "the journal cannot be read" in text
    assert "chmod 600" in text
    assert spoilt.read_bytes() == b"hello" * 1000


def test_a_fallback_behind_a_file_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="nothing to fall back from"):
        examine(Settings(url=f"sqlite:///{tmp_path}/luni.db", fallback=f"sqlite:///{tmp_path}/local.db"))


def test_the_screen_tells_of_the_fallback(mounts, tmp_path):
    journal = Journal(str(tmp_path / "local.journal.db"), Settings())
    journal.add(entry(BEA, 1))
    journal.close()
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(screens.doctor(examine(away(tmp_path / "local.db"))))
    text = console.export_text()
    assert "local.journal.db" in text
    assert "on ext4" in text
    assert "waiting" in text
    console.print(screens.doctor(examine(Settings(url=f"sqlite:///{tmp_path}/luni.db"))))
    assert "LUNI_FALLBACK" in console.export_text()
