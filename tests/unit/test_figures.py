"""Read models of how stages do, of pages of items and of one item."""

from __future__ import annotations

from typing import Any

import pytest

import treadle
from tests.web.pipeline import SAMPLE, letters
from treadle import FanOut, MemoryStateStore, RetryBudget, StageContext, StageState, SubTask, Workflow, bulk, decide
from treadle.clock import now_us
from treadle.dossier import artefact_of, child_attempts, child_page, dossier, stage_part, timeline
from treadle.errors import ItemNotFound, StageNotFound, TreadleError
from treadle.event import EventKind
from treadle.failure_groups import failures, message_of
from treadle.figures import Durations, durations, pace, seconds_left, stage_figures, stage_report, verdicts
from treadle.inbox import stored_definition
from treadle.listing import aged, item_page
from treadle.state import ItemPhase
from treadle.store import Counts, EventFilter, Filter, Shape, StateStore


@pytest.fixture
async def store() -> StateStore:
    store = MemoryStateStore()
    async with treadle.Engine(letters, store) as engine:
        await engine.run(SAMPLE)
    return store


async def test_pace_counts_what_ended(store: StateStore) -> None:
    found = await pace(store)
    assert sum(found.ended) == 15
    assert len(found.ended) == 60
    assert found.by_stage["read"] == pytest.approx(60 * 6 / found.seconds)
    assert found.per_minute == pytest.approx(60 * 15 / found.seconds)
    an_hour_later = await pace(store, now=now_us() + 2 * 3600 * 1_000_000)
    assert (sum(an_hour_later.ended), an_hour_later.per_minute) == (0, 0)


async def test_an_empty_store_has_figures() -> None:
    store = MemoryStateStore()
    found = await pace(store)
    assert (sum(found.ended), found.per_minute) == (0, 0)
    assert await durations(store) == {}
    assert (await failures(store)).groups == ()
    assert stage_figures(Shape("x", {}), await store.counts(), found, {}) == []
    assert (await item_page(store, Filter())).items == []


def _counts(pending: int, moving: int, done: int, failed: int) -> Counts:
    stages = {StageState.PENDING: pending, StageState.RUNNING: moving, StageState.COMPLETED: done, StageState.FAILED: failed}
    return Counts(
        {ItemPhase.PENDING: pending + moving, ItemPhase.COMPLETED: done, ItemPhase.FAILED: failed}, {"a": stages, "b": stages}
    )


async def test_time_left_is_what_moves_at_the_rate_of_the_moment(store: StateStore) -> None:
    shape, counts, moving = Shape("x", {"a": [], "b": ["a"]}), _counts(50, 10, 30, 10), await pace(store)
    a, b = stage_figures(shape, counts, moving, {"a": Durations(seconds=[1, 2, 9]), "b": Durations(seconds=[4])})
    assert (a.seconds_left, a.p50, a.share, b.share) == (None, 2, 0.5, 0.5)
    assert seconds_left(counts, moving) == pytest.approx(60 * 120 / moving.per_minute)
    # Nobody waits for what waits behind a failure.
    blocked = Counts({ItemPhase.PENDING: 5, ItemPhase.FAILED: 95}, {"a": {StageState.PENDING: 100}})
    assert seconds_left(blocked, moving) == pytest.approx(60 * 5 / moving.per_minute)


def test_a_histogram_has_round_edges_and_loses_nobody() -> None:
    found = Durations(seconds=sorted([0.0004, 0.0012, 0.004, 0.03, 0.031, 7.0]))
    bars = found.histogram()
    assert sum(n for _, _, n in bars) == 6
    assert bars[0][:2] == pytest.approx((0.0002, 0.0005))
    assert (0.02, 0.05, 2) in [(round(low, 6), round(high, 6), n) for low, high, n in bars]
    assert [n for _, _, n in Durations(seconds=[1e-6, 1e6]).histogram(10)] == [1, *[0] * 8, 1]
    assert Durations().histogram() == []
    assert Durations(seconds=[0.0]).histogram()[0][2] == 1


async def test_failures_are_grouped_without_what_is_about_one_item(store: StateStore) -> None:
    async with treadle.Engine(letters, store) as engine:
        await engine.run([type(SAMPLE[0])("fail-2", "unreadable ink"), type(SAMPLE[0])("fail-3", "unreadable hand")])
    found = await failures(store)
    assert [(group.stage, group.message, group.count, list(group.items)) for group in found.groups] == [
        ("read", "ValueError: cannot read …: unreadable ink", 2, ["fail-2", "fail-1"]),
        ("read", "ValueError: cannot read …: unreadable hand", 1, ["fail-3"]),
    ]
    assert (found.looked_at, found.total, found.is_whole) == (3, 3, True)
    assert found.groups[0].fragment == "ValueError: cannot read"
    part = await failures(store, limit=1)
    assert (part.looked_at, part.total, part.is_whole) == (1, 3, False)
    assert message_of("x", None) == "no message"


async def test_verdicts_are_counted_over_time(store: StateStore) -> None:
    found = await verdicts(store, "summary")
    accepted, rejected, asked = (sum(column) for column in zip(*found.told, strict=True))
    assert (accepted, rejected, asked) == (2, 0, 3)
    assert (await verdicts(store, "send")).told == ()


async def test_a_stage_report_has_everything_about_it(store: StateStore) -> None:
    report = await stage_report(store, "read")
    assert report.figures.count(StageState.FAILED) == 1
    assert report.figures.items == 6
    assert sum(report.durations.attempts.values()) == 5
    assert report.failures.total == 1
    with pytest.raises(StageNotFound, match="'nope'; stages are read"):
        await stage_report(store, "nope")


async def test_pages_lead_to_each_other(store: StateStore) -> None:
    first = await item_page(store, Filter(), limit=4)
    assert ([row.id for row in first.items], first.before) == (["ask-1", "ask-2", "ask/3 ü", "done-1"], None)
    second = await item_page(store, Filter(), after=first.after, limit=4)
    assert ([row.id for row in second.items], second.after) == (["done-2", "fail-1"], None)
    back = await item_page(store, Filter(), before=second.before, limit=4)
    assert ([row.id for row in back.items], back.before, back.after) == ([row.id for row in first.items], None, "done-1")
    again = await item_page(store, Filter(), before="done-1", limit=2)
    assert ([row.id for row in again.items], again.before) == (["ask-2", "ask/3 ü"], "ask-2")
    with pytest.raises(StageNotFound):
        await item_page(store, Filter("nope"))


async def test_cells_follow_the_workflow(store: StateStore) -> None:
    (row,) = (await item_page(store, Filter(prefix="fail"))).items
    assert [(cell.stage, cell.state) for cell in row.cells] == [
        ("read", "failed"), ("summary", "pending"), ("translate", "pending"), ("send", "pending"),
    ]  # fmt: skip
    assert row.cells[0].error == "ValueError: cannot read fail-1: unreadable ink"


async def test_pending_and_completed_are_said_of_items_where_no_stage_is_named(store: StateStore) -> None:
    assert [row.id for row in (await item_page(store, Filter(state=StageState.COMPLETED))).items] == ["done-1", "done-2"]
    assert [row.id for row in (await item_page(store, Filter("send", StageState.PENDING))).items] == [
        "ask-1", "ask-2", "ask/3 ü", "fail-1",
    ]  # fmt: skip


def test_ages_are_read() -> None:
    assert aged(Filter(), "<90s", 100_000_000).changed_after == 10_000_000
    assert aged(Filter(), ">1m", 100_000_000).changed_before == 40_000_000
    for bad in ("", "1h", "<1", "<1y", "<-1h", "<" + "9" * 99 + "d"):
        with pytest.raises(TreadleError, match="age"):
            aged(Filter(), bad, 0)


def _fanned(children: int) -> Workflow:
    flow = Workflow("fanned")

    @flow.stage(retry=RetryBudget(max_attempts=2))
    async def split(item: dict[str, Any], ctx: StageContext) -> Any:
        if ctx.subtask is None:
            return FanOut([SubTask(f"part-{n}", n) for n in range(children)])
        if ctx.subtask.name == "part-1":
            raise ValueError("no <b>part</b>")
        return {"n": ctx.subtask.name}

    return flow


async def test_an_item_with_many_subtasks_is_told_in_parts() -> None:
    store = MemoryStateStore()
    async with treadle.Engine(_fanned(250), store) as engine:
        await engine.run([{"id": "big"}])
    found = await dossier(store, "big")
    assert (found.status.phase, found.item, found.is_over) == (ItemPhase.FAILED, '{"id":"big"}', False)
    bars = await timeline(store, found)
    assert (len([bar for bar in bars.bars if bar.subtask]), bars.left_out) == (200, 50)
    part = await stage_part(store, "big", "split")
    assert (part.artefact, part.children) == (None, {StageState.COMPLETED: 249, StageState.FAILED: 1})
    page = await child_page(store, "big", "split", limit=100)
    assert (page.children[1][0], page.children[1][1].error, page.after) == (1, "ValueError: no <b>part</b>", 99)
    failed = await child_page(store, "big", "split", state=StageState.FAILED)
    assert ([child.name for _, child in failed.children], failed.after) == (["part-1"], None)
    assert [(attempt.number, attempt.subtask) for attempt in await child_attempts(store, "big", "split", 1)] == [
        (1, "part-1"), (2, "part-1"),
    ]  # fmt: skip
    assert (await artefact_of(store, "big", "split"))["part-0"] == {"n": "part-0"}


async def test_items_and_stages_that_are_not_there(store: StateStore) -> None:
    for call in (dossier(store, "done"), stage_part(store, "nobody", "read"), artefact_of(store, "nobody", "read")):
        with pytest.raises(ItemNotFound):
            await call
    with pytest.raises(StageNotFound):
        await stage_part(store, "done-1", "nope")


async def test_a_part_of_an_item_that_waits_for_a_person(store: StateStore) -> None:
    part = await stage_part(store, "ask-1", "summary")
    assert part.review is not None
    assert part.review.is_open
    assert part.schema["title"] == "Summary"
    assert [attempt.number for attempt in part.attempts] == [1]
    (bar,) = [
        bar
        for bar in (await timeline(store, await dossier(store, "ask-1"))).bars
        if bar.what == "awaiting_review" and bar.stage == "summary"
    ][-1:]
    assert bar.number == 1


async def test_an_act_on_many_stops_where_it_is_told_and_says_who_wanted_it(store: StateStore) -> None:
    flow = await stored_definition(store)

    def change(state: Any) -> Any:
        return decide.retry(flow, state, "read", now_us(), operator="ann", reason="new ink")

    async with treadle.Engine(letters, store) as engine:
        await engine.run([type(SAMPLE[0])("fail-2", "unreadable ink")])
    wanted = Filter("read", StageState.FAILED)
    assert await bulk.each(store, wanted, change, dry_run=True) == (["fail-1", "fail-2"], [], None)
    assert await bulk.each(store, wanted, change, dry_run=False, limit=1) == (["fail-1"], [], "fail-1")
    assert await bulk.each(store, wanted, change, dry_run=False, only=lambda state: False) == ([], [], None)
    (event,) = (await store.journal(EventFilter(kinds=frozenset({EventKind.STAGE_RETRIED})), None, 9)).events
    assert (event.item_id, event.data) == ("fail-1", {"operator": "ann", "reason": "new ink"})


async def test_a_cancelled_item_says_who_stopped_it(store: StateStore) -> None:
    flow = await stored_definition(store)
    await store.revise("ask-1", lambda state: decide.cancel(flow, state, "enough", now_us(), operator="ann"))
    (event,) = (await store.journal(EventFilter(kinds=frozenset({EventKind.ITEM_CANCELLED})), None, 9)).events
    assert event.data == {"operator": "ann", "reason": "enough"}
