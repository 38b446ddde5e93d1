"""Items that go through their first stage in a batch are each as safe as one that goes alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.unit.things import Item, numbered
from treadle import (
    AwaitingReview,
    Completed,
    Engine,
    EventKind,
    ItemPhase,
    LeaseLost,
    MemoryStateStore,
    RetryBudget,
    ReviewData,
    Skipped,
    StageState,
    StateStore,
    StoreUnavailable,
    Workflow,
    decide,
)
from treadle.artefact import MAX_INLINE
from treadle.clock import now_us
from treadle.state import ItemState, Transition
from treadle.store import NewItem
from treadle.testing import FaultyStore


async def attempts(store: StateStore, item: str, stage: str = "work") -> list[str]:
    return [attempt.how.value for _, attempt in await store.attempts(item, stage)]


class Waiting:
    """A workflow whose batches wait until they are let go, one of them or all."""

    def __init__(self, batch: int = 4) -> None:
        self.flow = Workflow("waiting")
        self.calls: list[list[int]] = []
        self.through: list[int] = []
        self.ready = [asyncio.Event() for _ in range(8)]
        self.came = asyncio.Event()

        @self.flow.stage(batch=batch, batch_wait=0.01)
        async def work(items: list[Item]) -> list[int]:
            self.calls.append([item["n"] for item in items])
            self.came.set()
            await self.ready[len(self.calls) - 1].wait()
            return [item["n"] for item in items]

        @self.flow.stage
        async def then(item: Item, work: int) -> int:
            self.through.append(work)
            return work + 1

    def go(self) -> None:
        for ready in self.ready:
            ready.set()


async def test_whatever_a_batch_makes_of_an_item_is_as_if_it_were_alone(store: StateStore) -> None:
    flow = Workflow("mixed")
    large = "x" * (MAX_INLINE + 1)
    made = {
        0: 0, 1: ValueError("never"), 2: ValueError("once"), 3: Skipped("not this"), 4: Completed("done", summary="in short"),
        5: AwaitingReview(ReviewData("is it so?"), "perhaps"), 6: large, 7: None,
    }  # fmt: skip

    @flow.stage(batch=8, batch_wait=0.01, retry=RetryBudget(max_attempts=2))
    async def work(items: list[Item]) -> list[Any]:
        found = [made[item["n"]] for item in items]
        made[2] = "twice"
        return found

    @flow.stage
    async def left(item: Item, work: Any) -> int:
        return len(work or "")

    @flow.stage
    async def right(item: Item, work: Any) -> str:
        return str(work)[:10]

    async with asyncio.timeout(20), Engine(flow, store) as engine:
        report = await engine.run(numbered(8), concurrency=8)
        assert (report.completed, report.failed, report.awaiting_review) == (6, 1, 1)
        states = {str(n): (await engine.status(str(n)))["work"] for n in range(8)}
        await engine.approve("5", "work", reviewer="ann")
        assert (await engine.run()).completed == 7
        four, five, six = [await store.load(n) for n in "456"]
    assert states["1"].error == "ValueError: never"
    assert await attempts(store, "1") == ["failed", "failed"]
    assert await attempts(store, "2") == ["failed", "completed"]
    assert states["3"].state is StageState.SKIPPED
    assert four is not None
    assert four.stages["work"].summary == "in short"
    assert states["5"].state is StageState.AWAITING_REVIEW
    assert six is not None
    assert six.stages["left"].artefact == str(MAX_INLINE + 1)
    assert five is not None
    assert five.stages["right"].artefact == '"perhaps"'


async def test_a_batch_that_is_done_waits_for_no_other(store: StateStore) -> None:
    waiting = Waiting(4)
    async with asyncio.timeout(20), Engine(waiting.flow, store) as engine:
        running = asyncio.create_task(engine.run(numbered(10), concurrency=10))
        while len(waiting.calls) < 3:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.001)
        assert waiting.calls == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
        waiting.ready[1].set()
        while (await store.counts()).phases.get(ItemPhase.COMPLETED) != 4:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.001)
        assert {n for n in range(10) if (await engine.status(str(n)))["then"].state is StageState.COMPLETED} == {4, 5, 6, 7}
        waiting.go()
        assert (await running).completed == 10


@pytest.mark.parametrize("now", [False, True])
async def test_what_is_stopped_in_a_batch_is_put_back_or_ends_and_is_charged_no_attempt(store: StateStore, now: bool) -> None:
    waiting = Waiting(4)
    async with asyncio.timeout(20), Engine(waiting.flow, store) as engine:
        running = asyncio.create_task(engine.run(numbered(6), concurrency=6))
        await waiting.came.wait()
        engine.stop(now=now)
        waiting.go()
        await running
    for n in range(6):
        state = await store.load(str(n))
        assert state is not None
        assert all(row.state in {StageState.PENDING, StageState.COMPLETED} for row in state.stages.values())
        assert "then" not in state.stages
    async with asyncio.timeout(20), Engine(waiting.flow, store) as engine:
        assert (await engine.run()).completed == 6
        for n in range(6):
            state = await store.load(str(n))
            assert state is not None
            assert state.stages["work"].spent == 0


async def test_an_item_that_is_cancelled_in_a_batch_is_cancelled(store: StateStore) -> None:
    waiting = Waiting(4)
    async with asyncio.timeout(20), Engine(waiting.flow, store) as engine:
        running = asyncio.create_task(engine.run(numbered(4), concurrency=4))
        await waiting.came.wait()
        await engine.cancel("2", "enough")
        waiting.go()
        report = await running
        assert (report.completed, report.cancelled) == (3, 1)
        told = [event.kind async for event in engine.events(item_id="2")]
    assert told[-1] is EventKind.ITEM_CANCELLED
    state = await store.load("2")
    assert state is not None
    assert "then" not in state.stages


async def test_a_batch_all_of_whose_items_are_cancelled_holds_nobody_up(store: StateStore) -> None:
    waiting = Waiting(2)
    async with asyncio.timeout(20), Engine(waiting.flow, store) as engine:
        running = asyncio.create_task(engine.run(numbered(2), concurrency=2))
        await waiting.came.wait()
        for item in ("0", "1"):
            await engine.cancel(item)
        assert (await running).cancelled == 2


class Lossy(MemoryStateStore):
    lost: str | None = None

    commit_all = StateStore.commit_all

    def commit(self, state: ItemState, change: Transition) -> Awaitable[None]:
        if state.id == self.lost:
            raise LeaseLost("gone")
        return super().commit(state, change)


async def test_an_item_that_was_lost_in_a_batch_costs_nobody_else_anything() -> None:
    waiting = Waiting(4)
    store = Lossy()
    async with asyncio.timeout(20), Engine(waiting.flow, store) as engine:
        running = asyncio.create_task(engine.run(numbered(4), concurrency=4))
        await waiting.came.wait()
        store.lost = "1"
        waiting.go()
        await running
        assert [(await engine.status(str(n)))["then"].state.value for n in (0, 2, 3)] == ["completed"] * 3
    assert sorted(waiting.through) == [0, 2, 3]


async def test_a_store_that_refuses_a_batch_ends_the_run_and_costs_nothing() -> None:
    waiting = Waiting(4)
    store = FaultyStore(MemoryStateStore())
    async with asyncio.timeout(20), Engine(waiting.flow, store) as engine:
        running = asyncio.create_task(engine.run(numbered(4), concurrency=4))
        await waiting.came.wait()
        store.plan("commit_all", error=StoreUnavailable("no"))
        waiting.go()
        with pytest.raises(StoreUnavailable, match="no"):
            await running
    async with asyncio.timeout(20), Engine(waiting.flow, store) as engine:
        assert (await engine.run()).completed == 4


@dataclass(frozen=True)
class Typed:
    id: str
    n: int


async def test_an_item_that_cannot_be_read_keeps_nobody_from_the_batch(store: StateStore) -> None:
    flow = Workflow("typed", item=Typed)
    sizes: list[int] = []

    @flow.stage(batch=4, batch_wait=0.01)
    async def work(items: list[Typed]) -> list[int]:
        sizes.append(len(items))
        return [item.n for item in items]

    await store.bind(flow.definition)
    items = [NewItem(f"{n}", json.dumps({"id": f"{n}", "n": n if n < 3 else "many"})) for n in range(4)]
    await store.add(items, decide.arrive(flow.definition, now_us()))
    async with asyncio.timeout(20), Engine(flow, store) as engine:
        report = await engine.run()
        error = (await engine.status("3"))["work"].error
    assert (report.completed, report.failed, sizes) == (3, 1, [3])
    assert error is not None
    assert "item '3'" in error


async def test_what_a_batch_raised_is_told_of_each_item_alike(store: StateStore) -> None:
    flow = Workflow("raises")

    @flow.stage(batch=5, batch_wait=0.01)
    async def work(items: list[Item]) -> list[int]:
        raise ValueError("for all")

    async with asyncio.timeout(20), Engine(flow, store) as engine:
        assert (await engine.run(numbered(5), concurrency=5)).failed == 5
    told = set()
    for n in range(5):
        ((_, attempt),) = await store.attempts(str(n), "work")
        assert attempt.failure is not None
        told.add(json.dumps(json.loads(attempt.failure)["frames"]))
    assert len(told) == 1


async def test_the_journal_tells_of_a_batch_as_of_any_stage(store: StateStore) -> None:
    waiting = Waiting(4)
    waiting.go()
    async with asyncio.timeout(20), Engine(waiting.flow, store) as engine:
        report = await engine.run(numbered(4), concurrency=4)
        told = [(event.kind, event.stage) async for event in engine.events(item_id="3")]
    assert report.stages_run == 8
    assert told == [
        (EventKind.ITEM_ADDED, None), (EventKind.STAGE_STARTED, "work"), (EventKind.STAGE_COMPLETED, "work"),
        (EventKind.STAGE_STARTED, "then"), (EventKind.STAGE_COMPLETED, "then"), (EventKind.WORKFLOW_COMPLETED, None),
    ]  # fmt: skip


async def test_advancing_an_item_waits_for_its_batch(store: StateStore) -> None:
    waiting = Waiting(4)
    async with asyncio.timeout(20), Engine(waiting.flow, store) as engine:
        running = asyncio.create_task(engine.run(numbered(2), concurrency=2))
        await waiting.came.wait()
        advancing = asyncio.create_task(engine.advance("1"))
        await asyncio.sleep(0)
        waiting.go()
        assert (await advancing)["then"].state is StageState.COMPLETED
        await running
