"""The primary is back, and empty or older than what it had acknowledged: what the mirror has heals it, message by message."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from luni import operations as ops
from luni import wire
from luni.backends.failover.deciding import MEETINGS, Ask, Step
from luni.backends.failover.merging import NO_LIMIT, Session
from luni.backends.failover.texts import Order, name_of, numbered, order_of
from luni.errors import BackendError, Damaged, Indeterminate, Unavailable
from luni.events import StoreLost, emit
from luni.models import REMOVE, Address

if TYPE_CHECKING:
    from luni.backends.failover.keeper import Keeper

__all__ = ["Healer", "healed", "healing", "lacks"]

logger = logging.getLogger("luni")

CLOSED = "closed"
Texts = Sequence[bytes]


def lacks(stored: ops.State, mirror: ops.State, now_ms: int, waiting: Collection[str] = ()) -> bool:
    """Return whether what is stored is older than what was acknowledged. A session that was ended is not.

    ``waiting``: operations (``writer.seq``) that have not reached the primary yet: it cannot have lost them.
    """
    if not mirror.session_id or mirror.expire_ms <= now_ms:
        return False
    unfolded = _texts(mirror)[max(0, stored.folded - mirror.folded) :]  # what stands before is in the stored summary
    held = [text for text in unfolded if not waiting or _operation_of(text) not in waiting]
    if stored.session_id != mirror.session_id:  # ended, or begun anew after that: its numbers went on
        return bool(held) and stored.n < mirror.n - len(waiting)
    names = {name_of(text) for text in _texts(stored)}
    floor = _first(_texts(stored))
    if any(name_of(text) not in names and _behind(floor, text) for text in held):
        return True
    marks = {one.writer: one.seq for one in stored.marks}
    room = len(marks) < ops.WRITERS  # else a writer may have been let go of
    below = (one for one in mirror.marks if one.seq > marks.get(one.writer, 0 if room else one.seq))
    return any(f"{one.writer}.{one.seq}" not in waiting for one in below)


def _operation_of(text: bytes) -> str:
    order = order_of(text)
    return f"{order[1].decode()}.{order[2]}" if order else ""


def healed(stored: ops.State, mirror: ops.State) -> ops.State:
    """Return the session with what either has: messages by their names, fields by their stamps, nothing twice.

    The one that has folded more is gone on from; what the other has and is older than its oldest message is in its summary.
    """
    if not stored.session_id:
        known = {one.digest: one for one in (*stored.arrivals, *mirror.arrivals)}
        return msgspec.structs.replace(
            mirror, lease="", lease_end_ms=0, n=max(stored.n, mirror.n), arrivals=_in_order(known.values()),
            seen_end_ms=max(stored.seen_end_ms, mirror.seen_end_ms),
        )  # fmt: skip
    base, other = stored, mirror
    if stored.session_id != mirror.session_id or (mirror.folded, mirror.clock_ms) > (stored.folded, stored.clock_ms):
        base, other = mirror, stored
    session = Session(base)
    _add_messages(session, other)
    _take_fields(session, other)
    at, lines = session.at, session.transcript
    for text in reversed(other.transcript):
        if name_of(text) not in {name_of(line) for line in lines}:
            session.put_line(text, max(len(base.transcript), len(other.transcript)))
    for mark in other.marks:
        if mark.writer not in session.marks or session.marks[mark.writer].seq < mark.seq:
            session.marks[mark.writer] = mark
    return msgspec.structs.replace(
        session.state(), session_id=stored.session_id, created_ms=min(base.created_ms, other.created_ms),
        activity_ms=max(at.activity_ms, other.activity_ms), clock_ms=max(at.clock_ms, other.clock_ms),
        expire_ms=max(at.expire_ms, other.expire_ms), seen_end_ms=max(at.seen_end_ms, other.seen_end_ms),
        fence=max(at.fence, other.fence), rev=max(at.rev, other.rev),
        lease=stored.lease, lease_end_ms=stored.lease_end_ms,
    )  # fmt: skip


def _texts(state: ops.State) -> list[bytes]:
    return [*state.waiting, *reversed(state.window)]


def _first(texts: Texts) -> Order | None:
    return next((order for text in texts if (order := order_of(text))), None)


def _behind(floor: Order | None, text: bytes) -> bool:
    order = order_of(text)
    return floor is None or (order is not None and order > floor)


def _in_order(arrivals: Iterable[ops.Arrival]) -> tuple[ops.Arrival, ...]:
    return tuple(sorted(arrivals, key=lambda one: one.n))[-ops.RING :]


def _add_messages(session: Session, other: ops.State) -> None:
    """Add the messages that are not there, with the records of their ids under new numbers."""
    floor, records = _first(session.texts), {one.digest: one for one in other.arrivals}
    unsent = {text: name for name, text in other.unsent}
    for text in _texts(other)[max(0, session.at.folded - other.folded) :]:
        if name_of(text) in session.names or not _behind(floor, text):
            continue
        message = wire.decode_message(text)
        digest = wire.message_digest(message.id) if message is not None else ""
        record = records.pop(digest, None)
        if record is not None and digest not in session.arrivals:
            session.take_arrival(record)
        moved = numbered(text, session.at.n)
        session.insert(moved, max(0, message.tokens) if message else 0)
        if text in unsent:
            session.unsent[unsent[text]] = moved
    _add_ids(session, other, [one for one in records.values() if one.digest not in session.arrivals and one.state != "w"])
    session.settle_watermark()


def _add_ids(session: Session, other: ops.State, settled: Sequence[ops.Arrival]) -> None:
    """Remember ids that were accepted and answered, the newest of them, as many as there is room for.

    Under new numbers they must not push out a message that waits. Of the same session, one as old as its number is forgotten.
    """
    at, waiting = session.at, [one.n for one in session.arrivals.values() if one.state == "w"]
    if at.session_id == other.session_id:
        settled = [one for one in settled if one.n > at.n - ops.RING]
    room = min(ops.RING - len(session.arrivals), min(waiting, default=at.n) + ops.RING - 1 - at.n)
    for record in _in_order(settled)[-room:] if room > 0 else ():
        session.take_arrival(record)


def _take_fields(session: Session, other: ops.State) -> None:
    """Take the fields that the other side set later."""
    later = {name: stamp for name, stamp in other.stamps if stamp > session.stamps.get(name, "")}
    session.stamps |= later
    for name in later.keys() & {"focus", "summary"}:
        session.set(**{name: getattr(other, name)})
    if "paused" in later:
        session.set(paused=other.paused, pause=other.pause)
    for kind, change in (("m:", _with_metadata), ("v:", _with_variables)):
        keys = [name[2:] for name in later if name.startswith(kind)]
        if keys:
            change(session, other, keys)


def _with_metadata(session: Session, other: ops.State, keys: list[str]) -> None:
    values = wire.raw_object(other.metadata, "metadata")
    changes: dict[str, Any] = {key: values.get(key, REMOVE) for key in keys}
    session.set(metadata=wire.merge(session.at.metadata, changes, "metadata", max_bytes=NO_LIMIT))


def _with_variables(session: Session, other: ops.State, keys: list[str]) -> None:
    values = wire.raw_object(bytes(wire.raw_object(other.context, "context").get("variables", b"{}")), "variables")
    changes: dict[str, Any] = {key: values.get(key, REMOVE) for key in keys}
    session.set(context=wire.merge_inner(session.at.context, "variables", changes, "variables", max_bytes=NO_LIMIT))


def healing(address: Address, mirror: ops.State, waiting: Collection[str] = ()) -> Step:
    """Heal one session on the primary if it lacks anything; return what it has then, ``None`` if it lacked nothing."""
    for _ in range(MEETINGS):
        erased_ms = (yield Ask(ops.Tombstones(tenant=address.tenant, user=address.user))).ms
        if mirror.activity_ms <= erased_ms:
            return None
        dumped: ops.Dumped = yield Ask(ops.Dump(address=address))
        former = dumped.state
        if not lacks(former, mirror, dumped.now_ms, waiting):
            return None
        state = healed(former, mirror)
        other = former.session_id if former.session_id != state.session_id else ""
        if (yield Ask(ops.Restore(address=address, state=state, version=dumped.version, former=other))):
            return state
    raise Unavailable("others change the session faster than it can be healed")


class Healer:
    """Notices that the primary is another one, or has forgotten, and heals it from this host's mirror."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._met = ""

    def look(self, *, alone: bool) -> None:
        """Heal what the primary has lost, if it is not the one it was.

        Alone on this host, all that the mirror has; else, because another process is at that, what this process knows.
        """
        keeper = self._keeper
        met: ops.Acquainted = keeper.primary().execute(ops.Acquaint(proposed=wire.new_id()))
        identity, noted = f"{met.generation} {met.run_id}", keeper.journal.note("server")
        if identity == self._met or not noted or (identity == noted and not self._met):
            if not noted:
                keeper.journal.write_note("server", identity)
            self._met = identity
            return
        own = keeper.absorbed()
        if alone and identity != noted:
            self._heal_all(identity, empty=met.generation != noted.partition(" ")[0])
        else:
            self._heal(own)
        if alone or identity == noted:  # else the other process may not come to its end
            self._met = identity

    def _heal_all(self, identity: str, *, empty: bool) -> None:
        keeper, sessions, messages, passed = self._keeper, 0, 0, 0
        while addresses := keeper.local.addresses(passed):
            passed += len(addresses)
            found = self._heal(addresses)
            sessions, messages = sessions + found[0], messages + found[1]
        if empty or sessions:
            keeper.close_bookings()
            logger.error("the server has lost data it had acknowledged: %d sessions were healed from the mirror", sessions)
            emit(keeper.hook, StoreLost("empty" if empty else "older", sessions, messages))
        keeper.journal.write_note("server", identity)

    def _heal(self, addresses: Sequence[Address]) -> tuple[int, int]:
        """Heal these; return how many sessions and messages the primary lacked."""
        keeper, sessions, messages = self._keeper, 0, 0
        for address in addresses:
            mirror = keeper.local.state(address)
            before: list[int] = []
            try:
                waiting = keeper.journal.operations(address)
                state = keeper.driven(_counted(healing(address, mirror, waiting), before))
            except (Unavailable, Indeterminate):
                raise  # away again: everything is looked at again
            except (BackendError, Damaged) as error:
                logger.error("a session could not be healed: %s", error)  # noqa: TRY400  its trace could hold what was said
                continue
            if state is not None:
                sessions += 1
                messages += max(0, len(_texts(state)) - before[-1])
                keeper.local.keep(address, state)
        return sessions, messages


def _counted(flow: Step, seen: list[int]) -> Step:
    """Note how many messages each dump had."""
    result: Any = None
    try:
        step = next(flow)
        while True:
            result = yield step
            if isinstance(result, ops.Dumped):
                seen.append(len(_texts(result.state)))
            step = flow.send(result)
    except StopIteration as end:
        return end.value
