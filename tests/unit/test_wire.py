"""Stored texts: merged without touching what is not theirs, read leniently, refused when nobody could read them."""

import json
import math
import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from luni import REMOVE, Attachment, Message, ToolCall, wire
from luni.errors import Damaged, InvalidInput

LIMIT = 64 * 1024
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.text(), VALUES, max_size=6)


def merge(stored, patch):
    return wire.merge(stored, patch, "metadata", max_bytes=LIMIT)


@given(OBJECTS, OBJECTS)
def test_merging_is_what_a_dict_would_do(stored, patch):
    assert json.loads(merge(json.dumps(stored).encode(), patch)) == stored | patch


@given(OBJECTS, st.text())
def test_removing_is_what_a_dict_would_do(stored, key):
    stored.pop(key, None)
    text = json.dumps(stored).encode()
    assert json.loads(merge(text, {key: REMOVE})) == stored
    assert json.loads(merge(merge(text, {key: 1}), {key: REMOVE})) == stored


@pytest.mark.parametrize(
    "value", ["[]", "{}", "12345678901234567890123", "1.50", "1e400", '"\\u00e9"', "[ 1 , {} ]", "-0", "1E+2"]
)
def test_what_is_not_touched_keeps_its_very_bytes(value):
    merged = merge(b'{"theirs":%b,"mine":1}' % value.encode(), {"mine": 2})
    assert merged == b'{"theirs":%b,"mine":2}' % value.encode()


def test_a_key_keeps_its_place_and_a_new_one_comes_last():
    assert merge(b'{"a":1,"b":2}', {"c": 3, "a": 4}) == b'{"a":4,"b":2,"c":3}'


@pytest.mark.parametrize("stored", [b"[]", b"1", b"null", b"{", b"\xff", b'{"a":1}x', b'"x"'])
def test_what_is_no_object_is_damaged_and_not_overwritten(stored):
    with pytest.raises(Damaged):
        merge(stored, {"a": 1})
    with pytest.raises(Damaged):
        wire.decode_object(stored, "metadata")
    assert wire.stamped_context(stored, 1) is None


def test_nothing_stored_counts_as_an_empty_object():
    assert merge(b"", {"a": 1}) == b'{"a":1}'
    assert wire.decode_object(b"", "metadata") == {}


def test_a_merge_that_grows_too_large_is_refused():
    with pytest.raises(InvalidInput):
        wire.merge(b'{"a":"%b"}' % (b"x" * 200), {"b": "y" * 100}, "metadata", max_bytes=256)


@pytest.mark.parametrize("stored", [b"{}", b'{"variables":null}', b'{"variables":{}}', b'{"variables": null }'])
def test_an_absent_inner_object_counts_as_empty(stored):
    merged = wire.merge_inner(stored, "variables", {"a": 1}, "variables", max_bytes=LIMIT)
    assert json.loads(merged) == {"variables": {"a": 1}}


def test_an_inner_merge_leaves_its_surroundings():
    stored = b'{"messages":[],"variables":{"x":[],"y":1},"tags":[]}'
    merged = wire.merge_inner(stored, "variables", {"y": 2}, "variables", max_bytes=LIMIT)
    assert merged == b'{"messages":[],"variables":{"x":[],"y":2},"tags":[]}'
    with pytest.raises(Damaged):
        wire.merge_inner(b'{"variables":[1]}', "variables", {"y": 2}, "variables", max_bytes=LIMIT)


def circle():
    found = []
    found.append(found)
    return found


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        -math.inf,
        2**63,
        -(2**63) - 1,
        10**4999,
        "\ud800",
        {"\udfff": 1},
        {1: 2},
        b"x",
        {1},
        object(),
        circle(),
        1j,
    ],
    ids=lambda value: ascii(type(value).__name__),
)
def test_what_json_cannot_carry_is_refused(value):
    for wrapped in (value, [value], {"a": [value]}):
        with pytest.raises(InvalidInput):
            wire.dump(wrapped, "metadata", max_bytes=LIMIT)


@given(VALUES)
def test_what_is_dumped_comes_back(value):
    assert json.loads(wire.dump(value, "metadata", max_bytes=2**20)) == value


def test_no_value_can_smuggle_a_text_that_is_not_json():
    from luni import SessionUpdate, Settings  # noqa: PLC0415
    from luni.drafts import checked_update  # noqa: PLC0415

    with pytest.raises(InvalidInput):
        checked_update(SessionUpdate(metadata={"a": msgspec.Raw(b"{not json")}), Settings())


MESSAGES = st.builds(
    Message,
    text=st.text(),
    role=st.sampled_from(["user", "assistant", "human", "system", "tool"]),
    id=st.text(min_size=1),
    tags=st.lists(st.text(), max_size=3).map(tuple),
    tool_calls=st.lists(st.builds(ToolCall, id=st.text(), name=st.text(), arguments=st.text()), max_size=2).map(tuple),
    tool_call_id=st.none() | st.text(),
    attachments=st.lists(
        st.builds(Attachment, kind=st.text(), url=st.none() | st.text(), size_bytes=st.none() | st.integers(0, 2**60)),
        max_size=2,
    ).map(tuple),
    metadata=st.none() | OBJECTS,
    tokens=st.integers(-1, 2**40),
    amended=st.integers(0, 9),
    redacted=st.booleans(),
)


@given(MESSAGES, st.integers(0, 2**52), st.integers(0, 10**12))
def test_a_message_comes_back_as_it_was(message, stamp, arrival):
    key = wire.sort_key(stamp, "w" * 26, 7, 0)
    stored = wire.item(key, arrival, stamp, wire.body(message))
    assert wire.decode_message(stored) == msgspec.structs.replace(message, key=key, arrival=arrival, timestamp_ms=stamp)
    assert wire.arrival_of(stored) == arrival
    assert {"text", "timestamp", "tags", "role", "id", "k", "n"} <= set(json.loads(stored))


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        b"x",
        b"{",
        b"[]",
        b"null",
        b"1",
        b"{}",
        b'{"text":1}',
        b'{"timestamp":1}',
        b'{"text":null}',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
def test_what_is_no_message_is_none(stored):
    assert wire.decode_message(stored) is None


@pytest.mark.parametrize(
    ("stored", "stamp", "tags"),
    [
        (b'{"text":"x"}', 0, ()),
        (b'{"text":"x","timestamp":1700000000000.9,"tags":["a",1,null]}', 1700000000000, ("a",)),
        (b'{"text":"x","timestamp":"yesterday","tags":"a"}', 0, None),
        (b'{"text":"x","timestamp":null,"tags":null}', 0, ()),
        (b'{"text":"x","timestamp":-1e99,"tags":{}}', None, ()),
        (b'{"text":"x","timestamp":{"$date":1},"tags":7}', 0, ()),
        (b'{"text":"x","timestamp":true,"tags":false}', None, ()),
    ],
)
def test_another_programs_message_is_read_leniently(stored, stamp, tags):
    found = wire.decode_message(stored)
    assert found is not None
    assert (found.text, found.role) == ("x", "user")
    assert re.fullmatch("foreign-[0-9a-f]{16}", found.id)
    assert stamp is None or found.timestamp_ms == stamp
    assert tags is None or found.tags == tags


def test_a_foreign_message_without_an_id_keeps_the_same_one():
    one, two = wire.decode_message(b'{"text":"x"}'), wire.decode_message(b'{"text":"y"}')
    assert one.id == wire.decode_message(b'{"text":"x"}').id
    assert one.id != two.id


def test_rewriting_keeps_the_beginning_and_foreign_fields():
    stored = wire.item("k" * 13, 5, 6, b'"text":"old","role":"user","id":"1","tags":[],"theirs":[ 1.0, {}]}')
    new = wire.rewrite(stored, {"text": "new", "metadata": REMOVE})
    assert new == stored.replace(b'"old"', b'"new"')


def test_sort_keys_sort_by_clock():
    keys = [wire.sort_key(clock, "w", 1, 0) for clock in (0, 9, 10, 1_700_000_000_000)]
    assert keys == sorted(keys)


def test_digests_are_those_of_the_server_and_hide_the_id():
    assert wire.text_digest(b"abc") == "a9993e364706816aba3e25717850c26c9cd0d89d"
    assert wire.message_digest("5547999990000") != wire.message_digest("5547999990001")
    assert re.fullmatch("[A-Za-z0-9+/]{22}", wire.message_digest("5547999990000"))


def test_ids_are_random():
    found = {wire.new_id() for _ in range(1000)}
    assert len(found) == 1000
    assert all(re.fullmatch("[a-z2-7]{26}", one) for one in found)


@pytest.mark.parametrize("bad", [None, 7, b"x", "\ud800", "x" * 101, "é" * 51])
def test_a_text_that_cannot_be_stored_is_refused(bad):
    with pytest.raises(InvalidInput, match="name"):
        wire.valid_text(bad, "name", max_bytes=100)


@pytest.mark.parametrize("good", ["", "x" * 100, "é" * 50, "\0", "🙂" * 25])
def test_a_text_at_the_limit_is_stored(good):
    assert wire.valid_text(good, "name", max_bytes=100) == good
