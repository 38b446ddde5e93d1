"""In worker processes code may loop, crash and say too much: each that does is named, and costs nobody else an attempt."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.crash.bench import Bench, Tally
from tests.crash.judge import faults
from tests.crash.lab import LONG, Twist, sql

pytestmark = [pytest.mark.may_block, pytest.mark.timeout(900 if LONG else 300)]  # other processes are what is tested

ITEMS, OF_EACH, LIMIT = (1_000, 20, 5.0) if LONG else (150, 1, 4.0)
ERRORS = {
    "endless": "timed out after",
    "stuck": "timed out after",
    "exit": "ended with exit code 7 while it ran this attempt",
    "fault": "ended by signal 11 while it ran this attempt",
}
"""What is said of each kind of poison."""
MADE = {"huge": "10000000", "loud": "0"}
"""What those make that only say much."""


def moved(bench: Bench, items: int, of_each: int, limit: float, *twists: Twist) -> Sequence[str]:
    """What went wrong when the first of many items were poison, so that all others had to wait for a worker."""
    folder = bench.folder()
    names = [f"{kind}{n}" for n in range(of_each) for kind in (*ERRORS, *MADE)] + [f"plain{n}" for n in range(items)]
    bench.start(folder, "run_wild", folder / "s.db", folder / "side", names, limit, twists=twists).finish(
        30 + 2 * of_each * limit
    )
    told = dict(sql(folder / "s.db", "SELECT item_id, error FROM stage_statuses WHERE stage = 'work' AND state = 'failed'"))
    made = dict(sql(folder / "s.db", "SELECT item_id, artefact FROM stage_statuses WHERE stage = 'then'"))
    found = faults(folder / "s.db")
    for name in names:
        kind = name.rstrip("0123456789")
        if kind in ERRORS and ERRORS[kind] not in told.get(name, "nothing"):
            found.append(f"of {name} was said: {told.get(name)}")
        elif kind not in ERRORS and made.get(name) != MADE.get(kind, "0"):
            found.append(f"{name} made {made.get(name)}: {told.get(name)}")
    return found


@pytest.mark.promise("in worker processes loops, crashes and 100 MB of output are named or borne, and all others succeed (items)")
def test_wild_code_costs_nobody_else_an_attempt(bench: Bench, tally: Tally) -> None:
    tally.case(moved(bench, ITEMS, OF_EACH, LIMIT), count=ITEMS + OF_EACH * (len(ERRORS) + len(MADE)))
    tally.check()


def test_the_lab_would_see_time_that_runs_while_others_do(bench: Bench, tally: Tally) -> None:
    tally.case(moved(bench, 20, 2, 1.0, ("time_from_the_line",)))
    assert tally.failures
