"""Measure Treadle beside the least that any engine could cost: ``python -m benchmarks --help``."""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import curves, million, peers, results
from benchmarks.ceiling import ceiling
from benchmarks.inbox import REVIEWS, inbox
from benchmarks.workloads import Lag, batched, chain, durable, fanned, in_memory, witnessed
from treadle import Engine, StateStore, open_store, progress
from treadle.testing import FaultyStore

ROUNDS = 3
"""The machine's mood changes within a run: everything is measured in turn, so often, and the median counts."""

_SHORT = 5
"""So often a round what takes less time than a mood of the machine lasts (W6, W3 with 1,000 subtasks), or costs less than one comparison is off
by (followers)."""
_LOOKS = 300
_WHAT = ("all", "inbox", "inbox-web", "pages", "looking", "curves", "plot")


def process_ms(*arguments: str) -> float:
    """The best of five runs of a Python process, in milliseconds; modules are compiled, as after an installation."""
    times = []
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    for _ in range(5):
        began = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True, env=environment)
        times.append(1000 * (time.perf_counter() - began))
    return min(times)


def options(words: list[str] | None = None) -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure Treadle beside its ceiling.")
    parser.add_argument("what", nargs="?", default="all", help=f"one of {', '.join(_WHAT)}; all without it")
    parser.add_argument("size", nargs="?", type=int, help="items (20,000), or reviews of an inbox (100,000)")
    parser.add_argument("--million", type=int, metavar="ITEMS", default=50_000, help="size of W5; 0 leaves it out")
    parser.add_argument(
        "--full", action="store_true", help="W5 with 1,000,000 items, curves to 5,000,000 rows: some minutes more"
    )
    parser.add_argument("--peers", action="store_true", help="W1 on Burr, LangGraph, DBOS and huey too")
    parser.add_argument("--save", type=Path, metavar="FILE", help="keep the results, every round, as JSON")
    parser.add_argument("--against", type=Path, metavar="FILE", help="say what moved beyond noise since a run that was kept")
    given = parser.parse_args(words)
    if given.what.isdigit():
        given.what, given.size = "all", int(given.what)
    if given.what not in _WHAT:
        parser.error(f"{given.what!r} is none of {', '.join(_WHAT)}")
    return given


def main() -> None:
    """Measure, print, keep, compare."""
    given = options()
    if given.what in ("curves", "plot"):
        curves.main(full=given.full, plot_only=given.what == "plot")
        return
    if given.what != "all":
        figures = {label: [value] for label, value in asked(given.what, given.size).items()}
    else:
        figures = throughput(given.size or 20_000, million.ITEMS if given.full else given.million)
        if given.peers:
            figures |= peers.peers(1)
    print(results.table(figures))
    if given.peers:
        print(peers.ratios(figures))
    if given.save is not None:
        results.save(figures, given.save)
    if given.against is not None:
        print(results.compared(results.load(given.against), figures))


def asked(what: str, size: int | None) -> dict[str, float]:
    """What only some want to know. What needs the web is loaded when it is asked for: the web is an extra."""
    if what == "inbox":
        return inbox(size or REVIEWS)
    if what == "inbox-web":
        from benchmarks.inbox_web import inbox_web

        return inbox_web(size or REVIEWS)
    if what == "pages":
        from benchmarks.pages import pages

        return pages(size or 20_000)
    from benchmarks.looking import ITEMS, looking

    return looking(size or ITEMS)


def throughput(count: int, many: int) -> dict[str, list[float]]:
    """Everything in one run: figures of different runs say little about each other."""
    seen: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as name:
        for place in range(ROUNDS):
            folder = Path(name) / str(place)
            folder.mkdir()
            one_round(folder, count, seen)
            watched(folder / "w1-1000.db", count, seen)
        processes(folder, count, seen)
        if many:
            for label, value in million.million(Path(name), many).items():
                seen[label].append(value)
    return dict(seen)


def one_round(folder: Path, count: int, seen: dict[str, list[float]]) -> None:
    """Each workload once, each beside its ceiling."""
    for in_flight, amount in ((1000, count), (10, count // 10), (1, count // 50)):
        path, lag = folder / f"w1-{in_flight}.db", Lag()
        top = ceiling(Path(tempfile.mkdtemp(dir=folder)), amount, in_flight)
        rate = 5 * amount / asyncio.run(witnessed(path, amount, in_flight))
        seen[f"W1 {in_flight} in flight, stages/s"].append(rate)
        seen[f"W1 {in_flight} in flight, ceiling"].append(top)
        seen[f"W1 {in_flight} in flight, share of the ceiling in %"].append(100 * rate / top)
        if in_flight == 1000:
            seen["W1 bytes an item"].append(path.stat().st_size / amount)
            asyncio.run(durable(chain(), folder / "lag.db", amount, in_flight, [lag.watch]))
            seen["W1 1000 in flight, loop lag p99, ms"].append(lag.p99())
    seen["W2 in memory, stages/s"].append(5 * count / asyncio.run(in_memory(chain(), count, 1000)))
    for run in range(_SHORT):
        seen["W3 1000 subtasks, subtasks/s"].append(asyncio.run(fanned(folder / f"w3-{run}.db", 1_000)))
    seen["W3 10000 subtasks, subtasks/s"].append(asyncio.run(fanned(folder / "w3.db", 10_000)))
    for run in range(_SHORT):
        seen["W6 batches of 256 in memory, items/s"].append(count / asyncio.run(in_memory(batched(), count, 1024)))
        path = folder / f"w6-{run}.db"
        seen["W6 batches of 256 durable, items/s"].append(count / asyncio.run(durable(batched(), path, count, 2048)))


def watched(path: Path, count: int, seen: dict[str, list[float]]) -> None:
    """What it costs W1 to be watched, in its process's share of the processor: a look of the progress bar, and readers of every event.

    The look is measured alone: beside W1, a few percent drown in the machine's moods.
    """
    look, every = asyncio.run(looks(path))
    seen["W1 with the progress bar, cost in %"].append(100 * look / every)
    for turn in range(_SHORT):
        folder = path.with_name(f"watched-{turn}")
        folder.mkdir()
        followers(folder, count // 2, seen)
    seen["Events read to the end, events/s"].append(asyncio.run(read(path)))


def followers(folder: Path, count: int, seen: dict[str, list[float]]) -> None:
    """W1 beside a reader of every event, and alone before and after: what is compared is less than what the machine's mood makes of it in between."""
    before = processor(durable(chain(), folder / "before.db", count, 1000))
    there = processor(durable(chain(), folder / "there.db", count, 1000, [partial(follow, folder / "there.db")]))
    here = processor(durable(chain(), folder / "here.db", count, 1000, [follow_here]))
    after = processor(durable(chain(), folder / "after.db", count, 1000))
    for where, taken in (("another", there), ("the same", here)):
        label = f"W1 with a follower of the events in {where} process, cost in %"
        seen[label].append(100 * (2 * taken / (before + after) - 1))


def processor(work: Coroutine[Any, Any, Any]) -> float:
    """Seconds of the processor's time that it takes this process."""
    began = time.process_time()
    asyncio.run(work)
    return time.process_time() - began


async def follow(path: Path, engine: Engine, store: StateStore) -> None:
    """Another process reads the journal and waits for more of it, until this is cancelled."""
    words = ("-m", "treadle.cli", "events", "--follow", "--format", "json", "--store", str(path))
    process = await asyncio.create_subprocess_exec(sys.executable, *words, stdout=asyncio.subprocess.DEVNULL)
    try:
        await process.wait()
    finally:
        process.kill()
        await process.wait()


async def follow_here(engine: Engine, store: StateStore) -> None:
    """This process follows its own journal, until this is cancelled."""
    async for _ in engine.events(follow=True):
        pass


async def looks(path: Path) -> tuple[float, float]:
    """Seconds of the processor's time that a look takes, drawn on a terminal; and seconds between two looks of a run."""
    async with open_store(path) as opened, Engine(chain(), opened) as engine:
        store, every = FaultyStore(opened), progress._LOOK  # noqa: SLF001 - it is what is measured
        progress._LOOK, progress._REST = 0.0, 0  # noqa: SLF001
        try:
            with drawn():
                began = time.process_time()
                watching = asyncio.create_task(progress.watch(engine, store))
                while store.calls["counts"] < _LOOKS:  # noqa: ASYNC110 - it tells nobody
                    await asyncio.sleep(0.001)
                took = time.process_time() - began
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)
        finally:
            progress._LOOK = every  # noqa: SLF001
    return took / _LOOKS, every


async def read(path: Path) -> float:
    """Events a second, of reading all of a store that nobody writes to."""
    async with open_store(path) as store, Engine(chain(), store) as engine:
        began, count = time.perf_counter(), 0
        async for _ in engine.events():
            count += 1
        return count / (time.perf_counter() - began)


def processes(folder: Path, count: int, seen: dict[str, list[float]]) -> None:
    """What whole processes cost."""
    bare = process_ms("-c", "pass")
    seen["W4 import treadle, ms"].append(process_ms("-c", "import treadle") - bare)
    seen["W4 treadle --help, ms"].append(process_ms("-m", "treadle.cli", "--help"))
    seen["W4 treadle status, ms"].append(process_ms("-m", "treadle.cli", "status", "--store", str(folder / "w1-1.db")))
    seen["W4 one item as a process, ms"].append(process_ms("-m", "benchmarks.memory", "1"))
    peak = subprocess.run([sys.executable, "-m", "benchmarks.memory", str(10 * count)], check=True, capture_output=True)
    seen[f"Peak memory of {10 * count} items from a generator, MB"].append(float(peak.stdout))


@contextmanager
def drawn() -> Iterator[None]:
    """Inside, standard error is a terminal of which everything is thrown away."""
    import pty

    shown, drawn_on = pty.openpty()

    def swallow() -> None:
        with suppress(OSError):
            while os.read(shown, 65_536):
                pass

    reader, before = threading.Thread(target=swallow), sys.stderr
    sys.stderr = os.fdopen(drawn_on, "w")
    reader.start()
    try:
        yield
    finally:
        sys.stderr.close()
        sys.stderr = before
        reader.join()
        os.close(shown)


if __name__ == "__main__":
    main()
