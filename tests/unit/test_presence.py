"""Who is dead: known at once where the process can be seen, else by silence on this process's own clock."""

from __future__ import annotations

import pytest

from treadle.clock import now_us
from treadle.presence import DeathWatch, identity
from treadle.store import WorkerIdentity, WorkerRow

AWAY = WorkerIdentity("w", "elsewhere", "boot", 7, "7")
DAY = 86_400_000_000


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("shift", [0, DAY, -DAY])
def test_a_worker_lives_as_long_as_its_heartbeat_changes_whatever_its_clock_says(shift: int) -> None:
    clock = Clock()
    watch = DeathWatch(30, clock)
    for beat in range(20):
        assert not watch.is_dead(WorkerRow(1, AWAY, 0, now_us() + shift + beat))
        clock.now += 29
    assert not watch.is_dead(WorkerRow(1, AWAY, 0, 5))
    clock.now += 31
    assert watch.is_dead(WorkerRow(1, AWAY, 0, 5))


def test_silence_counts_only_while_ones_own_heart_is_heard() -> None:
    clock = Clock()
    watch, row = DeathWatch(30, clock), WorkerRow(1, AWAY, 0, now_us())
    watch.heard()
    assert not watch.is_dead(row)
    clock.now += 31
    # Somebody held the lock: neither of the two could write.
    assert not watch.is_dead(row)
    watch.heard()
    assert not watch.is_dead(row)
    for _ in range(4):
        clock.now += 10
        watch.heard()
    assert watch.is_dead(row)


def test_one_that_looks_dead_is_doubted_until_that_is_certain() -> None:
    clock = Clock()
    watch, row = DeathWatch(30, clock), WorkerRow(1, AWAY, 0, now_us() - DAY)
    assert not watch.is_dead(row)
    assert watch.doubts
    assert not watch.is_dead(row._replace(beat=row.beat + 1))  # it beats: its clock is off, that is all
    assert not watch.doubts
    other = row._replace(number=2)
    assert not watch.is_dead(other)
    clock.now += 31
    assert watch.doubts  # the next look will find it dead
    assert watch.is_dead(other)
    clock.now += 31
    assert not watch.doubts  # somebody else has freed it, or this process would have


def test_pids_are_compared_only_where_they_count_alike() -> None:
    from treadle.presence import is_gone

    me = identity()
    boot, _, pids = me.boot.partition(" ")
    if not boot:
        pytest.skip("this system does not tell one start from another")
    assert is_gone(me._replace(started="1"))
    assert not is_gone(me._replace(started="1", boot=f"{boot} another-{pids}"))
    assert is_gone(me._replace(boot=f"another {pids}"))
