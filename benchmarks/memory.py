"""Move items from a generator on SQLite and print the process's peak memory: ``python -m benchmarks.memory [ITEMS]``."""

from __future__ import annotations

import asyncio
import resource
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from treadle import Engine, Workflow, open_store


def flow() -> Workflow:
    """Two stages, so that artefacts are read back."""
    workflow = Workflow("memory")

    @workflow.stage
    async def one(item: dict[str, Any]) -> dict[str, int]:
        return {"n": item["n"]}

    @workflow.stage
    async def two(item: dict[str, Any], one: dict[str, int]) -> dict[str, int]:
        return one

    return workflow


def items(count: int) -> Iterator[dict[str, Any]]:
    """Items that exist only while they are asked for."""
    for number in range(count):
        yield {"id": f"item-{number}", "n": number}


async def moved(path: Path, count: int) -> int:
    """How many items came to their end."""
    async with open_store(path) as store, Engine(flow(), store) as engine:
        return (await engine.run(items(count), concurrency=1000)).completed


def main() -> None:
    """Megabytes, alone on a line; run it in a process of its own, since a peak never falls."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    with tempfile.TemporaryDirectory() as name:
        completed = asyncio.run(moved(Path(name) / "memory.db", count))
    assert completed == count, completed
    print(peak_mb())


def peak_mb() -> float:
    """The most memory this process had. Linux counts what the parent had into ``ru_maxrss``, but not into ``VmHWM``."""
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) / 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main()
