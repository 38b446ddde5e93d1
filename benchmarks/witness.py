"""Looks, from inside stage bodies and on a connection of its own, whether what they build on is on disk."""

from __future__ import annotations

import sqlite3
from pathlib import Path

EVERY = 250
"""One item in so many is looked at: often enough to catch an engine that acknowledges early, too seldom to slow it."""
_STATE = (
    "SELECT s.state FROM stages s JOIN items i ON i.id = s.item JOIN names n ON n.id = s.stage WHERE i.key = ? AND n.name = ?"
)
_COMPLETED = 2


class Witness:
    """Asserts "durable before dependent starts": another connection sees only what has been committed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._con: sqlite3.Connection | None = None
        self.seen: int = 0
        """How often it has looked."""

    def look(self, item: str, before: str) -> None:
        """Called by a stage that starts: the one before it must be completed in the file."""
        if self._con is None:
            self._con = sqlite3.connect(f"file:{self._path}?mode=ro", uri=True)
        self.seen += 1
        state = self._con.execute(_STATE, (item, before)).fetchone()
        assert state == (_COMPLETED,), f"a stage of {item} started before {before} was on disk: {state}"

    def close(self) -> None:
        """It looks no more; asserts that it has looked at all."""
        assert self.seen, "no stage was looked at"
        if self._con is not None:
            self._con.close()
