"""State in this process: the reference semantics, gone when the process ends."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Sequence
from heapq import heappop, heappush
from itertools import islice
from typing import Any, Self

from treadle.artefact import parse, refer
from treadle.clock import now_us
from treadle.definition import Definition
from treadle.errors import ItemNotFound, LeaseLost, StoreError
from treadle.event import EventKind, WorkflowEvent
from treadle.state import (
    AttemptRow,
    EventRow,
    ItemPhase,
    ItemState,
    Mode,
    ReviewRow,
    StageRow,
    StageState,
    SubtaskBoard,
    SubtaskRow,
    Transition,
)
from treadle.store import (
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
from treadle.stores.memory_counts import Census
from treadle.stores.memory_journal import MemoryJournal
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


class _Done:
    """An awaitable that has nothing to wait for."""

    def __await__(self) -> Generator[Any, None, None]:
        return
        yield


_DONE = _Done()


class _Record:
    """One item as it is stored."""

    __slots__ = ("attempts", "expiry", "state", "wake", "worker")

    def __init__(self, state: ItemState) -> None:
        self.state = state
        self.worker: int | None = None
        self.wake: int | None = None
        self.expiry: int | None = None
        self.attempts: dict[tuple[str, int | None, int, int], AttemptRow] = {}


class _Storage:
    """What all copies of one store share."""

    def __init__(self) -> None:
        self.shape: Shape | None = None
        self.records: dict[str, _Record] = {}
        self.made = 0
        """How many items there ever were; the key of each is its place among them."""
        self._ids: list[str] = []
        self._in_order = True
        self.queue: list[tuple[int, int, int, str]] = []
        """A heap of (-priority, wake, key, id); stale entries are dropped when they surface."""
        self.expiries: list[tuple[int, str]] = []
        """A heap of expiry and id; stale entries are dropped when they surface."""
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
        if not self._in_order:
            self._ids.sort()
            self._in_order = True
        return self._ids

    def take_in(self, record: _Record) -> None:
        """An item that was not known."""
        item_id = record.state.id
        self._in_order = self._in_order and (not self._ids or self._ids[-1] < item_id)
        self._ids.append(item_id)
        self.records[item_id] = record

    def remove(self, gone: set[str]) -> None:
        """These items are no more."""
        self._ids = [item_id for item_id in self._ids if item_id not in gone]
        self.census.changed |= gone
        for item_id in gone:
            del self.records[item_id]


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
        return sum(len(record.state.stages) for record in self._storage.records.values())

    def subtask_count(self) -> int:
        """How many subtask rows are stored."""
        return sum(len(b.rows) for record in self._storage.records.values() for b in record.state.boards.values())

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
                    state = record.state
                    if (
                        state.phase not in (ItemPhase.PENDING, ItemPhase.CANCELLED)
                        and state.payload is not None
                        and record.worker is None
                    ):
                        # What failed or waits for a person may have nothing to do with what is new.
                        state.priority = state.urgency
                        state.phase = ItemPhase.PENDING if state.phase is ItemPhase.COMPLETED else state.phase
                        self._wake(record, now_us())
        if storage.shape is None or list(storage.shape.stages) != list(new.stages):
            storage.census.changed.update(storage.records)
        storage.shape = new

    async def rename_stage(self, old: str, new: str) -> None:
        storage = self._storage
        check_rename(storage.shape, old, new, is_taken=any(new in record.state.stages for record in storage.records.values()))
        assert storage.shape is not None  # noqa: S101 - it has the stage
        shape, name = storage.shape, {old: new}
        stages = {name.get(n, n): [name.get(need, need) for need in needs] for n, needs in shape.stages.items()}
        storage.shape = shape._replace(stages=stages, artefacts={name.get(n, n): s for n, s in shape.artefacts.items()})
        for record in storage.records.values():
            state = record.state
            state.stages = {name.get(n, n): row._replace(stage=name.get(n, n)) for n, row in state.stages.items()}
            state.reviews = {name.get(n, n): row._replace(stage=name.get(n, n)) for n, row in state.reviews.items()}
            state.boards = {
                name.get(n, n): SubtaskBoard(row._replace(stage=name.get(n, n)) for row in board.rows)
                for n, board in state.boards.items()
            }
            kept = [a._replace(stage=name.get(a.stage, a.stage)) for a in record.attempts.values()]
            record.attempts = {(a.stage, a.seq, a.run, a.number): a for a in kept}
        storage.census.changed.update(storage.records)
        storage.reviews = [
            None if stored is None else (stored[0], stored[1]._replace(stage=name.get(stored[1].stage, stored[1].stage)))
            for stored in storage.reviews
        ]
        storage.review_place = {(item, name.get(n, n), r): place for (item, n, r), place in storage.review_place.items()}
        storage.journal.rewrite(lambda told: told.row._replace(stage=new) if told.row.stage == old else told.row)

    async def shape(self) -> Shape | None:
        return self._storage.shape

    async def add(self, items: Sequence[NewItem], arrival: Transition) -> list[str]:
        storage, conflicts = self._storage, []
        for item in items:
            record = storage.records.get(item.id)
            if record is None:
                record = self._create(item.id, arrival.at)
            if record.state.payload is None:
                record.state.payload, record.state.urgency = item.payload, item.priority
                storage.census.changed.add(item.id)
                if arrival.rest is not None:
                    record.state.priority = arrival.rest.priority + item.priority
                    self._wake(record, arrival.rest.wake)
                self._storage.journal.tell(item.id, arrival.at, arrival.events)
            elif record.state.payload != item.payload and json.loads(record.state.payload) != json.loads(item.payload):
                conflicts.append(item.id)
        return conflicts

    def _create(self, item_id: str, now: int) -> _Record:
        storage = self._storage
        storage.made += 1
        record = _Record(ItemState(item_id, None, key=storage.made, added=now))
        storage.take_in(record)
        return record

    def _wake(self, record: _Record, wake: int | None) -> None:
        record.wake = wake
        if wake is not None:
            heappush(self._storage.queue, (-record.state.priority, wake, record.state.key, record.state.id))

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
                record.state.lost = gone[record.worker]
                record.worker = None
                record.state.fence += 1
                self._wake(record, now)

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
            free = record is not None and record.worker is None and record.state.phase is not ItemPhase.CANCELLED
            return Claimed([self._take(record, worker)] if record is not None and free else [], None)
        return self._claim_due(worker, limit, now)

    def _claim_due(self, worker: int, limit: int, now: int) -> Claimed:
        storage = self._storage
        while storage.expiries and storage.expiries[0][0] <= now:
            expiry, item_id = heappop(storage.expiries)
            record = storage.records.get(item_id)
            if record is not None and record.expiry == expiry and record.worker is None:
                self._wake(record, expiry)
        taken: list[ItemState] = []
        later: list[tuple[int, int, int, str]] = []
        while storage.queue and len(taken) < limit:
            entry = heappop(storage.queue)
            record = storage.records.get(entry[3])
            if record is None or record.worker is not None or record.wake != entry[1]:
                continue
            if entry[1] > now:
                later.append(entry)
            else:
                taken.append(self._take(record, worker))
        for entry in later:
            heappush(storage.queue, entry)
        return Claimed(taken, min((entry[1] for entry in storage.queue), default=None) if len(taken) < limit else now)

    def _take(self, record: _Record, worker: int) -> ItemState:
        record.worker, record.wake, record.expiry = worker, None, None
        record.state.fence += 1
        return _copy(record.state)

    async def revised(self, worker: int) -> dict[str, int]:
        states = (record.state for record in self._storage.records.values() if record.worker == worker)
        return {state.id: state.news for state in states if state.news}

    def commit(self, state: ItemState, change: Transition) -> Awaitable[None]:
        record = self._storage.records.get(state.id)
        if record is None or record.worker is None or record.state.fence != state.fence:
            if record is not None:
                self._write(record, refused(state, change))
            raise LeaseLost(no_longer_held(state.id))
        self._write(record, change)
        if change.rest is not None:
            record.worker, record.state.lost = None, None
            news = record.state.news != state.news
            self._settle(record, change, now_us() if news else change.rest.wake)
        return _DONE

    def _write(self, record: _Record, change: Transition) -> None:
        state = record.state
        self._storage.census.changed.add(state.id)
        for row in change.stages:
            state.stages[row.stage] = row
        for stage in change.cleared:
            state.boards.pop(stage, None)
        for child in change.subtasks:
            state.boards.setdefault(child.stage, SubtaskBoard()).put(child)
        for attempt in change.attempts:
            # The children have rows of their own.
            record.attempts[attempt.stage, attempt.seq, attempt.run, attempt.number] = attempt._replace(subtasks=())
        for review in change.reviews:
            state.reviews[review.stage] = review
            place = self._storage.review_place.setdefault((state.id, review.stage, review.revision), len(self._storage.reviews))
            self._storage.reviews[place : place + 1] = [(state.id, review)]
        self._storage.journal.tell(state.id, change.at, change.events)

    def _settle(self, record: _Record, change: Transition, wake: int | None) -> None:
        assert change.rest is not None  # noqa: S101 - the callers looked
        record.state.phase, record.state.priority = change.rest.phase, change.rest.priority
        record.expiry = change.rest.expiry
        if record.expiry is not None:
            heappush(self._storage.expiries, (record.expiry, record.state.id))
        self._wake(record, wake)

    async def revise(self, item_id: str, change: Callable[[ItemState], Transition], *, create: bool = False) -> None:
        record = self._storage.records.get(item_id)
        if record is None and not create:
            raise ItemNotFound(item_id)
        made = change(_copy(record.state) if record is not None else ItemState(item_id, None))
        if record is None:
            record = self._create(item_id, made.at)
        self._write(record, made)
        record.state.news += 1
        if made.revokes:
            record.worker = None
            record.state.fence += 1
        if made.rest is not None and record.worker is None:
            self._settle(record, made, made.rest.wake)

    async def load(self, item_id: str, *, stage: str | None = None) -> ItemState | None:
        record = self._storage.records.get(item_id)
        if record is None:
            return None
        state = _copy(record.state, boards=stage is None)
        if stage is not None:
            state.stages = {name: row for name, row in state.stages.items() if name == stage}
        return state

    async def attempts(self, item_id: str, stage: str, *, seq: int | None = None) -> list[tuple[str | None, AttemptRow]]:
        record = self._storage.records.get(item_id)
        if record is None:
            return []
        board = record.state.boards.get(stage) or SubtaskBoard()
        row = record.state.stages.get(stage)
        rows: list[StageRow | SubtaskRow] = [*([] if row is None or row.fan_out else [row]), *board.rows]
        if seq is not None:
            rows = [row for row in rows if (OWN if isinstance(row, StageRow) else row.seq) == seq]
        stored = [a for a in record.attempts.values() if a.stage == stage and seq in (None, OWN if a.seq is None else a.seq)]
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
        storage, records = self._storage, self._storage.records
        stages = storage.shape.stages if storage.shape is not None else ()
        return storage.census.counts(stages, lambda item_id: records[item_id].state if item_id in records else None)

    async def page(self, wanted: Filter, after: str | None, limit: int) -> list[ItemState]:
        ids = self._storage.ids
        found: list[ItemState] = []
        for place in range(bisect_right(ids, after) if after is not None else 0, len(ids)):
            state = self._storage.records[ids[place]].state
            if memory_looking.matches(state, wanted):
                found.append(_copy(state, boards=False))
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
        return memory_looking.listing(
            stored.ids, lambda identity: stored.records[identity].state, wanted, after, limit, backwards=backwards
        )

    async def children(self, item_id: str, stage: str, after: int, limit: int, *, state: StageState | None = None) -> Children:
        record = self._storage.records.get(item_id)
        board = SubtaskBoard() if record is None else record.state.boards.get(stage) or SubtaskBoard()
        return memory_looking.children(board, after, limit, state)

    async def recent(self, state: StageState, limit: int, *, stage: str | None = None) -> list[tuple[str, StageRow]]:
        items = [record.state for record in self._storage.records.values()]
        return memory_looking.recent(items, self._storage.journal, state, limit, stage)

    async def journal(self, wanted: EventFilter, after: int | None, limit: int, *, newest_first: bool = False) -> Journal:
        return memory_looking.journal(self._storage.journal, wanted, after, limit, newest_first=newest_first)

    async def tally(self, wanted: EventFilter, newest: int, width: int) -> list[Tallied]:
        return memory_looking.tally(self._storage.journal, wanted, newest, width)

    async def prune(self, wanted: Pruning, after: int, limit: int) -> Pruned:
        storage = self._storage
        records = sorted((r for r in storage.records.values() if r.state.key > after), key=lambda r: r.state.key)[:limit]
        last = records[-1].state.key if len(records) == limit else None
        told = {event.item_id: event.at for event in storage.journal}
        gone = {record.state.id for record in records if _is_prunable(record, wanted, told.get(record.state.id, 0))}
        if gone and not wanted.dry_run:
            self._forget(gone)
            self._storage.journal.tell("", wanted.at, [EventRow(EventKind.ITEMS_PRUNED, data=wanted.told(len(gone)))])
        return Pruned(len(gone), last)

    def _forget(self, gone: set[str]) -> None:
        storage = self._storage
        for item_id in gone:
            storage.kept.pop(storage.records[item_id].state.key, None)
        storage.remove(gone)
        storage.journal.rewrite(lambda told: None if told.item_id in gone else told.row)
        storage.reviews = [None if stored is not None and stored[0] in gone else stored for stored in storage.reviews]
        storage.review_place = {where: place for where, place in storage.review_place.items() if where[0] not in gone}

    async def close(self) -> None:
        return None


def _copy(state: ItemState, *, boards: bool = True) -> ItemState:
    return ItemState(
        state.id,
        state.payload,
        key=state.key,
        fence=state.fence,
        news=state.news,
        phase=state.phase,
        priority=state.priority,
        urgency=state.urgency,
        added=state.added,
        stages=dict(state.stages),
        boards={name: SubtaskBoard(board.rows) for name, board in state.boards.items()} if boards else {},
        reviews=dict(state.reviews),
        lost=state.lost,
    )


def _is_prunable(record: _Record, wanted: Pruning, told: int) -> bool:
    state = record.state
    if record.worker is not None or state.payload is None or state.phase not in wanted.phases:
        return False
    return max(state.added, told, *(row.updated for row in state.stages.values())) < wanted.before


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
        for name, row in record.state.stages.items():
            if name not in new.stages and not row.state.is_finished and record.state.phase is not ItemPhase.CANCELLED:
                live[name].append(record.state.id)
    if live:
        raise StoreError(removed_stages(dict(live)))
