"""A store that fails when it is told to, for those who test what builds on one."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from treadle.definition import Definition
from treadle.errors import StoreError, StoreUnavailable, TreadleError
from treadle.event import WorkflowEvent
from treadle.state import AttemptRow, Change, ItemState, Mode, StageRow, StageState, Transition
from treadle.store import (
    Children,
    Claimed,
    Control,
    Counts,
    EventFilter,
    Filter,
    Journal,
    Listing,
    NewItem,
    Pruned,
    Pruning,
    ReviewFilter,
    Shape,
    StateStore,
    StoredReview,
    Tallied,
    WorkerIdentity,
    WorkerRow,
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What happens to some calls.

    Args:
        call: the method's name, such as ``commit`` (for items that go through a batch together, ``commit_all``).
        first, times: the first call it happens to, counted from 1 since the fault was planned; and to how many.
        error: what the call raises; ``None``: nothing.
        after: whether the call takes effect before it raises, as when an answer is lost.
        delay: seconds the call takes longer.
    """

    call: str
    first: int = 1
    times: int = 1
    error: Exception | None = None
    after: bool = False
    delay: float = 0.0


class _Claim:
    """Who stands in line to change one item under one claim, and what a change of it was refused with."""

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.refused: StoreError | None = None


class FaultyStore(StateStore):
    """Does what another store does, but for the faults that were planned.

    Example:
        .. code-block:: python

            store = FaultyStore(MemoryStateStore())
            store.plan("commit", first=3, error=LeaseLost("gone"))
            store.plan("claim", delay=0.5)
    """

    def __init__(self, store: StateStore) -> None:
        self._store = store
        self._faults: list[tuple[Fault, int]] = []
        self._claims: dict[tuple[int, int], _Claim] = {}
        self.calls: Counter[str] = Counter()
        """How often each method was called."""

    def plan(self, call: str, *, first: int = 1, times: int = 1, error: Exception | None = None, after: bool = False, delay: float = 0.0) -> Fault:  # fmt: skip
        """From now on these calls fail or wait (see ``Fault``); without error and delay, they raise ``StoreUnavailable``."""
        if not hasattr(StateStore, call):
            raise ValueError(f"plan({call!r}): a store has no such method")
        if error is None and not delay:
            error = StoreUnavailable(f"a fault that was planned for {call}")
        fault = Fault(call=call, first=first, times=times, error=error, after=after, delay=delay)
        self._faults.append((fault, self.calls[call]))
        return fault

    def heal(self) -> None:
        """No fault happens any more."""
        self._faults.clear()

    def _now(self, call: str) -> list[Fault]:
        self.calls[call] += 1
        return [
            fault
            for fault, before in self._faults
            if fault.call == call and fault.first <= self.calls[call] - before < fault.first + fault.times
        ]

    async def _through(self, call: str, do: Callable[[], Awaitable[T]]) -> T:
        faults = self._now(call)
        for fault in faults:
            if fault.delay:
                await asyncio.sleep(fault.delay)
            if fault.error is not None and not fault.after:
                raise fault.error
        result = await do()
        for fault in faults:
            if fault.error is not None:
                raise fault.error
        return result

    async def bind(self, flow: Definition) -> None:
        await self._through("bind", lambda: self._store.bind(flow))

    async def rename_stage(self, old: str, new: str) -> None:
        await self._through("rename_stage", lambda: self._store.rename_stage(old, new))

    async def shape(self) -> Shape | None:
        return await self._through("shape", self._store.shape)

    async def add(self, items: Sequence[NewItem], arrival: Transition) -> list[str]:
        return await self._through("add", lambda: self._store.add(items, arrival))

    async def enlist(self, worker: WorkerIdentity) -> int:
        return await self._through("enlist", lambda: self._store.enlist(worker))

    def beat(self, worker: int) -> bool:
        lives = True
        for fault in self._now("beat"):
            time.sleep(fault.delay)
            if fault.after:
                lives = self._store.beat(worker)
            if fault.error is not None:
                raise fault.error
        return lives and self._store.beat(worker)

    async def retire(self, worker: int) -> None:
        await self._through("retire", lambda: self._store.retire(worker))

    async def workers(self) -> list[WorkerRow]:
        return await self._through("workers", self._store.workers)

    async def steer(self, mode: Mode | None = None, by: str | None = None) -> Control:
        return await self._through("steer", lambda: self._store.steer(mode, by))

    async def claim(
        self, worker: int, limit: int, now: int, *, is_dead: Callable[[WorkerRow], bool], only: str | None = None
    ) -> Claimed:
        return await self._through("claim", lambda: self._store.claim(worker, limit, now, is_dead=is_dead, only=only))

    def commit(self, state: ItemState, change: Transition) -> Awaitable[None]:
        return self._commit(self._claims.setdefault((state.key, state.fence), _Claim()), state, change)

    async def _commit(self, claim: _Claim, state: ItemState, change: Transition) -> None:
        async with claim.turn:
            if claim.refused is not None:
                raise claim.refused
            try:
                await self._through("commit", lambda: self._store.commit(state, change))
            except StoreError as error:
                claim.refused = error
                raise

    async def commit_all(self, changes: Sequence[Change]) -> list[TreadleError | None]:
        try:
            return await self._through("commit_all", lambda: self._store.commit_all(changes))
        except TreadleError as error:
            return [error] * len(changes)

    async def revise(self, item_id: str, change: Callable[[ItemState], Transition], *, create: bool = False) -> None:
        await self._through("revise", lambda: self._store.revise(item_id, change, create=create))

    async def revised(self, worker: int) -> dict[str, int]:
        return await self._through("revised", lambda: self._store.revised(worker))

    async def load(self, item_id: str, *, stage: str | None = None) -> ItemState | None:
        return await self._through("load", lambda: self._store.load(item_id, stage=stage))

    async def attempts(self, item_id: str, stage: str, *, seq: int | None = None) -> list[tuple[str | None, AttemptRow]]:
        return await self._through("attempts", lambda: self._store.attempts(item_id, stage, seq=seq))

    async def reviews(self, wanted: ReviewFilter, after: int | None, limit: int, **order: Any) -> list[StoredReview]:
        return await self._through("reviews", lambda: self._store.reviews(wanted, after, limit, **order))

    async def events(self, after: int, limit: int, item_id: str | None = None) -> list[WorkflowEvent]:
        return await self._through("events", lambda: self._store.events(after, limit, item_id))

    async def counts(self) -> Counts:
        return await self._through("counts", self._store.counts)

    async def page(self, wanted: Filter, after: str | None, limit: int) -> list[ItemState]:
        return await self._through("page", lambda: self._store.page(wanted, after, limit))

    async def keep(self, state: ItemState, text: str) -> str:
        return await self._through("keep", lambda: self._store.keep(state, text))

    async def pieces(self, item_id: str, stage: str, reference: str) -> AsyncIterator[bytes]:
        async for piece in self._store.pieces(item_id, stage, reference):
            yield piece

    async def collect(self) -> tuple[int, int]:
        return await self._through("collect", self._store.collect)

    async def browse(self, wanted: Filter, after: str | None, limit: int, *, backwards: bool = False) -> Listing:
        return await self._through("browse", lambda: self._store.browse(wanted, after, limit, backwards=backwards))

    async def children(self, item_id: str, stage: str, after: int, limit: int, *, state: StageState | None = None) -> Children:
        return await self._through("children", lambda: self._store.children(item_id, stage, after, limit, state=state))

    async def recent(self, state: StageState, limit: int, *, stage: str | None = None) -> list[tuple[str, StageRow]]:
        return await self._through("recent", lambda: self._store.recent(state, limit, stage=stage))

    async def journal(self, wanted: EventFilter, after: int | None, limit: int, *, newest_first: bool = False) -> Journal:
        return await self._through("journal", lambda: self._store.journal(wanted, after, limit, newest_first=newest_first))

    async def tally(self, wanted: EventFilter, newest: int, width: int) -> list[Tallied]:
        return await self._through("tally", lambda: self._store.tally(wanted, newest, width))

    async def prune(self, wanted: Pruning, after: int, limit: int) -> Pruned:
        return await self._through("prune", lambda: self._store.prune(wanted, after, limit))

    async def close(self) -> None:
        await self._through("close", self._store.close)
