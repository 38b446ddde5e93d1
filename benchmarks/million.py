"""W5: a store of many items; what a page, an item, a filter and a restart cost beside them."""

from __future__ import annotations

import asyncio
import json
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.memory import peak_mb
from treadle import AwaitingReview, Engine, Inbox, ReviewData, ReviewFilter, StageState, StateStore, Workflow, open_store
from treadle.state import ItemPhase
from treadle.status import item_status, overview
from treadle.store import Filter

ITEMS = 1_000_000
ROUNDS = 30
STAGES = ("one", "two", "three", "four", "five")


def flow() -> Workflow:
    """Five linear stages; one item in a thousand fails, one in two thousand waits for a person."""
    workflow = Workflow("chain")
    for name, before in zip(STAGES, (None, *STAGES), strict=False):
        workflow.stage(after=[before] if before else [])(_body(name))
    return workflow


def _body(name: str) -> Callable[..., Awaitable[Any]]:
    async def body(item: dict[str, Any]) -> Any:
        number = item["n"]
        if name == "three" and number % 1000 == 7:
            raise ValueError("no luck")
        if name == "four" and number % 2000 == 9:
            return AwaitingReview(ReviewData("look"))
        return {"n": number}

    body.__name__ = name
    return body


def items(count: int, first: int = 0) -> Iterator[dict[str, Any]]:
    """Items from a generator, as a source gives them."""
    return ({"id": f"item-{number:08}", "n": number} for number in range(first, first + count))


async def fill(path: Path, count: int, first: int = 0) -> float:
    """Stage completions a second while so many items move."""
    async with open_store(path) as store, Engine(flow(), store) as engine:
        began = time.perf_counter()
        await engine.run(items(count, first), concurrency=1000)
        return 5 * count / (time.perf_counter() - began)


async def looked_at(path: Path, count: int) -> dict[str, float]:
    """Medians of what people and programs ask of such a store, in milliseconds."""
    figures: dict[str, float] = {}
    middle = f"item-{count // 2:08}"
    async with open_store(path) as store:
        inbox = Inbox(store)
        filters = {
            "first page": Filter(),
            "failed items": Filter(phase=ItemPhase.FAILED),
            "items with a stage that failed": Filter("three", StageState.FAILED),
            "items with a stage that waits": Filter("five", StageState.PENDING),
            "items with a stage that completed": Filter("three", StageState.COMPLETED),
            "items with any stage that failed": Filter(state=StageState.FAILED),
            "items with a stage skipped, none is": Filter("three", StageState.SKIPPED),
            "items by the beginning of their ids": Filter(prefix=middle[:-2]),
        }
        acts: dict[str, Callable[[], Awaitable[Any]]] = {
            "status page": lambda: _status(store),
            "one item": lambda: item_status(store, middle),
            "50 reviews": lambda: inbox.list(limit=50),
            "50 reviews by stage": lambda: inbox.list(ReviewFilter("four"), limit=50),
            "page from the middle": lambda: store.page(Filter(), middle, 50),
            "failed items from the middle": lambda: store.page(Filter(phase=ItemPhase.FAILED), middle, 50),
            "last events of an item": lambda: store.events(0, 50, middle),
        }
        acts |= {name: partial(store.page, wanted, None, 50) for name, wanted in filters.items()}
        for name, act in acts.items():
            figures[f"W5 {name}, ms"] = await _median_ms(act)
    return figures


async def _status(store: StateStore) -> str:
    return overview(await store.counts())


async def _median_ms(act: Callable[[], Awaitable[Any]]) -> float:
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        await act()
        times.append(1000 * (time.perf_counter() - began))
        if sum(times) > 5000:
            break
    return statistics.median(times)


def resumed(path: Path, count: int) -> float:
    """Milliseconds from the start of a process until it has moved an item, where one was killed before."""
    child = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.million", "go-on", str(path), str(count), "50000"], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    child.stdout.readline()
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    began = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.million", "go-on", str(path), str(count), "0"], stdout=subprocess.PIPE, text=True
    ) as again:
        assert again.stdout is not None
        again.stdout.readline()
        return 1000 * (time.perf_counter() - began)


async def go_on(path: Path, first: int, count: int) -> None:
    """Move what is there and so many more; say when the first stage has completed."""
    said = False

    def told(_state: object, change: Any) -> None:
        nonlocal said
        if not said and any(row.state is StageState.COMPLETED for row in change.stages):
            said = True
            print("moved", flush=True)

    async with open_store(path) as store, Engine(flow(), store) as engine:
        engine.observe(told)
        await engine.run(items(count, first), concurrency=1000)


def million(folder: Path, count: int) -> dict[str, float]:
    """The figures of W5; the store is filled in tenths, each by a process of its own."""
    path, figures, rates = folder / "w5.db", dict[str, float](), list[float]()
    for tenth in range(10):
        out = subprocess.run(
            [sys.executable, "-m", "benchmarks.million", "fill", str(path), str(count // 10), str(tenth * (count // 10))],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        rate, peak = json.loads(out.stdout)
        rates.append(rate)
        figures["W5 memory, MB"] = max(peak, figures.get("W5 memory, MB", 0.0))
    figures["W5 first tenth, stages/s"] = rates[0]
    figures["W5 last tenth, stages/s"] = rates[-1]
    figures["W5 last tenth against the first, %"] = 100 * rates[-1] / rates[0]
    figures["W5 bytes an item"] = path.stat().st_size / count
    figures |= asyncio.run(looked_at(path, count))
    figures["W5 going on after a kill, ms"] = resumed(path, count)
    return figures


def main() -> None:
    """What the processes that ``million`` starts do."""
    act, path, *numbers = sys.argv[1:]
    first, second = map(int, numbers)
    if act == "fill":
        print(json.dumps([asyncio.run(fill(Path(path), first, second)), peak_mb()]))
    else:
        asyncio.run(go_on(Path(path), first, second))


if __name__ == "__main__":
    main()
