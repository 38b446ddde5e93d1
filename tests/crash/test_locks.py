"""Another process holds the write lock: that costs time, and neither an error nor the loop nor anybody's lease."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.crash.bench import Bench, Tally
from tests.crash.judge import Witness, events, faults
from tests.crash.lab import LONG, Forked, Twist, ran, sql, treadle, until
from treadle.clock import now_us
from treadle.presence import is_gone
from treadle.stores.sqlite_health import Weight, examine

pytestmark = [pytest.mark.may_block, pytest.mark.timeout(300 if LONG else 90)]  # other processes are what is tested

HELD = 20.0 if LONG else 4.0
LEASE = 1.5


def crew(bench: Bench, folder: Path, *twists: Twist) -> list[Forked]:
    """Two workers of different hosts in the middle of slow work, each of which writes the longest lag of its loop."""
    bench.start(folder, "fill", folder / "s.db", 80).finish()
    made = [
        bench.start(
            folder,
            "lagging",
            folder / "s.db",
            folder / f"side{n}",
            folder / f"lag{n}",
            LEASE,
            twists=[("elsewhere", f"host{n}"), *twists],
        )
        for n in range(2)
    ]
    until(lambda: all(Witness(folder / f"side{n}").lines() for n in range(2)))
    return made


def held(bench: Bench, *twists: Twist) -> Sequence[str]:
    """What went wrong while another process held the write lock for longer than the workers' lease."""
    folder = bench.folder()
    workers = crew(bench, folder, *twists)
    con = sqlite3.connect(folder / "s.db", isolation_level=None, timeout=30)
    con.execute("BEGIN IMMEDIATE")
    for n in range(2):
        os.truncate(folder / f"lag{n}", 0)
    time.sleep(HELD)
    # A loop that stands still all the time writes nothing.
    lags = [float((folder / f"lag{n}").read_text() or HELD) for n in range(2)]
    con.execute("ROLLBACK")
    con.close()
    until(lambda: not sql(folder / "s.db", "SELECT 1 FROM items WHERE phase <> 1"), 40)
    found = [f"worker {n} ended" for n, worker in enumerate(workers) if worker.code is not None]
    found += [f"the loop stood still for {lag * 1000:.0f} ms" for lag in lags if lag > 0.05]
    if events(folder / "s.db", "stage_interrupted") or events(folder / "s.db", "commit_refused"):
        found.append("somebody was taken for dead who only waited")
    for worker in workers:
        worker.kill()
    return found + faults(folder / "s.db", ended=True)


@pytest.mark.promise(f"the write lock is held by another process for {HELD:g} s: no error, no lost lease, loop lag under 50 ms")
def test_a_held_lock_costs_time_and_nothing_else(bench: Bench, tally: Tally) -> None:
    for _ in range(3):
        told = held(bench)
        if not all(text.startswith("the loop stood still") for text in told) or not told:
            break
        # A busy machine can hold up a loop as well; it does not do so three times.
    tally.case(told, count=2)
    tally.check()


@pytest.mark.parametrize("twist", ["wait_on_the_loop", "silence_always_counts"])
def test_the_lab_would_see(bench: Bench, tally: Tally, twist: str) -> None:
    tally.case(held(bench, (twist,)))
    assert tally.failures


@pytest.mark.promise("a worker that is stopped inside its transaction is named, and all go on when it does or ends")
@pytest.mark.parametrize("way_out", ["continued", "killed"])
def test_a_stopped_writer_is_named_and_waited_for(bench: Bench, tally: Tally, way_out: str) -> None:
    folder = bench.folder()
    store = folder / "s.db"
    bench.start(folder, "fill", store, 20).finish()
    stopped = bench.start(folder, "work", store, folder / "side", LEASE, twists=[("stop_in_commit", 8)])
    until(lambda: Path(f"/proc/{stopped.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")
    other = bench.start(folder, "work", store, folder / "other", LEASE, twists=[("elsewhere", "far")])
    (told,) = [f for f in examine(str(store), now_us(), is_gone) if f.about == "lock"]
    assert told.weight is Weight.PROBLEM
    assert f"process {stopped.pid}, was stopped while it wrote" in told.said
    assert f"kill -CONT {stopped.pid}" in told.do
    assert "keeps the write lock" in ran(*treadle("doctor", "--store", store)).stdout
    assert other.code is None
    if way_out == "killed":
        stopped.kill()
    else:
        stopped.signal(signal.SIGCONT)
    until(lambda: not sql(store, "SELECT 1 FROM items WHERE phase <> 1"))
    assert not [f for f in examine(str(store), now_us(), is_gone) if f.about == "lock"]
    assert other.code is None
    for worker in (stopped, other):
        worker.kill()
    tally.case(faults(store, ended=True))
    tally.check()
