"""An error in COMMIT is no verdict: whether the transaction took place is read back from the file."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import treadle.stores.sqlite_writer as writing
from treadle import Engine, SqliteStateStore, StageState, StageStatus, StoreError, StoreUnavailable, Workflow
from treadle.presence import identity

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


def counting(ran: list[str]) -> Workflow:
    flow = Workflow("commits")

    @flow.stage
    async def first(item: dict[str, str]) -> int:
        ran.append(item["id"])
        return 1

    @flow.stage
    async def second(item: dict[str, str], first: int) -> int:
        return first + 1

    return flow


async def troubled(path: Path, at: int, *, took_place: bool) -> tuple[bool, list[str]]:
    """Whether the COMMIT of that number failed, and what is wrong with a run in which it did."""
    ran: list[str] = []
    async with SqliteStateStore.open(path) as store, Engine(counting(ran), store) as engine:
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


@pytest.mark.parametrize("slow", [False, True], ids=["on-loop", "in-thread"])
@pytest.mark.parametrize("took_place", [False, True])
async def test_at_every_commit_of_a_run_the_run_goes_on_and_nothing_happens_twice(
    tmp_path: Path, took_place: bool, slow: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "_RETRY_AFTER", 0.001)
    monkeypatch.setattr("treadle.worker._RETRY_US", 1_000)
    if slow:
        monkeypatch.setattr(writing, "_SLOW", 0.0)
    failed = 0
    for at in range(1, 60):
        happened, found = await troubled(tmp_path / f"{at}.db", at, took_place=took_place)
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


async def test_an_idle_look_writes_no_mark(store: SqliteStateStore) -> None:
    worker = await store.enlist(identity())
    before = store._writer._con.total_changes
    for _ in range(5):
        await store.claim(worker, 10, 1, is_dead=lambda _: False)
    assert store._writer._con.total_changes == before
