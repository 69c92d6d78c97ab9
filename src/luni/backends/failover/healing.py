"""The primary is back, and empty or older than what it had acknowledged: what the mirror has heals it, message by message."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from luni import operations as ops
from luni import wire
from luni.backends.failover.deciding import MEETINGS, Ask, Step
from luni.backends.failover.driving import driven
from luni.backends.failover.gate import known_as
from luni.backends.failover.merging import NO_LIMIT, Session
from luni.backends.failover.salvage import GAP
from luni.backends.failover.texts import Order, name_of, numbered, order_of
from luni.errors import BackendError, Damaged, Indeterminate, Unavailable
from luni.events import StoreLost, emit
from luni.models import REMOVE, Address

if TYPE_CHECKING:
    from luni.backends.failover.keeper import Keeper

__all__ = ["Healer", "healed", "healing", "lacks"]

logger = logging.getLogger("luni")

Texts = Sequence[bytes]


def lacks(stored: ops.State, mirror: ops.State, now_ms: int, waiting: Collection[str] = (), *, emptied: bool = False) -> bool:
    """Return whether what is stored is older than what was acknowledged. A session that was ended is not.

    ``waiting``: operations (``writer.seq``) that have not reached the primary yet: it cannot have lost them. ``emptied``: it
    has lost everything, so what is there now is of since then: another session did not begin after the end of the mirror's.
    """
    if not mirror.session_id or mirror.expire_ms <= now_ms:
        return False
    kin = _kin(stored, mirror)
    if emptied and not kin:
        return True
    held = [text for text in _unfolded(mirror, stored) if not waiting or _operation_of(text) not in waiting]
    if stored.session_id != mirror.session_id:  # ended, or begun anew after that: its numbers went on
        return bool(held) and stored.n < mirror.n - len(waiting)
    names, begun = {name_of(text) for text in _texts(stored)}, 0 if kin else stored.created_ms
    floor = _first(_texts(stored))
    if any(name_of(text) not in names and _behind(floor, text, begun) for text in held):
        return True
    marks = {one.writer: one.seq for one in stored.marks}
    room = len(marks) < ops.WRITERS  # else a writer may have been let go of
    told = (one for one in mirror.marks if not one.writer.endswith(ops.FOLDER))  # who folds tells nobody
    below = (one for one in told if one.seq > marks.get(one.writer, 0 if room else one.seq))
    return any(f"{one.writer}.{one.seq}" not in waiting for one in below)


def _operation_of(text: bytes) -> str:
    order = order_of(text)
    return f"{order[1].decode()}.{order[2]}" if order else ""


def _kin(one: ops.State, other: ops.State) -> bool:
    """Whether both are states of one session: not of one that the primary has lost, and another that it began since."""
    return one.session_id == other.session_id and one.created_ms == other.created_ms


def _unfolded(state: ops.State, base: ops.State) -> list[bytes]:
    """Return a state's messages without those that stand in the summary of the other."""
    return _texts(state)[max(0, base.folded - state.folded) if _kin(state, base) else 0 :]


def healed(stored: ops.State, mirror: ops.State) -> ops.State:
    """Return the session with what either has: messages by their names, fields by their stamps, nothing twice.

    The one that has folded more is gone on from, or that has accepted more if the primary began another one since; what the
    other has and is older than its oldest message is in its summary. An open turn keeps its lease where its numbers stay.
    """
    if not stored.session_id:
        known = {one.digest: one for one in (*stored.arrivals, *mirror.arrivals)}
        return msgspec.structs.replace(
            mirror, lease="", lease_end_ms=0, n=max(stored.n, mirror.n), arrivals=_in_order(known.values()),
            seen_end_ms=max(stored.seen_end_ms, mirror.seen_end_ms),
        )  # fmt: skip
    base, other = stored, mirror
    further = (mirror.folded, mirror.clock_ms) > (stored.folded, stored.clock_ms)
    if further if _kin(stored, mirror) else mirror.n >= stored.n:
        base, other = mirror, stored
    session = Session(base)
    _add_messages(session, other)
    _take_fields(session, other)
    session.take_lines(other.transcript)
    for mark in other.marks:
        if mark.writer not in session.marks or session.marks[mark.writer].seq < mark.seq:
            session.marks[mark.writer] = mark
    session.fold()
    at = session.at
    return msgspec.structs.replace(
        session.state(), session_id=stored.session_id, created_ms=min(base.created_ms, other.created_ms),
        activity_ms=max(at.activity_ms, other.activity_ms), clock_ms=max(at.clock_ms, other.clock_ms),
        expire_ms=max(at.expire_ms, other.expire_ms), seen_end_ms=max(at.seen_end_ms, other.seen_end_ms),
        fence=max(at.fence, other.fence), rev=max(at.rev, other.rev),
        lease=stored.lease if base is stored else "", lease_end_ms=stored.lease_end_ms if base is stored else 0,
    )  # fmt: skip


def _texts(state: ops.State) -> list[bytes]:
    return [*state.waiting, *reversed(state.window)]


def _first(texts: Texts) -> Order | None:
    return next((order for text in texts if (order := order_of(text))), None)


def _behind(floor: Order | None, text: bytes, begun_ms: int) -> bool:
    """Whether a message cannot be in the summary: it is later than the oldest that is not, or of before all that."""
    order = order_of(text)
    return floor is None or (order is not None and (order > floor or order[0] < begun_ms))


def _in_order(arrivals: Iterable[ops.Arrival]) -> tuple[ops.Arrival, ...]:
    return tuple(sorted(arrivals, key=lambda one: one.n))[-ops.RING :]


def _add_messages(session: Session, other: ops.State) -> None:
    """Add the messages that are not there, with the records of their ids under new numbers."""
    base = session.state()
    floor, begun = _first(session.texts), 0 if _kin(base, other) else base.created_ms
    records = {one.digest: one for one in other.arrivals}
    unsent = {text: name for name, text in other.unsent}
    for answered in (one for one in other.arrivals if one.state != "w"):  # whichever side has seen the answer
        known = session.arrivals.get(answered.digest)
        if known is not None and known.state == "w":
            session.arrivals[answered.digest] = msgspec.structs.replace(answered, n=known.n)
    for text in _unfolded(other, base):
        if name_of(text) in session.names or not _behind(floor, text, begun):
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
    free = set(range(session.at.n - ops.RING + 1, session.at.n + 1)) - {one.n for one in session.arrivals.values()}
    for record in records.values():  # of ids whose messages are folded: where they were, or they would push others out
        if record.digest not in session.arrivals and record.state != "w" and record.n in free:
            session.arrivals[record.digest] = msgspec.structs.replace(record, token=0)
            free.discard(record.n)
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


def healing(address: Address, mirror: ops.State, waiting: Collection[str] = (), *, emptied: bool = False) -> Step:
    """Heal one session on the primary if it lacks anything; return what it has then, ``None`` if it lacked nothing."""
    for _ in range(MEETINGS):
        erased_ms = (yield Ask(ops.Tombstones(tenant=address.tenant, user=address.user))).ms
        if mirror.activity_ms <= erased_ms:
            return None
        dumped: ops.Dumped = yield Ask(ops.Dump(address=address))
        former = dumped.state
        if not lacks(former, mirror, dumped.now_ms, waiting, emptied=emptied):
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
        if alone and keeper.journal.note(GAP):
            self._close_gap()
        identity, noted = self._identity(), keeper.journal.note("server")
        another = identity.partition(" ")[0] != noted.partition(" ")[0]
        if keeper.belonging.judge(another=bool(noted) and another):
            if identity != self._met:
                logger.error("the fallback belongs to another server: nothing is kept for an outage until this one has its own")
            self._met = identity
            return
        if identity == self._met or not noted or (identity == noted and not self._met):
            if not noted:
                keeper.journal.write_note("server", identity)
            self._met = identity
            return
        emptied = identity.partition(" ")[0] != (self._met or noted).partition(" ")[0]
        own = keeper.absorbed(lost=emptied)
        if alone and identity != noted:
            self._heal_all(identity, emptied=emptied)
        else:
            self._heal(own, emptied=emptied)
        if alone or identity == noted:  # else the other process may not come to its end
            self._met = identity
        keeper.bookings.doubt()

    def expects(self, met: ops.Acquainted) -> bool:
        """Whether this is the server that was met, or none was met yet; what it may have lost was looked at, then."""
        expected = self._met or self._keeper.journal.note("server")
        return not expected or known_as(met) == expected

    def _close_gap(self) -> None:
        """Entries were lost with the journal's file: what they did is in the mirror, and the primary is given what it lacks."""
        keeper, sessions, passed = self._keeper, 0, 0
        while addresses := keeper.local.addresses(passed):
            passed += len(addresses)
            sessions += self._heal(addresses, emptied=False)[0]
        keeper.journal.write_note(GAP, "")
        logger.warning("the journal had lost entries: %d sessions were completed from the mirror", sessions)

    def knows(self) -> bool:
        """Whether the primary is still the one that was met: what it shows is to be believed."""
        return self._identity() == self._met

    def _identity(self) -> str:
        return known_as(self._keeper.primary().execute(ops.Acquaint(proposed=wire.new_id())))

    def _heal_all(self, identity: str, *, emptied: bool) -> None:
        keeper, sessions, messages, passed = self._keeper, 0, 0, 0
        if emptied:
            keeper.bookings.close()
        while addresses := keeper.local.addresses(passed):
            passed += len(addresses)
            found = self._heal(addresses, emptied=emptied)
            sessions, messages = sessions + found[0], messages + found[1]
        if emptied or sessions:
            keeper.bookings.close()
            logger.error("the server has lost data it had acknowledged: %d sessions were healed from the mirror", sessions)
            emit(keeper.hook, StoreLost("empty" if emptied else "older", sessions, messages))
        keeper.journal.write_note("server", identity)

    def _heal(self, addresses: Sequence[Address], *, emptied: bool) -> tuple[int, int]:
        """Heal these; return how many sessions and messages the primary lacked."""
        keeper, sessions, messages = self._keeper, 0, 0
        for address in addresses:
            mirror = keeper.local.state(address)
            before: list[int] = []
            try:
                waiting = keeper.journal.operations(address)
                state = driven(keeper.primary(), _counted(healing(address, mirror, waiting, emptied=emptied), before))
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
