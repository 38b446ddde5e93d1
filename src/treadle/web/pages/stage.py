"""``/stages/{stage}``: how one stage does."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from treadle.listing import item_page
from treadle.state import StageState
from treadle.store import Filter, ReviewFilter, StateStore
from treadle.web.charts import attempt_columns, duration_columns, verdict_stacks
from treadle.web.context import Inbox, Store, Viewer, render
from treadle.web.dag import segments
from treadle.web.overall import report_of

router: APIRouter = APIRouter()
_SHOWN = 8
_WIDTH = 1000


async def _told(request: Request, store: StateStore, inbox: Inbox, stage: str) -> dict[str, Any]:
    report = await report_of(request, stage)
    failed = await item_page(store, Filter(stage, StageState.FAILED), limit=_SHOWN)
    shape = await store.shape()
    return {
        "stage": stage,
        "report": report,
        "dependents": [name for name, needs in (shape.stages if shape else {}).items() if stage in needs],
        "bar": segments(report.figures.counts, _WIDTH),
        "took": duration_columns(report.durations),
        "attempts": attempt_columns(report.durations),
        "stacks": verdict_stacks(report.verdicts),
        "asked": (await inbox.list(ReviewFilter(stage), limit=_SHOWN)).reviews,
        "failed": failed.items,
    }


@router.get("/stages/{stage}")
async def stage_page(request: Request, store: Store, inbox: Inbox, who: Viewer, stage: str) -> HTMLResponse:
    """The whole page."""
    return render(request, "stage.html", active="overview", **await _told(request, store, inbox, stage))


@router.get("/parts/stages/{stage}")
async def stage_part(request: Request, store: Store, inbox: Inbox, who: Viewer, stage: str) -> HTMLResponse:
    """The page's content as it is now."""
    return render(request, "parts/stage.html", **await _told(request, store, inbox, stage))
