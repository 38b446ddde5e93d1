"""Fan-outs, waiting, progress and recovery while an item moves."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from treadle import (
    Engine,
    FanOut,
    MemoryStateStore,
    RetryBudget,
    Skipped,
    StageContext,
    StateStore,
    SubTask,
    TreadleError,
    Workflow,
    decide,
)
from treadle.clock import now_us
from treadle.presence import identity
from treadle.state import ItemState
from treadle.store import NewItem

Item = dict[str, Any]


def fan(ran: list[str], **options: Any) -> Workflow:
    flow = Workflow("fan")

    @flow.stage(**options)
    async def split(item: Item) -> FanOut:
        return FanOut([SubTask(f"s{n}") for n in range(5)])

    @split.subtask
    async def child(item: Item, ctx: StageContext) -> str | Skipped:
        ran.append(str(ctx.subtask))
        if ctx.subtask == "s4":
            return Skipped("the last one")
        return "done"

    @flow.stage
    async def join(item: Item, split: dict[str, Any]) -> int:
        return sum(value is not None for value in split.values())

    return flow


async def take(store: StateStore, flow: Workflow, worker: int) -> ItemState:
    (state,) = (await store.claim(worker, 1, now_us(), is_dead=lambda row: row.who.name == "dead")).items
    decide.count(flow.definition, state)
    return state


async def write(store: StateStore, flow: Workflow, state: ItemState, change: Any) -> None:
    decide.apply(flow.definition, state, change)
    await store.commit(state, change)


async def test_children_that_lost_their_worker_start_again_and_the_finished_do_not(store: StateStore) -> None:
    ran: list[str] = []
    flow = fan(ran)
    definition = flow.definition
    await store.bind(definition)
    await store.add([NewItem("x", '{"id":"x"}')], decide.arrive(definition, now_us()))
    worker = await store.enlist(identity("dead"))
    state = await take(store, flow, worker)
    change = decide.begin(definition, state, now_us(), 3)
    await write(store, flow, state, change)
    from treadle.state import AttemptRow, Ended

    children = [(f"s{n}", None) for n in range(5)]
    fanned = AttemptRow("split", None, 1, now_us(), now_us(), Ended.FAN_OUT, subtasks=children)
    await write(store, flow, state, decide.settle(definition, state, fanned, now_us(), 0.0, 3))
    done = AttemptRow("split", 0, 1, now_us(), now_us(), Ended.COMPLETED, artefact='"done"')
    await write(store, flow, state, decide.settle(definition, state, done, now_us(), 0.0, 3))
    assert [row.state.value for row in state.boards["split"].rows] == ["completed", "running", "running", "running", "pending"]
    async with Engine(flow, store) as engine:
        # The worker that was enlisted above has "died"; this process only plays its part.
        await store.retire(worker)
        assert (await engine.run()).completed == 1
        assert sorted(ran) == ["s1", "s2", "s3", "s4"]
        loaded = await store.load("x")
        assert loaded is not None
        assert loaded.stages["join"].artefact == "4"
        assert [row.interruptions for row in loaded.boards["split"].rows] == [0, 1, 1, 1, 0]


async def test_whatever_kills_its_worker_three_times_fails_as_interrupted(store: StateStore) -> None:
    flow = Workflow("poison")

    @flow.stage
    async def body(item: Item) -> None:
        raise AssertionError("never reached")

    definition = flow.definition
    await store.bind(definition)
    await store.add([NewItem("x", '{"id":"x"}')], decide.arrive(definition, now_us()))
    for _ in range(3):
        worker = await store.enlist(identity("dead"))
        state = await take(store, flow, worker)
        await write(store, flow, state, decide.begin(definition, state, now_us(), 3))
        await store.retire(worker)
    async with Engine(flow, store) as engine:
        assert (await engine.run()).failed == 1
        status = await engine.status("x")
        assert status["body"].error == "interrupted 3 times: whatever ran it died each time"
        assert len(await store.attempts("x", "body")) == 3


async def test_a_retry_that_is_due_starts_while_the_rest_still_moves(store: StateStore) -> None:
    tries, done = [0], asyncio.Event()
    flow = Workflow("due")

    @flow.stage(retry=RetryBudget(max_attempts=2, delay=0.01, jitter=False))
    async def shaky(item: Item) -> None:
        tries[0] += 1
        if tries[0] == 1:
            raise ValueError
        done.set()

    @flow.stage
    async def long(item: Item) -> None:
        await done.wait()

    @flow.stage(retry=RetryBudget(max_attempts=2, delay=0.01, jitter=False), limit=1)
    async def limited(item: Item, ctx: StageContext) -> None:
        if ctx.attempt == 1:
            raise ValueError

    async with Engine(flow, store) as engine, asyncio.timeout(10):
        assert (await engine.run([{"id": "x"}])).completed == 1


async def test_children_retry_within_their_budget_and_limit(store: StateStore) -> None:
    inside, most = 0, 0
    tries: dict[str, int] = {}
    flow = Workflow("children")

    @flow.stage(limit=2, retry=RetryBudget(max_attempts=2, delay=0.01, jitter=False))
    async def split(item: Item) -> FanOut:
        return FanOut([SubTask(f"s{n}") for n in range(6)])

    @split.subtask
    async def child(item: Item, subtask: SubTask) -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await asyncio.sleep(0)
        inside -= 1
        tries[subtask] = tries.get(subtask, 0) + 1
        if tries[subtask] == 1:
            raise ValueError("first")

    async with Engine(flow, store) as engine, asyncio.timeout(10):
        assert (await engine.run([{"id": "x"}])).completed == 1
    assert set(tries.values()) == {2}
    assert most == 2


async def test_a_fan_out_without_children_completes(store: StateStore) -> None:
    flow = Workflow("none")

    @flow.stage
    async def split(item: Item) -> FanOut:
        return FanOut([])

    @flow.stage
    async def join(item: Item, split: dict[str, Any]) -> int:
        return len(split)

    async with Engine(flow, store) as engine:
        assert (await engine.run([{"id": "x"}])).completed == 1


async def test_a_child_cannot_ask_or_fan_out(store: StateStore) -> None:
    flow = Workflow("nested")

    @flow.stage
    async def split(item: Item) -> FanOut:
        return FanOut([SubTask("a")])

    async with Engine(flow, store) as engine:
        assert (await engine.run([{"id": "x"}])).failed == 1
        error = (await engine.status("x"))["split"].subtasks[0].error
        assert error == "TypeError: a subtask cannot return FanOut; return it from the stage itself"


async def test_progress_reaches_the_journal(store: StateStore) -> None:
    flow = Workflow("progress")

    @flow.stage
    async def slow(item: Item, ctx: StageContext) -> None:
        with pytest.raises(ValueError, match="0 to 1"):
            ctx.progress(2)
        ctx.progress(0.5, "half")
        ctx.progress(0.6, "too soon to tell")
        for _ in range(3):
            await asyncio.sleep(0)

    @flow.stage
    def in_thread(item: Item, ctx: StageContext) -> None:
        ctx.progress(1.0)

    async with Engine(flow, store) as engine:
        await engine.run([{"id": "x"}])
        told = [event.data async for event in engine.events() if event.kind == "stage_progress" and event.stage == "slow"]
    assert told == [{"fraction": 0.5, "note": "half"}]


async def test_stopping_takes_back_questions_for_leave(store: StateStore) -> None:
    inside = asyncio.Event()
    flow = Workflow("leave")

    @flow.stage(limit=1)
    async def narrow(item: Item) -> None:
        inside.set()
        await asyncio.Event().wait()

    async with Engine(flow, store) as engine, asyncio.timeout(10):
        run = asyncio.create_task(engine.run([{"id": "x"}, {"id": "y"}]))
        await inside.wait()
        engine.stop(now=True)
        report = await run
        assert (report.pending, report.failed) == (2, 0)


async def test_a_when_that_raises_fails_its_stage(store: StateStore) -> None:
    flow = Workflow("when")

    async def raising(item: Item) -> bool:
        raise LookupError("no idea")

    @flow.stage(when=raising)
    async def body(item: Item) -> None: ...

    async with Engine(flow, store) as engine:
        assert (await engine.run([{"id": "x"}])).failed == 1
        assert (await engine.status("x"))["body"].error == "LookupError: no idea"


async def test_time_limits_and_hooks_of_plain_functions(store: StateStore) -> None:
    flow = Workflow("limits")

    @flow.stage(timeout=30)
    def fine(item: Item) -> int:
        return 1

    @flow.stage(timeout=30)
    async def raising(item: Item) -> None:
        raise SystemExit(1)

    @flow.stage
    def stopping(item: Item) -> None:
        raise StopIteration

    async with Engine(flow, store) as engine:
        await engine.run([{"id": "x"}])
        status = await engine.status("x")
        assert status["fine"].state.value == "completed"
        assert status["raising"].error == "SystemExit: 1"
        assert status["stopping"].error == "RuntimeError: the stage raised StopIteration"


async def test_an_engine_needs_no_entering_and_refuses_nonsense() -> None:
    flow = Workflow("plain")

    @flow.stage
    async def body(item: Item) -> None: ...

    store = MemoryStateStore()
    engine = Engine(flow, store)
    engine.stop()
    assert (await engine.run([{"id": "x"}])).completed == 1
    assert (await engine.advance({"id": "y"})).is_complete
    assert (await engine.status("y")).is_complete
    with pytest.raises(ValueError, match="concurrency=0"):
        await engine.run(concurrency=0)
    with pytest.raises(ValueError, match="lease=0"):
        Engine(flow, store, lease=0)
    with pytest.raises(TreadleError, match="already running"):
        async with engine, engine:
            pass


async def test_cancelling_the_run_itself_puts_everything_back(store: StateStore) -> None:
    inside = asyncio.Event()
    flow = Workflow("cancelled")

    @flow.stage
    async def body(item: Item) -> None:
        inside.set()
        await asyncio.Event().wait()

    @flow.stage
    async def timed(item: Item) -> FanOut:
        return FanOut([SubTask("a"), SubTask("b")])

    @timed.subtask
    async def child(item: Item) -> None:
        await asyncio.Event().wait()

    async with Engine(flow, store) as engine, asyncio.timeout(10):
        run = asyncio.create_task(engine.run([{"id": "x"}]))
        await inside.wait()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        status = await engine.status("x")
        assert status["body"].state.value == "pending"
        assert not [child for child in status["timed"].subtasks if child.state.value == "running"]


async def test_what_a_subtask_records_is_kept_with_its_attempt(store: StateStore) -> None:
    flow = Workflow("recorded")

    @flow.stage
    async def split(item: Item) -> FanOut:
        return FanOut([SubTask("loud"), SubTask("quiet")])

    @split.subtask
    async def child(item: Item, subtask: SubTask, ctx: StageContext) -> int:
        if subtask == "loud":
            ctx.record(tokens=7)
        return 1

    assert (await Engine(flow, store).run([{"id": "x"}])).completed == 1
    kept = {name: attempt.metrics for name, attempt in await store.attempts("x", "split") if name is not None}
    assert kept == {"loud": '{"tokens":7}', "quiet": None}
