"""A worker that was taken for dead and wakes up changes nothing, and each of its commits that was refused is an event."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.crash.bench import Bench, Tally
from tests.crash.judge import Witness, events, faults
from tests.crash.lab import LONG, Twist, is_locked, sql, until
from treadle.event import EventKind
from treadle.stores.sqlite_rows import KIND_CODE

pytestmark = [pytest.mark.may_block, pytest.mark.timeout(1800 if LONG else 300)]  # other processes are what is tested

LEASE = 0.4
ITEMS = 20
ROUNDS = 500 if LONG else 15
TABLES = ("stages", "subtasks", "attempts", "reviews", "counts")


def rows(store: Path) -> dict[str, list[tuple[object, ...]]]:
    """All that a commit may change; of events, those that tell of no refusal."""
    found = {table: sql(store, f"SELECT * FROM {table} ORDER BY 1, 2") for table in TABLES}
    return found | {
        "events": sql(store, "SELECT * FROM events WHERE kind <> ?", KIND_CODE[EventKind.COMMIT_REFUSED]),
        "items": sql(store, "SELECT key, phase FROM items"),
    }


def all_completed(store: Path) -> bool:
    return not sql(store, "SELECT 1 FROM items WHERE phase <> 1 LIMIT 1")


def woken(bench: Bench, number: int, *twists: Twist) -> Sequence[str]:
    """What went wrong in one round: stop a worker past its lease, let another do its work, wake it up."""
    folder = bench.folder()
    store, mine, others, gate = (folder / name for name in ("s.db", "mine", "others", "gate"))
    bench.start(folder, "fill", store, ITEMS).finish()
    if number % 2:
        # In the middle of its stages.
        zombie = bench.start(folder, "held", store, mine, gate, LEASE, twists=twists)
        until(lambda: len(Witness(mine).lines()) == ITEMS)
    else:
        # At any moment.
        zombie = bench.start(folder, "finish", store, mine, LEASE, twists=twists)
        until(lambda: Witness(mine).lines())
        time.sleep(bench.chance.uniform(0, 0.02))
    if not zombie.stop():
        return woken(bench, number, *twists)
    locked = is_locked(store)
    (folder / "after").mkdir()
    other = bench.start(folder / "after", "work", store, others, LEASE, twists=[("elsewhere", "far")])
    if locked:
        # Stopped inside a transaction, it holds the lock: nobody else can write, and nobody fails for it.
        time.sleep(2 * LEASE)
        found = [] if other.code is None else [f"the other ended: {other.errors.read_text()}"]
        # It has lost nothing, and has to come to its end itself.
        gate.touch()
        zombie.signal(signal.SIGCONT)
        until(lambda: Witness(others).lines() or all_completed(store), 50)
        other.kill()
        zombie.finish()
        bench.start(folder, "finish", store, others).finish()
        return found + faults(store, ended=True)
    until(lambda: all_completed(store), 50)
    other.kill()
    before = rows(store)
    gate.touch()
    zombie.signal(signal.SIGCONT)
    zombie.finish()
    after, refused = rows(store), events(store, "commit_refused")
    found = [f"{table} changed" for table in before if before[table] != after[table]]
    said = zombie.errors.read_text().count("no longer held by this worker")
    # Whoever learns at the same moment that its claims are gone says no more than that.
    if len(refused) < said or (number % 2 and not refused):
        found.append(f"{said} commits were refused, and the journal tells of {len(refused)}")
    return found + faults(store, ended=True)


@pytest.mark.promise("a worker that was stopped past its lease changes nothing when it wakes up")
def test_a_zombie_changes_nothing(bench: Bench, tally: Tally) -> None:
    tally.side_by_side(3, lambda number: woken(bench, number), range(ROUNDS))
    tally.check()


def test_the_lab_would_see_a_fence_that_is_missing(bench: Bench, tally: Tally) -> None:
    tally.side_by_side(2, lambda number: woken(bench, number, ("no_fence",)), (1, 3))
    assert tally.failures
