"""Every kind of bad input gets an error that names the item, stage or file; nothing else is lost or stopped."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from treadle import (
    Engine,
    InvalidItem,
    ItemConflict,
    SchemaTooNew,
    SourceFailed,
    StageState,
    StateStore,
    StoreCorrupt,
    StoreError,
    StoreUnavailable,
    Workflow,
    open_store,
)

Item = dict[str, Any]
RAISED = {
    "SystemExit": SystemExit,
    "KeyboardInterrupt": KeyboardInterrupt,
    "CancelledError": asyncio.CancelledError,
    "GeneratorExit": GeneratorExit,
}


def plain(name: str = "plain") -> Workflow:
    flow = Workflow(name)

    @flow.stage
    async def body(item: Item) -> int:
        return 1

    return flow


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_a_missing_folder_and_a_folder_are_no_store(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match=r"nowhere/s\.db cannot be made: No such file or directory"):
        await open_store(tmp_path / "nowhere" / "s.db")
    with pytest.raises(StoreUnavailable, match="cannot be opened: Is a directory"):
        await open_store(tmp_path)


async def test_a_file_that_is_no_database_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "letter.txt"
    path.write_text("Dear Sir or Madam")
    with pytest.raises(StoreCorrupt, match=r"letter\.txt is no SQLite database; name another file"):
        await open_store(path)
    assert path.read_text() == "Dear Sir or Madam"
    assert names(tmp_path) == [path.name]


async def test_a_newer_schema_stays_byte_for_byte_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    async with open_store(path) as store, Engine(plain(), store) as engine:
        await engine.run([{"id": "x"}])
    con = sqlite3.connect(path)
    con.execute("UPDATE schema_version SET version = 99")
    con.commit()
    con.execute("PRAGMA journal_mode=DELETE")
    con.close()
    before = path.read_bytes()
    with pytest.raises(SchemaTooNew, match=r"new\.db has schema 99, this Treadle knows up to 8; upgrade Treadle"):
        await open_store(path)
    assert path.read_bytes() == before
    assert names(tmp_path) == [path.name]


async def test_a_store_of_another_workflow_is_left_as_it_is(store: StateStore) -> None:
    async with Engine(plain("letters"), store) as engine:
        await engine.run([{"id": "x"}])
    with pytest.raises(StoreError, match="belongs to workflow 'letters', not 'papers'; give 'papers' a store of its own"):
        await Engine(plain("papers"), store).run([{"id": "y"}])
    async with Engine(plain("letters"), store) as engine:
        assert (await engine.run()).items == 1


@pytest.mark.parametrize(
    ("item", "says"),
    [
        ({"name": "no id"}, "an item has no id"),
        ("just text", "an item has no id"),
        (None, "an item has no id"),
        ({"id": None}, "None cannot be an item's id"),
        ({"id": 1.5}, r"1\.5 cannot be an item's id"),
        ({"id": True}, "True cannot be an item's id"),
        ({"id": ""}, "it has 0 bytes; 1 to 512 are allowed"),
        ({"id": "x" * 513}, "it has 513 bytes"),
        ({"id": "é" * 257}, "it has 514 bytes"),
        ({"id": "a\x00b"}, r"control character U\+0000"),
        ({"id": "a\nb"}, r"control character U\+000A"),
        ({"id": "a\x85b"}, r"control character U\+0085"),
        ({"id": "\ud800"}, "lone surrogate"),
        ({"id": "safe\u202egpj.exe"}, r"control character U\+202E"),
        ({"id": "nan", "n": float("nan")}, "item 'nan'.*not JSON compliant"),
        ({"id": "odd", "n": object()}, "item 'odd'"),
        ({"id": "long", "n": "x" * 300_000}, "item 'long'.*at most 262,144 are stored"),
    ],
)
async def test_an_item_that_cannot_be_taken_stops_no_other(store: StateStore, item: Any, says: str) -> None:
    async with Engine(plain(), store) as engine:
        with pytest.raises(InvalidItem, match=says):
            await engine.run([{"id": "before"}, item, {"id": "after"}])
        assert (await engine.run()).completed == 2


async def test_the_same_id_with_other_content_keeps_the_first(store: StateStore) -> None:
    async with Engine(plain(), store) as engine:
        with pytest.raises(ItemConflict, match="item 'x' is already stored with other content; give the new one another id"):
            await engine.run([{"id": "x", "n": 1}, {"id": "x", "n": 2}, {"id": "y"}])
        with pytest.raises(ItemConflict, match="item 'x'"):
            await engine.run([{"id": "x", "n": 3}, {"id": "z"}])
        assert (await engine.run([{"n": 1, "id": "x"}])).completed == 3
        state = await store.load("x")
    assert state is not None
    assert state.payload == '{"id":"x","n":1}'


async def test_a_source_that_raises_half_way_keeps_what_it_gave(store: StateStore) -> None:
    def half() -> Iterator[Item]:
        yield from ({"id": n} for n in range(5))
        raise OSError("the disk is gone")

    async with Engine(plain(), store) as engine:
        with pytest.raises(SourceFailed, match=r"raised OSError: the disk is gone \(after 5 items, which are stored\)"):
            await engine.run(half(), concurrency=2)
        assert (await engine.run()).completed == 5


@pytest.mark.parametrize("name", list(RAISED))
@pytest.mark.parametrize("limit", [None, 30.0])
@pytest.mark.parametrize("kind", ["async", "thread", "inline", "when", "subtask"])
async def test_a_base_exception_fails_its_stage_and_nothing_else(
    store: StateStore, name: str, limit: float | None, kind: str
) -> None:
    from treadle import FanOut, SubTask

    flow = Workflow("bases")
    options: dict[str, Any] = {} if limit is None else {"timeout": limit}

    def boom(item: Item) -> Any:
        if item["id"] == "bad":
            raise RAISED[name]("on purpose")
        return True

    async def async_boom(item: Item) -> Any:
        return boom(item)

    async def body(item: Item, ctx: Any) -> Any:
        if kind == "subtask" and ctx.subtask is None:
            return FanOut([SubTask("a")])
        return True if kind == "when" else boom(item)

    if kind == "when":
        options["when"] = boom
    if kind in ("thread", "inline"):
        boom.__name__ = "body"
        flow.stage(executor=kind, **options)(boom)
    else:
        flow.stage(**options)(body)
    async with asyncio.timeout(20), Engine(flow, store) as engine:
        report = await engine.run([{"id": "bad"}, {"id": "good"}])
        assert (report.completed, report.failed) == (1, 1)
        entry = (await engine.status("bad"))["body"]
        error = entry.subtasks[0].error if kind == "subtask" else entry.error
        carried = "RuntimeError: the stage raised " if kind in ("thread", "when") and name == "GeneratorExit" else ""
        assert error == f"{carried}{name}: on purpose"
        assert (await engine.run([{"id": "later"}])).completed == 2


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("many", "a str was given where int is declared"),
        (float("nan"), "int"),
        (object(), "int"),
        ([1], "int"),
    ],
)
async def test_a_wrong_type_names_stage_and_item(store: StateStore, value: Any, says: str) -> None:
    flow = Workflow("types")

    @flow.stage
    async def count(item: Item) -> int:
        return value if item["id"] == "bad" else 1  # type: ignore[no-any-return]  # that it is none is the point

    async with Engine(flow, store) as engine:
        report = await engine.run([{"id": "bad"}, {"id": "good"}])
        assert (report.completed, report.failed) == (1, 1)
        error = (await engine.status("bad"))["count"].error or ""
        assert "stage 'count' of item 'bad'" in error
        assert says in error


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (object(), "not a JSON type"),
        ({1, 2}, "not a JSON type"),
        (b"bytes", "not a JSON type"),
        (float("nan"), "not JSON compliant"),
        ([float("inf")], "not JSON compliant"),
        ("a\x00", "NUL"),
        ("\ud800", "lone surrogate"),
    ],
)
async def test_an_artefact_that_is_not_json_names_stage_and_item(store: StateStore, value: Any, says: str) -> None:
    flow = Workflow("artefacts")

    @flow.stage
    async def make(item: Item):  # type: ignore[no-untyped-def]  # without a type, anything goes as far as JSON does
        return value if item["id"] == "bad" else 1

    async with Engine(flow, store) as engine:
        report = await engine.run([{"id": "bad"}, {"id": "good"}])
        assert (report.completed, report.failed) == (1, 1)
        error = (await engine.status("bad"))["make"].error or ""
        assert "stage 'make' of item 'bad'" in error
        assert says in error


async def test_a_coroutine_that_ignores_its_time_limit_is_left_behind(store: StateStore) -> None:
    release, flow = asyncio.Event(), Workflow("deaf")

    @flow.stage(timeout=0.05)
    async def deaf(item: Item) -> None:
        while item["id"] == "bad" and not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    async with asyncio.timeout(20), Engine(flow, store) as engine:
        report = await engine.run([{"id": "bad"}, {"id": "good"}])
        assert (report.completed, report.failed) == (1, 1)
        assert (await engine.status("bad"))["deaf"].error == "timed out after 0.05 s"
        release.set()


async def test_a_thread_that_never_returns_is_left_behind(store: StateStore) -> None:
    release, flow = threading.Event(), Workflow("stuck")

    @flow.stage(timeout=0.05)
    def stuck(item: Item) -> None:
        if item["id"] == "bad":
            release.wait(30)

    async with asyncio.timeout(20), Engine(flow, store) as engine:
        report = await engine.run([{"id": "bad"}, {"id": "good"}])
        assert (report.completed, report.failed) == (1, 1)
        assert (await engine.status("bad"))["stuck"].error == "timed out after 0.05 s"
        release.set()


async def test_stopping_at_once_leaves_a_coroutine_behind_that_ignores_it(
    store: StateStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from treadle import worker

    monkeypatch.setattr(worker, "_PATIENCE", 0.05)
    inside, release, flow = asyncio.Event(), asyncio.Event(), Workflow("deaf")

    @flow.stage
    async def deaf(item: Item) -> None:
        inside.set()
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    async with asyncio.timeout(20), Engine(flow, store) as engine:
        run = asyncio.create_task(engine.run([{"id": "x"}]))
        await inside.wait()
        engine.stop(now=True)
        assert (await run).pending == 1
        assert "a stage of item 'x' ignores that it was cancelled: it is left behind" in caplog.text
    release.set()
    async with asyncio.timeout(20), Engine(flow, store) as engine:
        # What the one left behind says is not taken: its claim is gone.
        assert (await engine.run()).completed == 1
        assert (await engine.status("x"))["deaf"].attempt == 2


async def test_cancelling_an_item_does_not_wait_for_a_coroutine_that_ignores_it(
    store: StateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    from treadle import worker

    monkeypatch.setattr(worker, "_PATIENCE", 0.05)
    inside, release, flow = asyncio.Event(), asyncio.Event(), Workflow("deaf")

    @flow.stage
    async def deaf(item: Item) -> None:
        inside.set()
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    async with asyncio.timeout(20), Engine(flow, store) as engine:
        run = asyncio.create_task(engine.run([{"id": "x"}]))
        await inside.wait()
        await engine.cancel("x")
        assert (await run).cancelled == 1
        release.set()


async def test_a_removed_stage_with_live_rows_is_refused_with_a_way_out(store: StateStore) -> None:
    old = Workflow("moved")

    @old.stage
    async def scan(item: Item) -> None:
        if item["id"] != "fine":
            raise ValueError("bad scan")

    async with Engine(old, store) as engine:
        await engine.run([{"id": "a"}, {"id": "b"}, {"id": "fine"}])

    new = Workflow("moved")

    @new.stage
    async def read(item: Item) -> None: ...

    with pytest.raises(StoreError) as caught:
        await Engine(new, store).run()
    said = str(caught.value)
    assert "'scan': 2 items, among them 'a', 'b'" in said
    assert "put the stages back, or say what became of them: `treadle migrate" in said
    async with Engine(old, store) as engine:
        assert (await engine.status("a"))["scan"].state is StageState.FAILED
        await engine.cancel("a")
        await engine.cancel("b")
    async with Engine(new, store) as engine:
        assert (await engine.run()).completed == 1


async def test_a_plain_handler_of_an_async_fan_out_runs_in_a_thread(store: StateStore) -> None:
    from treadle import FanOut, SubTask

    flow, ran = Workflow("mixed"), []

    @flow.stage
    async def split(item: Item) -> FanOut:
        return FanOut([SubTask("a"), SubTask("b")])

    @split.subtask
    def child(item: Item, subtask: SubTask) -> str:
        ran.append(threading.current_thread() is threading.main_thread())
        return subtask.name

    async with asyncio.timeout(20), Engine(flow, store) as engine:
        assert (await engine.run([{"id": "x"}])).completed == 1
    assert ran == [False, False]


async def test_a_plain_function_may_run_on_the_loop(store: StateStore) -> None:
    flow, ran = Workflow("inline"), []

    @flow.stage(executor="inline")
    def body(item: Item) -> int:
        ran.append(threading.current_thread() is threading.main_thread())
        return 1

    async with Engine(flow, store) as engine:
        assert (await engine.run([{"id": "x"}])).completed == 1
    assert ran == [True]
