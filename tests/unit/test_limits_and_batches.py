"""Slots and rates are kept, and batch stages treat each item as if it were alone."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import pytest

from tests.unit.things import Item, numbered
from treadle import (
    Accepted,
    Engine,
    FanOut,
    InvalidWorkflow,
    QualityFeedback,
    Rejected,
    RetryBudget,
    Skipped,
    StageContext,
    StateStore,
    SubTask,
    Workflow,
)


class Meter:
    """How many are inside at once, at most."""

    def __init__(self) -> None:
        self.inside = 0
        self.most = 0

    async def __aenter__(self) -> None:
        self.inside += 1
        self.most = max(self.most, self.inside)
        await asyncio.sleep(0.002)

    async def __aexit__(self, *_: object) -> None:
        self.inside -= 1


# limits


async def test_stages_share_a_limit_and_subtasks_and_retries_keep_it(store: StateStore) -> None:
    flow, meter = Workflow("shared", limits={"api": 3, "other": 2}), Meter()

    @flow.stage(uses=["api"], retry=RetryBudget(max_attempts=2))
    async def first(item: Item, ctx: StageContext) -> None:
        async with meter:
            if ctx.attempt == 1 and item["n"] % 3 == 0:
                raise ValueError("again")

    @flow.stage(uses=["other", "api"])
    async def second(item: Item) -> FanOut:
        return FanOut([SubTask("a"), SubTask("b")])

    @second.subtask
    async def child(item: Item) -> None:
        async with meter:
            pass

    async with Engine(flow, store) as engine:
        assert (await engine.run(numbered(20), concurrency=20)).completed == 20
    assert meter.most == 3


async def test_a_rate_spreads_calls(store: StateStore) -> None:
    flow = Workflow("rate")

    @flow.stage(rate="20/s")
    async def call(item: Item) -> None:
        return None

    began = time.monotonic()
    async with Engine(flow, store) as engine:
        await engine.run(numbered(30), concurrency=30)
    # Twenty may come at once; the other ten have to wait for half a second.
    assert time.monotonic() - began >= 0.4


async def test_a_slow_stage_does_not_hold_up_the_others(store: StateStore) -> None:
    flow, open_the_gate = Workflow("slow"), asyncio.Event()
    quick: list[str] = []

    @flow.stage(limit=1)
    async def slow(item: Item) -> None:
        await open_the_gate.wait()

    @flow.stage
    async def fast(item: Item) -> None:
        quick.append(item["id"])
        if len(quick) == 10:
            open_the_gate.set()

    async with asyncio.timeout(20), Engine(flow, store) as engine:
        assert (await engine.run(numbered(10), concurrency=10)).completed == 10


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"uses": ["nobody"]}, "uses the limit 'nobody', which nobody declared"),
        ({"uses": "api"}, r"give a list: uses=\['api'\]"),
        ({"rate": "0/min"}, "'0/min' is no rate; give a whole number, 1 or more"),
        ({"rate": "5/fortnight"}, "is no rate"),
        ({"limit": 0}, "has limit=0; give a whole number"),
        ({"batch": 0}, "has batch=0; give a whole number"),
        ({"batch": 2, "batch_wait": -1}, "has batch_wait=-1; give seconds"),
        ({"batch": 2, "executor": "process"}, "batches run in threads or on the event loop"),
    ],
)
def test_bad_limits_are_told(options: dict[str, Any], says: str) -> None:
    flow = Workflow("bad", limits={"api": 2})

    @flow.stage(**options)
    async def stage(items: list[Item]) -> None:
        return None

    with pytest.raises(InvalidWorkflow, match=says):
        flow.validate()


def test_a_limit_of_nothing_is_told() -> None:
    flow = Workflow("bad", limits={"api": 0})

    @flow.stage(uses=["api"])
    async def stage(item: Item) -> None:
        return None

    with pytest.raises(InvalidWorkflow, match="the limit 'api' is 0"):
        flow.validate()


# batches


@dataclass(frozen=True)
class Text:
    id: str
    n: int


@dataclass(frozen=True)
class Vector:
    x: float


async def test_items_come_in_lists_and_results_go_back_to_them(store: StateStore) -> None:
    flow = Workflow("embed", item=Text)
    sizes: list[int] = []

    @flow.stage
    async def clean(text: Text) -> str:
        return f"text {text.n}"

    @flow.stage(batch=4, batch_wait=0.05)
    async def embed(texts: list[Text], clean: list[str]) -> list[Vector]:
        sizes.append(len(texts))
        assert clean == [f"text {text.n}" for text in texts]
        return [Vector(text.n / 2) for text in texts]

    @flow.stage
    async def use(text: Text, embed: Vector) -> float:
        return embed.x

    async with Engine(flow, store) as engine:
        assert (await engine.run([Text(str(n), n) for n in range(10)], concurrency=10)).completed == 10
        state = await store.load("7")
    assert state is not None
    assert state.stages["use"].artefact == "3.5"
    assert sum(sizes) == 10
    assert max(sizes) == 4


async def test_a_plain_body_runs_in_a_thread_and_a_batch_is_one_call_of_a_limit(store: StateStore) -> None:
    flow = Workflow("threads")
    inside, most = [0], [0]

    @flow.stage(batch=5, limit=1)
    def work(items: list[Item]) -> list[int]:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        time.sleep(0.01)
        inside[0] -= 1
        return [item["n"] for item in items]

    async with Engine(flow, store) as engine:
        assert (await engine.run(numbered(23), concurrency=23)).completed == 23
    assert most[0] == 1


async def test_attempts_errors_retries_and_gates_stay_per_item(store: StateStore) -> None:
    flow = Workflow("apart")
    calls: list[list[int]] = []

    def positive(item: Item, output: Any, ctx: Any) -> Accepted | Rejected:
        return Accepted() if output.artefact >= 0 else Rejected(QualityFeedback("negative"))

    @flow.stage(batch=8, batch_wait=0.02, retry=RetryBudget(max_attempts=2), gate=positive)
    async def work(items: list[Item], ctx: list[StageContext]) -> list[Any]:
        calls.append([item["n"] for item in items])
        made: list[Any] = []
        for item, one in zip(items, ctx, strict=True):
            assert one.item_id == item["id"]
            if item["n"] == 0:
                made.append(ValueError("never"))
            elif item["n"] == 1 and one.attempt == 1:
                made.append(ValueError("once"))
            elif item["n"] == 2 and one.feedback is None:
                made.append(-1)
            elif item["n"] == 3:
                made.append(Skipped("not this one"))
            else:
                made.append(item["n"])
        return made

    async with Engine(flow, store) as engine:
        report = await engine.run(numbered(6), concurrency=6)
        assert (report.completed, report.failed) == (5, 1)
        assert (await engine.status("0"))["work"].error == "ValueError: never"
        assert (await engine.status("3"))["work"].state.value == "skipped"
    assert sorted(calls[0]) == [0, 1, 2, 3, 4, 5]
    assert sorted(n for call in calls[1:] for n in call) == [0, 1, 2]


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (lambda items: items[:-1], r"was given 3 items and returned 2 results"),
        (lambda items: [*items, 1], r"was given 3 items and returned 4 results"),
        (lambda _: {"a": 1}, "returned a dict; it is given lists and returns a list"),
        (lambda _: None, "returned a NoneType"),
        (lambda _: [FanOut([SubTask("a")])] * 3, "a batch stage cannot fan out"),
    ],
)
async def test_a_wrong_answer_fails_its_batch_and_nothing_else(store: StateStore, made: Any, says: str) -> None:
    flow = Workflow("wrong")

    @flow.stage(batch=3, batch_wait=5)
    async def work(items: list[Item]) -> Any:
        return made(items)

    async with asyncio.timeout(20), Engine(flow, store) as engine:
        assert (await engine.run(numbered(3), concurrency=3)).failed == 3
        error = (await engine.status("1"))["work"].error
    assert error is not None
    assert says in error


@pytest.mark.parametrize("raised", [ValueError, SystemExit, KeyboardInterrupt, StopAsyncIteration, asyncio.CancelledError])
async def test_what_a_batch_raises_is_every_attempts_error(store: StateStore, raised: type[BaseException]) -> None:
    flow = Workflow("raises")

    @flow.stage(batch=3, batch_wait=5)
    async def work(items: list[Item]) -> list[int]:
        raise raised("for all")

    async with asyncio.timeout(20), Engine(flow, store) as engine:
        assert (await engine.run(numbered(3), concurrency=3)).failed == 3
        assert (await engine.run()).failed == 3


async def test_an_attempt_that_times_out_leaves_its_batch(store: StateStore) -> None:
    flow = Workflow("late")

    @flow.stage(batch=100, batch_wait=60, timeout=0.1)
    async def work(items: list[Item]) -> list[int]:
        raise AssertionError("nobody waits for it")

    async with asyncio.timeout(20), Engine(flow, store) as engine:
        assert (await engine.run(numbered(2))).failed == 2
        assert (await engine.status("0"))["work"].error == "timed out after 0.1 s"


@pytest.mark.parametrize(
    ("annotation", "says"),
    [(Item, "is called with lists, but takes 'items' as"), (list[Item], "is a batch stage, but returns int")],
)
def test_types_of_a_batch_are_lists(annotation: Any, says: str) -> None:
    flow = Workflow("types")

    async def work(items, ctx=None):
        return None

    work.__annotations__ = {"items": annotation, "return": int}
    flow.stage(batch=2)(work)
    with pytest.raises(InvalidWorkflow, match=says):
        flow.validate()


def test_a_batch_artefact_is_compared_with_its_consumer() -> None:
    flow = Workflow("types")

    @flow.stage(batch=2)
    async def made(items: list[Item]) -> list[int]:
        return [1]

    @flow.stage
    async def used(item: Item, made: str) -> None:
        return None

    with pytest.raises(InvalidWorkflow, match="takes 'made' as str, but stage 'made' returns int"):
        flow.validate()
