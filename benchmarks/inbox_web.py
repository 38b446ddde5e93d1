"""The inbox's pages and API beside many waiting reviews: ``python -m benchmarks inbox-web [REVIEWS]``."""

from __future__ import annotations

import asyncio
import random
import tempfile
from pathlib import Path
from typing import Any

import httpx

from benchmarks.inbox import REVIEWS, asking, items, timed
from treadle import Engine, StateStore, open_store
from treadle.web import Principal, Role, create_app

API = "/api/v1/reviews"


class Reader:
    """Somebody who works through the inbox, without a network in between: what is timed is the server's part."""

    def __init__(self, client: httpx.AsyncClient, count: int) -> None:
        self._client = client
        self._left = list(range(count))
        random.Random(7).shuffle(self._left)
        self.figures: dict[str, float] = {}

    async def measure(self, middle: int) -> None:
        """All of it; ``middle`` is a cursor in the middle of the queue."""
        for name, path in {
            "inbox page": "/inbox",
            "inbox page by a rare verdict": "/inbox?verdict=uncertain",
            "next 50 rows, from the middle": f"/parts/inbox/queue?after={middle}",
            "progress": "/parts/inbox/progress",
            "API, a page of 50": API,
        }.items():
            await self._time(name, lambda path=path: self._get(path))
        await self._time("inbox page of one review", lambda: self._get(f"/inbox/{self._some()}"))
        await self._time("next review", lambda: self._get(f"/parts/inbox/review/{self._some()}"))
        await self._time("API, one review", lambda: self._get(f"{API}/{self._some()}"))
        await self._time("API, one review and its approval", self._decide)

    async def _time(self, name: str, act: Any) -> None:
        self.figures[f"{name}, p50 ms"], self.figures[f"{name}, p99 ms"] = await timed(act)

    def _some(self) -> str:
        return f"item-{self._left.pop()}%2Fcommon"

    async def _get(self, path: str) -> httpx.Response:
        return (await self._client.get(path)).raise_for_status()

    async def _decide(self) -> None:
        path = f"{API}/{self._some()}"
        review = (await self._get(path)).json()["review"]
        body = {"decision": "approve", "revision": review["revision"], "digest": review["digest"]}
        (await self._client.post(f"{path}/decide", json=body)).raise_for_status()


async def measured(path: Path, count: int) -> dict[str, float]:
    """Every figure, beside ``count`` waiting reviews."""
    async with open_store(path) as store:
        async with Engine(asking(), store) as engine:
            await engine.run(items(count), concurrency=1000)
        return await asked(store, count)


async def asked(store: StateStore, count: int) -> dict[str, float]:
    """Every figure of a store that holds ``count`` waiting reviews."""
    app = create_app(store, asking(), authenticate=lambda _request: Principal("ann", Role.OPERATOR))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1", timeout=60) as client:
        session = (await client.get("/session")).json()
        client.headers.update({"Origin": "http://127.0.0.1", "X-Treadle-Token": session["token"]})
        reader = Reader(client, count)
        first = (await client.get(API, params={"limit": 500})).json()
        await reader.measure(first["cursor"] + count // 2)
        return reader.figures


def inbox_web(count: int = REVIEWS) -> dict[str, float]:
    """The figures by their names."""
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(measured(Path(folder) / "inbox.db", count))
