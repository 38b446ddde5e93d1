"""``/api/v1/reviews``: what waits for people, and their answers."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from treadle.history import Review
from treadle.inbox import InboxStats
from treadle.web.api.review_shapes import (
    BulkBody,
    BulkShape,
    CaseShape,
    ClaimBody,
    DecideBody,
    PatchShape,
    PreviewBody,
    ReopenBody,
    ReviewPage,
)
from treadle.web.context import Inbox, Operator, Reviewer, Store, Viewer
from treadle.web.review_query import Asked, review_filter

router: APIRouter = APIRouter(prefix="/reviews", tags=["reviews"])
_ONE = "/{item_id:path}/{stage}"


@router.get("")
async def list_reviews(
    inbox: Inbox, who: Viewer, wanted: Asked, after: int | None = None, limit: Annotated[int, Query(ge=1, le=500)] = 50
) -> ReviewPage:
    """A page of reviews, those that were asked first first."""
    page = await inbox.list(wanted, after=after, limit=limit)
    return ReviewPage(reviews=page.reviews, cursor=page.cursor)


@router.get("/stats")
async def review_stats(inbox: Inbox, who: Viewer) -> InboxStats:
    """How much waits, and how fast people are."""
    return await inbox.stats()


@router.post("/bulk")
async def decide_all(inbox: Inbox, store: Store, who: Reviewer, body: BulkBody) -> BulkShape:
    """One answer to every open review that the filter finds; with ``dry_run`` only what it would come to."""
    wanted = await review_filter(store, body.filter)
    return BulkShape.of(await inbox.decide_all(wanted, body.meant(), reviewer=who.name, dry_run=body.dry_run))


@router.get(_ONE)
async def show_review(inbox: Inbox, who: Viewer, item_id: str, stage: str) -> CaseShape:
    """The latest question about a stage, open or decided, with what it is about."""
    return CaseShape.of(await inbox.show(item_id, stage))


@router.post(_ONE + "/claim")
async def claim_review(inbox: Inbox, who: Reviewer, item_id: str, stage: str, body: ClaimBody) -> Review:
    """The review is in your hands for so long; others are told so."""
    return await inbox.claim(item_id, stage, reviewer=who.name, minutes=body.minutes)


@router.post(_ONE + "/release", status_code=204)
async def release_review(inbox: Inbox, who: Reviewer, item_id: str, stage: str) -> None:
    """Give back what you claimed."""
    await inbox.release(item_id, stage, reviewer=who.name)


@router.post(_ONE + "/decide", status_code=204)
async def decide_review(inbox: Inbox, who: Reviewer, item_id: str, stage: str, body: DecideBody) -> None:
    """The decision is stored, if what was read still stands there."""
    await inbox.decide(
        item_id, stage, body.meant(), reviewer=who.name, revision=body.revision, digest=body.digest, rests=body.rests
    )


@router.post(_ONE + "/preview")
async def preview_edit(inbox: Inbox, who: Reviewer, item_id: str, stage: str, body: PreviewBody) -> PatchShape:
    """What an edit comes to, if it would be taken; nothing is stored."""
    return PatchShape(patch=await inbox.preview(item_id, stage, body.artefact))


@router.post(_ONE + "/undo", status_code=204)
async def undo_decision(inbox: Inbox, who: Reviewer, item_id: str, stage: str) -> None:
    """Your decision is taken back, if the item has not moved on since."""
    await inbox.undo(item_id, stage, reviewer=who.name)


@router.post(_ONE + "/reopen", status_code=204)
async def reopen_review(inbox: Inbox, who: Operator, item_id: str, stage: str, body: ReopenBody) -> None:
    """A decided question is asked anew; stages that were built on the answer return to pending."""
    await inbox.reopen(item_id, stage, operator=who.name, reason=body.reason)
