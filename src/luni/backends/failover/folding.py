"""Folding what waits in a session that was caught up with. Pure."""

from __future__ import annotations

import msgspec

from luni import operations as ops
from luni import wire
from luni.context import extractive, foldable
from luni.models import Message

__all__ = ["folded"]

_UNREADABLE = Message(text="", role="system")


def folded(at: ops.State, texts: list[bytes]) -> ops.State:
    """Fold the oldest messages until what waits to be folded has room again: they leave ``texts`` (oldest first).

    Nothing that waits for an answer is folded.
    """
    while len(texts) > ops.WINDOW + ops.FOLD_MAX:
        messages = [wire.decode_message(text) or _UNREADABLE for text in texts]
        waiting, window = messages[: -ops.WINDOW], messages[-ops.WINDOW :]
        count = foldable(waiting, settled=at.settled, stored=window)
        if count == 0:
            break
        tokens = sum(max(0, message.tokens) for message in waiting[:count])
        at = msgspec.structs.replace(
            at, summary=extractive(at.summary, waiting[:count]), token_est=max(0, at.token_est - tokens),
            folded=at.folded + count,
        )  # fmt: skip
        del texts[:count]
    return at
