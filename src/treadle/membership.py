"""An engine's place among the workers of a store."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable

from treadle.errors import StoreError, TreadleError
from treadle.presence import DeathWatch, identity
from treadle.store import StateStore, WorkerRow

log: logging.Logger = logging.getLogger("treadle.membership")


class Heartbeat:
    """Tells the store from a thread of its own that this worker lives, so that a busy event loop is not taken for a death."""

    def __init__(self, store: StateStore, worker: int, every: float, heard: Callable[[], None]) -> None:
        self._heard = heard
        self._store = store
        self._worker = worker
        self._every = every
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="treadle-heartbeat", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(self._every):
            try:
                if not self._store.beat(self._worker):
                    log.error("worker %s was taken for dead; others may have its items", self._worker)
                    return
                self._heard()
            except TreadleError as error:
                log.warning("heartbeat of worker %s failed, trying again: %s", self._worker, error)

    def stop(self) -> None:
        """Return when the thread has ended."""
        self._stop.set()
        self._thread.join()


class Membership:
    """Who this engine is to the store, kept alive by a heartbeat; and who of the others is dead.

    Args:
        lease: seconds of silence after which a worker is dead to the others.
        name: for people; host and pid without one.
    """

    def __init__(self, store: StateStore, lease: float, name: str | None = None) -> None:
        self._store = store
        self._lease = lease
        self._name = name
        self._watch = DeathWatch(lease)
        self._heartbeat: Heartbeat | None = None
        self.number: int = 0
        """What the store calls this worker; another one after every ``join``."""

    async def join(self) -> None:
        """This engine may claim, under a new number if it had one."""
        await self._silence()
        self.number = await self._store.enlist(await asyncio.to_thread(identity, self._name))
        self._watch.heard()
        self._heartbeat = Heartbeat(self._store, self.number, self._lease / 3, self._watch.heard)

    async def leave(self) -> None:
        """Its heart beats no more, and what it still held is free."""
        await self._silence()
        try:
            await self._store.retire(self.number)
        except StoreError as error:
            # Others see that it is gone and take over what it held.
            log.warning("worker %s could not be signed off: %s", self.number, error)

    async def _silence(self) -> None:
        if self._heartbeat is not None:
            await asyncio.to_thread(self._heartbeat.stop)
            self._heartbeat = None

    def is_dead(self, worker: WorkerRow) -> bool:
        """Whether that other worker is dead."""
        return self._watch.is_dead(worker)

    @property
    def doubts(self) -> bool:
        """Whether items may come free when somebody who looks dead turns out to be."""
        return self._watch.doubts
