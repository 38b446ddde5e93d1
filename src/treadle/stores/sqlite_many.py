"""Many rows in one statement.

To begin and end a statement takes SQLite and Python's driver longer than to insert a small row, and a table whose keys are
never given again is looked up in SQLite's list of those each time: many rows in a statement take half the time of as many
statements (``make bench``, W1).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import chain
from typing import Any

_SIZES = (32, 16, 8, 4, 2, 1)
"""Rows a statement; the most of the widest have fewer values than any SQLite can bind."""


class Many:
    """An INSERT of any number of rows, which are inserted in their order."""

    def __init__(self, insert: str, row: str, behind: str = "") -> None:
        self._statements = [(size, f"{insert} VALUES {','.join([row] * size)}{behind}") for size in _SIZES]

    def write(self, con: sqlite3.Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert the rows."""
        begin, end = 0, len(rows)
        for size, statement in self._statements:
            if begin == end:
                return
            if end - begin >= size:
                upto = end - (end - begin) % size
                con.executemany(statement, [tuple(chain.from_iterable(rows[at : at + size])) for at in range(begin, upto, size)])
                begin = upto
