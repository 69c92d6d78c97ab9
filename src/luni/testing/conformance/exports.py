"""Exports: everything that is stored of a person or a tenant, page by page."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from luni.errors import InvalidInput
from luni.testing.conformance.erasure import POLICY, USER, WORDS, moment, of, sing, sing_next_door
from luni.testing.conformance.store import Store, talk


def exported(memory: Any, tenant: str, user: str | None = None, limit: int = 50) -> list[Any]:
    found, cursor = [], None
    while True:
        page = memory.export(tenant, user, limit=limit, cursor=cursor)
        found += page.items
        cursor = page.cursor
        if cursor is None:
            return found


@pytest.mark.parametrize("limit", [1, 50])
def test_a_persons_export_has_all_that_was_stored(store: Store, limit: int) -> None:
    memory = store.open(policies=POLICY)
    sing_next_door(memory)
    sing(memory)
    before = store.dump()
    found = exported(memory, "shop", USER, limit)
    assert store.dump() == before  # reading writes nothing
    text = msgspec.json.encode(found).decode()
    assert {word for word in WORDS if word not in text} == {"zqended", "zqlock"}  # what has ended; names of locks
    assert '"bia"' not in text
    assert [one.info.channel for one in found if hasattr(one, "info")] == ["web", "sms"]
    assert {(one.id, one.state) for one in found if hasattr(one, "by")} == {
        ("zqbooking", "confirmed"),
        ("zqcancelled", "cancelled"),
    }


def test_a_tenants_export_goes_page_by_page(store: Store) -> None:
    memory = store.open()
    for number in range(7):
        talk(of(memory, "web", f"u{number}"), "hi")
        memory.agenda("shop", f"r{number % 3}").hold(
            moment(number), moment(number + 1), by=f"u{number}", ttl=600, id=f"b{number}"
        )
    for limit in (2, 3, 50):
        found = exported(memory, "shop", limit=limit)
        assert sorted(one.info.user for one in found if hasattr(one, "info")) == [f"u{number}" for number in range(7)]
        assert sorted(one.id for one in found if hasattr(one, "by")) == [f"b{number}" for number in range(7)]
    assert exported(memory, "nowhere") == []
    for bad in ("x", "s:", "b:", 7, "s:1.2.3"):
        with pytest.raises(InvalidInput):
            memory.export("shop", cursor=bad)


def test_what_cannot_be_read_stops_no_export(store: Store) -> None:
    memory = store.open()
    for user in ("ana", "bia"):
        talk(of(memory, "web", user), "hi")
    store.spoil_newest(of(memory, "web", "ana"))
    found = {one.info.user: one for one in exported(memory, "shop")}
    assert {user: one.info.damaged for user, one in found.items()} == {"ana": True, "bia": False}
    assert [message.text for message in found["ana"].messages] == ["hi"]


def test_a_reply_that_only_waits_to_be_sent_is_exported(store: Store) -> None:
    memory = store.open(policies=POLICY)
    talk(of(memory, "web"), *[f"zqtext {number}" for number in range(20)])
    (one,) = exported(memory, "shop", USER)
    said = [message.text for message in one.messages]
    assert [text for text in said if text.startswith("re")] == [f"re: zqtext {number}" for number in range(20)]
    assert one.info.folded > 0
