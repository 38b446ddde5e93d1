"""Pruning beside a running engine, killed in the middle, and what doctor says afterwards."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.crash.lab import check_invariants, ran, sql, started, treadle, until
from treadle import Engine, FanOut, MemoryStateStore, SubTask, Workflow, open_store, retention, run
from treadle.clock import now_us
from treadle.presence import is_gone
from treadle.stores import sqlite_health
from treadle.stores.sqlite_health import examine

NOW = timedelta(0)


def flow() -> Workflow:
    made = Workflow("kept")

    @made.stage
    async def split(item: dict[str, Any]) -> FanOut:
        return FanOut([SubTask(f"child-{number}") for number in range(item.get("children", 2))])

    @split.subtask
    async def child(item: dict[str, Any]) -> str:
        return "done"

    @made.stage
    async def join(item: dict[str, Any], split: dict[str, str]) -> str:
        return "x" * 100

    return made


def items(count: int, first: int = 0) -> list[dict[str, Any]]:
    return [{"id": f"i{number}"} for number in range(first, first + count)]


def left(path: Path) -> dict[str, int]:
    tables = ("items", "stages", "subtasks", "attempts", "reviews", "leftovers")
    return {table: number for table in tables if (number := sql(path, f"SELECT count(*) FROM {table}")[0][0])}


@pytest.mark.may_block  # the command and its file are the test's own
def test_the_command_says_how_many_and_the_journal_who_and_why(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    run(flow(), items(500), store=path)
    old = ran(*treadle("prune", "--older", "30d", "--store", path))
    assert (old.returncode, old.stdout) == (0, "0 items are no more\n")
    dry = ran(*treadle("prune", "--older", "0s", "--dry-run", "--store", path))
    assert (dry.returncode, dry.stdout) == (0, "500 items would be no more\n")
    done = ran(*treadle("prune", "--older", "0s", "--reviewer", "ann", "--reason", "law", "--store", path))
    assert (done.returncode, done.stdout) == (0, "500 items are no more\n")
    assert left(path) == {}
    told = ran(*treadle("events", "--store", path)).stdout.splitlines()
    assert [line.split(maxsplit=2)[2] for line in told] == [f"items_pruned  {n} by ann law" for n in (200, 200, 100)]
    assert ran(*treadle("prune", "--older", "soon", "--store", path)).returncode == 2
    assert "no items yet" in ran(*treadle("status", "--store", path)).stdout


async def test_an_engine_goes_on_beside_it_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    async with open_store(path) as store, open_store(path) as other:
        await Engine(flow(), store).run(items(300))
        async with Engine(flow(), store) as engine:
            running = asyncio.create_task(engine.run(items(600, 300)))
            pruned = await retention.prune(other, NOW, by="ann")
            report = await running
        pruned += await retention.prune(other, NOW, by="ann")
        assert pruned == 900
        assert report.failed == report.pending == 0
        assert (await store.counts()).items == 0
        assert sum(event.data["items"] for event in await other.events(0, 10_000)) == 900
    assert await asyncio.to_thread(left, path) == {}


async def test_a_pruned_item_that_comes_again_is_a_new_one() -> None:
    store = MemoryStateStore()
    for _ in range(2):
        report = await Engine(flow(), store).run(items(3))
        assert (report.completed, report.stages_run) == (3, 12)
        assert await retention.prune(store, NOW, by="ann") == 3


@pytest.mark.may_block  # it waits for processes
def test_an_item_of_many_rows_holds_the_lock_no_longer_and_a_kill_leaves_it_to_the_next(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    run(flow(), [{"id": "wide", "children": 20_000}, *items(5)], store=path)
    with started(*treadle("prune", "--older", "0s", "--store", path)) as child:
        until(lambda: sql(path, "SELECT count(*) FROM leftovers")[0][0])
        child.send_signal(signal.SIGKILL)
    assert sql(path, "SELECT count(*) FROM items") == [(0,)]
    assert left(path).get("leftovers"), "it was killed in the middle"
    check_invariants(path)
    findings = {finding.about: finding.said for finding in examine(str(path), now_us(), is_gone)}
    assert findings["pruned"].endswith("pruned items are still to be removed")
    assert ran(*treadle("prune", "--older", "36500d", "--store", path)).stdout == "0 items are no more\n"
    assert left(path) == {}
    assert [row[0] for row in sql(path, "SELECT item FROM events")] == [0]


@pytest.mark.may_block  # the file is the test's own
def test_doctor_advises_vacuum_when_much_of_the_file_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "s.db"
    run(flow(), items(2_000), store=path)
    monkeypatch.setattr(sqlite_health, "_MUCH_FREE", 100_000)
    assert not any(finding.about == "free" for finding in examine(str(path), now_us(), is_gone))
    ran(*treadle("prune", "--older", "0s", "--store", path))
    (found,) = [finding for finding in examine(str(path), now_us(), is_gone) if finding.about == "free"]
    assert "VACUUM" in found.do
    size = path.stat().st_size
    con = sqlite3.connect(path)
    con.execute("VACUUM")
    con.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    con.close()
    assert path.stat().st_size < size / 4
    assert json.loads(ran(*treadle("doctor", "--format", "json", "--store", path)).stdout)["store"] == str(path)
