"""Pages, decisions and bulk decisions beside many waiting reviews on SQLite: ``python -m benchmarks inbox [REVIEWS]``."""

from __future__ import annotations

import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from treadle import (
    Accepted,
    Approve,
    ApproveWithEdits,
    Engine,
    GateContext,
    Inbox,
    Reject,
    RequestChanges,
    ReviewFilter,
    ReviewPolicy,
    StageOutput,
    StateStore,
    Uncertain,
    Workflow,
    open_store,
)
from treadle.state import AskedBy

REVIEWS = 100_000
ROUNDS = 200
RARE = 500
"""One review in so many is what a filter looks for."""


def rarely_sure(item: dict[str, Any], output: StageOutput, ctx: GateContext) -> Accepted | Uncertain:
    """Uncertain about few."""
    return Uncertain("hm") if item["n"] % RARE == RARE // 2 else Accepted()


def asking() -> Workflow:
    """Two stages that ask about everything; few items take the second."""
    workflow = Workflow("asking")

    async def judged(item: dict[str, Any], output: StageOutput, ctx: GateContext) -> Accepted | Uncertain:
        return rarely_sure(item, output, ctx)

    @workflow.stage(gate=judged, review=ReviewPolicy.ALWAYS)
    async def common(item: dict[str, Any]) -> dict[str, Any]:
        return {"title": f"Item {item['n']}", "words": ["a", "few", "words"], "score": item["n"]}

    @workflow.stage(when=lambda item: item["n"] % RARE == 0, review=ReviewPolicy.ALWAYS)
    async def rare(item: dict[str, Any]) -> dict[str, Any]:
        return {"score": item["n"]}

    return workflow


def items(count: int) -> Iterator[dict[str, Any]]:
    """Items from a generator, as a source gives them."""
    for number in range(count):
        yield {"id": f"item-{number}", "n": number}


async def timed(act: Callable[[], Awaitable[Any]], rounds: int = ROUNDS) -> tuple[float, float]:
    """Median and 99th percentile of ``rounds`` calls, in milliseconds."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        await act()
        times.append(1000 * (time.perf_counter() - began))
    cuts = statistics.quantiles(times, n=100)
    return statistics.median(times), cuts[98]


class Desk:
    """What is measured, each as often as it takes to tell p99."""

    def __init__(self, store: StateStore, count: int) -> None:
        self._inbox = Inbox(store)
        self._count = count
        self._chance = random.Random(7)
        self._left = list(range(count))
        self._chance.shuffle(self._left)
        self.figures: dict[str, float] = {}

    async def measure(self) -> None:
        """All of it; what decides comes last, since it leaves less to wait."""
        rest = self._count // RARE
        for number in range(20):
            await self._inbox.claim(f"item-{1 + number * rest}", "common", reviewer="ann", minutes=600)
        now = int(time.time() * 1_000_000)
        for name, wanted in {
            "page of 50": ReviewFilter(),
            "page of 50 by a stage that waits everywhere": ReviewFilter(stage="common"),
            "page of 50 by a rare stage": ReviewFilter(stage="rare"),
            "page of 50 by a rare verdict": ReviewFilter(verdict="uncertain"),
            "page of 50 by a verdict there is none of": ReviewFilter(verdict="rejected"),
            "page of 50 by who asked": ReviewFilter(asked_by=AskedBy.SAMPLE),
            "page of 50 by holder": ReviewFilter(holder="ann"),
            "page of 50 in nobody's hands": ReviewFilter(holder=""),
            "page of 50 by age": ReviewFilter(opened_before=now),
            "page of 50 by age, none so old": ReviewFilter(opened_before=1),
            "page of 50 by stage, verdict and holder": ReviewFilter(stage="common", verdict="uncertain", holder="ann"),
            "reviews of an item": ReviewFilter(item_id=f"item-{self._count - 1}", is_open=None),
            "open reviews of an item": ReviewFilter(item_id=f"item-{self._count - 1}"),
        }.items():
            await self._time(name, partial(self._inbox.list, wanted, limit=50))
        middle = (await self._store_cursor(self._count // 2)) or 0
        await self._time("page of 50 from the middle", lambda: self._inbox.list(after=middle, limit=50))
        await self._time("one review with everything", lambda: self._inbox.show(f"item-{self._some(keep=True)}", "common"))
        await self._time("the inbox's figures", self._inbox.stats, 20)
        await self._time("one approval", lambda: self._decide(Approve()))
        await self._time("one edit", lambda: self._decide(ApproveWithEdits({"title": "better"})))
        await self._time("one rejection", lambda: self._decide(Reject("no")))
        await self._time("one request for changes", lambda: self._decide(RequestChanges("more")))
        await self._bulk("bulk by a rare verdict", ReviewFilter(verdict="uncertain"))
        await self._bulk("bulk of all", ReviewFilter())
        await self._time("the inbox's figures, all decided", self._inbox.stats, 20)

    async def _time(self, name: str, act: Callable[[], Awaitable[Any]], rounds: int = ROUNDS) -> None:
        p50, p99 = await timed(act, rounds)
        self.figures[f"{name}, p50 ms"], self.figures[f"{name}, p99 ms"] = p50, p99

    async def _bulk(self, name: str, wanted: ReviewFilter) -> None:
        began = time.perf_counter()
        done = await self._inbox.decide_all(wanted, Approve(), reviewer="ann")
        elapsed = time.perf_counter() - began
        self.figures[f"{name}, {done.decided} decisions, decisions/s"] = done.decided / elapsed

    async def _store_cursor(self, skip: int) -> int | None:
        page = await self._inbox.list(limit=skip)
        return page.cursor

    def _some(self, *, keep: bool = False) -> int:
        return self._left[-1] if keep else self._left.pop()

    async def _decide(self, decision: Any) -> None:
        await self._inbox.decide(f"item-{self._some()}", "common", decision, reviewer="ann")


async def measured(path: Path, count: int) -> dict[str, float]:
    """Every figure, beside ``count`` waiting reviews and a few more."""
    async with open_store(path) as store:
        began = time.perf_counter()
        async with Engine(asking(), store) as engine:
            report = await engine.run(items(count), concurrency=1000)
        assert report.awaiting_review == count, report
        desk = Desk(store, count)
        desk.figures["reviews asked, a second"] = count / (time.perf_counter() - began)
        await desk.measure()
        return desk.figures


def inbox(count: int = REVIEWS) -> dict[str, float]:
    """The figures by their names."""
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(measured(Path(folder) / "inbox.db", count))
