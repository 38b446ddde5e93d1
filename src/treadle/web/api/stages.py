"""``/api/v1/stages``: how the stages do."""

from __future__ import annotations

from fastapi import APIRouter, Request

from treadle.web.api.item_shapes import (
    BarShape,
    FailuresShape,
    StageFiguresShape,
    StageReportShape,
    VerdictsShape,
)
from treadle.web.context import Viewer
from treadle.web.overall import Overall, report_of

router: APIRouter = APIRouter(prefix="/stages", tags=["stages"])


@router.get("")
async def list_stages(who: Viewer, overall: Overall) -> list[StageFiguresShape]:
    """Every stage in topological order."""
    return [StageFiguresShape.model_validate(figures) for figures in overall.stages]


@router.get("/{stage}")
async def show_stage(request: Request, who: Viewer, stage: str) -> StageReportShape:
    """One stage: durations and attempts of its newest completions, its failures by message, its gate's verdicts."""
    report = await report_of(request, stage)
    return StageReportShape(
        figures=StageFiguresShape.model_validate(report.figures),
        durations=[BarShape(from_seconds=low, to_seconds=high, n=n) for low, high, n in report.durations.histogram()],
        attempts=report.durations.attempts,
        failures=FailuresShape.model_validate(report.failures),
        verdicts=VerdictsShape.model_validate(report.verdicts),
    )
