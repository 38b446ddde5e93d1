"""Finished subtasks stay finished, whoever is killed; a retry runs exactly those that failed."""

from __future__ import annotations

import time

import pytest

from tests.crash.bench import Bench, Tally
from tests.crash.judge import Witness, faults
from tests.crash.lab import LONG, Twist, sql

pytestmark = [pytest.mark.may_block, pytest.mark.timeout(300)]  # other processes are what is tested

KEYS, KILLS = 1_000, 50 if LONG else 15
POISON = ["k177", "k7", "k77"]


def moved(bench: Bench, tally: Tally, *twists: Twist) -> None:
    """One item with 1,000 subtasks, three of which always fail, through kills to its end; then those three are mended."""
    folder = bench.folder()
    store, side = folder / "s.db", folder / "side"
    failed = "SELECT subtask_name FROM subtask_statuses WHERE state = 'failed' ORDER BY 1"
    for _ in range(KILLS - tally.cases):
        worker = bench.start(folder, "fanned", store, side, KEYS, True, False, twists=twists)
        time.sleep(bench.chance.uniform(0.05, 0.25))
        if not worker.kill():
            break  # It has come to the end.
        tally.case()
    again = False
    # Those that were in flight at three of our kills count as poison too.
    while not again or [row[0] for row in sql(store, failed)] != POISON:
        bench.start(folder, "fanned", store, side, KEYS, True, again, twists=twists).finish(60)
        again = True
    done = sql(store, "SELECT count(*) FROM subtask_statuses WHERE state = 'completed'")[0][0]
    tally.case([] if done == KEYS - 3 else [f"{done} of {KEYS - 3} succeeded"], count=0)
    before = len(Witness(side).lines())
    bench.start(folder, "fanned", store, side, KEYS, False, True, twists=twists).finish()
    ran = sorted(name.split()[1] for word, name in Witness(side).lines()[before:] if word == "ran")
    tally.case([] if ran == POISON else [f"the retry ran {ran}"], count=0)
    tally.case(faults(store, Witness(side), ended=True), count=0)


@pytest.mark.promise("finished subtasks stay finished (kills within 1,000 subtasks, 3 of which fail)")
def test_finished_subtasks_stay_finished(bench: Bench, tally: Tally) -> None:
    while tally.cases < KILLS and not tally.failures:
        moved(bench, tally)
    tally.check()


def test_the_lab_would_see_subtasks_that_are_acknowledged_early(bench: Bench, tally: Tally) -> None:
    moved(bench, tally, ("acknowledge_before_commit",))
    assert tally.failures
