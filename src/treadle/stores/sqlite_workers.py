"""Workers of a SQLite store: who may claim, who lost what, and whether anybody may claim at all."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from treadle.state import Mode
from treadle.store import Control, WorkerIdentity, WorkerRow
from treadle.stores.shared import lost_by

_ENLIST = "INSERT INTO workers (name, host, boot, pid, started, beat, since) VALUES (?,?,?,?,?,?,?)"
_ENLISTED = "SELECT id, since, beat, name, host, boot, pid, started FROM workers ORDER BY id"
_HELD = "SELECT worker, count(*) FROM items WHERE worker IS NOT NULL GROUP BY worker"
_FREE = "UPDATE items SET worker = NULL, fence = fence + 1, wake = ?, lost = ? WHERE worker = ?"


def enlist(con: sqlite3.Connection, who: WorkerIdentity, now: int) -> int:
    """A number for the worker; it lives from now on."""
    return int(con.execute(_ENLIST, (*who, now, now)).lastrowid or 0)


def enlisted(con: sqlite3.Connection, *, holds: bool = False) -> list[WorkerRow]:
    """Everybody who was not found dead; with ``holds``, how many items each has."""
    held = dict(con.execute(_HELD)) if holds else {}
    return [
        WorkerRow(number, WorkerIdentity(*who), since, beat, held.get(number, 0))
        for number, since, beat, *who in con.execute(_ENLISTED)
    ]


def free(con: sqlite3.Connection, workers: Sequence[WorkerRow], now: int) -> None:
    """These workers are no more, and what they held is free."""
    for row in workers:
        con.execute(_FREE, (now, lost_by(row), row.number))
        con.execute("DELETE FROM workers WHERE id = ?", (row.number,))


def control(con: sqlite3.Connection) -> Control:
    """Whether workers may claim."""
    row = con.execute("SELECT mode, by, at FROM control").fetchone()
    return Control() if row is None else Control(Mode(row[0]), row[1], row[2])


def steer(con: sqlite3.Connection, wish: Control) -> Control:
    """Whether workers may claim from now on."""
    con.execute("INSERT OR REPLACE INTO control VALUES (1, ?, ?, ?)", wish)
    return wish
