"""Batch stages: attempts of many items become one call of the body, and its results theirs again."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from itertools import chain
from typing import Any

from treadle.breadth import Bodies
from treadle.definition import THREAD, StageDefinition
from treadle.executor import Threads
from treadle.limits import Limits
from treadle.wording import counted


class Raised:
    """In place of a result: what an attempt failed with, and maybe others too."""

    __slots__ = ("_error", "_trace")

    def __init__(self, error: BaseException) -> None:
        self._error = error
        self._trace = error.__traceback__

    @property
    def error(self) -> BaseException:
        """It, as if nobody had raised it since."""
        return self._error.with_traceback(self._trace)


class Part:
    """Attempts of one call of a body: what each would have called it with, by source, and where their results go, in order."""

    __slots__ = ("_gone", "results", "size", "values")

    def __init__(self, values: Mapping[str, Sequence[Any]], size: int, results: asyncio.Future[list[Any]]) -> None:
        self.values: Mapping[str, Sequence[Any]] = values
        self.size: int = size
        self.results: asyncio.Future[list[Any]] = results
        self._gone: set[int] = set()

    def leave(self, place: int) -> None:
        """Nobody wants to know of the attempt at that place any more: it is left out, unless the body has been called."""
        self._gone.add(place)

    @property
    def places(self) -> Sequence[int]:
        """The attempts that are still wanted."""
        if self.results.done():
            return ()
        return range(self.size) if not self._gone else [place for place in range(self.size) if place not in self._gone]

    def column(self, source: str, places: Sequence[int]) -> Sequence[Any]:
        """What the attempts at these places would have called the body with, of that source."""
        column = self.values[source]
        return column if len(places) == self.size else [column[place] for place in places]

    def settle(self, places: Sequence[int], made: Sequence[Any]) -> None:
        """The attempts at these places came to that; the others to nothing."""
        if self.results.done():
            return
        results = list(made)
        if len(places) < self.size:
            found = dict(zip(places, made, strict=True))
            results = [found.get(place) for place in range(self.size)]
        self.results.set_result(results)


class Batches:
    """Collects attempts by stage. A batch is called when it is full, or when its first attempt has waited long enough."""

    def __init__(self, threads: Threads, limits: Limits, bodies: Bodies) -> None:
        self._bodies = bodies
        self._threads = threads
        self._limits = limits
        self._loop = asyncio.get_running_loop()  # a system call before Python 3.12, so not asked for every item
        self._open: dict[str, list[Part]] = {}
        self._filled: dict[str, int] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._running: set[asyncio.Task[None]] = set()

    def put(self, stage: StageDefinition, values: Mapping[str, Sequence[Any]], count: int) -> list[Part]:
        """So many attempts, in as many parts as calls of the body they come to be in."""
        assert stage.batch is not None  # noqa: S101 - the callers looked
        parts: list[Part] = []
        begin = 0
        while begin < count:
            filled = self._filled.get(stage.name, 0)
            end = min(count, begin + stage.batch - filled)
            columns = {source: column[begin:end] for source, column in values.items()}
            parts.append(Part(columns, end - begin, self._loop.create_future()))
            self._filled[stage.name] = filled + end - begin
            self._open.setdefault(stage.name, []).append(parts[-1])
            if self._filled[stage.name] == stage.batch:
                self._call(stage)
            elif not filled:
                self._timers[stage.name] = self._loop.call_later(stage.batch_wait, self._call, stage)
            begin = end
        return parts

    def _call(self, stage: StageDefinition) -> None:
        if (timer := self._timers.pop(stage.name, None)) is not None:
            timer.cancel()
        self._filled.pop(stage.name, None)
        parts = self._open.pop(stage.name)
        if any(part.places for part in parts):
            task = self._loop.create_task(self._settle(stage, parts))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        else:
            for part in parts:
                part.settle((), ())

    async def _settle(self, stage: StageDefinition, parts: list[Part]) -> None:
        leave = self._limits.leave_of_batch(stage.name)
        try:
            async with nullcontext() if leave is None else leave.held((-stage.priority, 0)):
                # Whoever left while it waited is not part of it.
                wanted = [(part, part.places) for part in parts]
                count = sum(len(places) for _, places in wanted)
                results = await self._results(stage, wanted, count) if count else []
        except BaseException:
            for part in parts:
                part.results.cancel()
            raise
        begin = 0
        for part, places in wanted:
            part.settle(places, results[begin : begin + len(places)])
            begin += len(places)

    async def _results(self, stage: StageDefinition, wanted: Sequence[tuple[Part, Sequence[int]]], count: int) -> list[Any]:
        """What the body made of these attempts; what it raised or returned in place of a result as ``Raised``."""
        self._bodies.now += count
        try:
            made = _checked(await self._body(stage, wanted), stage, count)
        except BaseException as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            return [Raised(error)] * count
        finally:
            self._bodies.now -= count
        # Asked of the type: what an object says of its own class is user code, and may raise.
        return [Raised(one) if issubclass(type(one), BaseException) else one for one in made]

    async def _body(self, stage: StageDefinition, wanted: Sequence[tuple[Part, Sequence[int]]]) -> Any:
        values = {
            source: list(chain.from_iterable(part.column(source, places) for part, places in wanted))
            for source in stage.body.sources
        }
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
    results = list(made)
    if len(results) != count:
        given, returned = counted(count, "item"), counted(len(results), "result")
        raise ValueError(f"batch stage {stage.name!r} was given {given} and returned {returned}")
    return results
