"""Gates are counted right or wrong by what people decided."""

from __future__ import annotations

import pytest

from treadle import (
    Engine,
    ExhaustedAction,
    GateRecord,
    MemoryStateStore,
    RetryBudget,
    StageContext,
    Workflow,
    criterion,
    gate_records,
    judge,
)


def never(item, output, ctx):
    return judge(criterion("good", actual=False))


def tried_twice() -> Workflow:
    flow = Workflow("w")

    @flow.stage(gate=never, retry=RetryBudget(max_attempts=2, on_exhausted=ExhaustedAction.ESCALATE))
    async def work(item, ctx: StageContext) -> int:
        return ctx.attempt

    return flow


@pytest.mark.parametrize(
    ("attempt", "changed", "record"),
    [
        (None, 0, GateRecord(gate="never", false_rejects=1)),
        (2, 0, GateRecord(gate="never", false_rejects=1)),
        (1, 1, GateRecord(gate="never", right_rejects=1)),
    ],
)
async def test_naming_the_attempt_that_waits_is_no_change(attempt, changed, record):
    store = MemoryStateStore()
    async with Engine(tried_twice(), store) as engine:
        await engine.run([{"id": "a"}])
        await engine.approve("a", "work", attempt=attempt, reviewer="ann")
        assert await gate_records(store) == [record]
        assert (await engine.inbox.stats()).changed_share == changed
        await engine.inbox.undo("a", "work")
        assert (await engine.inbox.show("a", "work")).artefact == 2
