"""``/items/{id}``: one item, what was made of it, and what happened."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, Response

from treadle.artefact import StoredArtefact
from treadle.dossier import artefact_of, stage_part
from treadle.errors import ItemNotFound
from treadle.web.artefacts import preview
from treadle.web.context import Store, Viewer, render
from treadle.web.item_view import Asked, item_values

router: APIRouter = APIRouter()
_ONE = "/{item_id:segment}"
# A picture or PDF comes from whoever made it: nothing in it may ask for anything else.
_ALONE = {"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'", "Content-Disposition": "inline"}


@router.get("/items" + _ONE)
async def item(request: Request, store: Store, who: Viewer, item_id: str, asked: Annotated[Asked, Query()]) -> HTMLResponse:
    """The whole page."""
    return render(request, "item.html", active="items", **await item_values(store, item_id, asked))


@router.get("/parts/items" + _ONE)
async def item_part(request: Request, store: Store, who: Viewer, item_id: str, asked: Annotated[Asked, Query()]) -> HTMLResponse:
    """The page's content as it is now; an item that is no more says so."""
    try:
        values = await item_values(store, item_id, asked)
    except ItemNotFound:
        return render(request, "parts/gone.html", item_id=item_id)
    return render(request, "parts/item.html", **values)


@router.get("/items" + _ONE + "/stages/{stage}/preview")
async def preview_artefact(store: Store, who: Viewer, item_id: str, stage: str, field: str | None = None) -> Response:
    """The picture or PDF that the stage made, where its type says that it is one."""
    part = await stage_part(store, item_id, stage)
    made = await artefact_of(store, item_id, stage) if isinstance(part.artefact, StoredArtefact) else part.artefact
    found = await asyncio.to_thread(preview, made, part.schema, field)
    if found is None:
        raise HTTPException(404, f"stage {stage!r} of item {item_id!r} made no picture or PDF")
    return Response(found[0], media_type=found[1], headers=_ALONE)
