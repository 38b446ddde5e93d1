"""What every store must do, as a pytest class."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import pytest

from treadle.outcome import ReviewData
from treadle.state import StageState, StageStatus, SubTaskStatus
from treadle.store import StateStore
from treadle.testing.contract_claiming import ClaimingContract
from treadle.testing.contract_keeping import KeepingContract
from treadle.testing.contract_looking import LookingContract
from treadle.testing.contract_moving import MovingContract
from treadle.testing.contract_together import TogetherContract


class StateStoreContract(MovingContract, TogetherContract, ClaimingContract, LookingContract, KeepingContract):
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
