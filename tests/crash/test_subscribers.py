"""A slow subscriber of the journal costs the run beside it nothing, and misses nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from tests.crash.bench import Bench, Tally
from tests.crash.judge import cursors
from tests.crash.lab import LONG, Twist

pytestmark = [pytest.mark.may_block, pytest.mark.timeout(1800 if LONG else 300)]  # other processes are what is tested

ITEMS, PAIRS, LOSS = (14_300, 5, 0.05) if LONG else (3_000, 2, 0.5)
"""Seven events an item; how often it is measured with and without a subscriber; what share of the throughput may be lost."""
HELD = 1_000
"""Events that may be in memory at once: two pages of the journal."""
GROWN = 8_000
"""Kilobytes that the process with a subscriber may be larger."""


def measured(bench: Bench, items: int, pace: float | None, *twists: Twist) -> tuple[dict[str, Any], list[int]]:
    """What a run came to, and the cursors of its journal."""
    folder = bench.folder()
    bench.start(folder, "followed", folder / "s.db", folder / "said", items, pace, twists=twists).finish(300)
    return json.loads((folder / "said").read_text()), cursors(folder / "s.db")


def followed(bench: Bench, items: int, pairs: int, *twists: Twist) -> Sequence[str]:
    """What a subscriber of one second an event cost, or missed; measured in turn with and without one."""
    found, alone, beside = [], [], []
    for _ in range(pairs):
        alone.append(measured(bench, items, None, *twists)[0])
        said, told = measured(bench, items, 1.0, *twists)
        beside.append(said)
        if said["seen"] != told:
            found.append(f"of {len(told)} events {len(set(told) - set(said['seen']))} were missed, {len(said['seen'])} seen")
        if not 0 < said["live"] < len(told) / 10:
            found.append(f"the subscriber was not slow: it saw {said['live']} of {len(told)} events while it ran")
        if said["held"] > HELD:
            found.append(f"{said['held']} events were held in memory")
    seconds, kilobytes = ([min(run[what] for run in runs) for runs in (alone, beside)] for what in ("seconds", "kilobytes"))
    if 1 - seconds[0] / seconds[1] > LOSS:
        found.append(f"it took {seconds[1]:.2f} s in place of {seconds[0]:.2f} s")
    if kilobytes[1] - kilobytes[0] > GROWN:
        found.append(f"it grew to {kilobytes[1]:,} kB in place of {kilobytes[0]:,} kB")
    return found


@pytest.mark.promise(
    f"a subscriber that takes 1 s an event costs under {LOSS:.0%} of the throughput and no memory, and misses none (events)"
)
def test_a_slow_subscriber_costs_nothing(bench: Bench, tally: Tally) -> None:
    tally.case(followed(bench, ITEMS, PAIRS), count=7 * ITEMS * PAIRS)
    tally.check()


@pytest.mark.parametrize(
    ("twist", "says"),
    [
        (("subscribers_have_queues", 256), "were missed"),
        (("subscribers_have_queues", 0), "were missed"),
        (("subscribers_are_waited_for", 0.0005), "it took"),
    ],
)
def test_the_lab_would_see(bench: Bench, tally: Tally, twist: Twist, says: str) -> None:
    tally.case(followed(bench, 300, 1, twist))
    assert says in " ".join(tally.failures)
