"""What the engine does with a workflow's items."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from treadle import (
    AwaitingReview,
    Completed,
    Engine,
    FanOut,
    InvalidItem,
    InvalidTransition,
    ItemConflict,
    ItemNotFound,
    MemoryStateStore,
    PermanentError,
    RetryBudget,
    RetryLater,
    ReviewConflict,
    ReviewData,
    Skipped,
    SourceFailed,
    Stage,
    StageContext,
    StageState,
    StateStore,
    SubTask,
    Workflow,
    open_store,
)

Item = dict[str, Any]
X = {"id": "x"}


async def kinds(engine: Engine) -> list[str]:
    return [event.kind.value async for event in engine.events()]


async def test_stages_run_in_order_and_see_artefacts(store: StateStore) -> None:
    flow = Workflow("line")

    @flow.stage
    async def first(item: Item) -> dict[str, int]:
        return {"n": 1}

    @flow.stage
    def second(item: Item, first: dict[str, int]) -> int:
        return first["n"] + 1

    async with Engine(flow, store) as engine:
        report = await engine.run([X, {"id": 2}])
        assert (report.completed, report.failed, report.pending, report.stages_run) == (2, 0, 0, 4)
        again = await engine.run([X, {"id": 2}])
        assert (again.completed, again.stages_run) == (2, 0)
        status = await engine.status(2)
        assert status.is_complete
        assert status.progress_percent == 100
        assert (await engine.advance("x")).is_complete
        assert (await kinds(engine)).count("workflow_completed") == 2


async def test_siblings_subtasks_and_items_run_at_the_same_time(store: StateStore) -> None:
    together = asyncio.Barrier(6)
    flow = Workflow("wide")

    @flow.stage
    async def left(item: Item) -> None:
        await together.wait()

    @flow.stage
    async def right(item: Item) -> FanOut:
        return FanOut([SubTask("one"), SubTask("two")])

    @right.subtask
    async def each(item: Item) -> None:
        await together.wait()

    @flow.stage(after=["left", "right"])
    async def join(item: Item) -> None: ...

    async with Engine(flow, store) as engine, asyncio.timeout(20):
        assert (await engine.run([X, {"id": "y"}])).completed == 2


async def test_only_failed_subtasks_run_again(store: StateStore) -> None:
    ran: list[str] = []
    broken = {"b"}
    flow = Workflow("fan")

    @flow.stage
    async def split(item: Item) -> FanOut:
        return FanOut([SubTask(name, {"upper": name.upper()}) for name in "abc"])

    @split.subtask
    async def part(item: Item, subtask: SubTask, ctx: StageContext) -> str:
        assert ctx.subtask == subtask.name
        ran.append(subtask.name)
        if subtask in broken:
            raise RuntimeError("no luck")
        return str(subtask.data["upper"])

    @flow.stage
    async def join(item: Item, split: dict[str, str]) -> str:
        return "".join(split.values())

    async with Engine(flow, store) as engine:
        assert (await engine.run([X])).failed == 1
        status = await engine.status("x")
        assert status["split"].error == "1 of 3 subtasks failed"
        assert [child.state.value for child in status["split"].subtasks] == ["completed", "failed", "completed"]
        broken.clear()
        ran.clear()
        await engine.retry("x", "split")
        assert (await engine.run()).completed == 1
        assert ran == ["b"]
        state = await store.load("x")
        assert state is not None
        assert state.stages["join"].artefact == '"ABC"'
        assert {"fan_out_started", "subtask_started", "subtask_completed", "subtask_failed", "stage_retried"} <= set(
            await kinds(engine)
        )


async def test_a_budget_covers_errors_and_the_next_attempt_is_told(store: StateStore) -> None:
    seen: list[tuple[int, str | None]] = []
    flow = Workflow("again")

    @flow.stage(retry=RetryBudget(max_attempts=3, delay=0.01, jitter=False))
    async def shaky(item: Item, ctx: StageContext) -> str:
        seen.append((ctx.attempt, ctx.feedback.summary if ctx.feedback else None))
        if ctx.attempt < 3:
            raise ValueError(f"try {ctx.attempt}")
        return "ok"

    async with Engine(flow, store) as engine:
        assert (await engine.run([X])).completed == 1
        assert seen == [(1, None), (2, "ValueError: try 1"), (3, "ValueError: try 2")]
        assert (await kinds(engine)).count("retry_scheduled") == 2
        attempts = [attempt for _, attempt in await store.attempts("x", "shaky")]
        assert [(a.number, a.how.value) for a in attempts] == [(1, "failed"), (2, "failed"), (3, "completed")]


@pytest.mark.parametrize(
    ("raised", "attempts", "says"),
    [
        (lambda: PermanentError("never"), 1, "PermanentError: never"),
        (lambda: RetryLater(0), 2, "RetryLater: asked to be tried again in 0 s"),
        (lambda: SystemExit(3), 1, "SystemExit: 3"),
        (KeyboardInterrupt, 1, "KeyboardInterrupt"),
        (asyncio.CancelledError, 1, "CancelledError"),
        (lambda: KeyError("a password=hunter2 b"), 2, "KeyError: 'a password=*** b'"),
    ],
)
async def test_what_a_stage_raises_is_data(
    store: StateStore, raised: Callable[[], BaseException], attempts: int, says: str
) -> None:
    tries: list[int] = []
    flow = Workflow("raise")

    @flow.stage(retry=RetryBudget(max_attempts=2))
    async def bad(item: Item, ctx: StageContext) -> None:
        tries.append(ctx.attempt)
        raise raised()

    @flow.stage(after=["bad"])
    async def never(item: Item) -> None:
        raise AssertionError("it depends on what failed")

    @flow.stage
    async def beside(item: Item) -> str:
        return "fine"

    async with Engine(flow, store) as engine:
        report = await engine.run([X])
        assert (report.failed, len(tries)) == (1, attempts)
        status = await engine.status("x")
        assert status["bad"].error == says
        assert (status["never"].state, status["beside"].state) == (StageState.PENDING, StageState.COMPLETED)
        assert status.failed_stages == ["bad"]


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (float("nan"), "not JSON compliant"),
        (object(), "is not a JSON type"),
        (FanOut([SubTask("a"), SubTask("a")]), "two subtasks are named 'a'"),
        (FanOut([SubTask("")]), "cannot be a subtask"),
        (AwaitingReview("look"), "takes a ReviewData"),  # type: ignore[arg-type]
    ],
)
async def test_an_artefact_that_cannot_be_kept_fails_the_stage_by_name(store: StateStore, value: Any, says: str) -> None:
    flow = Workflow("values")

    @flow.stage
    async def make(item: Item):  # type: ignore[no-untyped-def]
        return value

    async with Engine(flow, store) as engine:
        await engine.run([X])
        error = (await engine.status("x"))["make"].error
        assert error is not None
        assert says in error


async def test_a_wrong_type_is_refused_where_it_was_made(store: StateStore) -> None:
    flow = Workflow("types")

    @flow.stage
    async def count(item: Item) -> int:
        return "many"  # type: ignore[return-value]

    async with Engine(flow, store) as engine:
        await engine.run([X])
        error = (await engine.status("x"))["count"].error
        assert error is not None
        assert "stage 'count' of item 'x'" in error
        assert "a str was given where int is declared" in error


async def test_reviews_wait_and_are_decided_once(store: StateStore) -> None:
    flow = Workflow("ask")

    @flow.stage
    async def ask(item: Item) -> AwaitingReview:
        return AwaitingReview(ReviewData("keep it?", {"why": "short"}))

    @flow.stage(after=["ask"])
    async def then(item: Item) -> str:
        return "kept"

    async with Engine(flow, store) as engine:
        report = await engine.run([X, {"id": "y"}])
        assert report.awaiting_review == 2
        status = await engine.status("x")
        assert status.review_stages == ["ask"]
        assert status["ask"].review_data is not None
        assert status["ask"].review_data.details == {"why": "short"}
        await engine.approve("x", "ask", reviewer="ann")
        assert (await engine.status("x"))["ask"].state is StageState.COMPLETED
        await engine.reject("y", "ask", "too short", reviewer="bob")
        with pytest.raises(ReviewConflict, match="'ask' of item 'x' was approved by ann at"):
            await engine.reject("x", "ask", "late", reviewer="bob")
        report = await engine.run()
        assert (report.completed, report.failed) == (1, 1)
        assert (await engine.status("y"))["ask"].error == "rejected by bob: too short"
        decided = [event.data async for event in engine.events() if event.kind == "review_decided"]
        assert {"decision": "approve", "reviewer": "ann", "revision": 1} in decided


async def test_when_skips_and_skipped_lets_dependents_go_on(store: StateStore) -> None:
    flow = Workflow("when")

    @flow.stage
    async def size(item: Item) -> int:
        return int(item["n"])

    @flow.stage(when=lambda item, size: size > 1)
    async def big(item: Item, size: int) -> str:
        return "big"

    @flow.stage
    async def nothing(item: Item) -> Skipped:
        return Skipped("nothing to do")

    @flow.stage
    async def last(item: Item, big: str | None, nothing: None) -> str:
        return big or "small"

    async with Engine(flow, store) as engine:
        assert (await engine.run([{"id": "x", "n": 1}, {"id": "y", "n": 2}])).completed == 2
        assert (await engine.status("x"))["big"].state is StageState.SKIPPED
        assert (await engine.status("y"))["big"].state is StageState.COMPLETED


async def test_a_limit_holds_across_items(store: StateStore) -> None:
    inside, most = 0, 0
    flow = Workflow("limits")

    @flow.stage(limit=2)
    async def narrow(item: Item) -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await asyncio.sleep(0)
        inside -= 1

    async with Engine(flow, store) as engine:
        assert (await engine.run([{"id": n} for n in range(20)])).completed == 20
    assert most == 2


async def test_a_time_limit_holds_even_if_the_code_swallows_it(store: StateStore, caplog: pytest.LogCaptureFixture) -> None:
    release = asyncio.Event()
    flow = Workflow("slow")

    @flow.stage(timeout=0.05)
    async def deaf(item: Item) -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    async with Engine(flow, store) as engine, asyncio.timeout(10):
        assert (await engine.run([X])).failed == 1
        assert (await engine.status("x"))["deaf"].error == "timed out after 0.05 s"
        assert "a coroutine of stage 'deaf' of item 'x' ignores its time limit: it is left behind" in caplog.text
        release.set()
        await asyncio.sleep(0)


async def test_plain_functions_run_beside_the_loop(store: StateStore) -> None:
    flow = Workflow("threads")

    @flow.stage
    def body(item: Item) -> bool:
        return threading.current_thread() is threading.main_thread()

    async with Engine(flow, store) as engine:
        await engine.run([X])
    state = await store.load("x")
    assert state is not None
    assert state.stages["body"].artefact == "false"


APP = """
import os
from treadle import Workflow

flow = Workflow("procs")


@flow.stage(executor="process")
def work(item):
    print("noise" * 1000)
    if item["id"] == "poison":
        os._exit(7)
    return {"pid": os.getpid(), "n": item["n"] + 1}


@flow.stage
async def after(item, work):
    return work["n"]
"""


@pytest.mark.may_block  # the test itself writes and imports a module
async def test_worker_processes_survive_a_crash(store: StateStore, tmp_path: Path) -> None:
    import importlib.util
    import os

    path = tmp_path / "procs_app.py"
    path.write_text(APP)
    spec = importlib.util.spec_from_file_location("procs_app", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    async with Engine(module.flow, store) as engine:
        report = await engine.run([{"id": "a", "n": 1}, {"id": "poison", "n": 2}, {"id": "b", "n": 3}])
        assert (report.completed, report.failed) == (2, 1)
        error = (await engine.status("poison"))["work"].error
        assert error is not None
        assert "exit code 7" in error
        state = await store.load("a")
        assert state is not None
        assert state.stages["after"].artefact == "2"
        assert str(os.getpid()) not in (state.stages["work"].artefact or "")


async def test_bad_items_stop_nothing_and_are_told_at_the_end(store: StateStore) -> None:
    flow = Workflow("items")

    @flow.stage
    async def body(item: Item) -> None: ...

    async with Engine(flow, store) as engine:
        with pytest.raises(InvalidItem, match="has no id") as caught:
            await engine.run([X, {"no": "id"}, {"id": "bad\x00"}, {"id": "y"}])
        assert any("U+0000" in note for note in caught.value.__notes__)
        with pytest.raises(ItemConflict, match="'x' is already stored"):
            await engine.run([{"id": "x", "n": 2}, {"id": "z"}])

        def half() -> Any:
            yield {"id": "p"}
            raise OSError("disk gone")

        with pytest.raises(SourceFailed, match=r"OSError: disk gone \(after 1 item, which is stored"):
            await engine.run(half())
        assert (await engine.run()).completed == 4


async def test_sources_may_be_async(store: StateStore) -> None:
    flow = Workflow("source")

    @flow.stage
    async def body(item: Item) -> None: ...

    async def source() -> AsyncIterator[Item]:
        for number in range(30):
            yield {"id": number}

    async with Engine(flow, store) as engine:
        assert (await engine.run(source(), concurrency=4)).completed == 30


async def test_class_stages_hooks_lifespan_and_context(store: StateStore) -> None:
    said: list[Any] = []

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[str]:
        said.append("up")
        yield "shared"
        said.append("down")

    class Scan(Stage):
        name = "scan"

        async def before_execute(self, item: Any, ctx: StageContext) -> None:
            said.append(("before", ctx.state))

        async def execute(self, item: Any, ctx: StageContext) -> Any:
            ctx.record(tokens=3, pages=1)
            ctx.record(tokens=4)
            ctx.progress(0.5, "half")
            return Completed({"key": ctx.idempotency_key}, summary="done")

        async def after_execute(self, item: Any, ctx: StageContext, outcome: Any) -> None:
            said.append(("after", outcome.summary))

    flow = Workflow("classes", lifespan=lifespan)
    flow.add_stage(Scan())

    @flow.stage(after=["scan"])
    async def last(item: Item, ctx: StageContext) -> None:
        assert set(ctx.upstream) == {"scan"}
        assert len(ctx.upstream["scan"]["key"]) == 32

    async with Engine(flow, store) as engine:
        assert (await engine.run([X])).completed == 1
    assert said == ["up", ("before", "shared"), ("after", "done"), "down"]
    ((_, attempt),) = await store.attempts("x", "scan")
    assert attempt.metrics == '{"tokens":7,"pages":1}'


@dataclass(frozen=True)
class Pair:
    left: int
    right: tuple[int, ...]


async def test_a_restart_changes_nothing_dependents_see(tmp_path: Path) -> None:
    seen: list[Any] = []
    stop = [True]
    flow = Workflow("same")

    @flow.stage
    async def typed(item: Item) -> Pair:
        return Pair(1, (2, 3))

    @flow.stage
    async def plain(item: Item):  # type: ignore[no-untyped-def]
        return (1, 2)

    @flow.stage
    async def reader(item: Item, typed: Pair, plain: Any) -> None:
        seen.append((typed, plain))
        if stop[0]:
            raise RuntimeError("not yet")

    async with open_store(tmp_path / "s.db") as store, Engine(flow, store) as engine:
        await engine.run([X])
    stop[0] = False
    async with open_store(tmp_path / "s.db") as store, Engine(flow, store) as engine:
        await engine.retry("x", "reader")
        await engine.run()
    assert seen == [(Pair(1, (2, 3)), [1, 2])] * 2


async def test_stopping_puts_back_what_ran_without_a_charge(store: StateStore) -> None:
    running, go = asyncio.Event(), asyncio.Event()
    flow = Workflow("stop")

    @flow.stage
    async def body(item: Item, ctx: StageContext) -> int:
        running.set()
        await go.wait()
        return ctx.attempt

    async with Engine(flow, store) as engine, asyncio.timeout(10):
        run = asyncio.create_task(engine.run([X]))
        await running.wait()
        engine.stop(now=True)
        assert (await run).pending == 1
        assert (await engine.status("x"))["body"].state is StageState.PENDING
    go.set()
    async with Engine(flow, store) as engine:
        assert (await engine.run()).completed == 1
        assert "stage_interrupted" in await kinds(engine)


async def test_cancelling_stops_what_runs_and_retry_takes_it_back(store: StateStore) -> None:
    running, stopped = asyncio.Event(), asyncio.Event()
    block = [True]
    flow = Workflow("cancel")

    @flow.stage
    async def body(item: Item) -> None:
        running.set()
        if block[0]:
            try:
                await asyncio.Event().wait()
            finally:
                stopped.set()

    async with Engine(flow, store) as engine, asyncio.timeout(10):
        run = asyncio.create_task(engine.run([X]))
        await running.wait()
        await engine.cancel("x", "enough")
        assert stopped.is_set()
        assert (await run).cancelled == 1
        assert (await engine.status("x"))["body"].error == "cancelled: enough"
        with pytest.raises(InvalidTransition, match="already cancelled"):
            await engine.cancel("x")
        block[0] = False
        await engine.retry("x", operator="ann", reason="better now\0")
        (told,) = [event async for event in engine.events() if event.kind == "stage_retried"]
        assert told.data == {"operator": "ann", "reason": "better now\ufffd"}
        assert (await engine.run()).completed == 1


async def test_unknown_things_are_named(store: StateStore) -> None:
    flow = Workflow("unknown")

    @flow.stage
    async def body(item: Item) -> None: ...

    async with Engine(flow, store) as engine:
        await engine.run([X])
        with pytest.raises(ItemNotFound, match="'nobody'"):
            await engine.status("nobody")
        with pytest.raises(ItemNotFound, match="'nobody'"):
            await engine.advance("nobody")
        with pytest.raises(InvalidTransition, match="'body' of item 'x' is completed"):
            await engine.retry("x", "body")


async def test_a_follower_of_the_journal_misses_nothing() -> None:
    store = MemoryStateStore()
    flow = Workflow("follow")

    @flow.stage
    async def body(item: Item) -> None: ...

    async with Engine(flow, store) as engine, asyncio.timeout(10):
        seen: list[int] = []

        async def follow() -> None:
            async for event in engine.events(follow=True):
                seen.append(event.cursor)
                if event.kind == "workflow_completed" and event.item_id == "99":
                    return

        following = asyncio.create_task(follow())
        await engine.run([{"id": n} for n in range(100)], concurrency=1)
        await following
    assert seen == list(range(1, 401))
