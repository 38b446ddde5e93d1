"""The workloads: what is moved, and how fast."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.witness import EVERY, Witness
from treadle import Engine, FanOut, MemoryStateStore, StageState, StateStore, SubTask, Workflow, open_store

Beside = Callable[[Engine, StateStore], Coroutine[Any, Any, None]]
"""What runs beside an engine until it is cancelled."""

STAGES = ("one", "two", "three", "four", "five")


def chain(witness: Witness | None = None) -> Workflow:
    """W1: five linear stages that return ``{"n": i}``; a ``witness`` looks at what some of them build on."""
    workflow = Workflow("chain")
    for name, before in zip(STAGES, (None, *STAGES), strict=False):
        body = _plain() if witness is None or before is None else _looking(witness, before)
        body.__name__ = name
        workflow.stage(after=[before] if before else [])(body)
    return workflow


def _plain() -> Any:
    async def body(item: dict[str, Any]) -> dict[str, int]:
        return {"n": item["n"]}

    return body


def _looking(witness: Witness, before: str) -> Any:
    async def body(item: dict[str, Any]) -> dict[str, int]:
        if item["n"] % EVERY == 0:
            witness.look(item["id"], before)
        return {"n": item["n"]}

    return body


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

    async def watch(self, engine: Engine, store: StateStore) -> None:
        """Look until cancelled."""
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.001)
            self.seen.append(1000 * (time.perf_counter() - began) - 1)

    def p99(self) -> float:
        """Ninety-nine of a hundred were no later."""
        return sorted(self.seen)[len(self.seen) * 99 // 100]


async def moved(workflow: Workflow, store: StateStore, count: int, in_flight: int, beside: Sequence[Beside] = ()) -> float:
    """Seconds to move all items, with something beside it; asserts that every stage of every item is completed."""
    async with Engine(workflow, store) as engine:
        others = [asyncio.create_task(other(engine, store)) for other in beside]
        began = time.perf_counter()
        await engine.run(items(count), concurrency=in_flight)
        elapsed = time.perf_counter() - began
        for other in others:
            other.cancel()
        await asyncio.gather(*others, return_exceptions=True)
    counts = await store.counts()
    assert all(states == {StageState.COMPLETED: count} for states in counts.stages.values()), counts
    return elapsed


async def durable(workflow: Workflow, path: Path, count: int, in_flight: int, beside: Sequence[Beside] = ()) -> float:
    """The same on a file, with every commit synced to the disk."""
    async with open_store(path) as store:
        con: sqlite3.Connection = store._writer._con  # type: ignore[attr-defined]  # noqa: SLF001 - a fast figure must not be a lie
        assert (con.execute("PRAGMA synchronous").fetchone(), con.execute("PRAGMA journal_mode").fetchone()) == ((2,), ("wal",))
        return await moved(workflow, store, count, in_flight, beside)


async def witnessed(path: Path, count: int, in_flight: int, beside: Sequence[Beside] = ()) -> float:
    """W1 on a file; asserts too that what a stage builds on is on disk when it starts."""
    witness = Witness(path)
    try:
        return await durable(chain(witness), path, count, in_flight, beside)
    finally:
        witness.close()


async def in_memory(workflow: Workflow, count: int, in_flight: int) -> float:
    """The same in memory."""
    return await moved(workflow, MemoryStateStore(), count, in_flight)


async def fanned(path: Path, children: int) -> float:
    """Subtasks a second of one fan-out."""
    async with open_store(path) as store, Engine(fan(), store) as engine:
        began = time.perf_counter()
        await engine.run([{"id": "only", "n": children}], concurrency=1000)
        return children / (time.perf_counter() - began)
