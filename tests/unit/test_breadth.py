"""As many items move at once as was asked for, and no more than keep the event loop busy where it has no time for more."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest

from treadle import Engine, MemoryStateStore, Workflow
from treadle import worker as worker_module
from treadle.breadth import ENOUGH, Breadth

Item = dict[str, Any]


def looked(breadth: Breadth, *shares: float) -> int:
    """What it has come to after looks a tenth of a second apart, between which the loop was busy for these shares of the time."""
    at = worked = 0.0
    breadth.look(at, worked)
    for share in shares:
        at, worked = at + 0.1, worked + share / 10
        breadth.look(at, worked)
    return breadth.now


def test_a_busy_loop_moves_half_as_many_until_they_are_just_enough() -> None:
    assert [looked(Breadth(1000), *[1.0] * looks) for looks in range(4)] == [1000, 500, ENOUGH, ENOUGH]


def test_a_loop_that_has_time_moves_all_again() -> None:
    assert looked(Breadth(5000), 1.0, 1.0, 0.7) == 1250, "between busy and idle, nothing changes"
    assert looked(Breadth(5000), 1.0, 1.0, 0.2) == 5000


def test_few_stay_few() -> None:
    assert looked(Breadth(10), 1.0, 0.0, 1.0) == 10


def test_looks_that_follow_each_other_at_once_are_one() -> None:
    breadth = Breadth(1000)
    for moment in range(100):
        breadth.look(moment / 10_000, moment / 10_000)
    assert breadth.now == 1000


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


async def moved(monkeypatch: pytest.MonkeyPatch, share: float) -> Moving:
    """What was seen of 12,000 items, of which 2,000 may move at once, on a loop that seems busy for that share of the time."""
    clock = SimpleNamespace(monotonic=time.monotonic, thread_time=lambda: share * time.monotonic())
    monkeypatch.setattr(worker_module, "time", clock)
    moving = Moving()
    async with Engine(moving.flow, MemoryStateStore()) as engine:
        await engine.run(({"id": f"i{n}"} for n in range(12_000)), concurrency=2_000)
    assert moving.ended == 12_000
    return moving


async def test_a_worker_on_a_busy_loop_claims_no_more_than_keep_it_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await moved(monkeypatch, 1.0)).late <= ENOUGH


async def test_a_worker_on_an_idle_loop_moves_as_many_as_it_was_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await moved(monkeypatch, 0.1)).most > 3 * ENOUGH
