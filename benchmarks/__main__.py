"""Measure W1 to W4 and memory, each beside its ceiling: ``python -m benchmarks [ITEMS]``; or ``inbox [REVIEWS]``."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.ceiling import ceiling
from benchmarks.inbox import REVIEWS, inbox
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


async def moved(workflow: Workflow, store: StateStore, count: int, in_flight: int) -> float:
    """Seconds to move all items; asserts that every stage of every item is completed."""
    began = time.perf_counter()
    async with Engine(workflow, store) as engine:
        await engine.run(items(count), concurrency=in_flight)
    elapsed = time.perf_counter() - began
    counts = await store.counts()
    assert all(states == {StageState.COMPLETED: count} for states in counts.stages.values()), counts
    return elapsed


async def durable(workflow: Workflow, path: Path, count: int, in_flight: int) -> float:
    """The same on a file."""
    async with open_store(path) as store:
        return await moved(workflow, store, count, in_flight)


async def fanned(path: Path, children: int) -> float:
    """Subtasks a second of one fan-out."""
    async with open_store(path) as store, Engine(fan(), store) as engine:
        began = time.perf_counter()
        await engine.run([{"id": "only", "n": children}], concurrency=1000)
        return children / (time.perf_counter() - began)


def process_ms(*arguments: str) -> float:
    """The best of five runs of a Python process, in milliseconds."""
    times = []
    for _ in range(5):
        began = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        times.append(1000 * (time.perf_counter() - began))
    return min(times)


def main() -> None:
    """What the command line asks for."""
    if sys.argv[1:2] == ["inbox"]:
        told(inbox(int(sys.argv[2]) if len(sys.argv) > 2 else REVIEWS), digits=2)
    else:
        told(throughput(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000), digits=0)


def told(figures: dict[str, float], *, digits: int) -> None:
    """Print the figures for people, and once more as JSON."""
    for label, value in figures.items():
        print(f"{label:<56}{value:>12,.{digits}f}")
    print(json.dumps({label: round(value, 1 + digits) for label, value in figures.items()}))


def throughput(count: int) -> dict[str, float]:
    """Everything in one run: figures of different runs say nothing about each other."""
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for in_flight, amount in ((1000, count), (10, count // 10), (1, count // 50)):
            top = ceiling(Path(tempfile.mkdtemp(dir=folder)), amount, in_flight)
            path = folder / f"w1-{in_flight}.db"
            rate = 5 * amount / asyncio.run(durable(chain(), path, amount, in_flight))
            figures[f"W1 {in_flight} in flight, stages/s"] = rate
            figures[f"W1 {in_flight} in flight, ceiling"] = top
            figures[f"W1 {in_flight} in flight, share of the ceiling in %"] = 100 * rate / top
            if in_flight == 1000:
                figures["W1 bytes an item"] = path.stat().st_size / amount
        figures["W2 in memory, stages/s"] = 5 * count / asyncio.run(moved(chain(), MemoryStateStore(), count, 1000))
        for children in (1_000, 10_000):
            figures[f"W3 {children} subtasks, subtasks/s"] = asyncio.run(fanned(folder / f"w3-{children}.db", children))
        bare = process_ms("-c", "pass")
        figures["W4 import treadle, ms"] = process_ms("-c", "import treadle") - bare
        peak = subprocess.run([sys.executable, "-m", "benchmarks.memory", str(10 * count)], check=True, capture_output=True)
        figures[f"Peak memory of {10 * count} items from a generator, MB"] = float(peak.stdout)
        figures["W4 treadle status, ms"] = process_ms("-m", "treadle.cli", "status", "--store", str(folder / "w1-1.db"))
    return figures


if __name__ == "__main__":
    main()
