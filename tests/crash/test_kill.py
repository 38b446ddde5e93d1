"""``kill -9`` at any moment loses nothing that was acknowledged, and runs nothing acknowledged again."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

from tests.crash.bench import Bench, Tally
from tests.crash.judge import Witness, faults
from tests.crash.lab import LONG, Twist, sql, until
from treadle import Engine, StageState, Workflow, open_store

pytestmark = [pytest.mark.may_block, pytest.mark.timeout(7200 if LONG else 600)]  # other processes are what is tested

ITEMS = 200
KILLS = 10_000 if LONG else 1_000
LONGEST = 0.06
"""Seconds after which a worker that is killed in its beginning is killed at the latest."""


def killed(bench: Bench, tally: Tally, kills: int, workers: int, *twists: Twist, work: str = "work") -> None:
    """Kill workers of one store after another until there were so many kills or one of them did harm."""
    while tally.cases < kills and not tally.failures:
        folder = bench.folder()
        store, side = folder / "s.db", folder / "side"
        bench.start(folder, "fill", store, ITEMS).finish()
        crew = [bench.start(folder, work, store, side, twists=twists) for _ in range(workers)]
        while tally.cases < kills and _open(store):
            bench.let_work(side, LONGEST)
            place = bench.chance.randrange(workers)
            if crew[place].kill():
                tally.case()
            crew[place] = bench.start(folder, work, store, side, twists=twists)
        for worker in crew:
            worker.kill()
        bench.start(folder, "finish", store, side, twists=twists).finish(60)
        tally.case(faults(store, Witness(side), ended=True), count=0)


def _open(store: Path) -> bool:
    return bool(sql(store, "SELECT 1 FROM items WHERE phase <> 1 LIMIT 1"))


@pytest.mark.promise("an acknowledged write survives kill -9 (one worker)")
def test_nothing_acknowledged_is_lost_or_run_again(bench: Bench, tally: Tally) -> None:
    killed(bench, tally, KILLS * 7 // 10, 1)
    tally.check()


@pytest.mark.promise("an acknowledged write survives kill -9 (one of two workers)")
def test_of_two_workers_either_may_be_killed(bench: Bench, tally: Tally) -> None:
    killed(bench, tally, KILLS * 3 // 10, 2)
    tally.check()


@pytest.mark.promise("an acknowledged write survives kill -9 (a worker in batches)")
def test_what_came_out_of_a_batch_is_kept(bench: Bench, tally: Tally) -> None:
    killed(bench, tally, KILLS // 20, 1, work="work_in_batches")
    tally.check()


@pytest.mark.parametrize("twist", ["acknowledge_before_commit", "tell_later"])
def test_the_lab_would_see(bench: Bench, tally: Tally, twist: str) -> None:
    killed(bench, tally, 300, 1, (twist,))
    assert tally.failures


def test_a_line_that_a_kill_has_cut_says_nothing_and_spoils_no_other(tmp_path: Path) -> None:
    first, second = Witness(tmp_path / "first"), Witness(tmp_path / "second")
    first.tell("ack", "i99", "c")
    second.tell("ack", "i173", "b")
    whole, other = first.path.read_bytes(), second.path.read_bytes()
    for end in range(len(whole)):
        first.path.write_bytes(whole[:end] + other)
        assert first.lines() == [("ack", "i173 b")]
    first.path.write_bytes(whole + other)
    assert first.lines() == [("ack", "i99 c"), ("ack", "i173 b")]


def _die_in_a_stage(bench: Bench, folder: Path) -> None:
    side = Witness(folder / "side")
    before = len(side.lines())
    with bench.start(folder, "held", folder / "s.db", side.path, folder / "gate", 30.0):
        until(lambda: len(side.lines()) > before)


def test_what_only_our_kills_have_failed_comes_to_its_end(bench: Bench) -> None:
    folder = bench.folder()
    store, side = folder / "s.db", folder / "side"
    bench.start(folder, "fill", store, 1).finish()
    for _ in range(3):
        _die_in_a_stage(bench, folder)
    bench.start(folder, "finish", store, side).finish()
    assert faults(store, Witness(side), ended=True) == []


async def test_a_stage_that_was_running_at_the_kill_starts_again_at_once(tmp_path: Path) -> None:
    script = tmp_path / "app.py"
    script.write_text(
        "import asyncio, sys\nfrom treadle import Engine, Workflow, open_store\n"
        'flow = Workflow("again")\n@flow.stage\nasync def wait(item):\n    print("running", flush=True)\n    await asyncio.sleep(600)\n'
        "async def main():\n    async with open_store(sys.argv[1]) as s, Engine(flow, s) as e:\n"
        '        await e.run([{"id": "x"}])\nasyncio.run(main())\n'
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(script), str(tmp_path / "s.db"), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert (await process.stdout.readline()).strip() == b"running"
    process.kill()
    await process.wait()
    flow = Workflow("again")

    @flow.stage
    async def wait(item: dict[str, str]) -> str:
        return "done"

    async with open_store(tmp_path / "s.db") as store, Engine(flow, store) as engine:
        report = await engine.run()
        assert report.completed == 1
        status = await engine.status("x")
        assert status["wait"].state is StageState.COMPLETED
        kinds = [event.kind.value async for event in engine.events()]
        assert "stage_interrupted" in kinds
        assert json.loads((await store.load("x")).stages["wait"].artefact) == "done"  # type: ignore[union-attr, arg-type]
