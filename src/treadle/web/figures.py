"""What the header says: how much waits for people, what failed, who works and how fast."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from treadle import figures
from treadle.figures import Pace
from treadle.presence import is_gone
from treadle.state import ItemPhase, StageState
from treadle.store import StateStore
from treadle.web.kept import PACE_FRESH, Kept

_FRESH = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The figures of a moment.

    Args:
        waiting: stages that need a person.
        failed: items that failed.
        workers: those that live.
        seconds_left: ``None``: nothing moves.
    """

    waiting: int
    failed: int
    workers: int
    stages_per_minute: float
    seconds_left: float | None


class FigureKeeper:
    """Keeps the figures of a store, read at most twice a second however many ask."""

    def __init__(self, store: StateStore, kept: Kept) -> None:
        self.latest: Figures | None = None
        self.workflow: str = ""
        self._store = store
        self._kept = kept

    async def get(self) -> Figures:
        """The figures, no older than half a second."""
        self.latest = await self._kept.get("header", _FRESH, self._read)
        return self.latest

    async def _read(self) -> Figures:
        if not self.workflow:
            shape = await self._store.shape()
            self.workflow = "" if shape is None else shape.workflow
        counts, rows = await self._store.counts(), await self._store.workers()
        pace: Pace = await self._kept.get("pace", PACE_FRESH, lambda: figures.pace(self._store), steady=True)
        return Figures(
            waiting=sum(states.get(StageState.AWAITING_REVIEW, 0) for states in counts.stages.values()),
            failed=counts.phases.get(ItemPhase.FAILED, 0),
            workers=await asyncio.to_thread(lambda: sum(not is_gone(row.who) for row in rows)),
            stages_per_minute=pace.per_minute,
            seconds_left=figures.seconds_left(counts, pace),
        )
