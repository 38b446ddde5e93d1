"""An item that kills its worker each time fails after three deaths, and takes nobody else with it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.crash.bench import Bench, Tally
from tests.crash.lab import LONG, Twist, check_invariants, sql, until

pytestmark = [pytest.mark.may_block, pytest.mark.timeout(240)]  # other processes are what is tested

POISON = {"exit1", "fault1", "exit2", "fault2", "exit3"}


def moved(bench: Bench, items: int, *twists: Twist) -> tuple[Path, int]:
    """The store when a run has come to its end, and how many deaths that took."""
    folder = bench.folder()
    for deaths in range(100):
        process = bench.start(folder, "poisoned", folder / "s.db", items, twists=twists)
        if until(lambda process=process: process.code is not None and [process.code], 60) == [0]:
            return folder / "s.db", deaths
    raise AssertionError(f"the run never came to its end: {process.errors.read_text()}")


def failed(store: Path) -> set[object]:
    return {row[0] for row in sql(store, "SELECT item_id FROM stage_statuses WHERE stage = 'first' AND state = 'failed'")}


@pytest.mark.promise("poison is named after three deaths, and nothing else is failed for it (items)")
def test_poison_is_named_after_three_deaths_and_the_rest_succeed(bench: Bench, tally: Tally) -> None:
    items = 10_000 if LONG else 1_000
    store, deaths = moved(bench, items)
    assert failed(store) == POISON
    assert sql(store, "SELECT count(*) FROM items WHERE phase = 1") == [(items,)]
    assert deaths <= 3 * (len(POISON) + 1)
    assert sql(store, "SELECT count(*) FROM stage_statuses WHERE stage = 'beside' AND state = 'completed'") == [
        (items + len(POISON) + 1,)
    ]
    # Of a fan-out only the child that did it.
    children = sql(store, "SELECT subtask_name, state FROM subtask_statuses WHERE state <> 'completed'")
    assert children == [("exit", "failed")]
    assert sql(store, "SELECT count(*) FROM subtask_statuses") == [(121,)]
    for name in POISON:
        rows = sql(
            store, "SELECT a.error, a.failure FROM attempts a JOIN items i ON i.id = a.item JOIN names n ON n.id = a.stage"
            " WHERE n.name = 'first' AND i.key = ?", name,
        )  # fmt: skip
        assert len(rows) == 3
        for error, lost in rows:
            told = json.loads(str(lost))
            assert {"worker", "host", "pid", "last_seen"} == told.keys()
            assert f"worker {told['worker']} on {told['host']}" in str(error)
        assert len({json.loads(str(lost))["pid"] for _, lost in rows}) == 3
    check_invariants(store)
    tally.case(count=items)


def test_the_lab_would_see_innocents_that_are_charged(bench: Bench) -> None:
    store, _ = moved(bench, 200, ("together",))
    children = sql(store, "SELECT count(*) FROM subtask_statuses WHERE state = 'failed'")
    assert failed(store) != POISON or children != [(1,)]


def test_what_dies_before_its_start_is_written_is_counted(tmp_path: Path) -> None:
    """Nothing but the claim is on the disk when it takes its worker down: it must not do so for ever."""
    script, store = tmp_path / "app.py", tmp_path / "s.db"
    script.write_text(
        "import os, sys, treadle\nflow = treadle.Workflow('brief')\n"
        "@flow.stage\nasync def first(item: dict) -> None:\n    return None\n"
        "@flow.stage(after=['first'])\nasync def second(item: dict) -> None:\n    os._exit(3)\n"
        "print(treadle.run(flow, [{'id': 'x'}], store=sys.argv[1]))\n"
    )
    codes = [subprocess.run([sys.executable, script, store], check=False, timeout=60).returncode for _ in range(4)]
    assert codes == [3, 3, 3, 0]
    assert sql(store, "SELECT stage, state FROM stage_statuses ORDER BY stage") == [("first", "completed"), ("second", "failed")]
    (row,) = sql(store, "SELECT error FROM stage_statuses WHERE stage = 'second'")
    assert "interrupted 3 times" in str(row[0])


@pytest.mark.parametrize("leave", ["limit=1", "rate='100/s'", "when=lambda item: True", "batch=2, batch_wait=0.01, limit=1", ""])
def test_poison_that_kills_at_once_is_named_however_it_was_let_in(tmp_path: Path, leave: str) -> None:
    script = tmp_path / "app.py"
    script.write_text(
        "import asyncio, os, sys\nfrom treadle import Engine, Workflow, open_store\n"
        f"flow = Workflow('poison')\n@flow.stage({leave})\nasync def a(given):\n    os._exit(9)\n"
        "async def main():\n    async with open_store(sys.argv[1]) as s, Engine(flow, s) as e:\n"
        "        await e.run([{'id': 'x'}])\nasyncio.run(main())\n"
    )
    codes = [subprocess.run([sys.executable, script, tmp_path / "s.db"], check=False, timeout=50).returncode for _ in range(4)]
    assert codes == [9, 9, 9, 0]
    assert sql(tmp_path / "s.db", "SELECT item_id, state FROM stage_statuses") == [("x", "failed")]
