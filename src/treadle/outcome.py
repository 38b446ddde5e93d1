"""What a stage says of its work, and what a person answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import isfinite
from typing import Any, Self, TypeAlias


class PermanentError(Exception):
    """Raised by a stage: this attempt failed, and trying again would not help."""


class RetryLater(Exception):
    """Raised by a stage: try again after ``delay`` seconds, if the budget has an attempt left."""

    def __init__(self, delay: float, reason: str | None = None) -> None:
        if not (isfinite(delay) and delay >= 0):
            raise ValueError(f"RetryLater(delay={delay!r}): the delay is in seconds, 0 or more")
        self.delay: float = delay
        self.reason: str | None = reason
        super().__init__(reason or f"asked to be tried again in {delay:g} s")


@dataclass(frozen=True, slots=True)
class ReviewData:
    """What a person is asked to judge.

    Args:
        summary: one line for the list of what waits.
        details: any JSON value the person needs to decide.
        created_at: when it was asked; aware, UTC.
    """

    summary: str
    details: Any = None
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass(frozen=True, slots=True)
class Completed:
    """The stage did its work; ``artefact`` is what dependents see."""

    artefact: Any = None
    summary: str | None = None


@dataclass(frozen=True, slots=True)
class Skipped:
    """There was nothing to do; dependents go on and see ``None``."""

    reason: str | None = None


@dataclass(frozen=True, slots=True)
class AwaitingReview:
    """A person must decide before dependents go on.

    Args:
        review: what they are asked.
        artefact: what the stage made so far; what dependents see if it is approved.
    """

    review: ReviewData
    artefact: Any = None


class SubTask(str):
    """One child of a fan-out: its name, which it equals and prints as, and ``data`` for its handler.

    Example:
        >>> SubTask("page-1", {"number": 1}).data
        {'number': 1}
    """

    __slots__ = ("data",)
    data: Any

    def __new__(cls, name: str, data: Any = None) -> Self:
        self = super().__new__(cls, name)
        self.data = data
        return self

    @property
    def name(self) -> str:
        """The name as a plain string."""
        return str.__str__(self)

    def __repr__(self) -> str:
        return f"SubTask({str.__repr__(self)}, {self.data!r})" if self.data is not None else f"SubTask({str.__repr__(self)})"


@dataclass(frozen=True, slots=True)
class FanOut:
    """The stage becomes these children; it completes, with ``{name: artefact}``, when all of them have."""

    subtasks: Sequence[SubTask]


Outcome: TypeAlias = Completed | Skipped | AwaitingReview | FanOut


@dataclass(frozen=True, slots=True)
class CriterionResult:
    """One thing that was looked at: what was wanted, what was found, and whether that is good enough."""

    name: str
    expected: Any
    actual: Any
    passed: bool

    def __str__(self) -> str:
        return f"{self.name}: {self.actual} ({'met' if self.passed else 'missed'}: {self.expected})"


@dataclass(frozen=True, slots=True)
class QualityFeedback:
    """What the next attempt is told about the last one.

    Gates, errors, timeouts and people all speak to ``ctx.feedback`` in this one type.

    Args:
        summary: one line.
        failed_criteria: what was looked at and not good enough.
        guidance: how to do better, for a person or a model.
    """

    summary: str
    failed_criteria: Sequence[CriterionResult] = ()
    guidance: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "failed_criteria", tuple(self.failed_criteria))

    def __str__(self) -> str:
        parts = [self.summary, *(str(criterion) for criterion in self.failed_criteria)]
        return "\n".join([*parts, self.guidance] if self.guidance else parts)


@dataclass(frozen=True, slots=True)
class Accepted:
    """The gate finds the attempt good enough; ``criteria`` is what it looked at."""

    criteria: Sequence[CriterionResult] = ()


@dataclass(frozen=True, slots=True)
class Rejected:
    """The gate finds the attempt not good enough: the next one is told why, if the budget has one left."""

    feedback: QualityFeedback
    criteria: Sequence[CriterionResult] = ()


@dataclass(frozen=True, slots=True)
class Uncertain:
    """The gate cannot tell: a person must."""

    reason: str
    criteria: Sequence[CriterionResult] = ()


Verdict: TypeAlias = Accepted | Rejected | Uncertain


@dataclass(frozen=True, slots=True)
class Approve:
    """Accept what waits: the stage completes.

    Args:
        note: kept with the decision.
        attempt: the number of the attempt to accept; the last one without it.
    """

    note: str | None = None
    attempt: int | None = None


@dataclass(frozen=True, slots=True)
class Reject:
    """Refuse what waits: the stage fails with this reason."""

    reason: str


@dataclass(frozen=True, slots=True)
class ApproveWithEdits:
    """Accept this in place of what waits: the stage completes, and dependents see ``artefact``."""

    artefact: Any
    note: str | None = None


@dataclass(frozen=True, slots=True)
class RequestChanges:
    """Have it done again: the stage gets one more attempt, which is told ``feedback``."""

    feedback: str | QualityFeedback


Decision: TypeAlias = Approve | Reject | ApproveWithEdits | RequestChanges
