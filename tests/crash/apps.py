"""What the processes of the crash lab do."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import gc
import json
import logging
import os
import resource
import signal
import struct
import sys
import threading
import time
from pathlib import Path
from typing import Any

from tests.crash import wild
from tests.crash.judge import Witness
from treadle import (
    Engine,
    FanOut,
    ItemPhase,
    ReviewPolicy,
    StateStore,
    StoreCorrupt,
    StoreUnavailable,
    SubTask,
    Workflow,
    WorkflowEvent,
    cli,
    open_store,
)
from treadle.clock import now_us
from treadle.script import to_the_end
from treadle.state import ItemState, Mode, Transition
from treadle.store import Filter, ReviewFilter
from treadle.stores import sqlite_writer

Item = dict[str, Any]

WRITE_LOCK, SECOND_COPY, CHANGES = 120, 48, 8
"""Places in the log's index: the lock of whoever writes, the second copy of its head, and the count of changes there."""


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

    return _and_on(flow, witness)


def in_batches(witness: Witness) -> Workflow:
    """The same, but the first stage takes items together, and each batch a moment."""
    flow = Workflow("chain")

    @flow.stage(batch=16, batch_wait=0.002)
    async def a(items: list[Item]) -> list[str | None]:
        for item in items:
            witness.tell("ran", item["id"], "a")
        await asyncio.sleep(0.002)
        return [None] * len(items)

    return _and_on(flow, witness)


def _and_on(flow: Workflow, witness: Witness) -> Workflow:
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


def asking() -> Workflow:
    """One stage that asks about everything, and one that goes on with the answer."""
    flow = Workflow("asking")

    @flow.stage(review=ReviewPolicy.ALWAYS)
    async def work(item: Item) -> str:
        return "made"

    @flow.stage
    async def then(item: Item, work: str) -> str:
        return work

    return flow


def ask(path: str, number: int) -> None:
    """Items move as far as they can without people."""

    async def do() -> None:
        async with open_store(path) as store, Engine(asking(), store) as engine:
            await engine.run(ids(number))

    asyncio.run(do())


class Upstream(Witness):
    """Takes the start of a stage for the acknowledgement of the one before it, where no engine is at hand to be observed."""

    def tell(self, word: str, *names: str) -> None:
        if word == "ran" and names[1] in "bc":
            super().tell("ack", names[0], "a" if names[1] == "b" else "b")
        super().tell(word, *names)


def command(said: str, *words: str) -> None:
    """Become the command line with these words, which prints to the file ``said``."""
    os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1)
    os.execv(sys.executable, [sys.executable, "-m", "treadle.cli", *words])


def called(said: str, *words: str) -> None:
    """The same without a new interpreter, so that it may be twisted, and many of them cost little."""
    os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1)
    try:
        cli.main(list(words))
    except SystemExit as ended:
        sys.stdout.flush()
        os._exit(int(ended.code or 0))


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
            await forgive(store, engine)
            if forever:
                await engine.work(concurrency=concurrency)
            else:
                await engine.run(concurrency=concurrency)
                # That may have been the first to see the last of our kills.
                if await forgive(store, engine):
                    await engine.run(concurrency=concurrency)

    asyncio.run(do())


async def forgive(store: StateStore, engine: Engine) -> bool:
    """Who is killed three times is taken for poison; here it was us. Whether anybody was."""
    failed = await store.page(Filter(phase=ItemPhase.FAILED), None, 1000)
    for item in failed:
        await engine.retry(item.id)
    return bool(failed)


def work(path: str, side: str, lease: float = 30.0, concurrency: int = 20) -> None:
    """Move the chain's items until killed."""
    witness = Witness(Path(side))
    move(path, chain(witness), witness, lease=lease, concurrency=concurrency, forever=True)


def work_in_batches(path: str, side: str) -> None:
    """Move the chain's items until killed, the first stage in batches."""
    witness = Witness(Path(side))
    move(path, in_batches(witness), witness, lease=30.0, concurrency=40, forever=True)


def finish(path: str, side: str, lease: float = 30.0) -> None:
    """Move the chain's items until nothing can move any more."""
    witness = Witness(Path(side))
    move(path, chain(witness), witness, lease=lease, concurrency=20, forever=False)


def held(path: str, side: str, gate: str, lease: float) -> None:
    """Like ``finish``, but every body of the first stage goes on only when there is a file ``gate``."""
    witness = Witness(Path(side))
    move(path, chain(witness, Path(gate)), witness, lease=lease, concurrency=20, forever=False)


def in_the_way(path: str, up: str) -> None:
    """Stand, until killed, where nobody can read or write: stopped between the two copies of what heads the log's index."""
    index = os.open(f"{path}-shm", os.O_RDWR)
    fcntl.lockf(index, fcntl.LOCK_EX, 1, WRITE_LOCK)
    (changes,) = struct.unpack("I", os.pread(index, 4, SECOND_COPY + CHANGES))
    os.pwrite(index, struct.pack("I", changes + 1), SECOND_COPY + CHANGES)
    Path(up).touch()
    signal.pause()


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
    handle = os.open(seen, os.O_RDWR | os.O_APPEND | os.O_CREAT)
    told = Path(seen).read_text()
    whole = told[: told.rfind("\n") + 1]
    # A death may have cut the last line. In place: one between emptying the file and writing it again would cost all lines.
    os.ftruncate(handle, len(whole))

    async def do() -> None:
        async with open_store(path, read_only=True) as store:
            after = int(whole.split()[-1]) if whole else 0
            while True:
                page = await store.events(after, 200)
                os.write(handle, "".join(f"{event.cursor}\n" for event in page).encode())
                after = page[-1].cursor if page else after
                if not page:
                    await asyncio.sleep(0.002)

    asyncio.run(do())


def followed(path: str, said: str, number: int, pace: float | None) -> None:
    """Move items beside a subscriber that takes so many seconds for an event (``None``: beside nobody), who then catches up.

    What that came to stands in the file ``said``: seconds, events held in memory at the end, and the cursors that were seen.
    """
    seen: list[int] = []

    async def follow(engine: Engine) -> None:
        async for event in engine.events(follow=True):
            seen.append(event.cursor)
            await asyncio.sleep(pace or 0)

    async def do() -> dict[str, Any]:
        async with open_store(path) as store, Engine(chain(Witness(Path(os.devnull))), store) as engine:
            following = [asyncio.create_task(follow(engine))] if pace is not None else []
            began = time.monotonic()
            await engine.run(ids(number))
            took, live = time.monotonic() - began, len(seen)
            held = sum(isinstance(made, WorkflowEvent) for made in gc.get_objects())
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            for task in following:
                task.cancel()
            await asyncio.gather(*following, return_exceptions=True)
            if following:
                seen.extend([event.cursor async for event in engine.events(seen[-1] if seen else 0)])
        return {"seconds": took, "live": live, "held": held, "kilobytes": grown, "seen": seen}

    Path(said).write_text(json.dumps(asyncio.run(do())))


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


def tried(store: StateStore, path: str, said: str, patience: float) -> None:
    """Use in every way a store that came with a fork, then the file anew; what came of each is a word of a line in ``said``."""
    signal.alarm(40)  # a child that hangs says nothing

    async def anew() -> None:
        async with open_store(path) as opened:
            await opened.steer(Mode.RUNNING)

    async def to_read() -> None:
        async with open_store(path, read_only=True) as opened:
            await opened.counts()

    async def beat() -> None:
        store.beat(1)

    async def each() -> list[str]:
        ways = {"read": store.counts, "write": lambda: store.steer(Mode.RUNNING), "beat": beat, "anew": anew, "to_read": to_read}
        words = []
        for name, way in ways.items():
            try:
                async with asyncio.timeout(patience):
                    await way()  # type: ignore[operator]
                words.append(f"{name}:done")
            except StoreUnavailable:
                words.append(f"{name}:refused")
            except Exception as error:  # noqa: BLE001 - whatever it is, is told
                words.append(f"{name}:{type(error).__name__}")
        await store.close()
        return words

    words = asyncio.run(each())
    with Path(said).open("a") as file:
        file.write(" ".join(words) + "\n")


def forking(path: str, side: str, said: str, number: int, patience: float) -> None:
    """Move items, and fork in each of their stages, on the loop and in threads; for what the children do see ``tried``."""
    witness, flow = Witness(Path(side)), Workflow("chain")

    async def do() -> None:
        async with open_store(path) as store:

            def fork() -> int:
                if pid := os.fork():
                    return pid
                try:
                    tried(store, path, said, patience)
                finally:
                    os._exit(0)

            @flow.stage
            async def a(item: Item) -> None:
                witness.tell("ran", item["id"], "a")
                await asyncio.to_thread(os.waitpid, fork(), 0)

            @flow.stage(executor="thread")
            def b(item: Item, a: None) -> None:
                witness.tell("ran", item["id"], "b")
                os.waitpid(fork(), 0)

            async with Engine(flow, store) as engine:
                told(engine, witness)
                await engine.run(ids(number), concurrency=4)

    asyncio.run(do())


def timed(engine: Engine, witness: Witness) -> None:
    """The witness learns how many seconds each failure took from its start until it was stored."""

    def failed(state: ItemState, change: Transition) -> None:
        for row in change.stages:
            if row.state == "failed":
                witness.tell("failed", state.id, row.stage, f"{(now_us() - (row.started or 0)) / 1_000_000:.3f}")

    engine.observe(failed)


def run_wild(path: str, side: str, names: list[str], limit: float) -> None:
    """Move items of these names through ``wild``; an attempt may take so many seconds."""

    async def do() -> None:
        async with open_store(path) as store, Engine(wild.made(limit), store) as engine:
            timed(engine, Witness(Path(side)))
            await engine.run([{"id": name} for name in names])

    asyncio.run(do())


def overdue(path: str, side: str, number: int, limit: float) -> None:
    """Move items of which all but the plain ones ignore their time limit: on the loop, and in a thread."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    flow = Workflow("overdue")

    @flow.stage(timeout=limit)
    async def deaf(item: Item) -> None:
        while item["id"].startswith("i"):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(60)

    @flow.stage(timeout=limit, executor="thread")
    def blocked(item: Item) -> None:
        time.sleep(60 if item["id"].startswith("i") else 0)

    async def do() -> None:
        async with open_store(path) as store, Engine(flow, store) as engine:
            timed(engine, Witness(Path(side)))
            await engine.run([*ids(number), *({"id": f"plain{n}"} for n in range(number))], concurrency=2 * number)

    to_the_end(do())


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
