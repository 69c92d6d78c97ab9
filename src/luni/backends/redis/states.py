"""The codec of whole sessions. Pure functions, one pair an operation."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any

from luni import operations as ops
from luni import wire
from luni.backends import keys
from luni.backends.redis.call import Arg, Call
from luni.backends.redis.scripts import SCRIPTS
from luni.backends.redis.values import number, string

__all__ = ["DECODERS", "ENCODERS"]

_RECORD = re.compile(rb"(\d+)\|([was])\|(\d*)\|(\d+)\|([^|]*)\|(\d+)")
_MARK = re.compile(rb"(\d+)\|(\d+)\|(.*)", re.DOTALL)


def _dump(namespace: str, op: ops.Dump) -> Call:
    return Call(SCRIPTS["dump"], keys.session_keys(namespace, op.address).own, [])


def _restore(namespace: str, op: ops.Restore) -> Call:
    own, state = keys.session_keys(namespace, op.address), op.state
    ids = keys.id_key(namespace, state.session_id or op.former or "-")
    all_keys = (*own.own, ids, own.client, *own.tenant_lists, own.unsent)
    if op.former and op.former != state.session_id:
        all_keys = (*all_keys, keys.id_key(namespace, op.former))
    waiting, unsent = state.waiting_since(), [wire.time_of(text) for _, text in state.unsent]
    fields, seen = (_fields(state) if state.session_id else []), _seen(state)
    args: list[Arg] = [op.version or "", state.session_id, state.expire_ms, state.seen_end_ms or state.expire_ms]
    args += (state.lease, state.lease_end_ms, state.activity_ms, waiting or "", min(unsent, default=""), own.member)
    args += (own.channel, own.tenant, op.address.tenant, state.count, _stats(state))
    lists: tuple[Iterable[Arg], ...] = (fields, state.window, state.waiting, state.transcript, seen)
    args += [len(tuple(values)) for values in lists]
    return Call(SCRIPTS["restore"], all_keys, [*args, *chain(*lists)])


def _stats(state: ops.State) -> str:
    return f'{{"messageCount":{state.count},"totalTime":{max(0, state.activity_ms - state.created_ms)}}}'


def _fields(state: ops.State) -> list[Arg]:
    marks = sorted(state.marks, key=lambda mark: mark.ms)[-ops.WRITERS :]
    fields: dict[str, Arg] = {
        "sessionId": state.session_id, "createdAt": state.created_ms, "lastActivity": state.activity_ms,
        "updated_at": state.clock_ms, "summary": state.summary, "focus": state.focus, "paused": int(state.paused),
        "pause": state.pause, "token_est": state.token_est, "n": state.n, "settled": state.settled, "count": state.count,
        "tokens": state.tokens, "folded": state.folded, "rev": state.rev, "fence": state.fence,
        "writers": len(marks), "unsent": len(state.unsent),
    }  # fmt: skip
    optional: dict[str, Arg] = {"metadata": state.metadata, "context": state.context, "loaded": state.loaded}
    stamps = sorted(state.stamps, key=lambda one: one[1])[-ops.STAMPS :]
    optional["stamps"] = len(stamps)
    fields |= {name: value for name, value in optional.items() if value}
    fields |= {f"w:{mark.writer}": f"{mark.seq}|{mark.ms}|{mark.result}" for mark in marks}
    fields |= {f"o:{name}": text for name, text in state.unsent}
    fields |= {f"t:{name}": stamp for name, stamp in stamps}
    return list(chain(*fields.items()))


def _seen(state: ops.State) -> list[Arg]:
    found: dict[str, Arg] = {"#": state.n} if state.n else {}
    for one in state.arrivals[-ops.RING :]:
        found[one.digest] = f"{one.n}|{one.state}|{one.token or ''}|{one.attempt}|{one.answer}|{one.arrived_ms}"
        found[f"r:{one.n % ops.RING}"] = one.digest
    return list(chain(*found.items()))


def _dumped(_namespace: str, _op: ops.Dump, reply: list[Any]) -> ops.Dumped:
    now, version, expire, seen_end, lease, lease_end, pairs, window, waiting, log, seen_pairs = reply
    fields, seen = _paired(pairs), _paired(seen_pairs)
    n, arrivals = number(seen.get(b"#")), _arrivals(seen)
    seen_end_ms = int(seen_end) if set(seen) - {b"#v"} else 0  # on a Cluster there is a version before there is an id
    if not fields:
        return ops.Dumped(int(now), version.decode(), ops.State(n=n, settled=n, seen_end_ms=seen_end_ms, arrivals=arrivals))
    state = ops.State(
        expire_ms=int(expire), seen_end_ms=seen_end_ms, lease=string(lease), lease_end_ms=int(lease_end),
        window=tuple(window), waiting=tuple(waiting), transcript=tuple(log), arrivals=arrivals,
        **_numbers(fields, n), **_texts(fields), **_groups(fields),
    )  # fmt: skip
    return ops.Dumped(int(now), version.decode(), state)


def _paired(values: list[bytes]) -> dict[bytes, bytes]:
    return dict(zip(values[::2], values[1::2], strict=True))


def _numbers(fields: dict[bytes, bytes], last: int) -> dict[str, Any]:
    """Arrival numbers go on where ``seen`` ends, also in a session that another program has begun."""
    names = {"created_ms": "createdAt", "activity_ms": "lastActivity", "clock_ms": "updated_at"}
    names |= {name: name for name in ("token_est", "count", "tokens", "folded", "rev", "fence")}
    n, settled = number(fields.get(b"n")), number(fields.get(b"settled"))
    found: dict[str, Any] = {name: number(fields.get(field.encode())) for name, field in names.items()}
    return found | {"n": max(n, last), "settled": max(n, last) if settled >= n else settled}


def _texts(fields: dict[bytes, bytes]) -> dict[str, Any]:
    names = {"session_id": b"sessionId", "summary": b"summary", "focus": b"focus", "loaded": b"loaded"}
    found: dict[str, Any] = {name: string(fields.get(field)) for name, field in names.items()}
    found |= {name: fields.get(name.encode(), b"") for name in ("metadata", "context", "pause")}
    return found | {"paused": fields.get(b"paused") == b"1"}


def _groups(fields: dict[bytes, bytes]) -> dict[str, Any]:
    """The fields of which there are many, each group in the order that a `State` has."""
    groups: dict[bytes, list[tuple[str, bytes]]] = {b"w:": [], b"o:": [], b"t:": []}
    for name, value in fields.items():
        if name[:2] in groups:
            groups[name[:2]].append((string(name[2:]), value))
    marks = [
        ops.Mark(writer, int(mark[1]), int(mark[2]), string(mark[3]))
        for writer, value in groups[b"w:"]
        if (mark := _MARK.fullmatch(value))
    ]
    return {
        "marks": tuple(sorted(marks, key=lambda mark: (mark.ms, mark.writer))),
        "unsent": tuple(sorted(groups[b"o:"], key=wire.unsent_order)),
        "stamps": tuple(sorted((name, string(stamp)) for name, stamp in groups[b"t:"])),
    }


def _arrivals(seen: dict[bytes, bytes]) -> tuple[ops.Arrival, ...]:
    """The records that the ring leads to."""
    found = []
    for name, digest in seen.items():
        record = _RECORD.fullmatch(seen.get(digest, b"")) if name.startswith(b"r:") else None
        if record and number(name[2:]) == int(record[1]) % ops.RING:
            n, state, token, attempt, answer, arrived = record.groups()
            state_now: Any = state.decode()
            found.append(
                ops.Arrival(int(n), string(digest), state_now, number(token), int(attempt), string(answer), int(arrived))
            )
    return tuple(sorted(found, key=lambda one: one.n))


def _restored(_namespace: str, _op: ops.Restore, reply: list[Any]) -> bool:
    return bool(reply[0] == b"done")


def _acquaint(namespace: str, op: ops.Acquaint) -> Call:
    return Call(SCRIPTS["acquaint"], (keys.generation_key(namespace),), [op.proposed])


def _acquainted(_namespace: str, _op: ops.Acquaint, reply: list[bytes]) -> ops.Acquainted:
    return ops.Acquainted(string(reply[0]), string(reply[1]))


ENCODERS: dict[type[ops.Operation], Callable[[str, Any], Call]] = {
    ops.Dump: _dump,
    ops.Restore: _restore,
    ops.Acquaint: _acquaint,
}

DECODERS: dict[type[ops.Operation], Callable[[str, Any, Any], Any]] = {
    ops.Dump: _dumped,
    ops.Restore: _restored,
    ops.Acquaint: _acquainted,
}
