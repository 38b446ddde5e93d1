"""``/``: where everything is, and how it moves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from treadle.state import ItemPhase
from treadle.store import EventFilter, StateStore
from treadle.web.charts import pace_line
from treadle.web.context import Inbox, Store, Viewer, link, render
from treadle.web.dag import stage_nodes
from treadle.web.overall import Everything, Overall
from treadle.web.overall import overall as overall_of
from treadle.web.telling import WORTH_TELLING, tell

router: APIRouter = APIRouter()
_TOLD = 14
_GROUPS = 5
_SPENDERS = 5
_PEOPLE = 2.0
_FRESH = 0.5


def _summary(overall: Everything) -> dict[str, Any]:
    phases = overall.counts.phases
    return {
        "overall": overall,
        "phases": {phase.value: phases.get(phase, 0) for phase in ItemPhase},
        "nodes": stage_nodes(overall.stages),
        "line": pace_line(overall.pace),
        "spenders": sorted((s for s in overall.stages if s.share), key=lambda s: -s.share)[:_SPENDERS],
    }


async def _beside(request: Request, store: StateStore, inbox: Inbox, overall: Everything) -> dict[str, Any]:
    events = await store.journal(EventFilter(kinds=WORTH_TELLING), None, _TOLD, newest_first=True)
    return {
        "overall": overall,
        "people": await request.app.state.kept.get("people", _PEOPLE, inbox.stats),
        "groups": [group for group in overall.failures.groups if not group.is_cancelled][:_GROUPS],
        "told": [(event, tell(event)) for event in events.events],
    }


@router.get("/")
async def overview(request: Request, store: Store, inbox: Inbox, who: Viewer, overall: Overall) -> HTMLResponse:
    """The whole page."""
    beside = await _beside(request, store, inbox, overall)
    return render(request, "overview.html", active="overview", **_summary(overall) | beside)


@router.get("/parts/overview")
async def overview_part(request: Request, who: Viewer) -> HTMLResponse:
    """Counts, DAG and rates as they are now."""

    async def make() -> Response:
        return render(request, "parts/overview.html", **_summary(await overall_of(request)))

    return await _for_all(request, "overview", make)


@router.get("/parts/beside")
async def beside_part(request: Request, store: Store, inbox: Inbox, who: Viewer) -> HTMLResponse:
    """What needs people, what failed, what has just happened."""

    async def make() -> Response:
        values = await _beside(request, store, inbox, await overall_of(request))
        return render(request, "parts/beside.html", **values)

    return await _for_all(request, "beside", make)


async def _for_all(request: Request, name: str, make: Callable[[], Awaitable[Response]]) -> HTMLResponse:
    """A part that is the same for everybody, written once for all pages that ask for it at the same time."""
    made: Response = await request.app.state.kept.get((name, link(request, "")), _FRESH, make)
    return HTMLResponse(made.body)
