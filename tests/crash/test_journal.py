"""The journal is complete and in order for whoever reads it, however often the reader dies and how many write."""

from __future__ import annotations

import time

import pytest

from tests.crash.bench import Bench, Tally
from tests.crash.judge import cursors, faults
from tests.crash.lab import LONG, Twist, sql, until

pytestmark = [pytest.mark.may_block, pytest.mark.timeout(1800 if LONG else 300)]  # other processes are what is tested

ITEMS, DEATHS = (7_000, 100) if LONG else (120, 8)
"""Seven events an item."""


def followed(bench: Bench, tally: Tally, *twists: Twist) -> None:
    """Four workers write, and a reader goes on from the last cursor it has seen after each of its deaths."""
    folder = bench.folder()
    store, seen = folder / "s.db", folder / "seen"
    bench.start(folder, "fill", store, 1).finish()
    writers = [bench.start(folder, "write", store, folder / f"side{n}", f"w{n}", ITEMS, twists=twists) for n in range(4)]
    for _ in range(DEATHS):
        with bench.start(folder, "read", store, seen):
            time.sleep(bench.chance.uniform(0.05, 0.3))
        tally.cases += 1
    for writer in writers:
        writer.finish(900)
    bench.start(folder, "finish", store, folder / "side").finish()
    last = sql(store, "SELECT max(cursor) FROM events")[0][0]
    with bench.start(folder, "read", store, seen):
        until(lambda: seen.read_text().endswith(f"\n{last}\n"), 60)
    told = [int(text) for text in seen.read_text().split()]
    stored = cursors(store)
    if told != stored:
        tally.failures.append(f"{len(set(stored) - set(told))} events missing, {len(told) - len(set(told))} twice")
    tally.case(faults(store, ended=True), count=0)


@pytest.mark.promise("the journal is complete and in order (4 writers, deaths of the reader)")
def test_a_reader_misses_nothing_and_sees_nothing_twice(bench: Bench, tally: Tally) -> None:
    followed(bench, tally)
    tally.check()


def test_the_lab_would_see_events_in_a_second_transaction(bench: Bench, tally: Tally) -> None:
    followed(bench, tally, ("tell_later",))
    assert tally.failures
