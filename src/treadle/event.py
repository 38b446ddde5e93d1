"""What the journal tells."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class EventKind(StrEnum):
    """Every kind of event, as it is stored."""

    ITEM_ADDED = "item_added"
    STAGE_STARTED = "stage_started"
    STAGE_PROGRESS = "stage_progress"
    STAGE_COMPLETED = "stage_completed"
    STAGE_FAILED = "stage_failed"
    STAGE_SKIPPED = "stage_skipped"
    STAGE_INTERRUPTED = "stage_interrupted"
    STAGE_RETRIED = "stage_retried"
    RETRY_SCHEDULED = "retry_scheduled"
    REVIEW_REQUIRED = "review_required"
    REVIEW_DECIDED = "review_decided"
    FAN_OUT_STARTED = "fan_out_started"
    SUBTASK_STARTED = "subtask_started"
    SUBTASK_COMPLETED = "subtask_completed"
    SUBTASK_FAILED = "subtask_failed"
    SUBTASK_SKIPPED = "subtask_skipped"
    WORKFLOW_COMPLETED = "workflow_completed"
    ITEM_CANCELLED = "item_cancelled"
    QUALITY_CHECK_PASSED = "quality_check_passed"
    QUALITY_CHECK_FAILED = "quality_check_failed"
    RETRY_ATTEMPT = "retry_attempt"
    ESCALATED = "escalated"
    REVIEW_REOPENED = "review_reopened"
    STAGE_RERUN = "stage_rerun"
    ITEMS_PRUNED = "items_pruned"
    """Of no item, since those it tells of are no more: its ``item_id`` is empty."""
    COMMIT_REFUSED = "commit_refused"
    """Who held the item before came with a result that no longer counts; nothing of it was written."""


_ERRORS = frozenset({EventKind.STAGE_FAILED, EventKind.SUBTASK_FAILED})


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowEvent:
    """One thing that happened to one item; durable before anybody sees it.

    Args:
        item_id: whose event it is; empty for what happened to the store as a whole.
        cursor: its place in the journal; grows, never reused. Resume with ``events(after=cursor)``.
        at: when it was decided; aware, UTC.
        data: JSON values that belong to the kind: ``error``, ``reason``, ``reviewer``, ``due_at`` ...
    """

    cursor: int
    at: datetime
    item_id: str
    kind: EventKind
    stage: str | None = None
    subtask: str | None = None
    attempt: int | None = None
    data: dict[str, Any] = field(default_factory=dict)

    @property
    def is_error(self) -> bool:
        """Whether it tells of a failure."""
        return self.kind in _ERRORS
