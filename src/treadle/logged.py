"""What durable changes tell the log."""

from __future__ import annotations

import json
import logging

from treadle.event import EventKind
from treadle.state import EventRow, ItemState, Transition

_LEVELS = {
    EventKind.STAGE_FAILED: logging.ERROR,
    EventKind.SUBTASK_FAILED: logging.ERROR,
    EventKind.RETRY_SCHEDULED: logging.WARNING,
    EventKind.STAGE_INTERRUPTED: logging.WARNING,
    EventKind.REVIEW_REQUIRED: logging.INFO,
    EventKind.STAGE_RETRIED: logging.INFO,
    EventKind.REVIEW_DECIDED: logging.INFO,
    EventKind.ITEM_CANCELLED: logging.INFO,
}
"""Everything else is worth a line only to somebody who debugs."""


def tell(log: logging.Logger, state: ItemState, change: Transition) -> None:
    """Log the change's events, each with its item, stage, subtask and attempt as fields of the record."""
    for event in change.events:
        level = _LEVELS.get(event.kind, logging.DEBUG)
        if log.isEnabledFor(level):
            extra = {
                "item": state.id,
                "stage": event.stage,
                "subtask": event.subtask,
                "attempt": event.attempt,
                "event": event.kind.value,
            }
            log.log(level, "%s", _words(state.id, event), extra=extra)


def _words(item: str, event: EventRow) -> str:
    """One line that says it all, for whoever shows no fields."""
    what = f"{event.kind.replace('_', ' ')}: item {item!r}"
    if event.stage is not None:
        what += f", stage {event.stage!r}"
    if event.subtask is not None:
        what += f", subtask {event.subtask!r}"
    if event.attempt is not None:
        what += f", attempt {event.attempt}"
    data = json.loads(event.data) if event.data is not None else {}
    said = ", ".join(f"{name.replace('_', ' ')} {value}" if name != "error" else str(value) for name, value in data.items())
    return f"{what}: {said}" if said else what
