"""Many items: claim them, keep so many moving, and stop in good order."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from treadle import decide, logged
from treadle.attempt import Subject, Surroundings
from treadle.batch_driver import BatchDriver, first_batch
from treadle.breadth import ENOUGH, Breadth
from treadle.clock import now_us
from treadle.definition import StageDefinition
from treadle.driver import Driver
from treadle.errors import LeaseLost, StoreError
from treadle.intake import Intake
from treadle.limits import Limits
from treadle.membership import Membership
from treadle.observers import Observers
from treadle.state import ItemState, Mode, Rest, Transition
from treadle.store import Claimed, StateStore
from treadle.suspects import ALONE, Suspects

log: logging.Logger = logging.getLogger("treadle.worker")

_PATIENCE = 2.0
"""Seconds that what was cancelled has to end; a coroutine that ignores it is left behind then."""
_RETRY_US = 500_000
"""Microseconds after which a store that could not be written is asked again."""
IN_LINE = 1_000
"""Items that may wait for one stage in memory: enough that no line runs dry while those beyond come back from the store."""
_AHEAD = 64
"""Items that the store may hold ahead however few move, where they are soon gone: to add one takes a transaction, and so does to add
many. Where they are not, what is tried again would wait long behind them."""
_SOON = 0.1
"""Seconds within which half of what the store holds ahead must be claimed, so that it may hold twice as many."""
_POLL = 0.5
"""Seconds after which a worker looks for what other processes did: decisions, retries, new items."""


class Worker:
    """Claims items and keeps up to ``concurrency`` of them moving."""

    def __init__(
        self,
        surroundings: Surroundings,
        store: StateStore,
        place: Membership,
        *,
        limits: Limits,
        observers: Observers,
    ) -> None:
        self._surroundings = surroundings
        self._store = store
        self._place = place
        self._mode = Mode.RUNNING
        self._loop = asyncio.get_running_loop()  # a system call before Python 3.12, so not asked for every item
        self._limits = limits
        self._observers = observers
        self._first_batch = first_batch(surroundings.flow)
        self._enough = ENOUGH + sum(stage.batch or 0 for stage in surroundings.flow.stages.values())
        """Items between their stages that keep the loop busy, while others wait for their batches to fill."""
        self._held: dict[str, tuple[Driver | BatchDriver, asyncio.Task[Any]]] = {}
        """Who moves each item that this worker holds, and in which task."""
        self._resting: set[str] = set()
        """Items whose last change is on its way into the store: they take nobody's place any more."""
        self._parting: dict[str, list[asyncio.Event]] = {}
        """Set when nobody here moves the item any more."""
        self._suspects = Suspects()
        self._fatal: BaseException | None = None
        self._ahead = 0
        self._heeded = 0.0
        self._stopping = False
        self._give_up: float | None = None
        self._poke = asyncio.Event()
        self._hungry = asyncio.Event()
        """Set when the feeder may have room to add more."""

    def poke(self) -> None:
        """There may be something to claim: look now."""
        self._poke.set()

    def stop(self, *, now: bool = False) -> None:
        """Claim nothing more and let what runs end; ``now`` puts it back instead."""
        self._stopping = True
        self._end_all(now=now)
        self.poke()
        self._hungry.set()

    def _end_all(self, *, now: bool) -> None:
        """Nothing new starts of what moves; ``now``, what runs is put back too."""
        if now and self._give_up is None:
            self._give_up = time.monotonic() + _PATIENCE
        for holder, task in set(self._held.values()):
            if not now:
                holder.drain()
            elif holder.halt():
                task.cancel()

    async def abandon(self, item_id: str) -> None:
        """Stop what runs for an item that was taken from this worker."""
        if item_id not in self._held:
            return
        holder, task = self._held[item_id]
        if holder.abandon(item_id):
            task.cancel()
            await asyncio.wait({task}, timeout=_PATIENCE)
            if not task.done():
                self._leave_behind(item_id, holder)
            # One that had not begun yet knows nothing of its end.
            self.forget([item_id], holder)

    async def run(self, intake: Intake | None, concurrency: int, *, forever: bool = False) -> None:
        """Return when nothing can move any more, or when stopped and everything has been given back.

        ``forever`` only the latter: there may always be more to come.
        """
        self._limits.make_room(max(concurrency, IN_LINE))
        self._limits.on_wait = self._make_way
        breadth = Breadth(concurrency, self._surroundings.bodies, self._enough)
        feeder = asyncio.create_task(self._feed(intake, breadth)) if intake is not None else None
        if feeder is not None:
            feeder.add_done_callback(lambda _: self.poke())
        try:
            await self._move(feeder, breadth, forever=forever)
            await self._part(feeder)
        except BaseException as raised:
            self._end_all(now=not isinstance(raised, Exception))
            await self._part_in_the_end(feeder)
            raise
        if feeder is not None and not feeder.cancelled() and (error := feeder.exception()) is not None:
            raise error
        if self._fatal is not None:
            raise self._fatal

    async def _part_in_the_end(self, feeder: asyncio.Task[None] | None) -> None:
        """The same after an error; whoever is cancelled meanwhile waits no longer than after ``stop(now=True)``."""
        try:
            await self._part(feeder)
        except asyncio.CancelledError:
            self._end_all(now=True)
            await self._part(feeder)
            raise
        finally:
            if not self._stopping:
                self._give_up = None  # the same engine may run again

    async def _part(self, feeder: asyncio.Task[None] | None) -> None:
        """What still runs has ended, or has been left behind; what it says later is not written."""
        if feeder is not None:
            feeder.cancel()
            await asyncio.wait({feeder})
        for state in self._suspects.give_up():
            self.start(state, 0)
        began = time.monotonic()
        # A batch driver may hand on what it has begun until it ends itself, and somebody may lose patience meanwhile.
        while tasks := {task for _, task in self._held.values() if not task.done()}:
            await asyncio.wait(tasks, timeout=_POLL)
            if self._give_up is not None and time.monotonic() > max(self._give_up, began + _PATIENCE):
                break
        for item_id, (holder, _) in list(self._held.items()):
            holder.abandon(item_id)
            self._leave_behind(item_id, holder)

    def _leave_behind(self, item_id: str, holder: Driver | BatchDriver) -> None:
        log.error("a stage of item %r ignores that it was cancelled: it is left behind", item_id, extra={"item": item_id})
        self.forget([item_id], holder)

    async def _move(self, feeder: asyncio.Task[None] | None, breadth: Breadth, *, forever: bool) -> None:
        """The loop: claim while there is room, else wait until something happens."""
        while self._fatal is None:
            self._poke.clear()
            wake = None
            await self._heed()
            # What rests or is added while the store is asked may be due at once, and was not there when the store looked.
            is_quiet = not self._held and (feeder is None or feeder.done())
            breadth.look(time.perf_counter(), time.thread_time())
            room = breadth.room(self._moving)
            # However long the store takes to write what rests, there is an end to what is claimed meanwhile.
            may_claim = room > 0 and len(self._resting) <= breadth.most
            if not self._stopping and may_claim and not self._run_apart():
                wake = await self._claim(room, breadth.most)
            idle = is_quiet and wake is None and not self._may_come(forever=forever)
            if not self._held and (self._stopping or idle):
                return
            if self._give_up is not None and time.monotonic() > self._give_up:
                return
            await self._pause(wake)
            if self._held and breadth.room(self._moving) <= (breadth.between - 1) // 8:
                # Claiming one item at a time would cost a transaction each; a moment later there is room for many.
                await self._pause(None, at_most=0.02)

    @property
    def _moving(self) -> int:
        """How many items move: those that only wait for leave take nobody's place."""
        waiting = sum(holder.waits for holder, _ in self._held.values()) if self._limits.any else 0
        return len(self._held) - waiting - len(self._resting)

    def _make_way(self) -> None:
        self._poke.set()
        self._hungry.set()

    async def _heed(self) -> None:
        """Tell those who drive an item what others decided of it: people wait at most a moment for what they set free."""
        if not self._held or time.monotonic() - self._heeded < _POLL:
            return
        self._heeded = time.monotonic()
        try:
            for item_id, news in (await self._store.revised(self._place.number)).items():
                if item_id in self._held:
                    await self._held[item_id][0].heed(news)
        except StoreError as error:
            if not error.may_pass:
                raise
            # What was not heeded now is news the next time too.
            log.warning("cannot look for decisions now, trying again: %s", error)

    def _may_come(self, *, forever: bool) -> bool:
        """Whether there may be something to claim later, though there is nothing now."""
        return forever or self._mode is Mode.PAUSED or self._place.doubts or bool(self._suspects)

    def _window(self, wanted: int) -> int:
        """How wide what has just been claimed may begin: to stop may have been said while the store was asked."""
        return 0 if self._stopping else wanted

    def _run_apart(self) -> bool:
        """Start suspects whose turn it is; whether there are any, so that nothing else may be claimed."""
        for state, window in self._suspects.next(len(self._held)):
            self.start(state, window, apart=True)
        return bool(self._suspects)

    async def _pause(self, wake: int | None, at_most: float = _POLL) -> None:
        seconds = at_most if wake is None else min(max(wake - now_us(), 0) / 1_000_000, at_most)
        try:
            async with asyncio.timeout(seconds):
                await self._poke.wait()
        except TimeoutError:
            return

    async def _claim(self, room: int, window: int) -> int | None:
        """Claim and start items, of whose fan-outs so many children may run; when the next item wants to be claimed."""
        ahead = self._ahead
        claimed = await self._claimed(room)
        # If there was nothing, others took all that this worker had added by then.
        self._ahead = max(self._ahead - (len(claimed.items) or ahead), 0)
        self._hungry.set()
        window = self._window(window)
        suspects: list[ItemState] = []
        fresh: list[ItemState] = []
        opening = decide.opening(self._surroundings.flow, now_us()) if claimed.items else None
        for state in claimed.items:
            if state.stages and (decide.was_in_flight(state) or decide.suspicion(state)):
                suspects.append(state)
            elif self._first_batch is not None and opening is not None and decide.is_untouched(state):
                fresh.append(state)
            else:
                self.start(state, window, opening=opening)
        if fresh and self._first_batch is not None and opening is not None:
            self._start_batch(fresh, self._first_batch, opening, window)
        if suspects:
            await asyncio.gather(*map(self._recover, suspects))
            self.poke()
        return claimed.wake

    async def _recover(self, state: ItemState) -> None:
        """What a dead worker left running is put back before anything else happens to it; the item waits for its turn."""
        if decide.was_in_flight(state):
            flow = self._surroundings.flow
            decide.count(flow, state)
            change = decide.recover(flow, state, now_us())
            decide.apply(flow, state, change)
            try:
                await self._store.commit(state, change)
            except LeaseLost as error:
                log.warning("%s", error, extra={"item": state.id})
                return
            self._observers.changed(state, change)
            logged.tell(log, state, change)
        self._suspects.put(state)

    async def _claimed(self, room: int, only: str | None = None) -> Claimed:
        """What the store gives; nothing while a fault of it may pass."""
        try:
            claimed = await self._asked(room, only)
        except StoreError as error:
            if not error.may_pass or only is not None:
                raise
            log.warning("cannot claim now, trying again: %s", error)
            return Claimed([], now_us() + _RETRY_US)
        for state in claimed.items:
            if state.lost is not None:
                decide.count(self._surroundings.flow, state)
        if claimed.mode is not self._mode:
            self._mode = claimed.mode
            log.info("this store is %s", claimed.mode.value)
        if claimed.mode is Mode.DRAINING:
            self._stopping = True
            self._hungry.set()
        return claimed

    async def _asked(self, room: int, only: str | None) -> Claimed:
        """A claim; a worker that was taken for dead lets go of everything and comes back as a new one."""
        claiming = asyncio.ensure_future(
            self._store.claim(self._place.number, room, now_us(), is_dead=self._place.is_dead, only=only)
        )
        try:
            return await asyncio.shield(claiming)
        except asyncio.CancelledError:
            # What is claimed by now nobody else can have: it is given back as whatever was told to stop before it began.
            while not claiming.done():
                with suppress(asyncio.CancelledError):
                    await asyncio.wait({claiming})
            with suppress(Exception):
                for state in claiming.result().items:
                    self.start(state, 0)
            raise
        except LeaseLost as error:
            log.error("%s; it lets go of %s items and begins anew", error, len(self._held))  # noqa: TRY400 - it goes on
            for item_id in list(self._held):
                await self.abandon(item_id)
            self._suspects.clear()
            await self._place.join()
            return Claimed([], now_us(), self._mode)

    async def advance(self, item_id: str, window: int) -> None:
        """Move one item as far as it can go, waiting for its due retries; if it moves already, wait for that."""
        while not self._stopping:
            while item_id in self._held:
                parted = asyncio.Event()
                self._parting.setdefault(item_id, []).append(parted)
                await parted.wait()
            claimed = await self._claimed(1, item_id)
            if not claimed.items:
                return
            rest = await self._rested(item_id, self.start(claimed.items[0], self._window(window)))
            if self._fatal is not None:
                raise self._fatal
            if rest is None or rest.wake is None:
                return
            await asyncio.sleep(max(rest.wake - now_us(), 0) / 1_000_000)

    async def _rested(self, item_id: str, driving: asyncio.Task[Rest | None]) -> Rest | None:
        """How the item rests; ``None`` too if it was taken from here. Whoever is cancelled meanwhile stops it."""
        try:
            await asyncio.wait({driving})
        except asyncio.CancelledError:
            if item_id in self._held and self._held[item_id][0].halt():
                driving.cancel()
            await asyncio.wait({driving})
            raise
        return None if driving.cancelled() else driving.result()

    def start(
        self,
        state: ItemState,
        window: int,
        *,
        apart: bool = False,
        opening: Transition | None = None,
        begun: Transition | None = None,
        subject: Subject | None = None,
    ) -> asyncio.Task[Rest | None]:
        """Drive an item that was claimed; one that runs ``apart`` only until nothing of it is under suspicion.

        ``opening`` is how it begins if nothing has happened to it: said once for all that are claimed together. ``begun`` is
        what has begun already of the item that ``subject`` shows to stages.
        """
        driver = Driver(
            self._surroundings,
            self._store,
            state,
            window=window,
            limits=self._limits,
            observe=self._observers.changed,
            leave=self.leave,
            loop=self._loop,
            alone=apart and window == ALONE,
            opening=opening,
            begun=begun,
            subject=subject,
        )
        if apart:
            driver.end_with_suspicion()
        task = self._loop.create_task(self._drive(driver))
        self._hold([state.id], driver, task)
        return task

    def _start_batch(self, states: Sequence[ItemState], stage: StageDefinition, opening: Transition, window: int) -> None:
        """Drive items that nothing has happened to through the batch stage they begin with."""
        driver = BatchDriver(
            self._surroundings, self._store, states, stage, opening, window=window, observers=self._observers, crew=self
        )
        self._hold([state.id for state in states], driver, self._loop.create_task(self._drive_batch(driver)))

    def _hold(self, items: Sequence[str], holder: Driver | BatchDriver, task: asyncio.Task[Any]) -> None:
        self._held.update(dict.fromkeys(items, (holder, task)))
        # They may have come again before whoever moved them last knows that their rest is written.
        self._resting.difference_update(items)

    async def _drive(self, driver: Driver) -> Rest | None:
        try:
            return await driver.run()
        except LeaseLost as error:
            log.warning("%s", error, extra={"item": driver.item_id})
        except Exception as error:  # noqa: BLE001 - kept for ``run``, which raises it when all have ended
            self.fail([driver.item_id], error)
        finally:
            self.forget([driver.item_id], driver)
        return None

    async def _drive_batch(self, driver: BatchDriver) -> None:
        try:
            await driver.run()
        except Exception as error:  # noqa: BLE001 - kept for ``run``, which raises it when all have ended
            self.fail([], error)

    # what drivers ask for

    def leave(self, items: Sequence[str], holder: Driver | BatchDriver) -> None:
        """These will rest with what is being written: in their place others are claimed, and by the same transaction if that can be."""
        self._resting.update(self._held_by(holder, items))
        self._make_way()

    def go_on(self, subject: Subject, window: int, begun: Transition) -> None:
        """Drive an item that has been through its batch, and of which this has begun."""
        self.start(subject.state, window, begun=begun, subject=subject)

    def forget(self, items: Sequence[str], holder: Driver | BatchDriver) -> None:
        """The holder does not move these items any more."""
        gone = self._held_by(holder, items)
        for item_id in gone:
            del self._held[item_id]
        self._resting.difference_update(gone)
        self._suspects.ended(gone)
        if self._parting:
            for parted in [parted for item_id in gone for parted in self._parting.pop(item_id, ())]:
                parted.set()
        self._make_way()

    def _held_by(self, holder: Driver | BatchDriver, items: Sequence[str]) -> list[str]:
        """Those of these items that it moves: in the place of what was left behind, or lost to a later claim, there may be another."""
        held = self._held
        return [item_id for item_id in items if item_id in held and held[item_id][0] is holder]

    def fail(self, items: Sequence[str], error: Exception) -> None:
        """These items cannot go on, so the run ends; without any, those of a batch that are not through it."""
        what, fields = f"{len(items)} items" if items else "a batch", {}
        if len(items) == 1:
            what, fields = f"item {items[0]!r}", {"item": items[0]}
        log.error("%s cannot go on, so the run ends: %s", what, error, extra=fields)
        self._fatal = self._fatal or error
        self.stop()

    async def _feed(self, intake: Intake, breadth: Breadth) -> None:
        """Add items while the store holds less ahead than can be moved at once."""
        ahead, filled = breadth.between, None
        while not intake.source.exhausted and not self._stopping:
            room = breadth.room(self._moving) + ahead - self._ahead
            if room <= ahead // 2:
                filled = filled or time.monotonic()
                self._hungry.clear()
                await self._hungry.wait()
                continue
            if filled is not None:
                soon = time.monotonic() - filled < _SOON
                ahead, filled = min(2 * ahead, max(breadth.between, _AHEAD)) if soon else max(ahead // 2, breadth.between), None
            added = await intake.add(room)
            self._ahead += added
            self.poke()
