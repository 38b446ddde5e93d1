"""The only place that chooses a state.

Every function takes the immutable definition, an item's rows and what has happened, and returns a
``Transition``: the rows, events and attempts that must be written together. Nothing here waits, reads a
clock or logs. Whoever holds the item calls ``apply`` with the transition, then has it written.
"""

from __future__ import annotations

import json
from typing import Any, assert_never

from treadle.clock import from_us
from treadle.definition import Definition, StageDefinition
from treadle.errors import InvalidTransition, ReviewConflict
from treadle.event import EventKind
from treadle.outcome import Approve, Decision, Reject
from treadle.policy import RetryBudget
from treadle.state import (
    Attempt,
    Ended,
    EventRow,
    ItemPhase,
    ItemState,
    Rest,
    StageRow,
    StageState,
    SubtaskBoard,
    SubtaskRow,
    Transition,
    Unit,
)

MAX_INTERRUPTIONS = 3
"""After so many deaths of whoever ran it, a stage is taken to be the cause of them."""

# Looking a member up in its enum costs more than the comparison it is for, and these run for every stage.
_PENDING, _RUNNING, _COMPLETED = StageState.PENDING, StageState.RUNNING, StageState.COMPLETED
_FAILED, _REVIEW, _SKIPPED = StageState.FAILED, StageState.AWAITING_REVIEW, StageState.SKIPPED
_FINISHED = frozenset({_COMPLETED, _SKIPPED})
_STARTED, _DONE = EventKind.STAGE_STARTED, EventKind.STAGE_COMPLETED
_SUB_STARTED, _SUB_DONE = EventKind.SUBTASK_STARTED, EventKind.SUBTASK_COMPLETED


# --- what whoever holds the item does -------------------------------------------------------------


def count(flow: Definition, state: ItemState) -> None:
    """Fill the counters that ``apply`` keeps up to date; done once when an item is claimed."""
    finished = {name for name, row in state.stages.items() if row.state in _FINISHED}
    state.unmet = {name: sum(need not in finished for need in stage.needs) for name, stage in flow.stages.items()}
    # What a dead worker left running is counted until ``begin`` takes it over.
    state.running = sum(row.state is _RUNNING and not row.fan_out for row in state.stages.values())
    state.running += sum(board.running for board in state.boards.values())
    state.asking.clear()


def apply(flow: Definition, state: ItemState, change: Transition) -> None:
    """Make ``state`` what it is after ``change``; later decisions may build on it before it is durable."""
    for row in change.stages:
        before = state.stages.get(row.stage)
        state.stages[row.stage] = row
        if before is not None and before.state is _RUNNING and not before.fan_out:
            state.running -= 1
        if row.state is _COMPLETED or row.state is _SKIPPED:
            for feed in flow.stages[row.stage].feeds:
                state.unmet[feed] -= 1
        if state.asking:
            state.asking.discard(row.stage)
    for child in change.subtasks:
        board = state.boards.get(child.stage)
        if board is None:
            state.boards[child.stage] = board = SubtaskBoard()
        replaced = board.put(child)
        if replaced is not None and replaced.state is _RUNNING:
            state.running -= 1
    state.running += len(change.starts)
    if change.ready:
        state.asking.update(change.ready)


def begin(flow: Definition, state: ItemState, now: int, window: int) -> Transition:
    """What happens when an item has just been claimed.

    Whatever was running lost its worker: it is counted as interrupted and starts again, or fails after
    ``MAX_INTERRUPTIONS``. Everything that can start, starts; of a fan-out's children up to ``window``.
    """
    draft = _Draft(flow, state, now, window)
    for name, stage in flow.stages.items():
        row = state.stages.get(name)
        if row is None or row.state is _PENDING:
            if state.unmet[name] == 0 and (row is None or row.due is None or row.due <= now):
                draft.ready_or_started(stage, row)
        elif row.state is _RUNNING:
            if row.fan_out:
                draft.resume_fan_out(stage, row)
            else:
                draft.interrupted(stage, row)
    return draft.finish()


def wake(flow: Definition, state: ItemState, now: int, window: int) -> Transition:
    """Start what waited for a time that has come, in an item whose other parts are still moving."""
    draft = _Draft(flow, state, now, window)
    for name, stage in flow.stages.items():
        row = state.stages.get(name)
        if row is None:
            continue
        if row.state is _PENDING and row.due is not None and row.due <= now and name not in state.asking:
            draft.ready_or_started(stage, row)
        elif row.state is _RUNNING and row.fan_out:
            board = state.boards[name]
            for child in board.next(max(draft.room(stage) - board.running, 0), now):
                draft.start_subtask(child)
    return draft.finish()


def next_due(state: ItemState) -> int | None:
    """The earliest time that something of the item waits for, if anything does."""
    dues = [row.due for row in state.stages.values() if row.due is not None and row.state is _PENDING]
    dues += [board.later[0][0] for board in state.boards.values() if board.later]
    return min(dues, default=None)


def start(flow: Definition, state: ItemState, stage: str, now: int, window: int) -> Transition:
    """Start a stage that asked for leave and got it."""
    draft = _Draft(flow, state, now, window)
    draft.started(flow.stages[stage], state.stages.get(stage))
    return draft.finish()


def skip(flow: Definition, state: ItemState, stage: str, reason: str, now: int, window: int) -> Transition:
    """Skip a stage that asked for leave, and start what waited for it."""
    draft = _Draft(flow, state, now, window)
    before = state.stages.get(stage) or StageRow(stage, _PENDING, 0, now)
    draft.skipped(before._replace(version=flow.stages[stage].version), reason, None)
    return draft.finish()


def forgo(flow: Definition, state: ItemState, stage: str, now: int) -> Transition:
    """Take back a stage's question for leave; the item rests if nothing else of it moves."""
    draft = _Draft(flow, state, now, 0)
    draft.forgone = stage
    return draft.finish()


def settle(flow: Definition, state: ItemState, attempt: Attempt, now: int, chance: float, window: int) -> Transition:
    """What follows from an attempt's end.

    ``chance`` in [0, 1) is the random number for its jitter; with a ``window`` of 0 nothing new starts.
    """
    draft = _Draft(flow, state, now, window)
    if attempt.seq is None:
        draft.settle_stage(flow.stages[attempt.stage], state.stages[attempt.stage], attempt, chance)
    else:
        row = state.boards[attempt.stage].rows[attempt.seq]
        draft.settle_subtask(flow.stages[attempt.stage], row, attempt, chance)
    return draft.finish()


# --- what people do, whether or not somebody holds the item ---------------------------------------


def resolve(flow: Definition, state: ItemState, stage: str, decision: Decision, reviewer: str, now: int) -> Transition:
    """What a person's answer to a waiting review changes.

    Raises:
        ReviewConflict: the stage is not waiting for a person.
    """
    flow.stage(stage)
    row = state.stages.get(stage)
    if row is None or row.state is not _REVIEW:
        stands = row.state if row else _PENDING
        raise ReviewConflict(f"stage {stage!r} of item {state.id!r} is {stands}, not waiting for a review; look at its events")
    draft = _Draft(flow, state, now)
    match decision:
        case Approve(note=note):
            said = _json(decision="approve", reviewer=reviewer, note=note)
            draft.events.append(EventRow(EventKind.REVIEW_DECIDED, stage, None, row.attempt, said))
            draft.finished(row._replace(state=_COMPLETED, updated=now, error=None), EventRow(_DONE, stage, None, row.attempt))
        case Reject(reason=reason):
            said = _json(decision="reject", reviewer=reviewer, reason=reason)
            draft.events.append(EventRow(EventKind.REVIEW_DECIDED, stage, None, row.attempt, said))
            draft.failed(row, f"rejected by {reviewer}: {reason}")
        case _:
            assert_never(decision)
    return draft.finish()


def retry(flow: Definition, state: ItemState, stage: str | None, now: int) -> Transition:
    """Failed stages (that one, or all) are pending again with a new budget; finished subtasks stay finished.

    Raises:
        InvalidTransition: there is nothing failed to try again.
    """
    if stage is not None:
        flow.stage(stage)
    names = [stage] if stage is not None else list(flow.stages)
    failed = [row for name in names if (row := state.stages.get(name)) is not None and row.state is _FAILED]
    if not failed:
        stands = state.stages[stage].state if stage in state.stages else "pending"
        what = (
            f"stage {stage!r} of item {state.id!r} is {stands}"
            if stage is not None
            else f"no stage of item {state.id!r} has failed"
        )
        raise InvalidTransition(f"{what}; only a failed stage can be tried again")
    draft = _Draft(flow, state, now)
    draft.phase = ItemPhase.PENDING
    for row in failed:
        draft.stages.append(row._replace(state=_PENDING, updated=now, due=None, spent=0, interruptions=0))
        draft.events.append(EventRow(EventKind.STAGE_RETRIED, row.stage, None, row.attempt))
        for child in state.boards[row.stage].rows if row.fan_out else ():
            if child.state is _FAILED:
                draft.subtasks.append(child._replace(state=_PENDING, updated=now, due=None, spent=0, interruptions=0))
    return draft.finish()


def cancel(flow: Definition, state: ItemState, reason: str | None, now: int) -> Transition:
    """The item moves no more: what ran or waited for a person fails as cancelled, the rest stays as it is.

    Raises:
        InvalidTransition: it has already ended.
    """
    if state.phase in (ItemPhase.COMPLETED, ItemPhase.CANCELLED):
        raise InvalidTransition(f"item {state.id!r} is already {state.phase}")
    draft = _Draft(flow, state, now)
    error = f"cancelled: {reason}" if reason else "cancelled"
    for row in state.stages.values():
        if row.state is _RUNNING or row.state is _REVIEW:
            draft.stages.append(row._replace(state=_FAILED, updated=now, due=None, error=error))
        for child in state.boards[row.stage].rows if row.fan_out and row.state is _RUNNING else ():
            if child.state is _RUNNING or child.state is _PENDING:
                draft.subtasks.append(child._replace(state=_FAILED, updated=now, due=None, error=error))
    draft.events.append(EventRow(EventKind.ITEM_CANCELLED, data=_json(reason=reason)))
    draft.phase = ItemPhase.CANCELLED
    return draft.finish()


def arrive(flow: Definition, now: int) -> Transition:
    """What is written when an item is added."""
    priority = max(flow.stages[name].priority for name in flow.roots)
    return Transition(now, events=(EventRow(EventKind.ITEM_ADDED),), rest=Rest(ItemPhase.PENDING, now, priority))


# --- putting one transition together --------------------------------------------------------------


def _json(**data: Any) -> str:
    return json.dumps({key: value for key, value in data.items() if value is not None}, ensure_ascii=False, separators=(",", ":"))


def _implied(attempt: Attempt) -> bool:
    """Whether the finished row says all there is to say (see ``state.implied_attempt``)."""
    return attempt.metrics is None and (attempt.how is Ended.COMPLETED or attempt.how is Ended.SKIPPED)


class _Draft:
    """A transition while it is put together; reads the item's rows and never changes them.

    ``window`` is how many children of one fan-out may run at once; 0 lets nothing start at all.
    """

    __slots__ = (
        "attempts", "events", "flow", "forgone", "now", "phase", "ready", "running", "stages", "starts", "state", "subtasks", "window",
    )  # fmt: skip

    def __init__(self, flow: Definition, state: ItemState, now: int, window: int = 0) -> None:
        self.flow = flow
        self.state = state
        self.now = now
        self.window = window
        self.phase = state.phase
        self.running = state.running
        self.forgone: str | None = None
        self.stages: list[StageRow] = []
        self.subtasks: list[SubtaskRow] = []
        self.attempts: list[Attempt] = []
        self.events: list[EventRow] = []
        self.starts: list[Unit] = []
        self.ready: list[str] = []

    def finish(self) -> Transition:
        """The transition, with the item's rest if nothing of it moves after this."""
        rest = None
        if not self.starts and not self.ready and self.running == 0 and not self._asking():
            rest = self._rest()
        return Transition(self.now, self.stages, self.subtasks, self.attempts, self.events, rest, self.starts, self.ready)

    def _asking(self) -> bool:
        if not self.state.asking:
            return False
        return bool(self.state.asking - {row.stage for row in self.stages} - {self.forgone})

    def _rest(self) -> Rest:
        rows = self.state.stages | {row.stage: row for row in self.stages}
        if self.phase is ItemPhase.CANCELLED:
            return Rest(ItemPhase.CANCELLED, None)
        finished = {name for name, row in rows.items() if row.state in _FINISHED}
        if finished.issuperset(self.flow.stages):
            if self.phase is not ItemPhase.COMPLETED:
                self.events.append(EventRow(EventKind.WORKFLOW_COMPLETED))
            return Rest(ItemPhase.COMPLETED, None)
        waits = [
            self._wakes(stage, rows.get(name)) for name, stage in self.flow.stages.items() if finished.issuperset(stage.needs)
        ]
        wakes = [(due, -priority) for due, priority in waits if due is not None]
        states = {row.state for row in rows.values()}
        phase = ItemPhase.PENDING
        if _FAILED in states:
            phase = ItemPhase.FAILED
        elif not wakes and _REVIEW in states:
            phase = ItemPhase.AWAITING_REVIEW
        wake, priority = min(wakes, default=(None, 0))
        return Rest(phase, wake, -priority)

    def _wakes(self, stage: StageDefinition, row: StageRow | None) -> tuple[int | None, int]:
        """When this stage, whose needs are met, wants the item claimed again; with its priority."""
        if row is None:
            return self.now, stage.priority
        if row.state is _PENDING:
            return (self.now if row.due is None else max(row.due, self.now)), stage.priority
        if row.state is _RUNNING and row.fan_out:
            changed = {child.seq: child for child in self.subtasks if child.stage == stage.name}
            board = self.state.boards.get(stage.name)
            children = [changed.get(child.seq, child) for child in board.rows] if board else list(changed.values())
            dues = [child.due or self.now for child in children if child.state is _PENDING]
            return min(dues, default=self.now), stage.priority
        return None, stage.priority

    # starting

    def ready_or_started(self, stage: StageDefinition, row: StageRow | None) -> None:
        if self.window == 0:
            return
        if stage.asks_leave and not (row is not None and row.fan_out):
            self.ready.append(stage.name)
        else:
            self.started(stage, row)

    def started(self, stage: StageDefinition, row: StageRow | None) -> None:
        name = stage.name
        if row is None:
            self.stages.append(StageRow(name, _RUNNING, 1, self.now, self.now, None, None, None, None, None, stage.version))
            self.events.append(EventRow(_STARTED, name, None, 1))
            self.starts.append((name, None))
        elif row.fan_out:
            self.stages.append(row._replace(state=_RUNNING, updated=self.now, error=None))
            self.resume_fan_out(stage, row)
        else:
            number = row.attempt + 1
            row = row._replace(state=_RUNNING, attempt=number, updated=self.now, started=self.now, due=None)
            self.stages.append(row._replace(review=None, summary=None, version=stage.version))
            self.events.append(EventRow(_STARTED, name, None, number))
            self.starts.append((name, None))

    def interrupted(self, stage: StageDefinition, row: StageRow) -> None:
        self._record_interruption(row, None)
        row = row._replace(interruptions=row.interruptions + 1)
        if row.interruptions >= MAX_INTERRUPTIONS:
            self.failed(row, _interrupted(row.interruptions))
        else:
            self.started(stage, row)

    def _record_interruption(self, row: StageRow | SubtaskRow, subtask: str | None) -> None:
        self.running -= 1
        error = "interrupted: the worker that ran it died"
        started = row.updated if row.started is None else row.started
        seq = row.seq if isinstance(row, SubtaskRow) else None
        self.attempts.append(Attempt(row.stage, seq, row.attempt, started, self.now, Ended.INTERRUPTED, error=error))
        self.events.append(EventRow(EventKind.STAGE_INTERRUPTED, row.stage, subtask, row.attempt, _json(error=error)))

    # stages that end

    def settle_stage(self, stage: StageDefinition, row: StageRow, attempt: Attempt, chance: float) -> None:
        self.running -= 1
        how = attempt.how
        if not _implied(attempt):
            self.attempts.append(attempt)
        if how is Ended.COMPLETED:
            self.finished(
                StageRow(
                    attempt.stage, _COMPLETED, attempt.number, self.now, attempt.started, None, None, attempt.artefact,
                    attempt.summary, None, row.version, row.spent, row.interruptions,
                ),
                EventRow(_DONE, attempt.stage, None, attempt.number),
            )  # fmt: skip
        elif how is Ended.SKIPPED:
            self.skipped(row._replace(due=None, error=None, artefact=None), attempt.summary, attempt.number)
        elif how is Ended.AWAITING_REVIEW:
            row = row._replace(state=_REVIEW, updated=self.now, due=None, error=None)
            self.stages.append(row._replace(summary=attempt.summary, review=attempt.review))
            self.events.append(
                EventRow(EventKind.REVIEW_REQUIRED, stage.name, None, attempt.number, _json(summary=attempt.summary))
            )
        elif how is Ended.FAN_OUT:
            self._expand(stage, row, attempt)
        else:
            self._again_or_failed(stage, row, attempt, chance)

    def finished(self, row: StageRow, event: EventRow) -> None:
        """The stage is completed or skipped: write it, and start what waited for nothing else."""
        self.stages.append(row)
        self.events.append(event)
        if self.window == 0:
            return
        unmet = self.state.unmet
        for feed in self.flow.stages[row.stage].feeds:
            if unmet[feed] == 1:
                waiting = self.state.stages.get(feed)
                if waiting is None or (waiting.state is _PENDING and (waiting.due is None or waiting.due <= self.now)):
                    self.ready_or_started(self.flow.stages[feed], waiting)
        if len(self.starts) > 1:
            self.starts.sort(key=lambda unit: -self.flow.stages[unit[0]].priority)

    def skipped(self, row: StageRow, reason: str | None, number: int | None) -> None:
        data = _json(reason=reason) if reason else None
        row = row._replace(state=_SKIPPED, updated=self.now, summary=reason)
        self.finished(row, EventRow(EventKind.STAGE_SKIPPED, row.stage, None, number, data))

    def failed(self, row: StageRow, error: str) -> None:
        self.stages.append(row._replace(state=_FAILED, updated=self.now, due=None, error=error))
        self.events.append(EventRow(EventKind.STAGE_FAILED, row.stage, None, row.attempt, _json(error=error)))

    def _again_or_failed(self, stage: StageDefinition, row: StageRow, attempt: Attempt, chance: float) -> None:
        error = attempt.error or str(attempt.how)
        if attempt.how is Ended.INTERRUPTED:
            # Its engine was told to stop: nobody's fault, so neither charged nor counted as a death.
            self.stages.append(row._replace(state=_PENDING, updated=self.now, due=None))
            self.events.append(EventRow(EventKind.STAGE_INTERRUPTED, stage.name, None, attempt.number, _json(error=error)))
            return
        spent = row.spent + 1
        if not (attempt.retry and spent < stage.retry.max_attempts):
            self.failed(row._replace(spent=spent), error)
            return
        due = self.now + _wait(stage.retry, attempt, spent, chance)
        self.stages.append(row._replace(state=_PENDING, updated=self.now, due=due, error=error, spent=spent))
        self.events.append(EventRow(EventKind.RETRY_SCHEDULED, stage.name, None, attempt.number, _scheduled(error, due)))

    # fan-outs

    def _expand(self, stage: StageDefinition, row: StageRow, attempt: Attempt) -> None:
        children = attempt.subtasks
        self.events.append(EventRow(EventKind.FAN_OUT_STARTED, row.stage, None, attempt.number, _json(subtasks=len(children))))
        row = row._replace(fan_out=True, updated=self.now, error=None)
        if not children:
            self.finished(row._replace(state=_COMPLETED), EventRow(_DONE, row.stage, None, attempt.number))
            return
        self.stages.append(row)
        room = self.room(stage)
        for seq, (name, data) in enumerate(children):
            child = SubtaskRow(row.stage, seq, name, _PENDING, 0, self.now, data=data)
            if seq < room:
                self.start_subtask(child)
            else:
                self.subtasks.append(child)

    def room(self, stage: StageDefinition) -> int:
        return self.window if stage.limit is None else min(self.window, stage.limit)

    def resume_fan_out(self, stage: StageDefinition, row: StageRow) -> None:
        """Go on with the children that have not ended; those that were running lost their worker."""
        board = self.state.boards.get(stage.name) or SubtaskBoard()
        room, failed, left = self.room(stage), board.failed, board.unfinished
        for child in [child for child in board.rows if child.state is _RUNNING]:
            self._record_interruption(child, child.name)
            counted = child._replace(interruptions=child.interruptions + 1, updated=self.now)
            if counted.interruptions >= MAX_INTERRUPTIONS:
                self._subtask_failed(counted, _interrupted(counted.interruptions))
                failed, left = failed + 1, left - 1
            elif room > 0:
                self.start_subtask(counted)
                room -= 1
            else:
                self.subtasks.append(counted._replace(state=_PENDING, due=None))
        if left == 0:
            self._close_fan_out(row, len(board.rows), failed)
            return
        for child in board.next(room, self.now):
            self.start_subtask(child)

    def start_subtask(self, row: SubtaskRow) -> None:
        number = row.attempt + 1
        self.subtasks.append(
            SubtaskRow(
                row.stage, row.seq, row.name, _RUNNING, number, self.now, self.now, None, row.error, None, row.data, row.spent, row.interruptions,
            )
        )  # fmt: skip
        self.events.append(EventRow(_SUB_STARTED, row.stage, row.name, number))
        self.starts.append((row.stage, row.seq))

    def settle_subtask(self, stage: StageDefinition, row: SubtaskRow, attempt: Attempt, chance: float) -> None:
        self.running -= 1
        board = self.state.boards[stage.name]
        left, failed = board.unfinished - 1, board.failed
        if not _implied(attempt):
            self.attempts.append(attempt)
        if attempt.how is Ended.COMPLETED:
            self.subtasks.append(
                SubtaskRow(
                    row.stage, row.seq, row.name, _COMPLETED, attempt.number, self.now, attempt.started, None, None, attempt.artefact,
                    row.data, row.spent, row.interruptions,
                )
            )  # fmt: skip
            self.events.append(EventRow(_SUB_DONE, row.stage, row.name, attempt.number))
        elif attempt.how is Ended.SKIPPED:
            self.subtasks.append(row._replace(state=_SKIPPED, updated=self.now, due=None, error=None))
            self.events.append(EventRow(EventKind.SUBTASK_SKIPPED, row.stage, row.name, attempt.number))
        elif self._subtask_again(stage, row, attempt, chance):
            left += 1
        else:
            self._subtask_failed(row._replace(spent=row.spent + 1), attempt.error or str(attempt.how))
            failed += 1
        if left == 0:
            self._close_fan_out(self.state.stages[stage.name], len(board.rows), failed)
        elif self.window > 0:
            for child in board.next(1, self.now):
                self.start_subtask(child)

    def _subtask_again(self, stage: StageDefinition, row: SubtaskRow, attempt: Attempt, chance: float) -> bool:
        error = attempt.error or str(attempt.how)
        if attempt.how is Ended.INTERRUPTED:
            self.subtasks.append(row._replace(state=_PENDING, updated=self.now, due=None))
            self.events.append(EventRow(EventKind.STAGE_INTERRUPTED, row.stage, row.name, attempt.number, _json(error=error)))
            return True
        spent = row.spent + 1
        if not (attempt.retry and spent < stage.retry.max_attempts):
            return False
        due = self.now + _wait(stage.retry, attempt, spent, chance)
        self.subtasks.append(row._replace(state=_PENDING, updated=self.now, due=due, error=error, spent=spent))
        self.events.append(EventRow(EventKind.RETRY_SCHEDULED, row.stage, row.name, attempt.number, _scheduled(error, due)))
        return True

    def _subtask_failed(self, row: SubtaskRow, error: str) -> None:
        self.subtasks.append(row._replace(state=_FAILED, updated=self.now, due=None, error=error))
        self.events.append(EventRow(EventKind.SUBTASK_FAILED, row.stage, row.name, row.attempt, _json(error=error)))

    def _close_fan_out(self, row: StageRow, total: int, failed: int) -> None:
        if failed:
            self.failed(row, f"{failed} of {total} subtasks failed")
        else:
            self.finished(
                row._replace(state=_COMPLETED, updated=self.now, error=None), EventRow(_DONE, row.stage, None, row.attempt)
            )


def _interrupted(times: int) -> str:
    return f"interrupted {times} times: whatever ran it died each time"


def _wait(budget: RetryBudget, attempt: Attempt, spent: int, chance: float) -> int:
    seconds = attempt.retry_after if attempt.retry_after is not None else budget.wait_after(spent, chance)
    return int(seconds * 1_000_000)


def _scheduled(error: str, due: int) -> str:
    return _json(error=error, due_at=from_us(due).isoformat())
