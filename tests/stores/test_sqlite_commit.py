"""An error in COMMIT is no verdict: whether the transaction took place is read back from the file."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import treadle.stores.sqlite_writer as writing
from treadle import (
    Engine,
    LeaseLost,
    SqliteStateStore,
    StageState,
    StageStatus,
    StoreError,
    StoreFull,
    StoreUnavailable,
    Workflow,
    decide,
)
from treadle.clock import now_us
from treadle.driver import put_back
from treadle.event import EventKind
from treadle.presence import identity
from treadle.state import Alike, AttemptRow, Change, Ended, EventRow, ItemPhase, Rest, Transition
from treadle.testing import contract_acts

pytestmark = pytest.mark.may_block  # the connection of this test stands between SQLite and the store
ITEMS = [{"id": f"i{n}"} for n in range(20)]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStateStore]:
    async with SqliteStateStore.open(tmp_path / "store.db") as store:
        yield store


class Disk:
    """A connection whose chosen COMMIT raises: before it took place, or after."""

    def __init__(self, con: sqlite3.Connection, at: int, *, took_place: bool) -> None:
        self._con, self._left, self._took_place = con, at, took_place
        self.failed = False

    def execute(self, statement: str, *values: Any) -> Any:
        if statement == "COMMIT":
            self._left -= 1
            if self._left == 0:
                self.failed = True
                if self._took_place:
                    self._con.execute(statement)
                error = sqlite3.OperationalError("disk I/O error")
                error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
                raise error
        return self._con.execute(statement, *values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._con, name)


def spoil(store: SqliteStateStore, at: int, *, took_place: bool) -> Disk:
    disk = Disk(store._writer._con, at, took_place=took_place)
    store._writer._con = disk  # type: ignore[assignment]  # plays a disk
    return disk


def counting(ran: list[str], *, batches: bool) -> Workflow:
    flow = Workflow("commits")

    async def one(item: dict[str, str]) -> int:
        ran.append(item["id"])
        return 1

    async def many(items: list[dict[str, str]]) -> list[int]:
        return [await one(item) for item in items]

    one.__name__ = many.__name__ = "first"
    flow.stage(batch=5, batch_wait=0.001)(many) if batches else flow.stage(one)

    @flow.stage
    async def second(item: dict[str, str], first: int) -> int:
        return first + 1

    return flow


async def troubled(path: Path, at: int, *, took_place: bool, batches: bool = False) -> tuple[bool, list[str]]:
    """Whether the COMMIT of that number failed, and what is wrong with a run in which it did."""
    ran: list[str] = []
    async with SqliteStateStore.open(path) as store, Engine(counting(ran, batches=batches), store) as engine:
        disk = spoil(store, at, took_place=took_place)
        async with asyncio.timeout(20):
            report = await engine.run(ITEMS, concurrency=5)
        kinds = [event.kind.value async for event in engine.events()]
    found = [] if (report.completed, report.failed) == (20, 0) else [str(report)]
    if sorted(ran) != sorted(item["id"] for item in ITEMS):
        found.append(f"{len(ran)} bodies ran")
    if len(kinds) != 20 * 6 or any("interrupted" in kind for kind in kinds):
        found.append(f"{len(kinds)} events")
    return disk.failed, found


@pytest.mark.parametrize("batches", [False, True], ids=["alone", "batches"])
@pytest.mark.parametrize("slow", [False, True], ids=["on-loop", "in-thread"])
@pytest.mark.parametrize("took_place", [False, True])
async def test_at_every_commit_of_a_run_the_run_goes_on_and_nothing_happens_twice(
    tmp_path: Path, took_place: bool, slow: bool, batches: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "_RETRY_AFTER", 0.001)
    monkeypatch.setattr("treadle.worker._RETRY_US", 1_000)
    if slow:
        monkeypatch.setattr(writing, "_SLOW", 0.0)
    failed = 0
    for at in range(1, 60):
        happened, found = await troubled(tmp_path / f"{at}.db", at, took_place=took_place, batches=batches)
        assert found == []
        if not happened:
            break
        failed += 1
    assert failed > 5


@pytest.mark.parametrize("took_place", [False, True])
async def test_taking_the_error_for_the_verdict_would_be_seen(
    tmp_path: Path, took_place: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "_RETRY_AFTER", 0.001)
    monkeypatch.setattr("treadle.worker._RETRY_US", 1_000)
    real = writing.read_back
    # Whatever the file says: it took no place though it did, or it did though it took none.
    monkeypatch.setattr(writing, "read_back", lambda *given: (real(*given)[0], not took_place))
    wrong: list[str] = []
    for at in range(3, 12):
        try:
            wrong += (await troubled(tmp_path / f"{at}.db", at, took_place=took_place))[1]
        except (TimeoutError, StoreError) as error:
            wrong.append(repr(error))
        if wrong:
            return
    pytest.fail("nobody saw it")


@pytest.mark.parametrize("took_place", [False, True])
async def test_what_people_do_is_told_as_it_was(store: SqliteStateStore, took_place: bool) -> None:
    spoil(store, 1, took_place=took_place)
    if took_place:
        await store.set_status("x", "scan", StageStatus.completed())
    else:
        with pytest.raises(StoreUnavailable, match="disk I/O error"):
            await store.set_status("x", "scan", StageStatus.completed())
    assert await store.query_items("scan", StageState.COMPLETED) == (["x"] if took_place else [])
    # The handle that failed is gone, and its place is taken by one that keeps the promises.
    assert store._writer._con.execute("PRAGMA synchronous").fetchone() == (2,)
    assert store._writer._con.execute("PRAGMA wal_autocheckpoint").fetchone() == (0,)
    await store.set_status("y", "scan", StageStatus.completed())


async def test_a_file_that_does_not_answer_is_asked_again_and_then_told(
    store: SqliteStateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0

    def silent(*_: Any) -> Any:
        nonlocal asked
        asked += 1
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(writing, "_RETRY_AFTER", 0.001)
    monkeypatch.setattr(writing, "_LOCK_WAIT_MS", 50)
    real = writing.read_back
    monkeypatch.setattr(writing, "read_back", silent)
    spoil(store, 1, took_place=True)
    with pytest.raises(StoreUnavailable, match="cannot be told whether that was written"):
        await store.enlist(identity())
    assert asked > 1
    monkeypatch.setattr(writing, "read_back", real)


async def test_what_may_have_been_written_together_is_not_written_again(
    store: SqliteStateStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(*_: Any) -> Any:
        raise sqlite3.OperationalError("disk I/O error")

    one, other = await contract_acts.held(store, "x", "y")
    monkeypatch.setattr(writing, "_RETRY_AFTER", 0.001)
    monkeypatch.setattr(writing, "_LOCK_WAIT_MS", 50)
    real = writing.read_back
    monkeypatch.setattr(writing, "read_back", silent)
    spoil(store, 1, took_place=True)
    told = Transition(now_us(), events=[EventRow(EventKind.STAGE_PROGRESS, "a", None, 1)])
    results = await store.commit_all([(one, told), (other, told)])
    assert [type(result) for result in results] == [StoreUnavailable, StoreUnavailable]
    assert "cannot be told whether that was written" in str(results[0])
    monkeypatch.setattr(writing, "read_back", real)
    with pytest.raises(StoreError, match="builds on"):
        await store.commit(one, told)
    async with SqliteStateStore.open(tmp_path / "store.db", read_only=True) as reader:
        kinds = [event.kind for event in await reader.events(0, 100)]
    assert kinds.count(EventKind.STAGE_PROGRESS) == 2


async def test_of_changes_that_are_committed_together_one_that_cannot_be_stored_costs_no_other(store: SqliteStateStore) -> None:
    states = await contract_acts.held(store, "x", "y", "z")
    flow, changes = contract_acts.FLOW, []
    for state in states:
        begun = decide.begin(flow, state, now_us(), 10)
        decide.apply(flow, state, begun)
        changes.append((state, begun))
    changes[1] = (states[1], changes[1][1]._replace(stages=[changes[1][1].stages[0]._replace(attempt=2**70)], begins=False))
    together = asyncio.create_task(store.commit_all(changes))
    await asyncio.sleep(0)
    together.cancel()
    with pytest.raises(asyncio.CancelledError):
        await together
    # What follows is written after them, whoever waited for them.
    backs = [(state, change) for state in states if state.id != "y" for change in put_back(flow, state)]
    assert await store.commit_all(backs) == [None, None]
    told: dict[str, list[str]] = {}
    for event in await store.events(0, 100):
        told.setdefault(event.item_id, []).append(event.kind.value)
    assert told["x"] == told["z"] == ["item_added", "stage_started", "stage_interrupted"]
    assert told["y"] == ["item_added"]


async def test_what_waits_for_better_times_when_the_store_is_closed_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await SqliteStateStore.open(tmp_path / "s.db")
    states = await contract_acts.held(store, *(f"i{n}" for n in range(600)))
    writer = store._writer
    assert isinstance(writer, writing.Writer)
    full = StoreFull("full")
    full.may_pass = True
    monkeypatch.setattr(writer, "_transact", lambda batch, **_: writer._refused(batch, full))
    wake, closing = writer._wake, list[asyncio.Task[None]]()

    def wake_and_close(*given: Any) -> None:
        wake(*given)
        if not closing:
            closing.append(asyncio.create_task(store.close()))

    monkeypatch.setattr(writer, "_wake", wake_and_close)
    commits = [asyncio.ensure_future(store.commit(state, Transition(now_us()))) for state in states]
    _, late = await asyncio.wait(commits, timeout=10)
    await asyncio.wait(closing)
    assert not late
    assert {type(commit.exception()) for commit in commits} <= {StoreUnavailable, StoreFull}


async def test_an_idle_look_writes_no_mark(store: SqliteStateStore) -> None:
    worker = await store.enlist(identity())
    before = store._writer._con.total_changes
    for _ in range(5):
        await store.claim(worker, 10, 1, is_dead=lambda _: False)
    assert store._writer._con.total_changes == before


def fill_once(store: SqliteStateStore, wanted: Transition, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full when that change is written alone, and has room again a moment later."""
    writer, told = store._writer, list[Transition]()
    assert isinstance(writer, writing.Writer)
    real = writer._write_changes

    def write(con: sqlite3.Connection, changes: Any) -> Any:
        if [change for _, change in changes] == [wanted] and not told:
            told.append(wanted)
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error
        return real(con, changes)

    monkeypatch.setattr(writer, "_write_changes", write)


async def trouble(store: SqliteStateStore) -> tuple[Change, Change, Change]:
    """A change that cannot be stored, and the begin and the end of another item's stage."""
    flow = contract_acts.FLOW
    x, y = await contract_acts.held(store, "x", "y")
    begun = decide.begin(flow, x, now_us(), 10)._replace(begins=False)
    decide.apply(flow, x, begun)
    made = AttemptRow("a", None, 1, now_us(), now_us(), Ended.COMPLETED)
    ended = decide.settle(flow, x, made, now_us(), 0.0, 10)
    decide.apply(flow, x, ended)
    bad = decide.begin(flow, y, now_us(), 10)
    bad = bad._replace(stages=[bad.stages[0]._replace(attempt=2**70)], begins=False)
    return (y, bad), (x, begun), (x, ended)


@pytest.mark.parametrize("together", [False, True])
async def test_what_is_tried_alone_keeps_its_order_when_it_has_to_wait(
    store: SqliteStateStore, together: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = await trouble(store)
    fill_once(store, changes[1][1], monkeypatch)
    async with asyncio.timeout(20):
        if together:
            results: list[Any] = list(await store.commit_all(changes))
        else:
            results = await asyncio.gather(*(store.commit(*change) for change in changes), return_exceptions=True)
    assert isinstance(results[0], StoreError)
    assert results[1:] == [None, None]
    state = await store.load("x")
    assert state is not None
    assert state.stages["a"].state is StageState.COMPLETED


async def test_a_change_that_comes_too_late_costs_the_start_before_it_nothing(store: SqliteStateStore) -> None:
    flow = contract_acts.FLOW
    (x,) = await contract_acts.held(store, "x")
    begun = decide.begin(flow, x, now_us(), 10)
    assert begun.begins
    decide.apply(flow, x, begun)
    await store.commit(x, begun)
    given_back = decide.settle(flow, x, AttemptRow("a", None, 1, now_us(), now_us(), Ended.COMPLETED), now_us(), 0.0, 0)
    first, second = await store.commit_all(
        [(x, given_back), (x, Transition(now_us(), events=[EventRow(EventKind.STAGE_PROGRESS, "a")]))]
    )
    assert first is None
    assert isinstance(second, LeaseLost)
    kinds = [event.kind.value for event in await store.events(0, 100)]
    assert kinds == ["item_added", "stage_started", "stage_completed", "commit_refused"]


@pytest.mark.parametrize("how", ["at once", "apart", "alike"])
async def test_what_builds_on_a_change_that_cannot_be_stored_is_refused_too(store: SqliteStateStore, how: str) -> None:
    flow = contract_acts.FLOW
    x, y = await contract_acts.held(store, "x", "y")
    begun = decide.begin(flow, x, now_us(), 10)
    told = Transition(now_us(), events=[EventRow(EventKind.STAGE_PROGRESS, "a")], rest=Rest(ItemPhase.COMPLETED, None))
    changes = [(x, begun._replace(stages=[begun.stages[0]._replace(attempt=2**70)], begins=False)), (x, told), (y, told)]
    results: list[Any]
    if how == "apart":
        results = [(await asyncio.gather(store.commit(*change), return_exceptions=True))[0] for change in changes]
    elif how == "alike":
        first = await asyncio.gather(store.commit(*changes[0]), return_exceptions=True)
        results = [*first, *await store.commit_all(Alike([x, y], told))]
    else:
        results = await asyncio.gather(*(store.commit(*change) for change in changes), return_exceptions=True)
    assert [type(result) for result in results] == [StoreError, StoreError, type(None)]
    assert "builds on a change that could not be stored" in str(results[1])
    assert [event.item_id for event in await store.events(0, 100) if event.kind is EventKind.STAGE_PROGRESS] == ["y"]
    # Whoever has it next builds on what is stored.
    await store.retire((await store.workers())[0].number)
    (again,) = (await store.claim(await store.enlist(contract_acts.ME), 9, now_us(), is_dead=contract_acts.alive)).items
    await store.commit(again, told)
    assert (await store.counts()).phases == {ItemPhase.COMPLETED: 2}


async def test_what_builds_on_a_transaction_that_was_refused_is_refused_too(
    store: SqliteStateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> Any:
        raise sqlite3.OperationalError("something that does not pass")

    x, y, z = await contract_acts.held(store, "x", "y", "z")
    told = Transition(now_us(), events=[EventRow(EventKind.STAGE_PROGRESS, "a")])
    with monkeypatch.context() as patch:
        patch.setattr(store._writer, "_write_changes", refuse)
        results = await asyncio.gather(store.commit(x, told), store.commit(y, told), return_exceptions=True)
        assert all("does not pass" in str(result) for result in results)
    results = await asyncio.gather(*(store.commit(state, told) for state in (x, y, z)), return_exceptions=True)
    assert ["builds on" in str(result) for result in results] == [True, True, False]
