"""Python's garbage collector while an engine runs: it looks at young objects less often."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

YOUNG = 25_000
"""Objects that may come before the collector looks at them.

Items in flight are many small objects that die by themselves a moment later, without the collector; each look finds them
alive, and after a hundred looks all that the process has is looked at. With Python's own 700 (2,000 from 3.14) that took a
quarter of a pipeline's time in memory, and four tenths of that of a batch stage (W2 and W6 of ``make bench``, with and without it).
"""

_lock = threading.Lock()
_engines = 0
_before = 0


@contextmanager
def unhurried() -> Iterator[None]:
    """The collector takes its time inside, unless whoever owns the process has told it to take more, or nothing at all.

    It is the process's own: several engines share it, and with the last of them it is again as it was found.
    """
    _begin()
    try:
        yield
    finally:
        _end()


def _begin() -> None:
    global _engines, _before  # noqa: PLW0603 - there is one collector a process
    with _lock:
        _engines += 1
        if _engines == 1:
            _before = gc.get_threshold()[0]
            if 0 < _before < YOUNG:
                gc.set_threshold(YOUNG, *gc.get_threshold()[1:])


def _end() -> None:
    global _engines  # noqa: PLW0603
    with _lock:
        _engines -= 1
        # What was set to something else in between stays as it was set.
        if _engines == 0 and gc.get_threshold()[0] == YOUNG:
            gc.set_threshold(_before, *gc.get_threshold()[1:])
