"""What the API says of items, stages and events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from treadle.event import EventKind
from treadle.state import ItemPhase, StageState


class Shape(BaseModel):
    """Made from a read model."""

    model_config: ClassVar[ConfigDict] = ConfigDict(from_attributes=True)


class CellShape(Shape):
    """One stage of an item in a list."""

    stage: str
    state: StageState
    attempt: int
    error: str | None = Field(description="Its beginning.")


class ItemShape(Shape):
    """One item in a list."""

    id: str
    phase: ItemPhase
    changed_at: datetime
    cells: Sequence[CellShape]
    problem: str | None = Field(description="Why its rows cannot be read.")


class ItemPageShape(Shape):
    """Some items; ask for the next ones with `after`, for those before with `before`."""

    items: Sequence[ItemShape]
    before: str | None
    after: str | None
    reached: str | None = Field(description="Where looking for rare items stopped early: go on with `after` set to this.")


class SubtaskShape(Shape):
    """How one child of a fan-out stands."""

    name: str
    state: StageState
    error: str | None
    updated_at: datetime
    attempt: int
    started_at: datetime | None


class SubtaskPageShape(Shape):
    """Some subtasks; ask for the next ones with `after`."""

    subtasks: Sequence[SubtaskShape]
    after: int | None


class EntryShape(Shape):
    """How one stage of an item stands."""

    name: str
    state: StageState
    attempt: int
    updated_at: datetime
    started_at: datetime | None
    due_at: datetime | None
    error: str | None


class ItemDetailShape(Shape):
    """One item: its content, and how its stages stand."""

    id: str
    phase: ItemPhase
    progress_percent: float
    added_at: datetime
    changed_at: datetime
    item: Any
    stages: Sequence[EntryShape]


class AttemptShape(Shape):
    """One try of a stage or subtask."""

    number: int
    run: int
    outcome: str
    subtask: str | None
    started_at: datetime
    ended_at: datetime
    seconds: float
    summary: str | None
    error: str | None
    failure: Mapping[str, Any] | None
    metrics: Mapping[str, Any]
    verdict: Mapping[str, Any] | None
    feedback: Mapping[str, Any] | None
    artefact: Any


class StagePartShape(Shape):
    """What one stage of an item made, and how that came about."""

    entry: EntryShape
    artefact: Any = Field(description="Null for a fan-out: its artefact is that of its subtasks, see `/artefact`.")
    json_schema: Mapping[str, Any]
    attempts: Sequence[AttemptShape]
    left_out: int = Field(description="Earlier attempts that are not listed.")
    subtasks: Mapping[StageState, int]


class EventShape(Shape):
    """One thing that happened."""

    cursor: int
    at: datetime
    item_id: str
    kind: EventKind
    stage: str | None
    subtask: str | None
    attempt: int | None
    data: Mapping[str, Any]


class JournalShape(Shape):
    """Some events; `reached` is the cursor to go on behind, null at the end."""

    events: Sequence[EventShape]
    reached: int | None


class StageFiguresShape(Shape):
    """How one stage does."""

    name: str
    needs: Sequence[str]
    counts: Mapping[StageState, int]
    per_minute: float
    seconds_left: float | None
    p50: float | None = Field(description="Seconds, of the newest completions.")
    share: float = Field(description="Its part of the time that all completions took.")


class FailureGroupShape(Shape):
    """Failures of one stage with one message."""

    stage: str
    message: str
    count: int
    items: Sequence[str] = Field(description="Some of them.")
    newest_at: datetime


class FailuresShape(Shape):
    """Failures by message; `looked_at` of `total` were looked at."""

    groups: Sequence[FailureGroupShape]
    looked_at: int
    total: int


class BarShape(BaseModel):
    """So many took at least `from_seconds` and less than `to_seconds`."""

    from_seconds: float
    to_seconds: float
    n: int


class VerdictsShape(Shape):
    """Accepted, rejected and handed to a person, in stretches of `width` seconds."""

    since: datetime
    width: int
    told: Sequence[tuple[int, int, int]]


class StageReportShape(BaseModel):
    """Everything about one stage."""

    figures: StageFiguresShape
    durations: Sequence[BarShape]
    attempts: Mapping[int, int]
    failures: FailuresShape
    verdicts: VerdictsShape


class PaceShape(Shape):
    """Stages that ended, in stretches of `width` seconds."""

    since: datetime
    width: int
    ended: Sequence[int]
    per_minute: float


class StatsShape(BaseModel):
    """How everything does."""

    workflow: str | None
    items: int
    phases: Mapping[ItemPhase, int]
    stages: Sequence[StageFiguresShape]
    pace: PaceShape
    seconds_left: float | None
    workers: int
    held: int = Field(description="Items that workers hold now.")


class Reasoned(BaseModel):
    """Why; kept in the journal with who did it."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    reason: str = Field(min_length=1, max_length=2000)


class RetryBody(Reasoned):
    """Try a failed stage again; all that failed without a `stage`."""

    stage: str | None = None


class RerunBody(Reasoned):
    """Do a finished stage again; with `cascade` all that was built on it, too."""

    stage: str
    cascade: bool = False


class RetryManyBody(Reasoned):
    """Try all failures of a stage again, or those with one message; with `dry_run` only say how many that would be."""

    stage: str
    message: str | None = None
    dry_run: bool = False


class DoneShape(BaseModel):
    """What an act on many items did."""

    done: int
    items: Sequence[str] = Field(description="The first of them.")
    refused: Sequence[str]
    more: bool = Field(description="Whether there may be more; ask again.")
