"""What a conversation is, in plain Python: one process, one clock, no store. The real backends are compared with it."""

from __future__ import annotations

from dataclasses import dataclass, field

LEASE, TTL, SEEN = 60.0, 72 * 3600.0, 7 * 24 * 3600.0
SETTLING = ("human", "assistant")


@dataclass
class Said:
    """A message; ``n`` is the newest arrival when it was placed."""

    text: str
    role: str
    id: str
    n: int
    amended: int = 0
    redacted: bool = False


@dataclass
class Record:
    """What is remembered of an accepted message id."""

    n: int
    state: str = "w"
    token: int = 0
    attempt: int = 0


@dataclass
class Lease:
    token: int
    end: float


@dataclass
class Held:
    """A turn as its worker sees it."""

    token: int
    cut: int
    session: int
    deadline: float
    open: bool = True


@dataclass
class Conversation:
    """One (tenant, channel, user). ``said`` is everything of the session, oldest first; ``folded`` of it are in the summary."""

    session: int = 0  # 0: none now
    sessions: int = 0
    said: list[Said] = field(default_factory=list)
    seen: dict[str, Record] = field(default_factory=dict)
    metadata: dict[str, object] = field(default_factory=dict)
    variables: dict[str, object] = field(default_factory=dict)
    n: int = 0
    settled: int = 0
    folded: int = 0
    revision: int = 0
    tokens: int = 0
    lease: Lease | None = None
    paused: float = 0.0  # until when
    active: float = 0.0
    loaded: object = None
    unsent: list[tuple[str, str]] = field(default_factory=list)

    # time

    def at(self, now: float) -> None:
        if self.lease and self.lease.end <= now:
            self.lease = None
        if self.session and self.active + TTL <= now:
            self._clear()
        if self.paused <= now:
            self.paused = 0.0
        if self.seen and not self.session and self.active + SEEN <= now:
            self.seen.clear()

    def _clear(self) -> None:
        self.session, self.said, self.lease, self.loaded = 0, [], None, None
        self.metadata, self.variables, self.folded, self.revision = {}, {}, 0, 0
        self.paused, self.unsent = 0.0, []

    def _touch(self, now: float) -> None:
        self.active = now
        if not self.session:
            self.sessions += 1
            self.session, self.settled = self.sessions, self.n

    # what may be seen

    @property
    def held(self) -> list[Said]:
        return self.said[self.folded :]

    def waiting(self, first: int, last: int) -> list[Record]:
        found = [r for r in self.seen.values() if r.state == "w" and first <= r.n <= last]
        return sorted(found, key=lambda r: r.n)

    @property
    def unanswered(self) -> list[Record]:
        return self.waiting(self.settled + 1, self.n) if self.session else []

    def answered_by(self, cut: int) -> list[str]:
        return [m.text for m in self.held if m.role == "user" and self.settled < m.n <= cut]

    @property
    def free(self) -> bool:
        """Whether a sweeper may have it."""
        return bool(self.session) and not self.paused and not self.lease

    # operations

    def _known(self, message_id: str) -> Record | None:
        record = self.seen.get(message_id)
        gone = record and record.state == "w" and (not self.session or record.n <= self.settled)
        return None if gone else record

    def _accept(self, text: str, message_id: str, now: float) -> Record:
        self._touch(now)
        self._raise_watermark()
        self.n += 1
        record = self.seen[message_id] = Record(self.n)
        self.said.append(Said(text, "user", message_id, self.n))
        return record

    def _raise_watermark(self) -> None:
        """Everything before the oldest message that waits is settled."""
        waiting = self.waiting(self.settled + 1, self.n)
        self.settled = waiting[0].n - 1 if waiting else self.n

    def receive(self, text: str, message_id: str, now: float) -> str:
        if self._known(message_id):
            return "duplicate"
        self._accept(text, message_id, now)
        return "accepted"

    def open(self, text: str | None, message_id: str, now: float) -> tuple[str, int, Held | None]:
        """Return the state, the attempt, and the turn if it is open."""
        record = self._known(message_id) if text is not None else None
        if record and record.state != "w":
            return "duplicate", 0, None
        if text is None and not self.unanswered:
            return "idle", 0, None
        if self.paused:
            if text is not None and not record:
                self._accept(text, message_id, now)
            return "paused", 0, None
        if self.lease:
            if record:
                return ("in_progress" if record.token == self.lease.token else "joined"), 0, None
            if text is not None:
                self._accept(text, message_id, now)
            return "joined", 0, None
        if text is not None and not record:
            self._accept(text, message_id, now)
        self._touch(now)
        self.tokens += 1
        self.lease = Lease(self.tokens, now + LEASE)
        return "open", self._take(self.unanswered), Held(self.tokens, self.n, self.session, now + LEASE)

    def hold(self, turn: Held, now: float) -> None:
        """The turn has gathered until now, and its lease counts from then."""
        assert self.lease
        turn.deadline = self.lease.end = now + LEASE

    def _take(self, records: list[Record]) -> int:
        for record in records:
            record.token, record.attempt = self.tokens, record.attempt + 1
        return records[0].attempt

    def settle(self, turn: Held, state: str, texts: list[str], now: float) -> bool:
        """Reply (``a``) or skip (``s``); return whether it was allowed."""
        mine = self.lease and self.lease.token == turn.token and self.session == turn.session
        if not turn.open or now >= turn.deadline or not mine:
            return False
        place = max((i + 1 for i, m in enumerate(self.said) if m.n <= turn.cut), default=0)
        place = max(place, self.folded)
        self.said[place:place] = [Said(text, "assistant", "", turn.cut) for text in texts]
        for record in self.waiting(self.settled + 1, turn.cut):
            record.state, record.token = state, 0
        newer = self.waiting(max(turn.cut, self.settled) + 1, self.n)
        self.settled = max(self.settled, turn.cut)
        self._touch(now)
        if newer:
            self._take(newer)
            turn.cut, turn.deadline = self.n, now + LEASE
            self.lease = Lease(turn.token, now + LEASE)
        else:
            turn.open, self.lease = False, None
        return True

    def close(self, turn: Held) -> None:
        if turn.open and self.lease and self.lease.token == turn.token and self.session == turn.session:
            self.lease = None
        turn.open = False

    def append(self, role: str, text: str, message_id: str, now: float) -> bool:
        """Return whether it was stored; the other answer is that its id is known."""
        record = self.seen.get(message_id) if message_id else None
        if record and (self.session or record.state != "w"):
            return False
        self._touch(now)
        if role in SETTLING:
            for record in self.unanswered:
                record.state, record.token = "a", 0
        if message_id:
            self.n += 1
            self.seen[message_id] = Record(self.n, "s")
        self._raise_watermark()
        self.said.append(Said(text, role, message_id, self.n))
        return True

    def pause(self, until: float, now: float) -> None:
        self._touch(now)
        self.paused, self.lease = until, None

    def resume(self, now: float) -> bool:
        if not self.paused:
            return False
        self._touch(now)
        self.paused = 0.0
        return True

    def update(self, metadata: dict[str, object], variables: dict[str, object], now: float) -> int:
        self._touch(now)
        self.metadata |= metadata
        self.variables |= variables
        self.revision += 1
        return self.revision

    def load(self, batch: list[tuple[str, str, str]], now: float) -> int:
        """``batch`` is (text, role, id); return how many were added."""
        known = {m.id for m in self.held}
        new = batch[max((i + 1 for i, (_, _, name) in enumerate(batch) if name in known), default=0) :]
        if not new or self.loaded == batch:
            return 0
        self._touch(now)
        self.said += [Said(text, role, name, self.settled) for text, role, name in new]
        for name in [name for _, role, name in new if role == "user" and name not in self.seen]:
            self.n += 1
            self.seen[name] = Record(self.n, "s")
        self._raise_watermark()
        self.loaded = batch
        return len(new)

    def redacted(self, message_id: str) -> bool:
        return any(m.id == message_id and m.redacted for m in self.held)

    def amend(self, message_id: str, text: str | None, now: float) -> bool:
        """Redact for ``None``; return whether it was there. What was redacted is not amended."""
        found = next((m for m in self.held if m.id == message_id), None)
        if found is None:
            return False
        found.redacted = text is None
        found.text, found.amended = text or "", found.amended + (text is not None)
        self._touch(now)
        return True

    def end(self, now: float) -> bool:
        if not self.session:
            return False
        for record in self.unanswered:
            record.state = "s"
        self._clear()
        self.active = now
        return True
