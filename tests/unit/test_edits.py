"""A person's edit is checked by all that its type says, and where it cannot hold up the event loop."""

from __future__ import annotations

import threading
from typing import Annotated

import pytest
from pydantic import AfterValidator, Field

from treadle import ApproveWithEdits, AwaitingReview, Engine, InvalidArtefact, MemoryStateStore, ReviewPolicy, Workflow

CHECKED_IN: dict[int, set[str]] = {}


def _noted(number: int) -> int:
    CHECKED_IN.setdefault(number, set()).add(threading.current_thread().name)
    return number


Noted = Annotated[int, AfterValidator(_noted)]


async def test_an_edit_is_not_checked_on_the_event_loop():
    flow = Workflow("w")

    @flow.stage(review=ReviewPolicy.ALWAYS)
    async def work(item) -> Noted:
        return 1

    async with Engine(flow, MemoryStateStore()) as engine:
        await engine.run([{"id": "a"}])
        await engine.resolve_review("a", "work", ApproveWithEdits(2), reviewer="ann")
    assert threading.current_thread().name not in CHECKED_IN[2]


@pytest.mark.parametrize("whole", [False, True])
async def test_what_annotated_says_of_an_artefact_holds(whole):
    flow = Workflow("w")
    returns = Annotated[int, Field(ge=1), ["unhashable"]] if whole else Annotated[int, Field(ge=1)] | AwaitingReview

    async def work(item):
        return item["number"]

    work.__annotations__["return"] = returns
    flow.stage(review=ReviewPolicy.ALWAYS)(work)
    async with Engine(flow, MemoryStateStore()) as engine:
        report = await engine.run([{"id": "a", "number": 1}, {"id": "b", "number": 0}])
        assert (report.awaiting_review, report.failed) == (1, 1)
        with pytest.raises(InvalidArtefact, match="greater than or equal to 1"):
            await engine.resolve_review("a", "work", ApproveWithEdits(-1), reviewer="ann")
