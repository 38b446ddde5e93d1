"""What is changed in a process before it begins: sabotage that the lab must see, and strange surroundings.

Each patches the product from outside, in the child alone; the product has no options for it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from treadle import presence
from treadle.state import ItemState, Transition
from treadle.stores import sqlite, sqlite_put, sqlite_writer

# strange surroundings


def elsewhere(host: str) -> None:
    """The process runs on another machine, as far as others can tell."""
    real = presence.identity
    for module in (presence, __import__("treadle.membership").membership):
        module.identity = lambda name=None: real(name)._replace(host=host)
    presence.socket.gethostname = lambda: host


def clock_ahead(seconds: float) -> None:
    """The clock of the day is wrong by so much."""
    real, real_ns = time.time, time.time_ns
    time.time = lambda: real() + seconds
    time.time_ns = lambda: real_ns() + int(seconds * 1_000_000_000)


# sabotage


def acknowledge_before_commit() -> None:
    """A change is called durable when it has only been handed over."""
    real = sqlite_writer.Writer.change

    def early(self: sqlite_writer.Writer, change: Any) -> asyncio.Future[Any]:
        real(self, change)
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    sqlite_writer.Writer.change = early  # type: ignore[method-assign]


def tell_later() -> None:
    """Events are written in the transaction after the one of what they tell."""
    real = sqlite.SqliteStateStore._write_changes
    held: list[tuple[ItemState, Transition]] = []

    def apart(self: Any, con: Any, changes: Sequence[tuple[ItemState, Transition]]) -> list[Exception | None]:
        before, held[:] = held[:], [(state, Transition(change.at, events=change.events)) for state, change in changes]
        sqlite_put.write_rows(con, self._names, before)
        return real(self, con, [(state, change._replace(events=())) for state, change in changes])

    sqlite.SqliteStateStore._write_changes = apart  # type: ignore[method-assign]


def no_fence() -> None:
    """A commit is written whoever holds the item."""
    real = sqlite.SqliteStateStore._write_changes

    def forged(self: Any, con: Any, changes: Sequence[tuple[ItemState, Transition]]) -> list[Exception | None]:
        for state, _ in changes:
            con.execute("UPDATE items SET worker = coalesce(worker, 0) WHERE id = ?", (state.key,))
            state.fence = con.execute("SELECT fence FROM items WHERE id = ?", (state.key,)).fetchone()[0]
        return real(self, con, changes)

    sqlite.SqliteStateStore._write_changes = forged  # type: ignore[method-assign]
