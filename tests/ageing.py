"""Letting time pass on a server, whose clock nobody moves: what its scripts compare with that clock is made older."""

from __future__ import annotations

import re
from typing import Any


def age(raw: Any, key: bytes, ms: int) -> None:
    """Make the times in a key older by so many milliseconds."""
    kind = key.rpartition(b":")[2]
    if kind in AGES:
        AGES[kind](raw, key, ms)


def age_context(raw: Any, key: bytes, ms: int) -> None:
    """The end of a pause, and when unsent replies were stored."""
    for name, text in raw.hgetall(key).items():
        if name == b"pause" and text:
            until, at, note = text.split(b"|", 2)
            raw.hset(key, name, b"%d|%d|%b" % (int(until) and max(1, int(until) - ms), int(at) - ms, note))
        if name in {b"locks", b"lockers", b"unlocked"}:
            raw.hset(key, name, aged_entries(text, ms))
        if name.startswith(b"o:"):
            head, stamp, rest = re.split(rb'(?<="timestamp":)(\d+)', text, maxsplit=1)
            raw.hset(key, name, b"%b%d%b" % (head, int(stamp) - ms, rest))


def aged_entries(text: bytes, ms: int) -> bytes:
    """Until when locks are held, and places in their queues are kept: ``…,…,ms;…``."""
    return re.sub(rb",(\d+)(?=;|$)", lambda found: b",%d" % (int(found[1]) - ms), text)


def age_fence(raw: Any, key: bytes, ms: int) -> None:
    """The same, of a tenant's lock."""
    for name in (b"locks", b"lockers", b"unlocked"):
        if text := raw.hget(key, name):
            raw.hset(key, name, aged_entries(text, ms))


def aged_until(until: bytes, ms: int) -> bytes:
    """When a hold ends, or a booking is forgotten; never is never."""
    return until if set(until) == {ord("9")} else b"%013d" % max(0, int(until) - ms)


def age_bookings(raw: Any, key: bytes, ms: int) -> None:
    """When holds end, and bookings are forgotten. The booked times stay what they are."""
    for name, text in raw.hgetall(key).items():
        state, unit, start, end, until, keep, created, rest = text.split(b"|", 7)
        aged = (state, unit, start, end, aged_until(until, ms), aged_until(keep, ms), b"%d" % (int(created) - ms), rest)
        raw.hset(key, name, b"|".join(aged))


def age_timeline(raw: Any, key: bytes, ms: int) -> None:
    """When holds end, where conflicts are looked for."""
    for member in raw.zrange(key, 0, -1):
        unit, start, end, until, name = member.split(b":")
        raw.zrem(key, member)
        raw.zadd(key, {b":".join((unit, start, end, aged_until(until, ms), name)): 0})


def age_records(raw: Any, key: bytes, ms: int) -> None:
    """When messages arrived."""
    for name, record in raw.hgetall(key).items():
        if b"|" in record:
            rest, _, arrived = record.rpartition(b"|")
            raw.hset(key, name, b"%b|%d" % (rest, int(arrived) - ms))


def age_list(raw: Any, key: bytes, ms: int) -> None:
    """Since when the members of a tenant's list wait."""
    for member, score in raw.zrange(key, 0, -1, withscores=True):
        raw.zadd(key, {member: score - ms})


def age_claims(raw: Any, key: bytes, ms: int) -> None:
    """The ends of claims, which name the aged score."""
    for name, claim in raw.hgetall(key).items():
        claimer, until = claim.split(b"|")
        kind, member, *since = name.split(b"|")
        raw.hdel(key, name)
        aged = b"|".join([kind, member, *(b"%d" % (int(one) - ms) for one in since)])
        raw.hset(key, aged, b"%b|%d" % (claimer, int(until) - ms))


AGES = {
    b"ctx": age_context,
    b"seen": age_records,
    b"waiting": age_list,
    b"unsent": age_list,
    b"claims": age_claims,
    b"fence": age_fence,
    b"records": age_bookings,
    b"timeline": age_timeline,
    b"due": age_list,
    b"over": age_list,
    b"resources": age_list,
}
