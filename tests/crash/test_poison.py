"""An item that kills its worker each time fails after three deaths, and takes nobody else with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.crash.judge import check_invariants
from tests.crash.lab import LONG, ran, sql

pytestmark = [pytest.mark.may_block, pytest.mark.timeout(240)]  # other processes are what is tested

SCRIPT = """
import asyncio, os, signal, sys
from treadle import Engine, FanOut, SubTask, Workflow, open_store

{sabotage}
flow = Workflow("poison")


def drink(name):
    if name.startswith("exit"):
        os._exit(1)
    if name.startswith("fault"):
        os.kill(os.getpid(), signal.SIGSEGV)


@flow.stage
async def first(item):
    await asyncio.sleep(0)
    drink(item["id"])
    return 1


@flow.stage
async def split(item, first):
    return FanOut([SubTask(name) for name in item.get("parts", [])])


@split.subtask
async def part(item, subtask):
    await asyncio.sleep(0.001)
    drink(str(subtask))
    return 1


async def main():
    items = [{{"id": f"i{{n}}"}} for n in range(int(sys.argv[2]))]
    for n, name in enumerate(("exit1", "fault1", "exit2", "fault2", "exit3")):
        items.insert(n * len(items) // 5, {{"id": name}})
    items.append({{"id": "parts", "parts": [f"s{{n}}" for n in range(60)] + ["exit"] + [f"t{{n}}" for n in range(60)]}})
    async with open_store(sys.argv[1]) as store, Engine(flow, store) as engine:
        await engine.run(items, concurrency=100)


asyncio.run(main())
"""
SABOTAGE = """
from treadle import suspects
suspects.FEW = 10**6
suspects._level = lambda state: 1
"""
POISON = {"exit1", "fault1", "exit2", "fault2", "exit3"}


def moved(tmp_path: Path, items: int, sabotage: str = "") -> tuple[Path, int]:
    """The store when a run has come to its end, and how many deaths that took."""
    script, store = tmp_path / "app.py", tmp_path / "s.db"
    script.write_text(SCRIPT.format(sabotage=sabotage))
    for deaths in range(100):
        done = ran(script, store, str(items))
        if done.returncode == 0:
            return store, deaths
    raise AssertionError(f"the run never came to its end: {done.stderr}")


def failed(store: Path) -> set[object]:
    return {row[0] for row in sql(store, "SELECT item_id FROM stage_statuses WHERE stage = 'first' AND state = 'failed'")}


def test_poison_is_named_after_three_deaths_and_the_rest_succeed(tmp_path: Path) -> None:
    items = 10_000 if LONG else 1_000
    store, deaths = moved(tmp_path, items)
    assert failed(store) == POISON
    assert sql(store, "SELECT count(*) FROM items WHERE phase = 1") == [(items,)]
    assert deaths <= 3 * (len(POISON) + 1)
    # Of a fan-out only the child that did it.
    children = sql(store, "SELECT subtask_name, state FROM subtask_statuses WHERE state <> 'completed'")
    assert children == [("exit", "failed")]
    assert sql(store, "SELECT count(*) FROM subtask_statuses") == [(121,)]
    for name in POISON:
        rows = sql(store, "SELECT a.error, a.failure FROM attempts a JOIN items i ON i.id = a.item WHERE i.key = ?", name)
        assert len(rows) == 3
        for error, lost in rows:
            told = json.loads(str(lost))
            assert {"worker", "host", "pid", "last_seen"} == told.keys()
            assert f"worker {told['worker']} on {told['host']}" in str(error)
        assert len({json.loads(str(lost))["pid"] for _, lost in rows}) == 3
    check_invariants(store)


def test_the_lab_would_see_innocents_that_are_charged(tmp_path: Path) -> None:
    store, _ = moved(tmp_path, 200, SABOTAGE)
    children = sql(store, "SELECT count(*) FROM subtask_statuses WHERE state = 'failed'")
    assert failed(store) != POISON or children != [(1,)]
