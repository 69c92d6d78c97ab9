"""A conversation's row and what hangs on it: read, changed, written back within one transaction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from luni import operations as ops
from luni import wire
from luni.errors import Superseded
from luni.models import Address

__all__ = ["SEEN_MS", "Accepted", "Conversation", "Tables"]

SEEN_MS = 7 * 24 * 3600 * 1000


class Conversation(msgspec.Struct):
    """A row of the table of that name."""

    id: int
    tenant: str
    channel: str
    user: str
    session_id: str | None = None
    created_ms: int = 0
    activity_ms: int = 0
    metadata: bytes = b""
    context: bytes = b""
    summary: str = ""
    focus: str = ""
    paused: int = 0
    pause: bytes = b""
    token_est: int = 0
    n: int = 0
    settled: int = 0
    count: int = 0
    tokens: int = 0
    folded: int = 0
    rev: int = 0
    fence: int = 0
    clock_ms: int = 0
    loaded: str = ""
    lease: str = ""
    lease_end_ms: int = 0
    queue: str = ""
    expire_ms: int = 0
    seen_end_ms: int = 0
    waiting_ms: int = 0
    purge_ms: int = 0

    def begin(self, session_id: str, now_ms: int, *, with_message: bool) -> None:
        """Begin a session: the wire's first texts."""
        self.session_id, self.created_ms = session_id, now_ms
        self.metadata = wire.first_metadata(with_message=with_message)
        self.context = wire.first_context(now_ms)
        self.settled = self.n

    def clear(self) -> None:
        """End the session: of the row only the arrival numbers stay."""
        blank = Conversation(self.id, self.tenant, self.channel, self.user)
        for name in _CHANGING:
            if name not in {"n", "settled", "fence", "seen_end_ms"}:
                setattr(self, name, getattr(blank, name))
        self.purge_ms = self.seen_end_ms

    def touch(self, now_ms: int, ttl_ms: int) -> None:
        """Activity: everything of the session expires together from now on."""
        self.activity_ms = now_ms
        self.clock_ms = max(now_ms, self.clock_ms)
        self.expire_ms = self.purge_ms = now_ms + ttl_ms
        self.seen_end_ms = now_ms + max(SEEN_MS, ttl_ms)

    def resume_if_over(self, now_ms: int) -> None:
        """A pause with an end is over by itself; the next write says so."""
        ends = int(self.pause.partition(b"|")[0]) if self.pause else 0
        if self.pause and (not self.paused or 0 < ends <= now_ms):
            self.paused, self.pause = 0, b""

    def leased(self, now_ms: int) -> bool:
        """Whether a turn of it is open."""
        return self.lease_end_ms > now_ms

    def waiters(self, now_ms: int) -> dict[str, int]:
        """Return the tickets of the turns that wait for the conversation and whose worker is alive, the first come first."""
        pairs = [pair.split(",") for pair in self.queue.split(";") if pair]
        return {ticket: int(until) for ticket, until in pairs if int(until) > now_ms}

    def wait_in(self, waiters: dict[str, int]) -> None:
        """Let these wait for the conversation."""
        self.queue = ";".join(f"{ticket},{until}" for ticket, until in waiters.items())

    def view(self, window: tuple[bytes, ...] = (), waiting: tuple[bytes, ...] = ()) -> ops.View | None:
        """Return what is stored, ``None`` between sessions."""
        if self.session_id is None:
            return None
        return ops.View(
            self.session_id,
            self.created_ms,
            self.activity_ms,
            self.metadata,
            self.context,
            self.summary,
            self.focus,
            bool(self.paused),
            self.token_est,
            self.n,
            self.settled,
            self.count,
            self.tokens,
            self.folded,
            self.rev,
            self.pause,
            window,
            waiting,
        )


_FIXED = 4  # id and address never change
_COLUMNS = ", ".join(Conversation.__struct_fields__)
_CHANGING = Conversation.__struct_fields__[_FIXED:]
_SELECT = f"SELECT {_COLUMNS} FROM conversation WHERE tenant = ? AND channel = ? AND user = ?"


def _update(names: tuple[str, ...]) -> str:
    return f"UPDATE conversation SET {', '.join(f'{name} = ?' for name in names)} WHERE id = ?"


_BIRTH = 2  # session_id and created_ms come first: SQLite would rewrite the index of a column that is named, changed or not
_UPDATE, _UPDATE_OF_THE_SAME = _update(_CHANGING), _update(_CHANGING[_BIRTH:])


class Accepted(NamedTuple):
    """A row of the table of that name."""

    n: int
    digest: str
    state: str
    token: int
    attempt: int
    answer: str
    arrived_ms: int


class Tables:
    """The statements of one transaction."""

    def __init__(self, execute: Callable[..., Any], now_ms: int) -> None:
        self.execute = execute
        self.now_ms = now_ms
        self.saved = False
        self._new_writer = False
        self._stored: dict[int, str | None] = {}

    def _read(self, values: tuple[Any, ...]) -> Conversation:
        """Return a row as it is stored, and remember which session it was."""
        found = Conversation(*values)
        self._stored[found.id] = found.session_id
        return found

    def find(self, address: Address) -> Conversation | None:
        """Return the conversation of an address; an expired session is as good as gone."""
        row = self.execute(_SELECT, (address.tenant, address.channel, address.user)).fetchone()
        if row is None:
            return None
        found = self._read(row)
        if found.session_id is not None and found.expire_ms <= self.now_ms:
            found.clear()
        found.resume_if_over(self.now_ms)
        return found

    def find_or_create(self, address: Address) -> Conversation:
        """Return the conversation of an address, in a write transaction; an expired session's texts are deleted."""
        row = self.execute(_SELECT, (address.tenant, address.channel, address.user)).fetchone()
        if row is None:
            insert = "INSERT INTO conversation (tenant, channel, user) VALUES (?, ?, ?) RETURNING id"
            key = self.execute(insert, (address.tenant, address.channel, address.user)).fetchone()[0]
            return Conversation(key, address.tenant, address.channel, address.user)
        found = self._read(row)
        if found.session_id is not None and found.expire_ms <= self.now_ms:
            self.forget(found)
        if found.seen_end_ms <= self.now_ms and found.session_id is None:
            self.execute("DELETE FROM accepted WHERE conversation = ?", (found.id,))
        found.resume_if_over(self.now_ms)
        return found

    def save(self, row: Conversation) -> None:
        """Write a row back: the transaction has an effect."""
        self.saved = True
        values = msgspec.structs.astuple(row)[_FIXED:]
        if self._stored.get(row.id) == row.session_id:
            self.execute(_UPDATE_OF_THE_SAME, (*values[_BIRTH:], row.id))
        else:
            self.execute(_UPDATE, (*values, row.id))
            self._stored[row.id] = row.session_id

    def changed(self) -> bool:
        """Whether the last statement has changed a row."""
        return bool(self.execute("SELECT changes()").fetchone()[0])

    def purge(self, row: Conversation) -> None:
        """Let two expired conversations go, not this one: what accepts a message calls it, so nothing grows unbounded."""
        due = self.execute(
            "SELECT id FROM conversation WHERE purge_ms <= ? AND id <> ? LIMIT 2", (self.now_ms, row.id)
        ).fetchall()
        for (key,) in due:
            found = self.execute(f"SELECT {_COLUMNS} FROM conversation WHERE id = ?", (key,)).fetchone()
            self._purge(self._read(found))

    def _purge(self, row: Conversation) -> None:
        if row.session_id is None or row.seen_end_ms <= self.now_ms:
            self.execute("DELETE FROM conversation WHERE id = ?", (row.id,))
            return
        self.forget(row)
        self.save(row)

    def forget(self, row: Conversation) -> None:
        """Delete everything of a session but the accepted ids."""
        for table in ("message", "transcript", "unsent", "mark", "stamp"):
            self.execute(f"DELETE FROM {table} WHERE conversation = ?", (row.id,))
        row.clear()

    # marks

    def repeated(self, row: Conversation, op: ops.Write) -> str | None:
        """Return the stored result of an operation that was executed before, ``None`` for a new one."""
        found = self.execute(
            "SELECT seq, result FROM mark WHERE conversation = ? AND writer = ?", (row.id, op.writer)
        ).fetchone()
        self._new_writer = found is None
        if found is None or op.seq > found[0]:
            return None
        if op.seq < found[0]:
            raise Superseded("a later operation of this writer was executed; this one was not repeated")
        return str(found[1])

    def mark(self, row: Conversation, op: ops.Write, result: str) -> None:
        """Remember what this writer did; of 64 writers the longest unheard of leaves."""
        self.execute(
            "INSERT INTO mark VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET seq = excluded.seq, ms = excluded.ms, "
            "result = excluded.result",
            (row.id, op.writer, op.seq, self.now_ms, result),
        )
        if self._new_writer:
            self._drop_longest_unheard(row)

    def _drop_longest_unheard(self, row: Conversation) -> None:
        count = self.execute("SELECT count(*) FROM mark WHERE conversation = ?", (row.id,)).fetchone()[0]
        if count > ops.WRITERS:
            self.execute(
                "DELETE FROM mark WHERE conversation = ?1 AND writer = "
                "(SELECT writer FROM mark WHERE conversation = ?1 ORDER BY ms LIMIT 1)",
                (row.id,),
            )

    # accepted ids

    def accepted(self, row: Conversation, digest: str) -> Accepted | None:
        """Return the record of an accepted message id."""
        found = self.execute(
            "SELECT n, digest, state, token, attempt, answer, arrived_ms FROM accepted WHERE conversation = ? AND digest = ?",
            (row.id, digest),
        ).fetchone()
        return Accepted(*found) if found else None

    def answered_by(self, row: Conversation, answer: str) -> bool:
        """Whether the operation of this id answered a message that is still remembered."""
        found = self.execute("SELECT 1 FROM accepted WHERE conversation = ? AND answer = ? LIMIT 1", (row.id, answer))
        return found.fetchone() is not None

    def ring_is_full(self, row: Conversation) -> bool:
        """Whether one more arrival would push an unsettled one out of the ring."""
        if row.n + 1 - row.settled <= ops.RING:
            return False
        return bool(self.waiting(row, row.settled + 1, row.n + 1 - ops.RING))

    def waiting(self, row: Conversation, first: int, last: int) -> list[Accepted]:
        """Return the records of arrivals ``first`` to ``last`` that wait for an answer."""
        if first > last:
            return []
        found = self.execute(
            "SELECT n, digest, state, token, attempt, answer, arrived_ms FROM accepted "
            "WHERE conversation = ? AND n BETWEEN ? AND ? AND state = 'w' ORDER BY n",
            (row.id, first, last),
        )
        return [Accepted(*record) for record in found]

    def remember(self, row: Conversation, digest: str, state: str, token: int = 0) -> Accepted:
        """Remember an accepted id under the newest arrival, its turn's first attempt if it has one; the ring keeps 128."""
        record = Accepted(row.n, digest, state, token, int(token > 0), "", self.now_ms)
        if row.n > ops.RING:
            self.execute("DELETE FROM accepted WHERE conversation = ? AND n <= ?", (row.id, row.n - ops.RING))
        self.execute("INSERT OR REPLACE INTO accepted VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (row.id, *record))
        return record

    def settle(self, row: Conversation, upto: int, state: str, answer: str) -> None:
        """Settle every arrival up to ``upto`` that still waits."""
        self.execute(
            "UPDATE accepted SET state = ?, answer = ?, token = 0 WHERE conversation = ? AND n BETWEEN ? AND ? AND state = 'w'",
            (state, answer, row.id, row.settled + 1, upto),  # what waited in a former session was never answered
        )

    def attempt(self, row: Conversation, records: list[Accepted], token: int) -> int:
        """Give waiting records to the turn with this token; return which attempt it is for the oldest."""
        self.execute(
            "UPDATE accepted SET token = ?1, attempt = attempt + 1 "
            "WHERE conversation = ?2 AND n BETWEEN ?3 AND ?4 AND state = 'w' AND token <> ?1",
            (token, row.id, records[0].n, records[-1].n),
        )
        return records[0].attempt + (records[0].token != token)

    # messages

    def push(self, row: Conversation, n: int, text: bytes, transcript: int) -> None:
        """Add a message as the newest."""
        self.execute(
            "INSERT INTO message SELECT ?1, coalesce(max(position), 0) + 1, ?2, ?3 FROM message WHERE conversation = ?1",
            (row.id, n, text),
        )
        self.transcribe(row, text, transcript)

    def transcribe(self, row: Conversation, text: bytes, most: int) -> None:
        """Add a message to the transcript, which keeps the newest ``most``."""
        if most <= 0:
            return
        position = self.execute(
            "INSERT INTO transcript SELECT ?1, coalesce(max(position), 0) + 1, ?2 FROM transcript WHERE conversation = ?1 "
            "RETURNING position",
            (row.id, text),
        ).fetchone()[0]
        self.execute("DELETE FROM transcript WHERE conversation = ? AND position <= ?", (row.id, position - most))

    def place(self, row: Conversation, cut: int, texts: list[bytes], transcript: int) -> None:
        """Add messages after the newest one that had arrived by ``cut``."""
        newest = "SELECT position, n FROM message WHERE conversation = ? ORDER BY position DESC LIMIT 1"
        after, arrival = self.execute(newest, (row.id,)).fetchone() or (0, 0)
        if arrival > cut:
            after = self._last_by(row, cut)
            self._shift(row, after, len(texts))
        for offset, text in enumerate(texts, 1):
            self.execute("INSERT INTO message VALUES (?, ?, ?, ?)", (row.id, after + offset, cut, text))
            self.transcribe(row, text, transcript)

    def _last_by(self, row: Conversation, cut: int) -> int:
        last = "SELECT coalesce(max(position), 0) FROM message WHERE conversation = ? AND n <= ?"
        return int(self.execute(last, (row.id, cut)).fetchone()[0])

    def _shift(self, row: Conversation, after: int, places: int) -> None:
        """Through negative positions, because an update meets its own primary keys."""
        both = "UPDATE message SET position = {} WHERE conversation = ? AND position {}"
        self.execute(both.format(f"-(position + {places:d})", "> ?"), (row.id, after))
        self.execute(both.format("-position", "< 0"), (row.id,))

    @staticmethod
    def held(row: Conversation) -> int:
        """Return how many messages are held, window and waiting."""
        return row.count - row.folded

    def lists(self, row: Conversation) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
        """Return the window, newest first, and what waits to be folded, oldest first."""
        if row.session_id is None:
            return (), ()
        rows = self.execute("SELECT text FROM message WHERE conversation = ? ORDER BY position DESC", (row.id,)).fetchall()
        texts = tuple([text for (text,) in rows])
        return texts[: ops.WINDOW], texts[: ops.WINDOW - 1 : -1] if len(texts) > ops.WINDOW else ()

    # replies that wait to be marked as sent

    def count_unsent(self, row: Conversation) -> int:
        """Return how many messages of replies wait to be marked as sent."""
        return int(self.execute("SELECT count(*) FROM unsent WHERE conversation = ?", (row.id,)).fetchone()[0])

    def await_sending(self, row: Conversation, message_id: str, text: bytes) -> None:
        """Let a message wait to be marked as sent."""
        insert = "INSERT INTO unsent (conversation, id, ms, text) VALUES (?, ?, ?, ?)"
        self.execute(insert, (row.id, message_id, self.now_ms, text))

    def fold(self, row: Conversation, folding: ops.Folding) -> bool:
        """Replace the oldest messages by the summary that covers them, unless somebody folded or wrote one meanwhile."""
        if folding.start != row.folded or self.held(row) - ops.WINDOW < folding.count:
            return False
        if wire.text_digest(row.summary.encode()) != folding.basis:
            return False
        self._drop_oldest(row, folding.count)
        row.folded += folding.count
        row.summary = folding.summary
        return True

    def _drop_oldest(self, row: Conversation, count: int) -> None:
        self.execute(
            "DELETE FROM message WHERE conversation = ?1 AND position IN "
            "(SELECT position FROM message WHERE conversation = ?1 ORDER BY position LIMIT ?2)",
            (row.id, count),
        )
