"""Add items from a source to the store."""

from __future__ import annotations

import logging
from functools import partial

from treadle import decide
from treadle.arrival import new_item
from treadle.attempt import Surroundings
from treadle.clock import now_us
from treadle.errors import InvalidItem, ItemConflict, TreadleError
from treadle.patience import patiently
from treadle.source import Source
from treadle.store import NewItem, StateStore

log: logging.Logger = logging.getLogger("treadle.worker")


class Intake:
    """Adds items from a source to the store; what cannot be added is kept as a problem and stops nothing."""

    def __init__(self, store: StateStore, surroundings: Surroundings, source: Source) -> None:
        self._store = store
        self._flow = surroundings.flow
        self.source = source
        self.problems: list[TreadleError] = []

    async def add(self, limit: int) -> int:
        """Read and add up to ``limit`` items; how many were read."""
        items = await self.source.take(limit)
        fresh: dict[str, NewItem] = {}
        for item in items:
            try:
                new = new_item(self._flow, item)
            except InvalidItem as error:
                self._refuse(error)
                continue
            if (known := fresh.setdefault(new.id, new)) is not new and known != new:
                self._refuse(ItemConflict(new.id))
        if fresh:
            for identity in await self._added(list(fresh.values())):
                self._refuse(ItemConflict(identity))
        return len(items)

    async def _added(self, items: list[NewItem]) -> list[str]:
        """What was read is not lost to a disk that is full for a while."""
        add = partial(self._store.add, items, decide.arrive(self._flow, now_us()))
        return await patiently(add, "cannot add items now", log)

    def _refuse(self, error: TreadleError) -> None:
        log.warning("item not taken: %s", error)
        self.problems.append(error)
