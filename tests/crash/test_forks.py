"""A store that came with a fork is refused in the child, and the parent goes on as if nothing had been tried."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.crash.bench import Bench, Tally
from tests.crash.judge import Witness, faults
from tests.crash.lab import LONG, Twist, sql, until

pytestmark = [pytest.mark.may_block, pytest.mark.timeout(900 if LONG else 300)]  # other processes are what is tested

REFUSED = "read:refused write:refused beat:refused anew:refused to_read:refused"


def forked(bench: Bench, tally: Tally, items: int, patience: float, *twists: Twist) -> None:
    """Two forks an item, each of which tries what it can; then what their parent has done is looked at."""
    folder = bench.folder()
    store, side, said = folder / "s.db", folder / "side", folder / "said"
    parent = bench.start(folder, "forking", store, side, said, items, patience, twists=twists)
    until(lambda: parent.code is not None, 30 + items / 5)
    told = Counter(said.read_text().splitlines() if said.exists() else [])
    for words, times in told.items():
        tally.case([] if words == REFUSED else [words], count=times)
    if silent := 2 * items - told.total():
        tally.case([f"{silent} children said nothing: {parent.errors.read_text()[-2000:]}"], count=silent)
    found = faults(store, Witness(side), ended=True) if parent.code == 0 else [f"the parent ended with {parent.code}"]
    done = sql(store, "SELECT count(*) FROM stages WHERE state = 2")[0][0]
    tally.case(found or ([] if done == 2 * items else [f"{done} of {2 * items} stages completed"]), count=0)


@pytest.mark.promise("a store that came with a fork is refused in the child, and the parent goes on")
def test_forks_are_safe(bench: Bench, tally: Tally) -> None:
    forked(bench, tally, 1_000 if LONG else 25, 5.0)
    tally.check()


def test_the_lab_would_see_a_fork_that_is_not_noticed(bench: Bench, tally: Tally) -> None:
    forked(bench, tally, 1, 0.3, ("forks_go_unseen",))
    assert tally.failures
