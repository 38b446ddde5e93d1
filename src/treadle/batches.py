"""Batch stages: attempts of many items become one call of the body, and its results theirs again."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any, NamedTuple

from treadle.definition import THREAD, StageDefinition
from treadle.executor import Threads, carried
from treadle.limits import Limits


class _Entry(NamedTuple):
    """One attempt that waits: the values it would call the body with, by source, and where its result goes."""

    values: Mapping[str, Any]
    result: asyncio.Future[Any]


class Batches:
    """Collects attempts by stage. A batch is called when it is full, or when its first attempt has waited long enough."""

    def __init__(self, threads: Threads, limits: Limits) -> None:
        self._threads = threads
        self._limits = limits
        self._open: dict[str, list[_Entry]] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._running: set[asyncio.Task[None]] = set()

    async def run(self, stage: StageDefinition, values: Mapping[str, Any]) -> Any:
        """This attempt's part of what the body returns.

        Raises:
            Exception: what the body raised, for all of its items, or returned in the place of this one's result.
        """
        loop = asyncio.get_running_loop()
        entry = _Entry(values, loop.create_future())
        entries = self._open.setdefault(stage.name, [])
        entries.append(entry)
        if len(entries) == stage.batch:
            self._call(stage)
        elif len(entries) == 1:
            self._timers[stage.name] = loop.call_later(stage.batch_wait, self._call, stage)
        return await entry.result

    def _call(self, stage: StageDefinition) -> None:
        if (timer := self._timers.pop(stage.name, None)) is not None:
            timer.cancel()
        # Whoever was cancelled while it waited is not part of it.
        entries = [entry for entry in self._open.pop(stage.name, ()) if not entry.result.done()]
        if entries:
            task = asyncio.get_running_loop().create_task(self._settle(stage, entries))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _settle(self, stage: StageDefinition, entries: list[_Entry]) -> None:
        results: list[Any]
        try:
            leave = self._limits.leave_of_batch(stage.name)
            async with nullcontext() if leave is None else leave.held((-stage.priority, 0)):
                results = _checked(await self._body(stage, entries), stage, len(entries))
        except BaseException as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                for entry in entries:
                    entry.result.cancel()
                raise
            results = [error] * len(entries)
        for entry, result in zip(entries, results, strict=True):
            if entry.result.done():
                continue
            if isinstance(result, BaseException):
                entry.result.set_exception(carried(result))
            else:
                entry.result.set_result(result)

    async def _body(self, stage: StageDefinition, entries: list[_Entry]) -> Any:
        values = {source: [entry.values[source] for entry in entries] for source in stage.body.sources}
        if stage.executor == THREAD:
            made = await self._threads.run(lambda: stage.body.call(values))
        else:
            made = stage.body.call(values)
        return await made if inspect.isawaitable(made) else made

    async def close(self) -> None:
        """Cancel what is still collected or running."""
        for timer in self._timers.values():
            timer.cancel()
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)


def _checked(made: Any, stage: StageDefinition, count: int) -> list[Any]:
    if not isinstance(made, list | tuple):
        raise TypeError(f"batch stage {stage.name!r} returned a {type(made).__name__}; it is given lists and returns a list")
    if len(made) != count:
        raise ValueError(f"batch stage {stage.name!r} was given {count} items and returned {len(made)} results")
    return list(made)
