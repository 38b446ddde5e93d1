"""What the header says: how much waits for people, what failed, who works and how fast."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from treadle.figures import Pace, pace, seconds_left
from treadle.presence import is_gone
from treadle.state import ItemPhase, StageState
from treadle.store import StateStore
from treadle.web.kept import PACE_FRESH, Kept

_FRESH = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The figures of a moment; what is ``None`` is not known."""

    waiting: int
    failed: int
    workers: int
    stages_per_minute: float | None = None
    seconds_left: float | None = None


class FigureKeeper:
    """Keeps the figures of a store, read at most twice a second however many ask."""

    def __init__(self, store: StateStore, kept: Kept) -> None:
        self.latest: Figures | None = None
        self.workflow = ""
        self._store = store
        self._kept = kept
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()

    async def get(self) -> Figures:
        """The figures, no older than half a second."""
        async with self._reading:
            if self.latest is None or time.monotonic() - self._read_at > _FRESH:
                self.latest = await self._read()
                self._read_at = time.monotonic()
            return self.latest

    async def _read(self) -> Figures:
        if not self.workflow:
            shape = await self._store.shape()
            self.workflow = "" if shape is None else shape.workflow
        counts, rows = await self._store.counts(), await self._store.workers()
        alive = await asyncio.to_thread(lambda: sum(not is_gone(row.who) for row in rows))
        waiting = sum(states.get(StageState.AWAITING_REVIEW, 0) for states in counts.stages.values())
        moving: Pace = await self._kept.get("pace", PACE_FRESH, lambda: pace(self._store))
        return Figures(
            waiting=waiting,
            failed=counts.phases.get(ItemPhase.FAILED, 0),
            workers=alive,
            stages_per_minute=moving.per_minute or None,
            seconds_left=seconds_left(counts, moving),
        )
