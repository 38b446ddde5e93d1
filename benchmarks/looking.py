"""Pages of a made-up store, however large: ``python -m benchmarks looking [ITEMS]``.

Five of six items are through or wait somewhere, the rest has not begun; one in ten waits for a person, one in a hundred failed.
"""

from __future__ import annotations

import asyncio
import sqlite3
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from treadle import Workflow, open_store
from treadle.web import Principal, Role, create_app

ITEMS = 1_000_000
ROUNDS = 5

PAGES = {
    "overview": "/",
    "items": "/items",
    "items from the middle, backwards": "/items?before=doc-0500000",
    "items by prefix": "/items?prefix=doc-05",
    "items that failed": "/items?state=failed",
    "items that wait for a person": "/items?state=awaiting_review",
    "items pending in a stage": "/items?stage=judge&state=pending",
    "items by a text that is nowhere": "/items?text=nowhere",
    "items by an error": "/items?state=failed&text=part+7",
    "items changed lately": "/items?age=%3C1h",
    "items not changed for long, none": "/items?age=%3E900d",
    "one item": "/items/doc-0000039",
    "one stage": "/stages/extract",
    "failures": "/failures",
    "events": "/events",
    "events of a kind there is none of": "/events?kind=item_cancelled",
    "API: figures": "/api/v1/stats",
    "API: items that failed": "/api/v1/items?state=failed",
}


def papers() -> Workflow:
    """Five stages, two of them beside each other."""
    workflow = Workflow("papers")

    @workflow.stage
    async def fetch(item: dict[str, Any]) -> dict[str, Any]:
        return item

    @workflow.stage
    async def extract(item: dict[str, Any], fetch: dict[str, Any]) -> dict[str, Any]:
        return fetch

    @workflow.stage
    async def facts(item: dict[str, Any], fetch: dict[str, Any]) -> dict[str, Any]:
        return fetch

    @workflow.stage
    async def judge(item: dict[str, Any], extract: dict[str, Any], facts: dict[str, Any]) -> dict[str, Any]:
        return extract

    @workflow.stage
    async def report(item: dict[str, Any], judge: dict[str, Any]) -> dict[str, Any]:
        return judge

    return workflow


# Each item with the place of its first stage that is not completed (0: it has not begun, 6: it is through) and how that stands.
_PLANNED = (
    "CREATE TEMP TABLE planned AS WITH RECURSIVE c(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM c WHERE i < :items) SELECT i,"
    " CASE WHEN i > :items * 0.85 THEN 0 WHEN i % 10 = 3 THEN 4 WHEN i % 97 = 5 THEN 1 + i % 3 ELSE 6 END AS cut,"
    " CASE WHEN i % 10 = 3 THEN 4 WHEN i % 97 = 5 THEN 3 ELSE 2 END AS last FROM c"
)
_STATEMENTS = (
    "CREATE TEMP TABLE placed AS SELECT id, row_number() OVER (ORDER BY id) AS s FROM names",
    (
        "INSERT INTO items (id, key, payload, phase, wake, added) SELECT i, printf('doc-%07d', (i * 7919) % :items), '{}',"
        " CASE WHEN cut = 0 THEN 0 WHEN cut = 6 THEN 1 WHEN last = 3 THEN 2 ELSE 3 END, CASE WHEN cut = 0 THEN 1 END, :base + i * 900 FROM planned"
    ),
    (
        "INSERT INTO stages (item, stage, state, attempt, updated, started, error, artefact, review, spent, interruptions, fan_out)"
        " SELECT i, id, CASE WHEN s < cut THEN 2 ELSE last END, 1 + (i % 50 = 0), :base + i * 1000 + s * 100,"
        " :base + i * 1000 + s * 100 - (20 + i % 80) * s * 1000,"
        " CASE WHEN s = cut AND last = 3 THEN 'ValueError: cannot decode part ' || (i % 11) || ' as text' END,"
        " CASE WHEN s < cut THEN '{\"n\":' || i || '}' END,"
        ' CASE WHEN s = cut AND last = 4 THEN \'{"summary":"sure?","created_at":"2026-01-01T00:00:00+00:00"}\' END, 1, 0, 0'
        " FROM planned CROSS JOIN placed WHERE s <= cut ORDER BY i, id"
    ),
    (
        "INSERT INTO reviews (item, stage, revision, asked_by, attempt, opened, question, digest) SELECT i, id, 1, 'gate', 1,"
        " :base + i * 1000, '{\"summary\":\"sure?\"}', '' FROM planned JOIN placed ON s = cut WHERE last = 4"
    ),
    (
        "INSERT INTO events (at, item, stage, kind, attempt, data) SELECT :base + i * 1000 + s * 100 + k, i, id,"
        " CASE WHEN k = 0 THEN 1 WHEN s < cut THEN 3 WHEN last = 3 THEN 4 ELSE 9 END, 1,"
        ' CASE WHEN k = 1 AND s = cut THEN \'{"error":"ValueError","summary":"sure?"}\' END'
        " FROM planned CROSS JOIN placed CROSS JOIN (SELECT 0 AS k UNION ALL SELECT 1) WHERE s <= cut"
    ),
    "INSERT INTO counts SELECT stage, state, count(*) FROM stages GROUP BY 1, 2",
    "INSERT INTO counts SELECT 0, phase, count(*) FROM items GROUP BY 2",
)


async def made(path: Path, items: int) -> None:
    """The store is there; written as rows, since an engine would take its time."""
    async with open_store(path) as store:
        await store.bind(papers().definition)
    con = sqlite3.connect(path)
    values = {"items": items, "base": int(time.time() * 1_000_000) - items * 1000}
    con.execute("PRAGMA synchronous=OFF")
    for statement in (_PLANNED, *_STATEMENTS):
        named = {name: value for name, value in values.items() if f":{name}" in statement}
        con.execute(statement, named)
    con.commit()
    con.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    con.close()


async def measured(path: Path) -> dict[str, float]:
    """How long the server takes for each page, the first time (nothing kept) and then."""
    figures: dict[str, float] = {}
    async with open_store(path, read_only=True) as store:
        app = create_app(store, authenticate=lambda request: Principal("ann", Role.OPERATOR))
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            for name, path_of_page in PAGES.items():
                times = []
                for _ in range(ROUNDS):
                    began = time.perf_counter()
                    answer = await client.get(path_of_page)
                    times.append(1000 * (time.perf_counter() - began))
                    assert answer.status_code == 200, (path_of_page, answer.text[:500])
                figures[f"{name}, first, ms"], figures[f"{name}, p50 ms"] = times[0], statistics.median(times)
    return figures


def looking(items: int = ITEMS) -> dict[str, float]:
    """The figures by their names."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "made-up.db"
        asyncio.run(made(path, items))
        return asyncio.run(measured(path))
