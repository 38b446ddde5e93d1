"""Events in the words of people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from treadle.event import EventKind, WorkflowEvent
from treadle.state import StageState

_MOST = 300

WORTH_TELLING = frozenset(EventKind) - {
    EventKind.ITEM_ADDED,
    EventKind.STAGE_STARTED,
    EventKind.STAGE_PROGRESS,
    EventKind.SUBTASK_STARTED,
    EventKind.SUBTASK_COMPLETED,
    EventKind.QUALITY_CHECK_PASSED,
    EventKind.RETRY_ATTEMPT,
    EventKind.WORKFLOW_COMPLETED,
    EventKind.ESCALATED,
}
"""What a person who looks in now and then wants to hear of."""


class Told(NamedTuple):
    """What happened; ``state`` colours it."""

    text: str
    detail: str = ""
    state: StageState | None = None


_SIMPLE: Mapping[EventKind, tuple[str, StageState | None]] = {
    EventKind.ITEM_ADDED: ("arrived", None),
    EventKind.STAGE_STARTED: ("{where} started", None),
    EventKind.STAGE_PROGRESS: ("{where} goes on", None),
    EventKind.STAGE_COMPLETED: ("{where} completed", None),
    EventKind.STAGE_FAILED: ("{where} failed", StageState.FAILED),
    EventKind.STAGE_SKIPPED: ("{where} skipped", None),
    EventKind.STAGE_INTERRUPTED: ("{where} was interrupted", None),
    EventKind.STAGE_RETRIED: ("{where} is to be tried again", None),
    EventKind.RETRY_SCHEDULED: ("{where} will be tried again", None),
    EventKind.REVIEW_REQUIRED: ("{where} asks", StageState.AWAITING_REVIEW),
    EventKind.FAN_OUT_STARTED: ("{where} was split into subtasks", None),
    EventKind.SUBTASK_STARTED: ("{where} started", None),
    EventKind.SUBTASK_COMPLETED: ("{where} completed", None),
    EventKind.SUBTASK_FAILED: ("{where} failed", StageState.FAILED),
    EventKind.SUBTASK_SKIPPED: ("{where} skipped", None),
    EventKind.WORKFLOW_COMPLETED: ("complete", StageState.COMPLETED),
    EventKind.ITEM_CANCELLED: ("cancelled", StageState.FAILED),
    EventKind.QUALITY_CHECK_PASSED: ("{where}: the gate accepted", None),
    EventKind.QUALITY_CHECK_FAILED: ("{where}: the gate rejected", StageState.FAILED),
    EventKind.RETRY_ATTEMPT: ("{where}: another attempt", None),
    EventKind.ESCALATED: ("{where} was handed to a person", StageState.AWAITING_REVIEW),
    EventKind.REVIEW_REOPENED: ("{where} is asked again", StageState.AWAITING_REVIEW),
    EventKind.STAGE_RERUN: ("{where} is to be done again", None),
    EventKind.ITEMS_PRUNED: ("old items were removed", None),
}
_DECISIONS = {
    "approve": "approved",
    "approve_with_edits": "approved with edits",
    "reject": "rejected",
    "request_changes": "sent back for changes",
    "withdrawn": "withdrawn",
}


def tell(event: WorkflowEvent) -> Told:
    """The event as a person would say it."""
    where = (event.stage or "") + (f" / {event.subtask}" if event.subtask else "")
    by = _by(event.data)
    if event.kind is EventKind.REVIEW_DECIDED:
        said = _DECISIONS.get(str(event.data.get("decision")), "decided")
        return Told(f"{where} {said}{by}", _short(event.data.get("note") or event.data.get("reason")))
    pattern, state = _SIMPLE[event.kind]
    return Told(pattern.replace("{where}", where) + by, _detail(event.data), state)


def _by(data: Mapping[str, Any]) -> str:
    who = data.get("operator") or data.get("reviewer") or data.get("by")
    return f" by {who}" if who else ""


def _detail(data: Mapping[str, Any]) -> str:
    return next((_short(data[name]) for name in ("error", "reason", "summary", "note", "because") if data.get(name)), "")


def _short(value: object) -> str:
    line = str(value or "").strip().split("\n", 1)[0]
    return line if len(line) <= _MOST else line[: _MOST - 1] + "…"
