"""``/api/v1/items``: where items are, what was made of them, and what operators do to them."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import Response

from treadle.dossier import artefact_of, child_attempts, child_page, dossier, stage_part
from treadle.history import Attempt, word_of
from treadle.listing import item_page
from treadle.state import StageState
from treadle.store import EventFilter
from treadle.web import operating
from treadle.web.api.item_shapes import (
    AttemptShape,
    EntryShape,
    ItemDetailShape,
    ItemPageShape,
    JournalShape,
    Reasoned,
    RerunBody,
    RetryBody,
    StagePartShape,
    SubtaskPageShape,
    SubtaskShape,
)
from treadle.web.asked import AskedItems
from treadle.web.context import Operator, Store, Viewer

router: APIRouter = APIRouter(prefix="/items", tags=["items"])
_ONE = "/{item_id:segment}"
_STAGE = _ONE + "/stages/{stage}"
Limit = Annotated[int, Query(ge=1, le=500)]


@router.get("")
async def list_items(
    store: Store, who: Viewer, wanted: AskedItems, after: str | None = None, before: str | None = None, limit: Limit = 100
) -> ItemPageShape:
    """A page of items in the order of their ids, behind `after` or before `before`."""
    return ItemPageShape.model_validate(await item_page(store, wanted, after=after, before=before, limit=limit))


@router.get(_ONE)
async def show_item(store: Store, who: Viewer, item_id: str) -> ItemDetailShape:
    """One item: its content, and how its stages stand."""
    found = await dossier(store, item_id)
    return ItemDetailShape(
        id=item_id,
        phase=found.status.phase,
        progress_percent=found.status.progress_percent,
        added_at=found.added_at,
        changed_at=found.changed_at,
        item=None if found.item is None else json.loads(found.item),
        stages=[EntryShape.model_validate(entry) for entry in found.status.stages],
    )


@router.get(_ONE + "/events")
async def item_events(
    store: Store, who: Viewer, item_id: str, after: int | None = None, limit: Limit = 100, *, newest_first: bool = False
) -> JournalShape:
    """What happened to one item."""
    await dossier(store, item_id)
    return JournalShape.model_validate(await store.journal(EventFilter(item_id), after, limit, newest_first=newest_first))


@router.get(_STAGE)
async def show_stage_of_item(store: Store, who: Viewer, item_id: str, stage: str) -> StagePartShape:
    """What one stage made, and every attempt at it."""
    part = await stage_part(store, item_id, stage)
    return StagePartShape(
        entry=EntryShape.model_validate(part.entry),
        artefact=part.artefact,
        json_schema=part.schema,
        attempts=[attempt_shape(attempt) for attempt in part.attempts],
        left_out=part.left_out,
        subtasks=part.children,
    )


@router.get(_STAGE + "/artefact", response_class=Response, responses={200: {"content": {"application/json": {}}}})
async def artefact(store: Store, who: Viewer, item_id: str, stage: str) -> Response:
    """What the stage made, as JSON, however large; of a fan-out an object with the artefact of each subtask."""
    found = await artefact_of(store, item_id, stage)
    text = await asyncio.to_thread(json.dumps, found, ensure_ascii=False)
    # Shown as text and never as a page, whatever it holds.
    return Response(text, media_type="application/json", headers={"X-Content-Type-Options": "nosniff"})


@router.get(_STAGE + "/subtasks")
async def subtasks(
    store: Store, who: Viewer, item_id: str, stage: str, after: int = -1, state: StageState | None = None, limit: Limit = 100
) -> SubtaskPageShape:
    """The children of a fan-out, in their order."""
    await stage_part(store, item_id, stage)
    page = await child_page(store, item_id, stage, after=after, state=state, limit=limit)
    return SubtaskPageShape(subtasks=[SubtaskShape.model_validate(child) for _, child in page.children], after=page.after)


@router.get(_STAGE + "/subtasks/{place}/attempts")
async def subtask_attempts(store: Store, who: Viewer, item_id: str, stage: str, place: int) -> list[AttemptShape]:
    """Every attempt at one subtask, named by its place from 0."""
    await stage_part(store, item_id, stage)
    return [attempt_shape(attempt) for attempt in await child_attempts(store, item_id, stage, place)]


@router.post(_ONE + "/retry", status_code=204)
async def retry_item(store: Store, who: Operator, item_id: str, body: RetryBody) -> None:
    """A failed stage (all that failed, without a name) is pending again; of a fan-out only what failed runs again."""
    await operating.retry(store, item_id, body.stage, body.reason, who)


@router.post(_ONE + "/rerun", status_code=204)
async def rerun_item(store: Store, who: Operator, item_id: str, body: RerunBody) -> None:
    """A finished stage is pending again; history is kept."""
    await operating.rerun(store, item_id, body.stage, body.reason, who, cascade=body.cascade)


@router.post(_ONE + "/cancel", status_code=204)
async def cancel_item(store: Store, who: Operator, item_id: str, body: Reasoned) -> None:
    """The item moves no more."""
    await operating.cancel(store, item_id, body.reason, who)


def attempt_shape(attempt: Attempt) -> AttemptShape:
    """An attempt as the API tells it."""
    said: dict[str, Any] | None = None
    if attempt.verdict is not None:
        said = {"verdict": word_of(attempt.verdict)} | asdict(attempt.verdict)
    given = {name: getattr(attempt, name) for name in AttemptShape.model_fields}
    return AttemptShape(**given | {"verdict": said, "feedback": None if attempt.feedback is None else asdict(attempt.feedback)})
