"""What every store must do, as a pytest class."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any
from uuid import UUID

import pytest

from treadle import decide
from treadle.clock import now_us, to_us
from treadle.definition import Definition
from treadle.errors import ItemNotFound, LeaseLost, StageNotFound, StoreCorrupt, StoreError
from treadle.event import EventKind
from treadle.outcome import ReviewData
from treadle.state import AttemptRow, Ended, ItemPhase, ItemState, Mode, Rest, StageState, StageStatus, SubTaskStatus, Transition
from treadle.store import OWN, SHOWN, EventFilter, Filter, NewItem, Pruning, ReviewFilter, StateStore, WorkerIdentity, WorkerRow

FLOW = Definition.from_shape("contract", {"a": [], "b": ["a"]})
ME = WorkerIdentity("me", "here", "boot", 1, "1")


def _alive(_: WorkerRow) -> bool:
    return False


async def _held(store: StateStore, *ids: str) -> list[ItemState]:
    """Items that were added and claimed, ready to be decided on."""
    await store.bind(FLOW)
    await store.add([NewItem(i, f'{{"id":"{i}"}}') for i in ids], decide.arrive(FLOW, now_us()))
    worker = await store.enlist(ME)
    claimed = await store.claim(worker, 100, now_us(), is_dead=_alive)
    for state in claimed.items:
        decide.count(FLOW, state)
    return list(claimed.items)


async def _write(store: StateStore, state: ItemState, change: Transition) -> None:
    decide.apply(FLOW, state, change)
    await store.commit(state, change)


async def _finish(store: StateStore, state: ItemState) -> None:
    """Both stages complete, each with an artefact."""
    change = decide.begin(FLOW, state, now_us(), 10)
    await _write(store, state, change)
    while change.starts:
        stage = change.starts[0][0]
        attempt = AttemptRow(stage, None, state.stages[stage].attempt, now_us(), now_us(), Ended.COMPLETED, artefact='{"n":1}')
        change = decide.settle(FLOW, state, attempt, now_us(), 0.0, 10)
        await _write(store, state, change)


async def _prune(
    store: StateStore, *, before: int | None = None, dry_run: bool = False, phases: Any = frozenset({ItemPhase.COMPLETED})
) -> int:
    """How many items a whole walk in small steps pruned."""
    now = now_us()
    wanted = Pruning(phases, now + 1 if before is None else before, now, "ann", "old", dry_run)
    items, after = 0, 0
    while True:
        step = await store.prune(wanted, after, 1)
        items += step.items
        if step.after is None:
            return items
        after = step.after


class StateStoreContract:
    """Subclass it with a fixture ``store`` that gives an open, empty store.

    Example:
        .. code-block:: python

            class TestMine(StateStoreContract):
                @pytest.fixture
                async def store(self):
                    async with MyStore() as store:
                        yield store
    """

    # the door for tools

    async def test_nothing_is_known_at_first(self, store: StateStore) -> None:
        assert await store.get_status("nobody", "scan") is None
        assert await store.get_all_statuses("nobody") == {}
        assert await store.get_subtask_statuses("nobody", "scan") == []

    async def test_a_status_comes_back_as_it_was_set(self, store: StateStore) -> None:
        for status in (StageStatus.running(), StageStatus.completed(), StageStatus.failed("connection timeout after 30s")):
            await store.set_status("item-1", "scan", status)
            assert await store.get_status("item-1", "scan") == status

    async def test_a_review_comes_back_as_it_was_set(self, store: StateStore) -> None:
        status = StageStatus.awaiting_review(ReviewData("Please verify", {"entities": ["Person", "Place"]}))
        await store.set_status("item-1", "review", status)
        assert await store.get_status("item-1", "review") == status

    async def test_statuses_of_items_and_stages_stay_apart(self, store: StateStore) -> None:
        await store.set_status("item-1", "scan", StageStatus.completed())
        await store.set_status("item-1", "enrich", StageStatus.running())
        await store.set_status("item-2", "scan", StageStatus.pending())
        first, second = await store.get_all_statuses("item-1"), await store.get_all_statuses("item-2")
        assert {name: status.state.value for name, status in first.items()} == {"scan": "completed", "enrich": "running"}
        assert {name: status.state.value for name, status in second.items()} == {"scan": "pending"}

    async def test_items_are_found_by_stage_and_state(self, store: StateStore) -> None:
        for item, state in (
            ("item-1", StageStatus.completed()),
            ("item-2", StageStatus.completed()),
            ("item-3", StageStatus.pending()),
        ):
            await store.set_status(item, "scan", state)
        assert await store.query_items("scan", StageState.COMPLETED) == ["item-1", "item-2"]
        assert await store.query_items("scan", StageState.PENDING) == ["item-3"]
        assert await store.query_items("scan", StageState.FAILED) == []
        assert await store.query_items("other", StageState.COMPLETED) == []

    async def test_subtasks_keep_their_order_and_stage(self, store: StateStore) -> None:
        for name in ("source-2", "source-1"):
            await store.set_subtask_status("item-1", "enrich", name, SubTaskStatus.pending(name))
        await store.set_subtask_status("item-1", "process", "source-1", SubTaskStatus.completed("source-1"))
        await store.set_subtask_status("item-1", "enrich", "source-1", SubTaskStatus.failed("source-1", "no answer"))
        enrich = await store.get_subtask_statuses("item-1", "enrich")
        assert [(child.name, child.state.value, child.error) for child in enrich] == [
            ("source-2", "pending", None),
            ("source-1", "failed", "no answer"),
        ]

    @pytest.mark.parametrize("identity", ["text", 7, UUID(int=5)])
    async def test_ids_are_stored_as_text(self, store: StateStore, identity: Any) -> None:
        await store.set_status(identity, "scan", StageStatus.completed())
        assert await store.query_items("scan", StageState.COMPLETED) == [str(identity)]
        assert await store.get_status(str(identity), "scan") is not None

    async def test_many_writers_at_once(self, store: StateStore) -> None:
        async def write(number: int) -> None:
            await store.set_status(f"item-{number}", "scan", StageStatus.running())
            await store.set_status(f"item-{number}", "scan", StageStatus.completed())

        await asyncio.gather(*(write(number) for number in range(10)))
        assert len(await store.query_items("scan", StageState.COMPLETED)) == 10

    # items, claims, fences

    async def test_adding_again_changes_nothing_and_other_content_is_told(self, store: StateStore) -> None:
        await store.bind(FLOW)
        arrival = decide.arrive(FLOW, now_us())
        assert await store.add([NewItem("x", '{"n":1}')], arrival) == []
        assert await store.add([NewItem("x", '{"n": 1}')], arrival) == []
        assert await store.add([NewItem("x", '{"n":2}'), NewItem("y", "{}")], arrival) == ["x"]
        state = await store.load("x")
        assert state is not None
        assert state.payload == '{"n":1}'
        assert await store.load("y") is not None

    async def test_an_item_has_one_holder(self, store: StateStore) -> None:
        (state,) = await _held(store, "x")
        other = await store.enlist(ME)
        again = await store.claim(other, 10, now_us(), is_dead=_alive)
        assert list(again.items) == []
        assert list((await store.claim(other, 1, now_us(), is_dead=_alive, only=state.id)).items) == []

    async def test_a_dead_holder_loses_the_item_and_changes_nothing_more(self, store: StateStore) -> None:
        (old,) = await _held(store, "x")
        other = await store.enlist(ME)
        (new,) = (await store.claim(other, 10, now_us(), is_dead=lambda row: row.who.pid == 1)).items
        assert new.fence > old.fence
        change = decide.begin(FLOW, old, now_us(), 10)
        with pytest.raises(LeaseLost, match="'x'"):
            await store.commit(old, change)
        state = await store.load("x")
        assert state is not None
        assert state.stages == {}
        added, late = await store.events(0, 10)
        assert (added.kind, late.kind, late.stage) == (EventKind.ITEM_ADDED, EventKind.COMMIT_REFUSED, change.events[0].stage)
        assert late.data == {"fence": old.fence, "refused": [event.kind for event in change.events]}

    async def test_what_a_retired_worker_held_is_free(self, store: StateStore) -> None:
        await store.bind(FLOW)
        await store.add([NewItem("x", "{}")], decide.arrive(FLOW, now_us()))
        worker = await store.enlist(ME)
        await store.claim(worker, 10, now_us(), is_dead=_alive)
        await store.retire(worker)
        other = await store.enlist(ME)
        assert len((await store.claim(other, 10, now_us(), is_dead=_alive)).items) == 1

    async def test_what_waits_for_a_time_is_claimed_then(self, store: StateStore) -> None:
        await store.bind(FLOW)
        later = now_us() + 60_000_000
        await store.add([NewItem("x", "{}")], decide.arrive(FLOW, later))
        worker = await store.enlist(ME)
        claimed = await store.claim(worker, 10, now_us(), is_dead=_alive)
        assert (list(claimed.items), claimed.wake) == ([], later)
        assert len((await store.claim(worker, 10, later, is_dead=_alive)).items) == 1

    # changes

    async def test_a_finished_item_is_told_in_order(self, store: StateStore) -> None:
        (state,) = await _held(store, "x")
        await _finish(store, state)
        found = await store.load("x")
        assert found is not None
        assert found.phase is ItemPhase.COMPLETED
        assert {name: row.artefact for name, row in found.stages.items()} == {"a": '{"n":1}', "b": '{"n":1}'}
        events = await store.events(0, 100)
        assert [(event.kind.value, event.stage) for event in events] == [
            ("item_added", None), ("stage_started", "a"), ("stage_completed", "a"),
            ("stage_started", "b"), ("stage_completed", "b"), ("workflow_completed", None),
        ]  # fmt: skip
        cursors = [event.cursor for event in events]
        assert cursors == sorted(set(cursors))
        assert await store.events(cursors[2], 2, "x") == events[3:5]
        assert await store.events(0, 10, "other") == []
        ((subtask, attempt),) = await store.attempts("x", "a")
        assert (subtask, attempt.number, attempt.how, attempt.artefact) == (None, 1, Ended.COMPLETED, '{"n":1}')

    async def test_counts_know_every_item(self, store: StateStore) -> None:
        first, _ = await _held(store, "x", "y")
        await _finish(store, first)
        counts = await store.counts()
        assert counts.items == 2
        assert counts.phases == {ItemPhase.COMPLETED: 1, ItemPhase.PENDING: 1}
        assert counts.stages["b"] == {StageState.COMPLETED: 1, StageState.PENDING: 1}

    async def test_an_act_on_a_held_item_is_seen_when_it_is_given_back(self, store: StateStore) -> None:
        (state,) = await _held(store, "x")
        await store.revise("x", lambda found: Transition(now_us()))
        await _finish(store, state)
        other = await store.enlist(ME)
        assert len((await store.claim(other, 10, now_us(), is_dead=_alive)).items) == 1

    async def test_cancelling_takes_the_item_from_its_holder(self, store: StateStore) -> None:
        (state,) = await _held(store, "x")
        await _write(store, state, decide.begin(FLOW, state, now_us(), 10))
        await store.revise("x", lambda found: decide.cancel(FLOW, found, "enough", now_us()))
        with pytest.raises(LeaseLost):
            await store.commit(state, Transition(now_us()))
        found = await store.load("x")
        assert found is not None
        assert (found.phase, found.stages["a"].error) == (ItemPhase.CANCELLED, "cancelled: enough")

    async def test_an_act_that_raises_writes_nothing(self, store: StateStore) -> None:
        await _held(store, "x")

        def refuse(_: ItemState) -> Transition:
            raise ValueError("no")

        with pytest.raises(ValueError, match="no"):
            await store.revise("x", refuse)
        with pytest.raises(ItemNotFound):
            await store.revise("nobody", refuse)
        assert await store.load("nobody") is None

    async def test_pages_go_by_id(self, store: StateStore) -> None:
        await _held(store, "c", "a", "b")
        page = await store.page(Filter(), None, 2)
        assert [item.id for item in page] == ["a", "b"]
        assert [item.id for item in await store.page(Filter(), "b", 2)] == ["c"]
        assert [item.id for item in await store.page(Filter("a", StageState.PENDING), None, 9)] == ["a", "b", "c"]
        assert [item.id for item in await store.page(Filter(prefix="b"), None, 9)] == ["b"]

    # what people look at

    async def test_pages_for_people_go_both_ways_and_are_bare(self, store: StateStore) -> None:
        first, *_ = await _held(store, "c", "a", "b", "d")
        await _finish(store, first)
        page = await store.browse(Filter(), None, 3)
        assert ([item.id for item in page.items], page.reached) == (["a", "b", "c"], "c")
        last = await store.browse(Filter(), page.reached, 3)
        assert ([item.id for item in last.items], last.reached) == (["d"], None)
        back = await store.browse(Filter(), "d", 2, backwards=True)
        assert ([item.id for item in back.items], back.reached) == (["c", "b"], "b")
        done = page.items[2]
        assert (done.payload, done.phase, done.stages["b"].state) == ("", ItemPhase.COMPLETED, StageState.COMPLETED)
        assert done.stages["b"].artefact is None
        assert (await store.browse(Filter(prefix="c"), None, 1)).items[0].id == "c"

    async def test_filters_of_pages_for_people(self, store: StateStore) -> None:
        first, *_ = await _held(store, "done", "lost", "moved", "New")
        await _finish(store, first)
        arrived = now_us()
        await store.set_status("lost", "a", StageStatus.failed("Cannot DECODE it\n" + "x" * 1000))
        await store.revise("lost", lambda found: Transition(now_us(), rest=Rest(ItemPhase.FAILED, None)))
        await store.set_status("moved", "a", StageStatus(StageState.RUNNING))

        async def ids(wanted: Filter) -> list[str]:
            found = [item.id for item in (await store.browse(wanted, None, 9)).items]
            assert [item.id for item in (await store.browse(wanted, None, 9, backwards=True)).items] == found[::-1]
            assert [item.id for item in await store.page(wanted, None, 9)] == found
            return found

        assert await ids(Filter(state=StageState.FAILED)) == ["lost"]
        assert await ids(Filter("b", StageState.PENDING)) == ["New", "lost", "moved"]
        assert await ids(Filter("a", StageState.COMPLETED)) == ["done"]
        assert await ids(Filter(phase=ItemPhase.COMPLETED)) == ["done"]
        assert await ids(Filter(text="decode")) == ["lost"]
        assert await ids(Filter(text="O")) == ["done", "lost", "moved"]
        assert await ids(Filter(text="nEW")) == ["New"]
        assert await ids(Filter(text="%")) == []
        assert await ids(Filter(changed_after=arrived)) == ["lost", "moved"]
        assert await ids(Filter(changed_before=arrived)) == ["New", "done"]
        assert await ids(Filter(prefix="N", changed_before=arrived)) == ["New"]
        (lost,) = (await store.browse(Filter(state=StageState.FAILED), None, 9)).items
        assert lost.stages["a"].error == ("Cannot DECODE it\n" + "x" * 1000)[:SHOWN]

    async def test_one_stage_is_loaded_without_the_others(self, store: StateStore) -> None:
        (state,) = await _held(store, "x")
        await _finish(store, state)
        await store.set_subtask_status("x", "a", "part", SubTaskStatus.completed("part"))
        found = await store.load("x", stage="b")
        assert found is not None
        assert (set(found.stages), found.stages["b"].artefact, found.boards) == ({"b"}, '{"n":1}', {})
        assert await store.load("nobody", stage="b") is None

    async def test_subtasks_are_paged_and_counted(self, store: StateStore) -> None:
        await _held(store, "x")
        for number in range(5):
            status = SubTaskStatus.failed(f"s{number}", "no") if number % 2 else SubTaskStatus.completed(f"s{number}")
            await store.set_subtask_status("x", "a", status.name, status)
        page = await store.children("x", "a", -1, 2)
        assert [(row.seq, row.name) for row in page.rows] == [(0, "s0"), (1, "s1")]
        assert page.states == {StageState.COMPLETED: 3, StageState.FAILED: 2}
        assert [row.name for row in (await store.children("x", "a", 1, 9, state=StageState.FAILED)).rows] == ["s3"]
        assert list((await store.children("nobody", "a", -1, 2)).rows) == []

    async def test_attempts_of_the_stage_alone(self, store: StateStore) -> None:
        (state,) = await _held(store, "x")
        await _finish(store, state)
        await store.set_subtask_status("x", "a", "part", SubTaskStatus("part", StageState.COMPLETED, attempt=1))
        assert [(name, a.seq, a.artefact) for name, a in await store.attempts("x", "a", seq=OWN)] == [(None, None, '{"n":1}')]
        assert [(name, a.seq) for name, a in await store.attempts("x", "a", seq=0)] == [("part", 0)]

    async def test_the_journal_is_read_both_ways(self, store: StateStore) -> None:
        first, _ = await _held(store, "x", "y")
        await _finish(store, first)
        everything = await store.events(0, 100)
        newest = await store.journal(EventFilter(), None, 3, newest_first=True)
        assert list(newest.events) == everything[-1:-4:-1]
        older = await store.journal(EventFilter(), newest.reached, 100, newest_first=True)
        assert (list(older.events), older.reached) == (everything[-4::-1], None)
        ahead = await store.journal(EventFilter(), everything[1].cursor, 2)
        assert (list(ahead.events), ahead.reached) == (everything[2:4], everything[3].cursor)
        assert (await store.journal(EventFilter(), everything[-1].cursor, 2)).reached is None
        started = EventFilter("x", "b", frozenset({EventKind.STAGE_STARTED}))
        for order in (False, True):
            (event,) = (await store.journal(started, None, 9, newest_first=order)).events
            assert (event.item_id, event.stage, event.kind) == ("x", "b", EventKind.STAGE_STARTED)

    async def test_the_journals_end_is_counted(self, store: StateStore) -> None:
        first, _ = await _held(store, "x", "y")
        await _finish(store, first)
        hour = 3_600_000_000
        told = await store.tally(EventFilter(), 100, hour)
        counted: Counter[tuple[str | None, str]] = Counter()
        for one in told:
            assert one.at % hour == 0
            counted[one.stage, one.kind] += one.n
        assert counted[None, "item_added"] == 2
        assert counted["a", "stage_completed"] == counted["b", "stage_started"] == 1
        assert sum(one.n for one in await store.tally(EventFilter(), 2, hour)) == 2
        only = EventFilter(stage="b", kinds=frozenset({EventKind.STAGE_COMPLETED}))
        assert [(one.stage, one.kind, one.n) for one in await store.tally(only, 100, hour)] == [
            ("b", EventKind.STAGE_COMPLETED, 1)
        ]

    async def test_rows_of_a_state_the_newest_first(self, store: StateStore) -> None:
        first, second, *_ = await _held(store, "x", "y", "z", "u")
        await _finish(store, second)
        await _finish(store, first)
        for item in ("z", "u"):
            await store.set_status(item, "a", StageStatus.failed("no"))
        completed = await store.recent(StageState.COMPLETED, 9, stage="b")
        assert [(item, row.stage, row.attempt, row.artefact) for item, row in completed] == [
            ("x", "b", 1, None),
            ("y", "b", 1, None),
        ]
        assert [item for item, row in await store.recent(StageState.COMPLETED, 1) if row.stage == "a"] == ["x"]
        assert [(item, row.error) for item, row in await store.recent(StageState.FAILED, 9)] == [("u", "no"), ("z", "no")]
        assert await store.recent(StageState.FAILED, 9, stage="b") == []

    # the workflow

    @pytest.mark.parametrize(
        ("shape", "says"),
        [(("other", {"a": []}), "belongs to workflow 'contract'"), (("contract", {"b": []}), "'a': 1 items, among them 'x'")],
    )
    async def test_a_workflow_that_does_not_fit_is_refused(
        self, store: StateStore, shape: tuple[str, dict[str, list[str]]], says: str
    ) -> None:
        (state,) = await _held(store, "x")
        await _write(store, state, decide.begin(FLOW, state, now_us(), 10))
        with pytest.raises(StoreError, match=says):
            await store.bind(Definition.from_shape(*shape))

    async def test_new_stages_wake_what_was_complete(self, store: StateStore) -> None:
        (state,) = await _held(store, "x")
        await _finish(store, state)
        await store.bind(Definition.from_shape("contract", {"a": [], "b": ["a"], "c": ["b"]}))
        other = await store.enlist(ME)
        assert len((await store.claim(other, 10, now_us(), is_dead=_alive)).items) == 1

    async def test_new_stages_wake_what_failed(self, store: StateStore) -> None:
        (state,) = await _held(store, "x")
        await _write(store, state, decide.begin(FLOW, state, now_us(), 10))
        attempt = AttemptRow("a", None, 1, now_us(), now_us(), Ended.FAILED, error="no")
        await _write(store, state, decide.settle(FLOW, state, attempt, now_us(), 0.0, 10))
        await store.bind(Definition.from_shape("contract", {"a": [], "b": ["a"], "c": []}))
        other = await store.enlist(ME)
        (again,) = (await store.claim(other, 10, now_us(), is_dead=_alive)).items
        assert again.phase is ItemPhase.FAILED
        assert (await store.counts()).phases == {ItemPhase.FAILED: 1}

    # workers

    async def test_workers_are_listed_with_what_they_hold(self, store: StateStore) -> None:
        before = now_us()
        await _held(store, "x", "y")
        other = await store.enlist(WorkerIdentity("other", "there", "boot", 2, "2"))
        first, second = await store.workers()
        assert (first.who, first.holds, second.number, second.who.name, second.holds) == (ME, 2, other, "other", 0)
        assert before <= first.since <= first.beat <= now_us()
        await store.retire(first.number)
        assert [row.who.name for row in await store.workers()] == ["other"]

    async def test_who_lost_an_item_is_told_to_the_next(self, store: StateStore) -> None:
        await _held(store, "x")
        other = await store.enlist(ME)
        (state,) = (await store.claim(other, 1, now_us(), is_dead=lambda row: row.number != other)).items
        assert state.lost is not None
        assert {"worker": "me", "host": "here", "pid": 1}.items() <= json.loads(state.lost).items()

    async def test_a_worker_that_was_taken_for_dead_may_not_claim(self, store: StateStore) -> None:
        await _held(store, "x")
        (row,) = await store.workers()
        await store.retire(row.number)
        with pytest.raises(LeaseLost, match="enlist anew"):
            await store.claim(row.number, 10, now_us(), is_dead=_alive)
        assert await store.workers() == []

    async def test_nobody_claims_while_the_store_is_paused_or_drained(self, store: StateStore) -> None:
        (state,) = await _held(store, "x")
        await store.add([NewItem("y", "{}")], decide.arrive(FLOW, now_us()))
        assert (await store.steer()).mode is Mode.RUNNING
        for mode in (Mode.PAUSED, Mode.DRAINING):
            said = await store.steer(mode, "ann")
            assert (said.mode, said.by) == (mode, "ann")
            assert await store.steer() == said
            worker = await store.enlist(ME)
            for only in (None, "y"):
                claimed = await store.claim(worker, 10, now_us(), is_dead=_alive, only=only)
                assert (list(claimed.items), claimed.mode) == ([], mode)
        # What is held goes on.
        await _finish(store, state)
        await store.steer(Mode.RUNNING)
        worker = await store.enlist(ME)
        assert [found.id for found in (await store.claim(worker, 10, now_us(), is_dead=_alive)).items] == ["y"]

    # items that are no more

    async def test_pruned_items_are_gone_with_everything_of_them(self, store: StateStore) -> None:
        second, first = await _held(store, "y", "x")
        await _finish(store, first)
        for revision in (StageStatus.awaiting_review(ReviewData("look")), StageStatus.completed()):
            await store.set_status("x", "a", revision)
        for number in range(30):
            await store.set_subtask_status("x", "a", f"part-{number}", SubTaskStatus.completed(f"part-{number}"))
        last, cursor = (
            (await store.events(0, 100))[-1].cursor,
            (await store.reviews(ReviewFilter(is_open=None), None, 9))[0].cursor,
        )
        assert await _prune(store, dry_run=True) == 1
        assert await store.load("x") is not None
        assert await _prune(store) == 1
        assert [item.id for item in await store.page(Filter(), None, 9)] == ["y"]
        assert (await store.load("x"), await store.attempts("x", "a"), await store.get_subtask_statuses("x", "a")) == (
            None,
            [],
            [],
        )
        assert await store.reviews(ReviewFilter(is_open=None), None, 9) == []
        assert (await store.counts()).phases == {ItemPhase.PENDING: 1}
        assert (await store.counts()).stages["a"] == {StageState.PENDING: 1}
        kept = [(event.item_id, event.kind, event.cursor > last) for event in await store.events(0, 100)]
        assert kept == [("y", EventKind.ITEM_ADDED, False), ("", EventKind.ITEMS_PRUNED, True)]
        told = (await store.events(last, 9))[0].data
        assert (told["items"], told["by"], told["phases"], told["reason"]) == (1, "ann", ["completed"], "old")
        # Nothing that is made later is taken for what was pruned.
        await _finish(store, second)
        await store.add([NewItem("x", "{}")], decide.arrive(FLOW, now_us()))
        (again,) = (await store.claim((await store.workers())[0].number, 9, now_us(), is_dead=_alive)).items
        assert (again.stages, again.boards, again.key in (first.key, second.key)) == ({}, {}, False)
        await store.set_status("y", "a", StageStatus.awaiting_review(ReviewData("look")))
        (asked,) = await store.reviews(ReviewFilter(), None, 9)
        assert asked.cursor > cursor

    async def test_only_items_that_rest_and_have_rested_long_enough_are_pruned(self, store: StateStore) -> None:
        held, ended, cancelled = await _held(store, "held", "ended", "cancelled")
        await _finish(store, ended)
        await store.revise("cancelled", lambda found: decide.cancel(FLOW, found, None, now_us()))
        since = (await store.events(0, 100, "ended"))[-1].at
        assert await _prune(store, before=to_us(since)) == 0
        worker = await store.enlist(ME)
        assert len((await store.claim(worker, 1, now_us(), is_dead=_alive, only="ended")).items) == 1
        assert await _prune(store) == 0
        await store.retire(worker)
        assert await _prune(store, before=to_us(since) + 1) == 1
        assert await _prune(store) == 0
        assert await _prune(store, phases={ItemPhase.CANCELLED, ItemPhase.COMPLETED}) == 1
        assert [item.id for item in await store.page(Filter(), None, 9)] == ["held"]
        await _finish(store, held)
        with pytest.raises(LeaseLost):
            await store.commit(cancelled, Transition(now_us()))

    # large artefacts

    async def test_a_large_artefact_is_kept_as_long_as_its_item(self, store: StateStore) -> None:
        state, other = await _held(store, "x", "y")
        text = json.dumps(["ä" * 1000] * 1500, ensure_ascii=False)
        reference = await store.keep(state, text)
        assert reference.startswith("@sha256:")
        assert await store.keep(other, text) == reference
        pieces = [piece async for piece in store.pieces("x", "a", reference)]
        assert b"".join(pieces).decode() == text
        await _finish(store, state)
        await _prune(store)
        assert await store.collect() == (0, 0)
        assert [piece async for piece in store.pieces("y", "a", reference)] == pieces
        await _finish(store, other)
        await _prune(store)
        assert await store.collect() == (1, len(text.encode()))
        with pytest.raises(StoreCorrupt, match="stage 'a' of item 'y'"):
            assert [piece async for piece in store.pieces("y", "a", reference)]

    async def test_what_is_no_reference_is_told_with_item_and_stage(self, store: StateStore) -> None:
        for wrong in ("@", "@sha256:../../etc/passwd:1:text/plain", '{"@sha256": 1}'):
            with pytest.raises(StoreCorrupt, match="stage 'a' of item 'x'") as caught:
                assert [piece async for piece in store.pieces("x", "a", wrong)]
            assert caught.value.item_id == "x"

    # a stage of another name

    async def test_a_renamed_stage_keeps_all_that_was_stored_of_it(self, store: StateStore) -> None:
        first, second = await _held(store, "x", "y")
        await _finish(store, first)
        await store.set_subtask_status("x", "a", "part", SubTaskStatus.completed("part"))
        await store.set_status("y", "a", StageStatus.awaiting_review(ReviewData("look")))
        before = await store.events(0, 100)
        await store.rename_stage("a", "z")
        shape = await store.shape()
        assert shape is not None
        assert {name: list(needs) for name, needs in shape.stages.items()} == {"z": [], "b": ["z"]}
        assert set(await store.get_all_statuses("x")) == {"z", "b"}
        assert [child.name for child in await store.get_subtask_statuses("x", "z")] == ["part"]
        assert [(stored.item_id, stored.row.stage) for stored in await store.reviews(ReviewFilter(), None, 9)] == [("y", "z")]
        assert [attempt.artefact for _, attempt in await store.attempts("x", "z")] == ['{"n":1}']
        after = await store.events(0, 100)
        assert [(e.cursor, e.stage) for e in after] == [(e.cursor, "z" if e.stage == "a" else e.stage) for e in before]
        await store.bind(Definition.from_shape("contract", {"z": [], "b": ["z"]}))
        assert second.id == "y"

    async def test_a_name_that_is_taken_or_not_there_renames_nothing(self, store: StateStore) -> None:
        (state,) = await _held(store, "x")
        await _finish(store, state)
        for old, new, error in (("nope", "z", StageNotFound), ("a", "b", StoreError), ("a", "\n", StoreError)):
            with pytest.raises(error):
                await store.rename_stage(old, new)
        assert set(await store.get_all_statuses("x")) == {"a", "b"}
