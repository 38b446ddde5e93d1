"""``/api/v1/failures``: what failed, by message, and trying it again."""

from __future__ import annotations

from fastapi import APIRouter

from treadle.failure_groups import failures
from treadle.web import operating
from treadle.web.api.item_shapes import DoneShape, FailuresShape, RetryManyBody
from treadle.web.context import Operator, Store, Viewer

router: APIRouter = APIRouter(prefix="/failures", tags=["failures"])
_NAMED = 20


@router.get("")
async def list_failures(store: Store, who: Viewer, stage: str | None = None) -> FailuresShape:
    """Failures by stage and the first line of their message."""
    return FailuresShape.model_validate(await failures(store, stage))


@router.post("/retry")
async def retry_failures(store: Store, who: Operator, body: RetryManyBody) -> DoneShape:
    """All failures of a stage, or those with one message, are pending again: a thousand a request."""
    found = await operating.retry_failures(store, body.stage, body.message, body.reason, who, dry_run=body.dry_run)
    return DoneShape(
        done=len(found.done), items=found.done[:_NAMED], refused=found.refused[:_NAMED], more=found.reached is not None
    )
