"""The memory store is the reference semantics."""

from __future__ import annotations

import copy
from itertools import islice
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle import MemoryStateStore, StageStatus, StateStore, SubTaskStatus
from treadle.event import EventKind
from treadle.state import EventRow, ItemPhase, Rest
from treadle.stores.memory_claims import Claims
from treadle.stores.memory_journal import MemoryJournal, Told
from treadle.stores.memory_record import Record
from treadle.testing import StateStoreContract, contract_acts


class TestMemory(StateStoreContract):
    @pytest.fixture
    def store(self) -> StateStore:
        return MemoryStateStore()


async def test_copies_share_what_they_hold() -> None:
    first = MemoryStateStore()
    second = copy.copy(first)
    await first.set_status("item-1", "scan", StageStatus.completed())
    await first.set_subtask_status("item-1", "scan", "part", SubTaskStatus.pending("part"))
    assert await second.get_status("item-1", "scan") is not None
    assert (second.stage_count(), second.subtask_count()) == (1, 1)
    first.clear()
    assert (second.stage_count(), second.subtask_count()) == (0, 0)


async def test_a_workflow_that_is_bound_again_has_nothing_counted_anew() -> None:
    store = MemoryStateStore()
    for _ in range(2):
        await contract_acts.held(store, "x")
        assert (await store.counts()).items == 1
    await store.bind(contract_acts.FLOW)
    assert store._storage.census.changed == set()


ADDED, STARTED, DONE = (
    EventRow(EventKind.ITEM_ADDED),
    EventRow(EventKind.STAGE_STARTED, "a"),
    EventRow(EventKind.STAGE_COMPLETED, "a"),
)
TOLD = ((), (ADDED,), (STARTED,), (DONE, STARTED))


@given(st.lists(st.tuples(st.lists(st.sampled_from("xyz"), max_size=4), st.integers(1, 2), st.sampled_from(TOLD))))
def test_the_journal_has_everything_in_the_order_in_which_it_was_told(
    tellings: list[tuple[list[str], int, tuple[EventRow, ...]]],
) -> None:
    journal, told = MemoryJournal(), list[Told]()
    for items, at, rows in tellings:
        if len(items) == 1:
            journal.tell(items[0], at, rows)
        else:
            journal.tell_alike(items, at, rows)
        told += [Told(len(told) + n, item, at, row) for n, (item, row) in enumerate(((i, r) for r in rows for i in items), 1)]
        assert len(journal) == len(told)
    cursor = len(told) // 2
    assert [journal[place] for place in journal.places(journal.place_after(cursor), None)] == told[cursor:]
    assert list(journal.newest(3)) == told[::-1][:3]
    journal.rewrite(lambda event: None if event.item_id == "x" else event.row)
    journal.tell("y", 1, TOLD[1])
    assert list(journal) == [*(event for event in told if event.item_id != "x"), Told(len(told) + 1, "y", 1, ADDED)]


@given(
    st.lists(st.tuples(st.integers(-2, 2), st.integers(1, 9), st.integers(1, 4)), min_size=1),
    st.integers(1, 9), st.integers(1, 5), st.randoms(),
)  # fmt: skip
def test_items_are_claimed_in_their_order_whatever_the_order_they_came_in(
    given_turns: list[tuple[int, int, int]], now: int, limit: int, chance: Random
) -> None:
    records = {str(key): Record(str(key), key, 0) for key in range(sum(count for _, _, count in given_turns))}
    claims, coming = Claims(records), iter(chance.sample(list(records.values()), len(records)))
    for priority, wake, count in given_turns:
        claims.rest(list(islice(coming, count)), Rest(ItemPhase.PENDING, wake, priority))
    assert claims.take_due(1, 0, now).items == []
    wanted = sorted(records.values(), key=lambda r: (-r.priority, r.wake, r.key))
    due, later = (
        [r.id for r in wanted if r.wake is not None and r.wake <= now],
        [r.wake for r in wanted if r.wake is not None and r.wake > now],
    )
    taken = list[str]()
    while page := claims.take_due(1, limit, now).items:
        taken += [state.id for state in page]
    assert taken == due
    assert claims.take_due(1, limit, now).wake == min(later, default=None)
