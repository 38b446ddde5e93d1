"""A person's edit is checked where it cannot hold up the event loop."""

from __future__ import annotations

import threading
from typing import Annotated

from pydantic import AfterValidator

from treadle import ApproveWithEdits, Engine, MemoryStateStore, ReviewPolicy, Workflow

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
