"""Drive items that begin with a batch stage through it together.

A task, a driver, a future and a write of its own take an item longer than all that is done to it in a batch (``make bench``, W6).
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from treadle import decide, logged
from treadle.attempt import Call, Subject, Surroundings, plain_artefact
from treadle.batches import Part, Raised
from treadle.clock import now_us
from treadle.definition import Definition, StageDefinition
from treadle.driver import Holder, put_back
from treadle.errors import LeaseLost, StoreError, TreadleError
from treadle.observers import Observers
from treadle.shelf import SURELY_INLINE, Shelf
from treadle.signature import ITEM
from treadle.state import Alike, AttemptRow, Change, Ended, ItemState, Transition
from treadle.store import StateStore

log: logging.Logger = logging.getLogger("treadle.driver")


class Crew(Protocol):
    """Whoever claimed the items, and sees to them before and after."""

    def go_on(self, subject: Subject, window: int, begun: Transition) -> object:
        """The item has been through the batch, and this has begun of it."""

    def leave(self, items: Sequence[str], holder: BatchDriver) -> None:
        """These items will rest with what is being written."""

    def forget(self, items: Sequence[str], holder: BatchDriver) -> None:
        """The holder does not move these items any more."""

    def fail(self, items: Sequence[str], error: Exception) -> None:
        """These items cannot go on, so the run ends; without any, it is not known which of a batch."""


def first_batch(flow: Definition) -> StageDefinition | None:
    """The batch stage that all items begin with, if an attempt at it is a part of a batch and nothing more."""
    stages = [flow.stages[name] for name in flow.roots]
    if len(stages) == 1 and stages[0].batch is not None and stages[0].bare and stages[0].body.only_item:
        return stages[0]
    return None


class BatchDriver(Holder):
    """The only writer of items that nothing has happened to, from their claim until they have been through ``stage``.

    Each is decided on by itself, as anywhere, and nobody waits for what is not in the same call of the body.
    """

    def __init__(
        self,
        surroundings: Surroundings,
        store: StateStore,
        states: Sequence[ItemState],
        stage: StageDefinition,
        opening: Transition,
        *,
        window: int,
        observers: Observers,
        crew: Crew,
    ) -> None:
        super().__init__(window)
        self._surroundings = surroundings
        self._flow = surroundings.flow
        self._store = store
        self._held = {state.id: state for state in states}
        self._stage = stage
        self._opening = opening
        self._observers = observers
        self._crew = crew
        self._decoded: dict[str, Any] = {}
        """Items as the body was given them."""
        self._calls: list[tuple[Part, Sequence[ItemState]]] = []
        """Whose attempts are in which part of a call, in order."""
        self._parts: set[asyncio.Task[None]] = set()

    @property
    def waits(self) -> bool:
        """An item in a batch has its place among those that move."""
        return False

    def abandon(self, item_id: str) -> bool:
        """The claim of this item is no more: what comes of it is not written. Whether there is nothing left to do."""
        for part, states in self._calls:
            for place, state in enumerate(states):
                if state.id == item_id:
                    part.leave(place)
        self._let_go([item_id])
        return not self._held

    async def heed(self, news: int) -> None:
        """What others decided of an item counts from the moment it has been through the batch."""

    async def run(self) -> None:
        """Take all items through the stage.

        Cancelling puts back what ran: pending again, no attempt charged. Where the store refuses, ``Crew.fail`` is told.
        """
        self._take_up()
        try:
            await self._begin()
            await self._call()
        except BaseException:
            for part in self._parts:
                part.cancel()
            await asyncio.gather(*self._parts, return_exceptions=True)
            await self._put_back()
            raise
        finally:
            self._parts.clear()
            self._calls.clear()
            self._decoded.clear()
            self._let_go(list(self._held))

    async def _begin(self) -> None:
        flow, states = self._flow, list(self._held.values())
        if self._window:
            await self._write_alike(decide.open_all(flow, states, self._opening))
            return
        for state in states:
            decide.count(flow, state)
        changes = [(state, decide.begin(flow, state, now_us(), 0)) for state in states]
        self._apply(changes)
        await self._write(changes)

    async def _call(self) -> None:
        batches, began = self._surroundings.batches, now_us()
        assert batches is not None  # noqa: S101 - an engine has them
        states: list[ItemState] = []
        items: list[Any] = []
        broken: list[tuple[ItemState, Raised]] = []
        decode = self._flow.items.decode
        for state in self._held.values():
            try:
                items.append(decode(state.id, state.payload or "null"))  # one that cannot be decoded keeps nobody else from it
            except BaseException as error:  # noqa: BLE001 - a type's own check is user code
                broken.append((state, Raised(error)))
            else:
                states.append(state)
        self._decoded.update(zip((state.id for state in states), items, strict=True))
        begin = 0
        for part in batches.put(self._stage, {ITEM: items}, len(items)):
            inside = states[begin : begin + part.size]
            self._calls.append((part, inside))
            self._parts.add(asyncio.create_task(self._returned(inside, part, began)))
            begin += part.size
        await self._settle(broken, began)
        if self._parts:
            await asyncio.wait(self._parts)
        for ended in self._parts:
            if not ended.cancelled():
                ended.result()

    async def _returned(self, states: Sequence[ItemState], part: Part, began: int) -> None:
        await self._settle(zip(states, await part.results, strict=True), began)

    async def _settle(self, made: Iterable[tuple[ItemState, object]], began: int) -> None:
        """What follows for each item from what the batch has made of it; large artefacts hold up nobody else."""
        stage, ended = self._stage, now_us()
        plain: list[ItemState] = []
        artefacts: list[str] = []
        others: list[tuple[ItemState, AttemptRow]] = []
        for state, one in made:
            if state.id not in self._held:
                continue
            artefact = plain_artefact(stage, state.id, one)
            if type(artefact) is not str:
                row = state.stages[stage.name]
                call = Call(self._surroundings, self._subject(state), stage.unit, row, clock=lambda: ended)
                others.append((state, call.concluded(one if artefact is None else artefact, began)))
            elif len(artefact) <= SURELY_INLINE:
                plain.append(state)
                artefacts.append(artefact)
            else:
                others.append((state, self._completed(state, began, ended, artefact)))
        alike = self._alike(plain, artefacts, began, ended)
        if alike is None:
            others += [(state, self._completed(state, began, ended, one)) for state, one in zip(plain, artefacts, strict=True)]
        small = [(state, self._settled(state, attempt)) for state, attempt in others if _is_small(attempt)]
        following = [
            self._follow(small),
            *(self._put_away(state, attempt) for state, attempt in others if not _is_small(attempt)),
        ]
        if alike is not None:
            following.append(self._follow_alike(alike))
        for error in await asyncio.gather(*following, return_exceptions=True):
            if error is not None:
                raise error

    def _subject(self, state: ItemState) -> Subject:
        return Subject(self._flow, state, item=self._decoded.get(state.id))

    def _alike(self, states: Sequence[ItemState], artefacts: Sequence[str], began: int, ended: int) -> Alike | None:
        """What follows where each has made an artefact and nothing more: their rows are equal, since all have begun alike."""
        if not states:
            return None
        first = self._completed(states[0], began, ended, artefacts[0])
        return decide.settle_alike(self._flow, states, first, artefacts, self._window)

    def _completed(self, state: ItemState, began: int, ended: int, artefact: str) -> AttemptRow:
        name = self._stage.name
        return AttemptRow(name, None, state.stages[name].attempt, began, ended, Ended.COMPLETED, artefact)

    async def _put_away(self, state: ItemState, attempt: AttemptRow) -> None:
        try:
            kept = await Shelf(self._store, self._subject(state)).put(attempt)
        except StoreError as error:
            self._lose({state.id: error})
        else:
            if state.id in self._held:
                await self._follow([(state, self._settled(state, kept))])

    def _settled(self, state: ItemState, attempt: AttemptRow) -> Transition:
        return decide.settle(self._flow, state, attempt, attempt.ended, random.random(), self._window)  # noqa: S311

    async def _follow_alike(self, changes: Alike) -> None:
        """``_follow`` for what is the same for all."""
        decide.apply_alike(self._flow, changes)
        if changes.change.rest is not None:
            self._crew.leave([state.id for state in changes.states], self)
        await self._write_alike(changes)
        if changes.change.rest is None:
            self._hand_on(changes)

    async def _follow(self, changes: Sequence[Change]) -> None:
        """Write what follows, and hand on the items that have more to do."""
        self._apply(changes)
        await self._write(changes)
        self._hand_on(changes)

    def _hand_on(self, changes: Iterable[Change]) -> None:
        # What was halted meanwhile is put back, and nobody goes on with it.
        if not self._halted:
            for state, change in changes:
                if self._held.pop(state.id, None) is not None:
                    self._crew.go_on(self._subject(state), self._window, change)

    def _apply(self, changes: Sequence[Change]) -> None:
        """What is applied is handed to the store before anything is awaited: what is put back later builds on it."""
        for state, change in changes:
            decide.apply(self._flow, state, change)
        if resting := [state.id for state, change in changes if change.rest is not None]:
            self._crew.leave(resting, self)

    async def _write_alike(self, changes: Alike) -> None:
        """``_write`` for what is the same for all."""
        refusals = await self._store.commit_all(changes)
        if any(refusals) or log.isEnabledFor(logging.DEBUG):
            self._written(changes, refusals)
            return
        self._observers.changed_alike(changes)
        if changes.change.rest is not None:
            self._let_go([state.id for state in changes.states])

    async def _write(self, changes: Sequence[Change]) -> None:
        """The changes are durable; items that rest now, or that somebody else has, are let go."""
        if changes:
            self._written(changes, await self._store.commit_all(changes))

    def _written(self, changes: Iterable[Change], refusals: Sequence[TreadleError | None]) -> None:
        debug, lost = log.isEnabledFor(logging.DEBUG), dict[str, TreadleError]()
        parted: list[str] = []
        for (state, change), refused in zip(changes, refusals, strict=True):
            if refused is None:
                self._observers.changed(state, change)
                if change.attempts or debug:
                    logged.tell(log, state, change)
                if change.rest is not None:
                    parted.append(state.id)
            elif isinstance(refused, LeaseLost):
                log.warning("%s", refused, extra={"item": state.id})
                parted.append(state.id)
            else:
                lost[state.id] = refused
        self._let_go(parted)
        self._lose(lost)

    def _lose(self, lost: Mapping[str, TreadleError]) -> None:
        """The store refused what was to be written of these items, and nothing more can be."""
        if lost:
            self._let_go(list(lost))
            self._crew.fail(list(lost), next(iter(lost.values())))

    def _let_go(self, items: Sequence[str]) -> None:
        if parted := [item_id for item_id in items if self._held.pop(item_id, None) is not None]:
            self._crew.forget(parted, self)

    async def _put_back(self) -> None:
        flow, changes = self._flow, list[Change]()
        for state in self._held.values():
            for change in put_back(flow, state):
                self._apply([(state, change)])
                changes.append((state, change))
        await self._write(changes)


def _is_small(attempt: AttemptRow) -> bool:
    return attempt.artefact is None or len(attempt.artefact) <= SURELY_INLINE
