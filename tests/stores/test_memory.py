"""The memory store is the reference semantics."""

from __future__ import annotations

import copy

import pytest

from treadle import MemoryStateStore, StageStatus, StateStore, SubTaskStatus
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
