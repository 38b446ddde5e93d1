"""What the crash tests share: real processes, and waiting for conditions."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

from treadle.stores.sqlite_schema import waiting

T = TypeVar("T")

ROOT = Path(__file__).parents[2]
LONG = bool(os.environ.get("TREADLE_CRASH_LONG"))
"""Whether there is time for the long version (`make crash`)."""

Twist = tuple[Any, ...]
"""The name of a function of ``twists`` and what it is called with."""


def until(found: Callable[[], T], seconds: float = 20.0, every: float = 0.005) -> T:
    """The first true answer; asked again and again, so that no test sleeps for a result."""
    end = time.monotonic() + seconds
    while True:
        if answer := found():
            return answer
        assert time.monotonic() < end, f"not so within {seconds:g} s: {found}"
        time.sleep(every)


@contextmanager
def started(*words: str | Path, text: Path | None = None, **settings: str) -> Iterator[subprocess.Popen[str]]:
    """A Python process with these words, gone when the block ends; its standard error goes to the file ``text``."""
    with (text or Path(os.devnull)).open("a") as errors:
        process = subprocess.Popen(
            [sys.executable, *map(str, words)], stdout=subprocess.PIPE, stderr=errors, text=True, env=os.environ | settings
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            # A stopped process would never see anything else.
            process.kill()
            process.send_signal(signal.SIGCONT)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def treadle(*words: str | Path) -> tuple[str, ...]:
    """The words that run the command line in ``started`` and ``ran``."""
    return ("-m", "treadle.cli", *map(str, words))


def ran(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """A Python process that has ended."""
    return subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True, timeout=50, check=False)


def line(process: subprocess.Popen[str]) -> str:
    """The next line the process prints."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def sql(path: Path, query: str, *values: object) -> list[tuple[Any, ...]]:
    """Rows of a store, read from outside."""
    con = sqlite3.connect(path, timeout=30)
    try:
        return waiting(lambda: con.execute(query, values).fetchall())
    finally:
        con.close()


def states(path: Path, stage: str) -> dict[str, str]:
    """The state of that stage by item."""
    return dict(sql(path, "SELECT item_id, state FROM stage_statuses WHERE stage = ?", stage))


def stands(pid: int) -> bool:
    """Whether all threads of the process are stopped, or it has ended; the first may be before the one that holds a lock."""
    try:
        threads = [(thread / "stat").read_text() for thread in Path(f"/proc/{pid}/task").iterdir()]
    except OSError:
        return False  # a thread ended meanwhile
    return all(told.rpartition(")")[2].split()[0] in "TZ" for told in threads)


def check_invariants(path: Path) -> None:
    """Nothing is wrong with a store that nobody works on."""
    from tests.crash.judge import faults  # it reads stores with what this module has

    assert faults(path) == []


def is_locked(path: Path) -> bool:
    """Whether somebody keeps others from writing to the store at this moment."""
    con = sqlite3.connect(path, isolation_level=None, timeout=0)
    try:
        con.execute("BEGIN IMMEDIATE")
        con.execute("ROLLBACK")
    except sqlite3.OperationalError:
        return True
    finally:
        con.close()
    return False


class Nursery:
    """Gives birth to workers quickly (see ``nursery``); several threads may ask."""

    def __init__(self) -> None:
        settings = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.nursery"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=settings,
        )  # fmt: skip
        self._lock = threading.Lock()

    def ask(self, **order: Any) -> Any:
        """Its answer to an order."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())

    def start(self, errors: Path, *words: Any, twists: Sequence[Twist] = ()) -> Forked:
        """A new process that does a function of ``apps`` with these words."""
        plain = [str(word) if isinstance(word, Path) else word for word in words]
        return Forked(self, self.ask(start=plain, twists=list(twists), errors=str(errors)), errors)

    def close(self) -> None:
        """It has ended; its children are the tests' to end."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()


class Forked:
    """A process of the nursery."""

    def __init__(self, nursery: Nursery, pid: int, errors: Path) -> None:
        self._nursery = nursery
        self._code: int | None = None
        self.pid = pid
        self.errors = errors

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def code(self) -> int | None:
        """How it ended; ``None`` while it lives."""
        if self._code is None:
            self._code = self._nursery.ask(ended=self.pid)
        return self._code

    def signal(self, number: int) -> None:
        """Send it a signal, if it lives."""
        if self.code is None:
            os.kill(self.pid, number)

    def stop(self) -> bool:
        """Whether it stands still, and has not ended before; the signal alone would take effect a moment later."""
        os.kill(self.pid, signal.SIGSTOP)
        return until(lambda: stands(self.pid)) and self.code is None

    def kill(self) -> bool:
        """It has ended; whether that was our doing."""
        if self.code is not None:
            return False
        os.kill(self.pid, signal.SIGKILL)
        self._code = self._nursery.ask(wait=self.pid)
        return True

    def finish(self, seconds: float = 30.0) -> None:
        """It came to its end by itself, and well."""
        until(lambda: self.code is not None, seconds)
        assert self._code == 0, f"ended with {self._code}: {self.errors.read_text()[-2000:]}"
