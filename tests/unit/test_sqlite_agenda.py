"""What SQLite itself answers for: overlap refused whoever writes, bookings on the disk, files of the former schema."""

from datetime import UTC, datetime, timedelta
from importlib.resources import files

import apsw
import pytest

from luni import Memory, SessionUpdate
from luni.errors import SlotTaken

THREE = datetime(2031, 5, 6, 15, tzinfo=UTC)
HOUR = timedelta(hours=1)
COLUMNS = "tenant, resource, id, state, unit, start_us, end_us, until_ms, keep_ms, created_ms, customer, shares, leads"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "m.db"


@pytest.fixture
def memory(path):
    with Memory.open(f"sqlite:///{path}") as opened:
        yield opened


def insert(connection, name, start, end, *, state="c", unit=0, resource="chair"):
    us = [round((THREE + hours * HOUR).timestamp() * 1e6) for hours in (start, end)]
    row = ("shop", resource, name, state, unit, *us, 9_999_999_999_999, 9_999_999_999_999, 0, "x", '[["chair",1]]', 1)
    connection.execute(f"INSERT INTO booking ({COLUMNS}) VALUES ({', '.join('?' * len(row))})", row)


@pytest.fixture
def raw(memory, path):
    memory.agenda("shop", "chair").hold(THREE, THREE + HOUR, by="ana", id="b1")
    connection = apsw.Connection(str(path))
    yield connection
    connection.close()


@pytest.mark.parametrize(("start", "end"), [(0, 1), (-0.5, 0.5), (0.5, 1.5), (-1, 2), (0.25, 0.5)])
def test_the_database_refuses_what_overlaps_whoever_writes(raw, start, end):
    with pytest.raises(apsw.ConstraintError, match="overlaps"):
        insert(raw, "b2", start, end)


def test_it_takes_what_touches_is_elsewhere_or_was_cancelled(raw):
    insert(raw, "before", -1, 0)
    insert(raw, "after", 1, 2)
    insert(raw, "other unit", 0, 1, unit=1)
    insert(raw, "other resource", 0, 1, resource="sofa")
    insert(raw, "cancelled", 0, 1, state="x")


@pytest.mark.parametrize(
    "change",
    ["start_us = start_us - 1", "end_us = end_us + 1800000000, start_us = start_us - 1800000000", "unit = 0", "state = 'c'"],
)
def test_it_refuses_a_change_that_would_overlap(raw, change):
    insert(raw, "touching", 1, 2)
    insert(raw, "other unit", 0, 1, unit=1)
    insert(raw, "cancelled", 0, 1, state="x")
    name = {"unit = 0": "other unit", "state = 'c'": "cancelled"}.get(change, "touching")
    with pytest.raises(apsw.ConstraintError, match="overlaps"):
        raw.execute(f"UPDATE booking SET {change} WHERE id = ?", (name,))


def test_a_booking_is_on_the_disk_before_it_is_acknowledged_and_a_message_is_as_the_setting_says(memory):
    agenda = memory.agenda("shop", "chair")
    memory.session(tenant="shop", channel="web", user="ana").receive("hi", message_id="1")
    connection = memory._backend._connections.take()
    said = []
    connection.exec_trace = lambda _cursor, sql, _bindings: said.append(sql) or True
    agenda.confirm(agenda.hold(THREE, THREE + HOUR, by="ana").id)
    memory.session(tenant="shop", channel="web", user="ana").receive("hi", message_id="2")
    connection.exec_trace = None
    frame = [sql for sql in said if sql.startswith(("PRAGMA", "BEGIN", "COMMIT"))]
    durably = ["PRAGMA synchronous=FULL", "BEGIN IMMEDIATE", "COMMIT", "PRAGMA synchronous=NORMAL"]
    assert frame[-10:] == [*durably, *durably, "BEGIN IMMEDIATE", "COMMIT"]
    assert connection.pragma("synchronous") == 1


def test_a_refused_booking_leaves_the_setting_as_it_was(memory):
    agenda = memory.agenda("shop", "chair")
    agenda.hold(THREE, THREE + HOUR, by="ana")
    with pytest.raises(SlotTaken):
        agenda.hold(THREE, THREE + HOUR, by="rui")
    assert memory._backend._connections.take().pragma("synchronous") == 1


@pytest.mark.parametrize("version", [1, 2])
def test_a_file_of_a_former_schema_is_upgraded_with_all_that_is_in_it(path, version):
    connection = apsw.Connection(str(path))
    for addition in ("schema.sql", "agenda.sql")[:version]:
        connection.execute((files("luni.backends.sqlite") / addition).read_text(encoding="utf-8"))
    connection.execute(f"PRAGMA application_id=1819635305; PRAGMA user_version={version}")
    connection.execute(
        "INSERT INTO conversation (tenant, channel, user, session_id, created_ms, expire_ms, summary) "
        "VALUES ('shop', 'web', 'ana', 'kept', 1, 9000000000000, 'a buyer')"
    )
    connection.close()
    for _ in range(2):
        with Memory.open(f"sqlite:///{path}") as memory:
            assert memory.session(tenant="shop", channel="web", user="ana").info().summary == "a buyer"
            memory.session(tenant="shop", channel="web", user="ana").update(SessionUpdate(focus="haircut"))
            with memory.lock("shop", "till"):
                agenda = memory.agenda("shop", "chair")
                agenda.confirm(agenda.hold(THREE, THREE + HOUR, by="ana", id="b1").id)
    connection = apsw.Connection(str(path))
    assert connection.pragma("user_version") == 4
    connection.close()
