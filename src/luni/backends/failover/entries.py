"""What the journal keeps: an operation as it was acknowledged, with what the local store made of it."""

from __future__ import annotations

import zlib

import msgspec

from luni import operations as ops
from luni.errors import Damaged
from luni.models import Discreet

__all__ = ["JOURNALED", "Entry", "Journaled", "decode", "encode"]

Journaled = (
    ops.Receive | ops.Open | ops.Reply | ops.Append | ops.Update | ops.Pause | ops.Amend | ops.MarkSent | ops.End
)  # fmt: skip
JOURNALED: tuple[type[ops.Operation], ...] = Journaled.__args__


class Entry(Discreet, frozen=True, kw_only=True, omit_defaults=True):
    """One acknowledged operation. Times are the server's, in milliseconds, as well as they could be told.

    ``clock_ms`` and ``stamp_ms`` are what its messages were stored with; ``expire_ms`` is when the session expires because of
    it (0: it is no activity). ``settles`` are the digests of the arrivals that it answered; with ``cut`` those are every
    arrival up to it instead. ``lease`` is what it took, with ``lease_end_ms``. ``late``: its messages are flagged, because they
    were stored after the user had read them.
    """

    operation: Journaled
    at_ms: int
    clock_ms: int = 0
    stamp_ms: int = 0
    expire_ms: int = 0
    settles: tuple[str, ...] = ()
    cut: int | None = None
    arrival: int = 0
    lease: str = ""
    lease_end_ms: int = 0
    late: bool = False

    @property
    def stamp(self) -> str:
        """What decides which of two changes of a field is the later one."""
        by = f"{self.operation.writer}-{self.operation.seq}" if isinstance(self.operation, ops.Write) else ""
        return f"{self.clock_ms or self.at_ms:013d}-{by}"


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Entry)


def encode(entry: Entry) -> tuple[bytes, int]:
    """Return an entry as it is kept, and its checksum."""
    body = _ENCODER.encode(entry)
    return body, zlib.crc32(body)


def decode(body: bytes, checksum: int) -> Entry:
    """Return a kept entry; raise `Damaged` if it is not what was written."""
    if zlib.crc32(body) != checksum:
        raise Damaged("the entry's checksum does not fit: the journal's file was changed")
    try:
        return _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Damaged("the entry cannot be read: it was written by another version") from None
