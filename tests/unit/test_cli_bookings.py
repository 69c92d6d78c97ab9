"""`luni bookings`: what a person types, and what a script trusts."""

import json

import pytest
import tzlocal
from test_cli import alone, luni, told  # noqa: F401  fixtures


@pytest.fixture(autouse=True)
def same_zone_afterwards(monkeypatch):
    monkeypatch.setenv("COLUMNS", "130")
    yield
    monkeypatch.undo()
    tzlocal.reload_localzone()


BY = ("--by", "Ana", "--zone", "America/Sao_Paulo")


def test_a_booking_is_added_listed_and_cancelled(luni):  # noqa: F811
    status, out, _ = luni("bookings", "add", "shop", "chair", "2031-05-06T10:00", "45", *BY, "--id", "b1", "--note", "corte")
    assert status == 0
    assert out == "Booked  Tue 06 May 2031 10:00 \N{EN DASH} 10:45  chair  for Ana  b1\n"
    status, out, _ = luni("bookings", "list", "shop", "--from", "2031-05-05", "--zone", "America/Sao_Paulo")
    assert status == 0
    assert "Tue 06" in out
    assert "10:00 \N{EN DASH} 10:45" in out
    (one,) = told(luni("bookings", "list", "shop", "--from", "2031-05-05", "--json")[1])
    assert (one["id"], one["start"], one["details"]) == ("b1", "2031-05-06T13:00:00Z", {"note": "corte"})
    assert luni("bookings", "cancel", "shop", "chair", "b1", "--yes")[0] == 0
    assert told(luni("bookings", "list", "shop", "--from", "2031-05-05", "--json")[1]) == []


def test_adding_again_with_the_same_id_is_the_same_booking(luni):  # noqa: F811
    for _ in range(2):
        assert luni("bookings", "add", "shop", "chair", "2031-05-06T10:00", "45", *BY, "--id", "b1")[0] == 0
    assert len(told(luni("bookings", "list", "shop", "--from", "2031-05-05", "--json")[1])) == 1


def test_what_is_taken_is_told_with_status_one(luni):  # noqa: F811
    assert luni("bookings", "add", "shop", "chair", "2031-05-06T10:00", "45", *BY)[0] == 0
    status, out, err = luni("bookings", "add", "shop", "chair", "2031-05-06T10:30", "45", *BY)
    assert (status, out) == (1, "")
    assert err == "luni: the interval overlaps another booking of 'chair'; nothing was stored\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("add", "shop", "chair", "tomorrow", "45", "--by", "Ana"),
        ("add", "shop", "chair", "2031-05-06T10:00", "0", "--by", "Ana"),
        ("add", "shop", "chair", "2031-05-06T10:00", "45"),
        ("add", "shop", "chair", "2031-05-06T10:00", "45", "--by", "Ana", "--zone", "Mars/Base"),
        ("add", "shop", "chair", "9999-12-31T23:50", "30", "--by", "Ana"),
        ("add", "shop", "chair", "0001-01-01T00:00", "10", "--by", "Ana"),
        ("add", "shop", "chair", "2027-03-14T02:30", "30", "--by", "Ana", "--zone", "America/New_York"),
        ("list", "shop", "--from", "9999-12-31"),
        ("list", "shop", "--from", "0001-01-01"),
        ("list", "shop", "--from", "31/12"),
        ("list", "shop", "--days", "0"),
        ("cancel", "shop", "chair", "b1"),
        ("reconcile", "shop", "--from", "missing.json"),
        ("reconcile", "shop", "--from", "talk.jsonl"),
    ],
)
def test_bad_input_is_one_line_and_status_two(luni, arguments):  # noqa: F811
    status, out, err = luni("bookings", *arguments)
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert "internal" not in err


def test_without_a_zone_it_is_this_machines_on_every_day_of_the_year(luni, monkeypatch):  # noqa: F811
    monkeypatch.setenv("TZ", "America/New_York")
    tzlocal.reload_localzone()
    for day, utc in (("2031-01-05", "15:00"), ("2031-07-05", "14:00")):
        assert luni("bookings", "add", "shop", "chair", f"{day}T10:00", "60", "--by", "Ana")[0] == 0
        (one,) = told(luni("bookings", "list", "shop", "--from", day, "--days", "1", "--json")[1])
        assert one["start"] == f"{day}T{utc}:00Z"
        assert "10:00 \N{EN DASH} 11:00" in luni("bookings", "list", "shop", "--from", day, "--days", "1")[1]


def test_what_is_not_there_is_status_one(luni):  # noqa: F811
    assert luni("bookings", "cancel", "shop", "chair", "nobody", "--yes")[0] == 1
    assert luni("bookings", "list", "shop")[1].rstrip().endswith("Nothing is booked.")
    assert luni("bookings", "reconcile", "shop")[1] == "There are no bookings.\n"


def test_reconciling_with_a_file_books_again_what_the_store_has_lost(luni, tmp_path, monkeypatch):  # noqa: F811
    for number in (1, 2):
        luni("bookings", "add", "shop", "carla", f"2031-05-06T1{number}:00", "45", *BY, "--id", f"b{number}")
        luni("bookings", "add", "shop", "class", "2031-05-06T10:00", "45", *BY, "--capacity", "2", "--id", f"c{number}")
    luni("bookings", "add", "shop", "carla", "2001-05-06T10:00", "45", *BY, "--id", "old")
    listed = luni("bookings", "list", "shop", "--from", "2031-05-01", "--days", "30", "--json")[1]
    old = luni("bookings", "list", "shop", "--from", "2001-05-01", "--days", "30", "--json")[1]
    luni("bookings", "cancel", "shop", "carla", "b2", "--yes")
    (tmp_path / "kept.json").write_text(json.dumps(json.loads(listed) + json.loads(old)))

    found = told(luni("bookings", "reconcile", "shop", "--from", "kept.json", "--json")[1])
    assert (found["there"], found["restored"], found["conflicts"]) == (4, 0, []), (
        "one was cancelled since: the store knows best"
    )

    monkeypatch.setenv("LUNI_URL", f"sqlite:///{tmp_path}/new.db")
    luni("bookings", "add", "shop", "carla", "2031-05-06T12:15", "45", *BY, "--id", "new")
    status, out, _ = luni("bookings", "reconcile", "shop", "--from", "kept.json", "--json")
    found = told(out)
    assert (found["there"], found["restored"]) == (0, 3)
    assert [one.split()[-1] for one in found["conflicts"]] == ["SlotTaken"]
    assert status == 1
