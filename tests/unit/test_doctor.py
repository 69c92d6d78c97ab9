"""`luni.ops.doctor`: what it finds, and what it does not touch."""

import msgspec
import pytest

from luni.errors import ConfigError
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
