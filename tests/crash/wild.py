"""A workflow whose items do in worker processes what code should not do; how an item's name begins says what."""

from __future__ import annotations

import collections
import itertools
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from treadle import Workflow


def loop() -> None:
    while True:
        pass


def loop_in_c() -> None:
    collections.deque(itertools.repeat(0), maxlen=0)


def shout() -> None:
    for _ in range(100):
        sys.stdout.write("x" * 1_000_000)


DEEDS: dict[str, Callable[[], Any]] = {
    "endless": loop,
    "stuck": loop_in_c,
    "exit": lambda: os._exit(7),
    "fault": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "huge": lambda: "x" * 10_000_000,
    "loud": shout,
}


def work(item: dict[str, Any]) -> Any:
    return DEEDS.get(item["id"].rstrip("0123456789"), int)()


async def then(item: dict[str, Any], work: Any) -> int:
    return len(work) if isinstance(work, str) else 0


def made(limit: float) -> Workflow:
    """The workflow, in which an attempt may take so many seconds."""
    flow = Workflow("wild")
    flow.stage(executor="process", timeout=limit)(work)
    flow.stage(then)
    return flow


wild = made(60.0)  # worker processes look for it here; their parent keeps the time
