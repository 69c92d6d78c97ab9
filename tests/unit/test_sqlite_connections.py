"""Connections to a file: what closing does amid calls of other threads."""

import threading
import time

import pytest

from luni.backends.sqlite.connection import Connections
from luni.backends.sqlite.line import Line
from luni.errors import Unavailable
from luni.settings import Settings

LONG = "WITH RECURSIVE n(x) AS (SELECT begun() UNION ALL SELECT x + 1 FROM n WHERE x < 3000000) SELECT count(*) FROM n"


def test_closing_waits_for_a_connection_that_is_busy_in_its_thread(tmp_path):
    connections = Connections(f"sqlite:///{tmp_path / 'luni.db'}", Settings())
    found, began = [], threading.Event()

    def count():
        connection = connections.take()
        connection.create_scalar_function("begun", lambda: began.set() or 1, 0)
        found.append(connection.execute(LONG).get)

    other = threading.Thread(target=count)
    other.start()
    began.wait(30)
    connections.close()
    other.join()
    assert found == [3_000_000]


def test_threads_write_in_the_order_they_came():
    line, order, threads = Line("here", 10.0), [], []

    def write(number):
        with line:
            order.append(number)

    with line:
        for number in range(20):
            threads.append(threading.Thread(target=write, args=(number,)))
            threads[-1].start()
            while len(line._waiting) <= number:
                time.sleep(0.001)
    for thread in threads:
        thread.join()
    assert order == [*range(20)]


def test_who_has_waited_for_too_long_is_told_and_stands_in_nobody_s_way():
    line = Line("here", 0.01)
    with line, pytest.raises(Unavailable, match="here cannot be written now"), line:
        pass
    with line:
        assert not line._waiting


def test_who_is_interrupted_while_waiting_stands_in_nobody_s_way(monkeypatch):
    line = Line("here", 10.0)

    class Interrupted:
        """A lock whose waiter gets a signal, at the moment it is called or before."""

        def __init__(self):
            self.release = self.acquired = lambda: None

        def acquire(self, timeout=None):
            if timeout is not None:
                if called:
                    line.__exit__(None, None, None)
                raise KeyboardInterrupt

    for called in (False, True):
        line.__enter__()
        with monkeypatch.context() as patch:
            patch.setattr("luni.backends.sqlite.line.threading.Lock", Interrupted)
            with pytest.raises(KeyboardInterrupt):
                line.__enter__()
        if not called:
            line.__exit__(None, None, None)
        assert not line._busy, "nobody would ever write again"
