"""Looking for what is stored of somebody on a Cluster: the tenant's lists, then the key names of every primary. No I/O.

A slot that moves from a server that was not looked through yet to one that was takes its keys past whoever looks. So the
primaries are asked before a pass and after it which slots they have; those that were not with the same server all the time are
looked for again, after a while. A server that failed over, or was started again, has other cursors: its slots count as moved.
The cursor carries all of that.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import msgspec

from luni import operations as ops
from luni.backends import keys
from luni.backends.redis.call import Call
from luni.backends.redis.cluster.chains import Chain, Everywhere, Node, Pause
from luni.backends.redis.cluster.index import Steps, decoded
from luni.backends.redis.cluster.slots import SLOTS
from luni.backends.redis.codec import encode
from luni.backends.redis.erasure import LISTS
from luni.backends.redis.scripts import SCRIPTS
from luni.errors import Unavailable

__all__ = ["Pass", "Standings", "slots_of", "traced", "unsettled"]

LISTED, KEYSPACE = f"{LISTS}:", f"{LISTS + 1}:"
"""What a cursor begins with where the versions of the lists are looked through, and where the key names are."""

PASSES = 8
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 1.0
"""Seconds before a second pass, and before any; slots that move arrive meanwhile. Together they are less than 5."""


class Standings(msgspec.Struct, array_like=True, frozen=True):
    """Who has which slots: ``owners`` are a server's identity and its slots, ``moving`` those on their way: ``0-9,11``."""

    owners: tuple[tuple[str, str], ...]
    moving: str = ""


class Pass(msgspec.Struct, array_like=True, frozen=True):
    """How far the key names were looked through: ``wanted`` are the slots that this pass is about."""

    number: int
    wanted: str
    before: Standings
    cursors: tuple[tuple[str, int, str], ...]


def traced(namespace: keys.Tagged, op: ops.Traces) -> Steps:
    """Return a page of what is stored of somebody."""
    if op.cursor.startswith(LISTED):
        return (yield from _versions(namespace, op))
    if op.cursor.startswith(KEYSPACE):
        return (yield from _names(namespace, op, op.cursor.removeprefix(KEYSPACE)))
    ((reply,),) = yield [Chain((encode(namespace, op),))]
    return decoded(namespace, op, reply)


def _versions(namespace: keys.Tagged, op: ops.Traces) -> Steps:
    """Who is only there where the lists' versions are."""
    pattern = f"*:{keys.part(op.user, 'user')}" if op.user else "*"
    versions = keys.list_keys(namespace, op.tenant)[-1:]
    call = Call(SCRIPTS["traces"], versions, [op.cursor.removeprefix(LISTED), pattern, op.limit])
    ((reply,),) = yield [Chain((call,))]
    own, found, _ = reply
    members = dict.fromkeys(name.decode().rpartition("|")[2] for name in found)
    cursor = f"{KEYSPACE}" if own == b"0" else f"{LISTED}{own.decode()}"
    return ops.Traced(tuple(keys.address_of_member(op.tenant, one) for one in members), cursor=cursor)


def _names(namespace: keys.Tagged, op: ops.Traces, cursor: str) -> Steps:
    now = msgspec.json.decode(cursor, type=Pass) if cursor else Pass(1, f"0-{SLOTS - 1}", Standings(()), ())
    if not now.cursors:
        now = yield from _begun(now)
    own = {(host, port): cursor for host, port, cursor in now.cursors}
    replies = yield Everywhere(apart={node: _page(namespace, op, cursor) for node, cursor in own.items()})
    page = _together([decoded(namespace, _on_a_server(op, "0"), reply) for reply in replies.values()])
    left = tuple((*node, reply[0].decode()) for node, reply in replies.items() if reply[0] != b"0")
    complete = len(replies) == len(own)
    if left and complete:
        now = msgspec.structs.replace(now, cursors=left)
    else:
        unsure = (unsettled(now.before, (yield from _standings())[0]) if complete else _all()) & slots_of(now.wanted)
        if not unsure:
            return page
        if now.number >= PASSES:
            raise Unavailable("slots of the Cluster are on their way all the time, and with them what is looked for")
        now = Pass(now.number + 1, _written(unsure), Standings(()), ())
    return msgspec.structs.replace(page, cursor=KEYSPACE + msgspec.json.encode(now).decode())


def _begun(now: Pass) -> Generator[Any, Any, Pass]:
    """Begin a pass: on the servers that have, or are about to get, any of the slots."""
    if now.number > 1:
        yield Pause(min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (now.number - 2)))
    before, has = yield from _standings()
    wanted = slots_of(now.wanted)
    return msgspec.structs.replace(
        now, before=before, cursors=tuple((*node, "0") for node, slots in has.items() if slots & wanted)
    )  # fmt: skip


def _page(namespace: keys.Tagged, op: ops.Traces, cursor: str) -> tuple[Any, ...]:
    """Return the words that look at one server's key names."""
    return encode(namespace, _on_a_server(op, cursor))._replace(whole=True).command()


def _on_a_server(op: ops.Traces, cursor: str) -> ops.Traces:
    return msgspec.structs.replace(op, cursor=f"{LISTS}:{cursor}")


def _together(pages: Sequence[ops.Traced]) -> ops.Traced:
    return ops.Traced(
        tuple(dict.fromkeys(one for page in pages for one in page.addresses)),
        tuple(dict.fromkeys(one for page in pages for one in page.ids)),
        tuple(dict.fromkeys(one for page in pages for one in page.resources)),
        tuple(dict.fromkeys(one for page in pages for one in page.strays)),
    )


# who has which slots


def _standings() -> Generator[Any, Any, tuple[Standings, dict[Node, set[int]]]]:
    """Ask every primary what it has; return that, and for each node the slots that may have keys there."""
    runs = yield Everywhere(("INFO", "server"), anew=True)
    nodes = yield Everywhere(("CLUSTER", "NODES"))
    owners, moving, has = [], set[int](), {}
    for node, text in nodes.items():
        name, epoch, own, on_their_way = _myself(text.decode())
        owners.append((f"{name} {_run(runs.get(node, b''))} {epoch}", own))
        moving |= on_their_way
        has[node] = slots_of(own) | on_their_way
    return Standings(tuple(owners), _written(moving)), has


def _run(info: bytes) -> str:
    """Return the name of a server's run: another one when it was started again."""
    lines = dict(line.split(":", 1) for line in info.decode().splitlines() if ":" in line)
    return lines.get("run_id", "")


def _myself(text: str) -> tuple[str, str, str, set[int]]:
    """Return what a node says of itself: its name, the epoch of its configuration, its slots, and those on their way."""
    words = next((found for line in text.splitlines() if "myself" in (found := line.split())[2].split(",")), [""] * 7)
    whole = [word for word in words[8:] if not word.startswith("[")]
    moving = {int(word[1:].partition("-")[0]) for word in words[8:] if word.startswith("[")}  # [93-<-name], [93->-name]
    return words[0], words[6], ",".join(whole), moving


def unsettled(before: Standings, after: Standings) -> set[int]:
    """Return the slots that were not with one and the same server from then until now, as far as can be told."""
    moving = slots_of(before.moving) | slots_of(after.moving)
    then, now = _by_slot(before), _by_slot(after)
    return {slot for slot in _all() if slot in moving or len(then[slot]) != 1 or then[slot] != now[slot]}


def _by_slot(standings: Standings) -> list[list[str]]:
    found: list[list[str]] = [[] for _ in range(SLOTS)]
    for name, slots in standings.owners:
        for slot in slots_of(slots):
            found[slot].append(name)
    return found


def _all() -> set[int]:
    return set(range(SLOTS))


def slots_of(text: str) -> set[int]:
    """Return the slots of ``0-9,11``."""
    found = set[int]()
    for one in filter(None, text.split(",")):
        first, _, last = one.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found


def _written(slots: set[int]) -> str:
    ranges: list[list[int]] = []
    for slot in sorted(slots):
        if ranges and ranges[-1][1] == slot - 1:
            ranges[-1][1] = slot
        else:
            ranges.append([slot, slot])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)
