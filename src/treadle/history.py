"""Attempts and reviews as people read them, and what gates say of attempts as stored JSON."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from treadle.artefact import shown
from treadle.clock import from_us
from treadle.outcome import Accepted, CriterionResult, QualityFeedback, Rejected, ReviewData, Uncertain, Verdict
from treadle.state import AskedBy, AttemptRow, Decided, Ended, ReviewRow

ACCEPTED, REJECTED, UNCERTAIN = "accepted", "rejected", "uncertain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try of a stage or subtask that has ended.

    Args:
        number: from 1; in a run of the stage it only grows.
        outcome: how it ended.
        artefact: what it made, as plain JSON values; a ``StoredArtefact`` in place of a large one, ``None`` if it made nothing.
        verdict: what the gate said, if there was one.
        feedback: what the next attempt was told because of this one.
        error: one line, if it raised or timed out.
        metrics: what it recorded.
        run: how often the stage had been rerun by then.
    """

    stage: str
    number: int
    outcome: Ended
    started_at: datetime
    ended_at: datetime
    subtask: str | None = None
    artefact: Any = None
    summary: str | None = None
    verdict: Verdict | None = None
    feedback: QualityFeedback | None = None
    error: str | None = None
    failure: Mapping[str, Any] | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    run: int = 0

    @property
    def seconds(self) -> float:
        """How long it took."""
        return (self.ended_at - self.started_at).total_seconds()


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """A question to a person about one stage of one item, and the answer if there is one.

    Args:
        revision: which question about this stage it is, from 1. Give it back with a decision.
        digest: names the content that waits; changes when that does.
        asked_by: a stage, a gate that cannot tell, a policy, a sample, or an escalation.
        verdict: the gate's word about what waits.
        due_at, then: when an unanswered review is answered, and how.
        author: who may not decide, one name a line.
        holder, held_until: who works on it, until when others leave it alone.
        before: ``output`` of the last run and the ``edited`` form a person gave it, when this run differs.
        decision, reviewer, decided_at, note: the answer.
        edited, patch: the artefact as the person left it, and the JSON Patch (RFC 6902) that leads there if it is not too long.
    """

    item_id: str
    stage: str
    revision: int
    review: ReviewData
    attempt: int
    asked_by: AskedBy
    opened_at: datetime
    digest: str
    gate: str | None = None
    verdict: str | None = None
    due_at: datetime | None = None
    then: str | None = None
    author: str | None = None
    holder: str | None = None
    held_until: datetime | None = None
    before: Mapping[str, Any] | None = None
    decision: Decided | None = None
    reviewer: str | None = None
    decided_at: datetime | None = None
    note: str | None = None
    edited: Any = None
    patch: Sequence[Mapping[str, Any]] | None = None

    @property
    def is_open(self) -> bool:
        """Whether it still waits for an answer."""
        return self.decision is None


def read_attempt(row: AttemptRow, subtask: str | None = None) -> Attempt:
    """A stored attempt as people read it."""
    verdict = None if row.verdict is None else verdict_from_json(row.verdict)
    feedback = None if row.feedback is None else feedback_from_json(row.feedback)
    if feedback is None and isinstance(verdict, Rejected):
        feedback = verdict.feedback
    if feedback is None and row.error is not None:
        feedback = QualityFeedback(row.error)
    return Attempt(
        stage=row.stage,
        number=row.number,
        outcome=row.how,
        started_at=from_us(row.started),
        ended_at=from_us(row.ended),
        subtask=subtask,
        artefact=shown(row.artefact),
        summary=row.summary,
        verdict=verdict,
        feedback=feedback,
        error=row.error,
        failure=_load(row.failure),
        metrics=_load(row.metrics) or {},
        run=row.run,
    )


def is_author(authors: str | None, reviewer: str) -> bool:
    """Whether the reviewer is one of the authors (one a line), however they write their name."""
    return authors is not None and _name(reviewer) in [_name(author) for author in authors.split("\n")]


def _name(text: str) -> str:
    return unicodedata.normalize("NFKC", text).strip().casefold()


def read_review(item_id: str, row: ReviewRow) -> Review:
    """A stored review as people read it."""
    asked = json.loads(row.question)
    return Review(
        item_id=item_id,
        stage=row.stage,
        revision=row.revision,
        review=ReviewData(asked["summary"], asked.get("details"), from_us(row.opened)),
        attempt=row.attempt,
        asked_by=row.asked_by,
        opened_at=from_us(row.opened),
        digest=row.digest,
        gate=row.gate,
        verdict=row.verdict,
        due_at=None if row.due is None else from_us(row.due),
        then=row.then,
        author=row.author,
        holder=row.holder,
        held_until=None if row.held_until is None else from_us(row.held_until),
        before=_load(row.before),
        decision=row.decision,
        reviewer=row.reviewer,
        decided_at=None if row.decided is None else from_us(row.decided),
        note=row.note,
        edited=shown(row.edited),
        patch=_load(row.patch),
    )


def _load(text: str | None) -> Any:
    return None if text is None else json.loads(text)


# What a gate says, as JSON.


def verdict_data(verdict: Verdict, gate: str) -> dict[str, Any]:
    """A verdict under the name of its gate, as JSON values if its criteria are."""
    said: dict[str, Any] = {"gate": gate, "verdict": word_of(verdict), "criteria": [_criterion(c) for c in verdict.criteria]}
    match verdict:
        case Rejected(feedback=feedback):
            said["feedback"] = feedback_data(feedback)
        case Uncertain(reason=reason):
            said["reason"] = reason
        case Accepted():
            pass
    return said


def word_of(verdict: Verdict) -> str:
    """The stored word for a verdict."""
    match verdict:
        case Accepted():
            return ACCEPTED
        case Rejected():
            return REJECTED
        case Uncertain():
            return UNCERTAIN


def verdict_from_json(text: str) -> Verdict:
    """The verdict of stored JSON."""
    said = json.loads(text)
    criteria = tuple(CriterionResult(**fields) for fields in said["criteria"])
    if said["verdict"] == REJECTED:
        return Rejected(_read_feedback(said["feedback"]), criteria)
    return Uncertain(said["reason"], criteria) if said["verdict"] == UNCERTAIN else Accepted(criteria)


def feedback_data(feedback: QualityFeedback) -> dict[str, Any]:
    """Feedback as JSON values, if its criteria are."""
    criteria = [_criterion(criterion) for criterion in feedback.failed_criteria]
    return {"summary": feedback.summary, "failed_criteria": criteria, "guidance": feedback.guidance}


def feedback_from_json(text: str) -> QualityFeedback:
    """The feedback of stored JSON."""
    return _read_feedback(json.loads(text))


def _read_feedback(said: Mapping[str, Any]) -> QualityFeedback:
    return QualityFeedback(said["summary"], [CriterionResult(**fields) for fields in said["failed_criteria"]], said["guidance"])


def _criterion(criterion: CriterionResult) -> dict[str, Any]:
    return {"name": criterion.name, "expected": criterion.expected, "actual": criterion.actual, "passed": bool(criterion.passed)}
