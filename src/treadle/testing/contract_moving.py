"""What a store must do for those who move items."""

from __future__ import annotations

import json

import pytest

from treadle import decide
from treadle.clock import now_us
from treadle.errors import ItemNotFound, LeaseLost
from treadle.event import EventKind
from treadle.state import (
    Ended,
    ItemPhase,
    ItemState,
    Mode,
    Rest,
    StageState,
    StageStatus,
    SubTaskStatus,
    Transition,
)
from treadle.store import Filter, NewItem, StateStore, WorkerIdentity
from treadle.testing.contract_acts import FLOW, ME, alive, finish, held, prune, write


class MovingContract:
    """Items, claims and fences; changes; workers."""

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

    async def test_of_items_that_are_added_together_the_first_counts(self, store: StateStore) -> None:
        await store.bind(FLOW)
        await store.set_status("promised", "a", StageStatus.completed())
        given = [NewItem(name, f'{{"n":{n}}}') for n in (1, 2) for name in ("promised", "new")]
        assert await store.add(given, decide.arrive(FLOW, now_us())) == ["promised", "new"]
        for name in ("promised", "new"):
            state = await store.load(name)
            assert state is not None
            assert state.payload == '{"n":1}'
            assert [event.kind for event in await store.events(0, 10, name) if event.stage is None] == [EventKind.ITEM_ADDED]
        assert (await store.counts()).phases == {ItemPhase.PENDING: 2}

    async def test_what_was_set_before_an_item_came_is_claimed_with_it(self, store: StateStore) -> None:
        await store.bind(FLOW)
        await store.set_status("x", "a", StageStatus.completed())
        await store.set_subtask_status("x", "b", "one", SubTaskStatus.completed("one"))
        await store.add([NewItem("x", "{}"), NewItem("y", "{}")], decide.arrive(FLOW, now_us()))
        worker = await store.enlist(ME)
        claimed = {state.id: state for state in (await store.claim(worker, 10, now_us(), is_dead=alive)).items}
        assert claimed["x"].stages["a"].state is StageState.COMPLETED
        assert [row.name for row in claimed["x"].boards["b"].rows] == ["one"]
        assert claimed["y"].stages == {}
        assert (await store.counts()).stages["a"] == {StageState.COMPLETED: 1, StageState.PENDING: 1}

    async def test_an_item_has_one_holder(self, store: StateStore) -> None:
        (state,) = await held(store, "x")
        other = await store.enlist(ME)
        again = await store.claim(other, 10, now_us(), is_dead=alive)
        assert list(again.items) == []
        assert list((await store.claim(other, 1, now_us(), is_dead=alive, only=state.id)).items) == []

    async def test_a_dead_holder_loses_the_item_and_changes_nothing_more(self, store: StateStore) -> None:
        (old,) = await held(store, "x")
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

    async def test_a_late_change_takes_nothing_from_what_a_newer_claim_began(self, store: StateStore) -> None:
        (old,) = await held(store, "x")
        late = decide.begin(FLOW, old, now_us(), 10)
        worker = await store.enlist(ME)
        (state,) = (await store.claim(worker, 10, now_us(), is_dead=lambda row: row.number != worker)).items
        state.lost = None
        decide.count(FLOW, state)
        begun = decide.begin(FLOW, state, now_us(), 10)
        decide.apply(FLOW, state, begun)
        await store.commit(state, begun)
        with pytest.raises(LeaseLost):
            await store.commit(old, late)
        found = await store.load("x")
        assert found is not None
        assert found.stages["a"].state is StageState.RUNNING
        assert [event.kind for event in await store.events(0, 100, "x")].count(EventKind.STAGE_STARTED) == 1

    async def test_a_holder_is_told_of_what_was_revised_at_any_time(self, store: StateStore) -> None:
        await store.bind(FLOW)
        await store.add([NewItem(name, "{}") for name in ("before", "meanwhile", "never")], decide.arrive(FLOW, now_us()))
        await store.revise("before", lambda _: Transition(now_us()))
        worker, other = await store.enlist(ME), await store.enlist(ME)
        states = {state.id: state for state in (await store.claim(worker, 10, now_us(), is_dead=alive)).items}
        for _ in range(2):
            await store.revise("meanwhile", lambda _: Transition(now_us()))
        assert states["before"].news == 1
        assert await store.revised(worker) == {"before": 1, "meanwhile": 2}
        assert await store.revised(other) == {}
        await store.commit(states["meanwhile"], Transition(now_us(), rest=Rest(ItemPhase.FAILED, None)))
        assert await store.revised(worker) == {"before": 1}
        assert len((await store.claim(other, 10, now_us(), is_dead=alive)).items) == 1
        assert await store.revised(other) == {"meanwhile": 2}

    async def test_what_a_retired_worker_held_is_free(self, store: StateStore) -> None:
        await store.bind(FLOW)
        await store.add([NewItem("x", "{}")], decide.arrive(FLOW, now_us()))
        worker = await store.enlist(ME)
        await store.claim(worker, 10, now_us(), is_dead=alive)
        await store.retire(worker)
        other = await store.enlist(ME)
        assert len((await store.claim(other, 10, now_us(), is_dead=alive)).items) == 1

    async def test_what_waits_for_a_time_is_claimed_then(self, store: StateStore) -> None:
        await store.bind(FLOW)
        later = now_us() + 60_000_000
        await store.add([NewItem("x", "{}")], decide.arrive(FLOW, later))
        worker = await store.enlist(ME)
        claimed = await store.claim(worker, 10, now_us(), is_dead=alive)
        assert (list(claimed.items), claimed.wake) == ([], later)
        assert len((await store.claim(worker, 10, later, is_dead=alive)).items) == 1

    # changes

    async def test_a_finished_item_is_told_in_order(self, store: StateStore) -> None:
        (state,) = await held(store, "x")
        await finish(store, state)
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
        first, _ = await held(store, "x", "y")
        await finish(store, first)
        counts = await store.counts()
        assert counts.items == 2
        assert counts.phases == {ItemPhase.COMPLETED: 1, ItemPhase.PENDING: 1}
        assert counts.stages["b"] == {StageState.COMPLETED: 1, StageState.PENDING: 1}

    async def test_counts_follow_every_change_since_the_last_look(self, store: StateStore) -> None:
        first, _ = await held(store, "x", "y")
        assert (await store.counts()).phases == {ItemPhase.PENDING: 2}
        await finish(store, first)
        assert (await store.counts()).phases == {ItemPhase.COMPLETED: 1, ItemPhase.PENDING: 1}
        await store.revise("y", lambda found: decide.cancel(FLOW, found, "no", now_us()))
        counts = await store.counts()
        assert counts.phases == {ItemPhase.COMPLETED: 1, ItemPhase.CANCELLED: 1}
        await prune(store)
        counts = await store.counts()
        assert (counts.items, counts.phases) == (1, {ItemPhase.CANCELLED: 1})
        assert counts.stages["b"] == {StageState.PENDING: 1}

    async def test_an_act_on_a_held_item_is_seen_when_it_is_given_back(self, store: StateStore) -> None:
        (state,) = await held(store, "x")
        await store.revise("x", lambda found: Transition(now_us()))
        await finish(store, state)
        other = await store.enlist(ME)
        assert len((await store.claim(other, 10, now_us(), is_dead=alive)).items) == 1

    async def test_cancelling_takes_the_item_from_its_holder(self, store: StateStore) -> None:
        (state,) = await held(store, "x")
        await write(store, state, decide.begin(FLOW, state, now_us(), 10))
        await store.revise("x", lambda found: decide.cancel(FLOW, found, "enough", now_us()))
        with pytest.raises(LeaseLost):
            await store.commit(state, Transition(now_us()))
        found = await store.load("x")
        assert found is not None
        assert (found.phase, found.stages["a"].error) == (ItemPhase.CANCELLED, "cancelled: enough")

    async def test_an_act_that_raises_writes_nothing(self, store: StateStore) -> None:
        await held(store, "x")

        def refuse(_: ItemState) -> Transition:
            raise ValueError("no")

        with pytest.raises(ValueError, match="no"):
            await store.revise("x", refuse)
        with pytest.raises(ItemNotFound):
            await store.revise("nobody", refuse)
        assert await store.load("nobody") is None

    async def test_pages_go_by_id(self, store: StateStore) -> None:
        await held(store, "c", "a", "b")
        page = await store.page(Filter(), None, 2)
        assert [item.id for item in page] == ["a", "b"]
        assert [item.id for item in await store.page(Filter(), "b", 2)] == ["c"]
        assert [item.id for item in await store.page(Filter("a", StageState.PENDING), None, 9)] == ["a", "b", "c"]
        assert [item.id for item in await store.page(Filter(prefix="b"), None, 9)] == ["b"]

    # workers

    async def test_workers_are_listed_with_what_they_hold(self, store: StateStore) -> None:
        before = now_us()
        await held(store, "x", "y")
        other = await store.enlist(WorkerIdentity("other", "there", "boot", 2, "2"))
        first, second = await store.workers()
        assert (first.who, first.holds, second.number, second.who.name, second.holds) == (ME, 2, other, "other", 0)
        assert before <= first.since <= first.beat <= now_us()
        await store.retire(first.number)
        assert [row.who.name for row in await store.workers()] == ["other"]

    async def test_who_lost_an_item_is_told_to_the_next(self, store: StateStore) -> None:
        await held(store, "x")
        other = await store.enlist(ME)
        (state,) = (await store.claim(other, 1, now_us(), is_dead=lambda row: row.number != other)).items
        assert state.lost is not None
        assert {"worker": "me", "host": "here", "pid": 1}.items() <= json.loads(state.lost).items()

    async def test_a_worker_that_was_taken_for_dead_may_not_claim(self, store: StateStore) -> None:
        await held(store, "x")
        (row,) = await store.workers()
        await store.retire(row.number)
        with pytest.raises(LeaseLost, match="enlist anew"):
            await store.claim(row.number, 10, now_us(), is_dead=alive)
        assert await store.workers() == []

    async def test_nobody_claims_while_the_store_is_paused_or_drained(self, store: StateStore) -> None:
        (state,) = await held(store, "x")
        await store.add([NewItem("y", "{}")], decide.arrive(FLOW, now_us()))
        assert (await store.steer()).mode is Mode.RUNNING
        for mode in (Mode.PAUSED, Mode.DRAINING):
            said = await store.steer(mode, "ann")
            assert (said.mode, said.by) == (mode, "ann")
            assert await store.steer() == said
            worker = await store.enlist(ME)
            for only in (None, "y"):
                claimed = await store.claim(worker, 10, now_us(), is_dead=alive, only=only)
                assert (list(claimed.items), claimed.mode) == ([], mode)
        # What is held goes on.
        await finish(store, state)
        await store.steer(Mode.RUNNING)
        worker = await store.enlist(ME)
        assert [found.id for found in (await store.claim(worker, 10, now_us(), is_dead=alive)).items] == ["y"]
