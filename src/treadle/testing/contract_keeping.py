"""What a store must do for its keeper, as the years go by."""

from __future__ import annotations

import json

import pytest

from treadle import decide
from treadle.clock import now_us, to_us
from treadle.definition import Definition
from treadle.errors import LeaseLost, StageNotFound, StoreCorrupt, StoreError
from treadle.event import EventKind
from treadle.outcome import ReviewData
from treadle.state import AttemptRow, Ended, ItemPhase, StageState, StageStatus, SubTaskStatus, Transition
from treadle.store import Filter, NewItem, ReviewFilter, StateStore
from treadle.testing.contract_acts import FLOW, ME, alive, finish, held, prune, write


class KeepingContract:
    """Workflows that change, items that are pruned, large artefacts."""

    # the workflow

    @pytest.mark.parametrize(
        ("shape", "says"),
        [(("other", {"a": []}), "belongs to workflow 'contract'"), (("contract", {"b": []}), "'a': 1 item, among them 'x'")],
    )
    async def test_a_workflow_that_does_not_fit_is_refused(
        self, store: StateStore, shape: tuple[str, dict[str, list[str]]], says: str
    ) -> None:
        (state,) = await held(store, "x")
        await write(store, state, decide.begin(FLOW, state, now_us(), 10))
        with pytest.raises(StoreError, match=says):
            await store.bind(Definition.from_shape(*shape))

    async def test_new_stages_wake_what_was_complete(self, store: StateStore) -> None:
        (state,) = await held(store, "x")
        await finish(store, state)
        await store.bind(Definition.from_shape("contract", {"a": [], "b": ["a"], "c": ["b"]}))
        other = await store.enlist(ME)
        assert len((await store.claim(other, 10, now_us(), is_dead=alive)).items) == 1

    async def test_counts_know_stages_that_stand_in_another_order(self, store: StateStore) -> None:
        (state,) = await held(store, "x")
        await finish(store, state)
        assert (await store.counts()).stages == {"a": {StageState.COMPLETED: 1}, "b": {StageState.COMPLETED: 1}}
        done, waits = {StageState.COMPLETED: 1}, {StageState.PENDING: 1}
        for names in ("acb", "cab"):
            await store.bind(Definition.from_shape("contract", {name: ["a"] if name == "b" else [] for name in names}))
            assert (await store.counts()).stages == {"a": done, "b": done, "c": waits}

    async def test_new_stages_wake_what_failed(self, store: StateStore) -> None:
        (state,) = await held(store, "x")
        await write(store, state, decide.begin(FLOW, state, now_us(), 10))
        attempt = AttemptRow("a", None, 1, now_us(), now_us(), Ended.FAILED, error="no")
        await write(store, state, decide.settle(FLOW, state, attempt, now_us(), 0.0, 10))
        assert (await store.counts()).stages.keys() == {"a", "b"}
        await store.bind(Definition.from_shape("contract", {"a": [], "b": ["a"], "c": []}))
        assert (await store.counts()).stages["c"] == {StageState.PENDING: 1}
        other = await store.enlist(ME)
        (again,) = (await store.claim(other, 10, now_us(), is_dead=alive)).items
        assert again.phase is ItemPhase.FAILED
        assert (await store.counts()).phases == {ItemPhase.FAILED: 1}

    # items that are no more

    async def test_pruned_items_are_gone_with_everything_of_them(self, store: StateStore) -> None:
        second, first = await held(store, "y", "x")
        tried = AttemptRow("a", None, 1, 1, 2, Ended.FAILED, error="no")
        await store.commit(first, Transition(now_us(), attempts=[tried]))
        await finish(store, first)
        for revision in (StageStatus.awaiting_review(ReviewData("look")), StageStatus.completed()):
            await store.set_status("x", "a", revision)
        for number in range(30):
            await store.set_subtask_status("x", "a", f"part-{number}", SubTaskStatus.completed(f"part-{number}"))
        last, cursor = (
            (await store.events(0, 100))[-1].cursor,
            (await store.reviews(ReviewFilter(is_open=None), None, 9))[0].cursor,
        )
        assert await prune(store, dry_run=True) == 1
        assert await store.load("x") is not None
        assert await prune(store) == 1
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
        await finish(store, second)
        await store.add([NewItem("x", "{}")], decide.arrive(FLOW, now_us()))
        assert await store.attempts("x", "a") == []
        (again,) = (await store.claim((await store.workers())[0].number, 9, now_us(), is_dead=alive)).items
        assert (again.stages, again.boards, again.key in (first.key, second.key)) == ({}, {}, False)
        await store.set_status("y", "a", StageStatus.awaiting_review(ReviewData("look")))
        (asked,) = await store.reviews(ReviewFilter(), None, 9)
        assert asked.cursor > cursor

    async def test_only_items_that_rest_and_have_rested_long_enough_are_pruned(self, store: StateStore) -> None:
        busy, ended, cancelled = await held(store, "held", "ended", "cancelled")
        await finish(store, ended)
        await store.revise("cancelled", lambda found: decide.cancel(FLOW, found, None, now_us()))
        since = (await store.events(0, 100, "ended"))[-1].at
        assert await prune(store, before=to_us(since)) == 0
        worker = await store.enlist(ME)
        assert len((await store.claim(worker, 1, now_us(), is_dead=alive, only="ended")).items) == 1
        assert await prune(store) == 0
        await store.retire(worker)
        assert await prune(store, before=to_us(since) + 1) == 1
        assert await prune(store) == 0
        assert await prune(store, phases={ItemPhase.CANCELLED, ItemPhase.COMPLETED}) == 1
        assert [item.id for item in await store.page(Filter(), None, 9)] == ["held"]
        await finish(store, busy)
        with pytest.raises(LeaseLost):
            await store.commit(cancelled, Transition(now_us()))

    # large artefacts

    async def test_a_large_artefact_is_kept_as_long_as_its_item(self, store: StateStore) -> None:
        state, other = await held(store, "x", "y")
        text = json.dumps(["ä" * 1000] * 1500, ensure_ascii=False)
        reference = await store.keep(state, text)
        assert reference.startswith("@sha256:")
        assert await store.keep(other, text) == reference
        pieces = [piece async for piece in store.pieces("x", "a", reference)]
        assert b"".join(pieces).decode() == text
        await finish(store, state)
        await prune(store)
        assert await store.collect() == (0, 0)
        assert [piece async for piece in store.pieces("y", "a", reference)] == pieces
        await finish(store, other)
        await prune(store)
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
        first, second = await held(store, "x", "y")
        await finish(store, first)
        await store.set_subtask_status("x", "a", "part", SubTaskStatus.completed("part"))
        await store.set_status("y", "a", StageStatus.awaiting_review(ReviewData("look")))
        before, counts = await store.events(0, 100), await store.counts()
        await store.rename_stage("a", "z")
        renamed = await store.counts()
        assert renamed.stages == {"z": counts.stages["a"], "b": counts.stages["b"]}
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
        (state,) = await held(store, "x")
        await finish(store, state)
        for old, new, error in (("nope", "z", StageNotFound), ("a", "b", StoreError), ("a", "\n", StoreError)):
            with pytest.raises(error):
                await store.rename_stage(old, new)
        assert set(await store.get_all_statuses("x")) == {"a", "b"}
