"""``/failures``: what failed, by message."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from treadle.failure_groups import failures
from treadle.state import StageState
from treadle.store import StateStore
from treadle.web.context import Store, Viewer, render

router: APIRouter = APIRouter()
_FRESH = 0.5
_MOST = 200


async def _told(request: Request, store: StateStore, stage: str | None) -> dict[str, Any]:
    found = await request.app.state.kept.get(("failures", stage), _FRESH, lambda: failures(store, stage))
    shape, counts = await store.shape(), await store.counts()
    failed = {name: states.get(StageState.FAILED, 0) for name, states in counts.stages.items()}
    return {
        "found": found,
        "groups": [group for group in found.groups if not group.is_cancelled][:_MOST],
        "cancelled": sum(group.count for group in found.groups if group.is_cancelled),
        "stage": stage,
        "stages": {name: failed.get(name, 0) for name in (shape.stages if shape else ())},
    }


@router.get("/failures")
async def failures_page(request: Request, store: Store, who: Viewer, stage: str | None = None) -> HTMLResponse:
    """The whole page."""
    return render(request, "failures.html", active="failures", **await _told(request, store, stage or None))


@router.get("/parts/failures")
async def failures_part(request: Request, store: Store, who: Viewer, stage: str | None = None) -> HTMLResponse:
    """The groups as they are now."""
    return render(request, "parts/failures.html", **await _told(request, store, stage or None))
