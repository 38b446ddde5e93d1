"""State in this process: the reference semantics, gone when the process ends."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from itertools import islice
from typing import Self

from treadle.artefact import parse, refer
from treadle.clock import now_us
from treadle.definition import Definition
from treadle.errors import ItemNotFound, LeaseLost, StoreError, TreadleError
from treadle.event import EventKind, WorkflowEvent
from treadle.state import (
    Alike,
    AttemptRow,
    Change,
    EventRow,
    ItemPhase,
    ItemState,
    Mode,
    Rest,
    ReviewRow,
    StageRow,
    StageState,
    SubtaskBoard,
    SubtaskRow,
    Transition,
)
from treadle.store import (
    DONE,
    OWN,
    Children,
    Claimed,
    Control,
    Counts,
    EventFilter,
    Filter,
    Journal,
    Listing,
    NewItem,
    Pruned,
    Pruning,
    ReviewFilter,
    Shape,
    StateStore,
    StoredReview,
    Tallied,
    WorkerIdentity,
    WorkerRow,
)
from treadle.stores import memory_looking
from treadle.stores.artefact_files import ArtefactMemory
from treadle.stores.memory_claims import Claims
from treadle.stores.memory_counts import Census
from treadle.stores.memory_journal import MemoryJournal
from treadle.stores.memory_record import Record
from treadle.stores.shared import (
    check_rename,
    held_by,
    lost_by,
    merge_attempts,
    naming,
    no_longer_held,
    other_workflow,
    refused,
    removed_stages,
    taken_for_dead,
    workflow_event,
)

_CANCELLED = ItemPhase.CANCELLED
"""Looked at for every item: to read a member of an enumeration takes as long as to make a small object."""


class _Storage:
    """What all copies of one store share."""

    def __init__(self) -> None:
        self.shape: Shape | None = None
        self.records: dict[str, Record] = {}
        self._made = 0
        """How many items there ever were; the key of each is its place among them."""
        self._ids: list[str] = []
        self.claims = Claims(self.records)
        self.attempts: dict[str, dict[tuple[str, int | None, int, int], AttemptRow]] = defaultdict(dict)
        """Of items: by stage, subtask, run and number."""
        self.reviews: list[tuple[str, ReviewRow] | None] = []
        """Item and row; the cursor is the place, from 1. ``None``: of an item that was pruned."""
        self.review_place: dict[tuple[str, str, int], int] = {}
        self.journal = MemoryJournal()
        self.census = Census()
        self.artefacts = ArtefactMemory()
        self.kept: dict[int, set[str]] = defaultdict(set)
        """Items by their keys, with the digests of their large artefacts."""
        self.workers: dict[int, WorkerRow] = {}
        self.control = Control()
        self.enlisted = 0

    @property
    def ids(self) -> list[str]:
        """Sorted, for pages: when somebody asks, since to find each its place as it comes takes the longer the more there are."""
        if len(self._ids) < len(self.records):
            self._ids += islice(self.records, len(self._ids), None)
            self._ids.sort()
        return self._ids

    def held(self, state: ItemState) -> Record | None:
        """The item as it is stored, while the claim of ``state`` holds."""
        record = self.records.get(state.id)
        # An item that was pruned, and has come again, is another one.
        if record is None or record.fence != state.fence or record.worker is None or record.key != state.key:
            return None
        return record

    def held_alike(self, changes: Alike) -> list[Record] | None:
        """``held`` of each of these items, if all of them are held, known and as their holder has seen them, and only stages change."""
        change = changes.change
        if change.cleared or change.subtasks or change.attempts or change.reviews:
            return None
        records = list(filter(None, map(self.records.get, [state.id for state in changes.states])))
        known = [(r.key, r.fence, r.news) for r in records if r.worker is not None and r.payload is not None]
        return records if known == [(state.key, state.fence, state.news) for state in changes.states] else None

    def give_back(self, records: Sequence[Record], rest: Rest) -> None:
        """Whoever held these has done what can be done."""
        for record in records:
            record.worker = record.lost = None
        self.claims.rest(records, rest)

    def make(self, item_id: str, now: int) -> Record:
        """An item that was not known."""
        self._made += 1
        self.records[item_id] = record = Record(item_id, self._made, now)
        return record

    def remove(self, gone: set[str]) -> None:
        """These items are no more."""
        self._ids = [item_id for item_id in self._ids if item_id not in gone]
        for item_id in gone:
            self.census.remove(self.records.pop(item_id))


class MemoryStateStore(StateStore):
    """Keeps everything in this process. ``copy.copy`` gives a second store on the same state."""

    def __init__(self) -> None:
        self._storage = _Storage()

    def __copy__(self) -> Self:
        other = type(self)()
        other._storage = self._storage  # noqa: SLF001 - its own kind
        return other

    def stage_count(self) -> int:
        """How many stage rows are stored."""
        return sum(len(record.stages) for record in self._storage.records.values())

    def subtask_count(self) -> int:
        """How many subtask rows are stored."""
        return sum(len(b.rows) for record in self._storage.records.values() for b in record.boards.values())

    def clear(self) -> None:
        """Forget all items and events."""
        shape = self._storage.shape
        self._storage.__init__()  # type: ignore[misc]  # every copy must see it emptied
        self._storage.shape = shape

    async def bind(self, flow: Definition) -> None:
        storage = self._storage
        new = Shape.of(flow)
        if storage.shape is not None:
            _check_shape(storage.shape, new, storage)
            if set(new.stages) - set(storage.shape.stages):
                for record in storage.records.values():
                    if (
                        record.phase not in (ItemPhase.PENDING, ItemPhase.CANCELLED)
                        and record.payload is not None
                        and record.worker is None
                    ):
                        # What failed or waits for a person may have nothing to do with what is new.
                        record.priority = record.urgency
                        record.phase = ItemPhase.PENDING if record.phase is ItemPhase.COMPLETED else record.phase
                        self._storage.claims.wake(record, now_us())
        if storage.shape is None or list(storage.shape.stages) != list(new.stages):
            storage.census.changed.update(storage.records.values())
        storage.shape = new

    async def rename_stage(self, old: str, new: str) -> None:
        storage = self._storage
        check_rename(storage.shape, old, new, is_taken=any(new in record.stages for record in storage.records.values()))
        assert storage.shape is not None  # noqa: S101 - it has the stage
        shape, name = storage.shape, {old: new}
        stages = {name.get(n, n): [name.get(need, need) for need in needs] for n, needs in shape.stages.items()}
        storage.shape = shape._replace(stages=stages, artefacts={name.get(n, n): s for n, s in shape.artefacts.items()})
        for record in storage.records.values():
            record.stages = {name.get(n, n): row._replace(stage=name.get(n, n)) for n, row in record.stages.items()}
            record.reviews = {name.get(n, n): row._replace(stage=name.get(n, n)) for n, row in record.reviews.items()}
            record.boards = {
                name.get(n, n): SubtaskBoard(row._replace(stage=name.get(n, n)) for row in board.rows)
                for n, board in record.boards.items()
            }
        for item_id, attempts in storage.attempts.items():
            kept = [a._replace(stage=name.get(a.stage, a.stage)) for a in attempts.values()]
            storage.attempts[item_id] = {(a.stage, a.seq, a.run, a.number): a for a in kept}
        storage.reviews = [
            None if stored is None else (stored[0], stored[1]._replace(stage=name.get(stored[1].stage, stored[1].stage)))
            for stored in storage.reviews
        ]
        storage.review_place = {(item, name.get(n, n), r): place for (item, n, r), place in storage.review_place.items()}
        storage.journal.rewrite(lambda told: told.row._replace(stage=new) if told.row.stage == old else told.row)

    async def shape(self) -> Shape | None:
        return self._storage.shape

    async def add(self, items: Sequence[NewItem], arrival: Transition) -> list[str]:
        storage, rest = self._storage, arrival.rest
        conflicts: list[str] = []
        come: list[Record] = []
        due: dict[int, list[Record]] = defaultdict(list)
        for identity, payload, priority in items:
            record = storage.records.get(identity)
            if record is None:
                record = storage.make(identity, arrival.at)
            elif record.payload is not None:
                if record.payload != payload and json.loads(record.payload) != json.loads(payload):
                    conflicts.append(identity)
                continue
            record.payload, record.urgency = payload, priority
            come.append(record)
            # What was cancelled before it came does not move either.
            if record.phase is not _CANCELLED:
                due[priority].append(record)
        if rest is not None:
            for urgency, some in due.items():
                storage.claims.rest(some, rest._replace(priority=rest.priority + urgency))
        storage.census.changed.update(come)
        storage.journal.tell_alike([record.id for record in come], arrival.at, arrival.events)
        return conflicts

    async def enlist(self, worker: WorkerIdentity) -> int:
        storage, now = self._storage, now_us()
        storage.enlisted += 1
        storage.workers[storage.enlisted] = WorkerRow(storage.enlisted, worker, now, now)
        return storage.enlisted

    def beat(self, worker: int) -> bool:
        known = self._storage.workers.get(worker)
        if known is not None:
            self._storage.workers[worker] = known._replace(beat=now_us())
        return known is not None

    async def retire(self, worker: int) -> None:
        if (row := self._storage.workers.get(worker)) is not None:
            self._free([row], now_us())

    def _free(self, workers: Sequence[WorkerRow], now: int) -> None:
        gone = {row.number: lost_by(row) for row in workers}
        if not gone:
            return
        for number in gone:
            del self._storage.workers[number]
        for record in self._storage.records.values():
            if record.worker in gone:
                record.lost = gone[record.worker]
                record.worker = None
                record.fence += 1
                self._storage.claims.wake(record, now)

    async def workers(self) -> list[WorkerRow]:
        held = Counter(record.worker for record in self._storage.records.values())
        return [row._replace(holds=held[row.number]) for row in self._storage.workers.values()]

    async def steer(self, mode: Mode | None = None, by: str | None = None) -> Control:
        if mode is not None:
            self._storage.control = Control(mode, by, now_us())
        return self._storage.control

    async def claim(
        self, worker: int, limit: int, now: int, *, is_dead: Callable[[WorkerRow], bool], only: str | None = None
    ) -> Claimed:
        storage = self._storage
        if worker not in storage.workers:
            raise LeaseLost(taken_for_dead(worker))
        self._free([row for row in storage.workers.values() if row.number != worker and is_dead(row)], now)
        if storage.control.mode is not Mode.RUNNING:
            return Claimed([], None, storage.control.mode)
        if only is not None:
            record = storage.records.get(only)
            free = record is not None and record.worker is None and record.phase is not _CANCELLED
            return Claimed([storage.claims.take(record, worker)] if record is not None and free else [], None)
        return storage.claims.take_due(worker, limit, now)

    async def revised(self, worker: int) -> dict[str, int]:
        return self._storage.claims.revised(worker)

    def commit(self, state: ItemState, change: Transition) -> Awaitable[None]:
        record = self._storage.held(state)
        if record is None:
            raise self._refusal(state, change)
        self._write(record, change)
        if change.rest is not None:
            # What somebody revised meanwhile is due at once.
            is_news = record.news != state.news
            self._storage.give_back([record], change.rest._replace(wake=change.at) if is_news else change.rest)
        return DONE

    async def commit_all(self, changes: Sequence[Change]) -> list[TreadleError | None]:
        if type(changes) is not Alike or (records := self._storage.held_alike(changes)) is None:
            return await super().commit_all(changes)
        storage, change, rows = self._storage, changes.change, changes.change.stages
        if changes.made:
            for record, row in zip(records, changes.made, strict=True):
                record.stages[row.stage] = row
            rows = rows[1:]
        for row in rows:
            for record in records:
                record.stages[row.stage] = row
        if change.rest is not None:
            storage.give_back(records, change.rest)
        # Most that rest do so for good, and are counted while they are at hand.
        if change.rest is not None and storage.shape is not None:
            storage.census.alike(records, storage.shape.stages)
        else:
            storage.census.changed.update(records)
        storage.journal.tell_alike([record.id for record in records], change.at, change.events)
        return [None] * len(records)

    def _refusal(self, state: ItemState, change: Transition) -> LeaseLost:
        """What is told of a change under a claim that is no more."""
        record = self._storage.records.get(state.id)
        if record is not None and record.key == state.key:
            self._write(record, refused(state, change))
        return LeaseLost(no_longer_held(state.id))

    def _write(self, record: Record, change: Transition) -> None:
        storage = self._storage
        storage.census.changed.add(record)
        for row in change.stages:
            record.stages[row.stage] = row
        if change.cleared or change.subtasks:
            boards = {stage: board for stage, board in record.boards.items() if stage not in change.cleared}
            for child in change.subtasks:
                boards.setdefault(child.stage, SubtaskBoard()).put(child)
            record.boards = boards
        if change.attempts or change.reviews:
            self._keep(record, change.attempts, change.reviews)
        storage.journal.tell(record.id, change.at, change.events)

    def _keep(self, record: Record, attempts: Sequence[AttemptRow], reviews: Sequence[ReviewRow]) -> None:
        storage = self._storage
        for attempt in attempts:
            where = attempt.stage, attempt.seq, attempt.run, attempt.number
            # The children have rows of their own.
            storage.attempts[record.id][where] = attempt._replace(subtasks=())
        for review in reviews:
            record.reviews = {**record.reviews, review.stage: review}
            place = storage.review_place.setdefault((record.id, review.stage, review.revision), len(storage.reviews))
            storage.reviews[place : place + 1] = [(record.id, review)]

    async def revise(self, item_id: str, change: Callable[[ItemState], Transition], *, create: bool = False) -> None:
        record = self._storage.records.get(item_id)
        if record is None and not create:
            raise ItemNotFound(item_id)
        made = change(record.copy() if record is not None else ItemState(item_id, None))
        if record is None:
            record = self._storage.make(item_id, made.at)
        self._write(record, made)
        self._storage.claims.revise(record, revokes=made.revokes)
        if made.rest is not None and record.worker is None:
            self._storage.claims.rest([record], made.rest)

    async def load(self, item_id: str, *, stage: str | None = None) -> ItemState | None:
        record = self._storage.records.get(item_id)
        if record is None:
            return None
        state = record.copy(boards=stage is None)
        if stage is not None:
            state.stages = {name: row for name, row in state.stages.items() if name == stage}
        return state

    async def attempts(self, item_id: str, stage: str, *, seq: int | None = None) -> list[tuple[str | None, AttemptRow]]:
        record = self._storage.records.get(item_id)
        if record is None:
            return []
        board = record.boards.get(stage) or SubtaskBoard()
        row = record.stages.get(stage)
        rows: list[StageRow | SubtaskRow] = [*([] if row is None or row.fan_out else [row]), *board.rows]
        if seq is not None:
            rows = [row for row in rows if (OWN if isinstance(row, StageRow) else row.seq) == seq]
        kept = self._storage.attempts.get(item_id, {}).values()
        stored = [a for a in kept if a.stage == stage and seq in (None, OWN if a.seq is None else a.seq)]
        return merge_attempts(stored, rows)

    async def reviews(
        self, wanted: ReviewFilter, after: int | None, limit: int, *, newest_first: bool = False
    ) -> list[StoredReview]:
        stored, found = self._storage.reviews, []
        backwards = range((len(stored) if after is None else after - 1) - 1, -1, -1)
        places, now = backwards if newest_first else range(after or 0, len(stored)), now_us()
        for place in places:
            kept = stored[place]
            if kept is not None and _wanted(wanted, *kept, now):
                found.append(StoredReview(place + 1, *kept))
                if len(found) == limit:
                    break
        return found

    async def events(self, after: int, limit: int, item_id: str | None = None) -> list[WorkflowEvent]:
        journal = self._storage.journal
        places = islice(journal.places(journal.place_after(after), item_id), limit)
        return [workflow_event(told.cursor, told.at, told.item_id, told.row) for told in map(journal.__getitem__, places)]

    async def counts(self) -> Counts:
        shape = self._storage.shape
        return self._storage.census.counts(() if shape is None else shape.stages)

    async def page(self, wanted: Filter, after: str | None, limit: int) -> list[ItemState]:
        ids = self._storage.ids
        found: list[ItemState] = []
        for place in range(bisect_right(ids, after) if after is not None else 0, len(ids)):
            record = self._storage.records[ids[place]]
            if memory_looking.matches(record, wanted):
                found.append(record.copy(boards=False))
                if len(found) == limit:
                    break
        return found

    async def keep(self, state: ItemState, text: str) -> str:
        data = text.encode()
        kept = refer(data)
        self._storage.kept[state.key].add(kept.digest)
        self._storage.artefacts.put(kept, data)
        return kept.reference

    async def pieces(self, item_id: str, stage: str, reference: str) -> AsyncIterator[bytes]:
        with naming(item_id, stage):
            for piece in self._storage.artefacts.pieces(parse(reference)):
                yield piece

    async def collect(self) -> tuple[int, int]:
        storage = self._storage
        known = set().union(*storage.kept.values())
        gone = [storage.artefacts.remove(digest) for digest in storage.artefacts.digests() if digest not in known]
        return len(gone), sum(gone)

    async def browse(self, wanted: Filter, after: str | None, limit: int, *, backwards: bool = False) -> Listing:
        stored = self._storage
        return memory_looking.listing(stored.ids, stored.records.__getitem__, wanted, after, limit, backwards=backwards)

    async def children(self, item_id: str, stage: str, after: int, limit: int, *, state: StageState | None = None) -> Children:
        record = self._storage.records.get(item_id)
        board = SubtaskBoard() if record is None else record.boards.get(stage) or SubtaskBoard()
        return memory_looking.children(board, after, limit, state)

    async def recent(self, state: StageState, limit: int, *, stage: str | None = None) -> list[tuple[str, StageRow]]:
        return memory_looking.recent(list(self._storage.records.values()), self._storage.journal, state, limit, stage)

    async def journal(self, wanted: EventFilter, after: int | None, limit: int, *, newest_first: bool = False) -> Journal:
        return memory_looking.journal(self._storage.journal, wanted, after, limit, newest_first=newest_first)

    async def tally(self, wanted: EventFilter, newest: int, width: int) -> list[Tallied]:
        return memory_looking.tally(self._storage.journal, wanted, newest, width)

    async def prune(self, wanted: Pruning, after: int, limit: int) -> Pruned:
        storage = self._storage
        records = sorted((r for r in storage.records.values() if r.key > after), key=lambda r: r.key)[:limit]
        last = records[-1].key if len(records) == limit else None
        told = {event.item_id: event.at for event in storage.journal}
        gone = {record.id for record in records if _is_prunable(record, wanted, told.get(record.id, 0))}
        if gone and not wanted.dry_run:
            self._forget(gone)
            self._storage.journal.tell("", wanted.at, [EventRow(EventKind.ITEMS_PRUNED, data=wanted.told(len(gone)))])
        return Pruned(len(gone), last)

    def _forget(self, gone: set[str]) -> None:
        storage = self._storage
        for item_id in gone:
            storage.kept.pop(storage.records[item_id].key, None)
            storage.attempts.pop(item_id, None)
        storage.remove(gone)
        storage.journal.rewrite(lambda told: None if told.item_id in gone else told.row)
        storage.reviews = [None if stored is not None and stored[0] in gone else stored for stored in storage.reviews]
        storage.review_place = {where: place for where, place in storage.review_place.items() if where[0] not in gone}

    async def close(self) -> None:
        return None


def _is_prunable(record: Record, wanted: Pruning, told: int) -> bool:
    if record.worker is not None or record.payload is None or record.phase not in wanted.phases:
        return False
    return max(record.added, told, *(row.updated for row in record.stages.values())) < wanted.before


def _wanted(wanted: ReviewFilter, item_id: str, row: ReviewRow, now: int) -> bool:
    return (
        wanted.stage in (None, row.stage)
        and wanted.asked_by in (None, row.asked_by)
        and wanted.verdict in (None, row.verdict)
        and wanted.holder in (None, held_by(row, now))
        and wanted.item_id in (None, item_id)
        and (wanted.opened_before is None or row.opened < wanted.opened_before)
        and wanted.is_open in (None, row.decision is None)
    )


def _check_shape(old: Shape, new: Shape, storage: _Storage) -> None:
    if old.workflow != new.workflow:
        raise StoreError(other_workflow(old.workflow, new.workflow))
    live: dict[str, list[str]] = defaultdict(list)
    for record in storage.records.values():
        for name, row in record.stages.items():
            if name not in new.stages and not row.state.is_finished and record.phase is not _CANCELLED:
                live[name].append(record.id)
    if live:
        raise StoreError(removed_stages(dict(live)))
