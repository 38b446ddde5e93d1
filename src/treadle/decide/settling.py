"""A transition that starts things, and knows how attempts end."""

from __future__ import annotations

import json

from treadle.clock import MAX_WAIT, from_us
from treadle.decide.draft import (
    COMPLETED,
    FAILED,
    MAX_INTERRUPTIONS,
    PENDING,
    REVIEW,
    RUNNING,
    SKIPPED,
    Draft,
    to_json,
)
from treadle.decide.ruling import Next, Ruling, of_policy, rule
from treadle.definition import Definition, StageDefinition
from treadle.event import EventKind
from treadle.history import ACCEPTED, REJECTED
from treadle.policy import RetryBudget
from treadle.state import (
    AskedBy,
    AttemptRow,
    Ended,
    EventRow,
    ItemState,
    StageRow,
    SubtaskBoard,
    SubtaskRow,
)
from treadle.wording import counted

_SUB_STARTED, _SUB_DONE = EventKind.SUBTASK_STARTED, EventKind.SUBTASK_COMPLETED
_STARTED, _DONE = EventKind.STAGE_STARTED, EventKind.STAGE_COMPLETED
_ENDED, _COMPLETE, _PUT_BACK, _AGAIN = Ended.COMPLETED, Next.COMPLETE, Next.PUT_BACK, Next.AGAIN
_CHANGED = Ruling(Next.ASK, "a person had edited the last result, and this one is another", AskedBy.CHANGE)


class Settling(Draft):
    """A draft that starts things, and knows how attempts end.

    ``window`` is how many children of one fan-out may run at once; 0 lets nothing start at all.
    """

    __slots__ = ("window",)

    def __init__(self, flow: Definition, state: ItemState, now: int, window: int) -> None:
        super().__init__(flow, state, now)
        self.window: int = window

    # starting

    def unlock(self, stage: str) -> None:
        if self.window == 0:
            return
        unmet = self.state.unmet
        for feed in self.flow.stages[stage].feeds:
            if unmet[feed] == 1:
                waiting = self.state.stages.get(feed)
                if waiting is None or (waiting.state is PENDING and (waiting.due is None or waiting.due <= self.now)):
                    self.ready_or_started(self.flow.stages[feed], waiting)
        if len(self.starts) > 1:
            self.starts.sort(key=lambda unit: -self.flow.stages[unit[0]].priority)

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
            self.stages.append(StageRow(name, RUNNING, 1, self.now, self.now, None, None, None, None, None, stage.version))
            self.events.append(stage.first_start)
            self.starts.append(stage.unit)
        elif row.fan_out:
            self.stages.append(row._replace(state=RUNNING, updated=self.now, error=None))
            self.resume_fan_out(stage, row)
        else:
            number = row.attempt + 1
            row = row._replace(state=RUNNING, attempt=number, updated=self.now, started=self.now, due=None)
            self.stages.append(row._replace(review=None, summary=None, version=stage.version))
            if row.spent:
                self.events.append(EventRow(EventKind.RETRY_ATTEMPT, name, None, number))
            self.events.append(EventRow(_STARTED, name, None, number))
            self.starts.append(stage.unit)

    def room(self, stage: StageDefinition) -> int:
        return self.window if stage.limit is None else min(self.window, stage.limit)

    # what was found when the item was claimed

    def interrupted(self, stage: StageDefinition, row: StageRow) -> None:
        self._record_interruption(row, None)
        row = row._replace(interruptions=row.interruptions + 1)
        if row.interruptions >= MAX_INTERRUPTIONS:
            self.failed(row, _interrupted(row.interruptions))
        elif self.window == 0:
            self.stages.append(row._replace(state=PENDING, updated=self.now, due=None))
        else:
            self.started(stage, row)

    def _record_interruption(self, row: StageRow | SubtaskRow, subtask: str | None) -> None:
        self.one_ended()
        error, lost = "interrupted: the worker that ran it died", self.state.lost
        if lost is not None:
            who = json.loads(lost)
            error = f"interrupted: worker {who['worker']} on {who['host']} (pid {who['pid']}) died, last seen {who['last_seen']}"
        started = row.updated if row.started is None else row.started
        seq = row.seq if isinstance(row, SubtaskRow) else None
        self.attempts.append(
            AttemptRow(
                row.stage, seq, row.attempt, started, self.now, Ended.INTERRUPTED, error=error, failure=lost, run=row.reruns
            )
        )
        self.events.append(EventRow(EventKind.STAGE_INTERRUPTED, row.stage, subtask, row.attempt, to_json(error=error)))

    # stages that end

    def settle_stage(self, stage: StageDefinition, row: StageRow, attempt: AttemptRow, chance: float) -> None:
        self.one_ended()
        if attempt.how is _ENDED and not stage.judged and not self.state.reviews:
            self._just_completed(row, attempt)
        else:
            self._follow_ruling(stage, row, attempt, chance)

    def _follow_ruling(self, stage: StageDefinition, row: StageRow, attempt: AttemptRow, chance: float) -> None:
        ruling = rule(stage, attempt, row.spent + 1, self.state.id)
        if ruling.next is Next.COMPLETE and self.was_edited(row.stage):
            ruling = _CHANGED
        self._tell_verdict(attempt, None)
        if not _implied(attempt, ruling):
            self.attempts.append(attempt)
        ended = row._replace(due=None, error=None, artefact=attempt.artefact, summary=attempt.summary)
        match ruling.next:
            case Next.COMPLETE:
                self.completed(ended)
            case Next.SKIP:
                self.skipped(ended, attempt.summary, attempt.number)
            case Next.ASK:
                asked = ended._replace(spent=row.spent + 1, review=attempt.review, error=attempt.error)
                self.ask(stage, asked, ruling, attempt)
            case Next.EXPAND:
                self._expand(stage, row, attempt)
            case Next.PUT_BACK:
                # Its engine was told to stop: nobody's fault, so neither charged nor counted as a death.
                self.stages.append(row._replace(state=PENDING, updated=self.now, due=None))
                self._tell(EventKind.STAGE_INTERRUPTED, attempt, None, error=ruling.reason)
            case Next.FAIL:
                self.failed(row._replace(spent=row.spent + 1, feedback=ruling.feedback), ruling.reason)
            case Next.AGAIN:
                due = self.now + _wait(stage.retry, attempt, row.spent + 1, chance)
                self.one_waits()
                row = row._replace(state=PENDING, updated=self.now, due=due, error=ruling.reason, spent=row.spent + 1)
                self.stages.append(row._replace(feedback=ruling.feedback))
                self._tell(EventKind.RETRY_SCHEDULED, attempt, None, error=ruling.reason, due_at=from_us(due).isoformat())

    def _just_completed(self, row: StageRow, attempt: AttemptRow) -> None:
        """What nearly every attempt of most pipelines comes to; the ruling would say the same, later."""
        if attempt.metrics is not None:
            self.attempts.append(attempt)
        self.finished(
            StageRow(
                attempt.stage, COMPLETED, attempt.number, self.now, attempt.started, None, None, attempt.artefact, attempt.summary, None,
                row.version, row.spent, row.interruptions, row.fan_out, row.reruns,
            ),
            EventRow(_DONE, attempt.stage, None, attempt.number),
        )  # fmt: skip

    def _tell(self, kind: EventKind, attempt: AttemptRow, subtask: str | None, **data: str) -> None:
        self.events.append(EventRow(kind, attempt.stage, subtask, attempt.number, to_json(**data)))

    def _tell_verdict(self, attempt: AttemptRow, subtask: str | None) -> None:
        """Let the journal say what the gate said, if it was sure."""
        if attempt.verdict is None:
            return
        said = json.loads(attempt.verdict)
        if said["verdict"] == ACCEPTED:
            self._tell(EventKind.QUALITY_CHECK_PASSED, attempt, subtask, gate=said["gate"])
        elif said["verdict"] == REJECTED:
            self._tell(EventKind.QUALITY_CHECK_FAILED, attempt, subtask, gate=said["gate"], reason=said["feedback"]["summary"])

    # fan-outs

    def _expand(self, stage: StageDefinition, row: StageRow, attempt: AttemptRow) -> None:
        children = attempt.subtasks
        data = to_json(subtasks=len(children))
        self.events.append(EventRow(EventKind.FAN_OUT_STARTED, row.stage, None, attempt.number, data))
        row = row._replace(fan_out=1, updated=self.now, error=None, artefact=None)
        if not children:
            self._close_fan_out(stage, row, 0, 0, 0)
            return
        self.stages.append(row)
        room = self.room(stage)
        for seq, (name, given) in enumerate(children):
            child = SubtaskRow(row.stage, seq, name, PENDING, 0, self.now, data=given, reruns=row.reruns)
            if seq < room:
                self.start_subtask(child)
            else:
                self.subtasks.append(child)

    def resume_fan_out(self, stage: StageDefinition, row: StageRow) -> None:
        """Go on with the children that have not ended; those that were running lost their worker."""
        board = self.board(stage.name)
        room, failed, left = self.room(stage), board.failed, board.unfinished
        for child in [child for child in board.rows if child.state is RUNNING]:
            self._record_interruption(child, child.name)
            counted = child._replace(interruptions=child.interruptions + 1, updated=self.now)
            if counted.interruptions >= MAX_INTERRUPTIONS:
                self._subtask_failed(counted, _interrupted(counted.interruptions))
                failed, left = failed + 1, left - 1
            elif room > 0:
                self.start_subtask(counted)
                room -= 1
            else:
                self.subtasks.append(counted._replace(state=PENDING, due=None))
        if left == 0:
            self._close_fan_out(stage, row, len(board.rows), failed, board.asked)
            return
        for child in board.next(room, self.now):
            self.start_subtask(child)

    def start_subtask(self, row: SubtaskRow) -> None:
        number = row.attempt + 1
        self.subtasks.append(
            SubtaskRow(
                row.stage, row.seq, row.name, RUNNING, number, self.now, self.now, None, row.error, None, row.data, row.spent,
                row.interruptions, row.reruns, row.feedback,
            )
        )  # fmt: skip
        if row.spent:
            self.events.append(EventRow(EventKind.RETRY_ATTEMPT, row.stage, row.name, number))
        self.events.append(EventRow(_SUB_STARTED, row.stage, row.name, number))
        self.starts.append((row.stage, row.seq))

    def settle_subtask(self, stage: StageDefinition, row: SubtaskRow, attempt: AttemptRow, chance: float) -> None:
        self.one_ended()
        board = self.state.boards[stage.name]
        if attempt.how is _ENDED and attempt.verdict is None and attempt.metrics is None:
            # What nearly every one comes to; the ruling would say the same, later.
            self._child_completed(row, attempt)
            self._after_child(stage, board, _COMPLETE)
            return
        ruling = rule(stage, attempt, row.spent + 1, self.state.id)
        self._tell_verdict(attempt, row.name)
        if not _implied(attempt, ruling):
            self.attempts.append(attempt)
        match ruling.next:
            case Next.COMPLETE:
                self._child_completed(row, attempt)
            case Next.SKIP:
                self.subtasks.append(row._replace(state=SKIPPED, updated=self.now, due=None, error=None, feedback=None))
                self.events.append(EventRow(EventKind.SUBTASK_SKIPPED, row.stage, row.name, attempt.number))
            case Next.ASK:
                # People decide on stages: when all children have ended, about all those in doubt at once.
                row = row._replace(state=REVIEW, updated=self.now, due=None, error=ruling.reason, spent=row.spent + 1)
                self.subtasks.append(row._replace(artefact=attempt.artefact, feedback=ruling.feedback))
            case Next.PUT_BACK:
                self.subtasks.append(row._replace(state=PENDING, updated=self.now, due=None))
                self._tell(EventKind.STAGE_INTERRUPTED, attempt, row.name, error=ruling.reason)
            case Next.AGAIN:
                due = self.now + _wait(stage.retry, attempt, row.spent + 1, chance)
                self.one_waits()
                row = row._replace(state=PENDING, updated=self.now, due=due, error=ruling.reason, spent=row.spent + 1)
                self.subtasks.append(row._replace(feedback=ruling.feedback))
                due_at = from_us(due).isoformat()
                self._tell(EventKind.RETRY_SCHEDULED, attempt, row.name, error=ruling.reason, due_at=due_at)
            case Next.FAIL | Next.EXPAND:
                self._subtask_failed(row._replace(spent=row.spent + 1, feedback=ruling.feedback), ruling.reason)
        self._after_child(stage, board, ruling.next)

    def _child_completed(self, row: SubtaskRow, attempt: AttemptRow) -> None:
        self.subtasks.append(
            SubtaskRow(
                row.stage, row.seq, row.name, COMPLETED, attempt.number, self.now, attempt.started, None, None, attempt.artefact,
                row.data, row.spent, row.interruptions, row.reruns,
            )
        )  # fmt: skip
        self.events.append(EventRow(_SUB_DONE, row.stage, row.name, attempt.number))

    def _after_child(self, stage: StageDefinition, board: SubtaskBoard, came_to: Next) -> None:
        """Close the fan-out with its last child, or let another start in the place of this one."""
        left = board.unfinished - (came_to is not _PUT_BACK and came_to is not _AGAIN)
        if left == 0:
            failed, asked = board.failed + (came_to in (Next.FAIL, Next.EXPAND)), board.asked + (came_to is Next.ASK)
            self._close_fan_out(stage, self.state.stages[stage.name], len(board.rows), failed, asked)
        elif self.window > 0:
            for child in board.next(1, self.now):
                self.start_subtask(child)

    def _subtask_failed(self, row: SubtaskRow, error: str) -> None:
        self.subtasks.append(row._replace(state=FAILED, updated=self.now, due=None, error=error))
        self.events.append(EventRow(EventKind.SUBTASK_FAILED, row.stage, row.name, row.attempt, to_json(error=error)))

    def _close_fan_out(self, stage: StageDefinition, row: StageRow, total: int, failed: int, asked: int) -> None:
        """All children have ended."""
        if failed:
            self.failed(row, f"{failed:,} of {counted(total, 'subtask')} failed")
        elif asked:
            reason = f"{asked:,} of {counted(total, 'subtask')} {'needs' if asked == 1 else 'need'} a person"
            self.ask(stage, row, Ruling(Next.ASK, reason, AskedBy.GATE if stage.gate is not None else AskedBy.ESCALATION))
        else:
            ruling = of_policy(stage, self.state.id)
            if ruling.next is Next.COMPLETE and self.was_edited(row.stage):
                ruling = _CHANGED
            if ruling.next is Next.ASK:
                self.ask(stage, row, ruling)
            else:
                self.completed(row)


def _implied(attempt: AttemptRow, ruling: Ruling) -> bool:
    """Whether the finished row will say all there is to say (see ``state.implied_attempt``)."""
    return attempt.metrics is None and attempt.verdict is None and ruling.next in (Next.COMPLETE, Next.SKIP)


def _interrupted(times: int) -> str:
    return f"interrupted {times} times: whatever ran it died each time"


def _wait(budget: RetryBudget, attempt: AttemptRow, spent: int, chance: float) -> int:
    seconds = attempt.retry_after if attempt.retry_after is not None else budget.wait_after(spent, chance)
    return int(min(seconds, MAX_WAIT) * 1_000_000)
