"""What every store promises; the engine, the inbox and the read models need nothing else."""

from __future__ import annotations

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Generator, Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self
from uuid import UUID

from treadle.clock import from_us, now_us, to_us
from treadle.codec import bad_name
from treadle.codec import item_id as checked_id
from treadle.definition import Definition
from treadle.errors import LeaseLost, StoreError, TreadleError
from treadle.event import EventKind, WorkflowEvent
from treadle.readable import review_to_json, stage_status, subtask_status
from treadle.state import (
    AskedBy,
    AttemptRow,
    Change,
    Decided,
    ItemPhase,
    ItemState,
    Mode,
    ReviewRow,
    StageRow,
    StageState,
    StageStatus,
    SubtaskRow,
    SubTaskStatus,
    Transition,
)

ItemId = str | int | UUID
OWN = -1
"""In the place of a subtask's: what is the stage's own."""
SHOWN = 300
"""So many characters of an error are in a bare row."""


class NewItem(NamedTuple):
    """An item to add; ``payload`` is its JSON."""

    id: str
    payload: str
    priority: int = 0


class WorkerIdentity(NamedTuple):
    """Which process holds claims; enough to see on its own host whether it still lives."""

    name: str
    host: str
    boot: str
    pid: int
    started: str


class WorkerRow(NamedTuple):
    """A worker as the store knows it."""

    number: int
    who: WorkerIdentity
    since: int
    beat: int
    """Its last sign of life, by its own clock."""
    holds: int = 0
    """How many items it holds; only ``workers`` counts them."""


class Control(NamedTuple):
    """Whether workers may claim, who said so and when."""

    mode: Mode = Mode.RUNNING
    by: str | None = None
    at: int | None = None


class Claimed(NamedTuple):
    """What a claim gave: items with their rows, and when the next unclaimed item wants one (``None``: none does)."""

    items: Sequence[ItemState]
    wake: int | None
    mode: Mode = Mode.RUNNING


class Shape(NamedTuple):
    """The workflow a store belongs to, readable without its code."""

    workflow: str
    stages: Mapping[str, Sequence[str]]
    """Each stage with the stages it waits for, in topological order."""
    artefacts: Mapping[str, Mapping[str, Any]] = {}
    """The JSON schema of each stage's artefact; empty where any value will do."""

    @classmethod
    def of(cls, flow: Definition) -> Shape:
        """The shape of a definition."""
        return cls(flow.name, {n: s.needs for n, s in flow.stages.items()}, {n: s.codec.schema for n, s in flow.stages.items()})


class Counts(NamedTuple):
    """How many items are in each phase, and how many have each stage in each state."""

    phases: Mapping[ItemPhase, int]
    stages: Mapping[str, Mapping[StageState, int]]

    @property
    def items(self) -> int:
        """All items."""
        return sum(self.phases.values())


class Filter(NamedTuple):
    """Which items a page holds; what is ``None`` does not matter. A state without a stage means any stage."""

    stage: str | None = None
    state: StageState | None = None
    phase: ItemPhase | None = None
    prefix: str | None = None
    text: str | None = None
    """Somewhere in the id or, unless the item is completed, in a stage's error; the letters a to z in either case."""
    changed_after: int | None = None
    """The last change of a stage, or else the arrival, was then or later."""
    changed_before: int | None = None


class Listing(NamedTuple):
    """A page of bare items, in the order they were read in."""

    items: Sequence[ItemState]
    reached: str | None
    """Go on behind this id; ``None``: there is nothing more."""


class EventFilter(NamedTuple):
    """Which events are meant; what is ``None`` does not matter."""

    item_id: str | None = None
    stage: str | None = None
    kinds: frozenset[EventKind] | None = None


class Journal(NamedTuple):
    """A page of events, in the order they were read in."""

    events: Sequence[WorkflowEvent]
    reached: int | None
    """Go on behind this cursor; ``None``: there is nothing more."""


class Tallied(NamedTuple):
    """So many events of one kind and stage in one stretch of time, which began ``at``."""

    at: int
    stage: str | None
    kind: EventKind
    n: int


class Children(NamedTuple):
    """Some bare subtasks of a stage, and how many it has in each state."""

    rows: Sequence[SubtaskRow]
    states: Mapping[StageState, int]


class Pruning(NamedTuple):
    """Which items are pruned, and what the journal says of it."""

    phases: Collection[ItemPhase]
    """Only those of items that nothing moves any more: completed, cancelled, failed."""
    before: int
    """Nothing has happened to them since."""
    at: int
    by: str
    reason: str | None = None
    dry_run: bool = False

    def told(self, items: int) -> str:
        """The event's data as JSON."""
        said = {"items": items, "by": self.by, "phases": sorted(self.phases), "before": from_us(self.before).isoformat()}
        return json.dumps(said | ({} if self.reason is None else {"reason": self.reason}), ensure_ascii=False)


class Pruned(NamedTuple):
    """What one step of pruning did: how many items are no more, and where the next one goes on (``None``: all was seen)."""

    items: int
    after: int | None


class ReviewFilter(NamedTuple):
    """Which reviews a page holds; what is ``None`` does not matter."""

    stage: str | None = None
    asked_by: AskedBy | None = None
    verdict: str | None = None
    """The gate's word: ``uncertain``, ``rejected`` or ``accepted``."""
    holder: str | None = None
    """In this person's hands now; the empty string: in nobody's."""
    opened_before: int | None = None
    item_id: str | None = None
    is_open: bool | None = True


class StoredReview(NamedTuple):
    """A review with its place, by which pages go on."""

    cursor: int
    item_id: str
    row: ReviewRow


class _Done:
    """An awaitable that has nothing to wait for."""

    def __await__(self) -> Generator[Any, None, None]:
        return
        yield


DONE: Awaitable[None] = _Done()
"""What ``commit`` returns for what is written already."""


class StateStore(ABC):
    """Where items, their rows and their journal are kept.

    **Atomic.** Each call that writes does so as a whole or not at all. **Durable.** When an awaited write
    returns, it survives ``kill -9`` and, on disk, a power cut. **Ordered.** Writes of one item become
    durable in the order they were handed over. **Claims.** An item has at most one holder; every claim has
    a fence, a number that only grows, and a commit under an older fence changes nothing. **Reads** see
    whole writes only.

    Every call may raise ``StoreError`` and its kinds; a row that cannot be read is ``StoreCorrupt`` and
    names the item. A store belongs to the process that opened it.
    """

    @abstractmethod
    async def bind(self, flow: Definition) -> None:
        """The store belongs to this workflow from now on, and knows the shape of it.

        Items that had nothing left to do wake up if the workflow has stages they have not seen.

        Raises:
            StoreError: it belongs to another workflow, or items wait in stages that are no more.
        """

    @abstractmethod
    async def rename_stage(self, old: str, new: str) -> None:
        """Everything that was stored of the stage ``old``, its history too, is of the stage ``new`` from now on.

        Nobody may work on the store meanwhile: workers know stages by their names.

        Raises:
            StageNotFound: the workflow has no stage ``old``.
            StoreError: it has a stage ``new`` already, or something is stored of one.
        """

    @abstractmethod
    async def shape(self) -> Shape | None:
        """The workflow it belongs to, or ``None``."""

    @abstractmethod
    async def add(self, items: Sequence[NewItem], arrival: Transition) -> list[str]:
        """Items not known by their id are stored as ``arrival`` says; the ids whose stored content differs come back.

        Idempotent: an item with the same content stays as it is, its priority too. An item whose content was not known gets it.
        """

    @abstractmethod
    async def enlist(self, worker: WorkerIdentity) -> int:
        """A number for a worker that may claim from now on; its first heartbeat is this call."""

    @abstractmethod
    def beat(self, worker: int) -> bool:
        """The worker lives; ``False`` if it was taken for dead. Called from its own thread, so it is not async."""

    @abstractmethod
    async def retire(self, worker: int) -> None:
        """The worker is gone, and what it still held is free at once."""

    @abstractmethod
    async def workers(self) -> list[WorkerRow]:
        """Everybody who may claim and has not been found dead, oldest first, with how much each holds."""

    @abstractmethod
    async def steer(self, mode: Mode | None = None, by: str | None = None) -> Control:
        """Whether workers may claim from now on; without a ``mode`` nothing changes and the current one comes back."""

    @abstractmethod
    async def claim(
        self, worker: int, limit: int, now: int, *, is_dead: Callable[[WorkerRow], bool], only: str | None = None
    ) -> Claimed:
        """Take up to ``limit`` items whose time has come, by priority, then by how long they wait.

        Other workers that ``is_dead`` speaks of are forgotten and their items are free, each with a note in
        ``ItemState.lost`` of who lost it. While the store's mode is not ``running``, nothing is taken.
        The time of an item whose ``expiry`` has passed has come too, but ``Claimed.wake`` does not tell of expiries.
        ``only`` takes just that item, even if it rests, unless somebody holds it.

        Raises:
            LeaseLost: this worker itself was taken for dead; it must enlist anew.
        """

    @abstractmethod
    async def revised(self, worker: int) -> dict[str, int]:
        """The ``news`` of each item that this worker holds, where others have revised the item at any time."""

    @abstractmethod
    def commit(self, state: ItemState, change: Transition) -> Awaitable[None]:
        """Write ``change`` under the claim of ``state``; a ``rest`` in it gives the item back.

        An item that somebody revised meanwhile is due again at once when it is given back. A fault that may pass (a full
        disk, a lock) is waited out, in order: what the change tells of has been done already. An error that leaves open
        whether the change was written is settled by reading back before anybody is told.

        Raises:
            LeaseLost: the claim is no more; nothing was written but a ``commit_refused`` event.
            StoreError: it cannot be stored, and nothing that the same claim hands over after it, which builds on it.
        """

    async def commit_all(self, changes: Sequence[Change]) -> list[TreadleError | None]:
        """``commit`` each of these changes, those of one item in their order, which costs less together; the least where they are ``Alike``.

        What ``commit`` would have raised for a change stands in its place. Whoever is cancelled while they wait for it has
        handed over all of them. A store without a quicker way does one after the other.
        """
        return await asyncio.shield(self._commit_each(changes))

    async def _commit_each(self, changes: Sequence[Change]) -> list[TreadleError | None]:
        results: list[TreadleError | None] = []
        for state, change in changes:
            try:
                if (done := self.commit(state, change)) is not DONE:
                    await done
            except (LeaseLost, StoreError) as error:
                results.append(error)
            else:
                results.append(None)
        return results

    @abstractmethod
    async def revise(self, item_id: str, change: Callable[[ItemState], Transition], *, create: bool = False) -> None:
        """Write what ``change`` makes of the item's rows, claimed or not; nobody else writes in between.

        A ``rest`` counts only while nobody holds the item; a change that ``revokes`` takes it from its holder
        first. With ``create``, an unknown item is made, without content. What ``change`` raises comes out,
        and nothing is written.

        Raises:
            ItemNotFound: there is no such item.
        """

    @abstractmethod
    async def load(self, item_id: str, *, stage: str | None = None) -> ItemState | None:
        """The item with its rows, without a claim; with ``stage``, of its stages only that one and no subtasks."""

    @abstractmethod
    async def attempts(self, item_id: str, stage: str, *, seq: int | None = None) -> list[tuple[str | None, AttemptRow]]:
        """All attempts that ended, oldest first, each with the name of its subtask; with ``seq``, only that subtask's (``OWN``: the stage's)."""

    @abstractmethod
    async def reviews(
        self, wanted: ReviewFilter, after: int | None, limit: int, *, newest_first: bool = False
    ) -> list[StoredReview]:
        """Reviews in the order they were opened (or the other way round), behind the cursor ``after``."""

    @abstractmethod
    async def events(self, after: int, limit: int, item_id: str | None = None) -> list[WorkflowEvent]:
        """Events behind a cursor, in order; never one before an earlier one can be seen."""

    @abstractmethod
    async def counts(self) -> Counts:
        """How many items stand where. Stages the workflow does not have (any more) are left out."""

    @abstractmethod
    async def page(self, wanted: Filter, after: str | None, limit: int) -> list[ItemState]:
        """Items by id, behind ``after``, with their stage rows but without subtasks."""

    # For pages that people look at. However much is stored, these read a bounded part of it, and what they give is bare:
    # no payload (the empty text stands for one), no artefacts, no reviews, and of an error only the beginning.

    @abstractmethod
    async def browse(self, wanted: Filter, after: str | None, limit: int, *, backwards: bool = False) -> Listing:
        """Bare items by id, behind ``after`` (or before it, nearest first).

        Where few of many items are wanted, it may stop before it has found ``limit``; ``Listing.reached`` says where.
        """

    @abstractmethod
    async def children(self, item_id: str, stage: str, after: int, limit: int, *, state: StageState | None = None) -> Children:
        """Bare subtasks behind the place ``after``, in their order; with ``state`` only those that stand so."""

    @abstractmethod
    async def recent(self, state: StageState, limit: int, *, stage: str | None = None) -> list[tuple[str, StageRow]]:
        """Up to ``limit`` bare rows of each stage (or that one) in this state, with the ids of their items, newest first.

        Of completed rows those that the end of the journal tells of, or, if those are few, some from all over the store;
        of others those of the items that came last.
        """

    @abstractmethod
    async def journal(self, wanted: EventFilter, after: int | None, limit: int, *, newest_first: bool = False) -> Journal:
        """Events behind the cursor ``after``, in order (or before it, newest first); like ``browse``, it may stop early."""

    @abstractmethod
    async def tally(self, wanted: EventFilter, newest: int, width: int) -> list[Tallied]:
        """Those of the ``newest`` events that are wanted, by stage, kind and stretches of ``width`` microseconds, oldest first."""

    @abstractmethod
    async def keep(self, state: ItemState, text: str) -> str:
        """Keep the JSON text of a large artefact beside the rows of its item, durably; what comes back stands for it in them.

        It is kept as long as the item is; the same text is kept once.
        """

    @abstractmethod
    def pieces(self, item_id: str, stage: str, reference: str) -> AsyncIterator[bytes]:
        """The bytes that such a reference stands for, a piece at a time.

        Raises:
            StoreCorrupt: they are missing, or are not what was kept; names the item and the stage. The last piece is not
                given then.
        """

    @abstractmethod
    async def collect(self) -> tuple[int, int]:
        """What was kept and belongs to no item (any more) is gone; how many artefacts that were, and their bytes."""

    @abstractmethod
    async def prune(self, wanted: Pruning, after: int, limit: int) -> Pruned:
        """Of the next ``limit`` items behind ``after``, in the order they came, those that are ``wanted`` are no more.

        With everything of them: stages, subtasks, attempts, reviews, events. An ``items_pruned`` event, of no item, says how
        many and who wanted it. Items that somebody holds stay. Other calls are kept waiting a moment at most, however
        much there is of an item. Start with 0; a ``dry_run`` only counts.
        """

    @abstractmethod
    async def close(self) -> None:
        """Let go of everything; closing twice is harmless."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    # A door for tools and tests, written once on top of the calls above. It overwrites without a rule.

    async def get_status(self, item_id: ItemId, stage: str) -> StageStatus | None:
        """How the stage stands, with its subtasks; ``None`` if nothing was ever recorded."""
        return (await self.get_all_statuses(item_id)).get(stage)

    async def set_status(self, item_id: ItemId, stage: str, status: StageStatus) -> None:
        """Overwrite how the stage stands; the item is made if need be. Subtasks are set on their own."""
        review = None if status.review_data is None else review_to_json(status.review_data)
        times = [None if moment is None else to_us(moment) for moment in (status.started_at, status.due_at)]

        def change(state: ItemState) -> Transition:
            _check_name(stage)
            row = state.stages.get(stage) or StageRow(stage, status.state, 0, 0)
            asked = state.reviews.get(stage)
            reviews = []
            if review is not None and status.state is StageState.AWAITING_REVIEW:
                number = 1 if asked is None else asked.revision + (asked.decision is not None)
                reviews.append(ReviewRow(stage, number, AskedBy.STAGE, status.attempt, now_us(), review, ""))
            elif asked is not None and asked.decision is None:
                reviews.append(asked._replace(decision=Decided.WITHDRAWN, decided=now_us()))
            row = row._replace(
                state=StageState(status.state), attempt=status.attempt, updated=to_us(status.updated_at), started=times[0], due=times[1],
                error=status.error, review=review, version=status.version,
            )  # fmt: skip
            return Transition(now_us(), stages=[row], reviews=reviews)

        await self.revise(checked_id(item_id), change, create=True)

    async def get_all_statuses(self, item_id: ItemId) -> dict[str, StageStatus]:
        """Every stage of the item by name; empty for an unknown item."""
        state = await self.load(checked_id(item_id))
        if state is None:
            return {}
        shape = await self.shape()
        waiting = StageStatus(StageState.PENDING, from_us(state.added))
        known = dict.fromkeys(shape.stages, waiting) if shape is not None and state.payload is not None else {}
        return known | {name: stage_status(state, row) for name, row in state.stages.items()}

    async def query_items(self, stage: str, state: StageState) -> list[str]:
        """Ids of the items that have the stage in that state, in their order."""
        found: list[str] = []
        while page := await self.page(Filter(stage, StageState(state)), found[-1] if found else None, 1000):
            found += [item.id for item in page]
        return found

    async def get_subtask_statuses(self, item_id: ItemId, stage: str) -> list[SubTaskStatus]:
        """The children of the stage's fan-out, in their order."""
        state = await self.load(checked_id(item_id))
        board = state.boards.get(stage) if state is not None else None
        return [subtask_status(row) for row in board.rows] if board is not None else []

    async def set_subtask_status(self, item_id: ItemId, stage: str, subtask: str, status: SubTaskStatus) -> None:
        """Overwrite how a child stands; it is made, after its siblings, if it is new."""

        def change(state: ItemState) -> Transition:
            _check_name(stage)
            _check_name(subtask)
            rows = state.boards[stage].rows if stage in state.boards else []
            row = next((row for row in rows if row.name == subtask), None) or SubtaskRow(
                stage, len(rows), subtask, status.state, 0, 0
            )
            times = [None if moment is None else to_us(moment) for moment in (status.started_at, status.due_at)]
            row = row._replace(
                state=StageState(status.state), attempt=status.attempt, updated=to_us(status.updated_at), started=times[0], due=times[1],
                error=status.error,
            )  # fmt: skip
            return Transition(now_us(), subtasks=[row])

        await self.revise(checked_id(item_id), change, create=True)


def _check_name(name: str) -> None:
    if reason := bad_name(name):
        raise ValueError(f"{name!r:.80} cannot name a stage or subtask: {reason}")
