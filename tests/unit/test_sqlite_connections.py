"""Connections to a file: what closing does amid calls of other threads."""

import threading

from luni.backends.sqlite.connection import Connections
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
