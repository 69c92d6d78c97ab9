"""Where chains go on a Cluster, and when they have gone far enough. No I/O."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from luni.backends.redis.cluster.chains import Chain, Everywhere, Node
from luni.backends.redis.cluster.slots import Slots
from luni.errors import Indeterminate, LuniError, Unavailable

__all__ = ["Travels", "of_everywhere"]

HOPS = 5
"""A chain that was sent on so often is not sent any further."""

PAUSE = 0.02
"""Seconds until a slot that is being moved is tried again."""


def of_everywhere(wanted: Everywhere, slots: Slots) -> dict[Node, Chain]:
    """Return a chain for each primary that has to be asked."""
    apart = wanted.apart
    asked = slots.primaries() if apart is None else [node for node in slots.primaries() if node in apart]
    return {node: Chain.of_words(wanted.words if apart is None else apart[node], node) for node in asked}


class Travels:
    """Chains on their way: who takes them next, and what they bring back.

    A node that says that a slot is elsewhere, or on its way, has done nothing: the chain follows, for at most ``seconds``.
    """

    def __init__(self, slots: Slots, chains: Sequence[Chain], seconds: float) -> None:
        self._slots, self._chains = slots, chains
        self._deadline = time.monotonic() + seconds
        self.sent: dict[Node, list[Chain]] = {}

    @property
    def over(self) -> bool:
        """Whether every chain has what matters, or cannot get it."""
        return all(chain.done or chain.failure is not None for chain in self._chains)

    def placed(self) -> dict[Node, list[Chain]]:
        """Return who takes what is not done."""
        self.sent = {}
        for chain in self._chains:
            if chain.done or chain.failure is not None:
                continue
            node = chain.asks or self._slots.owner(chain.slot)
            if node is None:
                self._slots.doubt()
                chain.failure = Unavailable(f"no node of the Cluster has the slot {chain.slot} now")
            else:
                self.sent.setdefault(node, []).append(chain)
        return self.sent

    def look(self) -> float:
        """Note where chains are to go on; return for how many seconds to wait before."""
        late = time.monotonic() >= self._deadline
        pause = 0.0
        for node, chains in self.sent.items():
            for chain in chains:
                if chain.failure is not None:
                    self._slots.doubt(node if isinstance(chain.failure, Indeterminate) else None)
                    continue
                if chain.moved or chain.asks:
                    self._follow(chain, node)
                if chain.done:
                    continue
                if late or chain.hops > HOPS:
                    chain.failure = Unavailable("the Cluster is moving the slot, or does not agree on who has it")
                elif chain.again or chain.hops > 1:
                    pause = PAUSE
        return pause

    def _follow(self, chain: Chain, sender: Node) -> None:
        """A node without a name of its own for another means the host it is reached at."""
        if chain.moved:
            chain.moved = (chain.moved[0] or sender[0], chain.moved[1])
            self._slots.note_moved(chain.slot, chain.moved)
        elif chain.asks:
            chain.asks = (chain.asks[0] or sender[0], chain.asks[1])

    def answers(self) -> list[list[Any]]:
        """Return each chain's answers; raise the failure of one that has not what matters.

        If anything was done, or may have been, that is `Indeterminate`: the operation goes on where it is repeated.
        """
        failures: list[LuniError] = [chain.failure for chain in self._chains if chain.failure is not None and not chain.done]
        if failures:
            unsure = next((one for one in failures if isinstance(one, Indeterminate)), None)
            if (
                unsure is None
                and isinstance(failures[0], Unavailable)
                and any(one.answers for one in self._chains if one.changes)
            ):
                unsure = Indeterminate(f"a part of the operation was executed: {failures[0]}")
            raise unsure or failures[0]
        return [chain.answers for chain in self._chains]
