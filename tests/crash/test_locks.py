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
from tests.crash.lab import LONG, Forked, Twist, ran, sql, stands, treadle, until
from treadle.clock import now_us
from treadle.presence import is_gone
from treadle.stores.sqlite_health import Weight, examine

pytestmark = [pytest.mark.may_block, pytest.mark.timeout(300)]  # other processes are what is tested

HELD, LEASE = (20.0, 5.0) if LONG else (5.0, 3.0)
LAG = 0.05 if LONG else 0.25
TRIES = 3
"""A busy machine can hold up a loop, or keep a heart from its turn, as well; it does not do so each time."""


def crew(bench: Bench, folder: Path, lease: float, *twists: Twist) -> list[Forked]:
    """Two workers of different hosts in the middle of slow work, each of which writes the longest lag of its loop."""
    bench.start(folder, "fill", folder / "s.db", 90).finish()
    made = [
        bench.start(
            folder,
            "lagging",
            folder / "s.db",
            folder / f"side{n}",
            folder / f"lag{n}",
            lease,
            twists=[("elsewhere", f"host{n}"), *twists],
        )
        for n in range(2)
    ]
    until(lambda: len(sql(folder / "s.db", "SELECT 1 FROM workers")) == 2)
    until(lambda: any(Witness(folder / f"side{n}").lines() for n in range(2)))
    return made


def lag(file: Path) -> float:
    """How long that loop stood still at most; one that still does has written nothing since."""
    return max(float(file.read_text() or 0), time.time() - file.stat().st_mtime)


def took(con: sqlite3.Connection) -> bool:
    """Whether the lock is ours; SQLite's own waiting would look too seldom to get it from busy writers."""
    try:
        con.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        return False
    return True


def held(bench: Bench, lease: float, seconds: float, *twists: Twist) -> Sequence[str]:
    """What went wrong while another process held the write lock for longer than the workers' lease."""
    folder = bench.folder()
    workers = crew(bench, folder, lease, *twists)
    con = sqlite3.connect(folder / "s.db", isolation_level=None, timeout=0)
    until(lambda: took(con), every=0.0003)
    for n in range(2):
        os.truncate(folder / f"lag{n}", 0)
    time.sleep(seconds)
    lags = [lag(folder / f"lag{n}") for n in range(2)]
    con.execute("ROLLBACK")
    con.close()
    until(lambda: not sql(folder / "s.db", "SELECT 1 FROM items WHERE phase <> 1"), 40)
    found = [f"worker {n} ended" for n, worker in enumerate(workers) if worker.code is not None]
    found += [f"the loop stood still for {lag * 1000:.0f} ms" for lag in lags if lag > LAG]
    if lost := events(folder / "s.db", "stage_interrupted") + events(folder / "s.db", "commit_refused"):
        found.append(f"somebody was taken for dead who only waited: {lost[0]}; {(folder / 'errors').read_text()[-1500:]}")
    for worker in workers:
        worker.kill()
    return found + faults(folder / "s.db", ended=True)


@pytest.mark.promise(
    f"the write lock is held by another process for {HELD:g} s: no error, no lost lease, loop lag under {LAG * 1000:g} ms"
)
def test_a_held_lock_costs_time_and_nothing_else(bench: Bench, tally: Tally) -> None:
    for _ in range(TRIES):
        if not (told := held(bench, LEASE, HELD)):
            break
    tally.case(told, count=2)
    tally.check()


def test_the_lab_would_see_a_loop_that_waits(bench: Bench) -> None:
    assert held(bench, LEASE, 1.0, ("wait_on_the_loop",))


@pytest.mark.promise("a worker that is stopped inside its transaction is named, and all go on when it does or ends")
@pytest.mark.parametrize("way_out", ["continued", "killed"])
def test_a_stopped_writer_is_named_and_waited_for(bench: Bench, tally: Tally, way_out: str) -> None:
    folder = bench.folder()
    store = folder / "s.db"
    bench.start(folder, "fill", store, 20).finish()
    stopped = bench.start(folder, "work", store, folder / "side", LEASE, twists=[("stop_in_commit", 4)])
    until(lambda: stands(stopped.pid))
    other = bench.start(folder, "work", store, folder / "other", LEASE, twists=[("elsewhere", "far")])
    # The kernel may pass over a lock while others come and go.
    (told,) = until(lambda: [f for f in examine(str(store), now_us(), is_gone) if f.about == "lock"])
    assert told.weight is Weight.PROBLEM
    assert f"process {stopped.pid}, was stopped while it wrote" in told.said
    assert f"kill -CONT {stopped.pid}" in told.do
    until(lambda: "keeps the write lock" in ran(*treadle("doctor", "--store", store)).stdout)
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


@pytest.mark.promise("a process that is stopped where nobody else can read costs time, and no error")
def test_a_process_in_the_way_of_all_readers_is_waited_for(bench: Bench, tally: Tally) -> None:
    folder = bench.folder()
    store, sides = folder / "s.db", [folder / "side", folder / "other"]
    bench.start(folder, "fill", store, 2_000).finish()
    crew = [bench.start(folder, "work", store, side, LEASE) for side in sides]
    until(lambda: any(Witness(side).lines() for side in sides))
    other = bench.start(folder, "in_the_way", store, folder / "up")
    until((folder / "up").exists)
    con = sqlite3.connect(store, timeout=0)
    for _ in range(2):  # when it gives up for the second time, it has done so for the workers
        with pytest.raises(sqlite3.OperationalError, match="locking protocol"):
            con.execute("SELECT 1 FROM items").fetchall()
    con.close()
    other.kill()
    until(lambda: not sql(store, "SELECT 1 FROM items WHERE phase <> 1"), 60)
    found = [f"worker {n} ended" for n, worker in enumerate(crew) if worker.code is not None]
    for worker in crew:
        worker.kill()
    tally.case(found + faults(store, ended=True))
    tally.check()
