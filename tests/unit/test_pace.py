"""Whoever follows the journal never slows the engine that writes it, and misses nothing for that."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest

from treadle import Engine, EventKind, MemoryStateStore, StateStore, Workflow, WorkflowEvent, pace

Item = dict[str, Any]
ITEMS = 2_000
PAGE = 500


def busy_for(monkeypatch: pytest.MonkeyPatch, share: float) -> list[float]:
    """The loop seems at work for that share of the time; the seconds that a follower rests are noted and take less."""
    rests: list[float] = []
    at = 0.0

    async def rest(seconds: float) -> None:
        nonlocal at
        at += seconds
        rests.append(seconds)
        await asyncio.sleep(0)

    clock = SimpleNamespace(perf_counter=lambda: at, thread_time=lambda: share * at)
    monkeypatch.setattr(pace, "time", clock)
    monkeypatch.setattr(pace, "asyncio", SimpleNamespace(sleep=rest))
    return rests


def rested(rests: list[float]) -> list[float]:
    """Without the glances by which a follower sees whether the loop is busy."""
    return [seconds for seconds in rests if seconds != pace._GLANCE]


@pytest.mark.parametrize(
    ("share", "events", "expected"),
    [(1.0, 300, [300 / pace.WHILE_BUSY]), (0.6, 300, [300 / pace.WHILE_BUSY]), (0.4, 300, []), (1.0, 0, [100 / pace.WHILE_BUSY])],
)
async def test_a_page_is_rested_for_while_the_loop_is_busy(
    monkeypatch: pytest.MonkeyPatch, share: float, events: int, expected: list[float]
) -> None:
    rests = busy_for(monkeypatch, share)
    await pace.rest(events)
    assert rested(rests) == expected


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
    assert sum(rested(rests)) * pace.WHILE_BUSY > 4 * ITEMS - 2 * PAGE, "all but the last of them were read while items moved"


async def test_a_follower_on_an_idle_loop_does_not_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    told, rests = await followed(0.2, monkeypatch)
    assert len(told) == 4 * ITEMS
    assert rested(rests) == []


async def test_whoever_only_reads_to_the_end_never_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    rests = busy_for(monkeypatch, 1.0)
    gate = asyncio.Event()
    gate.set()
    async with Engine(quick(gate), MemoryStateStore()) as engine:
        await engine.run(({"id": f"i{n}", "n": n} for n in range(ITEMS)), concurrency=100)
        assert len([event async for event in engine.events()]) == 4 * ITEMS
    assert rests == []


async def test_what_a_follower_itself_takes_time_for_is_no_reason_to_rest(store: StateStore) -> None:
    """Read by real clocks: it is at work all the time, and nobody else is."""
    gate = asyncio.Event()
    gate.set()
    async with Engine(quick(gate), store) as engine:
        await engine.run(({"id": f"i{n}", "n": n} for n in range(ITEMS)), concurrency=100)
        working = asyncio.create_task(engine.work())
        following = engine.events(follow=True)
        began, told = time.monotonic(), 0
        async for _ in following:
            told += 1
            if told == 4 * ITEMS:
                break
        took = time.monotonic() - began
        await following.aclose()
        engine.stop()
        await working
    assert took < 0.5 * 4 * ITEMS / pace.WHILE_BUSY


async def test_followers_of_one_item_are_told_of_it_alone(store: StateStore) -> None:
    gate = asyncio.Event()
    gate.set()
    async with Engine(quick(gate), store) as engine:
        await engine.run(({"id": f"i{n}", "n": n} for n in range(20)), concurrency=5)
        for wanted in ("i0", "i7", "i19"):
            told = [event async for event in engine.events(item_id=wanted)]
            assert [event.item_id for event in told] == [wanted] * 4
            assert [event async for event in engine.events(told[1].cursor, item_id=wanted)] == told[2:]
        assert [event async for event in engine.events(item_id="nobody")] == []
