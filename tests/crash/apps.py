"""What the processes of the crash lab do."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from tests.crash.judge import Witness
from treadle import Engine, FanOut, ItemPhase, ReviewPolicy, StoreCorrupt, SubTask, Workflow, open_store
from treadle.state import ItemState, Transition
from treadle.store import Filter, ReviewFilter
from treadle.stores import sqlite_writer

Item = dict[str, Any]


def chain(witness: Witness, gate: Path | None = None) -> Workflow:
    """Three stages in a row that tell what runs; with a ``gate``, the first waits until there is such a file."""
    flow = Workflow("chain")

    @flow.stage
    async def a(item: Item) -> str | None:
        witness.tell("ran", item["id"], "a")
        while gate is not None and not gate.exists():  # noqa: ASYNC110, ASYNC240 - another process sets it
            await asyncio.sleep(0.005)
        # What a zombie would write is told apart.
        return None if gate is None else str(gate)

    @flow.stage
    async def b(item: Item, a: str | None) -> int:
        witness.tell("ran", item["id"], "b")
        return 1

    @flow.stage
    async def c(item: Item, b: int) -> int:
        witness.tell("ran", item["id"], "c")
        return b + 1

    return flow


def fan(witness: Witness, keys: int, poison: bool) -> Workflow:
    """One stage of many subtasks, three of which fail if there is poison."""
    flow = Workflow("fan")

    @flow.stage
    async def split(item: Item) -> FanOut:
        return FanOut([SubTask(f"k{n}") for n in range(keys)])

    @split.subtask
    async def one(item: Item, subtask: SubTask) -> str:
        await asyncio.sleep(0.001)
        witness.tell("ran", item["id"], subtask.name)
        if poison and subtask.name in {"k7", "k77", "k177"}:
            raise ValueError("poison")
        return subtask.name

    return flow


def told(engine: Engine, witness: Witness) -> None:
    """The witness learns of everything that is acknowledged."""

    def acknowledged(state: ItemState, change: Transition) -> None:
        for row in change.stages:
            if row.state == "completed":
                witness.tell("ack", state.id, row.stage)
        for child in change.subtasks:
            if child.state == "completed":
                witness.tell("ack", state.id, child.name)

    engine.observe(acknowledged)


def ids(number: int) -> list[Item]:
    """So many items."""
    return [{"id": f"i{n}"} for n in range(number)]


def fill(path: str, number: int) -> None:
    """The store has so many items, and nobody has moved them."""

    async def do() -> None:
        from treadle import decide
        from treadle.clock import now_us
        from treadle.store import NewItem

        flow = chain(Witness(Path())).definition
        async with open_store(path) as store:
            await store.bind(flow)
            new = [NewItem(*flow.items.encode(item)) for item in ids(number)]
            await store.add(new, decide.arrive(flow, now_us()))

    asyncio.run(do())


def move(path: str, flow: Workflow, witness: Witness, *, lease: float, concurrency: int, forever: bool) -> None:
    """Move what is in the store; what was failed for our kills is tried again."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)

    async def do() -> None:
        async with open_store(path) as store, Engine(flow, store, lease=lease) as engine:
            told(engine, witness)
            # Who is killed three times is taken for poison; here it was us.
            for item in await store.page(Filter(phase=ItemPhase.FAILED), None, 1000):
                await engine.retry(item.id)
            await (engine.work(concurrency=concurrency) if forever else engine.run(concurrency=concurrency))

    asyncio.run(do())


def work(path: str, side: str, lease: float = 30.0, concurrency: int = 20) -> None:
    """Move the chain's items until killed."""
    witness = Witness(Path(side))
    move(path, chain(witness), witness, lease=lease, concurrency=concurrency, forever=True)


def finish(path: str, side: str, lease: float = 30.0) -> None:
    """Move the chain's items until nothing can move any more."""
    witness = Witness(Path(side))
    move(path, chain(witness), witness, lease=lease, concurrency=20, forever=False)


def held(path: str, side: str, gate: str, lease: float) -> None:
    """Like ``finish``, but every body of the first stage goes on only when there is a file ``gate``."""
    witness = Witness(Path(side))
    move(path, chain(witness, Path(gate)), witness, lease=lease, concurrency=20, forever=False)


def blocking(path: str, side: str, lease: float, seconds: float) -> None:
    """Bodies that block: the loop itself, and twice as many threads as the machine has processors."""
    witness = Witness(Path(side))
    flow = Workflow("chain")

    @flow.stage(executor="thread")
    def a(item: Item) -> None:
        witness.tell("ran", item["id"], "a")
        time.sleep(seconds)

    @flow.stage
    async def b(item: Item, a: None) -> int:
        witness.tell("ran", item["id"], "b")
        time.sleep(seconds if item["id"] == "i0" else 0)  # noqa: ASYNC251 - it blocks on purpose
        return 1

    @flow.stage
    async def c(item: Item, b: int) -> int:
        return b

    move(path, flow, witness, lease=lease, concurrency=12, forever=False)


def fanned(path: str, side: str, keys: int, poison: bool, again: bool) -> None:
    """Move one item of many subtasks; ``again``: what failed is tried again first."""
    witness = Witness(Path(side))

    async def do() -> None:
        async with open_store(path) as store, Engine(fan(witness, keys, poison), store) as engine:
            told(engine, witness)
            if again:
                await engine.retry("x")
            await engine.run([{"id": "x"}], concurrency=20)

    asyncio.run(do())


def write(path: str, side: str, name: str, number: int) -> None:
    """Add items of one's own, and move whatever is there."""
    witness = Witness(Path(side))

    async def do() -> None:
        async with open_store(path) as store, Engine(chain(witness), store, name=name) as engine:
            await engine.run(({"id": f"{name}-{n}"} for n in range(number)), concurrency=50)

    asyncio.run(do())


def read(path: str, seen: str) -> None:
    """Follow the journal until killed, from where the file says that one got to."""
    file = Path(seen)
    told = file.read_text() if file.exists() else ""
    # A death may have cut its last line.
    whole = told[: told.rfind("\n") + 1]
    file.write_text(whole)

    async def do() -> None:
        handle = os.open(seen, os.O_WRONLY | os.O_APPEND)
        async with open_store(path, read_only=True) as store:
            after = int(whole.split()[-1]) if whole else 0
            while True:
                page = await store.events(after, 200)
                os.write(handle, "".join(f"{event.cursor}\n" for event in page).encode())
                after = page[-1].cursor if page else after
                if not page:
                    await asyncio.sleep(0.002)

    asyncio.run(do())


def opened(path: str) -> None:
    """The store was opened, and upgraded if need be."""

    async def do() -> None:
        async with open_store(path) as store:
            await store.counts()

    asyncio.run(do())


def rich(path: str, number: int, up: str) -> None:
    """A store with subtasks, attempts, reviews and events stays open, with a part of it in its log."""
    flow = Workflow("rich")

    @flow.stage(review=ReviewPolicy.sample(0.3))
    async def a(item: Item) -> str:
        return "x" * 300

    @flow.stage
    async def b(item: Item, a: str) -> FanOut:
        return FanOut([SubTask(f"k{n}") for n in range(5)])

    @b.subtask
    async def one(item: Item, subtask: SubTask) -> int:
        if item["id"] == "i3":
            raise ValueError("no")
        return 1

    async def do() -> None:
        async with open_store(path) as store, Engine(flow, store) as engine:
            await engine.run(ids(number - 5))
            sqlite_writer.Writer._truncate_log(store._writer)  # type: ignore[attr-defined]
            await engine.run(ids(number))
            Path(up).touch()  # noqa: ASYNC240 - once
            await asyncio.sleep(600)

    asyncio.run(do())


def look(said: str, number: int, *paths: str) -> None:
    """Read and move what is in each of these stores; what that came to is a line of the file ``said``."""
    flow = Workflow("rich")

    @flow.stage
    async def a(item: Item) -> str:
        return "x"

    @flow.stage
    async def b(item: Item, a: str) -> int:
        return 1

    async def everything(path: str) -> str:
        async with open_store(path) as store:
            await store.counts()
            items = await store.page(Filter(), None, 1000)
            for item in items:
                with contextlib.suppress(StoreCorrupt):
                    await store.load(item.id)
            await store.events(0, 10_000)
            await store.reviews(ReviewFilter(is_open=None), None, 1000)
            async with asyncio.timeout(20), Engine(flow, store) as engine:
                await engine.run()
        return "clean" if len(items) == number else f"has {len(items)} items"

    logging.disable()
    with Path(said).open("w", buffering=1) as file:
        for path in paths:
            file.write(path)
            try:
                came = asyncio.run(everything(path))
            except Exception as error:  # noqa: BLE001 - whatever it is, is told
                came = type(error).__name__ if isinstance(error, StoreCorrupt) else repr(error)
            file.write(f" {came}\n")


class Lag:
    """By how much a loop was late at most, beyond what a thread beside it was: that much is the machine's.

    It stands in a file, and is measured anew when the file is emptied.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT)
        self._machine = 0.0
        threading.Thread(target=self._control, daemon=True).start()

    def _control(self) -> None:
        while True:
            began = time.monotonic()
            time.sleep(0.005)
            self._machine = max(self._machine, time.monotonic() - began)

    async def run(self) -> None:
        """Measure until cancelled."""
        longest = 0.0
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.005)
            if not os.fstat(self._file).st_size:
                longest = self._machine = 0.0
            longest = max(longest, time.monotonic() - began)
            os.pwrite(self._file, f"{max(longest - self._machine, 0.0):012.6f}".encode(), 0)


def lagging(path: str, side: str, lag: str, lease: float) -> None:
    """Move the chain's items slowly until killed, and keep the loop's longest lag in a file."""
    witness = Witness(Path(side))
    flow = Workflow("chain")

    @flow.stage(limit=3)
    async def a(item: Item) -> int:
        witness.tell("ran", item["id"], "a")
        await asyncio.sleep(0.2)
        return 1

    @flow.stage
    async def b(item: Item, a: int) -> int:
        return 1

    @flow.stage
    async def c(item: Item, b: int) -> int:
        return 1

    watch = Lag(Path(lag))

    async def do() -> None:
        async with open_store(path) as store, Engine(flow, store, lease=lease) as engine:
            watching = asyncio.create_task(watch.run())
            await engine.work(concurrency=35)
            watching.cancel()

    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    asyncio.run(do())


def drink(name: str) -> None:
    """What some names do to their worker."""
    if name.startswith("exit"):
        os._exit(1)
    if name.startswith("fault"):
        os.kill(os.getpid(), signal.SIGSEGV)


def poisoned(path: str, number: int) -> None:
    """Move items of which some kill whoever runs them: at once, or in one of many subtasks; with an innocent stage beside."""
    flow = Workflow("poison")

    @flow.stage
    async def first(item: Item) -> int:
        await asyncio.sleep(0)
        drink(item["id"])
        return 1

    @flow.stage
    async def beside(item: Item) -> None:
        await asyncio.sleep(0.01)

    @flow.stage
    async def split(item: Item, first: int) -> FanOut:
        return FanOut([SubTask(name) for name in item.get("parts", [])])

    @split.subtask
    async def part(item: Item, subtask: SubTask) -> int:
        await asyncio.sleep(0.001)
        drink(subtask.name)
        return 1

    items = ids(number)
    for n, name in enumerate(("exit1", "fault1", "exit2", "fault2", "exit3")):
        items.insert(n * len(items) // 5, {"id": name})
    items.append({"id": "parts", "parts": [f"s{n}" for n in range(60)] + ["exit"] + [f"t{n}" for n in range(60)]})

    async def do() -> None:
        async with open_store(path) as store, Engine(flow, store) as engine:
            await engine.run(items, concurrency=100)

    asyncio.run(do())
