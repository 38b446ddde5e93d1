"""The least an engine can do for durable stages: await, encode, await a shared durable write of one row a stage."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from pathlib import Path

_PUT = (
    "INSERT INTO s VALUES (?,?,?,?,?,?) ON CONFLICT DO UPDATE SET state=excluded.state,"
    " updated_at=excluded.updated_at, error=excluded.error, output=excluded.output"
)
_TABLE = (
    "CREATE TABLE s(item INTEGER, stage INTEGER, state INTEGER, updated_at INTEGER, error TEXT, output TEXT,"
    " PRIMARY KEY(item, stage)) WITHOUT ROWID"
)


async def _body(number: int) -> dict[str, int]:
    return {"n": number}


def ceiling(folder: Path, items: int, in_flight: int) -> float:
    """Stages a second of five durable no-op stages an item."""
    con = sqlite3.connect(folder / "ceiling.db", isolation_level=None)
    for statement in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", _TABLE):
        con.execute(statement)

    async def main() -> float:
        loop, numbers = asyncio.get_running_loop(), iter(range(items))
        queue: list[tuple[tuple[object, ...], asyncio.Future[None]]] = []

        def flush() -> None:
            batch = queue.copy()
            queue.clear()
            con.execute("BEGIN IMMEDIATE")
            con.executemany(_PUT, [row for row, _ in batch])
            con.execute("COMMIT")
            for _, done in batch:
                done.set_result(None)

        def put(row: tuple[object, ...]) -> asyncio.Future[None]:
            done: asyncio.Future[None] = loop.create_future()
            if not queue:
                loop.call_soon(flush)
            queue.append((row, done))
            return done

        async def mover() -> None:
            for number in numbers:
                for stage in range(5):
                    await put((number, stage, 3, time.time_ns() // 1000, None, json.dumps(await _body(number))))

        began = time.perf_counter()
        await asyncio.gather(*(mover() for _ in range(in_flight)))
        return 5 * items / (time.perf_counter() - began)

    rate = asyncio.run(main())
    assert con.execute("SELECT count(*) FROM s WHERE state = 3").fetchone()[0] == 5 * items
    con.close()
    return rate
