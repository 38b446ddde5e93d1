"""Rows as people read them, and reviews as rows have them."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from treadle.artefact import shown
from treadle.clock import from_us
from treadle.errors import StoreCorrupt
from treadle.outcome import ReviewData
from treadle.state import ItemState, StageRow, StageStatus, SubtaskRow, SubTaskStatus


def review_to_json(review: ReviewData) -> str:
    """A review as stores keep it."""
    return json.dumps(
        {"summary": review.summary, "details": review.details, "created_at": review.created_at.isoformat()}, ensure_ascii=False
    )


def review_from_json(text: str, where: str) -> ReviewData:
    """A stored review; raises ``StoreCorrupt`` beginning with ``where`` if it cannot be read."""
    try:
        fields: dict[str, Any] = json.loads(text)
        return ReviewData(fields["summary"], fields.get("details"), datetime.fromisoformat(fields["created_at"]))
    except (ValueError, KeyError, TypeError) as error:
        raise StoreCorrupt(f"{where}: the stored review cannot be read: {error}") from error


def stage_status(state: ItemState, row: StageRow) -> StageStatus:
    """A stage's row as people read it, with its subtasks."""
    board = state.boards.get(row.stage)
    return StageStatus(
        state=row.state,
        updated_at=from_us(row.updated),
        error=row.error,
        review_data=None if row.review is None else review_from_json(row.review, f"item {state.id!r}, stage {row.stage!r}"),
        subtasks=tuple(subtask_status(child) for child in board.rows) if board is not None else (),
        attempt=row.attempt,
        started_at=None if row.started is None else from_us(row.started),
        due_at=None if row.due is None else from_us(row.due),
        version=row.version,
    )


def subtask_status(row: SubtaskRow) -> SubTaskStatus:
    """A subtask's row as people read it."""
    return SubTaskStatus(
        name=row.name,
        state=row.state,
        error=row.error,
        updated_at=from_us(row.updated),
        attempt=row.attempt,
        started_at=None if row.started is None else from_us(row.started),
        due_at=None if row.due is None else from_us(row.due),
    )


def stage_artefact(state: ItemState, stage: str) -> Any:
    """What the stage made, as plain JSON values: of a fan-out ``{subtask: artefact}``; ``None`` if it made nothing.

    In place of what is too large to be shown with other things stands a ``StoredArtefact``; see ``gathered.whole_artefact``.
    """
    row, board = state.stages.get(stage), state.boards.get(stage)
    if row is not None and row.fan_out and row.artefact is None and board is not None:
        return {child.name: shown(child.artefact) for child in board.rows}
    return None if row is None else shown(row.artefact)
