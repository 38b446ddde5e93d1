"""Which reviews a request means."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Depends, HTTPException
from pydantic import AwareDatetime

from treadle.clock import now_us, to_us
from treadle.errors import StageNotFound
from treadle.state import AskedBy
from treadle.status import stretch
from treadle.store import ReviewFilter, StateStore
from treadle.web.api.review_shapes import Wanted
from treadle.web.context import Store

_OPEN = {"open": True, "decided": False, "all": None}


async def review_filter(store: StateStore, wanted: Wanted, *, is_open: bool | None = True) -> ReviewFilter:
    """``wanted`` as the store takes it.

    Raises:
        StageNotFound: the store knows no such stage.
        HTTPException: 422, for a length of time that is none.
    """
    shape = await store.shape()
    if wanted.stage is not None and shape is not None and wanted.stage not in shape.stages:
        raise StageNotFound(wanted.stage, tuple(shape.stages))
    times = [] if wanted.opened_before is None else [to_us(wanted.opened_before)]
    if wanted.older_than is not None:
        try:
            times.append(now_us() - int(stretch(wanted.older_than) * 1_000_000))
        except ValueError as error:
            raise HTTPException(422, str(error)) from error
    before = min(times, default=None)
    return ReviewFilter(wanted.stage, wanted.asked_by, wanted.verdict, wanted.holder, before, wanted.item, is_open)


async def _asked(
    store: Store,
    stage: str | None = None,
    asked_by: AskedBy | Literal[""] | None = None,
    verdict: Literal["uncertain", "rejected", "accepted", ""] | None = None,
    holder: str | None = None,
    older_than: str | None = None,
    opened_before: AwareDatetime | None = None,
    item: str | None = None,
    state: Literal["open", "decided", "all"] = "open",
) -> ReviewFilter:
    """The filters of an address. What a form left empty does not matter, but for the holder: that is nobody."""
    wanted = Wanted(
        stage=stage or None,
        asked_by=asked_by or None,
        verdict=verdict or None,
        holder=holder,
        older_than=older_than or None,
        opened_before=opened_before,
        item=item or None,
    )
    return await review_filter(store, wanted, is_open=_OPEN[state])


Asked = Annotated[ReviewFilter, Depends(_asked)]
