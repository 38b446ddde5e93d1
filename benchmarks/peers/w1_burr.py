"""W1 on Burr: an application an item, its state saved to SQLite after each of five actions. Prints stages a second."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from burr.core import ApplicationBuilder, State, action
from burr.integrations.persisters.b_aiosqlite import AsyncSQLitePersister

STAGES = ("one", "two", "three", "four", "five")
AT_ONCE = 100


def made(name: str) -> Any:
    @action(reads=["n"], writes=[name])
    async def body(state: State) -> State:
        return state.update(**{name: {"n": state["n"]}})

    return body


async def move(numbers: Iterator[int], persister: AsyncSQLitePersister) -> None:
    for number in numbers:
        application = await (
            ApplicationBuilder()
            .with_actions(**{name: made(name) for name in STAGES})
            .with_transitions(*pairwise(STAGES))
            .with_state(n=number)
            .with_entrypoint("one")
            .with_identifiers(app_id=f"item-{number}")
            .with_state_persister(persister)
            .abuild()
        )
        await application.arun(halt_after=["five"])


async def main(count: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        persister = await AsyncSQLitePersister.from_values(db_path=str(Path(folder) / "burr.db"))
        await persister.initialize()
        await persister.connection.execute("PRAGMA journal_mode=WAL")
        await persister.connection.execute("PRAGMA synchronous=FULL")
        began, numbers = time.perf_counter(), iter(range(count))
        await asyncio.gather(*(move(numbers, persister) for _ in range(AT_ONCE)))
        elapsed = time.perf_counter() - began
        cursor = await persister.connection.execute("SELECT count(*) FROM burr_state WHERE position = 'five'")
        assert await cursor.fetchone() == (count,)
        await persister.cleanup()
    return 5 * count / elapsed


if __name__ == "__main__":
    print(asyncio.run(main(int(sys.argv[1]))))
