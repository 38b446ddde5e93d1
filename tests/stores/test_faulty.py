"""A store that fails when told to; and whatever a store does, no stage fails because of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from treadle import (
    Engine,
    FanOut,
    LeaseLost,
    MemoryStateStore,
    RetryBudget,
    ReviewPolicy,
    StageContext,
    StateStore,
    StoreError,
    StoreFull,
    StoreUnavailable,
    SubTask,
    Workflow,
    open_store,
)  # fmt: skip
from treadle.testing import FaultyStore, StateStoreContract


class TestFaultyWithoutFaults(StateStoreContract):
    @pytest.fixture
    async def store(self) -> AsyncIterator[StateStore]:
        async with FaultyStore(MemoryStateStore()) as store:
            yield store


async def test_faults_come_when_they_were_planned_and_no_longer() -> None:
    store = FaultyStore(MemoryStateStore())
    await store.counts()
    store.plan("counts", first=2, times=2, error=LookupError("planned"))
    await store.counts()
    for _ in range(2):
        with pytest.raises(LookupError, match="planned"):
            await store.counts()
    await store.counts()
    store.plan("counts", times=100)
    with pytest.raises(StoreUnavailable, match="planned for counts"):
        await store.counts()
    store.heal()
    await store.counts()
    assert store.calls["counts"] == 7
    with pytest.raises(ValueError, match="a store has no such method"):
        store.plan("nothing")


async def test_a_late_fault_comes_when_the_call_has_taken_effect() -> None:
    store = FaultyStore(MemoryStateStore())
    store.plan("steer", error=StoreUnavailable("the answer was lost"), after=True)
    from treadle.state import Mode

    with pytest.raises(StoreUnavailable):
        await store.steer(Mode.PAUSED)
    assert (await store.steer()).mode is Mode.PAUSED


def flow(ran: Counter[str]) -> Workflow:
    made = Workflow("faults")

    @made.stage
    async def first(item: dict[str, str]) -> int:
        ran[f"first {item['id']}"] += 1
        return 1

    @made.stage
    async def split(item: dict[str, str], first: int) -> FanOut:
        return FanOut([SubTask("x"), SubTask("y")])

    @split.subtask
    async def part(item: dict[str, str], subtask: SubTask) -> int:
        return 1

    @made.stage
    async def last(item: dict[str, str], split: dict[str, int]) -> int:
        ran[f"last {item['id']}"] += 1
        return sum(split.values())

    return made


ITEMS = [{"id": "a"}, {"id": "b"}, {"id": "c"}]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("call", ["commit", "claim", "add", "enlist", "bind", "retire"])
@pytest.mark.parametrize("disk", [False, True], ids=["memory", "file"])
async def test_no_fault_of_the_store_becomes_a_failure_of_a_stage(tmp_path: Path, call: str, after: bool, disk: bool) -> None:
    """At every call there is, in turn: the run ends with the store's own error or goes on, and the next one completes all."""
    happened = 0
    for number in range(1, 40):
        ran: Counter[str] = Counter()
        async with open_store(tmp_path / f"{number}.db" if disk else "memory:") as inner, asyncio.timeout(20):
            store = FaultyStore(inner)
            store.plan(call, first=number, error=StoreUnavailable("planned"), after=after)
            # Nothing but the store's own errors ever comes out.
            with suppress(StoreError):
                async with Engine(flow(ran), store) as engine:
                    await engine.run(ITEMS)
            if store.calls[call] < number:
                break
            happened += 1
            store.heal()
            async with Engine(flow(ran), store) as engine:
                report = await engine.run(ITEMS)
                assert (report.completed, report.failed) == (3, 0), f"fault at {call} {number}"
                assert not [event async for event in engine.events() if event.is_error]
    assert happened


async def test_a_lost_lease_changes_nothing_and_the_next_holder_goes_on() -> None:
    ran: Counter[str] = Counter()
    store = FaultyStore(MemoryStateStore())
    store.plan("commit", first=4, error=LeaseLost("planned"))
    async with Engine(flow(ran), store) as engine:
        await engine.run(ITEMS)
    async with Engine(flow(ran), store) as engine:
        assert (await engine.run()).completed == 3


@pytest.mark.parametrize("call", ["claim", "add"])
async def test_a_fault_that_may_pass_is_waited_out(call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("treadle.worker._RETRY_US", 10_000)
    full = StoreFull("planned")
    full.may_pass = True
    store = FaultyStore(MemoryStateStore())
    store.plan(call, times=3, error=full)
    async with Engine(flow(Counter()), store) as engine, asyncio.timeout(20):
        assert (await engine.run(ITEMS)).completed == 3


def asking(store: FaultyStore) -> Workflow:
    """A review that nobody answers, a second attempt, and time for the worker to look for decisions meanwhile."""
    made = Workflow("faults")

    @made.stage(review=ReviewPolicy.ALWAYS.due(minutes=0.0001, then="approve"))
    async def asked(item: dict[str, str]) -> int:
        return 1

    @made.stage(retry=RetryBudget(max_attempts=2))
    async def again(item: dict[str, str], asked: int, ctx: StageContext) -> None:
        looks = store.calls["revised"]
        while store.calls["revised"] < looks + 2:  # noqa: ASYNC110 - the worker looks by the clock
            await asyncio.sleep(0.002)
        if ctx.attempt == 1:
            raise ValueError("once")

    return made


@pytest.mark.parametrize("call", ["revised", "revise", "load", "attempts"])
async def test_what_a_worker_reads_and_answers_waits_for_a_fault_that_may_pass(
    call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place, seconds in (("patience._AGAIN", 0.01), ("worker._POLL", 0.01)):
        monkeypatch.setattr(f"treadle.{place}", seconds)
    full = StoreFull("planned")
    full.may_pass = True
    store = FaultyStore(MemoryStateStore())
    async with Engine(asking(store), store) as engine, asyncio.timeout(20):
        store.plan(call, times=3, error=full)
        while (await engine.run(ITEMS)).completed < len(ITEMS):  # noqa: ASYNC110 - a review becomes overdue by the clock
            await asyncio.sleep(0.01)
    assert store.calls[call] > 3


@pytest.mark.parametrize("call", ["claim", "enlist"])
async def test_a_worker_that_begins_anew_waits_for_a_fault_that_may_pass(call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("treadle.worker._RETRY_US", 10_000)
    full = StoreFull("planned")
    full.may_pass = True
    store = FaultyStore(MemoryStateStore())
    async with Engine(flow(Counter()), store) as engine, asyncio.timeout(20):
        await engine.run([])
        store.plan("claim", first=2, error=LeaseLost("planned"))
        store.plan(call, first=3 if call == "claim" else 1, times=2, error=full)
        assert (await engine.run(ITEMS)).completed == 3


async def test_what_builds_on_a_change_that_was_refused_is_refused_too() -> None:
    inner = MemoryStateStore()
    store, go, flow = FaultyStore(inner), asyncio.Event(), Workflow("two")

    @flow.stage
    async def a(item: dict[str, str]) -> int:
        await go.wait()
        return 1

    @flow.stage
    async def b(item: dict[str, str]) -> int:
        await go.wait()
        return 2

    async with asyncio.timeout(20), Engine(flow, store) as engine:
        run = asyncio.create_task(engine.run(ITEMS[:1]))
        while not store.calls["commit"]:  # noqa: ASYNC110 - both stages are durable as running
            await asyncio.sleep(0)
        store.plan("commit", delay=0.02, error=StoreUnavailable("planned"))
        go.set()
        with pytest.raises(StoreUnavailable):
            await run
    state = await inner.load(ITEMS[0]["id"])
    assert state is not None
    assert {name: row.state.value for name, row in state.stages.items()} == {"a": "running", "b": "running"}


async def test_a_slow_store_is_waited_for_and_a_silent_heart_is_not_a_death() -> None:
    store = FaultyStore(MemoryStateStore())
    store.plan("commit", times=5, delay=0.02)
    store.plan("beat", times=3)
    async with Engine(flow(Counter()), store, lease=0.1) as engine, asyncio.timeout(20):
        assert (await engine.run(ITEMS)).completed == 3
