"""The front door: one workflow on one store."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from treadle import collector, decide, memory, pace
from treadle.arrival import new_item
from treadle.attempt import Surroundings
from treadle.batches import Batches
from treadle.breadth import Bodies
from treadle.clock import now_us
from treadle.codec import item_id as checked_id
from treadle.definition import PROCESS, Definition
from treadle.errors import ItemConflict, ItemNotFound, TreadleError
from treadle.event import WorkflowEvent
from treadle.executor import Processes, Threads
from treadle.failure import safe_text
from treadle.inbox import Inbox
from treadle.intake import Intake
from treadle.limits import Limits
from treadle.membership import Membership
from treadle.observers import Observer, Observers
from treadle.outcome import Approve, Decision, Reject
from treadle.source import open_source
from treadle.state import ItemPhase, ItemState, Transition
from treadle.status import PipelineStatus, RunReport, item_status
from treadle.store import ItemId, StateStore
from treadle.worker import Worker
from treadle.workflow import Workflow

log: logging.Logger = logging.getLogger("treadle.engine")

_MAX_NOTES = 6
_FOLLOW = 0.25
"""Seconds after which a follower of the journal looks for what other processes wrote."""


class Engine:
    """Moves a workflow's items through its stages and answers for them.

    Args:
        workflow: what to do.
        store: where its state is kept; the engine does not close it.
        lease: seconds without a heartbeat after which others may take this engine's items.
        grace: seconds that running stages have to end after ``stop()``.
        name: what people see of this worker; host and pid without one.

    Example:
        .. code-block:: python

            async with open_store("papers.db") as store, Engine(papers, store) as engine:
                report = await engine.run(items, concurrency=100)
    """

    def __init__(
        self, workflow: Workflow, store: StateStore, *, lease: float = 30.0, grace: float = 10.0, name: str | None = None
    ) -> None:
        if not lease > 0:
            raise ValueError(f"Engine(lease={lease!r}): seconds, more than 0")
        self._workflow = workflow
        self._store = store
        self._lease = lease
        self._grace = grace
        self._name = name
        self._flow: Definition = workflow.definition
        self._observers = Observers()
        self._intake: Intake | None = None
        self._stopping = False
        self._worker: Worker | None = None
        self._exit: AsyncExitStack | None = None
        self._stopper: asyncio.TimerHandle | None = None

    # life

    async def __aenter__(self) -> Self:
        if self._exit is not None:
            raise TreadleError("this engine is already running; use one `async with` for it")
        async with AsyncExitStack() as stack:
            stack.enter_context(collector.unhurried())
            await self._store.bind(self._flow)
            state = await stack.enter_async_context(self._flow.lifespan()) if self._flow.lifespan is not None else None
            threads = Threads()
            stack.callback(threads.close)
            processes = None
            if any(PROCESS in (s.executor, s.handler_executor) for s in self._flow.stages.values()):
                _tell_unlimited(self._flow)
                processes = Processes(self._workflow.origin, self._flow.name)
                stack.push_async_callback(processes.close)
            limits = Limits(self._flow)
            bodies = Bodies()
            batches = Batches(threads, limits, bodies)
            stack.push_async_callback(batches.close)
            surroundings = Surroundings(self._flow, state, threads, processes, bodies, batches)
            place = Membership(self._store, self._lease, self._name)
            await place.join()
            stack.push_async_callback(place.leave)
            self._worker = Worker(surroundings, self._store, place, limits=limits, observers=self._observers)
            self._surroundings = surroundings
            self._exit = stack.pop_all()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        stack, self._exit, self._worker = self._exit, None, None
        if self._stopper is not None:
            self._stopper.cancel()
        if stack is not None:
            await stack.__aexit__(kind, error, trace)

    @asynccontextmanager
    async def _running(self) -> AsyncIterator[Worker]:
        """The worker; for this call only, if the engine was not entered."""
        if self._worker is not None:
            yield self._worker
            return
        async with self as entered:
            yield entered._entered_worker()

    def _entered_worker(self) -> Worker:
        if self._worker is None:
            raise TreadleError("this engine is not running")
        return self._worker

    # moving items

    async def run(self, items: Iterable[Any] | AsyncIterable[Any] | None = None, *, concurrency: int = 100) -> RunReport:
        """Add ``items``, then move everything the store holds as far as it can go.

        Items may be more than fit in memory: they are read as capacity frees up. Due retries are waited for;
        reviews are not. Up to ``concurrency`` items move at once, and as many children of one fan-out; where
        the event loop is busy all the time, only a few hundred of them are between their stages at once.

        Raises:
            InvalidItem, ItemConflict, SourceFailed: some items could not be added; raised at the end, when all
                others have moved. ``__notes__`` count those beyond the first.
            StoreError: the store refused. What was acknowledged is safe; run again.
        """
        _check_concurrency("run", concurrency)
        async with self._running() as worker, self._reporting() as reports:
            intake = None
            if items is not None:
                intake = self._intake = Intake(self._store, self._surroundings, open_source(items))
            try:
                await worker.run(intake, concurrency)
            finally:
                self._intake = None
                if intake is not None:
                    await intake.source.close()
        if intake is not None:
            _raise_problems(intake)
        return reports[0]

    async def work(self, *, concurrency: int = 100) -> RunReport:
        """Move what the store holds and whatever anybody adds to it, until told to stop or the store is drained.

        New items, due retries, expired reviews and what other processes decide are picked up within a second.

        Raises:
            StoreError: the store refused. What was acknowledged is safe; start again.
        """
        _check_concurrency("work", concurrency)
        async with self._running() as worker, self._reporting() as reports:
            await worker.run(None, concurrency, forever=True)
        return reports[0]

    @asynccontextmanager
    async def _reporting(self) -> AsyncIterator[list[RunReport]]:
        """A list that holds the report of what was done inside, afterwards."""
        began, before = time.monotonic(), self._observers.attempts
        reports: list[RunReport] = []
        yield reports
        counts = (await self._store.counts()).phases
        reports.append(
            RunReport(
                **{phase.value: counts.get(phase, 0) for phase in ItemPhase},
                stages_run=self._observers.attempts - before,
                elapsed=time.monotonic() - began,
            )
        )

    @property
    def reading(self) -> bool:
        """Whether ``run`` still takes items from its source, so that more may come than the store holds."""
        return self._intake is not None and not self._intake.source.exhausted

    @property
    def stopping(self) -> bool:
        """Whether it was told to stop."""
        return self._stopping

    def stop(self, *, now: bool = False) -> None:
        """Make ``run`` return: running stages may end within the grace time, ``now`` puts them back at once.

        What is put back is pending again, and no attempt is charged for it.
        """
        if self._worker is None:
            return
        self._stopping = True
        log.info("stopping %s", "at once" if now else f"when running stages have ended, or in {self._grace:g} s")
        self._worker.stop(now=now)
        if not now and self._stopper is None:
            self._stopper = asyncio.get_running_loop().call_later(self._grace, lambda: self.stop(now=True))

    async def advance(self, item: Any) -> PipelineStatus:
        """Move one item, given as itself or by its id, as far as it can go; due retries are waited for.

        Raises:
            ItemNotFound: an id that is not known.
            InvalidItem, ItemConflict: an item that cannot be added.
        """
        async with self._running() as worker:
            if isinstance(item, str | int | UUID):
                identity = checked_id(item)
                if await self._store.load(identity) is None:
                    raise ItemNotFound(identity)
            else:
                new = new_item(self._flow, item)
                identity = new.id
                if await self._store.add([new], decide.arrive(self._flow, now_us())):
                    raise ItemConflict(identity)
            await worker.advance(identity, 100)
            return await item_status(self._store, identity)

    @property
    def inbox(self) -> Inbox:
        """The reviews of this engine's store, with edits checked by its workflow's types."""
        return Inbox(self._store, self._workflow)

    # asking

    async def status(self, item_id: ItemId) -> PipelineStatus:
        """Where the item stands; raises ``ItemNotFound``."""
        await self._bound()
        return await item_status(self._store, checked_id(item_id))

    async def events(
        self, after: int = 0, *, follow: bool = False, item_id: ItemId | None = None
    ) -> AsyncIterator[WorkflowEvent]:
        """The journal behind the cursor ``after``, in order; ends at its end unless told to ``follow``.

        Nothing is lost to a slow reader: it reads rows at its own pace, and resumes with the last ``cursor`` it saw. Nor does
        one that follows slow what it follows: while the event loop is busy it is told of a thousand events a second, and of
        the others as soon as there is time. When ``run`` has returned, read on without ``follow`` to have them all.
        """
        only = None if item_id is None else checked_id(item_id)
        news = asyncio.Event()
        try:
            while True:
                news.clear()
                self._observers.follow(news)
                page = await self._store.events(after, 500, only)
                for event in page:
                    after = event.cursor
                    yield event
                if follow:
                    await pace.rest(len(page))
                if not page:
                    if not follow:
                        return
                    await _either(news, _FOLLOW)
        finally:
            self._observers.unfollow(news)

    def observe(self, observer: Observer) -> None:
        """Call ``observer`` with every change this engine has made durable; it must be quick and must not raise."""
        self._observers.add(observer)

    # acting

    async def retry(
        self, item_id: ItemId, stage: str | None = None, *, operator: str | None = None, reason: str | None = None
    ) -> None:
        """A failed stage (all of them, without a name) is pending again; of a fan-out only what failed runs again.

        Raises:
            ItemNotFound, StageNotFound: there is no such thing.
            InvalidTransition: it has not failed.
        """
        why = None if reason is None else safe_text(reason)
        await self._revise(item_id, lambda state: decide.retry(self._flow, state, stage, now_us(), operator=operator, reason=why))
        log.info("item %r is to be tried again", str(item_id), extra={"item": str(item_id), "stage": stage})

    async def rerun(
        self, item_id: ItemId, stage: str, *, cascade: bool = False, operator: str | None = None, reason: str | None = None
    ) -> None:
        """A finished stage is pending again; with ``cascade`` everything that was built on it is, too. History is kept.

        Raises:
            ItemNotFound, StageNotFound: there is no such thing.
            InvalidTransition: it has not finished, or others have built on it and ``cascade`` was not given.
        """
        why = None if reason is None else safe_text(reason)
        await self._revise(
            item_id,
            lambda state: decide.rerun(self._flow, state, stage, now_us(), cascade=cascade, operator=operator, reason=why),
        )

    async def cancel(self, item_id: ItemId, reason: str | None = None) -> None:
        """The item moves no more; what runs for it is told to stop, and its answer is refused.

        Raises:
            ItemNotFound: there is no such item.
            InvalidTransition: it has already ended.
        """
        why = None if reason is None else safe_text(reason)
        await self._revise(item_id, lambda state: decide.cancel(self._flow, state, why, now_us()))
        log.info("item %r was cancelled: %s", str(item_id), why, extra={"item": str(item_id)})
        if self._worker is not None:
            await self._worker.abandon(checked_id(item_id))

    async def resolve_review(self, item_id: ItemId, stage: str, decision: Decision, *, reviewer: str) -> None:
        """A person's answer to what waits; the same as ``Inbox.decide``, and this engine goes on at once."""
        await self._bound()
        await self.inbox.decide(item_id, stage, decision, reviewer=reviewer)
        said, fields = type(decision).__name__, {"item": str(item_id), "stage": stage}
        log.info("review of stage %r of item %r: %s by %s", stage, str(item_id), said, reviewer, extra=fields)
        self._poke()

    async def approve(
        self, item_id: ItemId, stage: str, *, reviewer: str, note: str | None = None, attempt: int | None = None
    ) -> None:
        """Accept what waits, or what an earlier ``attempt`` made: the stage completes."""
        await self.resolve_review(item_id, stage, Approve(note, attempt), reviewer=reviewer)

    async def reject(self, item_id: ItemId, stage: str, reason: str, *, reviewer: str) -> None:
        """Refuse what waits: the stage fails with ``reason``."""
        await self.resolve_review(item_id, stage, Reject(reason), reviewer=reviewer)

    async def _revise(self, item_id: ItemId, change: Callable[[ItemState], Transition]) -> None:
        await self._bound()
        await self._store.revise(checked_id(item_id), change)
        self._poke()

    async def _bound(self) -> None:
        if self._exit is None:
            await self._store.bind(self._flow)

    def _poke(self) -> None:
        if self._worker is not None:
            self._worker.poke()
        self._observers.tell()


def _tell_unlimited(flow: Definition) -> None:
    names = [stage.name for stage in flow.stages.values() if stage.memory is not None]
    if names and not memory.CAN_LIMIT:
        log.warning("this system cannot limit the memory of a process: memory= of %s is not kept", ", ".join(names))


def _check_concurrency(where: str, concurrency: int) -> None:
    if concurrency < 1:
        raise ValueError(f"{where}(concurrency={concurrency!r}): a whole number, 1 or more")


async def _either(news: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await news.wait()
    except TimeoutError:
        return


def _raise_problems(intake: Intake) -> None:
    problems = list(intake.problems)
    if (failure := intake.source.failure()) is not None:
        problems.insert(0, failure)
    if not problems:
        return
    first = problems[0]
    for other in problems[1:_MAX_NOTES]:
        first.add_note(f"also not taken: {other}")
    if len(problems) > _MAX_NOTES:
        first.add_note(f"and {len(problems) - _MAX_NOTES:,} more")
    raise first
