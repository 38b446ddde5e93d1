"""Whoever follows the journal never slows the engine that writes it, and misses nothing for that."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest

from treadle import Engine, EventKind, MemoryStateStore, Workflow, WorkflowEvent
from treadle import pace as pace_module
from treadle.pace import WHILE_BUSY, Pace
from treadle.state import ItemState, Transition

Item = dict[str, Any]
ITEMS = 2_000
PAGE = 500


def busy_for(monkeypatch: pytest.MonkeyPatch, share: float) -> list[float]:
    """The loop seems at work for that share of the time; the seconds that a follower rests are noted and take none."""
    rests: list[float] = []

    async def rest(seconds: float) -> None:
        rests.append(seconds)
        await asyncio.sleep(0)

    clock = SimpleNamespace(monotonic=time.monotonic, thread_time=lambda: share * time.monotonic())
    monkeypatch.setattr(pace_module, "time", clock)
    monkeypatch.setattr(pace_module, "asyncio", SimpleNamespace(sleep=rest))
    return rests


async def a_page(size: int) -> list[int]:
    await asyncio.sleep(0.001)
    return [0] * size


@pytest.mark.parametrize(("share", "expected"), [(1.0, [100 / WHILE_BUSY]), (0.2, [])])
async def test_a_page_that_was_read_on_a_busy_loop_is_rested_for(
    monkeypatch: pytest.MonkeyPatch, share: float, expected: list[float]
) -> None:
    rests, pace = busy_for(monkeypatch, share), Pace()
    assert len(await pace.page(a_page(100))) == 100
    await pace.rest()
    assert rests == expected


async def test_an_empty_page_costs_no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    rests, pace = busy_for(monkeypatch, 1.0), Pace()
    await pace.page(a_page(100))
    await pace.page(a_page(0))
    await pace.rest()
    assert rests == []


def quick(gate: asyncio.Event) -> Workflow:
    """Items that are through at once, but for the last one, which waits for the gate."""
    workflow = Workflow("quick")

    @workflow.stage
    async def only(item: Item) -> None:
        if item["n"] == ITEMS - 1:
            await gate.wait()

    return workflow


async def followed(share: float, monkeypatch: pytest.MonkeyPatch) -> tuple[list[WorkflowEvent], list[float]]:
    """What a follower was told of a run from its beginning to its end, and how often it rested meanwhile."""
    rests, gate, told = busy_for(monkeypatch, share), asyncio.Event(), []
    async with Engine(quick(gate), MemoryStateStore()) as engine:

        async def follow() -> None:
            async for event in engine.events(follow=True):
                told.append(event)
                if len(told) == 4 * (ITEMS - 1):
                    gate.set()  # everything but the last end has been told: the item moves until then
                if event.kind is EventKind.WORKFLOW_COMPLETED and event.item_id == f"i{ITEMS - 1}":
                    return

        following = asyncio.create_task(follow())
        await engine.run(({"id": f"i{n}", "n": n} for n in range(ITEMS)), concurrency=100)
        async with asyncio.timeout(20):
            await following
    return told, rests


async def test_a_follower_on_a_busy_loop_rests_after_each_page_and_is_told_of_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    told, rests = await followed(1.0, monkeypatch)
    assert [event.cursor for event in told] == sorted({event.cursor for event in told})
    assert len(told) == 4 * ITEMS
    assert sum(rests) * WHILE_BUSY > 4 * ITEMS - 2 * PAGE, "all but the last of them were read while items moved"


async def test_a_follower_on_an_idle_loop_never_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    told, rests = await followed(0.2, monkeypatch)
    assert len(told) == 4 * ITEMS
    assert rests == []


async def test_whoever_only_reads_to_the_end_never_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    rests, gate, through, ended = busy_for(monkeypatch, 1.0), asyncio.Event(), asyncio.Event(), list[str]()

    def observe(state: ItemState, change: Transition) -> None:
        if change.rest is not None:
            ended.append(state.id)
        if len(ended) == ITEMS - 1:
            through.set()

    async with Engine(quick(gate), MemoryStateStore()) as engine:
        engine.observe(observe)
        running = asyncio.create_task(engine.run(({"id": f"i{n}", "n": n} for n in range(ITEMS)), concurrency=100))
        async with asyncio.timeout(20):
            await through.wait()
        assert len([event async for event in engine.events()]) == 4 * (ITEMS - 1) + 2
        gate.set()
        await running
    assert rests == []
