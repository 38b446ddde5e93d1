"""What becomes of items that wait in a stage which the workflow no longer has."""

from __future__ import annotations

from treadle.decide.draft import PENDING, REVIEW, RUNNING, SKIPPED, Draft, to_json
from treadle.definition import Definition
from treadle.event import EventKind
from treadle.state import EventRow, ItemPhase, ItemState, StageRow, Transition

_LIVE = (PENDING, RUNNING, REVIEW)


def is_live(row: StageRow) -> bool:
    """Whether the item waits in this stage: it has begun, and has not finished."""
    return not row.state.is_finished


def drop(flow: Definition, state: ItemState, stage: str, operator: str, now: int) -> Transition:
    """The stage of this item is skipped for good and its history stays; ``flow`` is the workflow without it."""
    draft = Draft(flow, state, now)
    if draft.phase is not ItemPhase.CANCELLED:
        draft.phase = ItemPhase.PENDING
    row, said = state.stages[stage], f"dropped by {operator}"
    draft.revokes = row.state is RUNNING
    draft.stages.append(row._replace(state=SKIPPED, updated=now, due=None, review=None, summary=said))
    draft.events.append(EventRow(EventKind.STAGE_SKIPPED, stage, None, row.attempt or None, to_json(reason=said)))
    for child in draft.board(stage).rows:
        if child.state in _LIVE:
            draft.subtasks.append(child._replace(state=SKIPPED, updated=now, due=None))
    draft.withdraw(stage)
    return draft.finish()
