"""Leave to run: the slots and rates of one engine, and who gets them first."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from treadle.clock import now_us
from treadle.definition import Definition, StageDefinition
from treadle.lines import Line, Order

if TYPE_CHECKING:
    from aiolimiter import AsyncLimiter

_FIRST_GAP = 5_000
_LONGEST = 600_000_000
"""Microseconds that an item is away from a line at most: the next worker may have more slots."""
_OFTEN = 4
"""Items come back to a line so many times as fast as it moves, so that it does not run dry."""


class Leave:
    """What one call of a stage needs: every slot of it, and its turn by the rate. May be held many times at once.

    Its calls stand in one line, by priority and age of their items; the first of it waits for the slots. An item that only
    stands there costs memory: where the line is longer than ``line.room``, the last ones are told to come back later.
    """

    def __init__(self, slots: Sequence[Line], rate: AsyncLimiter | None) -> None:
        self._slots = slots
        self._rate = rate
        self.line: Line = Line(1)
        self._moved = 0
        self._gap = _FIRST_GAP
        """Microseconds between two turns while some wait."""
        self._next = 0
        """When the next one that was sent away may come back."""

    @property
    def is_free(self) -> bool:
        """Whether nobody would have to wait for a slot."""
        return all(line.is_free for line in (self.line, *self._slots))

    async def enter(self, order: Order, may_leave: Callable[[], bool] | None = None) -> bool:
        """Whether leave was given; ``False``: the line is too long, and whoever ``may_leave`` it should come back later."""
        if not await (self.line.enter(order) if may_leave is None else self.line.enter(order, may_leave)):
            return False
        taken: list[Line] = []
        try:
            for slot in self._slots:
                await slot.enter(order)
                taken.append(slot)
            if self._rate is not None:
                await self._rate.acquire()
        except BaseException:
            for slot in taken:
                slot.leave()
            raise
        finally:
            self._pass_on()
        return True

    def _pass_on(self) -> None:
        now = now_us()
        if len(self.line) and self._moved:
            self._gap = (4 * self._gap + min(now - self._moved, _LONGEST)) // 5
        self._moved = now
        self.line.leave()

    def exit(self) -> None:
        """The call has ended."""
        for slot in self._slots:
            slot.leave()

    def away(self) -> int:
        """For how many microseconds one that found the line too long should stay away.

        Not before half of the line has moved on, and each a little later than the one before, so that however many there
        are, those who come back are few at a time.
        """
        now = now_us()
        self._next = min(max(self._next + self._gap // _OFTEN, now + len(self.line) * self._gap // 2), now + _LONGEST)
        return self._next - now

    @asynccontextmanager
    async def held(self, order: Order) -> AsyncIterator[None]:
        """Inside, leave is given."""
        await self.enter(order)
        try:
            yield
        finally:
            self.exit()


def _nobody() -> None:
    """Nobody wants to know."""


class Limits:
    """The leaves of all stages. Shared slots are taken in the order of their names, so that nobody waits in a circle."""

    def __init__(self, flow: Definition) -> None:
        shared = {name: Line(size) for name, size in flow.limits.items()}
        self._leaves = {
            name: Leave(_slots(stage, [shared[use] for use in sorted(stage.uses)]), _rate(stage))
            for name, stage in flow.stages.items()
            if stage.limit is not None or stage.uses or stage.rate is not None
        }
        self.on_wait: Callable[[], None] = _nobody
        """Called when somebody begins to wait."""
        self._batched = {name for name, stage in flow.stages.items() if stage.batch is not None}
        self.any: bool = bool(self._leaves)
        """Whether anything may have to wait for leave."""

    def make_room(self, waiting: int) -> None:
        """Let so many items stand in each line."""
        for leave in self._leaves.values():
            leave.line.room = waiting

    def leave(self, stage: str) -> Leave | None:
        """What an attempt at the stage needs; ``None`` if nothing. In a batch it is the batch that needs it."""
        return None if stage in self._batched else self._leaves.get(stage)

    def leave_of_batch(self, stage: str) -> Leave | None:
        """What one call of a batch stage needs."""
        return self._leaves.get(stage)


def _slots(stage: StageDefinition, shared: Sequence[Line]) -> list[Line]:
    own = [] if stage.limit is None else [Line(stage.limit)]
    return [*own, *shared]


def _rate(stage: StageDefinition) -> AsyncLimiter | None:
    if stage.rate is None:
        return None
    from aiolimiter import AsyncLimiter

    calls, seconds = stage.rate
    return AsyncLimiter(calls, seconds)
