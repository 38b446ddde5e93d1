"""Plain items, and how many of them a store's workers hold."""

from __future__ import annotations

from typing import Any

from treadle import StateStore

Item = dict[str, Any]


def numbered(count: int) -> list[Item]:
    return [{"id": str(n), "n": n} for n in range(count)]


async def held(store: StateStore) -> int:
    return sum(worker.holds for worker in await store.workers())
