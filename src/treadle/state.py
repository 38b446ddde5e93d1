"""The rows of one item: how a stage stands for people, and how stores and decisions carry it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from heapq import heappop, heappush, nsmallest
from itertools import islice, repeat
from typing import NamedTuple, final, overload

from treadle.event import EventKind
from treadle.outcome import ReviewData


class StageState(StrEnum):
    """Where a stage, or a subtask, stands."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    AWAITING_REVIEW = "awaiting_review"
    SKIPPED = "skipped"

    @property
    def is_finished(self) -> bool:
        """Whether dependents may go on."""
        return self is StageState.COMPLETED or self is StageState.SKIPPED


class ItemPhase(StrEnum):
    """What an item as a whole waits for. A failed stage outweighs a waiting review."""

    PENDING = "pending"
    COMPLETED = "completed"
    FAILED = "failed"
    AWAITING_REVIEW = "awaiting_review"
    CANCELLED = "cancelled"


class Mode(StrEnum):
    """Whether workers may claim items of a store."""

    RUNNING = "running"
    PAUSED = "paused"
    """Nobody claims; workers stay and wait."""
    DRAINING = "draining"
    """Nobody claims; workers finish what they hold, and end."""


# Looking a member up in its enum, or asking a set of them, takes longer than a comparison: a board takes in three rows a subtask.
_PENDING, _RUNNING = StageState.PENDING, StageState.RUNNING
_FAILED, _REVIEW = StageState.FAILED, StageState.AWAITING_REVIEW
_NOBODY: frozenset[str] = frozenset()
_UNCOUNTED: dict[str, int] = {}
"""One for all items, which nobody changes: ``decide`` gives each its own when it counts."""


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class SubTaskStatus:
    """How one child of a fan-out stands."""

    name: str
    state: StageState
    error: str | None = None
    updated_at: datetime = field(default_factory=_now)
    attempt: int = 0
    started_at: datetime | None = None
    due_at: datetime | None = None

    @classmethod
    def pending(cls, name: str) -> SubTaskStatus:
        return cls(name, StageState.PENDING)

    @classmethod
    def running(cls, name: str) -> SubTaskStatus:
        return cls(name, StageState.RUNNING)

    @classmethod
    def completed(cls, name: str) -> SubTaskStatus:
        return cls(name, StageState.COMPLETED)

    @classmethod
    def failed(cls, name: str, error: str) -> SubTaskStatus:
        return cls(name, StageState.FAILED, error)

    @classmethod
    def skipped(cls, name: str) -> SubTaskStatus:
        return cls(name, StageState.SKIPPED)


@dataclass(frozen=True, slots=True)
class StageStatus:
    """How one stage of one item stands.

    Args:
        updated_at: when it came to this state; aware, UTC.
        error: why the last attempt failed, while that matters.
        review_data: what a person is asked, while they are asked.
        subtasks: the children of a fan-out, in their order; loaded only where a call says so.
        attempt: number of the last attempt, from 1; 0 before the first.
        due_at: no attempt starts before this.
        version: the stage's ``version=`` when it last ran.
    """

    state: StageState
    updated_at: datetime = field(default_factory=_now)
    error: str | None = None
    review_data: ReviewData | None = None
    subtasks: tuple[SubTaskStatus, ...] = ()
    attempt: int = 0
    started_at: datetime | None = None
    due_at: datetime | None = None
    version: str | None = None

    @classmethod
    def pending(cls) -> StageStatus:
        return cls(StageState.PENDING)

    @classmethod
    def running(cls) -> StageStatus:
        return cls(StageState.RUNNING)

    @classmethod
    def completed(cls) -> StageStatus:
        return cls(StageState.COMPLETED)

    @classmethod
    def failed(cls, error: str) -> StageStatus:
        return cls(StageState.FAILED, error=error)

    @classmethod
    def awaiting_review(cls, data: ReviewData) -> StageStatus:
        return cls(StageState.AWAITING_REVIEW, review_data=data)

    @classmethod
    def skipped(cls) -> StageStatus:
        return cls(StageState.SKIPPED)


# Rows are tuples and not dataclasses because the engine makes half a dozen of them a stage: a frozen
# dataclass takes four times as long to build (benchmarks/, W2). Times are microseconds, JSON is text.


class StageRow(NamedTuple):
    """One stage of one item, as stores keep it. No row means pending and never tried."""

    stage: str
    state: StageState
    attempt: int
    updated: int
    started: int | None = None
    due: int | None = None
    error: str | None = None
    artefact: str | None = None
    summary: str | None = None
    review: str | None = None
    version: str | None = None
    spent: int = 0
    """Attempts charged to the budget since it was last renewed; ``attempt`` also counts uncharged ones."""
    interruptions: int = 0
    fan_out: int = 0
    """1 if subtask rows exist; then the artefact is put together from theirs, unless a person put another in its place.

    A number and no truth value: SQLite's driver takes longer to bind a bool than to write the row.
    """
    reruns: int = 0
    """How often an operator had it done anew; its attempts are kept apart by this."""
    feedback: str | None = None
    """JSON: what the next attempt is told, where that is more than ``error``."""


class SubtaskRow(NamedTuple):
    """One child of a fan-out, as stores keep it; ``seq`` is its place from 0."""

    stage: str
    seq: int
    name: str
    state: StageState
    attempt: int
    updated: int
    started: int | None = None
    due: int | None = None
    error: str | None = None
    artefact: str | None = None
    data: str | None = None
    spent: int = 0
    interruptions: int = 0
    reruns: int = 0
    feedback: str | None = None


class Ended(StrEnum):
    """How an attempt ended."""

    COMPLETED = "completed"
    SKIPPED = "skipped"
    AWAITING_REVIEW = "awaiting_review"
    FAN_OUT = "fan_out"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    INTERRUPTED = "interrupted"


class AttemptRow(NamedTuple):
    """One try of a stage or subtask, when it has ended."""

    stage: str
    seq: int | None
    number: int
    started: int
    ended: int
    how: Ended
    artefact: str | None = None
    summary: str | None = None
    review: str | None = None
    subtasks: Sequence[tuple[str, str | None]] = ()
    """Names and JSON data of the children, when ``how`` is ``fan_out``."""
    error: str | None = None
    """One line, for people."""
    failure: str | None = None
    """JSON: type, message and frames of what was raised."""
    retry: bool = True
    """Whether another attempt may help."""
    retry_after: float | None = None
    """Seconds the stage asked to wait."""
    metrics: str | None = None
    verdict: str | None = None
    """JSON: what the gate said."""
    run: int = 0
    """How often the stage had been rerun when this was tried."""
    feedback: str | None = None
    """JSON: what a person wanted done better; stores keep it with the review that says so."""


class AskedBy(StrEnum):
    """Why a person is asked."""

    STAGE = "stage"
    GATE = "gate"
    POLICY = "policy"
    SAMPLE = "sample"
    ESCALATION = "escalation"
    CHANGE = "change"
    """A person had edited the result, and a rerun made another one."""


class Decided(StrEnum):
    """How a review ended."""

    APPROVE = "approve"
    APPROVE_WITH_EDITS = "approve_with_edits"
    REJECT = "reject"
    REQUEST_CHANGES = "request_changes"
    WITHDRAWN = "withdrawn"
    """Nobody decided: the item was cancelled, or the stage is done anew."""


class ReviewRow(NamedTuple):
    """One question to a person about one stage, and the answer, as stores keep it. Earlier revisions stay."""

    stage: str
    revision: int
    """From 1 for a stage of an item; a question asked anew is a new one."""
    asked_by: AskedBy
    attempt: int
    opened: int
    question: str
    """JSON: summary and details."""
    digest: str
    """Names the content that waits, so that nobody decides on what they have not seen."""
    gate: str | None = None
    verdict: str | None = None
    """The gate's word about what waits."""
    due: int | None = None
    then: str | None = None
    """What is answered when ``due`` has passed."""
    author: str | None = None
    """Who may not decide."""
    holder: str | None = None
    held_until: int | None = None
    before: str | None = None
    """JSON: what the machine made last time and what a person made of it, when this time differs."""
    decision: Decided | None = None
    reviewer: str | None = None
    decided: int | None = None
    note: str | None = None
    edited: str | None = None
    patch: str | None = None
    """JSON Patch from what waited to ``edited``."""
    output: str | None = None
    """What waited, where the decision put something else in its place."""
    feedback: str | None = None
    """JSON: what the next attempt was told, where changes were requested."""


def implied_attempt(row: StageRow | SubtaskRow) -> AttemptRow | None:
    """The attempt that a finished row itself records.

    An attempt that succeeded and has nothing more to say than its row says is not stored again.
    """
    if row.attempt == 0 or not row.state.is_finished:
        return None
    seq, summary = (row.seq, None) if isinstance(row, SubtaskRow) else (None, row.summary)
    how = Ended.COMPLETED if row.state is StageState.COMPLETED else Ended.SKIPPED
    started = row.updated if row.started is None else row.started
    return AttemptRow(row.stage, seq, row.attempt, started, row.updated, how, row.artefact, summary, run=row.reruns)


class EventRow(NamedTuple):
    """An event before it has its place in the journal; ``data`` is JSON."""

    kind: EventKind
    stage: str | None = None
    subtask: str | None = None
    attempt: int | None = None
    data: str | None = None


class Rest(NamedTuple):
    """Nothing of the item moves any more: its phase, and when to look again (``None``: when somebody acts)."""

    phase: ItemPhase
    wake: int | None
    priority: int = 0
    expiry: int | None = None
    """When an unanswered review is answered by itself: nobody waits for that, but whoever is there then sees to it."""


Unit = tuple[str, int | None]
"""What one attempt runs: a stage, or one subtask of it by its place."""


class Transition(NamedTuple):
    """Everything one decision changes; written as a whole or not at all."""

    at: int
    stages: Sequence[StageRow] = ()
    subtasks: Sequence[SubtaskRow] = ()
    attempts: Sequence[AttemptRow] = ()
    events: Sequence[EventRow] = ()
    rest: Rest | None = None
    starts: Sequence[Unit] = ()
    """Marked running here: run them as soon as the rest of this is durable.

    That they have started may be written later, or with their end; until then whoever looks from outside sees them pending.
    """
    ready: Sequence[str] = ()
    """Stages that could start but need leave first: a free slot, or their ``when``."""
    reviews: Sequence[ReviewRow] = ()
    cleared: Sequence[str] = ()
    """Stages whose subtasks are no more."""
    revokes: bool = False
    """Whether the item is taken from whoever holds it."""
    waits: bool = False
    """Whether something is pending until a time."""
    begins: bool = False
    """Whether it ends with the first start of a stage that nothing is known of yet, the only one: its last row and last event say no more."""
    forgone: Sequence[str] = ()
    """Stages that do not ask for leave any more."""


Change = tuple["ItemState", Transition]
"""An item and what changes of it."""


@final
class Alike(Sequence[Change]):
    """The same change of several items, said once: whoever does not know of this sees the changes one by one.

    Ask for it by ``type``: it is asked of every commit, and of an abstract base class ``isinstance`` takes four times as long.
    """

    __slots__ = ("change", "made", "states")

    def __init__(self, states: Sequence[ItemState], change: Transition, made: Sequence[StageRow] = ()) -> None:
        self.states: Sequence[ItemState] = states
        """Each item once. Their rows are equal, here and as stored."""
        self.change: Transition = change
        """Of each of them, but for its first stage row where there are ``made``."""
        self.made: Sequence[StageRow] = made
        """That row of each item, by place: they differ in their artefacts. Without any, it too is the same for all."""

    def __len__(self) -> int:
        return len(self.states)

    def __iter__(self) -> Iterator[Change]:
        changes = map(self._having, self.made) if self.made else repeat(self.change, len(self.states))
        return zip(self.states, changes, strict=True)

    @overload
    def __getitem__(self, place: int) -> Change: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[Change]: ...

    def __getitem__(self, place: int | slice) -> Change | Sequence[Change]:
        return list(self)[place]

    def _having(self, row: StageRow) -> Transition:
        return self.change._replace(stages=(row, *self.change.stages[1:]))


class SubtaskBoard:
    """The children of one fan-out, with what spares walking over them at every step."""

    __slots__ = ("asked", "failed", "later", "pending", "rows", "running", "unfinished")

    def __init__(self, rows: Iterable[SubtaskRow] = ()) -> None:
        self.rows: list[SubtaskRow] = []
        self.pending: deque[int] = deque()
        """Places that can start at once, the next one first."""
        self.later: list[tuple[int, int]] = []
        """A heap of due times and places."""
        self.unfinished: int = 0
        self.running: int = 0
        self.failed: int = 0
        self.asked: int = 0
        """Children that wait for a person."""
        for row in rows:
            self.put(row)

    def put(self, row: SubtaskRow) -> SubtaskRow | None:
        """Take the row in at its place; the one it replaces comes back."""
        before = None
        if row.seq == len(self.rows):
            self.rows.append(row)
        else:
            before = self.rows[row.seq]
            self.rows[row.seq] = row
            self._count(before.state, -1)
        self._count(row.state, 1)
        if row.state is _PENDING:
            if row.due is None:
                self.pending.append(row.seq)
            else:
                heappush(self.later, (row.due, row.seq))
        self._tidy()
        return before

    def _count(self, state: StageState, by: int) -> None:
        if state is _RUNNING:
            self.running += by
            self.unfinished += by
        elif state is _PENDING:
            self.unfinished += by
        elif state is _FAILED:
            self.failed += by
        elif state is _REVIEW:
            self.asked += by

    def _tidy(self) -> None:
        """Rows leave the two queues by changing; what is stale is dropped when it reaches the front."""
        while self.pending and self.rows[self.pending[0]].state is not _PENDING:
            self.pending.popleft()
        while self.later and self.rows[self.later[0][1]].due != self.later[0][0]:
            heappop(self.later)

    def next(self, room: int, now: int) -> list[SubtaskRow]:
        """Up to ``room`` rows that can start now, those whose wait is over first."""
        late = [seq for due, seq in nsmallest(room, self.later) if due <= now] if self.later else []
        fresh = islice(self.pending, max(room - len(late), 0))
        chosen = (self.rows[seq] for seq in (*late, *fresh))
        return [row for row in chosen if row.state is _PENDING]


class ItemState:
    """One item's rows while somebody works on them. Rows are immutable; only ``decide`` swaps them.

    Whoever makes many of them says their fields by place: by name each takes a third longer.
    """

    __slots__ = (
        "added",
        "asking",
        "boards",
        "fence",
        "id",
        "key",
        "lost",
        "news",
        "payload",
        "phase",
        "priority",
        "problem",
        "reviews",
        "running",
        "stages",
        "stored",
        "unmet",
        "urgency",
    )

    def __init__(
        self,
        id: str,  # noqa: A002 - the word for it everywhere
        payload: str | None,
        key: int = 0,
        fence: int = 0,
        news: int = 0,
        phase: ItemPhase = ItemPhase.PENDING,
        priority: int = 0,
        urgency: int = 0,
        added: int = 0,
        lost: str | None = None,
        problem: str | None = None,
    ) -> None:
        self.id: str = id
        self.payload: str | None = payload
        """The item as JSON; ``None`` when only its statuses are known."""
        self.key: int = key
        """The store's own number for it."""
        self.fence: int = fence
        self.news: int = news
        """How many outside acts the store had seen when this was loaded."""
        self.phase: ItemPhase = phase
        self.priority: int = priority
        """By which it is claimed: its own, and that of the stage it waits for."""
        self.urgency: int = urgency
        """Its own priority."""
        self.added: int = added
        self.stages: dict[str, StageRow] = {}
        self.boards: dict[str, SubtaskBoard] = {}
        self.reviews: dict[str, ReviewRow] = {}
        """The latest review of each stage that was ever asked about."""
        self.stored: dict[str, StageState] = {}
        """How the stages stand in the store, which may be behind ``stages``; for the store's own counters."""
        self.lost: str | None = lost
        """JSON: the worker that held it last and did not give it back; its name, host, pid and last sign of life."""
        self.problem: str | None = problem
        """Why its rows cannot be read, in a list that goes on without them."""
        self.unmet: dict[str, int] = _UNCOUNTED
        """How many dependencies of each stage are not finished; told by ``decide.count`` and ``decide.open_all``."""
        self.running: int = 0
        """Units that run now."""
        self.asking: frozenset[str] = _NOBODY
        """Stages that could start and have asked for leave to."""
