"""`luni`: statuses, JSON, one line for an error, no secret and never a traceback."""

import io
import json
import os
import subprocess
import sys

import pytest

from luni import Memory, Policy, __version__
from luni.cli import run
from luni.testing.servers import Server

CANARY = "s3cr3t-canary"
TALK = [
    {
        "id": "ana",
        "source": "web",
        "messages": [{"role": "user", "text": "hi [bold]\x1b[31m"}, {"role": "assistant", "text": "yo"}],
    },
    {"id": "bob", "source": "web", "messages": [{"role": "user", "text": "oi"}, {"role": "assistant", "text": "olá"}]},
]


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    for name in list(os.environ):
        if name.startswith(("LUNI_", "REDIS_", "USE_REDIS")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("LUNI_URL", f"sqlite:///{tmp_path}/luni.db")
    (tmp_path / "talk.jsonl").write_text("".join(json.dumps(one) + "\n" for one in TALK))


@pytest.fixture
def luni(capfd, monkeypatch):
    def call(*arguments, stdin=""):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        status = run(arguments)
        out, err = capfd.readouterr()
        assert "Traceback" not in out + err
        assert CANARY not in out + err
        return status, out, err

    return call


@pytest.fixture
def replayed(luni):
    assert luni("replay", "talk.jsonl")[0] == 0


def told(out):
    assert out.count("\n") == 1
    return json.loads(out)


def one_line(err, *, of="luni: "):
    assert err.startswith(of)
    assert err.count("\n") == 1
    return err


def test_the_version(luni):
    assert luni("--version") == (0, f"luni {__version__}\n", "")


def test_without_a_command_it_says_what_there_is(luni):
    status, out, _ = luni()
    assert status == 0
    assert all(name in out for name in ("demo", "replay", "chat", "sessions", "show", "end", "doctor"))


@pytest.mark.parametrize("command", ["demo", "replay", "chat", "sessions", "show", "end", "doctor"])
def test_every_command_explains_itself_and_has_json(luni, command):
    status, out, _ = luni(command, "--help")
    assert status == 0
    assert "--json" in out
    assert "--url" in out


def test_replay_reports_to_people_and_to_programs(luni):
    status, out, err = luni("replay", "talk.jsonl")
    assert (status, err) == (0, "")
    assert "conversations     2" in out
    status, out, err = luni("replay", "talk.jsonl", "--json")
    assert (status, err) == (0, "")
    assert told(out)["duplicates_refused"] == told(out)["turns"] == 2


def test_replay_reads_standard_input(luni):
    status, out, _ = luni("replay", "-", "--json", stdin=json.dumps(TALK[0]))
    assert (status, told(out)["conversations"]) == (0, 1)


def test_a_bad_line_stops_a_replay_or_is_counted(luni, tmp_path):
    (tmp_path / "bad.jsonl").write_text("{\n" + json.dumps(TALK[0]))
    status, out, err = luni("replay", "bad.jsonl", "--json")
    assert (status, out) == (2, "")
    assert one_line(err).startswith("luni: bad.jsonl:1: ")
    status, out, _ = luni("replay", "bad.jsonl", "--json", "--skip-bad")
    assert (status, told(out)["bad_lines"], told(out)["conversations"]) == (0, 1, 1)


def test_the_demo_leaves_nothing_behind(luni, tmp_path):
    before = sorted(tmp_path.iterdir())
    status, out, err = luni("demo", "--json")
    assert (status, err) == (0, "")
    found = told(out)
    assert found["again"]["duplicates_refused"] == found["again"]["turns"] == found["report"]["turns"]
    assert found["unchanged"] is True
    assert found["example"]["folded"] > 0
    assert found["example"]["state"] == "duplicate"
    assert found["example"]["answer"]
    assert sorted(tmp_path.iterdir()) == before


def test_the_demo_runs_on_a_server_too(luni):
    with Server("valkey") as server:
        status, out, _ = luni("demo", "--url", server.url)
        assert status == 0
        assert "byte for byte" in out
        with Memory.open(server.url) as m:
            assert m.health().ok
        for line in out.splitlines():
            assert line == line.rstrip()


def test_sessions_are_listed_by_page(luni, replayed):
    status, out, _ = luni("sessions", "replay")
    assert status == 0
    assert "ana" in out
    first = told(luni("sessions", "replay", "--json", "--limit", "1")[1])
    second = told(luni("sessions", "replay", "--json", "--limit", "1", "--cursor", first["cursor"])[1])
    assert {one["user"] for one in (*first["items"], *second["items"])} == {"ana", "bob"}


def test_a_tenant_without_sessions_has_an_empty_list_and_no_file_is_made(luni, tmp_path):
    status, out, _ = luni("sessions", "nobody", "--json")
    assert (status, told(out)["items"]) == (0, [])
    assert not (tmp_path / "luni.db").exists()


def test_show_by_address_and_by_id_shows_text_and_obeys_none(luni, replayed):
    status, out, _ = luni("show", "replay", "web", "ana")
    assert status == 0
    assert "hi [bold]�[31m" in out
    assert "\x1b" not in out
    export = told(luni("show", "replay", "web", "ana", "--json")[1])
    assert [one["text"] for one in export["messages"]] == ["hi [bold]\x1b[31m", "yo"]
    assert told(luni("show", "replay", export["info"]["session_id"], "--json")[1]) == export


def test_end_asks_first(luni, replayed):
    status, out, err = luni("end", "replay", "web", "ana")
    assert (status, out) == (2, "")
    assert "--yes" in one_line(err)
    status, out, _ = luni("end", "replay", "web", "ana", "--yes", "--json")
    assert (status, told(out)["ended"]) == (0, True)
    assert luni("show", "replay", "web", "ana")[0] == 1
    assert luni("end", "replay", "web", "ana", "--yes")[0] == 1
    assert luni("show", "replay", "web", "bob")[0] == 0


def test_doctor_tells_programs_too(luni):
    found = told(luni("doctor", "--json")[1])
    assert found["healthy"] is True
    assert found["versions"]["luni"] == __version__


def test_chat_answers_the_lines_of_a_pipe(luni, tmp_path):
    said = "my name is Ana\nwhat do you remember?\n\n/context\n/show\n/nope\n/end\n/quit\nnever read\n"
    status, out, err = luni("chat", "--language", "en", stdin=said)
    assert (status, err) == (0, "")
    assert "[offline]" in out
    assert "“my name is Ana”" in out
    assert "never read" not in out
    assert not (tmp_path / "data").exists()
    lines = luni("chat", "--language", "pt", "--json", stdin="oi\nmeu nome é Ana\n/context\n/show\n/end\n/end\n")[
        1
    ].splitlines()
    assert [list(map(json.loads, lines))[index].get("ended") for index in (-2, -1)] == [True, False]


UNREACHABLE = f"redis://:{CANARY}@127.0.0.1:1/0"
ERRORS = {
    "a command that is none": (2, ["nothing"]),
    "an option that is none": (2, ["demo", "--nothing"]),
    "an argument too many": (2, ["doctor", UNREACHABLE]),
    "an argument too few": (2, ["show", "t"]),
    "a limit that is no number": (2, ["sessions", "t", "--limit", "x"]),
    "a limit too high": (2, ["sessions", "t", "--limit", "1000"]),
    "a cursor that is none": (2, ["sessions", "t", "--cursor", "x"]),
    "a tenant that is none": (2, ["sessions", ""]),
    "a tenant with a lone surrogate": (2, ["sessions", "\udcff"]),
    "a file that is not there": (2, ["replay", "nothing.jsonl"]),
    "a file that is a directory": (2, ["replay", "."]),
    "a language that is none": (2, ["chat", "--language", "fr"]),
    "a scheme that is none": (2, ["sessions", "t", "--url", f"foo://{CANARY}@h"]),
    "no url at all": (2, ["sessions", "t", "--url", "::::"]),
    "a port that is none": (2, ["doctor", "--url", f"redis://:{CANARY}@h:port/0"]),
    "a password with a slash": (2, ["doctor", "--url", f"redis://:/{CANARY}@h:1/0"]),
    "an option of the url that is none": (2, ["doctor", "--url", f"redis://127.0.0.1:1/0?nothing={CANARY}"]),
    "a sqlite url of another form": (2, ["doctor", "--url", f"sqlite://{CANARY}"]),
    "a session that is not there": (1, ["show", "t", "c", "u"]),
    "an id that is not there": (1, ["end", "t", "nothing", "--yes"]),
    "no server: sessions": (3, ["sessions", "t", "--url", UNREACHABLE]),
    "no server: show": (3, ["show", "t", "c", "u", "--url", UNREACHABLE]),
    "no server: end": (3, ["end", "t", "c", "u", "--yes", "--url", UNREACHABLE]),
    "no server: replay": (3, ["replay", "talk.jsonl", "--url", UNREACHABLE]),
    "no server: demo": (3, ["demo", "--url", UNREACHABLE]),
    "no server: chat": (3, ["chat", "--url", UNREACHABLE]),
    "a place for the file that is none": (3, ["replay", "talk.jsonl", "--url", "sqlite:////proc/nothing/luni.db"]),
}


@pytest.mark.parametrize(("status", "arguments"), ERRORS.values(), ids=ERRORS)
@pytest.mark.parametrize("json_too", [[], ["--json"]], ids=["people", "json"])
def test_an_error_is_one_line_and_a_status(luni, status, arguments, json_too):
    found, out, err = luni(*arguments, *json_too, stdin="hi\n")
    assert (found, out) == (status, "")
    one_line(err)


def test_doctor_reports_a_server_that_is_not_there_with_status_3(luni):
    status, out, err = luni("doctor", "--json", "--url", UNREACHABLE)
    assert status == 3
    assert told(out)["healthy"] is False
    one_line(err)
    assert luni("doctor", "--url", UNREACHABLE)[0] == 3


def test_a_bad_setting_is_named(luni, monkeypatch):
    monkeypatch.setenv("REDIS_TTL_SECONDS", "abc")
    status, _, err = luni("sessions", "t")
    assert status == 2
    assert "REDIS_TTL_SECONDS" in one_line(err)


@pytest.mark.filterwarnings("default")
def test_an_unknown_setting_is_warned_of_in_one_line(luni, monkeypatch):
    monkeypatch.setenv("LUNI_NOTHING", "1")
    status, out, err = luni("sessions", "t", "--json")
    assert (status, told(out)["items"]) == (0, [])
    assert "LUNI_NOTHING" in one_line(err, of="luni: warning: ")


def test_a_wrong_password_is_status_3(luni):
    with Server("valkey", "--requirepass", "right") as server:
        url = server.url.replace("//", f"//:{CANARY}@")
        status, out, err = luni("sessions", "t", "--url", url)
        assert (status, out) == (3, "")
        one_line(err)


@pytest.mark.parametrize("missing", ["typer", "rich", "prompt_toolkit"])
def test_without_the_extra_it_says_how_to_install_it(missing):
    code = f"import sys; sys.modules[{missing!r}] = None; from luni.cli import run; sys.exit(run(['demo']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "pip install 'luni[cli]'" in one_line(done.stderr)


def test_importing_it_imports_no_extra():
    code = "import sys, luni.cli; print({'typer', 'rich', 'prompt_toolkit'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_a_reader_that_goes_away_is_no_fault(tmp_path):
    command = f"{sys.executable} -m luni.cli demo | head -c 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert "Traceback" not in done.stderr
    assert "Error" not in done.stderr


def test_a_fault_of_luni_is_one_line_too(luni, monkeypatch):
    monkeypatch.setattr("luni.ops.doctor.examine", lambda _: 1 / 0)
    status, _, err = luni("doctor")
    assert status == 1
    assert "ZeroDivisionError" in one_line(err)


def test_show_says_who_paused_a_session_and_why(luni):
    with Memory.open(os.environ["LUNI_URL"]) as memory:
        session = memory.session(tenant="shop", channel="web", user="ana")
        session.pause(by="carla", reason="a refund")
        assert "by carla  a refund · until somebody resumes it" in luni("show", "shop", "web", "ana")[1]
        session.pause(for_seconds=60)
        assert "paused" in luni("sessions", "shop", "--paused")[1]
        status, out, _ = luni("show", "shop", "web", "ana")
        assert status == 0
        assert "until 2" in out


def test_unanswered_and_unsent_look_and_claim_nothing(luni, tmp_path):
    with Memory.open(os.environ["LUNI_URL"], policies={"*": Policy(outbox=True)}) as memory:
        ana = memory.session(tenant="shop", channel="web", user="ana")
        with ana.turn("hi", message_id="1") as turn:
            (stored,) = turn.reply("hello [bold]\x1b[31m")
        ana.receive("and?", message_id="2")
    for _ in range(2):
        status, out, _ = luni("unanswered", "--older-than", "0", "--json")
        (found,) = told(out)
        assert status == 0
        assert (found["tenant"], found["channel"], found["user"]) == ("shop", "web", "ana")
        assert 0 <= found["waited"] < 60
        status, out, _ = luni("unsent", "shop", "--older-than", "0", "--json")
        (found,) = told(out)
        assert (status, found["message_id"], found["text"]) == (0, stored.id, stored.text)
    status, out, _ = luni("unsent", "--older-than", "0")
    assert status == 0
    assert "hello" in out
    assert "\x1b" not in out
    assert "ana" in luni("unanswered", "--older-than", "0")[1]
    assert told(luni("unanswered", "other", "--older-than", "0", "--json")[1]) == []
    assert "Nothing waits" in luni("unanswered")[1]
    assert "Nothing waits" in luni("unsent", "nobody")[1]
    assert luni("unanswered", "--older-than", "-1")[0] == 2
