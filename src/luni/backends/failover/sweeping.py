"""Who was erased elsewhere is erased here: other hosts reach the primary, and the primary is asked."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from luni import operations as ops

if TYPE_CHECKING:
    from luni.backends.failover.keeper import Keeper

__all__ = ["Sweeper"]

logger = logging.getLogger("luni")


class Sweeper:
    """Asks the primary when somebody was last erased, and if that is news, goes through the mirror's sessions."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper

    def look(self) -> None:
        """Erase from the mirror who was erased on the primary since this was last looked at."""
        keeper = self._keeper
        latest = keeper.primary().execute(ops.Tombstones(tenant="", user="")).ms
        if latest <= int(keeper.journal.note("swept") or 0):
            return
        passed, seen = 0, set[tuple[str, str]]()
        while addresses := keeper.local.addresses(passed):
            passed += len(addresses)
            seen |= {(one.tenant, one.user) for one in addresses}
        gone = 0
        for tenant, user in sorted(seen):
            erased_ms = keeper.primary().execute(ops.Tombstones(tenant=tenant, user=user)).ms
            if erased_ms and keeper.local.erased_before(tenant, user) < erased_ms:
                keeper.eraser(tenant, user, erased_ms, keeper.local.store().execute)
                gone += 1
        keeper.journal.write_note("swept", str(latest))
        if gone:
            logger.warning("%d people who were erased elsewhere were erased from this host's mirror", gone)
