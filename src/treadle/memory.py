"""How much memory an attempt in a worker process may take."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CAN_LIMIT: bool = sys.platform == "linux"
"""Whether the system keeps such a limit: macOS takes one and does not keep it, Windows has none."""

MIB = 1024 * 1024
_PAGES = Path("/proc/self/statm")


@contextmanager
def limited(mib: int | None) -> Iterator[None]:
    """What runs inside may take so much beyond what the process has; more raises ``MemoryError`` there, or ends the process."""
    if mib is None or not CAN_LIMIT:
        yield
        return
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_AS)
    taken = int(_PAGES.read_text().split()[0]) * resource.getpagesize()
    limit = taken + mib * MIB
    resource.setrlimit(resource.RLIMIT_AS, (limit if most == resource.RLIM_INFINITY else min(limit, most), most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
