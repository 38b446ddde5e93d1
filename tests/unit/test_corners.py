"""What happens seldom: a heartbeat that fails, a fan-out taken up again, a question nobody answers any more."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import treadle
from treadle import (
    AwaitingReview,
    Engine,
    FanOut,
    Inbox,
    InvalidWorkflow,
    MemoryStateStore,
    RetryBudget,
    RetryLater,
    ReviewData,
    RunReport,
    Stage,
    StageContext,
    StageState,
    StateStore,
    StoreError,
    StoreUnavailable,
    SubTask,
    SubTaskStatus,
    Workflow,
    decide,
    presence,
)
from treadle.clock import now_us, to_us
from treadle.event import EventKind
from treadle.fits import fits
from treadle.membership import Heartbeat
from treadle.presence import identity, is_gone
from treadle.state import AttemptRow, Ended, ItemState
from treadle.status import PipelineStatus, StageEntry, ago
from treadle.store import NewItem
from treadle.wording import counted

Item = dict[str, Any]


def test_a_heartbeat_that_fails_tries_again(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    store, again, asked = MemoryStateStore(), threading.Event(), []

    def beat(worker: int) -> bool:
        asked.append(worker)
        if len(asked) == 1:
            raise StoreUnavailable("the disk is busy")
        again.set()
        return True

    monkeypatch.setattr(store, "beat", beat)
    heartbeat = Heartbeat(store, 5, 0.001, lambda: None)
    assert again.wait(20)
    heartbeat.stop()
    assert "heartbeat of worker 5 failed, trying again: the disk is busy" in caplog.text


def test_where_the_system_says_nothing_the_lease_decides(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    me = identity()
    monkeypatch.setattr(presence, "_BOOT_ID", tmp_path / "none")
    presence._boot.cache_clear()
    try:
        assert identity().boot == ""
        assert not is_gone(me._replace(boot="", started="1"))
    finally:
        presence._boot.cache_clear()
    monkeypatch.setattr(presence.sys, "platform", "darwin")
    assert presence._started(1) == ""


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="has no time zone"):
        to_us(datetime(2024, 1, 1))  # noqa: DTZ001 - that it has none is the point


def test_how_long_ago() -> None:
    now = datetime(2024, 1, 10, tzinfo=UTC)
    said = [ago(now - timedelta(seconds=seconds), now) for seconds in (-5, 0.5, 59, 60, 7200, 259_200)]
    assert said == ["now", "now", "59 s", "1 min", "2 h", "3 d"]


def test_a_report_says_what_it_counts() -> None:
    report = RunReport(completed=1_000, failed=2, awaiting_review=3, pending=4, cancelled=5, stages_run=2_500, elapsed=1.25)
    assert str(report) == (
        "1,014 items: 1,000 completed, 2 failed, 3 need a person, 4 pending, 5 cancelled; 2,500 stages run in 1.2 s"
    )


@pytest.mark.parametrize(
    ("number", "said", "does"),
    [(0, "0 items", "0 items wait"), (1, "1 item", "1 item waits"), (2_000, "2,000 items", "2,000 items wait")],
)
def test_one_thing_is_no_plural(number: int, said: str, does: str) -> None:
    assert counted(number, "item") == said
    assert counted(number, "item", "waits", "wait") == does


def test_one_stage_of_one_is_no_plural() -> None:
    child = SubTaskStatus.pending("a")
    status = PipelineStatus("x", (StageEntry(StageState.RUNNING, datetime.now(UTC), name="split", subtasks=[child]),))
    assert str(status).splitlines() == ["x: pending, 0 % of 1 stage", "  … split  running (0 of 1 subtask)"]


def test_delays_that_make_no_sense_and_those_that_grow_without_end() -> None:
    with pytest.raises(ValueError, match="the delay is in seconds"):
        RetryLater(-1)
    assert RetryBudget(max_attempts=3, delay=1.0, backoff=10.0, max_delay=7.0, jitter=False).wait_after(5_000, 0.0) == 7.0


def test_types_that_cannot_be_compared_are_left_to_run_time() -> None:
    from typing import NewType

    assert fits(NewType("Name", str), int)
    assert fits(int, NewType("Name", str))


def test_names_of_the_package_and_of_a_workflow() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        _ = treadle.Nonsense  # type: ignore[attr-defined]  # that it has none is the point
    assert "Workflow" in dir(treadle)
    assert repr(Workflow("empty")) == "<Workflow empty: no stages yet>"


def test_stage_names_follow_the_rule() -> None:
    flow = Workflow("names")

    @flow.stage
    async def NotAName(item: Item) -> None: ...  # noqa: N802 - that it is a bad name is the point

    with pytest.raises(InvalidWorkflow, match="stage name 'NotAName' must match"):
        flow.validate()


def test_an_event_tells_whether_it_is_an_error() -> None:
    from treadle import WorkflowEvent
    from treadle.clock import from_us

    at = from_us(0)
    assert WorkflowEvent(cursor=1, at=at, item_id="x", kind=EventKind.SUBTASK_FAILED).is_error
    assert not WorkflowEvent(cursor=1, at=at, item_id="x", kind=EventKind.RETRY_SCHEDULED).is_error


def test_upstream_knows_only_dependencies_and_shows_itself() -> None:
    flow = Workflow("upstream")
    shown: list[str] = []

    @flow.stage
    async def first(item: Item) -> int:
        return 1

    @flow.stage(after=["first"])
    async def second(item: Item, ctx: StageContext) -> None:
        shown.append(f"{ctx.upstream} {len(ctx.upstream)} {list(ctx.upstream)}")
        with pytest.raises(KeyError, match="not a dependency of this stage; those are first"):
            ctx.upstream["third"]

    assert treadle.run(flow, [{"id": "x"}], store="memory:").completed == 1
    assert shown == ["{'first': 1} 1 ['first']"]
    assert repr(first) == "<stage first>"


async def test_a_context_made_by_hand_needs_no_engine() -> None:
    class Scan(Stage):
        name = "scan"

        async def execute(self, item: Any, ctx: StageContext) -> str:
            ctx.progress(0.5)
            return ctx.stage

    scan, ctx = Scan(), StageContext("x", "scan")
    await scan.before_execute({}, ctx)
    assert await scan.execute({}, ctx) == "scan"
    await scan.after_execute({}, ctx, "scan")


async def test_an_async_source_that_raises_keeps_what_it_gave(store: StateStore) -> None:
    flow = Workflow("raising")

    @flow.stage
    async def body(item: Item) -> None: ...

    async def source() -> AsyncIterator[Item]:
        yield {"id": "a"}
        raise OSError("the network is gone")

    async with Engine(flow, store) as engine:
        with pytest.raises(
            treadle.SourceFailed, match=r"raised OSError: the network is gone \(after 1 item, which is stored"
        ) as caught:
            await engine.run(source())
        assert isinstance(caught.value.__cause__, OSError)
        assert (await engine.status("a")).is_complete


async def test_reviewers_have_names_and_cancelled_items_ask_nobody(store: StateStore) -> None:
    flow = Workflow("asks")

    @flow.stage
    async def ask(item: Item) -> AwaitingReview:
        return AwaitingReview(ReviewData("keep it?"))

    with pytest.raises(StoreError, match="no workflow yet"):
        await Inbox(store).decide("x", "ask", treadle.Approve(), reviewer="ann")
    async with Engine(flow, store) as engine:
        await engine.run([{"id": "x"}, {"id": "y"}])
        with pytest.raises(ValueError, match="'' cannot be a reviewer's name: it has 0 bytes"):
            await engine.approve("x", "ask", reviewer="")
        await engine.cancel("x")
        assert [review.item_id async for review in Inbox(store).waiting()] == ["y"]


async def test_cancelling_ends_children_that_wait_and_those_that_run(store: StateStore) -> None:
    inside, flow = asyncio.Event(), Workflow("children")

    @flow.stage(limit=1)
    async def split(item: Item) -> FanOut:
        return FanOut([SubTask("a"), SubTask("b")])

    @split.subtask
    async def child(item: Item) -> None:
        inside.set()
        await asyncio.Event().wait()

    async with Engine(flow, store) as engine, asyncio.timeout(10):
        run = asyncio.create_task(engine.run([{"id": "x"}]))
        await inside.wait()
        await engine.cancel("x", "no use")
        assert (await run).cancelled == 1
        children = (await engine.status("x"))["split"].subtasks
        assert [(child.state.value, child.error) for child in children] == [("failed", "cancelled: no use")] * 2


async def test_children_that_kill_their_worker_three_times_close_their_fan_out(store: StateStore) -> None:
    flow = Workflow("poison")

    @flow.stage
    async def split(item: Item) -> FanOut:
        raise AssertionError("never reached")

    definition = flow.definition
    await store.bind(definition)
    await store.add([NewItem("x", '{"id":"x"}')], decide.arrive(definition, now_us()))

    async def claimed() -> tuple[int, ItemState]:
        worker = await store.enlist(identity("dead"))
        (state,) = (await store.claim(worker, 1, now_us(), is_dead=lambda _: False)).items
        decide.count(definition, state)
        return worker, state

    async def write(state: ItemState, change: Any) -> None:
        decide.apply(definition, state, change)
        await store.commit(state, change)

    worker, state = await claimed()
    await write(state, decide.begin(definition, state, now_us(), 3))
    fanned = AttemptRow("split", None, 1, now_us(), now_us(), Ended.FAN_OUT, subtasks=[("a", None), ("b", None)])
    await write(state, decide.settle(definition, state, fanned, now_us(), 0.0, 3))
    for _ in range(3):
        await store.retire(worker)
        worker, state = await claimed()
        # With a window of one, the second child waits until the first has come to its end.
        await write(state, decide.begin(definition, state, now_us(), 1))
    await store.retire(worker)
    loaded = await store.load("x")
    assert loaded is not None
    assert loaded.boards["split"].rows[0].state is StageState.FAILED
    assert loaded.boards["split"].rows[0].error == "interrupted 3 times: whatever ran it died each time"


async def test_an_attempt_of_a_time_limited_stage_is_put_back_when_stopped(store: StateStore) -> None:
    inside, flow = asyncio.Event(), Workflow("limited")

    @flow.stage(timeout=600)
    async def body(item: Item) -> None:
        inside.set()
        await asyncio.Event().wait()

    async with Engine(flow, store) as engine, asyncio.timeout(10):
        run = asyncio.create_task(engine.run([{"id": "x"}]))
        await inside.wait()
        engine.stop(now=True)
        assert (await run).pending == 1


async def test_a_when_that_is_cancelled_from_inside_fails_and_from_outside_is_put_back(store: StateStore) -> None:
    inside, flow = asyncio.Event(), Workflow("when")

    async def waits(item: Item) -> bool:
        if item["id"] == "inside":
            raise asyncio.CancelledError
        inside.set()
        await asyncio.Event().wait()
        return True

    @flow.stage(when=waits)
    async def body(item: Item) -> None: ...

    async with Engine(flow, store) as engine, asyncio.timeout(10):
        run = asyncio.create_task(engine.run([{"id": "inside"}, {"id": "outside"}]))
        await inside.wait()
        # Until its failure is written, a stop puts back the other one too.
        async for event in engine.events(follow=True):
            if event.kind is EventKind.STAGE_FAILED:
                break
        engine.stop(now=True)
        report = await run
        assert (report.failed, report.pending) == (1, 1)
        assert (await engine.status("inside"))["body"].error == "CancelledError"


async def test_figures_that_are_not_json_do_not_hide_the_error(store: StateStore) -> None:
    flow = Workflow("figures")

    @flow.stage
    async def body(item: Item, ctx: StageContext) -> None:
        ctx.record(score=float("nan"))
        raise ValueError("the real reason")

    async with Engine(flow, store) as engine:
        assert (await engine.run([{"id": "x"}])).failed == 1
        assert (await engine.status("x"))["body"].error == "ValueError: the real reason"


async def test_one_item_can_be_advanced_while_the_engine_is_told_to_stop(store: StateStore) -> None:
    flow = Workflow("late")

    @flow.stage(retry=RetryBudget(max_attempts=2, delay=600))
    async def body(item: Item) -> None:
        raise ValueError

    async with Engine(flow, store) as engine, asyncio.timeout(10):
        moving = asyncio.create_task(engine.advance({"id": "x"}))
        while not any(event.kind is EventKind.RETRY_SCHEDULED for event in await store.events(0, 100)):  # noqa: ASYNC110
            await asyncio.sleep(0)
        moving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await moving
        assert (await engine.status("x"))["body"].state is StageState.PENDING


async def test_an_item_given_by_itself_and_held_by_another_worker_is_left_alone(store: StateStore) -> None:
    flow = Workflow("held")

    @flow.stage
    async def body(item: Item) -> None:
        raise AssertionError("never reached")

    await store.bind(flow.definition)
    await store.add([NewItem("x", '{"id":"x"}')], decide.arrive(flow.definition, now_us()))
    other = await store.enlist(identity("other"))
    assert (await store.claim(other, 1, now_us(), is_dead=lambda _: False)).items
    async with Engine(flow, store) as engine, asyncio.timeout(10):
        status = await engine.advance({"id": "x"})
        assert status["body"].state is StageState.PENDING
        with pytest.raises(treadle.ItemNotFound):
            await engine.advance("nobody")
        with pytest.raises(treadle.ItemConflict):
            await engine.advance({"id": "x", "other": "content"})
