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
from treadle.driver import Holder, Observer, put_back
from treadle.errors import LeaseLost, StoreError, TreadleError
from treadle.shelf import SURELY_INLINE, Shelf
from treadle.signature import ITEM
from treadle.state import AttemptRow, Change, Ended, ItemState, Transition
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
        observe: Observer,
        crew: Crew,
    ) -> None:
        super().__init__(window)
        self._surroundings = surroundings
        self._flow = surroundings.flow
        self._store = store
        self._held = {state.id: state for state in states}
        self._stage = stage
        self._opening = opening
        self._observe = observe
        self._crew = crew
        self._calls: list[tuple[Part, Sequence[Subject]]] = []
        """Whose attempts are in which part of a call, in order."""
        self._parts: set[asyncio.Task[None]] = set()

    @property
    def waits(self) -> bool:
        """An item in a batch has its place among those that move."""
        return False

    def abandon(self, item_id: str) -> bool:
        """The claim of this item is no more: what comes of it is not written. Whether there is nothing left to do."""
        for part, subjects in self._calls:
            for place, subject in enumerate(subjects):
                if subject.state.id == item_id:
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
            self._let_go(list(self._held))

    async def _begin(self) -> None:
        flow, states = self._flow, list(self._held.values())
        if self._window:
            decide.open_all(flow, states, self._opening)
            changes = [(state, self._opening) for state in states]
        else:
            for state in states:
                decide.count(flow, state)
            changes = [(state, decide.begin(flow, state, now_us(), 0)) for state in states]
            self._apply(changes)
        await self._write(changes)

    async def _call(self) -> None:
        batches, began = self._surroundings.batches, now_us()
        assert batches is not None  # noqa: S101 - an engine has them
        subjects: list[Subject] = []
        items: list[Any] = []
        broken: list[tuple[Subject, Raised]] = []
        for state in self._held.values():
            subject = Subject(self._flow, state)
            try:
                items.append(subject.item)  # one that cannot be decoded keeps nobody else from it
            except BaseException as error:  # noqa: BLE001 - a type's own check is user code
                broken.append((subject, Raised(error)))
            else:
                subjects.append(subject)
        begin = 0
        for part in batches.put(self._stage, {ITEM: items}, len(subjects)):
            inside = subjects[begin : begin + part.size]
            self._calls.append((part, inside))
            self._parts.add(asyncio.create_task(self._returned(inside, part, began)))
            begin += part.size
        await self._settle(broken, began)
        if self._parts:
            await asyncio.wait(self._parts)
        for ended in self._parts:
            if not ended.cancelled():
                ended.result()

    async def _returned(self, subjects: Sequence[Subject], part: Part, began: int) -> None:
        await self._settle(zip(subjects, await part.results, strict=True), began)

    async def _settle(self, made: Iterable[tuple[Subject, object]], began: int) -> None:
        """What follows for each item from what the batch has made of it; large artefacts hold up nobody else."""
        stage, ended = self._stage, now_us()
        plain: list[Subject] = []
        artefacts: list[str] = []
        small: list[tuple[Subject, AttemptRow]] = []
        large: list[tuple[Subject, AttemptRow]] = []
        for subject, one in made:
            if subject.state.id not in self._held:
                continue
            artefact = plain_artefact(stage, one)
            if artefact is not None and len(artefact) <= SURELY_INLINE:
                plain.append(subject)
                artefacts.append(artefact)
                continue
            row = subject.state.stages[stage.name]
            if artefact is not None:
                attempt = AttemptRow(stage.name, None, row.attempt, began, ended, Ended.COMPLETED, artefact)
            else:
                attempt = Call(self._surroundings, subject, stage.unit, row, clock=lambda: ended).concluded(one, began)
            is_small = attempt.artefact is None or len(attempt.artefact) <= SURELY_INLINE
            (small if is_small else large).append((subject, attempt))
        changes = self._alike(plain, artefacts, began, ended)
        changes += [(subject, self._settled(subject, attempt)) for subject, attempt in small]
        await self._follow(changes)
        kept = await asyncio.gather(*(self._put_away(subject, attempt) for subject, attempt in large), return_exceptions=True)
        for error in kept:
            if error is not None:
                raise error

    async def _put_away(self, subject: Subject, attempt: AttemptRow) -> None:
        try:
            kept = await Shelf(self._store, subject).put(attempt)
        except StoreError as error:
            self._lose({subject.state.id: error})
        else:
            if subject.state.id in self._held:
                await self._follow([(subject, self._settled(subject, kept))])

    def _alike(
        self, subjects: Sequence[Subject], artefacts: Sequence[str], began: int, ended: int
    ) -> list[tuple[Subject, Transition]]:
        """What follows where each has made an artefact and nothing more: their rows are equal, since all have begun alike."""
        if not subjects:
            return []
        states, name = [subject.state for subject in subjects], self._stage.name
        first = AttemptRow(name, None, states[0].stages[name].attempt, began, ended, Ended.COMPLETED, artefacts[0])
        made = decide.settle_alike(self._flow, states, first, artefacts, self._window)
        return list(zip(subjects, made, strict=True))

    def _settled(self, subject: Subject, attempt: AttemptRow) -> Transition:
        return decide.settle(self._flow, subject.state, attempt, attempt.ended, random.random(), self._window)  # noqa: S311

    async def _follow(self, settled: Sequence[tuple[Subject, Transition]]) -> None:
        """Write what follows, and hand on the items that have more to do."""
        changes = [(subject.state, change) for subject, change in settled]
        self._apply(changes)
        await self._write(changes)
        # What was halted meanwhile is put back, and nobody goes on with it.
        if not self._halted:
            for subject, change in settled:
                if self._held.pop(subject.state.id, None) is not None:
                    self._crew.go_on(subject, self._window, change)

    def _apply(self, changes: Sequence[Change]) -> None:
        """What is applied is handed to the store before anything is awaited: what is put back later builds on it."""
        for state, change in changes:
            decide.apply(self._flow, state, change)
        if resting := [state.id for state, change in changes if change.rest is not None]:
            self._crew.leave(resting, self)

    async def _write(self, changes: Sequence[Change]) -> None:
        """The changes are durable; items that rest now, or that somebody else has, are let go."""
        if not changes:
            return
        debug, lost = log.isEnabledFor(logging.DEBUG), dict[str, TreadleError]()
        parted: list[str] = []
        for (state, change), refused in zip(changes, await self._store.commit_all(changes), strict=True):
            if refused is None:
                self._observe(state, change)
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
