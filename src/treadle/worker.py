"""Many items: take them in, claim them, keep so many moving, and stop in good order."""

from __future__ import annotations

import asyncio
import logging
import time

from treadle import decide, logged
from treadle.arrival import new_item
from treadle.attempt import Surroundings
from treadle.clock import now_us
from treadle.driver import Driver, Observer
from treadle.errors import InvalidItem, ItemConflict, LeaseLost, StoreError, TreadleError
from treadle.limits import Limits
from treadle.membership import Membership
from treadle.source import Source
from treadle.state import ItemState, Mode, Rest
from treadle.store import Claimed, NewItem, StateStore
from treadle.suspects import ALONE, Suspects

log: logging.Logger = logging.getLogger("treadle.worker")

_PATIENCE = 2.0
"""Seconds that what was cancelled has to end; a coroutine that ignores it is left behind then."""
_RETRY_US = 500_000
"""Microseconds after which a store that could not be written is asked again."""
IN_LINE = 1_000
"""Items that may wait for one stage in memory: enough that no line runs dry while those beyond come back from the store."""
_POLL = 0.5
"""Seconds after which a worker looks for what other processes did: decisions, retries, new items."""


class Intake:
    """Adds items from a source to the store; what cannot be added is kept as a problem and stops nothing."""

    def __init__(self, store: StateStore, surroundings: Surroundings, source: Source) -> None:
        self._store = store
        self._flow = surroundings.flow
        self.source = source
        self.problems: list[TreadleError] = []

    async def add(self, limit: int) -> int:
        """Read and add up to ``limit`` items; how many were read."""
        items = await self.source.take(limit)
        fresh: dict[str, NewItem] = {}
        for item in items:
            try:
                new = new_item(self._flow, item)
            except InvalidItem as error:
                self._refuse(error)
                continue
            if fresh.setdefault(new.id, new) != new:
                self._refuse(ItemConflict(new.id))
        if fresh:
            for identity in await self._added(list(fresh.values())):
                self._refuse(ItemConflict(identity))
        return len(items)

    async def _added(self, items: list[NewItem]) -> list[str]:
        """What was read is not lost to a disk that is full for a while."""
        while True:
            try:
                return await self._store.add(items, decide.arrive(self._flow, now_us()))
            except StoreError as error:
                if not error.may_pass:
                    raise
                log.warning("cannot add items now, trying again: %s", error)
                await asyncio.sleep(_RETRY_US / 1_000_000)

    def _refuse(self, error: TreadleError) -> None:
        log.warning("item not taken: %s", error)
        self.problems.append(error)


class Worker:
    """Claims items and keeps up to ``concurrency`` of them moving."""

    def __init__(
        self,
        surroundings: Surroundings,
        store: StateStore,
        place: Membership,
        *,
        limits: Limits,
        observe: Observer,
    ) -> None:
        self._surroundings = surroundings
        self._store = store
        self._place = place
        self._mode = Mode.RUNNING
        self._loop = asyncio.get_running_loop()  # a system call before Python 3.12, so not asked for every item
        self._limits = limits
        self._observe = observe
        self._drivers: dict[str, tuple[Driver, asyncio.Task[Rest | None]]] = {}
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
        if now and self._give_up is None:
            self._give_up = time.monotonic() + _PATIENCE
        for driver, task in self._drivers.values():
            if now:
                task.cancel()
            else:
                driver.drain()
        self.poke()
        self._hungry.set()

    async def abandon(self, item_id: str) -> None:
        """Stop what runs for an item that was taken from this worker."""
        if item_id in self._drivers:
            driver, task = self._drivers[item_id]
            driver.abandon()
            task.cancel()
            await asyncio.wait({task}, timeout=_PATIENCE)
            if not task.done():
                self._leave_behind(driver)

    async def run(self, intake: Intake | None, concurrency: int, *, forever: bool = False) -> None:
        """Return when nothing can move any more, or when stopped and everything has been given back.

        ``forever`` only the latter: there may always be more to come.
        """
        self._limits.make_room(max(concurrency, IN_LINE))
        self._limits.on_wait = self._make_way
        feeder = asyncio.create_task(self._feed(intake, concurrency)) if intake is not None else None
        if feeder is not None:
            feeder.add_done_callback(lambda _: self.poke())
        try:
            await self._move(feeder, concurrency, forever=forever)
        except asyncio.CancelledError:
            self.stop(now=True)
            raise
        finally:
            if feeder is not None:
                feeder.cancel()
                await asyncio.wait({feeder})
            await self._part()
        if feeder is not None and not feeder.cancelled() and (error := feeder.exception()) is not None:
            raise error
        if self._fatal is not None:
            raise self._fatal

    async def _part(self) -> None:
        """What still runs has ended, or has been left behind; what it says later is not written."""
        tasks = {task for _, task in self._drivers.values()}
        if tasks:
            await asyncio.wait(tasks, timeout=None if self._give_up is None else _PATIENCE)
        for driver, _ in list(self._drivers.values()):
            driver.abandon()
            self._leave_behind(driver)

    def _leave_behind(self, driver: Driver) -> None:
        identity = driver.item_id
        log.error("a stage of item %r ignores that it was cancelled: it is left behind", identity, extra={"item": identity})
        self._forget(driver)

    def _forget(self, driver: Driver) -> None:
        if driver.item_id in self._drivers and self._drivers[driver.item_id][0] is driver:
            del self._drivers[driver.item_id]
            self._suspects.ended(driver.item_id)
        self._make_way()

    async def _move(self, feeder: asyncio.Task[None] | None, concurrency: int, *, forever: bool) -> None:
        """The loop: claim while there is room, else wait until something happens."""
        while self._fatal is None:
            self._poke.clear()
            wake = None
            await self._heed()
            room = concurrency - self._moving
            if not self._stopping and room > 0 and not self._run_apart():
                wake = await self._claim(room, concurrency)
            idle = (feeder is None or feeder.done()) and wake is None and not self._may_come(forever=forever)
            if not self._drivers and (self._stopping or idle):
                return
            if self._give_up is not None and time.monotonic() > self._give_up:
                return
            await self._pause(wake)
            if self._drivers and self._moving > concurrency * 7 // 8:
                # Claiming one item at a time would cost a transaction each; a moment later there is room for many.
                await self._pause(None, at_most=0.02)

    @property
    def _moving(self) -> int:
        """How many items move: those that only wait for leave take nobody's place."""
        waiting = sum(driver.waits for driver, _ in self._drivers.values()) if self._limits.any else 0
        return len(self._drivers) - waiting

    def _make_way(self) -> None:
        self._poke.set()
        self._hungry.set()

    async def _heed(self) -> None:
        """Tell those who drive an item what others decided of it: people wait at most a moment for what they set free."""
        if not self._drivers or time.monotonic() - self._heeded < _POLL:
            return
        self._heeded = time.monotonic()
        for item_id, news in (await self._store.revised(self._place.number)).items():
            if item_id in self._drivers and self._drivers[item_id][0].news < news:
                await self._drivers[item_id][0].heed()

    def _may_come(self, *, forever: bool) -> bool:
        """Whether there may be something to claim later, though there is nothing now."""
        return forever or self._mode is Mode.PAUSED or self._place.doubts or bool(self._suspects)

    def _run_apart(self) -> bool:
        """Start suspects whose turn it is; whether there are any, so that nothing else may be claimed."""
        for state, window in self._suspects.next(len(self._drivers)):
            self.start(state, window, apart=True)
        return bool(self._suspects)

    async def _pause(self, wake: int | None, at_most: float = _POLL) -> None:
        seconds = at_most if wake is None else min(max(wake - now_us(), 0) / 1_000_000, at_most)
        try:
            async with asyncio.timeout(seconds):
                await self._poke.wait()
        except TimeoutError:
            return

    async def _claim(self, room: int, concurrency: int) -> int | None:
        """Claim and start items; when the next one wants to be claimed."""
        claimed = await self._claimed(room)
        self._ahead = max(self._ahead - len(claimed.items), 0)
        if not claimed.items:
            # Others took what this worker added: nothing of it is ahead any more.
            self._ahead = 0
        self._hungry.set()
        suspects = []
        for state in claimed.items:
            if state.stages and (decide.was_in_flight(state) or decide.suspicion(state)):
                suspects.append(state)
            else:
                self.start(state, concurrency)
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
            self._observe(state, change)
            logged.tell(log, state, change)
        self._suspects.put(state)

    async def _claimed(self, room: int, only: str | None = None) -> Claimed:
        """What the store gives; a worker that was taken for dead lets go of everything and comes back as a new one."""
        try:
            claimed = await self._store.claim(self._place.number, room, now_us(), is_dead=self._place.is_dead, only=only)
        except LeaseLost as error:
            log.error("%s; it lets go of %s items and begins anew", error, len(self._drivers))  # noqa: TRY400 - it goes on
            for item_id in list(self._drivers):
                await self.abandon(item_id)
            self._suspects.clear()
            await self._place.join()
            return Claimed([], now_us())
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

    async def advance(self, item_id: str, window: int) -> None:
        """Move one item as far as it can go, waiting for its due retries; if it moves already, wait for that."""
        while not self._stopping:
            if item_id in self._drivers:
                await asyncio.wait({self._drivers[item_id][1]})
            claimed = await self._claimed(1, item_id)
            if not claimed.items:
                return
            rest = await self.start(claimed.items[0], window)
            if self._fatal is not None:
                raise self._fatal
            if rest is None or rest.wake is None:
                return
            await asyncio.sleep(max(rest.wake - now_us(), 0) / 1_000_000)

    def start(self, state: ItemState, window: int, *, apart: bool = False) -> asyncio.Task[Rest | None]:
        """Drive an item that was claimed; one that runs ``apart`` only until nothing of it is under suspicion."""
        driver = Driver(
            self._surroundings,
            self._store,
            state,
            window=window,
            limits=self._limits,
            observe=self._observe,
            loop=self._loop,
            alone=apart and window == ALONE,
        )
        if apart:
            driver.end_with_suspicion()
        task = self._loop.create_task(self._drive(driver))
        self._drivers[state.id] = (driver, task)
        return task

    async def _drive(self, driver: Driver) -> Rest | None:
        try:
            return await driver.run()
        except LeaseLost as error:
            log.warning("%s", error, extra={"item": driver.item_id})
        except Exception as error:  # noqa: BLE001 - kept for ``run``, which raises it when all have ended
            log.error("item %r cannot go on, so the run ends: %s", driver.item_id, error, extra={"item": driver.item_id})  # noqa: TRY400 - ``run`` raises it
            self._fatal = self._fatal or error
            self.stop()
        finally:
            self._forget(driver)
        return None

    async def _feed(self, intake: Intake | None, concurrency: int) -> None:
        """Add items while the store holds less ahead than can be moved at once."""
        assert intake is not None  # noqa: S101 - the caller looked
        while not intake.source.exhausted and not self._stopping:
            room = 2 * concurrency - self._moving - self._ahead
            if room <= concurrency // 2:
                self._hungry.clear()
                await self._hungry.wait()
                continue
            added = await intake.add(room)
            self._ahead += added
            self.poke()
