"""What a stage says of its work, and what a person answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self, TypeAlias


class PermanentError(Exception):
    """Raised by a stage: this attempt failed, and trying again would not help."""


class RetryLater(Exception):
    """Raised by a stage: try again after ``delay`` seconds, if the budget has an attempt left."""

    def __init__(self, delay: float, reason: str | None = None) -> None:
        if not delay >= 0:
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
    """A person must decide before dependents go on."""

    review: ReviewData


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
class QualityFeedback:
    """What the next attempt is told about the last one."""

    summary: str


@dataclass(frozen=True, slots=True)
class Approve:
    """Accept what waits: the stage completes."""

    note: str | None = None


@dataclass(frozen=True, slots=True)
class Reject:
    """Refuse what waits: the stage fails with this reason."""

    reason: str


Decision: TypeAlias = Approve | Reject
