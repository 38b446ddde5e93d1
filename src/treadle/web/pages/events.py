"""``/events``: the journal, the newest first."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from treadle.event import EventKind
from treadle.store import EventFilter, StateStore
from treadle.web.asked import Blank, Word
from treadle.web.context import Store, Viewer, render
from treadle.web.telling import tell

router: APIRouter = APIRouter()
_PAGE = 100
_KNOWN = ("item", "stage", "kind")
_Kind = Annotated[EventKind | None, Blank]


async def _told(request: Request, store: StateStore, wanted: EventFilter, before: int | None) -> dict[str, Any]:
    journal = await store.journal(wanted, before, _PAGE, newest_first=True)
    shape = await store.shape()
    asked = {name: value for name in _KNOWN if (value := request.query_params.get(name))}

    def query(**place: Any) -> str:
        return f"?{urlencode(asked | place)}"

    return {
        "told": [(event, tell(event)) for event in journal.events],
        "reached": journal.reached,
        "is_short": len(journal.events) < _PAGE,
        "before": before,
        "asked": dict.fromkeys(_KNOWN, "") | asked,
        "is_filtered": bool(asked),
        "query": query,
        "stages": list(shape.stages) if shape is not None else [],
        "kinds": list(EventKind),
    }


def _filter(item: str | None, stage: str | None, kind: EventKind | None) -> EventFilter:
    return EventFilter(item, stage, None if kind is None else frozenset({kind}))


@router.get("/events")
async def events(
    request: Request,
    store: Store,
    who: Viewer,
    item: Word = None,
    stage: Word = None,
    kind: _Kind = None,
    before: int | None = None,
) -> HTMLResponse:
    """The whole page."""
    values = await _told(request, store, _filter(item, stage, kind), before)
    return render(request, "events.html", active="events", **values)


@router.get("/parts/events")
async def events_part(
    request: Request,
    store: Store,
    who: Viewer,
    item: Word = None,
    stage: Word = None,
    kind: _Kind = None,
    before: int | None = None,
) -> HTMLResponse:
    """The newest events."""
    return render(request, "parts/events.html", **await _told(request, store, _filter(item, stage, kind), before))
