"""The front door for scripts: one call that runs a workflow and comes back with a report."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from treadle.engine import Engine
from treadle.errors import TreadleError
from treadle.status import RunReport
from treadle.store import StateStore
from treadle.stores.opening import open_store
from treadle.workflow import Workflow


def run(
    workflow: Workflow,
    items: Iterable[Any] | AsyncIterable[Any] | None = None,
    *,
    store: StateStore | str | Path = "treadle.db",
    concurrency: int = 100,
) -> RunReport:
    """Add ``items``, move everything the store holds as far as it can go, and report.

    Ctrl-C and SIGTERM stop in good order: what runs may end, a second one puts it back at once. Run again to go on.

    Raises:
        TreadleError: called inside a running event loop; use ``Engine`` there. Else as ``Engine.run``.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(run_async(workflow, items, store=store, concurrency=concurrency))
    raise TreadleError(
        "run() cannot be called where an event loop runs; use `async with Engine(workflow, store) as engine` there"
    )


async def run_async(
    workflow: Workflow,
    items: Iterable[Any] | AsyncIterable[Any] | None,
    *,
    store: StateStore | str | Path,
    concurrency: int,
    watch: Any = None,
) -> RunReport:
    """The same inside a loop; ``watch(engine, store)`` is a coroutine that runs beside it until it ends."""
    opening = nullcontext(store) if isinstance(store, StateStore) else open_store(store)
    async with opening as opened, Engine(workflow, opened) as engine:
        with _stopping_on_signals(engine):
            watching = asyncio.create_task(watch(engine, opened)) if watch is not None else None
            try:
                return await engine.run(items, concurrency=concurrency)
            finally:
                if watching is not None:
                    watching.cancel()
                    await asyncio.gather(watching, return_exceptions=True)


@contextmanager
def _stopping_on_signals(engine: Engine) -> Iterator[None]:
    """The first Ctrl-C or SIGTERM stops the engine in good order, the second at once."""
    loop = asyncio.get_running_loop()
    asked: list[int] = []

    def stop(number: int) -> None:
        asked.append(number)
        engine.stop(now=len(asked) > 1)

    caught = []
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, stop, number)
        except (NotImplementedError, ValueError, RuntimeError):
            continue  # Windows, or not the main thread: Ctrl-C then cancels the run, which puts back what ran.
        caught.append(number)
    try:
        yield
    finally:
        for number in caught:
            loop.remove_signal_handler(number)
