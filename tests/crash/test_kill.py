"""``kill -9`` at any moment loses nothing that was acknowledged, and runs nothing acknowledged again."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from treadle import Engine, StageState, Workflow, open_store

ITEMS, STAGES = 300, ("a", "b", "c")
SCRIPT = """
import asyncio, os, sys
from treadle import Engine, ItemPhase, Workflow, open_store
from treadle.store import Filter

witness = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
flow = Workflow("crash")


def tell(word, item, stage):
    # A write of a whole line to a file opened for appending survives the death of its process.
    os.write(witness, f"{word} {item} {stage}\\n".encode())


@flow.stage
async def a(item):
    tell("ran", item["id"], "a")
    return 1


@flow.stage
async def b(item, a):
    tell("ran", item["id"], "b")
    return a + 1


@flow.stage
async def c(item, b):
    tell("ran", item["id"], "c")
    return b + 1


def acknowledged(state, change):
    for row in change.stages:
        if row.state == "completed":
            tell("ack", state.id, row.stage)


async def main():
    async with open_store(sys.argv[1]) as store, Engine(flow, store) as engine:
        engine.observe(acknowledged)
        # Who is killed three times is taken for poison; here it was us.
        for item in await store.page(Filter(phase=ItemPhase.FAILED), None, 1000):
            await engine.retry(item.id)
        print("up", flush=True)
        await engine.run(({"id": f"i{n}"} for n in range(int(sys.argv[3]))), concurrency=20)


asyncio.run(main())
"""


def start(script: Path, store: Path, witness: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(script), str(store), str(witness), str(ITEMS)], stdout=subprocess.PIPE, text=True
    )


def lines(witness: Path) -> list[tuple[str, str, str]]:
    return [(w, i, s) for w, i, s in (line.split() for line in witness.read_text().splitlines())]


@pytest.mark.may_block
@pytest.mark.timeout(120)
def test_nothing_acknowledged_is_lost_or_run_again(tmp_path: Path) -> None:
    script, store, witness = tmp_path / "app.py", tmp_path / "store.db", tmp_path / "witness"
    script.write_text(SCRIPT)
    chance = random.Random(7)
    kills = 0
    for _ in range(200):
        process = start(script, store, witness)
        assert process.stdout is not None
        process.stdout.readline()
        seen = witness.stat().st_size if witness.exists() else 0
        goal = seen + chance.randrange(20, 2_000)
        while process.poll() is None and (not witness.exists() or witness.stat().st_size < goal):
            time.sleep(0.0005)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        code = process.wait()
        process.stdout.close()
        if code == 0:
            break
    assert code == 0, "the run never came to its end"
    assert kills >= 10
    acknowledged: set[tuple[str, str]] = set()
    for word, item, stage in lines(witness):
        if word == "ack":
            acknowledged.add((item, stage))
        else:
            assert (item, stage) not in acknowledged, f"{stage} of {item} ran again after it was acknowledged"
    assert len(acknowledged) <= ITEMS * len(STAGES)
    con = sqlite3.connect(store)
    assert con.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert con.execute("SELECT count(*) FROM stage_statuses WHERE state = 'completed'").fetchone() == (ITEMS * len(STAGES),)
    assert con.execute("SELECT count(*) FROM items WHERE worker IS NOT NULL").fetchone() == (0,)
    con.close()


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
