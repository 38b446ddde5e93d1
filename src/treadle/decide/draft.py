"""One transition while it is put together."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from treadle.artefact import comparable
from treadle.clock import MAX_WAIT, from_us
from treadle.decide.ruling import Ruling
from treadle.definition import Definition, StageDefinition
from treadle.event import EventKind
from treadle.state import (
    AskedBy,
    AttemptRow,
    Decided,
    EventRow,
    ItemPhase,
    ItemState,
    Rest,
    ReviewRow,
    StageRow,
    StageState,
    SubtaskBoard,
    SubtaskRow,
    Transition,
    Unit,
    implied_attempt,
)

MAX_INTERRUPTIONS = 3
"""After so many deaths of whoever ran it, a stage is taken to be the cause of them."""

# Looking a member up in its enum costs more than the comparison it is for, and these run for every stage.
PENDING, RUNNING, COMPLETED = StageState.PENDING, StageState.RUNNING, StageState.COMPLETED
FAILED, REVIEW, SKIPPED = StageState.FAILED, StageState.AWAITING_REVIEW, StageState.SKIPPED
FINISHED = frozenset({COMPLETED, SKIPPED})
_DONE = EventKind.STAGE_COMPLETED
_KEPT = frozenset({Decided.APPROVE, Decided.APPROVE_WITH_EDITS})
NOTHING = "null"
"""Stored as what waited where no attempt had made anything."""


def to_json(**data: Any) -> str:
    """An event's data, without what is ``None``."""
    return json.dumps({key: value for key, value in data.items() if value is not None}, ensure_ascii=False, separators=(",", ":"))


class Draft:
    """Reads the item's rows and never changes them."""

    __slots__ = (
        "attempts", "cleared", "events", "flow", "forgone", "now", "phase", "ready", "reviews", "revokes", "running", "stages", "starts",
        "state", "subtasks", "waits",
    )  # fmt: skip

    def __init__(self, flow: Definition, state: ItemState, now: int) -> None:
        self.flow: Definition = flow
        self.state: ItemState = state
        self.now: int = now
        self.phase: ItemPhase = state.phase
        self.running: int = state.running
        self.forgone: str | None = None
        self.revokes: bool = False
        self.waits: bool = False
        self.stages: list[StageRow] = []
        self.subtasks: list[SubtaskRow] = []
        self.attempts: list[AttemptRow] = []
        self.events: list[EventRow] = []
        self.starts: list[Unit] = []
        self.ready: list[str] = []
        self.reviews: list[ReviewRow] = []
        self.cleared: list[str] = []

    # the whole

    def one_ended(self) -> None:
        """One of the item's units runs no more."""
        self.running -= 1

    def one_waits(self) -> None:
        """Something of the item is pending until a time."""
        self.waits = True

    def finish(self) -> Transition:
        """The transition, with the item's rest if nothing of it moves after this."""
        rest = None
        if not self.starts and not self.ready and self.running == 0 and not self._asking():
            rest = self._rest()
        return Transition(
            self.now, self.stages, self.subtasks, self.attempts, self.events, rest, self.starts, self.ready, self.reviews, self.cleared,
            self.revokes, self.waits, self._begins(), () if self.forgone is None else (self.forgone,),
        )  # fmt: skip

    def _begins(self) -> bool:
        if len(self.starts) != 1 or not self.stages or not self.events:
            return False
        (name, seq), row, event = self.starts[0], self.stages[-1], self.events[-1]
        told = (event.kind, event.stage, event.attempt) == (EventKind.STAGE_STARTED, name, 1)
        # Of a stage that asks for leave nobody could tell, had its worker died, that it had got it (``presume``).
        is_first = seq is None and name not in self.state.stages and not self.flow.stages[name].asks_leave
        return is_first and row.stage == name and row.attempt == 1 and told

    def _asking(self) -> bool:
        if not self.state.asking:
            return False
        return bool(self.state.asking - {row.stage for row in self.stages} - {self.forgone})

    def _rest(self) -> Rest:
        if self.phase is ItemPhase.CANCELLED:
            return Rest(ItemPhase.CANCELLED, None)
        rows = self.state.stages | {row.stage: row for row in self.stages}
        finished = {name for name, row in rows.items() if row.state in FINISHED}
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
        if FAILED in states:
            phase = ItemPhase.FAILED
        elif not wakes and REVIEW in states:
            phase = ItemPhase.AWAITING_REVIEW
        wake, priority = min(wakes, default=(None, 0))
        return Rest(phase, wake, self.state.urgency - priority, self._expiry(rows) if REVIEW in states else None)

    def _wakes(self, stage: StageDefinition, row: StageRow | None) -> tuple[int | None, int]:
        """When this stage, whose needs are met, wants the item claimed again; with its priority."""
        if row is None:
            return self.now, stage.priority
        if row.state is PENDING:
            return (self.now if row.due is None else max(row.due, self.now)), stage.priority
        if row.state is RUNNING and row.fan_out:
            changed = {child.seq: child for child in self.subtasks if child.stage == stage.name}
            board = self.state.boards.get(stage.name)
            children = [changed.get(child.seq, child) for child in board.rows] if board else list(changed.values())
            dues = [child.due or self.now for child in children if child.state is PENDING or child.state is RUNNING]
            return min(dues, default=self.now), stage.priority
        # What runs while the item rests has lost its worker.
        return (self.now if row.state is RUNNING else None), stage.priority

    def _expiry(self, rows: dict[str, StageRow]) -> int | None:
        reviews = self.state.reviews | {review.stage: review for review in self.reviews}
        waiting = [reviews[name] for name, row in rows.items() if row.state is REVIEW and name in reviews]
        return min((review.due for review in waiting if review.due is not None), default=None)

    # ending

    def finished(self, row: StageRow, event: EventRow) -> None:
        """The stage is completed or skipped."""
        self.stages.append(row)
        self.events.append(event)
        self.unlock(row.stage)

    def unlock(self, stage: str) -> None:
        """What waited for nothing but ``stage`` may start; people's acts start nothing themselves."""

    def completed(self, row: StageRow) -> None:
        row = row._replace(state=COMPLETED, updated=self.now, due=None, error=None, review=None, feedback=None)
        self.finished(row, EventRow(_DONE, row.stage, None, row.attempt))

    def skipped(self, row: StageRow, reason: str | None, number: int | None) -> None:
        data = to_json(reason=reason) if reason else None
        row = row._replace(state=SKIPPED, updated=self.now, summary=reason)
        self.finished(row, EventRow(EventKind.STAGE_SKIPPED, row.stage, None, number, data))

    def failed(self, row: StageRow, error: str) -> None:
        self.stages.append(row._replace(state=FAILED, updated=self.now, due=None, error=error, review=None))
        self.events.append(EventRow(EventKind.STAGE_FAILED, row.stage, None, row.attempt, to_json(error=error)))

    # asking a person

    def ask(self, stage: StageDefinition, row: StageRow, why: Ruling, attempt: AttemptRow | None = None) -> None:
        """A person must decide on ``row``, unless one has decided on the same content before."""
        question = row.review if row.review is not None else to_json(summary=why.reason)
        digest = self.digest(row, question if why.asked_by is AskedBy.STAGE else None)
        last = self.state.reviews.get(row.stage)
        if last is not None and last.digest == digest and _holds_again(last):
            self._carry_over(row, last)
            return
        gate, verdict = _said(attempt)
        policy = stage.review
        review = ReviewRow(
            row.stage, 1 if last is None else last.revision + 1, why.asked_by, row.attempt, self.now, question, digest, gate, verdict,
            due=None if policy.expires is None else self.now + int(min(policy.expires, MAX_WAIT) * 1_000_000), then=policy.then,
            author=_author(self.state, policy.author), before=None if last is None else was_before(last),
        )  # fmt: skip
        self.reviews.append(review)
        shown = to_json(
            summary=json.loads(question)["summary"],
            details=json.loads(question).get("details"),
            created_at=from_us(self.now).isoformat(),
        )
        self.stages.append(row._replace(state=REVIEW, updated=self.now, due=None, review=shown, feedback=why.feedback))
        if why.asked_by is AskedBy.ESCALATION:
            self.events.append(EventRow(EventKind.ESCALATED, row.stage, None, row.attempt, to_json(reason=why.reason)))
        data = to_json(summary=why.reason, asked_by=why.asked_by, revision=review.revision)
        self.events.append(EventRow(EventKind.REVIEW_REQUIRED, row.stage, None, row.attempt, data))

    def _carry_over(self, row: StageRow, last: ReviewRow) -> None:
        """The machine made the same again, so what a person said of it still holds."""
        note = f"carried over from revision {last.revision}" + (f": {last.note}" if last.note else "")
        self.reviews.append(
            last._replace(revision=last.revision + 1, attempt=row.attempt, opened=self.now, decided=self.now, note=note)
        )
        data = to_json(decision=last.decision, reviewer=last.reviewer, carried_over=True, revision=last.revision + 1)
        self.events.append(EventRow(EventKind.REVIEW_DECIDED, row.stage, None, row.attempt, data))
        self.completed(row if last.edited is None else row._replace(artefact=last.edited))

    def was_edited(self, stage: str) -> bool:
        """Whether the last word about the stage was a person's own version of its result."""
        last = self.state.reviews.get(stage)
        return last is not None and last.decision is Decided.APPROVE_WITH_EDITS

    def waiting(self, row: StageRow) -> str | None:
        """What the stage has made so far, as JSON."""
        if row.fan_out and row.artefact is None:
            return json.dumps(self.made_by_children(row.stage), ensure_ascii=False, separators=(",", ":"))
        return row.artefact

    def digest(self, row: StageRow, question: str | None) -> str:
        """A name for the content that waits: the same content has the same."""
        waits = self.waiting(row)
        content: Any = None if waits is None else comparable(waits)
        asked = None if question is None else [json.loads(question)["summary"], json.loads(question).get("details")]
        return hashlib.sha256(json.dumps([content, asked], sort_keys=True).encode()).hexdigest()[:32]

    def made_by_children(self, stage: str) -> dict[str, Any]:
        """The artefact of a fan-out, as JSON values."""
        board = self.state.boards.get(stage)
        changed = {child.seq: child for child in self.subtasks if child.stage == stage}
        rows = [changed.get(child.seq, child) for child in board.rows] if board is not None else []
        return {child.name: None if child.artefact is None else comparable(child.artefact) for child in rows}

    def withdraw(self, stage: str) -> None:
        """Nobody is asked any more."""
        review = self.state.reviews.get(stage)
        if review is not None and review.decision is None:
            self.reviews.append(review._replace(decision=Decided.WITHDRAWN, decided=self.now, holder=None, held_until=None))

    def keep_attempt(self, row: StageRow | SubtaskRow | None) -> None:
        """A finished row that becomes another takes the record of its attempt with it: keep it as a row of its own."""
        if row is not None and (attempt := implied_attempt(row)) is not None:
            self.attempts.append(attempt)

    def board(self, stage: str) -> SubtaskBoard:
        return self.state.boards.get(stage) or SubtaskBoard()


def _said(attempt: AttemptRow | None) -> tuple[str | None, str | None]:
    if attempt is None or attempt.verdict is None:
        return None, None
    said = json.loads(attempt.verdict)
    return said["gate"], said["verdict"]


def _author(state: ItemState, field: str | None) -> str | None:
    if field is None or state.payload is None:
        return None
    item = json.loads(state.payload)
    value = item.get(field) if isinstance(item, dict) else None
    names = value if isinstance(value, list) else [value]
    return "\n".join(str(name) for name in names if name is not None) or None


def _holds_again(last: ReviewRow) -> bool:
    """Whether what a person said can be said of the same content once more.

    Not if they chose what another attempt had made: that attempt was of another run.
    """
    return last.decision in _KEPT and (last.output is None or last.edited is not None)


def was_before(last: ReviewRow) -> str | None:
    """What the machine made and a person made of it, for the person who is asked again."""
    if last.decision is not Decided.APPROVE_WITH_EDITS or last.edited is None:
        return None
    data = {"output": comparable(last.output or last.edited), "edited": comparable(last.edited), "reviewer": last.reviewer}
    return json.dumps(data | ({} if last.note is None else {"note": last.note}), ensure_ascii=False, separators=(",", ":"))
