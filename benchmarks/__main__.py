"""Measure W1 to W4, W6, memory and loop lag beside the ceiling: ``python -m benchmarks [ITEMS]``; or ``inbox``, ``inbox-web``, ``pages``."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from statistics import median

from benchmarks.ceiling import ceiling
from benchmarks.inbox import REVIEWS, inbox
from benchmarks.workloads import Lag, batched, chain, durable, fanned, in_memory

ROUNDS = 3
"""The machine's mood changes within a run: everything is measured in turn, so often, and the median counts."""

Figures = dict[str, list[float]]


def process_ms(*arguments: str) -> float:
    """The best of five runs of a Python process, in milliseconds."""
    times = []
    for _ in range(5):
        began = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        times.append(1000 * (time.perf_counter() - began))
    return min(times)


def main() -> None:
    """What the command line asks for."""
    if sys.argv[1:2] == ["inbox"]:
        told(inbox(int(sys.argv[2]) if len(sys.argv) > 2 else REVIEWS), digits=2)
    elif sys.argv[1:2] == ["inbox-web"]:
        from benchmarks.inbox_web import inbox_web  # the web is an extra

        told(inbox_web(int(sys.argv[2]) if len(sys.argv) > 2 else REVIEWS), digits=2)
    elif sys.argv[1:2] == ["pages"]:
        from benchmarks.pages import pages  # needs what the web needs

        told(pages(int(sys.argv[2]) if len(sys.argv) > 2 else 20_000), digits=1)
    elif sys.argv[1:2] == ["looking"]:
        from benchmarks.looking import ITEMS, looking  # needs what the web needs

        told(looking(int(sys.argv[2]) if len(sys.argv) > 2 else ITEMS), digits=1)
    else:
        told(throughput(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000), digits=0)


def told(figures: dict[str, float], *, digits: int) -> None:
    """Print the figures for people, and once more as JSON."""
    for label, value in figures.items():
        print(f"{label:<56}{value:>12,.{digits}f}")
    print(json.dumps({label: round(value, 1 + digits) for label, value in figures.items()}))


def throughput(count: int) -> dict[str, float]:
    """Everything in one run: figures of different runs say nothing about each other."""
    seen: Figures = defaultdict(list)
    with tempfile.TemporaryDirectory() as name:
        for place in range(ROUNDS):
            folder = Path(name) / str(place)
            folder.mkdir()
            one_round(folder, count, seen)
        processes(folder, count, seen)
    return {label: median(values) for label, values in seen.items()}


def one_round(folder: Path, count: int, seen: Figures) -> None:
    """Each workload once, each beside its ceiling."""
    for in_flight, amount in ((1000, count), (10, count // 10), (1, count // 50)):
        path, lag = folder / f"w1-{in_flight}.db", Lag()
        top = ceiling(Path(tempfile.mkdtemp(dir=folder)), amount, in_flight)
        rate = 5 * amount / asyncio.run(durable(chain(), path, amount, in_flight))
        seen[f"W1 {in_flight} in flight, stages/s"].append(rate)
        seen[f"W1 {in_flight} in flight, ceiling"].append(top)
        seen[f"W1 {in_flight} in flight, share of the ceiling in %"].append(100 * rate / top)
        if in_flight == 1000:
            seen["W1 bytes an item"].append(path.stat().st_size / amount)
            asyncio.run(durable(chain(), folder / "lag.db", amount, in_flight, lag))
            seen["W1 1000 in flight, loop lag p99, ms"].append(lag.p99())
    seen["W2 in memory, stages/s"].append(5 * count / asyncio.run(in_memory(chain(), count, 1000)))
    for children in (1_000, 10_000):
        seen[f"W3 {children} subtasks, subtasks/s"].append(asyncio.run(fanned(folder / f"w3-{children}.db", children)))
    seen["W6 batches of 256 in memory, items/s"].append(count / asyncio.run(in_memory(batched(), count, 2048)))
    seen["W6 batches of 256 durable, items/s"].append(count / asyncio.run(durable(batched(), folder / "w6.db", count, 2048)))


def processes(folder: Path, count: int, seen: Figures) -> None:
    """What whole processes cost."""
    bare = process_ms("-c", "pass")
    seen["W4 import treadle, ms"].append(process_ms("-c", "import treadle") - bare)
    seen["W4 treadle status, ms"].append(process_ms("-m", "treadle.cli", "status", "--store", str(folder / "w1-1.db")))
    peak = subprocess.run([sys.executable, "-m", "benchmarks.memory", str(10 * count)], check=True, capture_output=True)
    seen[f"Peak memory of {10 * count} items from a generator, MB"].append(float(peak.stdout))


if __name__ == "__main__":
    main()
