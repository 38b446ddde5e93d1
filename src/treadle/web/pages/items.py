"""``/items``: every item, a cell a stage."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from treadle.listing import PAGE, item_page, of_items
from treadle.store import Counts, Filter, StateStore
from treadle.web.asked import AskedItems
from treadle.web.context import Store, Viewer, render
from treadle.web.weave import cells

router: APIRouter = APIRouter()
_KNOWN = ("prefix", "text", "stage", "state", "phase", "age")
_PLACES = ("after", "before")
_NARROW = 12
"""With more stages than this, cells are narrow and the names above them stand upright."""
AGES = {
    "<5m": "changed within 5 min",
    "<1h": "changed within an hour",
    "<1d": "changed within a day",
    ">1h": "not for an hour",
    ">1d": "not for a day",
    ">7d": "not for a week",
}


async def _told(request: Request, store: StateStore, wanted: Filter, after: str | None, before: str | None) -> dict[str, Any]:
    page = await item_page(store, wanted, after=after, before=before, limit=PAGE)
    shape = await store.shape()
    asked = {name: value for name in _KNOWN if (value := request.query_params.get(name))}
    here = asked | {name: value for name in _PLACES if (value := request.query_params.get(name))}

    def query(**place: str) -> str:
        return f"?{urlencode(asked | place)}"

    return {
        "page": page,
        "stages": list(shape.stages) if shape is not None else [],
        "is_narrow": shape is not None and len(shape.stages) > _NARROW,
        "asked": dict.fromkeys(_KNOWN, "") | asked,
        "is_filtered": bool(asked),
        "here": f"?{urlencode(here)}" if here else "",
        "query": query,
        "total": _total(await store.counts(), of_items(wanted)),
        "ages": AGES,
        "cells": cells,
    }


def _total(counts: Counts, wanted: Filter) -> int | None:
    """How many items the filter finds, where the store keeps count of them."""
    if wanted == Filter():
        return counts.items
    if wanted == Filter(phase=wanted.phase) and wanted.phase is not None:
        return counts.phases.get(wanted.phase, 0)
    if wanted == Filter(wanted.stage, wanted.state) and wanted.stage is not None and wanted.state is not None:
        return counts.stages.get(wanted.stage, {}).get(wanted.state, 0)
    return None


@router.get("/items")
async def items(
    request: Request, store: Store, who: Viewer, wanted: AskedItems, after: str | None = None, before: str | None = None
) -> HTMLResponse:
    """The whole page."""
    return render(request, "items.html", active="items", **await _told(request, store, wanted, after, before))


@router.get("/parts/items")
async def items_part(
    request: Request, store: Store, who: Viewer, wanted: AskedItems, after: str | None = None, before: str | None = None
) -> HTMLResponse:
    """The rows as they are now."""
    return render(request, "parts/items.html", **await _told(request, store, wanted, after, before))
