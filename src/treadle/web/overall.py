"""How everything does, read once a second however many ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import Depends, Request

from treadle import figures
from treadle.failure_groups import Failures, failures
from treadle.figures import Durations, Pace, StageFigures, StageReport
from treadle.state import ItemPhase
from treadle.store import Counts, EventFilter, Shape, StateStore
from treadle.web.kept import PACE_FRESH, Kept

_FRESH = 0.5
"""Seconds for which counts are good: what changes elsewhere shows within one."""
_SLOW = 5.0
"""Seconds for which durations are good: medians of hundreds hardly move."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Everything:
    """How everything does.

    Args:
        started_at: when the first event happened.
        workers: how many are enlisted.
        held: how many items they hold.
    """

    workflow: str | None
    counts: Counts
    stages: Sequence[StageFigures]
    pace: Pace
    failures: Failures
    seconds_left: float | None
    started_at: datetime | None
    workers: int
    held: int

    @property
    def moving(self) -> int:
        """Items that workers hold and have not finished with."""
        return min(self.held, self.counts.phases.get(ItemPhase.PENDING, 0))

    @property
    def pending(self) -> int:
        """Items that wait for a worker."""
        return self.counts.phases.get(ItemPhase.PENDING, 0) - self.moving


async def moving(store: StateStore, kept: Kept) -> tuple[Pace, Mapping[str, Durations]]:
    """How fast stages end, and how long each takes."""
    pace: Pace = await kept.get("pace", PACE_FRESH, lambda: figures.pace(store), steady=True)
    took: Mapping[str, Durations] = await kept.get("durations", _SLOW, lambda: figures.durations(store), steady=True)
    return pace, took


async def everything(store: StateStore, kept: Kept) -> Everything:
    """How everything does now."""
    return await kept.get("everything", _FRESH, lambda: _read(store, kept))


async def _read(store: StateStore, kept: Kept) -> Everything:
    shape, counts, workers = await store.shape(), await store.counts(), await store.workers()
    pace, took = await moving(store, kept)
    failed: Failures = await kept.get("failures", PACE_FRESH, lambda: failures(store, limit=200))
    first = await store.journal(EventFilter(), None, 1)
    return Everything(
        workflow=None if shape is None else shape.workflow,
        counts=counts,
        stages=figures.stage_figures(shape or Shape("", {}), counts, pace, took),
        pace=pace,
        failures=failed,
        seconds_left=figures.seconds_left(counts, pace),
        started_at=first.events[0].at if first.events else None,
        workers=len(workers),
        held=sum(worker.holds for worker in workers),
    )


async def report_of(request: Request, stage: str) -> StageReport:
    """How one stage does now; raises ``StageNotFound``."""
    store: StateStore = request.app.state.store
    kept: Kept = request.app.state.kept
    pace, took = await moving(store, kept)
    return await kept.get(("stage", stage), _FRESH, lambda: figures.stage_report(store, stage, moving=pace, took=took))


async def overall(request: Request) -> Everything:
    """How everything does now, for a route."""
    return await everything(request.app.state.store, request.app.state.kept)


Overall = Annotated[Everything, Depends(overall)]
