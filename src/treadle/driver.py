"""Drive one claimed item: attempts, decisions, writes, until nothing of it moves."""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from treadle import decide, logged
from treadle.attempt import Call, Subject, Surroundings, attempted, interrupted, wanted
from treadle.clock import now_us
from treadle.definition import Definition
from treadle.errors import LeaseLost, StoreError
from treadle.event import EventKind
from treadle.gathered import told_attempts
from treadle.limits import Leave, Limits
from treadle.lines import Order
from treadle.observers import Observer
from treadle.patience import patiently
from treadle.shelf import SURELY_INLINE, Shelf
from treadle.state import AttemptRow, EventRow, ItemState, Rest, StageRow, StageState, SubtaskRow, Transition, Unit
from treadle.store import StateStore

log: logging.Logger = logging.getLogger("treadle.driver")

_PROGRESS_EVERY_US = 1_000_000

_NO_TEXTS: Mapping[str, str] = {}


class Holder:
    """Whoever moves items that a worker has claimed, until told to end."""

    __slots__ = ("_halted", "_runs", "_window")

    def __init__(self, window: int) -> None:
        self._window = window
        """How many children of one fan-out may run at once; 0: nothing new starts."""
        self._runs = self._halted = False

    def drain(self) -> None:
        """Start nothing new; what runs may end."""
        self._window = 0

    def halt(self) -> bool:
        """Put back what runs; whether its task is to be cancelled for that: once, and not before its first step."""
        first, self._halted = not self._halted, True
        return first and self._runs

    def _take_up(self) -> None:
        """The first step: what was halted before it gives back what it holds."""
        self._runs = True
        if self._halted:
            self.drain()


class Driver(Holder):
    """The only writer of one item, from its claim until it rests.

    A branch is a chain of attempts in which each follows from the one before. The first branch runs in the
    caller's task; only where the item forks does another task begin, so that a pipeline without forks pays
    for none.
    """

    __slots__ = (
        "_alone", "_begun", "_blocked", "_branches", "_debug", "_flow", "_leave", "_limits", "_loop", "_lost", "_news", "_observe", "_opening",
        "_progress_at", "_rest", "_shelf", "_state", "_store", "_subject", "_surroundings", "_timer",
    )  # fmt: skip

    def __init__(
        self,
        surroundings: Surroundings,
        store: StateStore,
        state: ItemState,
        *,
        window: int,
        limits: Limits,
        observe: Observer,
        leave: Callable[[Sequence[str], Driver], object],
        loop: asyncio.AbstractEventLoop,
        alone: bool = False,
        opening: Transition | None = None,
        begun: Transition | None = None,
        subject: Subject | None = None,
    ) -> None:
        super().__init__(window)
        self._surroundings = surroundings
        self._flow = surroundings.flow
        self._store = store
        self._state = state
        self._subject = Subject(self._flow, state) if subject is None else subject
        self._subject.on_progress = self._on_progress
        self._alone = alone
        self._opening = opening
        self._begun = begun
        self._limits = limits
        self._observe = observe
        self._leave = leave
        self._debug = log.isEnabledFor(logging.DEBUG)
        self._loop = loop
        self._branches: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._rest: Rest | None = None
        self._lost = False
        self._news = state.news
        self._shelf = Shelf(store, self._subject)
        self._blocked = 0
        """Subtasks that are marked running but still wait for leave."""
        self._progress_at: dict[tuple[str, str | None], int] = {}

    @property
    def item_id(self) -> str:
        """The item it drives."""
        return self._state.id

    @property
    def waits(self) -> bool:
        """Whether it does nothing but wait for leave, so that another item may move in its place."""
        return self._state.running == self._blocked and bool(self._blocked or self._state.asking)

    def end_with_suspicion(self) -> None:
        """Start nothing new as soon as nothing of the item is under suspicion any more."""
        tell = self._observe

        def observe(state: ItemState, change: Transition) -> None:
            tell(state, change)
            if not decide.suspicion(state):
                self.drain()

        self._observe = observe

    def abandon(self, item_id: str) -> bool:
        """The claim of this item is no more: nothing may be written of it. Whether there is nothing left to do."""
        assert item_id == self._state.id  # noqa: S101 - it has no other
        self._lost = True
        return True

    async def run(self) -> Rest | None:
        """Move the item as far as it can go; how it rests then.

        Cancelling puts back what ran: pending again, no attempt charged.

        Raises:
            LeaseLost: somebody else has the item now.
            StoreError: the store refused; what was acknowledged is safe.
        """
        flow, state, begun = self._flow, self._state, self._begun
        self._take_up()
        if begun is None:
            if state.reviews and decide.is_overdue(state, now_us()):
                await self._expire()
            decide.count(flow, state)
        elif begun.waits:
            self._arm()
        try:
            if begun is not None and self._halted:
                raise asyncio.CancelledError
            # Not by ``_follow``, whose coroutine every step of the chain would go through.
            first = self._fork(await self._write(self._begin()) if begun is None else begun)
            if first is not None:
                await self._chain(first)
            while self._branches:
                done, _ = await asyncio.wait(self._branches, return_when=asyncio.FIRST_EXCEPTION)
                for branch in done:
                    self._branches.discard(branch)
                    branch.result()
            return self._rest
        except BaseException as error:
            self._lost = self._lost or isinstance(error, LeaseLost | StoreError)
            await self._stop()
            raise
        finally:
            if self._timer is not None:
                self._timer.cancel()
            # Else each would keep the other until the collector comes, and all that the item was made of with them.
            self._subject.on_progress = None

    def _begin(self) -> Transition:
        if self._opening is not None and self._window and decide.is_untouched(self._state):
            return self._opening
        return decide.begin(self._flow, self._state, now_us(), self._window, alone=self._alone)

    async def _expire(self) -> None:
        """Answer what nobody answered in time: as any other outside act, so that a person who was faster is not overruled."""
        item = self._state.id
        expire = partial(self._store.revise, item, lambda stored: decide.expire(self._flow, stored, now_us()))
        await patiently(expire, "an overdue review cannot be answered now", log, item)
        if (fresh := await patiently(partial(self._store.load, item), "an item cannot be read now", log, item)) is not None:
            # Nothing was done yet: what is stored is all there is.
            self._state.stages, self._state.boards, self._state.reviews = fresh.stages, fresh.boards, fresh.reviews
            self._state.stored = fresh.stored
            self._shelf.look()

    async def heed(self, news: int) -> None:
        """Go on with what others decided while other parts of the item move; ``news``: how many outside acts there were."""
        if news <= self._news:
            return
        stored = await self._store.load(self._state.id)
        if stored is None or self._lost or not (self._window and (self._state.running or self._state.asking)):
            return
        self._news = stored.news
        decide.heed(self._flow, self._state, stored)
        self._shelf.look()
        self._spawn(self._woken())

    async def _stop(self) -> None:
        self._window = 0
        for branch in self._branches:
            branch.cancel()
        if self._branches:
            await asyncio.gather(*self._branches, return_exceptions=True)
        if not self._lost:
            await self._put_back()

    async def _put_back(self) -> None:
        for change in put_back(self._flow, self._state):
            await self._write(change)

    async def _write(self, change: Transition) -> Transition:
        decide.apply(self._flow, self._state, change)
        if change.rest is not None:
            self._leave([self._state.id], self)
        await self._store.commit(self._state, change)
        return self._written(change)

    def _written(self, change: Transition) -> Transition:
        """The change is durable: everybody is told, and the item rests or waits as it says."""
        self._observe(self._state, change)
        # An attempt that has more to say than that it succeeded has a row of its own: only then is there news.
        if change.attempts or self._debug:
            logged.tell(log, self._state, change)
        if change.rest is not None:
            self._rest = change.rest
        elif change.waits:
            self._arm()
        return change

    async def _follow(self, change: Transition) -> None:
        """Run what a durable change has started."""
        if (unit := self._fork(change)) is not None:
            await self._chain(unit)

    def _fork(self, change: Transition) -> Unit | None:
        """Of what a durable change has started, the first is for whoever asks; all else goes on in tasks of its own."""
        starts = change.starts
        if len(starts) > 1:
            for unit in starts[1:]:
                self._spawn(self._chain(unit))
        if change.ready:
            for stage in change.ready:
                self._spawn(self._ask(stage))
        return starts[0] if starts else None

    async def _chain(self, unit: Unit, raised: BaseException | None = None, *, once: bool = False) -> Transition:
        """Attempts from ``unit`` on, each of which follows from the one before; the last change. ``once``: only the first of them.

        Done for every stage of every item, so what is not alike for all of them has coroutines of its own (``make bench``, W1).
        """
        while True:
            attempt = await self._attempted(unit, raised)
            if attempt.artefact is not None and len(attempt.artefact) > SURELY_INLINE:
                attempt = await self._shelf.put(attempt)
            chance = random.random()  # noqa: S311
            change = decide.settle_in_place(self._flow, self._state, attempt, attempt.ended, chance, self._window)
            # What ``_write`` does, without a coroutine of its own.
            if change.rest is not None:
                self._leave([self._state.id], self)
            await self._store.commit(self._state, change)
            self._written(change)
            follower = None if once else self._fork(change)
            if follower is None:
                return change
            unit, raised = follower, None

    def _spawn(self, branch: Coroutine[Any, Any, object]) -> None:
        task = self._loop.create_task(branch)
        self._branches.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        # One that failed stays for ``run`` to see.
        if not task.cancelled() and task.exception() is None:
            self._branches.discard(task)

    def _attempted(self, unit: Unit, raised: BaseException | None = None) -> Awaitable[AttemptRow]:
        """Run the unit: how the attempt ended."""
        name, seq = unit
        row: StageRow | SubtaskRow = self._state.stages[name] if seq is None else self._state.boards[name].rows[seq]
        if (
            row.attempt > 1
            or raised is not None
            or self._shelf.is_used
            or (seq is not None and self._limits.leave(name) is not None)
        ):
            return self._prepared(unit, row, raised)
        if seq is None and self._flow.stages[name].quick and not row.reruns:
            return attempted(self._surroundings, self._subject, name)
        return Call(self._surroundings, self._subject, unit, row).run()

    async def _prepared(self, unit: Unit, row: StageRow | SubtaskRow, raised: BaseException | None) -> AttemptRow:
        """Run the unit when its past, what it reads and, for a subtask, leave are there."""
        name, seq = unit
        history = await self._history(unit, row) if row.attempt > 1 else ()
        texts: Mapping[str, str] = _NO_TEXTS
        if self._shelf.is_used:
            texts, missing = await self._shelf.texts(self._flow.stages[name])
            raised = raised or missing
        call = Call(self._surroundings, self._subject, unit, row, history=history, raised=raised, texts=texts)
        if seq is None or (leave := self._limits.leave(name)) is None:
            return await call.run()
        await self._enter_blocked(leave, name)
        try:
            return await call.run()
        finally:
            leave.exit()

    async def _history(self, unit: Unit, row: StageRow | SubtaskRow) -> list[AttemptRow]:
        """The unit's attempts before the one that ``row`` has begun, in this run of it."""
        item, (stage, seq) = self._state.id, unit
        ask = partial(told_attempts, self._store) if stage in self._state.reviews else self._store.attempts
        stored = await patiently(partial(ask, item, stage, seq=seq), "attempts cannot be read now", log, item)
        return [past for _, past in stored if past.seq == seq and past.run == row.reruns and past.number < row.attempt]

    async def _ask(self, stage: str) -> None:
        """Wait for leave to start ``stage``, a free slot and what its ``when`` says; then follow from there."""
        leave, state = self._limits.leave(stage), self._state
        if leave is None:
            change = await self._start(stage)
        elif await self._told(leave).enter(self._order(stage), lambda: state.running == 0 and len(state.asking) == 1):
            try:
                change = await self._start(stage)
            finally:
                leave.exit()
        else:
            now = now_us()
            change = await self._write(decide.rested(decide.forgo(self._flow, state, stage, now), leave.away()))
        await self._follow(change)

    async def _enter_blocked(self, leave: Leave, stage: str) -> None:
        """A subtask has leave; until then nothing of it runs, whatever its row says."""
        self._blocked += 1
        try:
            await self._told(leave).enter(self._order(stage))
        finally:
            self._blocked -= 1

    def _told(self, leave: Leave) -> Leave:
        if not leave.is_free:
            self._limits.on_wait()
        return leave

    def _order(self, stage: str) -> Order:
        """Where it stands in the lines for leave: those of higher priority first, then the items that came first."""
        return (-self._state.urgency - self._flow.stages[stage].priority, self._state.key)

    async def _start(self, stage: str) -> Transition:
        """Run the stage, which has leave to, or skip it."""
        flow, state = self._flow, self._state
        answer = await self._wanted(stage) if self._window else True
        if not self._window:
            return await self._write(decide.forgo(flow, state, stage, now_us()))
        if answer is False:
            return await self._write(decide.skip(flow, state, stage, "`when` said no", now_us(), self._window))
        change = await self._write(decide.start(flow, state, stage, now_us(), self._window))
        return await self._chain(change.starts[0], answer if isinstance(answer, BaseException) else None, once=True)

    async def _wanted(self, stage: str) -> bool | BaseException:
        texts, missing = await self._shelf.texts(self._flow.stages[stage]) if self._shelf.is_used else (_NO_TEXTS, None)
        return missing or await wanted(self._surroundings, self._subject, stage, texts)

    # waiting times that end while other parts of the item move

    def _arm(self) -> None:
        due = decide.next_due(self._state)
        if self._timer is not None:
            self._timer.cancel()
        if due is not None:
            self._timer = self._loop.call_later(max(due - now_us(), 0) / 1_000_000, self._wake)

    def _wake(self) -> None:
        self._timer = None
        if self._window and (self._state.running or self._state.asking):
            self._spawn(self._woken())

    async def _woken(self) -> None:
        # What runs alone has no company: the item rests when it has ended, and is claimed again at once.
        if self._alone or not (self._window and (self._state.running or self._state.asking)):
            return
        change = decide.wake(self._flow, self._state, now_us(), self._window)
        if change.starts or change.ready:
            await self._follow(await self._write(change))

    # progress

    def _on_progress(self, stage: str, subtask: str | None, attempt: int, fraction: float, note: str | None) -> None:
        """Called by user code, perhaps from a thread."""
        now = now_us()
        if now - self._progress_at.get((stage, subtask), 0) >= _PROGRESS_EVERY_US:
            self._progress_at[stage, subtask] = now
            data = json.dumps({"fraction": fraction, "note": note}, ensure_ascii=False)
            event = EventRow(EventKind.STAGE_PROGRESS, stage, subtask, attempt, data)
            try:
                self._loop.call_soon_threadsafe(lambda: self._spawn(self._tell(Transition(now, events=[event]))))
            except RuntimeError:
                return  # The loop is closed: the attempt was left behind long ago.

    async def _tell(self, change: Transition) -> None:
        if self._state.running and not self._lost:
            await self._write(change)


def put_back(flow: Definition, state: ItemState) -> Iterator[Transition]:
    """What was running is pending again, and the claim is given back; each change is applied before the next is asked for."""
    running: list[Unit] = [
        (row.stage, None) for row in state.stages.values() if row.state is StageState.RUNNING and not row.fan_out
    ]
    for name, board in state.boards.items():
        running += [(name, row.seq) for row in board.rows if row.state is StageState.RUNNING]
    for unit in running:
        yield decide.settle(flow, state, interrupted(state, unit), now_us(), 0.0, 0)
    for stage in list(state.asking):
        yield decide.forgo(flow, state, stage, now_us())
