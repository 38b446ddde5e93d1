"""The inbox: a queue, one review, and what it was made from."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, Response

from treadle.errors import ItemNotFound, ReviewConflict, StageNotFound
from treadle.history import Review, is_author
from treadle.inbox import ReviewCase
from treadle.state import AskedBy
from treadle.store import ReviewFilter
from treadle.web.access import Principal
from treadle.web.context import Inbox, Store, Viewer, render
from treadle.web.review_query import Asked
from treadle.web.review_view import ANSWERED, editing, review_view
from treadle.web.shown import shown
from treadle.web.templating import visible

router: APIRouter = APIRouter()
_ONE = "/{item_id:path}/{stage}"
_PAGE = 50


@router.get("/inbox")
async def inbox_page(request: Request, inbox: Inbox, store: Store, who: Viewer, wanted: Asked) -> HTMLResponse:
    """The queue, with the first review that may be decided opened beside it."""
    page = await inbox.list(wanted, limit=_PAGE)
    is_own = _is_own(who)
    first = next((review for review in page.reviews if review.holder in (None, who.name) and not is_own(review)), None)
    case = None if first is None else await _case(inbox, first.item_id, first.stage)
    return await _page(request, store, who, wanted, page=page, case=case, view="queue")


@router.get("/inbox/{item_id:path}/{its_stage}")  # `stage` is a filter
async def review_page(
    request: Request, inbox: Inbox, store: Store, who: Viewer, wanted: Asked, item_id: str, its_stage: str
) -> HTMLResponse:
    """The queue, with this review opened beside it."""
    case = await inbox.show(item_id, its_stage)
    return await _page(request, store, who, wanted, page=await inbox.list(wanted, limit=_PAGE), case=case, view="review")


@router.get("/parts/inbox/queue")
async def queue_part(
    request: Request, inbox: Inbox, who: Viewer, wanted: Asked, after: int | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = _PAGE,
) -> HTMLResponse:  # fmt: skip
    """Rows of the queue behind a cursor."""
    page = await inbox.list(wanted, after=after, limit=limit)
    return render(request, "inbox/rows.html", page=page, is_own=_is_own(who))


@router.get("/parts/inbox/review" + _ONE)
async def review_part(request: Request, inbox: Inbox, who: Viewer, item_id: str, stage: str) -> HTMLResponse:
    """One review with all that belongs to it."""
    view = review_view(await inbox.show(item_id, stage), who)
    return render(request, "inbox/review.html", view=view, answered=ANSWERED)


@router.get("/parts/inbox/progress")
async def progress_part(request: Request, inbox: Inbox, who: Viewer) -> HTMLResponse:
    """How the inbox is doing."""
    return render(request, "inbox/progress.html", stats=await inbox.stats())


@router.get("/parts/inbox/editing" + _ONE)
async def editing_part(inbox: Inbox, who: Viewer, item_id: str, stage: str) -> Response:
    """What an edit of a large artefact begins with."""
    case, whole = await inbox.show(item_id, stage), await inbox.artefact(item_id, stage)
    return Response(await asyncio.to_thread(editing, case, whole), media_type="application/json")


@router.get("/parts/inbox/whole" + _ONE)
async def whole_part(inbox: Inbox, who: Viewer, item_id: str, stage: str, of: str) -> Response:
    """All of a value that its page shows in part, as plain text."""
    value = await _part(inbox, await inbox.show(item_id, stage), of)
    text = await asyncio.to_thread(lambda: visible(shown(value, most=2**31).text))
    return Response(text, media_type="text/plain")


async def _part(inbox: Inbox, case: ReviewCase, of: str) -> Any:
    kind, _, name = of.partition(".")
    match kind:
        case "artefact":
            return await inbox.artefact(case.review.item_id, case.review.stage)
        case "item":
            return case.item
        case "details":
            return case.review.review.details
        case "upstream" if name in case.upstream:
            return await inbox.artefact(case.review.item_id, name)
        case _:
            raise HTTPException(404, f"a review has no {of}")


def _is_own(who: Principal) -> Callable[[Review], bool]:
    """Whether a review is about a person's own work, which they may not decide."""
    return lambda review: is_author(review.author, who.name)


async def _case(inbox: Inbox, item_id: str, stage: str) -> ReviewCase | None:
    try:
        return await inbox.show(item_id, stage)
    except (ItemNotFound, StageNotFound, ReviewConflict):
        return None  # it was removed since the page was read


async def _page(
    request: Request, store: Store, who: Principal, wanted: ReviewFilter, *, page: Any, case: ReviewCase | None, view: str
) -> HTMLResponse:
    shape = await store.shape()
    return render(
        request,
        "inbox/page.html",
        active="inbox",
        page=page,
        view=None if case is None else review_view(case, who),
        answered=ANSWERED,
        shows=view,
        wanted=wanted,
        filters={name: value for name, value in request.query_params.items() if value},
        stages=[] if shape is None else [(stage, stage) for stage in shape.stages],
        asked_by=[(asked.value, asked.value) for asked in AskedBy],
        reader=who.name,
        is_own=_is_own(who),
    )
