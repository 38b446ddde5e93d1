"""A time limit holds whatever the code does about it, and what goes on all the same is told of."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.crash.bench import Bench, Tally
from tests.crash.judge import Witness, faults
from tests.crash.lab import LONG, Twist, sql, until

pytestmark = [pytest.mark.may_block, pytest.mark.timeout(300)]  # other processes are what is tested

LIMIT = 5.0 if LONG else 1.0
MOST = 1.0 if LONG else 3.0
"""Seconds after the limit at which a failure is stored at the latest; a busy machine takes longer to start a process."""
ITEMS = 20


def overdue(bench: Bench, limit: float, patience: float, *twists: Twist) -> Sequence[str]:
    """What went wrong with coroutines that swallow their cancellation, and with threads that block for a minute."""
    folder = bench.folder()
    store, side = folder / "s.db", folder / "side"
    process = bench.start(folder, "overdue", store, side, ITEMS, limit, twists=twists)
    try:
        until(lambda: process.code is not None, patience)
    except AssertionError:
        return ["the run waits for what has timed out"]
    done = sql(store, "SELECT count(*) FROM stage_statuses WHERE item_id LIKE 'plain%' AND state = 'completed'")
    text, found = process.errors.read_text(), faults(store)
    if done != [(2 * ITEMS,)]:
        found.append(f"of {2 * ITEMS} plain stages {done} completed")
    if text.count("ignores its time limit: it is left behind") != ITEMS or f"{ITEMS} of at most 256 threads are lost" not in text:
        found.append(f"what goes on was not told of: {text[-2000:]}")
    return found + _late(Witness(side), 2 * ITEMS, limit)


def _late(witness: Witness, number: int, limit: float) -> list[str]:
    """Failures that came too late; so many there should be."""
    took = [(name, float(name.rpartition(" ")[2])) for _, name in witness.lines()]
    late = [f"stored after seconds: {name}" for name, seconds in took if not limit <= seconds <= limit + MOST]
    return late if len(took) == number else [f"{len(took)} of {number} timed out"]


def in_processes(bench: Bench) -> Sequence[str]:
    """What went wrong with an endless loop and with one that never comes back from C."""
    folders = {name: bench.folder() for name in ("endless", "stuck")}
    started = [bench.start(at, "run_wild", at / "s.db", at / "side", [name], LIMIT) for name, at in folders.items()]
    for process in started:
        process.finish()
    return [fault for at in folders.values() for fault in faults(at / "s.db") + _late(Witness(at / "side"), 1, LIMIT)]


@pytest.mark.promise(
    f"time limits hold within {MOST:g} s: swallowed cancellations, blocked threads, endless loops in Python and C"
)
def test_time_limits_hold(bench: Bench, tally: Tally) -> None:
    tally.case(overdue(bench, LIMIT, LIMIT + 20), count=2 * ITEMS)
    tally.case(in_processes(bench), count=2)
    tally.check()


def test_the_lab_would_see_an_attempt_that_is_waited_for(bench: Bench, tally: Tally) -> None:
    tally.case(overdue(bench, 0.3, 4.0, ("cancelled_and_waited_for",)))
    assert tally.failures
