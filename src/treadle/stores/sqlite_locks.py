"""What others do to a SQLite store: whether they have written, and who holds the write lock, where the system tells."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_LOCKS = Path("/proc/locks")
_WRITE_LOCK = 120
"""The byte of the log's index (``-shm``) that SQLite locks for whoever writes."""
_LOOKS = 3


class Holder(NamedTuple):
    """A process that holds the lock."""

    pid: int
    is_stopped: bool
    """By a signal or a debugger: it keeps the lock until it goes on or ends."""


def changes_by_others(con: sqlite3.Connection) -> int:
    """A number that is another one as soon as any other connection has committed something."""
    return int(con.execute("PRAGMA data_version").fetchone()[0])


def lock_holder(path: str) -> Holder | None:
    """The process of this host that may write to the store now; ``None`` if none can, or the system (not Linux) does not say."""
    try:
        index = Path(f"{path}-shm").stat()
        place = f"{os.major(index.st_dev):02x}:{os.minor(index.st_dev):02x}:{index.st_ino}"
        # The kernel tells its locks a page at a time, and may pass over one while others come and go.
        pids = [pid for _ in range(_LOOKS) for pid in _writers(place)]
    except OSError:
        return None
    return Holder(pids[-1], _is_stopped(pids[-1])) if pids else None


def _writers(place: str) -> Iterator[int]:
    for fields in map(str.split, _LOCKS.read_text().splitlines()):
        # 8: POSIX  ADVISORY  WRITE 29109 fe:00:3000662 120 120
        if fields[3:4] == ["WRITE"] and fields[5] == place and _covers(*fields[6:8]):
            yield int(fields[4])


def _covers(first: str, last: str) -> bool:
    return int(first) <= _WRITE_LOCK and (last == "EOF" or int(last) >= _WRITE_LOCK)


def _is_stopped(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in ("T", "t")
    except (OSError, IndexError):
        return False
