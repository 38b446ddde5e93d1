"""As many items move at once as was asked for, but on a busy event loop no more than it has work for."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest

from treadle import Engine, FanOut, MemoryStateStore, StateStore, SubTask, Workflow
from treadle import worker as worker_module
from treadle.breadth import ENOUGH, Bodies, Breadth

Item = dict[str, Any]


def looked(most: int, *shares: float, inside: int = 0) -> Breadth:
    """After looks a tenth of a second apart, between which the loop was busy for these shares of the time."""
    bodies, at, worked = Bodies(), 0.0, 0.0
    bodies.now = inside
    breadth = Breadth(most, bodies)
    breadth.look(at, worked)
    for share in shares:
        at, worked = at + 0.1, worked + share / 10
        breadth.look(at, worked)
    return breadth


def test_as_many_as_were_asked_for_may_move_on_an_idle_loop() -> None:
    assert [looked(1000).room(moving) for moving in (0, 400, 1000)] == [1000, 600, 0]
    assert looked(1000, 1.0, 0.7).room(400) == 600
    assert looked(1000, 1.0, 0.7).between == 1000


def test_on_a_busy_loop_only_so_many_may_be_between_their_stages() -> None:
    busy = looked(1000, 0.2, 0.8)
    assert busy.between == ENOUGH
    assert busy.room(ENOUGH - 10) == 10
    assert busy.room(ENOUGH + 10) == -10


def test_items_whose_stages_wait_are_in_nobodys_way() -> None:
    assert looked(1000, 1.0, inside=800).room(900) == 100, "no more than were asked for"
    assert looked(1000, 1.0, inside=510).room(900) == 10


def test_few_stay_few() -> None:
    assert looked(10, 1.0).room(4) == 6


def test_looks_that_follow_each_other_at_once_are_one() -> None:
    breadth = Breadth(1000, Bodies())
    for moment in range(100):
        breadth.look(moment / 10_000, moment / 10_000)
    assert breadth.between == 1000


class Moving:
    """A workflow whose items tell how many of them move."""

    def __init__(self) -> None:
        self.now = self.most = self.late = self.ended = 0
        self.flow = Workflow("moving")

        @self.flow.stage
        async def begins(item: Item) -> None:
            self.now += 1
            self.most = max(self.most, self.now)

        @self.flow.stage(after=["begins"])
        async def goes_on(item: Item) -> None:
            await asyncio.sleep(0)

        @self.flow.stage(after=["goes_on"])
        async def ends(item: Item) -> None:
            self.now -= 1
            self.ended += 1
            if self.ended > 10_000:
                self.late = max(self.late, self.now)


def seem_busy(monkeypatch: pytest.MonkeyPatch, share: float = 1.0) -> None:
    """The loop seems to be at work for that share of the time, at every look."""
    looks = iter(range(10**9))
    clock = SimpleNamespace(
        monotonic=time.monotonic, perf_counter=lambda: float(next(looks)), thread_time=lambda: share * next(looks)
    )
    monkeypatch.setattr(worker_module, "time", clock)


async def moved(monkeypatch: pytest.MonkeyPatch, share: float) -> Moving:
    """What was seen of 12,000 items, of which 2,000 may move at once, on a loop that seems busy for that share of the time."""
    seem_busy(monkeypatch, share)
    moving = Moving()
    async with Engine(moving.flow, MemoryStateStore()) as engine:
        await engine.run(({"id": f"i{n}"} for n in range(12_000)), concurrency=2_000)
    assert moving.ended == 12_000
    return moving


async def test_a_worker_on_a_busy_loop_claims_no_more_than_keep_it_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await moved(monkeypatch, 1.0)).late <= ENOUGH


async def test_a_worker_on_an_idle_loop_moves_as_many_as_it_was_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await moved(monkeypatch, 0.1)).most > 3 * ENOUGH


async def test_on_a_busy_loop_all_items_whose_stages_wait_move_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seem_busy(monkeypatch)
    flow, waiting, all_wait = Workflow("waiting"), 0, asyncio.Event()

    @flow.stage
    async def begins(item: Item) -> None:
        await asyncio.sleep(0)

    @flow.stage(after=["begins"])
    async def waits(item: Item) -> None:
        nonlocal waiting
        waiting += 1
        if waiting == 3 * ENOUGH:
            all_wait.set()
        await all_wait.wait()

    async with asyncio.timeout(30), Engine(flow, MemoryStateStore()) as engine:
        report = await engine.run(({"id": f"i{n}"} for n in range(3 * ENOUGH)), concurrency=3 * ENOUGH)
    assert report.completed == 3 * ENOUGH


@pytest.mark.parametrize("how", ["returns", "raises", "times out", "stopped"])
async def test_no_stage_that_has_ended_counts_as_one_that_waits(store: StateStore, how: str) -> None:
    flow, began = Workflow("ending"), asyncio.Event()

    @flow.stage(timeout=0.01 if how == "times out" else None)
    async def only(item: Item) -> None:
        began.set()
        if how == "raises":
            raise ValueError(item["id"])
        await asyncio.sleep(0 if how == "returns" else 30)

    async with asyncio.timeout(20), Engine(flow, store) as engine:
        running = asyncio.create_task(engine.run([{"id": str(n)} for n in range(5)]))
        if how == "stopped":
            await began.wait()
            engine.stop(now=True)
        await running
        assert engine._surroundings.bodies.now == 0


@pytest.mark.parametrize("executor", ["inline", "thread"])
async def test_batches_are_full_on_a_busy_loop(monkeypatch: pytest.MonkeyPatch, executor: str) -> None:
    seem_busy(monkeypatch)
    flow, sizes = Workflow("batches"), list[int]()

    def body(items: list[Item]) -> list[int]:
        sizes.append(len(items))
        return [1] * len(items)

    for name, before in (("one", None), ("two", "one"), ("three", "two")):

        def stage(items: list[Item]) -> list[int]:
            return body(items)

        stage.__name__ = name
        flow.stage(batch=1000, batch_wait=20, executor=executor, after=[before] if before else [])(stage)

    async with asyncio.timeout(60), Engine(flow, MemoryStateStore()) as engine:
        await engine.run(({"id": f"i{n}"} for n in range(8_000)), concurrency=6_000)
        assert engine._surroundings.bodies.now == 0
    assert sizes == [1000] * 24


async def test_a_fan_out_is_as_wide_on_a_busy_loop_as_on_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    seem_busy(monkeypatch)
    flow, children, all_there = Workflow("wide"), 0, asyncio.Event()

    @flow.stage
    async def split(item: Item) -> FanOut:
        return FanOut([SubTask(str(n)) for n in range(2 * ENOUGH)])

    @split.subtask
    async def child(item: Item) -> None:
        nonlocal children
        children += 1
        if children == 2 * ENOUGH:
            all_there.set()
        await all_there.wait()

    async with asyncio.timeout(30), Engine(flow, MemoryStateStore()) as engine:
        assert (await engine.run([{"id": "x"}], concurrency=2 * ENOUGH)).completed == 1
