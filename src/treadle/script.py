"""The front door for scripts: one call that runs a workflow and comes back with a report."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterable, Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from treadle.attempt import GRACE
from treadle.engine import Engine
from treadle.errors import TreadleError
from treadle.progress import watch as watch_progress
from treadle.status import RunReport
from treadle.store import StateStore
from treadle.stores.opening import open_store
from treadle.workflow import Workflow

T = TypeVar("T")


def run(
    workflow: Workflow,
    items: Iterable[Any] | AsyncIterable[Any] | None = None,
    *,
    store: StateStore | str | Path = "treadle.db",
    concurrency: int = 100,
) -> RunReport:
    """Add ``items``, move everything the store holds as far as it can go, and report; a terminal shows how it goes.

    Ctrl-C and SIGTERM stop in good order: what runs may end, a second one puts it back at once, and a third
    ends the process on the spot, which loses nothing either. Run again to go on.

    Raises:
        TreadleError: called inside a running event loop; use ``Engine`` there. Else as ``Engine.run``.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return to_the_end(_run(workflow, items, store, concurrency))
    raise TreadleError(
        "run() cannot be called where an event loop runs; use `async with Engine(workflow, store) as engine` there"
    )


async def _run(
    workflow: Workflow, items: Iterable[Any] | AsyncIterable[Any] | None, store: StateStore | str | Path, concurrency: int
) -> RunReport:
    opening = nullcontext(store) if isinstance(store, StateStore) else open_store(store)
    # A script's output is its own: only a terminal is shown how it goes.
    watch = watch_progress if sys.stderr.isatty() else None
    async with opening as opened:
        return await run_async(Engine(workflow, opened), opened, items, concurrency=concurrency, watch=watch)


async def run_async(
    engine: Engine,
    store: StateStore,
    items: Iterable[Any] | AsyncIterable[Any] | None,
    *,
    concurrency: int,
    watch: Callable[[Engine, StateStore], Coroutine[Any, Any, None]] | None = None,
    forever: bool = False,
) -> RunReport:
    """What the engine reports when it has run, or (``forever``) has worked, in good order with signals.

    ``watch(engine, store)`` runs beside it until it ends.
    """
    async with engine:
        with _stopping_on_signals(engine):
            watching = asyncio.create_task(watch(engine, store)) if watch is not None else None
            try:
                if forever:
                    return await engine.work(concurrency=concurrency)
                return await engine.run(items, concurrency=concurrency)
            finally:
                if watching is not None:
                    watching.cancel()
                    await asyncio.gather(watching, return_exceptions=True)


def to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """What ``work`` returns, in a loop of its own.

    Unlike ``asyncio.run`` it returns even if a stage's coroutine ignores that it is cancelled.
    """
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(work)
    finally:
        try:
            loop.run_until_complete(_end_tasks())
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            loop.close()


async def _end_tasks() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if tasks:
        _, deaf = await asyncio.wait(tasks, timeout=GRACE)
        for task in deaf:
            # Cleared away unfinished, it would complain on standard error; the run has already told of it.
            task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001 - there is no public way


@contextmanager
def _stopping_on_signals(engine: Engine) -> Iterator[None]:
    """The first Ctrl-C or SIGTERM stops the engine in good order, the second at once; the third ends the process.

    The handlers are those of the process and not of the loop, so that the third works where a stage blocks the loop.
    """
    loop = asyncio.get_running_loop()
    asked: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        asked.append(number)
        if len(asked) > 2:  # noqa: PLR2004 - the third
            os._exit(128 + number)
        loop.call_soon_threadsafe(lambda now: engine.stop(now=now), len(asked) > 1)

    before: dict[int, Any] = {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, stop)
    except ValueError:
        pass  # Not the main thread: whoever has that one decides.
    try:
        yield
    finally:
        for caught, handler in before.items():
            signal.signal(caught, signal.SIG_DFL if handler is None else handler)
