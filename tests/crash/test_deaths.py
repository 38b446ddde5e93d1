"""What a dead worker held moves on by itself; and nobody is taken for dead who is not."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.crash.bench import Bench, Tally
from tests.crash.judge import Witness, events, faults
from tests.crash.lab import LONG, Twist, sql, until

pytestmark = [pytest.mark.may_block, pytest.mark.timeout(1800 if LONG else 300)]  # other processes are what is tested

ITEMS = 5
DAY = 86_400.0
MOST = 4.0 if LONG else 8.0
"""Seconds until a dead worker's items move on, and four times those until a lone worker goes on; a busy machine has twice as many."""


def completed(store: Path) -> int:
    return int(sql(store, "SELECT count(*) FROM items WHERE phase = 1")[0][0])


def reclaimed(bench: Bench, number: int, *twists: Twist) -> Sequence[str]:
    """What went wrong when one of two workers was killed. Every other one is seen dead only by its silence."""
    folder = bench.folder()
    store, side, other_side = folder / "s.db", folder / "side", folder / "other"
    bench.start(folder, "fill", store, ITEMS).finish()
    victim = bench.start(folder, "held", store, side, folder / "gate", 2.0)
    until(lambda: len(Witness(side).lines()) == ITEMS)
    far = [("elsewhere", "far")] if number % 2 else []
    other = bench.start(folder, "work", store, other_side, 2.0, twists=[*far, *twists])
    until(lambda: len(sql(store, "SELECT 1 FROM workers")) == 2)
    victim.kill()
    began = time.monotonic()
    try:
        until(lambda: completed(store) == ITEMS, 2 * MOST)
    except AssertionError:
        return ["its items stayed where they were"]
    took = time.monotonic() - began
    other.kill()
    return [f"its items moved on after {took:.1f} s"] if took > MOST else faults(store, ended=True)


def restarted(bench: Bench, number: int) -> Sequence[str]:
    """What went wrong when a lone worker was killed and another started."""
    folder = bench.folder()
    store, side, other_side = folder / "s.db", folder / "side", folder / "other"
    bench.start(folder, "fill", store, ITEMS).finish()
    victim = bench.start(folder, "held", store, side, folder / "gate", 30.0)
    until(lambda: len(Witness(side).lines()) == ITEMS)
    victim.kill()
    began = time.monotonic()
    other = bench.start(folder, "work", store, other_side, 30.0)
    until(lambda: Witness(other_side).lines())
    took = time.monotonic() - began
    until(lambda: completed(store) == ITEMS)
    other.kill()
    return [f"it went on after {took:.1f} s"] if took > MOST / 4 else faults(store, ended=True)


@pytest.mark.promise(f"items of a worker that was killed move on within {MOST:g} s (lease 2 s)")
def test_what_a_dead_worker_held_moves_on(bench: Bench, tally: Tally) -> None:
    tally.side_by_side(6, lambda number: reclaimed(bench, number), range(200 if LONG else 12))
    tally.check()


@pytest.mark.promise(f"a lone worker that is started again goes on within {MOST / 4:g} s")
def test_a_lone_worker_goes_on(bench: Bench, tally: Tally) -> None:
    tally.side_by_side(2, lambda number: restarted(bench, number), range(200 if LONG else 10))
    tally.check()


def test_the_lab_would_see_items_that_stay(bench: Bench, tally: Tally) -> None:
    tally.case(reclaimed(bench, 0, ("no_deaths",)))
    assert tally.failures


def beside(bench: Bench, *twists: Twist) -> Sequence[str]:
    """What went wrong with two workers, one of which has a clock of its own."""
    folder = bench.folder()
    store, sides = folder / "s.db", [folder / "side", folder / "other"]
    bench.start(folder, "fill", store, 100).finish()
    crew = [
        bench.start(folder, "work", store, sides[0], 2.0, 5),
        bench.start(folder, "work", store, sides[1], 2.0, 5, twists=[("elsewhere", "far"), *twists]),
    ]
    until(lambda: completed(store) == 100)
    for worker in crew:
        worker.kill()
    return _once(sides, store)


def _once(sides: Sequence[Path], store: Path) -> list[str]:
    ran = Counter(name for side in sides for word, name in Witness(side).lines() if word == "ran")
    found = [f"{name} ran {times} times" for name, times in ran.items() if times > 1]
    if lost := events(store, "commit_refused") + events(store, "stage_interrupted"):
        found.append(f"somebody was taken for dead: {lost}")
    return found + faults(store, ended=True)


@pytest.mark.promise("a clock that is a day off, or jumps, makes nothing run twice or time out")
def test_clocks_may_be_wrong(bench: Bench, tally: Tally) -> None:
    twists = [("clock_ahead", DAY), ("clock_ahead", -DAY), ("clock_jumps", DAY), ("clock_jumps", -DAY)]
    tally.side_by_side(2, lambda number: beside(bench, twists[number % 4]), range(80 if LONG else 4))
    tally.check()


def test_the_lab_would_see_deaths_by_the_clock(bench: Bench, tally: Tally) -> None:
    while not tally.failures:
        assert tally.cases < 5
        tally.case(beside(bench, ("clock_ahead", DAY), ("deaths_by_the_clock",)))


def blocked(bench: Bench, lease: float, seconds: float, *twists: Twist) -> Sequence[str]:
    """What went wrong when a worker's loop and threads were blocked for longer than its lease, with another one watching."""
    folder = bench.folder()
    store, sides = folder / "s.db", [folder / "side", folder / "other"]
    bench.start(folder, "fill", store, 12).finish()
    worker = bench.start(folder, "blocking", store, sides[0], lease, seconds, twists=twists)
    until(lambda: Witness(sides[0]).lines())
    with bench.start(folder, "work", store, sides[1], lease, twists=[("elsewhere", "far")]):
        worker.finish(4 * seconds + 20)
    return _once(sides, store)


@pytest.mark.promise("12 blocking stages lose no lease")
def test_a_blocked_worker_is_not_taken_for_dead(bench: Bench, tally: Tally) -> None:
    tally.case(blocked(bench, 5.0, 60.0) if LONG else blocked(bench, 0.8, 2.0), count=12)
    tally.check()


def test_the_lab_would_see_a_heart_on_the_loop(bench: Bench, tally: Tally) -> None:
    tally.case(blocked(bench, 0.5, 1.5, ("heart_on_the_loop",)))
    assert tally.failures
