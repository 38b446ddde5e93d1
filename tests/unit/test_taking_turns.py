"""Items that rest make way for others while that is being written, and for no more of them than there is room for."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import pytest

from treadle import (
    Engine,
    EventKind,
    ItemPhase,
    MemoryStateStore,
    RetryBudget,
    StageContext,
    StageStatus,
    StateStore,
    Workflow,
    decide,
)
from treadle.clock import now_us
from treadle.state import ItemState, Transition
from treadle.store import NewItem
from treadle.stores import sqlite_writer
from treadle.stores.sqlite import SqliteStateStore
from treadle.testing.faults import FaultyStore

Item = dict[str, Any]


class Reluctant(FaultyStore):
    """Writes that an item rests only when it may, or, if it is ``mute``, says only then that it has written it."""

    def __init__(self, store: StateStore, *, mute: bool = False) -> None:
        super().__init__(store)
        self.may = asyncio.Event()
        self._mute = mute

    def commit(self, state: ItemState, change: Transition) -> Awaitable[None]:
        real = super().commit

        async def later() -> None:
            if change.rest is not None and not self._mute:
                await self.may.wait()
            await real(state, change)
            if change.rest is not None:
                await self.may.wait()

        return later()


class Runs:
    """A workflow of one stage that tells how many ran, and at once, and when ``enough`` have started."""

    def __init__(self, enough: int = 1) -> None:
        self.started = self.now = self.most = 0
        self._enough = enough
        self.enough = asyncio.Event()
        self.flow = Workflow("runs")
        self.flow.stage(self.body)

    async def body(self, item: Item) -> int:
        self.started += 1
        if self.started == self._enough:
            self.enough.set()
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0)
        self.now -= 1
        return 1


async def test_one_transaction_writes_that_an_item_rests_and_claims_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_writer, "PATIENCE", 3600.0)
    runs = Runs()
    flow = runs.flow.definition
    async with SqliteStateStore.open(tmp_path / "s.db") as store, Engine(runs.flow, store) as engine:
        writer = store._writer
        assert isinstance(writer, sqlite_writer.Writer)
        await store.add([NewItem(str(n), f'{{"id":"{n}"}}') for n in range(50)], decide.arrive(flow, now_us()))
        before = writer._transactions
        await engine.run(concurrency=1)
        # One in which an item begins, and one in which it rests and the next is claimed.
        assert 2 * 50 <= writer._transactions - before < 2.2 * 50
    assert (runs.started, runs.most) == (50, 1)


@pytest.mark.parametrize("concurrency", [1, 5])
async def test_no_more_stages_run_at_once_than_may_while_the_store_is_slow(store: StateStore, concurrency: int) -> None:
    runs, slow = Runs(), FaultyStore(store)
    slow.plan("commit", times=10_000, delay=0.002)
    async with Engine(runs.flow, slow) as engine:
        assert (await engine.run([{"id": n} for n in range(40)], concurrency=concurrency)).completed == 40
    assert runs.most <= concurrency


async def test_what_waits_to_be_written_has_an_end(store: StateStore) -> None:
    runs, reluctant = Runs(enough=6), Reluctant(store)
    async with Engine(runs.flow, reluctant) as engine:
        run = asyncio.create_task(engine.run([{"id": n} for n in range(100)], concurrency=5))
        async with asyncio.timeout(20):
            await runs.enough.wait()
            asked = reluctant.calls["claim"]
            for _ in range(1_000):
                await asyncio.sleep(0)
        assert runs.started <= 10
        assert reluctant.calls["claim"] <= asked + 2
        reluctant.may.set()
        assert (await run).completed == 100


async def test_an_item_that_is_due_again_at_once_comes_again(store: StateStore) -> None:
    tries = Counter[int]()
    flow = Workflow("again")

    @flow.stage(retry=RetryBudget(max_attempts=4, delay=1e-6, jitter=False))
    async def body(item: Item) -> int:
        tries[item["id"]] += 1
        if tries[item["id"]] < 4:
            raise ValueError("not yet")
        return 1

    async with Engine(flow, store) as engine, asyncio.timeout(60):
        assert (await engine.run([{"id": n} for n in range(10)], concurrency=1)).completed == 10
        assert tries.total() == 40
        worker = engine._worker
        assert worker is not None
        assert (worker._held, worker._resting) == ({}, set())


async def test_an_item_that_comes_again_before_its_rest_is_acknowledged_has_its_place(store: StateStore) -> None:
    goes_on, again, flow = asyncio.Event(), asyncio.Event(), Workflow("again")
    reluctant = Reluctant(store, mute=True)

    @flow.stage(retry=RetryBudget(max_attempts=2, delay=1e-6, jitter=False))
    async def body(item: Item, ctx: StageContext) -> None:
        if ctx.attempt == 1:
            raise ValueError("not yet")
        again.set()
        await goes_on.wait()

    async with Engine(flow, reluctant) as engine, asyncio.timeout(60):
        run = asyncio.create_task(engine.run([{"id": 1}], concurrency=1))
        await again.wait()
        worker = engine._worker
        assert worker is not None
        assert worker._moving == 1
        goes_on.set()
        reluctant.may.set()
        assert (await run).completed == 1
        assert (worker._held, worker._resting) == ({}, set())


async def test_nothing_is_claimed_in_its_place_when_the_engine_was_told_to_stop() -> None:
    runs, reluctant = Runs(), Reluctant(MemoryStateStore())
    async with Engine(runs.flow, reluctant) as engine:
        run = asyncio.create_task(engine.run([{"id": n} for n in range(10)], concurrency=1))
        async with asyncio.timeout(20):
            await runs.enough.wait()
            engine.stop()
            reluctant.may.set()
            report = await run
    assert report.completed == runs.started <= 2
    assert report.pending > 0


async def test_items_that_are_gone_in_a_moment_are_added_many_at_once() -> None:
    runs, store = Runs(), FaultyStore(MemoryStateStore())
    async with Engine(runs.flow, store) as engine:
        assert (await engine.run([{"id": n} for n in range(400)], concurrency=1)).completed == 400
    assert store.calls["add"] < 100


async def test_no_more_is_read_ahead_of_a_slow_stage_than_can_move(store: StateStore) -> None:
    read, flow, started, goes_on = [0], Workflow("slow"), asyncio.Event(), asyncio.Event()

    @flow.stage
    async def body(item: Item) -> None:
        started.set()
        await goes_on.wait()

    async def source() -> AsyncIterator[Item]:
        while read[0] < 30:
            read[0] += 1
            yield {"id": read[0]}

    counting = FaultyStore(store)
    async with Engine(flow, counting) as engine:
        run = asyncio.create_task(engine.run(source(), concurrency=2))
        async with asyncio.timeout(20):
            await started.wait()
            for _ in range(1_000):
                await asyncio.sleep(0)
        assert (await counting.counts()).phases[ItemPhase.PENDING] <= 4
        goes_on.set()
        assert (await run).completed == 30


async def test_whoever_was_left_behind_makes_way_for_nobody(store: StateStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("treadle.worker._PATIENCE", 0.01)
    flow, started, ends, ended, runs = Workflow("stubborn"), asyncio.Event(), asyncio.Event(), asyncio.Event(), Runs()

    @flow.stage
    async def body(item: Item) -> int:
        if item["id"] != "stubborn":
            return await runs.body(item)
        started.set()
        while not ends.is_set():
            try:
                await ends.wait()
            except asyncio.CancelledError:
                continue
        asyncio.get_running_loop().call_soon(ended.set)
        return 1

    async with Engine(flow, store) as engine, asyncio.timeout(60):
        first = asyncio.create_task(engine.run([{"id": "stubborn"}], concurrency=1))
        await started.wait()
        await engine.cancel("stubborn")
        await first
        ends.set()
        await ended.wait()
        assert (await engine.run([{"id": n} for n in range(5)], concurrency=1)).completed == 5
        assert engine._worker is not None
        assert engine._worker._resting == set()
    assert runs.most == 1


async def test_items_that_are_sent_away_from_a_full_line_make_way_once(
    store: StateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("treadle.worker.IN_LINE", 3)
    runs, flow, goes_on = Runs(enough=60), Workflow("line"), asyncio.Event()
    slow = FaultyStore(store)
    slow.plan("commit", times=100_000, delay=0.001)
    flow.stage(runs.body)

    @flow.stage(limit=1)
    async def after(item: Item, body: int) -> None:
        await goes_on.wait()

    async with Engine(flow, slow) as engine, asyncio.timeout(60):
        run = asyncio.create_task(engine.run([{"id": n} for n in range(60)], concurrency=3))
        await runs.enough.wait()
        goes_on.set()
        assert (await run).completed == 60
    assert runs.most <= 3


async def test_what_waits_in_two_lines_is_given_back_when_the_engine_stops(store: StateStore) -> None:
    flow, all_ask, goes_on, asked = Workflow("lines"), asyncio.Event(), asyncio.Event(), [0]

    def observe(state: ItemState, change: Transition) -> None:
        asked[0] += len(change.ready)
        if asked[0] == 8:
            all_ask.set()

    @flow.stage(limit=1)
    async def one(item: Item) -> None:
        await goes_on.wait()

    @flow.stage(limit=1)
    async def two(item: Item) -> None:
        await goes_on.wait()

    async with Engine(flow, store) as engine, asyncio.timeout(60):
        engine.observe(observe)
        run = asyncio.create_task(engine.run([{"id": n} for n in range(4)], concurrency=4))
        await all_ask.wait()
        engine.stop(now=True)
        assert (await run).pending == 4
        assert [worker.holds for worker in await store.workers()] == [0]


async def test_events_of_a_stage_that_was_never_tried_say_so(store: StateStore) -> None:
    runs = Runs()
    async with Engine(runs.flow, store) as engine:
        await engine.run([{"id": "x"}])
        await store.set_status("x", "body", StageStatus.failed("by hand"))
        await engine.retry("x")
        (retried,) = [event async for event in engine.events() if event.kind is EventKind.STAGE_RETRIED]
    assert retried.attempt == 0
