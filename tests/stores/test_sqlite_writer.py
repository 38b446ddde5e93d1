"""The one connection that writes: locks, full disks, checkpoints, and what waits when it closes."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

import treadle.stores.sqlite_writer as writing
from treadle import (
    ItemNotFound,
    ItemPhase,
    SqliteStateStore,
    StageState,
    StageStatus,
    StateStore,
    StoreCorrupt,
    StoreError,
    StoreFull,
    StoreUnavailable,
    open_store,
)
from treadle.presence import identity
from treadle.state import ItemState, Rest, StageRow, Transition
from treadle.store import NewItem
from treadle.stores.sqlite_migrating import VERSION
from treadle.stores.sqlite_schema import mapped

DONE = StageStatus.completed()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStateStore]:
    async with SqliteStateStore.open(tmp_path / "store.db") as store:
        yield store


@pytest.fixture
def other(store: SqliteStateStore, tmp_path: Path) -> sqlite3.Connection:
    """Another process's connection."""
    return sqlite3.connect(tmp_path / "store.db", isolation_level=None, timeout=0)


async def completed(store: StateStore) -> list[str]:
    return await store.query_items("scan", StageState.COMPLETED)


async def test_a_held_lock_stops_the_write_and_not_the_loop(store: SqliteStateStore, other: sqlite3.Connection) -> None:
    other.execute("BEGIN IMMEDIATE")
    write = asyncio.create_task(store.set_status("a", "scan", DONE))
    longest = 0.0
    loop = asyncio.get_running_loop()
    for _ in range(20):
        began = loop.time()
        await asyncio.sleep(0.005)
        longest = max(longest, loop.time() - began)
    assert not write.done()
    assert longest < 0.5
    assert store._writer._slow
    other.execute("COMMIT")
    async with asyncio.timeout(10):
        await write
    assert await completed(store) == ["a"]
    other.close()


async def test_a_lock_that_is_never_given_back_is_told_and_nothing_is_written(
    store: SqliteStateStore, other: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "_LOCK_WAIT_MS", 20)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match=r"store\.db: (another process|process \d+) held the lock"):
        await store.set_status("a", "scan", DONE)
    other.execute("ROLLBACK")
    assert await completed(store) == []
    await store.set_status("a", "scan", DONE)
    assert await completed(store) == ["a"]
    other.close()


async def fill(store: StateStore) -> None:
    for number in range(2_000):
        await store.set_status(number, "scan", StageStatus.failed("x" * 500))


async def test_a_full_disk_acknowledges_nothing_and_goes_on_when_there_is_room(store: SqliteStateStore) -> None:
    con = store._writer._con
    pages = con.execute("PRAGMA page_count").fetchone()[0]
    con.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(StoreFull, match=r"store\.db"):
        await fill(store)
    # What was acknowledged before is there, and what was refused is not.
    failed = await store.query_items("scan", StageState.FAILED)
    assert failed == sorted(map(str, range(len(failed))))
    con.execute("PRAGMA max_page_count=1000000")
    await store.set_status("later", "scan", DONE)
    assert await completed(store) == ["later"]


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (sqlite3.SQLITE_FULL, StoreFull),
        (sqlite3.SQLITE_CORRUPT, StoreCorrupt),
        (sqlite3.SQLITE_NOTADB, StoreCorrupt),
        (sqlite3.SQLITE_IOERR_FSYNC, StoreUnavailable),
        (sqlite3.SQLITE_CANTOPEN, StoreUnavailable),
        (sqlite3.SQLITE_READONLY_DBMOVED, StoreUnavailable),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, StoreUnavailable),
        (sqlite3.SQLITE_PROTOCOL, StoreUnavailable),
        (sqlite3.SQLITE_CONSTRAINT, StoreError),
    ],
)
def test_every_error_of_sqlite_comes_out_as_ours(code: int, kind: type[StoreError]) -> None:
    error = sqlite3.OperationalError("the reason")
    error.sqlite_errorcode = code
    ours = mapped(error, "x.db")
    assert type(ours) is kind
    assert str(ours) == "store x.db: the reason"


class Failing:
    """A connection that fails at one statement so many times, as a disk would or a lock."""

    def __init__(self, con: sqlite3.Connection, at: str, error: BaseException, times: int = sys.maxsize) -> None:
        self._con, self._at, self._error, self.left = con, at, error, times

    def execute(self, statement: str, *values: Any) -> Any:
        if self.left and statement.startswith(self._at):
            self.left -= 1
            raise self._error
        return self._con.execute(statement, *values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._con, name)


def operational(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("code", "passes"),
    [
        (sqlite3.SQLITE_BUSY, True),
        (sqlite3.SQLITE_PROTOCOL, True),
        (sqlite3.SQLITE_FULL, True),
        (sqlite3.SQLITE_IOERR_READ, True),
        (sqlite3.SQLITE_CORRUPT, False),
        (sqlite3.SQLITE_CANTOPEN, False),
    ],
)
def test_what_may_pass_is_told(code: int, passes: bool) -> None:
    assert mapped(operational(code), "x.db").may_pass is passes


@pytest.mark.may_block  # the connection of this test stands between SQLite and the store
async def test_a_process_that_is_in_the_way_of_reading_is_waited_for(store: SqliteStateStore) -> None:
    # Once on the event loop, and twice in the thread.
    begins = Failing(store._writer._con, "BEGIN", operational(sqlite3.SQLITE_PROTOCOL), 3)
    store._writer._con = begins  # type: ignore[assignment]  # plays a lock
    await store.set_status("a", "scan", DONE)
    assert begins.left == 0
    assert store._reader is not None
    reads = Failing(store._reader, "SELECT", operational(sqlite3.SQLITE_PROTOCOL), 3)
    store._reader = reads  # type: ignore[assignment]  # plays a lock
    assert await completed(store) == ["a"]
    assert reads.left == 0


@pytest.mark.may_block  # the connection of this test stands between SQLite and the store
async def test_a_process_that_stays_in_the_way_of_reading_is_told(
    store: SqliteStateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "_LOCK_WAIT_MS", 20)
    whole = store._writer._con
    store._writer._con = Failing(whole, "BEGIN", operational(sqlite3.SQLITE_PROTOCOL))  # type: ignore[assignment]  # plays a lock
    with pytest.raises(StoreUnavailable, match=r"store\.db: another process held the lock") as told:
        await store.set_status("a", "scan", DONE)
    assert told.value.may_pass
    store._writer._con = whole
    assert await completed(store) == []


@pytest.mark.parametrize("read_only", [False, True])
async def test_a_store_opens_when_nobody_is_in_the_way_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read_only: bool
) -> None:
    async with open_store(tmp_path / "store.db"):
        pass
    left = [3]

    def stored_version(con: sqlite3.Connection, path: str) -> int:
        if left[0]:
            left[0] -= 1
            raise operational(sqlite3.SQLITE_PROTOCOL)
        return VERSION

    monkeypatch.setattr("treadle.stores.sqlite_migrating.stored_version", stored_version)
    async with open_store(tmp_path / "store.db", read_only=read_only) as store:
        assert await completed(store) == []
    assert left == [0]


@pytest.mark.may_block  # the connection of this test stands between SQLite and the store
@pytest.mark.parametrize("at", ["BEGIN", "COMMIT"])
async def test_a_failing_disk_is_told_to_everybody_in_the_batch(store: SqliteStateStore, at: str) -> None:
    whole = store._writer._con
    store._writer._con = Failing(whole, at, operational(sqlite3.SQLITE_IOERR))  # type: ignore[assignment]  # plays a disk
    results = await asyncio.gather(*(store.set_status(n, "scan", DONE) for n in range(3)), return_exceptions=True)
    assert [str(result) for result in results] == [f"store {store._path}: disk I/O error"] * 3
    if at == "BEGIN":
        store._writer._con = whole
    assert not store._writer._con.in_transaction
    assert await completed(store) == []


async def test_a_value_that_sqlite_cannot_take_is_told_and_the_store_goes_on(store: SqliteStateStore) -> None:
    arrival = Transition(1, rest=Rest(ItemPhase.PENDING, 1))
    await store.add([NewItem("a", "{}"), NewItem("b", "{}")], arrival)
    worker = await store.enlist(identity())
    first, second = (await store.claim(worker, 2, 2, is_dead=lambda _: False)).items
    too_large = Transition(2, stages=[StageRow("scan", StageState.COMPLETED, 2**70, 2)])
    fine = Transition(2, stages=[StageRow("scan", StageState.COMPLETED, 1, 2)])
    async with asyncio.timeout(10):
        with pytest.raises(StoreError, match=r"store\.db: what was given cannot be stored: OverflowError"):
            await store.commit(first, too_large)
        await store.commit(second, fine)
    assert await completed(store) == ["b"]


@pytest.mark.may_block  # the connection of this test stands between SQLite and the store
async def test_a_checkpoint_that_fails_costs_no_answer(
    store: SqliteStateStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(writing, "_SLOW", 0.0)
    monkeypatch.setattr(writing, "_WAL_LIMIT", 1)
    whole = store._writer._con
    full = operational(sqlite3.SQLITE_FULL)
    store._writer._con = Failing(whole, "PRAGMA wal_checkpoint", full)  # type: ignore[assignment]  # plays a disk
    async with asyncio.timeout(10):
        for number in range(3):
            await store.set_status(number, "scan", DONE)
        assert await completed(store) == ["0", "1", "2"]
        await store.close()
    assert "could not be moved into the file" in caplog.text
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        whole.execute("SELECT 1")


async def test_an_act_that_fails_takes_back_what_it_wrote_and_nobody_elses(store: SqliteStateStore) -> None:
    def break_off(state: ItemState) -> Transition:
        raise LookupError("changed my mind")

    results = await asyncio.gather(
        store.set_status("a", "scan", DONE),
        store.revise("b", break_off, create=True),
        store.revise("nobody", break_off),
        store.set_status("c", "scan", DONE),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [type(None), LookupError, ItemNotFound, type(None)]
    assert await completed(store) == ["a", "c"]
    assert await store.load("b") is None


@pytest.mark.may_block  # the act is the test's own
async def test_what_is_raised_past_exceptions_ends_the_transaction_too(store: SqliteStateStore) -> None:
    def interrupt(con: sqlite3.Connection) -> None:
        con.execute("INSERT INTO names (name) VALUES ('half')")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store._writer._transact([(interrupt, None, asyncio.get_running_loop().create_future())])
    assert not store._writer._con.in_transaction
    assert store._writer._con.execute("SELECT count(*) FROM names").fetchone() == (0,)


async def test_a_writer_that_gave_up_waiting_is_not_answered(store: SqliteStateStore, other: sqlite3.Connection) -> None:
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await store.set_status("a", "scan", DONE)
    other.execute("COMMIT")
    other.close()
    await store.set_status("b", "scan", DONE)
    # Nobody waited for it any more; it was written all the same, in its turn.
    assert await completed(store) == ["a", "b"]


@pytest.mark.parametrize("much", ["_ROWS_A_CHECKPOINT", "_TRANSACTIONS_A_CHECKPOINT"])
async def test_the_log_is_moved_into_the_file_when_it_is_long(
    store: SqliteStateStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, much: str
) -> None:
    monkeypatch.setattr(writing, much, 10)
    monkeypatch.setattr(writing, "_WAL_LIMIT", 1)
    for number in range(12):
        await store.set_status(number, "scan", DONE)
    assert (tmp_path / "store.db-wal").stat().st_size < 100_000
    assert store._writer._checkpointed > 0


async def test_a_reader_in_the_way_puts_the_checkpoint_off(
    store: SqliteStateStore, other: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "_SLOW", 0.0)
    monkeypatch.setattr(writing, "_WAL_LIMIT", 1)
    other.execute("BEGIN")
    assert other.execute("SELECT count(*) FROM items").fetchone() == (0,)
    for number in range(5):
        await store.set_status(number, "scan", DONE)
    assert other.execute("SELECT count(*) FROM items").fetchone() == (0,)
    other.execute("COMMIT")
    assert other.execute("SELECT count(*) FROM items").fetchone() == (5,)
    other.close()


@pytest.mark.may_block  # closes the store on the loop itself, so that the writer has no turn before
async def test_what_waits_when_the_store_closes_is_written(tmp_path: Path) -> None:
    store = await SqliteStateStore.open(tmp_path / "store.db")
    # Handed over, and not yet looked at: the loop has had no turn since.
    waiting = store._writer.act(lambda con: con.execute("INSERT INTO names (name) VALUES ('late')").rowcount)
    refused = store._writer.act(lambda con: _raise(LookupError("no")))
    store._close()
    await asyncio.sleep(0)  # the flush that was called for finds nothing to do
    assert await waiting == 1
    with pytest.raises(LookupError):
        await refused
    store._closed = True
    con = sqlite3.connect(tmp_path / "store.db")
    assert con.execute("SELECT name FROM names").fetchall() == [("late",)]
    con.close()


def _raise(error: Exception) -> None:
    raise error


async def test_closing_twice_is_harmless_and_closed_is_told(tmp_path: Path) -> None:
    store = await SqliteStateStore.open(tmp_path / "store.db")
    await store.close()
    await store.close()
    with pytest.raises(StoreUnavailable, match=r"store\.db has been closed"):
        await store.counts()
    with pytest.raises(StoreUnavailable, match="has been closed"):
        store.commit(ItemState("x", None), Transition(0))


async def test_a_heartbeat_is_written_and_one_of_a_retired_worker_is_refused(store: SqliteStateStore) -> None:
    worker = await store.enlist(identity())
    con = sqlite3.connect(store._path)
    con.execute("UPDATE workers SET beat = 0")
    con.commit()
    assert await asyncio.to_thread(store.beat, worker)
    assert con.execute("SELECT beat > 0 FROM workers").fetchone() == (1,)
    await store.retire(worker)
    assert not await asyncio.to_thread(store.beat, worker)
    con.close()


async def test_in_memory_a_worker_always_lives() -> None:
    async with SqliteStateStore.open_in_memory() as store:
        assert store.beat(1)


async def test_unknown_items_have_no_attempts_and_stages_filter_pages(store: SqliteStateStore) -> None:
    from treadle.store import Filter

    assert await store.attempts("nobody", "scan") == []
    await store.set_status("a", "scan", DONE)
    await store.set_status("b", "read", DONE)
    assert [state.id for state in await store.page(Filter(stage="scan"), None, 10)] == ["a"]


async def test_an_unreadable_subtask_names_itself(store: SqliteStateStore, other: sqlite3.Connection) -> None:
    from treadle import SubTaskStatus

    await store.set_subtask_status("a", "scan", "page-1", SubTaskStatus.completed("page-1"))
    other.execute("UPDATE subtasks SET state = 99")
    with pytest.raises(StoreCorrupt, match="item 'a', stage scan, subtask page-1: the stored state 99 is none that is known"):
        await store.load("a")
    other.close()


def _emptied(path: Path) -> None:
    con = sqlite3.connect(path)
    con.execute("CREATE TABLE schema_version (version INTEGER NOT NULL)")
    con.close()


def _truncated(path: Path) -> None:
    con = sqlite3.connect(path)
    con.execute("CREATE TABLE schema_version (version INTEGER NOT NULL)")
    con.execute("CREATE TABLE more (a)")
    con.execute("INSERT INTO schema_version VALUES (2)")
    con.commit()
    con.close()
    path.write_bytes(path.read_bytes()[:5_000])


@pytest.mark.parametrize(
    ("spoil", "kind", "says"),
    [
        (_emptied, StoreCorrupt, "table schema_version holds no version"),
        (lambda path: path.mkdir(), StoreUnavailable, "cannot be opened: Is a directory"),
        (_truncated, StoreCorrupt, r"store\.db"),
    ],
)
async def test_files_that_cannot_be_a_store_are_named(
    tmp_path: Path, spoil: Callable[[Path], None], kind: type[StoreError], says: str
) -> None:
    spoil(tmp_path / "store.db")
    with pytest.raises(kind, match=says):
        await open_store(tmp_path / "store.db")


async def test_those_who_waited_go_on_in_turns(store: SqliteStateStore) -> None:
    loop, turn, turns = asyncio.get_running_loop(), [0], []
    writer = store._writer
    assert isinstance(writer, writing.Writer)

    def tick() -> None:
        turn[0] += 1
        if len(turns) < count:
            loop.call_soon(tick)

    count = 3 * writing._WAKES
    waiting = [writer.act(lambda con: None) for _ in range(count)]
    for write in waiting:
        write.add_done_callback(lambda _: turns.append(turn[0]))
    loop.call_soon(tick)
    await asyncio.gather(*waiting)
    assert [turns.count(at) for at in sorted(set(turns))] == [writing._WAKES] * 3
