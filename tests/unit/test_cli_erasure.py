"""`luni erase` and `luni export`: asking first, receipts, files that are nobody else's."""

import json
import stat

import pytest
from test_cli import alone, luni, replayed, told  # noqa: F401  fixtures


def test_a_person_is_erased_and_nobody_else(luni, replayed):  # noqa: F811
    assert luni("bookings", "add", "replay", "chair", "2031-05-06T10:00", "45", "--by", "ana", "--id", "b1")[0] == 0
    status, out, err = luni("erase", "replay", "ana", "--yes")
    assert (status, err) == (0, "")
    assert out.startswith("Erased: 1 session, 2 messages, 1 message id, 1 booking.\nOut of reach:\n  Exports and backups")
    assert "ana" not in out
    assert [one["user"] for one in told(luni("sessions", "replay", "--json")[1])["items"]] == ["bob"]
    assert told(luni("bookings", "list", "replay", "--from", "2031-05-05", "--json")[1]) == []


def test_erasing_what_is_not_there_says_so(luni, replayed):  # noqa: F811
    status, out, _ = luni("erase", "replay", "nobody", "--yes")
    assert status == 0
    assert out.startswith("Nothing was there to be erased.\n")
    assert told(luni("erase", "replay", "nobody", "--yes", "--json")[1])["counts"]["sessions"] == 0


def test_erasing_makes_no_file(luni, tmp_path):  # noqa: F811
    assert luni("erase", "shop", "--yes")[0] == 0
    assert not (tmp_path / "luni.db").exists()


def test_a_tenant_is_erased_whole(luni, replayed):  # noqa: F811
    receipt = told(luni("erase", "replay", "--yes", "--json")[1])
    assert receipt["counts"]["sessions"] == 2
    assert receipt["tenant"] == "replay"
    assert receipt["pending"] == []
    assert told(luni("sessions", "replay", "--json")[1])["items"] == []


def test_where_nobody_can_be_asked_nothing_is_erased(luni, replayed):  # noqa: F811
    status, out, err = luni("erase", "replay", "ana")
    assert (status, out) == (2, "")
    assert "--yes" in err
    assert len(told(luni("sessions", "replay", "--json")[1])["items"]) == 2


def test_who_is_asked_hears_what_will_go(luni, replayed, monkeypatch):  # noqa: F811
    asked = []
    monkeypatch.setattr("luni.ops.erasure_commands.ask", lambda question, *, instead: asked.append((question, instead)))
    assert luni("erase", "replay", "ana")[0] == 0
    assert luni("erase", "replay")[0] == 0
    assert asked == [
        ("Erase 1 session, 0 bookings and all else of 'ana' at 'replay' for good?", "erases"),
        ("Erase 1 session, 0 bookings and all else of the whole tenant 'replay' for good?", "erases"),
    ]


def test_an_export_goes_to_standard_output(luni, replayed):  # noqa: F811
    assert luni("bookings", "add", "replay", "chair", "2031-05-06T10:00", "45", "--by", "ana", "--id", "b1")[0] == 0
    status, out, _ = luni("export", "replay")
    assert status == 0
    lines = [json.loads(line) for line in out.splitlines()]
    assert sorted(one["session"]["info"]["user"] for one in lines if "session" in one) == ["ana", "bob"]
    assert [one["booking"]["id"] for one in lines if "booking" in one] == ["b1"]
    assert len(luni("export", "replay", "ana", "--out", "-")[1].splitlines()) == 2
    assert luni("export", "replay", "nobody") == (0, "", "nothing is stored of them\n")


def test_an_exported_file_is_its_owners_alone_and_never_written_over(luni, replayed, tmp_path):  # noqa: F811
    path = tmp_path / "ana.jsonl"
    assert told(luni("export", "replay", "ana", "--out", str(path), "--json")[1])["sessions"] == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    first = path.read_bytes()
    status, _, err = luni("export", "replay", "bob", "--out", str(path))
    assert status == 2
    assert "--force" in err
    assert path.read_bytes() == first
    assert luni("export", "replay", "bob", "--out", str(path), "--force")[0] == 0
    assert b"bob" in path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not list(tmp_path.glob(".*partial"))


def test_a_link_is_not_followed(luni, replayed, tmp_path):  # noqa: F811
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("precious")
    link.symlink_to(target)
    assert luni("export", "replay", "--out", str(link))[0] == 2
    assert luni("export", "replay", "--out", str(link), "--force")[0] == 0
    assert target.read_text() == "precious"


@pytest.mark.parametrize("out", ["missing/file", "talk.jsonl/file"])
def test_a_file_that_cannot_be_written_is_bad_input(luni, replayed, out):  # noqa: F811
    status, _, err = luni("export", "replay", "--out", out)
    assert status == 2
    assert err.count("\n") == 1


@pytest.mark.parametrize("command", ["erase", "export"])
def test_both_explain_themselves(luni, command):  # noqa: F811
    status, out, _ = luni(command, "--help")
    assert status == 0
    assert "--json" in out
