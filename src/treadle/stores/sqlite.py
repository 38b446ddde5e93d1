"""State in one SQLite file."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from treadle.artefact import parse, refer
from treadle.clock import now_us
from treadle.definition import Definition
from treadle.errors import ItemNotFound, LeaseLost, StoreCorrupt, StoreError, StoreUnavailable, TreadleError
from treadle.event import WorkflowEvent
from treadle.state import (
    AttemptRow,
    Change,
    ItemPhase,
    ItemState,
    Mode,
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
from treadle.stores import forks, sqlite_arrivals, sqlite_artefacts, sqlite_looking, sqlite_prune, sqlite_recent, sqlite_workers
from treadle.stores.artefact_files import ArtefactFiles, ArtefactMemory
from treadle.stores.opening import Opening
from treadle.stores.shared import (
    check_rename,
    merge_attempts,
    naming,
    other_workflow,
    removed_stages,
    taken_for_dead,
    workflow_event,
)
from treadle.stores.sqlite_claims import Claims
from treadle.stores.sqlite_events import read_events
from treadle.stores.sqlite_put import write_changes, write_rows, write_starts
from treadle.stores.sqlite_reading import NoWriter, open_for_reading
from treadle.stores.sqlite_rows import (
    PHASE_CODE,
    PHASES,
    STATE_OF,
    Names,
    read_attempts,
    read_child,
    read_claimed,
    read_items,
    read_reviews,
    renamed,
    shape_of,
)
from treadle.stores.sqlite_schema import connect, mapping_errors, open_file, waiting
from treadle.stores.sqlite_starts import Start, Starts
from treadle.stores.sqlite_tally import Tally
from treadle.stores.sqlite_writer import Writer
from treadle.stores.undo import Undo

T = TypeVar("T")

Con = sqlite3.Connection

_SWEPT = 2_000
"""Rows of pruned items that go in one transaction: a few milliseconds."""
_DUE = "FROM items INDEXED BY items_due WHERE worker IS NULL AND wake IS NOT NULL"


class SqliteStateStore(StateStore):
    """Keeps everything in one file, which several processes may use and any SQL tool may read.

    Example:
        .. code-block:: python

            async with SqliteStateStore.open("papers.db") as store:
                ...
    """

    def __init__(self, path: str, con: Con, *, read_only: bool = False) -> None:
        self._path = path
        self._files: ArtefactFiles | ArtefactMemory = ArtefactMemory() if path == ":memory:" else ArtefactFiles.of(path)
        self._names = Names()
        self._names.read(con)
        undo = Undo()
        self._starts, self._claims = Starts(undo), Claims(undo)
        self._writer: Writer | NoWriter = (
            NoWriter(path) if read_only else Writer(con, path, self._starts, self._write_changes, self._write_starts)
        )
        self._reader: Con | None = con if read_only else None if path == ":memory:" else connect(path, read_only=True)
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="treadle-reader")
        self._beating: Con | None = None
        self._beat_lock = threading.Lock()
        self._closed = False
        self._forks = forks.count

    @classmethod
    def open(cls, path: str | Path, *, read_only: bool = False) -> Opening[SqliteStateStore]:
        """The store in that file, made or upgraded if need be; ``await`` it or ``async with`` it.

        With ``read_only`` nothing is made, upgraded or written, and what would write raises ``StoreUnavailable``: so a
        file or a file system that cannot be written can be read.
        """
        return Opening(lambda: cls._opened(str(path), read_only=read_only))

    @classmethod
    def open_in_memory(cls) -> Opening[SqliteStateStore]:
        """A store that ends with this object."""
        return Opening(lambda: cls._opened(":memory:"))

    @classmethod
    async def _opened(cls, path: str, *, read_only: bool = False) -> SqliteStateStore:
        def open_it() -> SqliteStateStore:
            con = open_for_reading(path) if read_only else open_file(path)
            with mapping_errors(path):
                return cls(path, con, read_only=read_only)

        return await asyncio.to_thread(open_it)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        # What came with a fork is the other process's: closing it here would meddle with what that one does.
        if self._forks == forks.count:
            self._writer.end()
            await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._reading.shutdown(wait=True)
        self._writer.close()
        for con in (self._reader, self._beating):
            if con is not None:
                con.close()

    def _write_changes(self, con: Con, changes: Sequence[Change]) -> list[Exception | None]:
        return write_changes(con, self._names, self._claims, self._starts, changes)

    def _write_starts(self, con: Con, due: Sequence[Start]) -> None:
        write_starts(con, self._names, self._starts, due)

    async def _write(self, act: Callable[[Con], T], *, keeps_claims: bool = False) -> T:
        """What the act returns. One that ``keeps_claims`` takes none away, or tells of that itself."""
        self._check_open()

        def apart(con: Con) -> T:
            self._claims.forget()
            return act(con)

        result: T = await self._writer.act(act if keeps_claims else apart)
        return result

    async def _read(self, act: Callable[[Con], T]) -> T:
        self._check_open()
        reader = self._reader
        if reader is None:
            return await self._write(act)

        def read_once() -> T:
            reader.execute("BEGIN")
            try:
                return act(reader)
            finally:
                reader.execute("COMMIT")

        def read() -> T:
            with mapping_errors(self._path):
                return waiting(read_once)

        return await asyncio.get_running_loop().run_in_executor(self._reading, read)

    async def _look(self, act: Callable[[Con], T]) -> T:
        """Read what tells how items stand: whoever asks in this process sees every start at once.

        The journal is read as it is stored. A reader that follows it would else have every start written by itself.
        """
        await self._starts_written()
        return await self._read(act)

    async def _starts_written(self) -> None:
        if self._starts:
            await self._write(lambda con: self._write_starts(con, self._starts.all()))

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable(f"store {self._path} has been closed")
        if self._forks != forks.count:
            raise StoreUnavailable(f"store {self._path} was opened before this process was forked; {forks.INSTEAD}")

    # the workflow

    async def bind(self, flow: Definition) -> None:
        given, text = Shape.of(flow), flow.to_json()

        def act(con: Con) -> None:
            stored = con.execute("SELECT definition FROM workflow").fetchone()
            if stored is not None and stored[0] == text:
                return
            self._check_shape(con, Shape(given.workflow, {}) if stored is None else shape_of(stored[0]), given)
            for name in given.stages:
                self._names.number(con, name)
            con.execute("INSERT OR REPLACE INTO workflow VALUES (1, ?, ?)", (given.workflow, text))

        await self._starts_written()
        await self._write(act)
        await self._read(self._names.read)

    def _check_shape(self, con: Con, stored: Shape, given: Shape) -> None:
        if stored.workflow != given.workflow:
            raise StoreError(other_workflow(stored.workflow, given.workflow))
        live: dict[str, list[str]] = {}
        rows = con.execute(
            "SELECT n.name, i.key FROM stages s JOIN names n ON n.id = s.stage JOIN items i ON i.id = s.item"
            " WHERE s.state <> 2 AND s.state <> 5 AND i.phase <> ? ORDER BY i.id", (PHASE_CODE[ItemPhase.CANCELLED],),
        )  # fmt: skip
        for name, key in rows:
            if name not in given.stages:
                live.setdefault(name, []).append(key)
        if live:
            raise StoreError(removed_stages(live))
        if set(given.stages) - set(stored.stages):
            # What failed or waits for a person may have nothing to do with what is new.
            con.execute(
                "UPDATE items SET priority = urgency, wake = ? WHERE phase IN (?, ?) AND worker IS NULL AND payload IS NOT NULL",
                (now_us(), PHASE_CODE[ItemPhase.FAILED], PHASE_CODE[ItemPhase.AWAITING_REVIEW]),
            )
            woken = con.execute(
                "UPDATE items SET phase = 0, priority = urgency, wake = ? WHERE phase = ? AND worker IS NULL AND payload IS NOT NULL",
                (now_us(), PHASE_CODE[ItemPhase.COMPLETED]),
            ).rowcount
            tally = Tally()
            tally.add(0, PHASE_CODE[ItemPhase.COMPLETED], -woken)
            tally.add(0, PHASE_CODE[ItemPhase.PENDING], woken)
            tally.write(con)

    async def rename_stage(self, old: str, new: str) -> None:
        def act(con: Con) -> None:
            stored = con.execute("SELECT definition FROM workflow").fetchone()
            taken = con.execute("SELECT 1 FROM stages JOIN names ON id = stage WHERE name = ? LIMIT 1", (new,)).fetchone()
            check_rename(None if stored is None else shape_of(stored[0]), old, new, is_taken=taken is not None)
            con.execute("DELETE FROM names WHERE name = ?", (new,))
            con.execute("UPDATE names SET name = ? WHERE name = ?", (new, old))
            con.execute("UPDATE workflow SET definition = ?", (renamed(stored[0], old, new),))

        await self._starts_written()
        await self._write(act)
        self._names = Names()
        await self._read(self._names.read)

    async def shape(self) -> Shape | None:
        row = await self._read(lambda con: con.execute("SELECT definition FROM workflow").fetchone())
        with mapping_errors(self._path):
            return None if row is None else shape_of(row[0])

    # items and claims

    async def add(self, items: Sequence[NewItem], arrival: Transition) -> list[str]:
        return await self._write(lambda con: sqlite_arrivals.add(con, self._names, items, arrival), keeps_claims=True)

    async def enlist(self, worker: WorkerIdentity) -> int:
        return await self._write(lambda con: sqlite_workers.enlist(con, worker, now_us()))

    def beat(self, worker: int) -> bool:
        self._check_open()
        with self._beat_lock, mapping_errors(self._path):
            if self._path == ":memory:":
                return True
            if self._beating is None:
                self._beating = connect(self._path)
                self._beating.execute("PRAGMA wal_autocheckpoint=0")
            done = self._beating.execute("UPDATE workers SET beat = ? WHERE id = ?", (now_us(), worker))
            return done.rowcount == 1

    async def retire(self, worker: int) -> None:
        def act(con: Con) -> None:
            sqlite_workers.free(con, [row for row in sqlite_workers.enlisted(con) if row.number == worker], now_us())

        await self._starts_written()
        await self._write(act)

    async def workers(self) -> list[WorkerRow]:
        return await self._read(lambda con: sqlite_workers.enlisted(con, holds=True))

    async def steer(self, mode: Mode | None = None, by: str | None = None) -> Control:
        if mode is None:
            return await self._read(sqlite_workers.control)
        return await self._write(lambda con: sqlite_workers.steer(con, Control(mode, by, now_us())))

    async def claim(
        self, worker: int, limit: int, now: int, *, is_dead: Callable[[WorkerRow], bool], only: str | None = None
    ) -> Claimed:
        def act(con: Con) -> Claimed:
            known = sqlite_workers.enlisted(con)
            if all(row.number != worker for row in known):
                raise LeaseLost(taken_for_dead(worker))
            if dead := [row for row in known if row.number != worker and is_dead(row)]:
                self._claims.forget()
                sqlite_workers.free(con, dead, now)
            if (mode := sqlite_workers.control(con).mode) is not Mode.RUNNING:
                return Claimed([], None, mode)
            if only is not None:
                cancelled = PHASE_CODE[ItemPhase.CANCELLED]
                query, values = "SELECT id FROM items WHERE key = ? AND worker IS NULL AND phase <> ?", (only, cancelled)
                return Claimed(self._take(con, worker, [row[0] for row in con.execute(query, values)]), None)
            con.execute("UPDATE items SET wake = expiry, expiry = NULL WHERE expiry <= ? AND worker IS NULL", (now,))
            query = f"SELECT id {_DUE} AND wake <= ? ORDER BY priority DESC, wake, id LIMIT ?"
            keys = [row[0] for row in con.execute(query, (now, limit))]
            taken = self._take(con, worker, keys)
            wake = now if len(keys) == limit else con.execute(f"SELECT min(wake) {_DUE}").fetchone()[0]
            return Claimed(taken, wake)

        # What is stored of workers and of the mode may be damaged too.
        with mapping_errors(self._path):
            return await self._write(act, keeps_claims=True)

    def _take(self, con: Con, worker: int, keys: list[int]) -> list[ItemState]:
        if not keys:
            return []
        con.execute(
            "UPDATE items SET worker = ?, wake = NULL, expiry = NULL, fence = fence + 1 WHERE id IN (SELECT value FROM json_each(?))",
            (worker, json.dumps(keys)),
        )
        found = read_claimed(con, self._names, keys)
        # What cannot be read waits for somebody to mend it; everything else goes on.
        tally = Tally()
        for key in [key for key, item in found.items() if isinstance(item, StoreCorrupt)]:
            tally.add(0, con.execute("SELECT phase FROM items WHERE id = ?", (key,)).fetchone()[0], -1)
            tally.add(0, PHASE_CODE[ItemPhase.FAILED], 1)
            con.execute("UPDATE items SET worker = NULL, phase = ? WHERE id = ?", (PHASE_CODE[ItemPhase.FAILED], key))
        tally.write(con)
        taken = [item for item in found.values() if isinstance(item, ItemState)]
        self._claims.take(con, taken)
        return taken

    async def revised(self, worker: int) -> dict[str, int]:
        query = "SELECT key, news FROM items WHERE worker = ? AND news > 0"
        return dict(await self._read(lambda con: con.execute(query, (worker,)).fetchall()))

    def commit(self, state: ItemState, change: Transition) -> Awaitable[None]:
        self._check_open()
        return self._writer.change((state, change))

    async def commit_all(self, changes: Sequence[Change]) -> list[TreadleError | None]:
        if len(changes) < 2:  # noqa: PLR2004 - nothing is together
            return await super().commit_all(changes)
        try:
            self._check_open()
            results: list[TreadleError | None] = await self._writer.changes(changes)
        except StoreError as error:
            return [error] * len(changes)
        return results

    async def revise(self, item_id: str, change: Callable[[ItemState], Transition], *, create: bool = False) -> None:
        def act(con: Con) -> None:
            row = con.execute("SELECT id, worker FROM items WHERE key = ?", (item_id,)).fetchone()
            if row is not None and (start := self._starts.of(row[0])) is not None:
                self._write_starts(con, [start])
            if row is None and not create:
                raise ItemNotFound(item_id)
            state = ItemState(item_id, None) if row is None else _readable(read_items(con, self._names, [row[0]])[row[0]])
            made = change(state)
            worker = None if row is None else row[1]
            if row is None:
                state.key = int(con.execute("INSERT INTO items (key, added) VALUES (?, ?)", (item_id, made.at)).lastrowid or 0)
            write_rows(con, self._names, self._starts, [(state, made)])
            con.execute("UPDATE items SET news = news + 1 WHERE id = ?", (state.key,))
            rest = made.rest
            if made.revokes:
                con.execute("UPDATE items SET worker = NULL, fence = fence + 1 WHERE id = ?", (state.key,))
                worker = None
            if rest is not None and worker is None:
                tally = Tally()
                tally.came([] if state.payload is None else [(state.phase, rest.phase)])
                tally.write(con)
                con.execute(
                    "UPDATE items SET phase = ?, priority = ?, wake = ?, expiry = ? WHERE id = ?",
                    (PHASE_CODE[rest.phase], rest.priority, rest.wake, rest.expiry, state.key),
                )

        await self._write(act)

    # reading

    async def load(self, item_id: str, *, stage: str | None = None) -> ItemState | None:
        def act(con: Con) -> ItemState | None:
            row = con.execute("SELECT id FROM items WHERE key = ?", (item_id,)).fetchone()
            if row is None:
                return None
            found = read_items(con, self._names, [row[0]], subtasks=stage is None, stage=stage)
            return _readable(found[row[0]])

        return await self._look(act)

    async def attempts(self, item_id: str, stage: str, *, seq: int | None = None) -> list[tuple[str | None, AttemptRow]]:
        def act(con: Con) -> list[tuple[str | None, AttemptRow]]:
            found = con.execute("SELECT id FROM items WHERE key = ?", (item_id,)).fetchone()
            if found is None:
                return []
            rows: list[StageRow | SubtaskRow]
            if seq is not None and seq != OWN:
                rows = list(read_child(con, found[0], stage, seq))
            else:
                state = _readable(read_items(con, self._names, [found[0]], subtasks=seq is None, stage=stage)[found[0]])
                row, board = state.stages.get(stage), state.boards.get(stage) or SubtaskBoard()
                rows = [*([] if row is None or row.fan_out else [row]), *board.rows]
            return merge_attempts(read_attempts(con, found[0], stage, seq), rows)

        return await self._look(act)

    async def reviews(
        self, wanted: ReviewFilter, after: int | None, limit: int, *, newest_first: bool = False
    ) -> list[StoredReview]:
        return await self._look(lambda con: read_reviews(con, self._names, wanted, after, limit, newest_first=newest_first))

    async def events(self, after: int, limit: int, item_id: str | None = None) -> list[WorkflowEvent]:
        rows = await self._read(lambda con: read_events(con, after, limit, item_id))
        with mapping_errors(self._path):
            return [workflow_event(*row) for row in rows]

    async def counts(self) -> Counts:
        shape = await self.shape()

        def act(con: Con) -> Counts:
            phases: dict[ItemPhase, int] = {}
            stages: dict[str, dict[StageState, int]] = {name: {} for name in (shape.stages if shape is not None else ())}
            rows = con.execute(
                "SELECT c.stage, n.name, c.state, c.n FROM counts c LEFT JOIN names n ON n.id = c.stage WHERE c.n <> 0"
            )
            for stage, name, code, number in rows:
                if stage == 0:
                    phases[PHASES[code]] = number
                elif name in stages and isinstance(code, int) and code < len(STATE_OF):
                    stages[name][STATE_OF[code]] = number
            total = sum(phases.values())
            for counter in stages.values():
                untouched = total - sum(counter.values())
                if untouched > 0:
                    counter[StageState.PENDING] = counter.get(StageState.PENDING, 0) + untouched
            return Counts(phases, stages)

        return await self._look(act)

    async def page(self, wanted: Filter, after: str | None, limit: int) -> list[ItemState]:
        where, values = sqlite_looking.conditions(wanted)
        if after is not None:
            where.append("i.key > :after")

        def act(con: Con) -> list[ItemState]:
            source, key = sqlite_looking.source(con, wanted, values)
            query = f"SELECT i.id FROM {source} WHERE {' AND '.join(where) or '1'} ORDER BY {key} LIMIT :limit"
            keys = [row[0] for row in con.execute(query, values | {"after": after, "limit": limit})]
            found = read_items(con, self._names, keys, subtasks=False)
            return [sqlite_looking.listed(item, key) for key, item in found.items()]

        return await self._look(act)

    # large artefacts

    async def keep(self, state: ItemState, text: str) -> str:
        data = await asyncio.to_thread(text.encode)
        kept = await asyncio.to_thread(refer, data)
        await self._write(lambda con: sqlite_artefacts.note(con, state.key, kept.reference))
        await asyncio.to_thread(self._files.put, kept, data)
        return kept.reference

    async def pieces(self, item_id: str, stage: str, reference: str) -> AsyncIterator[bytes]:
        self._check_open()
        with naming(item_id, stage):
            pieces = self._files.pieces(parse(reference))
            try:
                while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
                    yield piece
            finally:
                # A thread that was left in it by a reader who is cancelled closes it with letting go of it.
                with suppress(ValueError):
                    pieces.close()

    async def collect(self) -> tuple[int, int]:
        files = self._files
        if isinstance(files, ArtefactFiles):
            self._check_open()
            return await asyncio.to_thread(sqlite_artefacts.collect, self._path, files)
        return await self._write(lambda con: sqlite_artefacts.remove_unknown(con, files, files.digests()))

    async def prune(self, wanted: Pruning, after: int, limit: int) -> Pruned:
        if not wanted.dry_run and await self._read(sqlite_prune.has_leftovers):
            await self._write(lambda con: sqlite_prune.sweep(con, _SWEPT))
            return Pruned(0, after)
        keys, last = await self._read(lambda con: sqlite_prune.prunable(con, wanted, after, limit))
        if wanted.dry_run or not keys:
            return Pruned(len(keys), last)
        # Once more, so that what is left of them is swept.
        items = await self._write(lambda con: sqlite_prune.remove(con, wanted, keys))
        return Pruned(items, after if last is None else last)

    async def browse(self, wanted: Filter, after: str | None, limit: int, *, backwards: bool = False) -> Listing:
        return await self._look(lambda con: sqlite_looking.listing(con, self._names, wanted, after, limit, backwards=backwards))

    async def children(self, item_id: str, stage: str, after: int, limit: int, *, state: StageState | None = None) -> Children:
        return await self._look(lambda con: sqlite_looking.children(con, item_id, stage, after, limit, state))

    async def recent(self, state: StageState, limit: int, *, stage: str | None = None) -> list[tuple[str, StageRow]]:
        return await self._look(lambda con: sqlite_recent.recent(con, self._names, state, limit, stage))

    async def journal(self, wanted: EventFilter, after: int | None, limit: int, *, newest_first: bool = False) -> Journal:
        return await self._read(lambda con: sqlite_recent.journal(con, wanted, after, limit, newest_first=newest_first))

    async def tally(self, wanted: EventFilter, newest: int, width: int) -> list[Tallied]:
        return await self._read(lambda con: sqlite_recent.tally(con, self._names, wanted, newest, width))


def _readable(item: ItemState | StoreCorrupt) -> ItemState:
    if isinstance(item, StoreCorrupt):
        raise item
    return item
