"""What a scenario works with: a place of its own, processes that end with it, and a count of its cases."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.crash.lab import Forked, Nursery, Twist


@dataclass
class Tally:
    """Cases of one promise, as a test counts them."""

    promise: str
    cases: int = 0
    failures: list[str] = field(default_factory=list)

    def case(self, faults: Sequence[str] = (), *, count: int = 1) -> None:
        """So many cases more; with ``faults``, one of them failed."""
        self.cases += count
        self.failures += faults[:1]

    def side_by_side(self, width: int, case: Callable[[int], Sequence[str]], numbers: Iterable[int]) -> None:
        """Each number is a case; so many at a time, since most of what they do is wait."""
        with ThreadPoolExecutor(width) as pool:
            for faults in pool.map(case, numbers):
                self.case(faults)

    def check(self) -> None:
        """Fail if the promise was broken."""
        assert self.cases
        assert self.failures == []


class Bench:
    """A place to work at: folders, processes that end with the test, and chance that is the same each time."""

    def __init__(self, folder: Path, nursery: Nursery) -> None:
        self._folder = folder
        self._nursery = nursery
        self._folders = 0
        self._born: list[Forked] = []
        self.chance = random.Random(7)

    def folder(self) -> Path:
        """A new one."""
        self._folders += 1
        made = self._folder / f"case{self._folders}"
        made.mkdir()
        return made

    def start(self, folder: Path, *words: Any, twists: Sequence[Twist] = ()) -> Forked:
        """A process that does a function of ``apps``; what it prints as errors goes to a file of the folder."""
        process = self._nursery.start(folder / "errors", *words, twists=twists)
        self._born.append(process)
        return process

    def let_work(self, side: Path, longest: float) -> None:
        """Until a moment by chance: of a worker's beginning, which takes so many seconds, or when it has done so much."""
        if self.chance.random() < 0.3:
            time.sleep(self.chance.uniform(0, longest))
            return
        size = side.stat().st_size if side.exists() else 0
        goal, end = size + self.chance.randrange(1, 1_500), time.monotonic() + longest + 1
        while time.monotonic() < end and (not side.exists() or side.stat().st_size < goal):
            time.sleep(0.0005)

    def close(self) -> None:
        """All its processes have ended."""
        for process in self._born:
            process.kill()
