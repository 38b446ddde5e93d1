"""Whenever a run is stopped, cancelled or struck by a fault, nothing is left held, nothing new starts, and nothing is charged."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import pytest

from tests.unit.things import Item, held, numbered
from treadle import (
    Engine,
    MemoryStateStore,
    RetryBudget,
    StageContext,
    StateStore,
    StoreUnavailable,
    Workflow,
    decide,
)
from treadle.clock import now_us
from treadle.presence import identity
from treadle.state import ItemState, StageState, Transition
from treadle.store import NewItem
from treadle.testing import FaultyStore


class SlowToTell(MemoryStateStore):
    """Claims at once, and says so later."""

    def __init__(self) -> None:
        super().__init__()
        self.claimed = asyncio.Event()

    async def claim(self, *given: Any, **named: Any) -> Any:
        claimed = await super().claim(*given, **named)
        if claimed.items:
            self.claimed.set()
            await asyncio.sleep(0.1)
        return claimed


class Fails(FaultyStore):
    """Refuses what item 1 comes to."""

    def commit(self, state: ItemState, change: Transition) -> Awaitable[None]:
        if state.id == "1" and change.stages and change.stages[0].state is StageState.COMPLETED:
            raise StoreUnavailable("no")
        return super().commit(state, change)


def waiting(ran: list[str], *, batch: bool) -> Workflow:
    flow = Workflow("waiting")

    async def a(given: Any) -> Any:
        ran.append("a")
        await asyncio.sleep(30)

    a.__annotations__ = {"given": list[Item] if batch else Item, "return": list[int] if batch else int}
    flow.stage(**({"batch": 3, "batch_wait": 0.01} if batch else {}))(a)
    return flow


@pytest.mark.parametrize("how", ["stop", "stop now", "cancel", "cancel twice"])
@pytest.mark.parametrize("batch", [False, True])
async def test_what_is_claimed_when_a_run_is_stopped_is_given_back_unbegun(
    batch: bool, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    store, ran = SlowToTell(), list[str]()
    async with asyncio.timeout(20), Engine(waiting(ran, batch=batch), store) as engine:
        run = asyncio.create_task(engine.run(numbered(3), concurrency=3))
        await store.claimed.wait()
        if how.startswith("stop"):
            engine.stop(now=how == "stop now")
            await run
        else:
            run.cancel()
            if how == "cancel twice":
                await asyncio.sleep(0)
                run.cancel()
            with pytest.raises(asyncio.CancelledError):
                await run
        assert (ran, await held(store)) == ([], 0)
        assert [str(event.kind) async for event in engine.events()] == ["item_added"] * 3
    assert "left behind" not in caplog.text


async def test_a_run_that_ends_for_a_fault_can_be_cancelled(store: StateStore) -> None:
    flow, inside = Workflow("struck"), asyncio.Event()

    @flow.stage
    async def a(item: Item) -> int:
        if item["n"] == 0:
            inside.set()
            await asyncio.sleep(30)
        await inside.wait()
        return 1

    async with asyncio.timeout(20), Engine(flow, Fails(store)) as engine:
        run = asyncio.create_task(engine.run(numbered(2), concurrency=2))
        await inside.wait()
        while engine._entered_worker()._fatal is None:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.001)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        state = await store.load("0")
    assert state is not None
    assert state.stages["a"].state is StageState.PENDING


async def test_a_claim_that_fails_lets_nothing_new_start(store: StateStore) -> None:
    flow, ran, faulty = Workflow("claims"), list[str](), FaultyStore(store)

    @flow.stage
    async def a(item: Item) -> int:
        ran.append("a")
        worker = engine._entered_worker()
        ((driver, _),) = worker._held.values()
        faulty.plan("claim", times=100)
        worker.poke()
        while driver._window:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.001)
        return 1

    @flow.stage
    async def b(item: Item, a: int) -> int:
        ran.append("b")
        return 1

    async with asyncio.timeout(20), Engine(flow, faulty) as engine:
        with pytest.raises(StoreUnavailable):
            await engine.run(numbered(1), concurrency=3)
    assert ran == ["a"]


@pytest.mark.parametrize("what", ["cancel", "stop"])
async def test_an_item_that_is_taken_away_ends_its_advance_and_cancels_nobody(store: StateStore, what: str) -> None:
    flow, inside = Workflow("advance"), asyncio.Event()

    @flow.stage
    async def a(item: Item) -> int:
        inside.set()
        await asyncio.sleep(30)
        return 1

    async with asyncio.timeout(20), Engine(flow, store) as engine:
        advancing = asyncio.create_task(engine.advance({"id": "0", "n": 0}))
        await inside.wait()
        if what == "cancel":
            await engine.cancel("0")
        else:
            engine.stop(now=True)
        assert (await advancing)["a"].state is (StageState.FAILED if what == "cancel" else StageState.PENDING)


async def test_a_run_that_ended_for_a_fault_can_be_run_again(store: StateStore) -> None:
    flow, faulty = Workflow("again"), FaultyStore(store)

    @flow.stage
    async def a(item: Item) -> int:
        return 1

    async with asyncio.timeout(20), Engine(flow, faulty) as engine:
        faulty.plan("claim")
        with pytest.raises(StoreUnavailable):
            await engine.run(numbered(3))
        assert (await engine.advance("0"))["a"].state is StageState.COMPLETED
        assert (await engine.run(numbered(3))).completed == 3


async def test_a_run_whose_claim_failed_can_be_cancelled(store: StateStore) -> None:
    flow, inside, faulty = Workflow("cancelled"), asyncio.Event(), FaultyStore(store)
    ended: list[str] = []

    @flow.stage
    async def a(item: Item) -> int:
        inside.set()
        try:
            await asyncio.sleep(30)
        finally:
            ended.append("cancelled")
        return 1

    async with asyncio.timeout(20), Engine(flow, faulty) as engine:
        run = asyncio.create_task(engine.run(numbered(1), concurrency=3))
        await inside.wait()
        before = faulty.calls["claim"]
        faulty.plan("claim", times=100)
        engine._entered_worker().poke()
        while faulty.calls["claim"] == before:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.001)
        await asyncio.wait({run}, timeout=0.01)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        state = await store.load("0")
        assert state is not None
        assert (await held(store), ended, state.stages["a"].state) == (0, ["cancelled"], StageState.PENDING)


async def test_a_source_that_is_slow_to_end_lets_nothing_new_start() -> None:
    flow, ran, inside = Workflow("slow-source"), list[str](), asyncio.Event()

    @flow.stage
    async def a(item: Item) -> int:
        inside.set()
        await asyncio.sleep(0.1)
        return 1

    @flow.stage
    async def b(item: Item, a: int) -> int:
        ran.append("b")
        return 1

    async def source() -> AsyncIterator[Item]:
        yield {"id": "0", "n": 0}
        try:
            await asyncio.sleep(30)
        finally:
            await asyncio.sleep(0.3)

    async with asyncio.timeout(20), Engine(flow, MemoryStateStore()) as engine:
        run = asyncio.create_task(engine.run(source()))
        await inside.wait()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
    assert ran == []


async def test_items_of_a_dead_worker_are_given_back_when_a_run_is_stopped() -> None:
    flow, store = Workflow("suspects"), SlowToTell()

    @flow.stage
    async def a(item: Item) -> int:
        return 1

    await store.bind(flow.definition)
    items = [NewItem(str(n), json.dumps({"id": str(n), "n": n})) for n in range(3)]
    await store.add(items, decide.arrive(flow.definition, now_us()))
    dead = await store.enlist(identity())
    await store.claim(dead, 10, now_us(), is_dead=lambda _: False)
    await store.retire(dead)
    store.claimed.clear()
    async with asyncio.timeout(20), Engine(flow, store) as engine:
        run = asyncio.create_task(engine.run(concurrency=3))
        await store.claimed.wait()
        engine.stop()
        await run
        assert await held(store) == 0


async def test_an_advance_that_is_cancelled_puts_back_whatever_else_is_said() -> None:
    flow, inside, store = Workflow("advance"), asyncio.Event(), FaultyStore(MemoryStateStore())

    @flow.stage
    async def a(item: Item) -> int:
        await asyncio.sleep(30)
        return 1

    @flow.stage
    async def b(item: Item) -> int:
        inside.set()
        await asyncio.sleep(30)
        return 1

    async with asyncio.timeout(20), Engine(flow, store) as engine:
        advancing = asyncio.create_task(engine.advance({"id": "x", "n": 1}))
        await inside.wait()
        before = store.calls["commit"]
        store.plan("commit", times=100, delay=0.1)
        advancing.cancel()
        while store.calls["commit"] == before:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.001)
        engine.stop(now=True)
        with pytest.raises(asyncio.CancelledError):
            await advancing
        assert await held(store) == 0


async def test_what_rests_or_comes_while_the_store_is_asked_is_not_forgotten() -> None:
    """The answer to a claim may be late, and tell nothing of an item that is due by then."""

    class Late(MemoryStateStore):
        async def claim(self, *given: Any, **named: Any) -> Any:
            claimed = await super().claim(*given, **named)
            if not claimed.items:
                await asyncio.sleep(0.05)
            return claimed

    flow = Workflow("late")

    @flow.stage(retry=RetryBudget(max_attempts=5, delay=0))
    async def a(item: Item, ctx: StageContext) -> int:
        await asyncio.sleep(0.02)
        if ctx.attempt < 4:
            raise ValueError("again")
        return 1

    async def source() -> AsyncIterator[Item]:
        for item in numbered(4):
            await asyncio.sleep(0.03)
            yield item

    async with asyncio.timeout(20), Engine(flow, Late()) as engine:
        assert (await engine.run(source())).completed == 4
