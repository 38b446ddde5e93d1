"""The JSON of reviews: what is sent, and what is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from treadle.history import Attempt, Review, verdict_data
from treadle.inbox import BulkResult, ReviewCase
from treadle.outcome import (
    Approve,
    ApproveWithEdits,
    CriterionResult,
    QualityFeedback,
    Reject,
    RequestChanges,
)
from treadle.state import AskedBy, Ended


class _Body(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid")


# What is sent


class ReviewPage(BaseModel):
    """Reviews, those that were asked first first; give ``cursor`` back as ``after`` for the next page."""

    reviews: Sequence[Review]
    cursor: int | None


class VerdictShape(BaseModel):
    """What a gate said: ``accepted``, ``rejected`` or ``uncertain``, and by which criteria."""

    gate: str | None = None
    verdict: str
    criteria: Sequence[CriterionResult] = ()
    reason: str | None = None
    feedback: QualityFeedback | None = None


class AttemptShape(BaseModel):
    """One try that has ended."""

    stage: str
    number: int
    outcome: Ended
    started_at: datetime
    ended_at: datetime
    subtask: str | None
    artefact: Any
    summary: str | None
    verdict: VerdictShape | None
    feedback: QualityFeedback | None
    error: str | None
    failure: Mapping[str, Any] | None
    metrics: Mapping[str, Any]
    run: int

    @classmethod
    def of(cls, attempt: Attempt, gate: str | None) -> AttemptShape:
        """The attempt as JSON has it."""
        said = None if attempt.verdict is None else VerdictShape(**verdict_data(attempt.verdict, gate or ""))
        fields = {name: getattr(attempt, name) for name in cls.model_fields if name != "verdict"}
        return cls(**fields, verdict=said)


class CaseShape(BaseModel):
    """Everything a person needs to decide."""

    review: Review
    item: Any
    artefact: Any
    attempts: Sequence[AttemptShape]
    upstream: Mapping[str, Any]
    artefact_schema: Mapping[str, Any] = Field(alias="schema")
    policy: str | None
    max_attempts: int | None

    @classmethod
    def of(cls, case: ReviewCase) -> CaseShape:
        """The case as JSON has it."""
        return cls(
            review=case.review,
            item=case.item,
            artefact=case.artefact,
            attempts=[AttemptShape.of(attempt, case.review.gate) for attempt in case.attempts],
            upstream=case.upstream,
            schema=case.schema,
            policy=case.policy,
            max_attempts=case.max_attempts,
        )


class PatchShape(BaseModel):
    """What an edit comes to, as a JSON Patch (RFC 6902)."""

    patch: Sequence[Mapping[str, Any]]


class Refusal(BaseModel):
    """A review that did not take the answer, and why."""

    item_id: str
    stage: str
    reason: str


class BulkShape(BaseModel):
    """What one answer to many came to, or would come to."""

    decided: int
    refused: Sequence[Refusal]
    """The first thousand."""
    refused_count: int

    @classmethod
    def of(cls, result: BulkResult) -> BulkShape:
        """The result as JSON has it."""
        refused = [Refusal(item_id=item_id, stage=stage, reason=reason) for item_id, stage, reason in result.refused[:1000]]
        return cls(decided=result.decided, refused=refused, refused_count=len(result.refused))


# What is asked for


def _says_something(feedback: QualityFeedback) -> QualityFeedback:
    if not feedback.summary.strip():
        raise ValueError("the summary says nothing")
    return feedback


Said: TypeAlias = Annotated[str, Field(pattern=r"\S")]
"""A few words, not blank."""


class _Approve(_Body):
    decision: Literal["approve"]
    note: str | None = None
    attempt: int | None = None
    """Which attempt to accept; the last one without it."""

    def meant(self) -> Approve:
        return Approve(self.note, self.attempt)


class _Edit(_Body):
    decision: Literal["approve_with_edits"]
    artefact: Any
    note: str | None = None

    def meant(self) -> ApproveWithEdits:
        return ApproveWithEdits(self.artefact, self.note)


class _Reject(_Body):
    decision: Literal["reject"]
    reason: Said

    def meant(self) -> Reject:
        return Reject(self.reason)


class _Changes(_Body):
    decision: Literal["request_changes"]
    feedback: Annotated[QualityFeedback, AfterValidator(_says_something)] | Said

    def meant(self) -> RequestChanges:
        return RequestChanges(self.feedback)


class _Seen(_Body):
    revision: int
    """Which question was read."""
    digest: str
    """Which content was read."""
    rests: Annotated[float, Field(ge=0, le=60)] = 0
    """Seconds before the item goes on, if nobody holds it: time to undo."""


class ApproveOne(_Approve, _Seen):
    """Accept what waits, or the attempt of that number."""


class EditOne(_Edit, _Seen):
    """Accept ``artefact`` in place of what waits."""


class RejectOne(_Reject, _Seen):
    """Refuse what waits."""


class ChangesOne(_Changes, _Seen):
    """Have it done again, told ``feedback``."""


DecideBody: TypeAlias = Annotated[ApproveOne | EditOne | RejectOne | ChangesOne, Field(discriminator="decision")]


class Wanted(_Body):
    """Which reviews; what is left out does not matter."""

    stage: str | None = None
    asked_by: AskedBy | None = None
    verdict: Literal["uncertain", "rejected", "accepted"] | None = None
    holder: str | None = None
    """In this person's hands; the empty string: in nobody's."""
    older_than: str | None = None
    """Has waited so long: ``90s``, ``30min``, ``2h``, ``3d``."""
    opened_before: AwareDatetime | None = None
    item: str | None = None


class _Many(_Body):
    filter: Wanted = Wanted()
    dry_run: bool = False
    """Only say what it would come to."""


class ApproveMany(_Approve, _Many):
    """Accept all that ``filter`` finds."""


class RejectMany(_Reject, _Many):
    """Refuse all that ``filter`` finds."""


class ChangesMany(_Changes, _Many):
    """Have all that ``filter`` finds done again."""


BulkBody: TypeAlias = Annotated[ApproveMany | RejectMany | ChangesMany, Field(discriminator="decision")]


class ClaimBody(_Body):
    """For how long."""

    minutes: Annotated[float, Field(gt=0, le=24 * 60)] = 10


class PreviewBody(_Body):
    """An edit to try."""

    artefact: Any


class ReopenBody(_Body):
    """Why it is asked anew."""

    reason: Said
