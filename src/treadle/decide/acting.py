"""What people do to items and stages, whether or not somebody holds them: retry, rerun, cancel."""

from __future__ import annotations

from treadle.decide.draft import (
    FAILED,
    FINISHED,
    PENDING,
    REVIEW,
    RUNNING,
    Draft,
    to_json,
)
from treadle.definition import Definition
from treadle.errors import InvalidTransition
from treadle.event import EventKind
from treadle.state import (
    EventRow,
    ItemPhase,
    ItemState,
    Rest,
    StageRow,
    SubtaskRow,
    Transition,
)


def retry(
    flow: Definition,
    state: ItemState,
    stage: str | None,
    now: int,
    *,
    operator: str | None = None,
    reason: str | None = None,
) -> Transition:
    """Failed stages (that one, or all) are pending again with a new budget; finished subtasks stay finished.

    Raises:
        InvalidTransition: there is nothing failed to try again.
    """
    if stage is not None:
        flow.stage(stage)
    names = [stage] if stage is not None else list(flow.stages)
    failed = [row for name in names if (row := state.stages.get(name)) is not None and row.state is FAILED]
    if not failed:
        stands = state.stages[stage].state if stage in state.stages else "pending"
        what = (
            f"stage {stage!r} of item {state.id!r} is {stands}"
            if stage is not None
            else f"no stage of item {state.id!r} has failed"
        )
        raise InvalidTransition(f"{what}; only a failed stage can be tried again")
    draft = Draft(flow, state, now)
    draft.phase = ItemPhase.PENDING
    data = to_json(operator=operator, reason=reason) if operator or reason else None
    for row in failed:
        draft.stages.append(row._replace(state=PENDING, updated=now, due=None, spent=0, interruptions=0))
        draft.events.append(EventRow(EventKind.STAGE_RETRIED, row.stage, None, row.attempt, data))
        for child in draft.board(row.stage).rows if row.fan_out else ():
            if child.state is FAILED:
                draft.subtasks.append(child._replace(state=PENDING, updated=now, due=None, spent=0, interruptions=0))
    return draft.finish()


def rerun(
    flow: Definition,
    state: ItemState,
    stage: str,
    now: int,
    *,
    cascade: bool,
    operator: str | None = None,
    reason: str | None = None,
) -> Transition:
    """A completed or skipped stage is pending again, from its first attempt; its history is kept.

    Raises:
        InvalidTransition: it has not finished, or (without ``cascade``) others have built on it.
    """
    flow.stage(stage)
    row = state.stages.get(stage)
    where = f"stage {stage!r} of item {state.id!r}"
    if state.phase is ItemPhase.CANCELLED:
        raise InvalidTransition(f"item {state.id!r} is cancelled; `treadle retry` takes it back first")
    if row is None or row.state not in FINISHED:
        way_out = {FAILED: "; retry it", REVIEW: "; decide on it, or request changes"}.get(row.state if row else PENDING, "")
        raise InvalidTransition(f"{where} is {row.state if row else PENDING}; only a finished stage can be rerun{way_out}")
    built = [name for name in _dependents(flow, stage) if name in state.stages]
    if built and not cascade:
        raise InvalidTransition(f"{', '.join(built)} have built on {where}; with cascade they return to pending too")
    draft = Draft(flow, state, now)
    draft.phase = ItemPhase.PENDING
    data = to_json(operator=operator, reason=reason)
    draft.events.append(EventRow(EventKind.STAGE_RERUN, stage, None, row.attempt, data))
    _reset(draft, row)
    reset_dependents(draft, flow, state, stage)
    return draft.finish()


def _dependents(flow: Definition, stage: str) -> list[str]:
    """Everything that depends on the stage, directly or through others, in topological order."""
    below = {stage}
    for name, definition in flow.stages.items():
        if below.intersection(definition.needs):
            below.add(name)
    return [name for name in flow.stages if name in below and name != stage]


def reset_dependents(draft: Draft, flow: Definition, state: ItemState, stage: str) -> None:
    """Everything that was built on the stage is pending again, and whoever holds the item loses it."""
    for name in _dependents(flow, stage):
        if (row := state.stages.get(name)) is not None:
            draft.events.append(EventRow(EventKind.STAGE_RERUN, name, None, row.attempt, to_json(because=stage)))
            _reset(draft, row)
    take_away(draft)


def take_away(draft: Draft) -> None:
    """Whoever holds the item loses it: they may be about to build on what is no more.

    What else they run of it is put back, and charged to nobody.
    """
    draft.revokes = True
    reset = {row.stage for row in draft.stages}
    for row in draft.state.stages.values():
        if row.stage in reset or row.state is not RUNNING:
            continue
        if not row.fan_out:
            draft.stages.append(row._replace(state=PENDING, updated=draft.now))
            draft.events.append(EventRow(EventKind.STAGE_INTERRUPTED, row.stage, None, row.attempt))
        for child in draft.board(row.stage).rows if row.fan_out else ():
            if child.state is RUNNING:
                draft.subtasks.append(child._replace(state=PENDING, updated=draft.now))
                draft.events.append(EventRow(EventKind.STAGE_INTERRUPTED, row.stage, child.name, child.attempt))


def _reset(draft: Draft, row: StageRow) -> None:
    """Pending as if never tried, but for the numbers."""
    draft.keep_attempt(row if not row.fan_out else None)
    for child in draft.board(row.stage).rows:
        draft.keep_attempt(child)
    if row.stage in draft.state.boards:
        draft.cleared.append(row.stage)
    draft.withdraw(row.stage)
    draft.stages.append(StageRow(row.stage, PENDING, row.attempt, draft.now, version=row.version, reruns=row.reruns + 1))


def cancel(flow: Definition, state: ItemState, reason: str | None, now: int, *, operator: str | None = None) -> Transition:
    """The item moves no more: what ran or waited for a person fails as cancelled, the rest stays as it is.

    Raises:
        InvalidTransition: it has already ended.
    """
    if state.phase in (ItemPhase.COMPLETED, ItemPhase.CANCELLED):
        raise InvalidTransition(f"item {state.id!r} is already {state.phase}")
    draft = Draft(flow, state, now)
    draft.revokes = True
    error = f"cancelled: {reason}" if reason else "cancelled"
    for row in state.stages.values():
        if row.state is RUNNING or row.state is REVIEW:
            draft.stages.append(row._replace(state=FAILED, updated=now, due=None, error=error, review=None))
            draft.withdraw(row.stage)
        for child in draft.board(row.stage).rows if row.fan_out and row.state is RUNNING else ():
            if child.state is RUNNING or child.state is PENDING:
                draft.subtasks.append(_stopped(child, now, error))
    draft.events.append(EventRow(EventKind.ITEM_CANCELLED, data=to_json(operator=operator, reason=reason)))
    draft.phase = ItemPhase.CANCELLED
    draft.running = 0
    return draft.finish()


def _stopped(child: SubtaskRow, now: int, error: str) -> SubtaskRow:
    return child._replace(state=FAILED, updated=now, due=None, error=error)


def arrive(flow: Definition, now: int) -> Transition:
    """What is written when an item is added."""
    priority = max(flow.stages[name].priority for name in flow.roots)
    return Transition(now, events=(EventRow(EventKind.ITEM_ADDED),), rest=Rest(ItemPhase.PENDING, now, priority))
