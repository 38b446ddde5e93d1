"""``/api/v1/stats``: how everything does."""

from __future__ import annotations

from fastapi import APIRouter

from treadle.web.api.item_shapes import PaceShape, StageFiguresShape, StatsShape
from treadle.web.context import Viewer
from treadle.web.overall import Overall

router: APIRouter = APIRouter(tags=["stats"])


@router.get("/stats")
async def stats(who: Viewer, overall: Overall) -> StatsShape:
    """Items by phase, stages by state, rates and time left; no older than a second."""
    return StatsShape(
        workflow=overall.workflow,
        items=overall.counts.items,
        phases=overall.counts.phases,
        stages=[StageFiguresShape.model_validate(figures) for figures in overall.stages],
        pace=PaceShape.model_validate(overall.pace),
        seconds_left=overall.seconds_left,
        workers=overall.workers,
        held=overall.held,
    )
