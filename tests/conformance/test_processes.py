"""Several processes on one SQLite file: nothing is lost, nothing is there twice."""

import os
import subprocess
import sys

from luni import Memory

WORK = """
import sys
from luni import Memory
url, name = sys.argv[1:]
with Memory.open(url) as memory:
    session = memory.session(tenant="shop", channel="web", user="ana")
    for number in range(50):
        session.append("assistant", f"{name}.{number}")
        with memory.session(tenant="shop", channel="web", user=name).turn("hi", message_id=str(number)) as turn:
            turn.reply("hello")
        with session.turn("the same for all", message_id=f"m{number}") as turn:
            while turn.should_reply:
                turn.reply("once")
"""


def test_two_processes_on_one_file_lose_nothing(tmp_path):
    url = f"sqlite:///{tmp_path / 'luni.db'}"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    workers = [subprocess.Popen([sys.executable, "-c", WORK, url, name], env=environment) for name in ("one", "two")]
    assert [worker.wait(60) for worker in workers] == [0, 0]
    with Memory.open(url) as memory:
        session = memory.session(tenant="shop", channel="web", user="ana")
        info = session.info()
        once = info.message_count - 2 * 50 - 50
        assert 0 < once <= 50
        assert info.unanswered == 0
        assert len(session.messages(limit=1000)) == info.message_count - info.folded
        for name in ("one", "two"):
            assert memory.session(tenant="shop", channel="web", user=name).info().message_count == 100
        assert len(memory.sessions("shop")) == 3


def test_a_file_and_its_side_files_are_its_owners_alone(tmp_path):
    path = tmp_path / "new" / "luni.db"
    with Memory.open(f"sqlite:///{path}") as memory:
        memory.session(tenant="t", channel="c", user="u").receive("secret", message_id="1")
        assert {file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {0o600}
        assert path.parent.stat().st_mode & 0o777 == 0o700
