"""Reviews for people: what waits, and their answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from treadle import decide
from treadle.clock import now_us
from treadle.codec import bad_name
from treadle.codec import item_id as checked_id
from treadle.definition import Definition
from treadle.errors import StoreError
from treadle.outcome import Decision, ReviewData
from treadle.state import ItemPhase, ItemState, StageState, Transition
from treadle.store import Filter, ItemId, StateStore, stage_status


@dataclass(frozen=True, slots=True)
class WaitingReview:
    """A question that waits for a person."""

    item_id: str
    stage: str
    review: ReviewData
    attempt: int


class Inbox:
    """Where reviews wait. Deciding needs no running engine: the answer is stored when the call returns."""

    def __init__(self, store: StateStore) -> None:
        self._store = store

    async def waiting(self, stage: str | None = None) -> AsyncIterator[WaitingReview]:
        """Everything that waits for a person, by item."""
        after = None
        wanted = Filter(stage, StageState.AWAITING_REVIEW)
        while page := await self._store.page(wanted, after, 200):
            after = page[-1].id
            for state in page:
                for review in _of(state, stage):
                    yield review

    async def decide(self, item_id: ItemId, stage: str, decision: Decision, *, reviewer: str) -> None:
        """The decision is stored, and dependents may go on.

        Raises:
            ItemNotFound, StageNotFound: there is no such thing.
            ReviewConflict: the stage does not wait for a person (any more).
        """
        if reason := bad_name(reviewer):
            raise ValueError(f"reviewer {reviewer!r:.80}: {reason}")
        flow = await stored_definition(self._store)

        def change(state: ItemState) -> Transition:
            return decide.resolve(flow, state, stage, decision, reviewer, now_us())

        await self._store.revise(checked_id(item_id), change)


def _of(state: ItemState, stage: str | None) -> list[WaitingReview]:
    if state.phase is ItemPhase.CANCELLED:
        return []
    found = []
    for name, row in state.stages.items():
        if row.state is StageState.AWAITING_REVIEW and stage in (None, name):
            status = stage_status(state, row)
            review = status.review_data or ReviewData("(nothing was said about what to decide)", created_at=status.updated_at)
            found.append(WaitingReview(state.id, name, review, row.attempt))
    return found


async def stored_definition(store: StateStore) -> Definition:
    """A definition good enough to decide with, from the shape in the store: without the user's code."""
    shape = await store.shape()
    if shape is None:
        raise StoreError("this store has no workflow yet; run one on it first")
    return Definition.from_shape(shape.workflow, shape.stages)
