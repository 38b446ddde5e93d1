"""What this process has from the one that it was forked from, and must not use."""

from __future__ import annotations

import os
from stat import S_ISREG

INSTEAD = "leave it to the process that opened it, or begin this one without a fork (multiprocessing: spawn or forkserver)"
"""What to do about a store that came with a fork."""

count: int = 0
"""How often this process is the child of a fork; asking for its pid each time would be a system call a write."""
_inherited: frozenset[tuple[int, int]] = frozenset()
"""Device and number of the files that were open at the fork."""


def is_inherited(file: os.stat_result) -> bool:
    """Whether that file was open at the fork; ``False`` where the system does not say what was.

    SQLite in this process thinks that it holds the locks it held in the other one. It would not ask for them again, so nobody
    would know that the file is in use here.
    """
    return (file.st_dev, file.st_ino) in _inherited


def _forked() -> None:
    global count, _inherited  # noqa: PLW0603 - they are the process's own
    count += 1
    _inherited = frozenset(_open_files())


def _open_files() -> set[tuple[int, int]]:
    found = set()
    try:
        names = os.listdir("/dev/fd")  # noqa: PTH208 - handles are numbers, not paths
    except OSError:
        return set()
    for name in names:
        try:
            file = os.fstat(int(name))
        except OSError:
            continue  # What the list itself was read through.
        if S_ISREG(file.st_mode):
            found.add((file.st_dev, file.st_ino))
    return found


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
