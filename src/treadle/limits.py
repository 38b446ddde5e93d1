"""Leave to run: the slots and rates of one engine."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import TYPE_CHECKING

from treadle.definition import Definition, StageDefinition

if TYPE_CHECKING:
    from aiolimiter import AsyncLimiter


class Leave(AbstractAsyncContextManager[None]):
    """One call of a stage: inside, it has every slot it needs and its turn has come. May be entered many times at once."""

    def __init__(self, slots: Sequence[asyncio.Semaphore], rate: AsyncLimiter | None) -> None:
        self._slots = slots
        self._rate = rate

    async def __aenter__(self) -> None:
        taken: list[asyncio.Semaphore] = []
        try:
            for slot in self._slots:
                await slot.acquire()
                taken.append(slot)
            if self._rate is not None:
                await self._rate.acquire()
        except BaseException:
            for slot in taken:
                slot.release()
            raise

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for slot in self._slots:
            slot.release()


class Limits:
    """The leaves of all stages. Shared slots are taken in the order of their names, so that nobody waits in a circle."""

    def __init__(self, flow: Definition) -> None:
        shared = {name: asyncio.Semaphore(size) for name, size in flow.limits.items()}
        self._leaves = {
            name: Leave(_slots(stage, [shared[use] for use in sorted(stage.uses)]), _rate(stage))
            for name, stage in flow.stages.items()
            if stage.limit is not None or stage.uses or stage.rate is not None
        }
        self._batched = {name for name, stage in flow.stages.items() if stage.batch is not None}

    def leave(self, stage: str) -> Leave | None:
        """What an attempt at the stage needs; ``None`` if nothing. In a batch it is the batch that needs it."""
        return None if stage in self._batched else self._leaves.get(stage)

    def leave_of_batch(self, stage: str) -> Leave | None:
        """What one call of a batch stage needs."""
        return self._leaves.get(stage)


def _slots(stage: StageDefinition, shared: Sequence[asyncio.Semaphore]) -> list[asyncio.Semaphore]:
    own = [] if stage.limit is None else [asyncio.Semaphore(stage.limit)]
    return [*own, *shared]


def _rate(stage: StageDefinition) -> AsyncLimiter | None:
    if stage.rate is None:
        return None
    from aiolimiter import AsyncLimiter

    calls, seconds = stage.rate
    return AsyncLimiter(calls, seconds)
