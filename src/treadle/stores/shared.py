"""What stores say and put together alike."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from treadle.clock import from_us
from treadle.codec import bad_name
from treadle.errors import StageNotFound, StoreCorrupt, StoreError
from treadle.event import EventKind, WorkflowEvent
from treadle.state import AttemptRow, EventRow, ItemState, ReviewRow, StageRow, SubtaskRow, Transition, implied_attempt
from treadle.store import SHOWN, Shape, WorkerRow
from treadle.wording import counted


def other_workflow(stored: str, given: str) -> str:
    """Why a store cannot be opened for another workflow."""
    return f"this store belongs to workflow {stored!r}, not {given!r}; give {given!r} a store of its own"


def removed_stages(live: Mapping[str, Sequence[str]]) -> str:
    """Why a workflow without these stages cannot have the store."""
    listed = "; ".join(
        f"{stage!r}: {counted(len(ids), 'item')}, among them {', '.join(map(repr, ids[:3]))}" for stage, ids in live.items()
    )
    return (
        f"items wait in stages that the workflow no longer has ({listed}); put the stages back,"
        " or say what became of them: `treadle migrate --rename OLD=NEW` or `treadle migrate --drop OLD`"
    )


def check_rename(shape: Shape | None, old: str, new: str, *, is_taken: bool) -> None:
    """Return if the stage can get that name.

    Raises:
        StageNotFound, StoreError: it is not there, or the name is taken.
    """
    known = () if shape is None else tuple(shape.stages)
    if old not in known:
        raise StageNotFound(old, known)
    if reason := bad_name(new):
        raise StoreError(f"{new!r:.80} cannot name a stage: {reason}")
    if new in known or is_taken:
        raise StoreError(f"there are results of a stage {new!r} already; choose another name, or drop one of the two")


def artefact_of(item_id: str, stage: str) -> str:
    """As messages about what it made begin."""
    return f"the artefact of stage {stage!r} of item {item_id!r}"


@contextmanager
def naming(item_id: str, stage: str) -> Iterator[None]:
    """Damage of an artefact is told with whose it is."""
    try:
        yield
    except StoreCorrupt as error:
        raise StoreCorrupt(f"{artefact_of(item_id, stage)}: {error}", item_id) from error


def held_by(row: ReviewRow, now: int) -> str:
    """In whose hands a review is; the empty string: in nobody's."""
    return row.holder if row.holder is not None and row.held_until is not None and row.held_until > now else ""


def refused(state: ItemState, change: Transition) -> Transition:
    """What the journal is told in place of a change whose claim is no more."""
    told = change.events[0] if change.events else EventRow(EventKind.COMMIT_REFUSED)
    data = json.dumps({"fence": state.fence, "refused": [event.kind for event in change.events]}, separators=(",", ":"))
    event = EventRow(EventKind.COMMIT_REFUSED, told.stage, told.subtask, told.attempt, data)
    return Transition(change.at, events=[event])


def no_longer_held(item_id: str) -> str:
    """Why a change was refused."""
    return f"item {item_id!r} is no longer held by this worker; nothing was written"


def lost_by(worker: WorkerRow) -> str:
    """What an item is told of the worker that held it and did not give it back."""
    seen = from_us(worker.beat).isoformat()
    return json.dumps({"worker": worker.who.name, "host": worker.who.host, "pid": worker.who.pid, "last_seen": seen})


def taken_for_dead(worker: int) -> str:
    """Why a worker may not claim."""
    return f"worker {worker} was taken for dead and others may have its items; it must enlist anew"


def workflow_event(cursor: int, at: int, item_id: str, row: EventRow) -> WorkflowEvent:
    """An event as people read it."""
    return WorkflowEvent(
        cursor=cursor,
        at=from_us(at),
        item_id=item_id,
        kind=row.kind,
        stage=row.stage,
        subtask=row.subtask,
        attempt=row.attempt,
        data=json.loads(row.data) if row.data is not None else {},
    )


def merge_attempts(stored: Sequence[AttemptRow], rows: Sequence[StageRow | SubtaskRow]) -> list[tuple[str | None, AttemptRow]]:
    """Stored attempts and those that finished rows imply, oldest first, with the names of subtasks."""
    names = {row.seq: row.name for row in rows if isinstance(row, SubtaskRow)}
    known = {(attempt.seq, attempt.run, attempt.number) for attempt in stored}
    implied = [
        attempt
        for row in rows
        if (attempt := implied_attempt(row)) is not None and (attempt.seq, attempt.run, attempt.number) not in known
    ]
    # Children that were started together tell their attempts in their own order, whatever order the store keeps.
    found = sorted([*stored, *implied], key=lambda a: (a.run, a.started, a.number, -1 if a.seq is None else a.seq))
    return [(None if attempt.seq is None else names.get(attempt.seq), attempt) for attempt in found]


# Rows for pages that people look at.

_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}


def lowered(text: str) -> str:
    """``text`` as searches compare it; databases know the small form of a to z without being told a language."""
    return text.translate(_LOWER)


def bare_row(row: StageRow) -> StageRow:
    """The row without what may be large."""
    error = None if row.error is None else row.error[:SHOWN]
    return StageRow(row.stage, row.state, row.attempt, row.updated, row.started, row.due, error)


def bare_child(row: SubtaskRow) -> SubtaskRow:
    """The row without what may be large."""
    error = None if row.error is None else row.error[:SHOWN]
    return SubtaskRow(row.stage, row.seq, row.name, row.state, row.attempt, row.updated, row.started, row.due, error)
