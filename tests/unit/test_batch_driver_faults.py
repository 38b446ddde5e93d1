"""Stops, faults and strange values in the middle of a batch: nothing is left held, and nobody else pays."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, field_validator

from tests.unit.things import Item, held, numbered
from treadle import Engine, MemoryStateStore, StateStore, StoreError, StoreUnavailable, Workflow, decide, open_store
from treadle import engine as engine_module
from treadle.event import EventKind
from treadle.state import Alike, ItemState, StageState, Transition
from treadle.testing.faults import FaultyStore


async def standing(store: StateStore, count: int) -> list[dict[str, str]]:
    states = [await store.load(str(n)) for n in range(count)]
    return [{name: row.state.value for name, row in state.stages.items()} for state in states if state is not None]


def made_a(change: Transition) -> bool:
    return any(row.stage == "a" and row.state is StageState.COMPLETED for row in change.stages)


def line(ran: list[str], *, seconds: float = 0.01) -> Workflow:
    """A batch stage, then b, c."""
    flow = Workflow("line")

    @flow.stage(batch=4, batch_wait=0.01)
    async def a(items: list[Item]) -> list[int]:
        ran.append("a")
        return [item["n"] for item in items]

    @flow.stage
    async def b(item: Item, a: int) -> int:
        ran.append("b")
        await asyncio.sleep(seconds)
        return 1

    @flow.stage
    async def c(item: Item, b: int) -> int:
        ran.append("c")
        return 1

    return flow


def alone(*, size: int = 4, large: int | None = None) -> Workflow:
    flow = Workflow("alone")

    @flow.stage(batch=size, batch_wait=0.01)
    async def a(items: list[Item]) -> list[str]:
        return ["x" * (400_000 if large in (item["n"], -1) else 1) for item in items]

    return flow


# drivers that are handed an item after stop()


async def test_stop_now_puts_back_what_has_just_been_handed_on(store: StateStore) -> None:
    ran: list[str] = []
    async with asyncio.timeout(20), Engine(line(ran, seconds=30), store) as engine:
        loop = asyncio.get_running_loop()
        engine.observe(lambda _, change: made_a(change) and loop.call_soon(lambda: engine.stop(now=True)))
        began = time.monotonic()
        await engine.run(numbered(4), concurrency=4)
        assert all(item.get("b") != "running" for item in await standing(store, 4))
        assert time.monotonic() - began < 1
        assert await held(store) == 0


async def test_stop_starts_nothing_new(store: StateStore) -> None:
    ran: list[str] = []
    async with asyncio.timeout(20), Engine(line(ran), store) as engine:
        engine.observe(lambda _, change: made_a(change) and engine.stop())
        await engine.run(numbered(4), concurrency=4)
    assert "c" not in ran


async def test_after_a_fault_the_others_end_in_good_order(caplog: pytest.LogCaptureFixture) -> None:
    class Slow(MemoryStateStore):
        commit_all = StateStore.commit_all

        async def commit(self, state: ItemState, change: Transition) -> None:
            if made_a(change) and state.id in "01":
                await asyncio.sleep(0.3)
            if made_a(change) and state.id == "2":
                raise StoreUnavailable("no")
            await super().commit(state, change)

    async def items() -> AsyncIterator[Item]:
        for n in range(4):
            if n == 2:
                await asyncio.sleep(0.1)
            yield {"id": str(n), "n": n}

    store, ran = Slow(), list[str]()
    async with asyncio.timeout(20), Engine(line(ran), store) as engine:
        with pytest.raises(StoreUnavailable):
            await engine.run(items(), concurrency=8)
        assert [item.get("b") for item in (await standing(store, 4))[:2]] != ["running"] * 2
    assert "left behind" not in caplog.text


# decided on, applied, and not written


async def test_stop_now_while_a_large_artefact_is_kept(tmp_path: Path) -> None:
    async with open_store(tmp_path / "s.db") as inner:
        store = FaultyStore(inner)
        store.plan("keep", delay=1)
        async with asyncio.timeout(20), Engine(alone(size=3, large=2), store) as engine:
            asyncio.get_running_loop().call_later(0.2, lambda: engine.stop(now=True))
            await engine.run(numbered(3), concurrency=3)
            assert "running" not in [item.get("a") for item in await standing(inner, 3)]
            assert await held(inner) == 0


# cancelled twice


async def test_stopped_and_cancelled(store: StateStore) -> None:
    flow, inside = Workflow("twice"), asyncio.Event()

    @flow.stage(batch=3, batch_wait=0.01)
    async def a(items: list[Item]) -> list[int]:
        inside.set()
        await asyncio.sleep(30)
        return []

    async with asyncio.timeout(20), Engine(flow, store) as engine:
        run = asyncio.create_task(engine.run(numbered(3), concurrency=3))
        await inside.wait()
        engine.stop(now=True)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        assert [item["a"] for item in await standing(store, 3)] == ["pending"] * 3
        assert await held(store) == 0


async def test_what_was_stopped_before_its_first_step_is_given_back_at_once(store: StateStore) -> None:
    flow, ran = Workflow("plain"), list[str]()

    @flow.stage
    async def a(item: Item) -> int:
        ran.append("a")
        return 1

    async with asyncio.timeout(20), Engine(flow, store) as engine:
        worker = engine._entered_worker()
        start = worker.start

        def start_and_stop(*given: Any, **named: Any) -> Any:
            task = start(*given, **named)
            engine.stop(now=True)
            return task

        worker.start = start_and_stop  # type: ignore[method-assign]
        began = time.monotonic()
        await engine.run(numbered(3), concurrency=3)
        assert time.monotonic() - began < 1
        assert (await held(store), ran) == (0, [])


# one item's fault


async def test_what_one_item_has_that_cannot_be_stored_costs_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = decide.settle_alike

    def settle_alike(flow: Any, states: list[ItemState], *rest: Any) -> Alike:
        said = whole(flow, states, *rest)
        assert said is not None
        rows = zip(states, said.made, strict=True)
        made = [row._replace(artefact="\ud800") if state.id == "2" else row for state, row in rows]
        return Alike(said.states, said.change, made)

    monkeypatch.setattr(decide, "settle_alike", settle_alike)
    async with open_store(tmp_path / "s.db") as store, asyncio.timeout(20), Engine(alone(), store) as engine:
        with pytest.raises(StoreError):
            await engine.run(numbered(4), concurrency=4)
        assert [item["a"] for item in await standing(store, 4)].count("completed") == 3


async def test_a_fault_of_one_batch_costs_no_other(tmp_path: Path) -> None:
    flow = Workflow("parts")

    @flow.stage(batch=2, batch_wait=0.01)
    async def a(items: list[Item]) -> list[int]:
        await asyncio.sleep(0.2 if items[0]["n"] else 0)
        return [1 for _ in items]

    async with open_store(tmp_path / "s.db") as inner:
        store = FaultyStore(inner)
        async with asyncio.timeout(20), Engine(flow, store) as engine:
            store.plan("commit_all", first=2, error=StoreUnavailable("no"))  # all have begun; this is the first that ends
            with pytest.raises(StoreUnavailable):
                await engine.run(numbered(10), concurrency=10)
            assert [item["a"] for item in await standing(inner, 10)].count("completed") >= 8


async def test_an_artefact_that_cannot_be_kept_costs_no_other(tmp_path: Path) -> None:
    async with open_store(tmp_path / "s.db") as inner:
        store = FaultyStore(inner)
        store.plan("keep", error=StoreUnavailable("no"))
        async with asyncio.timeout(20), Engine(alone(size=3, large=2), store) as engine:
            with pytest.raises(StoreUnavailable):
                await engine.run(numbered(3), concurrency=3)
            assert [item["a"] for item in await standing(inner, 3)][:2] == ["completed"] * 2


async def test_an_artefact_that_waits_for_room_holds_up_no_other(tmp_path: Path) -> None:
    async with open_store(tmp_path / "s.db") as inner:
        store = FaultyStore(inner)
        store.plan("keep", delay=0.5)
        async with asyncio.timeout(20), Engine(alone(size=3, large=2), store) as engine:
            run = asyncio.create_task(engine.run(numbered(3), concurrency=3))
            while [item.get("a") for item in await standing(inner, 3)][:2] != ["completed"] * 2:
                assert not run.done()
                await asyncio.sleep(0.005)
            await run


async def test_large_artefacts_are_kept_beside_each_other(tmp_path: Path) -> None:
    async with open_store(tmp_path / "s.db") as inner:
        store = FaultyStore(inner)
        store.plan("keep", delay=0.02, times=100)  # a disk that takes 20 ms to sync
        async with asyncio.timeout(20), Engine(alone(size=40, large=-1), store) as engine:
            began = time.monotonic()
            await engine.run(numbered(40), concurrency=40)
            assert time.monotonic() - began < 0.6


# a type that raises past Exception: with SystemExit or KeyboardInterrupt the same would tear the event loop down


async def test_what_decoding_raises_is_data(store: StateStore) -> None:
    class Past(BaseException):
        pass

    broken = [False]

    class Doc(BaseModel):
        id: str
        n: int

        @field_validator("n")
        @classmethod
        def check(cls, n: int) -> int:
            if broken[0] and n == 1:
                raise Past
            return n

    flow, calls = Workflow("decode", item=Doc), list[int]()

    async def a(items: Any) -> Any:
        calls.append(len(items))
        return [1 for _ in items]

    a.__annotations__ = {"items": list[Doc], "return": list[int]}
    flow.stage(batch=3, batch_wait=0.01)(a)
    async with asyncio.timeout(20), Engine(flow, store) as engine:
        engine.observe(lambda *_: broken.__setitem__(0, True))
        report = await engine.run([Doc(id=str(n), n=n) for n in range(3)])
        assert (report.completed, report.failed) == (2, 1)
        kinds = [str(event.kind) async for event in engine.events(item_id="0")]
    assert "stage_interrupted" not in kinds


async def test_what_encoding_raises_is_data(store: StateStore) -> None:
    class Past(BaseException):
        pass

    class Odd(dict[str, int]):
        def items(self) -> Any:
            raise Past("not today")

    flow = Workflow("encode")

    @flow.stage(batch=3, batch_wait=0.01)
    async def a(items: list[Item]) -> list[Any]:
        return [Odd(n=1) if item["n"] == 1 else 1 for item in items]

    async with asyncio.timeout(20), Engine(flow, store) as engine:
        report = await engine.run(numbered(3))
        assert (report.completed, report.failed) == (2, 1)
        assert (await engine.status("1"))["a"].error == "Past: not today"
        kinds = [str(event.kind) async for event in engine.events(item_id="0")]
    assert "stage_interrupted" not in kinds


async def test_what_a_result_says_of_its_own_class_costs_no_other(store: StateStore) -> None:
    class Strange:
        @property  # type: ignore[misc]
        def __class__(self) -> Any:
            raise RuntimeError("guess")

    flow = Workflow("strange")

    @flow.stage(batch=3, batch_wait=0.01)
    async def a(items: list[Item]) -> list[Any]:
        return [Strange() if item["n"] == 1 else 1 for item in items]

    async with asyncio.timeout(20), Engine(flow, store) as engine:
        report = await engine.run(numbered(3))
        assert (report.completed, report.failed) == (2, 1)
        assert (await engine.status("1"))["a"].error == "RuntimeError: guess"


# advance


async def test_advance_waits_for_its_item_only(store: StateStore) -> None:
    flow = Workflow("advance")

    @flow.stage(batch=2, batch_wait=0.01, limit=1)
    async def a(items: list[Item]) -> list[int]:
        await asyncio.sleep(0.2)
        return [1 for _ in items]

    async with asyncio.timeout(20), Engine(flow, store) as engine:
        run = asyncio.create_task(engine.run(numbered(10), concurrency=10))
        await asyncio.sleep(0.1)
        began = time.monotonic()
        await engine.advance("0")
        took = time.monotonic() - began
        await run
    assert took < 0.4


# told to stop before the first step


async def test_nothing_begins_after_stop(store: StateStore, monkeypatch: pytest.MonkeyPatch) -> None:
    flow, ran = Workflow("first"), list[int]()

    @flow.stage(batch=3, batch_wait=0.01)
    async def a(items: list[Item]) -> list[int]:
        ran.append(len(items))
        return [1 for _ in items]

    async with asyncio.timeout(20), Engine(flow, store) as engine:
        worker = engine._entered_worker()
        claim = worker._claim

        async def claim_then_stop(room: int, concurrency: int) -> Any:
            wake = await claim(room, concurrency)
            if worker._held:
                engine.stop()
            return wake

        monkeypatch.setattr(worker, "_claim", claim_then_stop)
        await engine.run(numbered(3), concurrency=3)
    assert ran == []


# a store without a quicker way


class Plain(FaultyStore):
    commit_all = StateStore.commit_all


async def test_stop_now_while_commits_of_a_plain_store_are_in_flight(tmp_path: Path) -> None:
    async with open_store(tmp_path / "s.db") as inner:
        store = Plain(inner)
        async with asyncio.timeout(20), Engine(alone(size=8), store) as engine:
            run = asyncio.create_task(engine.run(numbered(8), concurrency=8))
            while store.calls["commit"] < 10:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0)
            engine.stop(now=True)
            await run
            assert all(item["a"] != "running" for item in await standing(inner, 8))
            assert await held(inner) == 0


# the testing tool


async def test_faults_of_what_is_committed_together_happen(store: StateStore) -> None:
    faulty = FaultyStore(store)
    faulty.plan("commit_all", error=StoreUnavailable("no"))
    async with asyncio.timeout(20), Engine(alone(), faulty) as engine:
        with pytest.raises(StoreUnavailable):
            await engine.run(numbered(4), concurrency=4)


# who is told


async def test_a_follower_hears_of_a_batch_at_once(store: StateStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "_FOLLOW", 300.0)
    heard = asyncio.Event()

    async def follow(engine: Engine) -> None:
        ended = 0
        async for event in engine.events(follow=True):
            ended += event.kind is EventKind.STAGE_COMPLETED
            if ended == 4:
                heard.set()

    async with asyncio.timeout(20), Engine(alone(), store) as engine:
        following = asyncio.create_task(follow(engine))
        await asyncio.sleep(0)
        report = await engine.run(numbered(4), concurrency=4)
        await heard.wait()
        following.cancel()
    assert report.stages_run == 4


async def test_whoever_debugs_sees_what_each_item_of_a_batch_does(store: StateStore, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "treadle.driver")
    async with asyncio.timeout(20), Engine(alone(), store) as engine:
        await engine.run(numbered(4), concurrency=4)
    told = [(record.__dict__.get("item"), record.__dict__.get("event")) for record in caplog.records]
    for item in "0123":
        assert [event for of, event in told if of == item] == ["stage_started", "stage_completed", "workflow_completed"]


# what is left for the collector


async def test_a_batch_driver_is_gone_when_it_has_ended() -> None:
    async with Engine(alone(), MemoryStateStore()) as engine:
        await engine.run(numbered(4))
        gc.collect()
        gc.disable()
        try:
            await engine.run([{"id": f"x{n}", "n": n} for n in range(40)], concurrency=40)
            await asyncio.sleep(0.01)
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
            left = [type(one).__name__ for one in gc.garbage]
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()
    assert "BatchDriver" not in left
    assert "Task" not in left


# what nobody wants to know of any more


async def test_what_was_cancelled_while_its_batch_is_collected_is_not_in_it(store: StateStore) -> None:
    flow, given = Workflow("collected"), list[list[str]]()

    @flow.stage(batch=10, batch_wait=0.5)
    async def a(items: list[Item]) -> list[int]:
        given.append([item["id"] for item in items])
        return [1 for _ in items]

    @flow.stage
    async def b(item: Item, a: int) -> int:
        return item["n"]

    async with asyncio.timeout(20), Engine(flow, store) as engine:
        batches = engine._surroundings.batches
        assert batches is not None
        run = asyncio.create_task(engine.run(numbered(3), concurrency=10))
        while not batches._open:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.001)
        await engine.cancel("1")
        report = await run
        assert (report.completed, report.cancelled, given) == (2, 1, [["0", "2"]])
        assert json.loads((await store.load("2")).stages["b"].artefact) == 2  # type: ignore[union-attr, arg-type]


async def test_an_observer_that_raises_while_another_artefact_is_kept_costs_it_nothing(tmp_path: Path) -> None:
    class Slow(FaultyStore):
        """Takes its time over what is put back."""

        async def commit_all(self, changes: Any) -> Any:
            results = await super().commit_all(changes)
            if any(row.state is StageState.PENDING for _, change in changes for row in change.stages):
                await asyncio.sleep(0.3)
            return results

    def observe(state: ItemState, change: Transition) -> None:
        if any(row.state is StageState.COMPLETED for row in change.stages):
            raise RuntimeError("observer")

    async with open_store(tmp_path / "s.db") as inner:
        store = Slow(inner)
        store.plan("keep", first=2, delay=0.1)
        async with asyncio.timeout(20), Engine(alone(size=2, large=-1), store) as engine:
            engine.observe(observe)
            with pytest.raises(RuntimeError):
                await engine.run(numbered(2), concurrency=2)
        async with asyncio.timeout(20), Engine(alone(size=2, large=-1), inner) as engine:
            assert (await engine.run()).completed == 2
            assert "commit_refused" not in [event.kind.value async for event in engine.events()]


async def test_an_engine_that_ends_ends_those_who_wait_for_a_batch_that_fails_to_be_cancelled() -> None:
    flow, inside = Workflow("rides"), asyncio.Event()

    @flow.stage(batch=1, batch_wait=0.01)
    async def a(items: list[Item]) -> list[int]:
        inside.set()
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            raise RuntimeError("lost while cleaning up") from None
        return []

    async with Engine(flow, MemoryStateStore()) as engine:
        advancing = asyncio.create_task(engine.advance({"id": "x", "n": 1}))
        await inside.wait()
    _, late = await asyncio.wait({advancing}, timeout=5)
    assert not late
    assert advancing.cancelled() or advancing.exception() is not None or advancing.result()


async def test_a_batch_that_nobody_wants_takes_no_turn_of_a_rate() -> None:
    flow, given = Workflow("rated"), list[list[str]]()

    @flow.stage(batch=10, batch_wait=0.1, rate="1/min")
    async def a(items: list[Item]) -> list[int]:
        given.append([item["id"] for item in items])
        return [1 for _ in items]

    async with asyncio.timeout(20), Engine(flow, MemoryStateStore()) as engine:
        batches = engine._surroundings.batches
        assert batches is not None
        first = asyncio.create_task(engine.run(numbered(1)))
        while not batches._open:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.001)
        await engine.cancel("0")
        await first
        while batches._open:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.001)
        assert (await engine.advance({"id": "y", "n": 1}))["a"].state is StageState.COMPLETED
    assert given == [["y"]]
