"""Which process this is, and whether another one still lives."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from treadle.clock import now_us
from treadle.store import WorkerIdentity, WorkerRow

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_PIDS = Path("/proc/self/ns/pid")
_MARGIN = 1.0
"""Seconds beyond the lease in which somebody looks again."""


def identity(name: str | None = None) -> WorkerIdentity:
    """This process as a worker; ``name`` is for people."""
    host, pid = socket.gethostname(), os.getpid()
    return WorkerIdentity(name or f"{host}:{pid}", host, _boot(), pid, _started(pid) or "")


def is_gone(worker: WorkerIdentity) -> bool:
    """Whether that process certainly lives no more. ``False`` when this host cannot tell: then its lease decides."""
    if worker.host != socket.gethostname() or not worker.boot:
        return False
    (boot, _, pids), (ours, _, visible) = worker.boot.partition(" "), _boot().partition(" ")
    if boot != ours:
        return True
    # A container that goes by the same name counts its processes on its own.
    return pids == visible and _started(worker.pid) != worker.started


class DeathWatch:
    """Tells which other workers are dead, by what this process has seen of them.

    A worker whose process is certainly gone is dead at once; any other when its heartbeat has not changed for
    as long as the lease, by this process's own steady clock: what the clocks of the day say does not matter.
    Silence counts only while this process's own heart is heard: where somebody holds the lock, nobody's is.
    """

    def __init__(self, lease: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._lease = lease
        self._clock = clock
        self._seen: dict[int, tuple[int, float]] = {}
        self._doubted: dict[int, float] = {}
        self._heard: float | None = None
        self._deaf = 0.0
        """Seconds that do not count, since nobody could be heard in them."""

    def heard(self) -> None:
        """This process's own heartbeat has just been written; called from the heart's thread."""
        now = self._clock()
        if self._heard is not None and self._is_late(now):
            self._deaf += now - self._heard - self._lease / 3
        self._heard = now

    def _is_late(self, now: float) -> bool:
        # Hearts beat three times a lease.
        return self._heard is not None and now - self._heard > self._lease * 2 / 3

    def is_dead(self, worker: WorkerRow) -> bool:
        """Whether others may have what that worker holds."""
        if is_gone(worker.who):
            return True
        steady = self._clock()
        now = steady - self._deaf
        known = self._seen.get(worker.number)
        if known is None or known[0] != worker.beat:
            self._seen[worker.number] = (worker.beat, now)
            self._doubted.pop(worker.number, None)
            if known is None and abs(now_us() - worker.beat) > self._lease * 1_000_000:
                self._doubted[worker.number] = now
            return False
        return not self._is_late(steady) and now - known[1] > self._lease

    @property
    def doubts(self) -> bool:
        """Whether somebody looks dead by the clock of the day, and must be watched for a lease before that is certain."""
        now = self._clock() - self._deaf
        return any(now - since <= self._lease + _MARGIN for since in self._doubted.values())


@lru_cache(maxsize=1)
def _boot() -> str:
    """Changes whenever the machine starts, and names where pids count; empty where the system does not say (macOS, Windows)."""
    try:
        return f"{_BOOT_ID.read_text().strip()} {_PIDS.readlink()}"
    except OSError:
        return ""


def _started(pid: int) -> str | None:
    """When the process began, in the kernel's ticks, so that a pid given again is told apart; ``None``: no such process."""
    if sys.platform != "linux":
        return ""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    # A zombie has ended; only its parent has not looked yet.
    return None if fields[0] == "Z" else fields[19]
