"""What follows from an attempt's end: the budget, the gate's verdict and the review policy in one table."""

from __future__ import annotations

import json
from enum import Enum, auto
from typing import Any, NamedTuple

from treadle.definition import StageDefinition
from treadle.history import REJECTED, UNCERTAIN
from treadle.policy import ExhaustedAction
from treadle.state import AskedBy, AttemptRow, Ended


class Next(Enum):
    """What happens to the stage or subtask."""

    COMPLETE = auto()
    SKIP = auto()
    EXPAND = auto()
    AGAIN = auto()
    """Another attempt, charged to the budget."""
    PUT_BACK = auto()
    """Another attempt, not charged."""
    FAIL = auto()
    ASK = auto()


class Ruling(NamedTuple):
    """``reason`` is one line for people; ``feedback`` is JSON for the next attempt, where the gate gave some."""

    next: Next
    reason: str = ""
    asked_by: AskedBy = AskedBy.STAGE
    feedback: str | None = None


def rule(stage: StageDefinition, attempt: AttemptRow, spent: int, item_id: str) -> Ruling:
    """The ruling on ``attempt``; ``spent`` counts it, if it counts at all.

    In this order (design part 3.3): what the stage said itself; a rejection or an error takes an attempt from
    the budget; when none is left a person is asked if the budget or the policy says so; uncertainty always
    asks a person; and what is accepted may still be looked at by policy or by sample.
    """
    match attempt.how:
        case Ended.SKIPPED:
            return Ruling(Next.SKIP)
        case Ended.FAN_OUT:
            return Ruling(Next.EXPAND)
        case Ended.AWAITING_REVIEW:
            return Ruling(Next.ASK, attempt.summary or "", AskedBy.STAGE)
        case Ended.INTERRUPTED:
            return Ruling(Next.PUT_BACK, attempt.error or "interrupted")
        case Ended.FAILED | Ended.TIMED_OUT:
            return _spent(stage, attempt, spent, attempt.error or str(attempt.how), None)
        case Ended.COMPLETED:
            return _judged(stage, attempt, spent, item_id)


def _judged(stage: StageDefinition, attempt: AttemptRow, spent: int, item_id: str) -> Ruling:
    said: dict[str, Any] = {"verdict": None} if attempt.verdict is None else json.loads(attempt.verdict)
    if said["verdict"] == REJECTED:
        feedback = said["feedback"]
        return _spent(stage, attempt, spent, f"not good enough: {feedback['summary']}", json.dumps(feedback, ensure_ascii=False))
    if said["verdict"] == UNCERTAIN:
        return Ruling(Next.ASK, said["reason"], AskedBy.GATE)
    # The policy looks at the artefact of a whole stage, not at each of its children.
    return Ruling(Next.COMPLETE) if attempt.seq is not None else of_policy(stage, item_id)


def of_policy(stage: StageDefinition, item_id: str) -> Ruling:
    """Whether what is good enough is looked at all the same."""
    if stage.review.always:
        return Ruling(Next.ASK, "every result of this stage is reviewed", AskedBy.POLICY)
    if stage.review.samples and stage.review.samples_item(item_id, stage.name):
        return Ruling(Next.ASK, "a sample of this stage's results is reviewed", AskedBy.SAMPLE)
    return Ruling(Next.COMPLETE)


def _spent(stage: StageDefinition, attempt: AttemptRow, spent: int, reason: str, feedback: str | None) -> Ruling:
    if not attempt.retry:
        return Ruling(Next.FAIL, reason)
    if spent < stage.retry.max_attempts:
        return Ruling(Next.AGAIN, reason, feedback=feedback)
    if stage.review.escalation or stage.retry.on_exhausted is ExhaustedAction.ESCALATE:
        return Ruling(Next.ASK, reason, AskedBy.ESCALATION, feedback)
    return Ruling(Next.FAIL, reason)
