"""Addresses and message ids: whatever they are made of, they work or are refused, and never collide."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from luni.errors import InvalidInput
from luni.testing.conformance.store import Store, talk

ODD = [
    "a:b",
    "{a}",
    "*",
    "%",
    "%2A",
    "a%3Ab",
    "a\nb",
    "a\r\nb",
    "🙂",
    "a\0b",
    "\0",
    " ",
    "..",
    "constructor",
    "__proto__",
    "a/b",
    "[x]",
    "'",
]
"""Separators, hash tags, patterns, encodings, control characters: each is a name like any other."""

IMPOSSIBLE: list[Any] = ["", "\ud800", "x\udfff", "x" * 10_240, "🙂" * 22, None, 7, b"bytes"]


@pytest.mark.parametrize("odd", ODD, ids=ascii)
@pytest.mark.parametrize("where", ["tenant", "channel", "user"])
def test_an_odd_name_is_a_name_like_any_other(store: Store, where: str, odd: str) -> None:
    memory = store.open()
    address = {"tenant": "t", "channel": "c", "user": "u"} | {where: odd}
    session = memory.session(**address)
    talk(session, "hi")
    assert [m.text for m in session.messages()] == ["hi", "re: hi"]
    found = memory.find(session.info().session_id, tenant=address["tenant"])
    assert {name: getattr(found, name) for name in address} == address
    assert [getattr(info, where) for info in memory.sessions(address["tenant"])] == [odd]


@pytest.mark.parametrize("bad", IMPOSSIBLE, ids=lambda bad: ascii(bad)[:20])
@pytest.mark.parametrize("where", ["tenant", "channel", "user"])
def test_an_impossible_name_is_refused(store: Store, where: str, bad: Any) -> None:
    memory = store.open()
    with pytest.raises(InvalidInput):
        memory.session(**{"tenant": "t", "channel": "c", "user": "u"} | {where: bad})


@pytest.mark.parametrize("bad", ["", "\ud800", "x" * 10_240], ids=lambda bad: ascii(bad)[:20])
def test_an_impossible_tenant_has_no_pages(store: Store, bad: str) -> None:
    memory = store.open()
    with pytest.raises(InvalidInput):
        memory.sessions(bad)


def test_no_two_addresses_meet(store: Store) -> None:
    memory = store.open()
    parts = ["a", "a:b", "b", "a%3Ab", "A", "a:b:a", "a\0", "*"]
    addresses = list(itertools.product(parts, parts, parts))[:: len(parts) - 1]
    for number, (tenant, channel, user) in enumerate(addresses):
        memory.session(tenant=tenant, channel=channel, user=user).append("user", str(number))
    for number, (tenant, channel, user) in enumerate(addresses):
        texts = [m.text for m in memory.session(tenant=tenant, channel=channel, user=user).messages()]
        assert texts == [str(number)]


@pytest.mark.parametrize("odd", [*ODD, "x" * 1024], ids=lambda odd: ascii(odd)[:20])
def test_an_odd_message_id_is_exactly_once_too(store: Store, odd: str) -> None:
    session = store.session()
    assert session.receive("hi", message_id=odd).state == "accepted"
    assert session.receive("hi", message_id=odd).state == "duplicate"
    assert session.receive("hi", message_id=odd + "'").state == "accepted" if len(odd) < 1024 else True


def test_odd_message_ids_do_not_meet(store: Store) -> None:
    session = store.session()
    ids = ["r:1", "#", "1", "n|w|", "a", "A", "a ", "é", "e\u0301", "\0", "\0\0"]
    assert [session.receive("x", message_id=message_id).state for message_id in ids] == ["accepted"] * len(ids)


@pytest.mark.parametrize("bad", ["", "\ud800", "x" * 1025, 7, None, b"id"], ids=lambda bad: ascii(bad)[:20])
def test_an_impossible_message_id_is_refused(store: Store, bad: Any) -> None:
    session = store.session()
    with pytest.raises(InvalidInput):
        session.receive("hi", message_id=bad)
    if bad is not None:
        with pytest.raises(InvalidInput):
            session.turn("hi", message_id=bad).open()
        with pytest.raises(InvalidInput):
            session.append("user", "hi", message_id=bad)
    assert session.info() is None


@pytest.mark.parametrize(
    "text", ["", " ", "\0", "a\0b", "\n", "🙂🏽‍♀️", "é", '"}\\', "{{}}", "%s %d", "\u2028", "\x7f", "مرحبا", "[[1]]"], ids=ascii
)
def test_any_text_comes_back_as_it_was(store: Store, text: str) -> None:
    session = store.session()
    session.receive(text, message_id="1")
    stored = session.append("assistant", text or "x")
    assert [m.text for m in session.messages()] == [text, text or "x"]
    assert stored == session.messages()[-1]
