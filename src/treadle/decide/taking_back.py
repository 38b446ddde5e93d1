"""Answers that are taken back: undone as if never given, or asked about anew."""

from __future__ import annotations

import json

from treadle.clock import from_us
from treadle.decide.acting import reset_dependents, take_away
from treadle.decide.draft import (
    COMPLETED,
    FAILED,
    NOTHING,
    PENDING,
    REVIEW,
    Draft,
    to_json,
    was_before,
)
from treadle.definition import Definition
from treadle.errors import InvalidTransition, ReviewConflict
from treadle.event import EventKind
from treadle.state import (
    AskedBy,
    Decided,
    EventRow,
    ItemPhase,
    ItemState,
    ReviewRow,
    StageRow,
    Transition,
)

_ABOUT_THE_WHOLE = frozenset({AskedBy.POLICY, AskedBy.SAMPLE, AskedBy.CHANGE})


def undo(flow: Definition, state: ItemState, stage: str, now: int, *, by: str | None = None) -> Transition:
    """The last decision is taken back and the same question is open again, as if nobody had answered.

    Raises:
        ReviewConflict: nobody decided, or somebody else than ``by``.
        InvalidTransition: the item has moved on since.
    """
    row, review = _decided(flow, state, stage)
    if by not in (None, review.reviewer):
        raise ReviewConflict(
            f"stage {stage!r} of item {state.id!r} was decided by {review.reviewer}, not by {by}; an operator can reopen the review"
        )
    moved = [feed for feed in flow.stage(stage).feeds if _has_moved(state.stages.get(feed), review.decided or 0)]
    if row.updated != review.decided or moved:
        what = f"; {', '.join(moved)} went on with it" if moved else ""
        raise InvalidTransition(
            f"stage {stage!r} of item {state.id!r} has moved on since it was decided{what};"
            " an operator can reopen the review, or rerun the stage"
        )
    draft = Draft(flow, state, now)
    draft.phase = ItemPhase.PENDING
    again = review.decision is Decided.REQUEST_CHANGES
    _ask_again(draft, row._replace(spent=row.spent + (again and not row.fan_out)), review, review)
    # Where a policy asked about the whole, no child was in doubt.
    stood = COMPLETED if review.asked_by in _ABOUT_THE_WHOLE else REVIEW
    for child in draft.board(stage).rows if row.fan_out else ():
        if child.updated == review.decided:
            spent = child.spent + (again and stood is REVIEW)
            draft.subtasks.append(child._replace(state=stood, updated=now, error=None, feedback=None, spent=spent))
    take_away(draft)
    data = to_json(undone=True, reviewer=by, revision=review.revision)
    draft.events.append(EventRow(EventKind.REVIEW_REOPENED, stage, None, row.attempt, data))
    return draft.finish()


def _has_moved(row: StageRow | None, since: int) -> bool:
    """Whether the stage did anything since then: it may be pending from an earlier run, or between two attempts."""
    return row is not None and (row.state is not PENDING or row.updated > since)


def reopen(flow: Definition, state: ItemState, stage: str, operator: str, reason: str, now: int) -> Transition:
    """A decided review is asked anew; what was built on it returns to pending.

    Raises:
        ReviewConflict: nobody decided, or it is being done again already.
    """
    row, review = _decided(flow, state, stage)
    if row.state not in (COMPLETED, FAILED):
        raise ReviewConflict(f"stage {stage!r} of item {state.id!r} is {row.state}; only a decided review can be reopened")
    draft = Draft(flow, state, now)
    draft.phase = ItemPhase.PENDING
    before = was_before(review)
    fresh = review._replace(revision=review.revision + 1, opened=now, due=None, then=None, before=before)
    _ask_again(draft, row, review, fresh)
    reset_dependents(draft, flow, state, stage)
    data = to_json(operator=operator, reason=reason, revision=fresh.revision)
    draft.events.append(EventRow(EventKind.REVIEW_REOPENED, stage, None, row.attempt, data))
    return draft.finish()


def _decided(flow: Definition, state: ItemState, stage: str) -> tuple[StageRow, ReviewRow]:
    flow.stage(stage)
    row, review = state.stages.get(stage), state.reviews.get(stage)
    if row is None or review is None or review.decision in (None, Decided.WITHDRAWN):
        raise ReviewConflict(f"nobody has decided on stage {stage!r} of item {state.id!r}; there is nothing to take back")
    if state.phase is ItemPhase.CANCELLED:
        raise InvalidTransition(f"item {state.id!r} is cancelled; `treadle retry` takes it back first")
    return row, review


def _ask_again(draft: Draft, row: StageRow, decided: ReviewRow, review: ReviewRow) -> None:
    artefact = row.artefact if decided.output is None else decided.output
    if row.fan_out or artefact == NOTHING:
        artefact = None
    shown = to_json(**json.loads(review.question) | {"created_at": from_us(draft.now).isoformat()})
    draft.stages.append(
        row._replace(state=REVIEW, updated=draft.now, due=None, error=None, artefact=artefact, review=shown, feedback=None)
    )
    draft.reviews.append(
        review._replace(
            decision=None, reviewer=None, decided=None, note=None, edited=None, patch=None, output=None, feedback=None
        )
    )
