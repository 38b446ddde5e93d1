"""What is changed in a process before it begins: sabotage that the lab must see, and strange surroundings.

Each patches the product from outside, in the child alone; the product has no options for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Sequence
from typing import Any

from treadle import attempt, engine, executor, membership, presence, suspects
from treadle.errors import ReviewConflict, StoreCorrupt
from treadle.event import EventKind
from treadle.observers import Observers
from treadle.state import ItemState, Transition
from treadle.stores import forks, sqlite, sqlite_migrating, sqlite_put, sqlite_schema, sqlite_writer
from treadle.stores.shared import workflow_event

# strange surroundings


def elsewhere(host: str) -> None:
    """The process runs on another machine, as far as others can tell."""
    real = presence.identity
    for module in (presence, membership):
        module.identity = lambda name=None: real(name)._replace(host=host)
    presence.socket.gethostname = lambda: host


def clock_ahead(seconds: float) -> None:
    """The clock of the day is wrong by so much."""
    real, real_ns = time.time, time.time_ns
    time.time = lambda: real() + seconds
    time.time_ns = lambda: real_ns() + int(seconds * 1_000_000_000)


def clock_jumps(seconds: float) -> None:
    """The clock of the day jumps by so much, back and forth, ten times a second."""
    real, real_ns, steady = time.time, time.time_ns, time.monotonic

    def ahead() -> float:
        return seconds * (int(steady() * 10) % 2)

    time.time = lambda: real() + ahead()
    time.time_ns = lambda: real_ns() + int(ahead() * 1_000_000_000)


def stop_in_commit(number: int) -> None:
    """The process is stopped in its transaction of that number, when all is written and not committed."""
    real, left = sqlite_writer.Writer._commit, [number]

    def stopping(self: Any, *given: Any, **named: Any) -> Any:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGSTOP)
        return real(self, *given, **named)

    sqlite_writer.Writer._commit = stopping  # type: ignore[method-assign]


def kill_at_statement(number: int) -> None:
    """The process is killed before the statement of that number that opening a store executes."""
    real, left = sqlite_schema.connect, [number]

    def count(_: str) -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def traced(*given: Any, **named: Any) -> Any:
        con = real(*given, **named)
        con.set_trace_callback(count)
        return con

    sqlite_schema.connect = traced


def small_log() -> None:
    """The log is moved into the file often."""
    sqlite_writer._WAL_LIMIT, sqlite_writer._ROWS_A_CHECKPOINT = 50_000, 50


# sabotage


def errors_as_they_are() -> None:
    """SQLite's errors are not told as ours."""
    for module in (sqlite, sqlite_schema):
        module.mapping_errors = lambda path: contextlib.nullcontext()  # type: ignore[attr-defined]


def damage_is_passed_over() -> None:
    """Rows that cannot be read are left out."""
    real = sqlite.SqliteStateStore.page

    async def readable(self: Any, *given: Any) -> Any:
        try:
            return [item for item in await real(self, *given) if item.problem is None]
        except StoreCorrupt:
            return []

    sqlite.SqliteStateStore.page = readable  # type: ignore[method-assign]


def sync_less() -> None:
    """Commits are not synced one by one."""
    real = sqlite_schema.prepare

    def prepare(con: Any) -> None:
        real(con)
        con.execute("PRAGMA synchronous=NORMAL")

    sqlite_schema.prepare = prepare


def migrate_in_pieces() -> None:
    """Each statement of an upgrade is a transaction of its own."""
    sqlite_schema.migrate = lambda con, path: sqlite_migrating._step(con, sqlite_migrating.stored_version(con, path))


def deaths_by_the_clock() -> None:
    """Who is dead is told by the clock of the day."""

    def is_dead(self: Any, worker: Any) -> bool:
        return bool(abs(time.time_ns() // 1000 - worker.beat) > self._lease * 1_000_000)

    presence.DeathWatch.is_dead = is_dead  # type: ignore[method-assign]


def no_deaths() -> None:
    """Nobody is ever found dead."""
    presence.DeathWatch.is_dead = lambda *_: False  # type: ignore[method-assign]


def heart_on_the_loop() -> None:
    """The heart beats where the stages run."""

    def begin(self: Any, store: Any, worker: int, every: float, _heard: Any) -> None:
        async def beat() -> None:
            while True:
                await asyncio.sleep(every)
                store.beat(worker)

        self._task = asyncio.get_running_loop().create_task(beat())

    membership.Heartbeat.__init__ = begin  # type: ignore[method-assign, assignment]
    membership.Heartbeat.stop = lambda self: None  # type: ignore[method-assign]


def acknowledge_before_commit() -> None:
    """A change is called durable when it has only been handed over."""
    real = sqlite_writer.Writer.change

    def early(self: sqlite_writer.Writer, change: Any) -> asyncio.Future[Any]:
        real(self, change)
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    sqlite_writer.Writer.change = early  # type: ignore[method-assign]


def tell_later() -> None:
    """Events are written in the transaction after the one of what they tell."""
    real = sqlite.SqliteStateStore._write_changes
    held: list[tuple[ItemState, Transition]] = []

    def apart(self: Any, con: Any, changes: Sequence[tuple[ItemState, Transition]]) -> list[Exception | None]:
        before, now = held[:], []
        held.clear()
        for state, change in changes:
            starts = [event for event in change.events if event.kind is EventKind.STAGE_STARTED]
            held.append((state, Transition(change.at, events=[event for event in change.events if event not in starts])))
            now.append((state, change._replace(events=starts)))
        sqlite_put.write_rows(con, self._names, self._starts, before)
        return real(self, con, now)

    sqlite.SqliteStateStore._write_changes = apart  # type: ignore[method-assign]


def decide_in_pieces() -> None:
    """What a person does is written in one transaction, and the events that tell of it in another."""
    real = sqlite.SqliteStateStore.revise

    async def revise(self: Any, item_id: str, change: Any, *, create: bool = False) -> None:
        made: list[Transition] = []

        def silent(state: ItemState) -> Transition:
            made.append(change(state))
            return made[0]._replace(events=[])

        await real(self, item_id, silent, create=create)
        await asyncio.sleep(0.05)
        await real(self, item_id, lambda _: Transition(made[0].at, events=made[0].events))

    sqlite.SqliteStateStore.revise = revise  # type: ignore[method-assign]


def decide_later() -> None:
    """What a person does is called stored, and written a moment later."""
    real = sqlite.SqliteStateStore.revise
    tasks: set[asyncio.Task[None]] = set()

    async def revise(self: Any, *given: Any, **named: Any) -> None:
        async def later() -> None:
            await asyncio.sleep(0.1)
            with contextlib.suppress(ReviewConflict):
                await real(self, *given, **named)

        tasks.add(asyncio.create_task(later()))

    sqlite.SqliteStateStore.revise = revise  # type: ignore[method-assign]


def subscribers_have_queues(size: int) -> None:
    """Each subscriber has a queue in memory (0: without a bound) in place of the journal; what finds no room is dropped."""

    async def events(self: engine.Engine, after: int = 0, *, follow: bool = False, item_id: Any = None) -> Any:
        waiting: asyncio.Queue[Any] = asyncio.Queue(size)

        def put(state: ItemState, change: Transition) -> None:
            for row in change.events:
                with contextlib.suppress(asyncio.QueueFull):
                    waiting.put_nowait(workflow_event(1, change.at, state.id, row))

        self.observe(put)
        while follow:
            yield await waiting.get()

    engine.Engine.events = events  # type: ignore[method-assign]


def subscribers_are_waited_for(seconds: float) -> None:
    """From the moment somebody follows, each change takes so much longer."""
    changed, events, followed = Observers.changed, engine.Engine.events, list[Observers]()

    def follow(self: engine.Engine, *given: Any, **named: Any) -> Any:
        followed.append(self._observers)
        return events(self, *given, **named)

    def wait(self: Observers, state: ItemState, change: Transition) -> None:
        changed(self, state, change)
        if self in followed:
            time.sleep(seconds)

    engine.Engine.events = follow  # type: ignore[method-assign]
    Observers.changed = wait  # type: ignore[method-assign]


def no_fence() -> None:
    """A commit is written whoever holds the item."""
    real = sqlite.SqliteStateStore._write_changes

    def forged(self: Any, con: Any, changes: Sequence[tuple[ItemState, Transition]]) -> list[Exception | None]:
        for state, _ in changes:
            con.execute("UPDATE items SET worker = coalesce(worker, 0) WHERE id = ?", (state.key,))
            state.fence = con.execute("SELECT fence FROM items WHERE id = ?", (state.key,)).fetchone()[0]
        return real(self, con, changes)

    sqlite.SqliteStateStore._write_changes = forged  # type: ignore[method-assign]


def wait_on_the_loop() -> None:
    """A lock is waited for where the stages run."""
    sqlite_writer.Writer._at_once = sqlite_writer.Writer._in_thread  # type: ignore[method-assign]
    sqlite_writer.Writer._slow = property(lambda _: False, lambda *_: None)  # type: ignore[assignment]


def cancelled_and_waited_for() -> None:
    """When its time is over, an attempt is cancelled, and waited for however long it takes."""

    async def within_time(self: Any, whole: Any) -> Any:
        limit = self._stage.timeout
        try:
            return await asyncio.wait_for(whole, limit)
        except TimeoutError:
            raise TimeoutError(f"timed out after {limit:g} s") from None

    attempt.Call._within_time = within_time  # type: ignore[method-assign]


def time_from_the_line() -> None:
    """An attempt's time begins when it comes into the line for a worker process."""
    real = executor.Processes.run

    def run(self: Any, job: Any, on_progress: Any, within: Any) -> Any:
        async def at_once(answer: Any) -> Any:
            return await answer

        return within(real(self, job, on_progress, at_once))

    executor.Processes.run = run  # type: ignore[method-assign]


def forks_go_unseen() -> None:
    """A child of a fork takes what came with it for its own."""

    def forget() -> None:
        forks.count, forks._inherited = forks.count - 1, frozenset()

    os.register_at_fork(after_in_child=forget)


def together() -> None:
    """What was in flight at a death runs together, however often it was."""
    suspects.FEW = 10**6
    suspects._level = lambda state: 1
