"""Which process this is, and whether another one still lives."""

from __future__ import annotations

import os
import socket
import sys
from functools import lru_cache
from pathlib import Path

from treadle.store import WorkerIdentity

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def identity(name: str | None = None) -> WorkerIdentity:
    """This process as a worker; ``name`` is for people."""
    host, pid = socket.gethostname(), os.getpid()
    return WorkerIdentity(name or f"{host}:{pid}", host, _boot(), pid, _started(pid) or "")


def is_gone(worker: WorkerIdentity) -> bool:
    """Whether that process certainly lives no more. ``False`` when this host cannot tell: then its lease decides."""
    if worker.host != socket.gethostname() or not worker.boot:
        return False
    if worker.boot != _boot():
        return True
    return _started(worker.pid) != worker.started


@lru_cache(maxsize=1)
def _boot() -> str:
    """Changes whenever the machine starts; empty where the system does not say (macOS, Windows)."""
    try:
        return _BOOT_ID.read_text().strip()
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
