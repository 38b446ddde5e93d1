"""Starts that wait a moment before they are written: who sees them, and what becomes of them when something fails."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from treadle import Engine, StageState, Workflow, decide
from treadle.clock import now_us
from treadle.state import AttemptRow, Ended, ItemState, Transition
from treadle.store import NewItem, WorkerIdentity
from treadle.stores import sqlite_writer
from treadle.stores.sqlite import SqliteStateStore
from treadle.stores.undo import Undo


def blocked(started: asyncio.Event, goes_on: asyncio.Event) -> Workflow:
    flow = Workflow("blocked")

    @flow.stage
    async def one(item: dict[str, Any]) -> int:
        return 1

    @flow.stage
    async def two(item: dict[str, Any], one: int) -> int:
        started.set()
        await goes_on.wait()
        return 2

    return flow


def states(path: Path) -> Sequence[tuple[str, str]]:
    """As another process sees them."""
    with closing(sqlite3.connect(path)) as con:
        return con.execute("SELECT stage, state FROM stage_statuses ORDER BY stage").fetchall()


async def test_a_start_waits_and_whoever_asks_in_this_process_sees_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_writer, "PATIENCE", 3600.0)
    started, goes_on = asyncio.Event(), asyncio.Event()
    path = tmp_path / "s.db"
    async with SqliteStateStore.open(path) as store, Engine(blocked(started, goes_on), store) as engine:
        run = asyncio.create_task(engine.run([{"id": "x"}]))
        await started.wait()
        assert states(path) == [("one", "completed")]
        assert (await engine.status("x")).running_stages == ["two"]
        assert states(path) == [("one", "completed"), ("two", "running")]
        goes_on.set()
        await run
        told = [(e.kind.value, e.stage) async for e in engine.events()]
        counts = await store.counts()
    assert told == [
        ("item_added", None), ("stage_started", "one"), ("stage_completed", "one"), ("stage_started", "two"),
        ("stage_completed", "two"), ("workflow_completed", None),
    ]  # fmt: skip
    assert counts.stages == {"one": {StageState.COMPLETED: 1}, "two": {StageState.COMPLETED: 1}}


async def test_a_start_that_has_waited_is_written_for_everybody(tmp_path: Path) -> None:
    started, goes_on = asyncio.Event(), asyncio.Event()
    path = tmp_path / "s.db"
    async with SqliteStateStore.open(path) as store, Engine(blocked(started, goes_on), store) as engine:
        run = asyncio.create_task(engine.run([{"id": "x"}]))
        async with asyncio.timeout(20):
            while ("two", "running") not in await asyncio.to_thread(states, path):  # noqa: ASYNC110 - a file tells nobody
                await asyncio.sleep(0.01)
        goes_on.set()
        assert (await run).completed == 1


async def test_what_a_full_disk_refused_is_told_once_it_has_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The transaction that ends a stage, and tells of its start, is tried again as a whole."""
    monkeypatch.setattr(sqlite_writer, "PATIENCE", 3600.0)
    monkeypatch.setattr(sqlite_writer, "_RETRY_AFTER", 0.01)
    async with SqliteStateStore.open(tmp_path / "s.db") as store:
        writer = store._writer
        assert isinstance(writer, sqlite_writer.Writer)
        real, refusals = writer._write_changes, [0]

        def full(con: sqlite3.Connection, changes: Any) -> list[Exception | None]:
            results = real(con, changes)
            refusals[0] += 1
            if refusals[0] % 2:
                error = sqlite3.OperationalError("database or disk is full")
                error.sqlite_errorcode = sqlite3.SQLITE_FULL
                raise error
            return results

        monkeypatch.setattr(writer, "_write_changes", full)
        goes_on = asyncio.Event()
        goes_on.set()
        async with Engine(blocked(asyncio.Event(), goes_on), store) as engine:
            assert (await engine.run([{"id": str(n)} for n in range(5)])).completed == 5
            told = [e.kind.value async for e in engine.events(item_id="3")]
        assert refusals[0] > 2
        assert told == ["item_added", *["stage_started", "stage_completed"] * 2, "workflow_completed"]
        assert (await store.counts()).stages == {"one": {StageState.COMPLETED: 5}, "two": {StageState.COMPLETED: 5}}


def test_undo_takes_back_the_last_first() -> None:
    place = {"a": 1}
    undo = Undo()
    undo.put(place, "a", 2)
    undo.put(place, "b", 3)
    before = undo.done
    undo.put(place, "b", 4)
    undo.drop(place, "a")
    undo.undo(before)
    assert place == {"a": 2, "b": 3}
    undo.undo()
    assert place == {"a": 1}
    undo.put(place, "a", 5)
    undo.keep()
    undo.undo()
    assert place == {"a": 5}


def test_undo_takes_back_what_was_done_to_many_at_once() -> None:
    place, others = {"a": 1}, [{"x": 1}, {}]
    undo = Undo()
    undo.put_all(place, {"a": 2, "b": 3})
    undo.put_in_each(others, "x", 2)
    before = undo.done
    undo.drop_all(place, ["a", "b"])
    assert (place, others) == ({}, [{"x": 2}, {"x": 2}])
    undo.undo(before)
    assert place == {"a": 2, "b": 3}
    undo.undo()
    assert (place, others) == ({"a": 1}, [{"x": 1}, {}])


async def test_a_start_of_an_earlier_claim_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process took the item from its worker, which claims it again before it has noticed."""
    monkeypatch.setattr(sqlite_writer, "PATIENCE", 3600.0)
    path = tmp_path / "s.db"
    flow = blocked(asyncio.Event(), asyncio.Event()).definition
    me = WorkerIdentity("me", "here", "boot", 1, "1")
    async with SqliteStateStore.open(path) as store, SqliteStateStore.open(path) as other:
        await store.bind(flow)
        await store.add([NewItem("x", '{"id":"x"}')], decide.arrive(flow, now_us()))
        worker = await store.enlist(me)

        async def claim() -> ItemState:
            (state,) = (await store.claim(worker, 1, now_us(), is_dead=lambda _: False)).items
            decide.count(flow, state)
            await commit(state, decide.begin(flow, state, now_us(), 5))
            return state

        async def commit(state: ItemState, change: Transition) -> None:
            decide.apply(flow, state, change)
            await store.commit(state, change)

        state = await claim()
        done = AttemptRow("one", None, 1, now_us(), now_us(), Ended.COMPLETED, "1")
        await commit(state, decide.settle(flow, state, done, now_us(), 0.0, 5))
        await other.revise("x", lambda stored: decide.rerun(flow, stored, "one", now_us(), cascade=True))
        again = await claim()
        assert again.stages["one"].state is StageState.RUNNING
        assert dict(states(path)) == {"one": "running"}
        assert [event.stage for event in await store.events(0, 100) if event.kind == "stage_started"] == ["one", "one"]
