"""What the crash tests share: real processes, waiting for conditions, and the invariants of a store."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

LONG = bool(os.environ.get("TREADLE_CRASH_LONG"))
"""Whether there is time for the long version (`make crash`)."""


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


def sql(path: Path, query: str, *values: object) -> list[tuple[object, ...]]:
    """Rows of a store, read from outside."""
    con = sqlite3.connect(path, timeout=30)
    try:
        return con.execute(query, values).fetchall()
    finally:
        con.close()


def states(path: Path, stage: str) -> dict[str, str]:
    """The state of that stage by item."""
    return dict(sql(path, "SELECT item_id, state FROM stage_statuses WHERE stage = ?", stage))  # type: ignore[arg-type]


def check_invariants(path: Path) -> None:
    """What holds of every store that nobody works on, whatever happened to those who did."""
    assert sql(path, "PRAGMA integrity_check") == [("ok",)]
    assert sql(path, "SELECT key FROM items WHERE worker IS NOT NULL AND worker NOT IN (SELECT id FROM workers)") == []
    # Every open item is claimable, held, or waits for a review, a time or somebody to mend a failure.
    stuck = "SELECT key FROM items WHERE phase = 0 AND wake IS NULL AND worker IS NULL AND payload IS NOT NULL"
    assert sql(path, stuck) == []
    for item, name, state in sql(path, "SELECT item_id, stage, state FROM stage_statuses"):
        told = folded(path, str(item)).get(str(name))
        assert told in (None, state), f"the journal says {told} of {name} of {item}, the tables say {state}"


_TOLD = {
    "stage_started": "running", "stage_completed": "completed", "stage_failed": "failed", "stage_skipped": "skipped",
    "review_required": "awaiting_review", "stage_retried": "pending", "retry_scheduled": "pending", "stage_rerun": "pending",
}  # fmt: skip


def folded(path: Path, item: str) -> dict[str, str]:
    """The last state of each stage that the journal tells of; stages whose last word is something else are left out."""
    from treadle.stores.sqlite_rows import KINDS

    found: dict[str, str] = {}
    rows = sql(
        path, "SELECT e.kind, n.name, e.subtask, e.data FROM events e JOIN items i ON i.id = e.item"
        " JOIN names n ON n.id = e.stage WHERE i.key = ? ORDER BY e.cursor", item,
    )  # fmt: skip
    for kind, name, subtask, data in rows:
        word = KINDS[int(str(kind))].value
        if subtask is not None or word.startswith(("quality", "stage_progress", "fan_out", "retry_attempt", "escalated")):
            continue
        found.pop(str(name), None)
        if word in _TOLD and not (data and "error" in json.loads(str(data)) and word == "stage_interrupted"):
            found[str(name)] = _TOLD[word]
    return found
