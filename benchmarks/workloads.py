"""The workloads: what is moved, and how fast."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from treadle import Engine, FanOut, MemoryStateStore, StageState, StateStore, SubTask, Workflow, open_store

STAGES = ("one", "two", "three", "four", "five")


def chain() -> Workflow:
    """W1: five linear stages that return ``{"n": i}``."""
    workflow = Workflow("chain")
    for name, before in zip(STAGES, (None, *STAGES), strict=False):

        async def body(item: dict[str, Any]) -> dict[str, int]:
            return {"n": item["n"]}

        body.__name__ = name
        workflow.stage(after=[before] if before else [])(body)
    return workflow


def fan() -> Workflow:
    """W3: one item, many children, then a join."""
    workflow = Workflow("fan")

    @workflow.stage
    async def split(item: dict[str, Any]) -> FanOut:
        return FanOut([SubTask(f"child-{number}") for number in range(item["n"])])

    @split.subtask
    async def child(item: dict[str, Any]) -> dict[str, int]:
        return {"n": 1}

    @workflow.stage
    async def join(item: dict[str, Any], split: dict[str, Any]) -> int:
        return len(split)

    return workflow


def items(count: int) -> Iterator[dict[str, Any]]:
    """Items from a generator, as a source gives them."""
    for number in range(count):
        yield {"id": f"item-{number}", "n": number}


def batched() -> Workflow:
    """W6: one stage that takes 256 items a call."""
    workflow = Workflow("batched")

    @workflow.stage(batch=256, batch_wait=0.005)
    async def one(items: list[dict[str, Any]]) -> list[int]:
        return [item["n"] for item in items]

    return workflow


class Lag:
    """How late the event loop comes to a timer of a millisecond, in milliseconds."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    async def watch(self) -> None:
        """Look until cancelled."""
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.001)
            self.seen.append(1000 * (time.perf_counter() - began) - 1)

    def p99(self) -> float:
        """Ninety-nine of a hundred were no later."""
        return sorted(self.seen)[len(self.seen) * 99 // 100]


async def moved(workflow: Workflow, store: StateStore, count: int, in_flight: int, lag: Lag | None = None) -> float:
    """Seconds to move all items; asserts that every stage of every item is completed."""
    watching = asyncio.create_task(lag.watch()) if lag is not None else None
    began = time.perf_counter()
    async with Engine(workflow, store) as engine:
        await engine.run(items(count), concurrency=in_flight)
    elapsed = time.perf_counter() - began
    if watching is not None:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
    counts = await store.counts()
    assert all(states == {StageState.COMPLETED: count} for states in counts.stages.values()), counts
    return elapsed


async def durable(workflow: Workflow, path: Path, count: int, in_flight: int, lag: Lag | None = None) -> float:
    """The same on a file, with every commit synced to the disk."""
    async with open_store(path) as store:
        con: sqlite3.Connection = store._writer._con  # type: ignore[attr-defined]  # noqa: SLF001 - a fast figure must not be a lie
        assert (con.execute("PRAGMA synchronous").fetchone(), con.execute("PRAGMA journal_mode").fetchone()) == ((2,), ("wal",))
        return await moved(workflow, store, count, in_flight, lag)


async def in_memory(workflow: Workflow, count: int, in_flight: int) -> float:
    """The same in memory."""
    return await moved(workflow, MemoryStateStore(), count, in_flight)


async def fanned(path: Path, children: int) -> float:
    """Subtasks a second of one fan-out."""
    async with open_store(path) as store, Engine(fan(), store) as engine:
        began = time.perf_counter()
        await engine.run([{"id": "only", "n": children}], concurrency=1000)
        return children / (time.perf_counter() - began)
