"""``/api/v1/events``: the journal."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from treadle.event import EventKind
from treadle.store import EventFilter
from treadle.web.api.item_shapes import JournalShape
from treadle.web.context import Store, Viewer

router: APIRouter = APIRouter(tags=["events"])


@router.get("/events")
async def list_events(
    store: Store,
    who: Viewer,
    item: str | None = None,
    stage: str | None = None,
    kind: Annotated[list[EventKind] | None, Query()] = None,
    after: int | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    *,
    newest_first: bool = False,
) -> JournalShape:
    """Events behind the cursor `after`, in order; with `newest_first` those before it. Nothing is missed going on with `reached`."""
    wanted = EventFilter(item, stage, frozenset(kind) if kind else None)
    return JournalShape.model_validate(await store.journal(wanted, after, limit, newest_first=newest_first))
