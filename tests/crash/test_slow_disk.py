"""A disk whose every sync takes 50 ms: throughput falls, latency and memory stay bounded, and nothing is lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.crash.lab import check_invariants, ran, sql

pytestmark = pytest.mark.may_block  # another process is what is tested

SCRIPT = """
import asyncio, json, resource, sqlite3, sys, time
from treadle import Engine, Workflow, open_store
from treadle.stores import sqlite_schema, sqlite_writer
from treadle.stores.sqlite import SqliteStateStore

SYNC = float(sys.argv[2])


class SlowDisk(sqlite3.Connection):
    def execute(self, statement, *values):
        if statement == "COMMIT" and self.in_transaction and self.total_changes != getattr(self, "synced", 0):
            self.synced = self.total_changes
            time.sleep(SYNC)
        return super().execute(statement, *values)


connect = sqlite3.connect
sqlite3.connect = lambda *given, **options: connect(*given, **options, factory=SlowDisk)
flow = Workflow("slow")


@flow.stage
async def one(item):
    return "x" * 2000


@flow.stage
async def two(item, one):
    return len(one)


async def main():
    late, most = [], 0

    async def watch(writer):
        nonlocal most
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.005)
            late.append(time.monotonic() - began - 0.005)
            most = max(most, len(writer._queue))

    async with open_store(sys.argv[1]) as store, Engine(flow, store) as engine:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        watching = asyncio.create_task(watch(store._writer))
        began = time.monotonic()
        report = await engine.run(({"id": f"i{n}"} for n in range(int(sys.argv[3]))), concurrency=100)
        watching.cancel()
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        said = {"completed": report.completed, "seconds": time.monotonic() - began, "queue": most, "grown_kb": grown}
        print(json.dumps(said | {"late": sorted(late)[len(late) // 2], "latest": max(late)}))


asyncio.run(main())
"""


def moved(folder: Path, sync: float, count: int) -> dict[str, float]:
    script = folder / "slow.py"
    script.write_text(SCRIPT)
    done = ran(script, folder / f"{sync}.db", str(sync), str(count))
    assert done.returncode == 0, done.stderr
    said: dict[str, float] = json.loads(done.stdout)
    return said


def test_a_slow_disk_costs_throughput_and_nothing_else(tmp_path: Path) -> None:
    slow = moved(tmp_path, 0.05, 1_500)
    assert slow["completed"] == 1_500
    # A transaction for each of three writes of each hundred items, and a claim: about four syncs a hundred items.
    assert slow["seconds"] > 15 * 2 * 0.05, "the disk was not slow"
    # A sync or two may be on the loop before it is known that the disk is slow; after that they wait in a thread.
    assert slow["late"] < 0.025
    assert slow["latest"] < 0.5
    # What waits is what moves: no more is taken in than can be written.
    assert slow["queue"] <= 400
    assert slow["grown_kb"] < 60_000
    check_invariants(tmp_path / "0.05.db")
    assert sql(tmp_path / "0.05.db", "SELECT count(*) FROM stages WHERE state = 2") == [(3_000,)]
