"""Group commit: whatever waits when a transaction ends is the next one."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import accumulate, chain, islice
from pathlib import Path
from typing import Any, NamedTuple

from treadle.errors import StoreError, StoreFull, StoreUnavailable
from treadle.state import Alike, Change
from treadle.stores.sqlite_locks import lock_holder
from treadle.stores.sqlite_proof import Marks, Query, read_back, trace_of
from treadle.stores.sqlite_schema import is_held, mapped, waiting
from treadle.stores.sqlite_starts import PATIENCE, Start, Starts

log: logging.Logger = logging.getLogger("treadle.store")

_MAX_BATCH = 2_000
"""Changes and acts a transaction."""
_WAKES = 500
"""How many changes that waited for a transaction go on before the event loop gets to something else; all at once would hold it up for longer
than the transaction itself (``make bench``, lag), and smaller transactions would write the same pages again and again."""
_SLOW = 0.02
"""Seconds: where transactions take longer than this, they leave the event loop for a thread."""
_LOCK_WAIT_MS = 60_000
_WAL_LIMIT = 32 * 1024 * 1024
_ROWS_A_CHECKPOINT = 100_000
_TRANSACTIONS_A_CHECKPOINT = 500
"""After so much the length of the log is looked at. A transaction of a few rows takes about 50 kB of it: the pages that they are in."""

_RETRY_AFTER = 0.25
"""Seconds until changes that a full or failing disk refused are tried again."""


class _Later(NamedTuple):
    """In place of a result: changes that may work later, when the disk has room or the lock is free."""

    results: list[Any]
    """Of several changes, those of the first of them, which are through."""
    rest: Sequence[Change]


_AGAIN = _Later([], ())
"""All of them."""


class _Unsettled(Exception):
    """A COMMIT failed; with the results it would have had, the query that tells, and the error."""


Act = Callable[[sqlite3.Connection], Any]
WriteChanges = Callable[[sqlite3.Connection, Sequence[Change]], list[Exception | None]]
WriteStarts = Callable[[sqlite3.Connection, Sequence[Start]], None]
_Entry = tuple[Act | None, Sequence[Change], "asyncio.Future[Any]"]
"""An act, or changes: of several, an error or ``None`` for each is the result."""


class Writer:
    """The one connection that writes.

    A transaction runs on the event loop itself while that is quick: a writer thread beside a busy loop gets
    the interpreter lock only every few milliseconds, and starves (the benchmark's ceiling shows both). When
    the disk is slow or another process has the lock, transactions go to a thread until it is quick again.
    """

    def __init__(
        self, con: sqlite3.Connection, path: str, starts: Starts, write_changes: WriteChanges, write_starts: WriteStarts
    ) -> None:
        self._con = con
        self._path = path
        self._starts = starts
        self._undo = starts.undo
        self._write_changes = write_changes
        self._write_starts = write_starts
        self._queue: list[_Entry] = []
        self._scheduled = False
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop
        self._crowd = 0
        """Changes in the queue that were handed over together; 0 tells that an entry is one change."""
        self._broken: dict[int, int] = {}
        """The claims, fences by the numbers of their items, of which a change could not be stored."""
        self._slow = False
        self._full = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="treadle-writer")
        self._lock = threading.Lock()
        self._checkpointed = 0
        """How many rows had been changed when the log was looked at last."""
        self._transactions = 0
        """How many there have been since."""
        self._marks = Marks()
        self._waiting = False
        self._closing = False
        self._patience: int | None = None

    def act(self, act: Act) -> asyncio.Future[Any]:
        """What ``act`` returns, when the transaction that it ran in is durable."""
        return self._put(act, ())

    def change(self, change: Change) -> asyncio.Future[Any]:
        """Done when the change is durable."""
        return self._put(None, (change,))

    def changes(self, changes: Sequence[Change]) -> asyncio.Future[Any]:
        """An error or ``None`` for each of several changes, when they are durable."""
        self._crowd += len(changes)
        return self._put(None, changes)

    def _put(self, act: Act | None, changes: Sequence[Change]) -> asyncio.Future[Any]:
        if not self._scheduled:
            self._scheduled = True
            self._loop = asyncio.get_running_loop()  # a system call before Python 3.12: once a batch is enough
            self._loop.call_soon(self._flush_soon, self._loop)
        future: asyncio.Future[Any] = asyncio.Future(loop=self._loop)
        self._queue.append((act, changes, future))
        return future

    def _flush_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        """A turn of the loop later: what is woken by what was handed over may have something for the same transaction."""
        loop.call_soon(self._flush, loop)

    def _flush(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._closing or not self._queue:
            return  # Closing writes what this was called for.
        batch, self._queue = self._next_batch()
        rest: Callable[[], Sequence[Any]] = partial(self._in_thread, batch)
        if not self._slow:
            try:
                results = self._at_once(batch)
            except _Unsettled as unsettled:
                rest = partial(self._read_back, batch, *unsettled.args)
            else:
                if results is not None:
                    self._settle(batch, results, loop)
                    return
        pending = loop.run_in_executor(self._thread, rest)
        pending.add_done_callback(lambda done: self._settle(batch, done.result(), loop))

    def _next_batch(self) -> tuple[list[_Entry], list[_Entry]]:
        """What the next transaction takes, and what it leaves for the one after it."""
        queue, end = self._queue, _MAX_BATCH
        if self._crowd:
            sizes = accumulate(len(changes) or 1 for _, changes, _ in queue)
            end = next((place for place, size in enumerate(sizes, 1) if size >= _MAX_BATCH), len(queue))
            self._crowd = sum(len(changes) for _, changes, _ in queue[end:])
        return queue[:end], queue[end:]

    def _at_once(self, batch: Sequence[_Entry]) -> Sequence[Any] | None:
        self._be_patient(0)
        return self._transact(batch, on_loop=True)

    def _be_patient(self, milliseconds: int) -> None:
        """Wait so long for another process that has the lock."""
        if milliseconds != self._patience:
            self._patience = milliseconds
            self._con.execute(f"PRAGMA busy_timeout={milliseconds}")

    def _settle(self, batch: Sequence[_Entry], results: Sequence[Any], loop: asyncio.AbstractEventLoop) -> None:
        self._wake(batch, results, 0, [], loop)

    def _wake(
        self, batch: Sequence[_Entry], results: Sequence[Any], begin: int, again: list[_Entry], loop: asyncio.AbstractEventLoop
    ) -> None:
        """Tell those from ``begin`` on what became of their writes, some now and the others a moment later."""
        end, woken = begin, 0
        for entry, result in zip(batch[begin : begin + _WAKES], results[begin : begin + _WAKES], strict=True):
            future = entry[2]
            end += 1
            if result is None:
                if not future.done():
                    future.set_result(None)
            elif isinstance(result, _Later) and not self._closing:
                # Even if nobody waits for it any more: later changes build on it.
                again.append(entry if result is _AGAIN else (None, result.rest, _joined(result, future, loop)))
            elif future.done():
                continue
            elif isinstance(result, _Later):
                future.set_exception(self._closed_before())
            elif isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
                woken += len(entry[1])
                if woken >= _WAKES:
                    break
        if end < len(batch):
            loop.call_soon(self._wake, batch, results, end, again, loop)
        else:
            self._next(again, loop)

    def _closed_before(self) -> StoreUnavailable:
        return StoreUnavailable(f"store {self._path} was closed before it could be written again")

    def _look_at_starts(self) -> None:
        self._timer = None
        done = self.act(lambda con: self._write_starts(con, self._starts.patient()))
        # What could not be written now waits on: it is looked at again.
        done.add_done_callback(lambda done: done.cancelled() or done.exception())

    def _next(self, again: list[_Entry], loop: asyncio.AbstractEventLoop) -> None:
        """Write what waits, if anything does; what has to be tried again after a while and before all others."""
        if self._closing:
            for _, _, future in again:
                if not future.done():
                    future.set_exception(self._closed_before())
            return
        if self._starts and self._timer is None:
            self._timer = loop.call_later(PATIENCE, self._look_at_starts)
        if bool(again) is not self._waiting:
            self._waiting = bool(again)
            log.warning(
                "store %s: %s", self._path, "changes wait until it can be written" if again else "it can be written again"
            )
        if again:
            # Before all others, so that what was handed over first becomes durable first.
            self._queue[:0] = again
            self._slow = True
            loop.call_later(_RETRY_AFTER, self._flush, loop)
        elif self._queue:
            loop.call_soon(self._flush, loop)
        else:
            self._scheduled = False

    def _in_thread(self, batch: Sequence[_Entry]) -> Sequence[Any]:
        self._be_patient(_LOCK_WAIT_MS)
        if self._full:
            # A log that has been moved into the file begins anew, in the room that it has.
            self._full = False
            with self._lock:
                self._truncate_log()
        results = self._transact(batch)
        if results is None:
            return self._refused(batch, self._locked())
        self._checkpoint()
        return results

    def _locked(self) -> StoreUnavailable:
        holder = lock_holder(self._path)
        who = "another process" if holder is None else f"process {holder.pid}{', which is stopped,' if holder.is_stopped else ''}"
        error = StoreUnavailable(f"store {self._path}: {who} held the lock for {_LOCK_WAIT_MS // 1000} s")
        error.may_pass = True
        return error

    def _refused(self, batch: Sequence[_Entry], error: StoreError) -> list[Any]:
        """People are told at once; a worker's changes wait for better times, since what they tell of has been done."""
        self._full = self._full or isinstance(error, StoreFull)
        self._slow = self._slow or self._full
        waits = error.may_pass and not self._closing
        if not waits:
            self._break(batch)
        return [_AGAIN if waits and changes else error for _, changes, _ in batch]

    def _break(self, batch: Sequence[_Entry]) -> None:
        """What the same claims hand over from now on builds on what was not stored: it is refused too."""
        self._broken.update((state.key, state.fence) for _, changes, _ in batch for state, _ in changes)

    def _roll_back(self) -> None:
        self._undo.undo()
        if self._con.in_transaction:
            self._con.execute("ROLLBACK")

    def _transact(self, batch: Sequence[_Entry], *, on_loop: bool = False) -> Sequence[Any] | None:
        """A result or an exception for each entry; ``None`` if another process has the lock, or a thread must see to it.

        Raises:
            _Unsettled: nobody knows what became of it, and ``on_loop`` is no place to find out.
        """
        began = time.perf_counter()
        con = self._con
        self._transactions += 1
        results: list[Any] | None
        with self._lock:
            try:
                waiting(lambda: con.execute("BEGIN IMMEDIATE"), 0 if on_loop else _LOCK_WAIT_MS / 1000)
            except sqlite3.Error as error:
                if is_held(error):
                    self._slow = True
                    return None
                return self._refused(batch, mapped(error, self._path))
            try:
                before = con.total_changes
                results = self._run(batch)
                proof = self._proof(batch, results) if con.total_changes != before else None
            except sqlite3.OperationalError as error:
                # The disk or the lock: it is the same for everybody in the batch.
                self._roll_back()
                return self._refused(batch, mapped(error, self._path))
            except Exception as error:  # noqa: BLE001 - told to whoever waits for the write
                self._roll_back()
                results = None
                if len(batch) == 1 and len(batch[0][1]) <= 1:
                    self._break(batch)
                    results = [_told(error, self._path)]
            except BaseException:
                self._roll_back()
                raise
            else:
                results = self._commit(batch, results, proof, on_loop=on_loop)
        if results is None:
            # Something in it cannot be stored. That each is tried alone may take a while: a thread has it.
            return None if on_loop else self._one_by_one(batch)
        self._slow = time.perf_counter() - began > _SLOW or self._wal_is_long()
        return results

    def _one_by_one(self, batch: Sequence[_Entry]) -> list[Any]:
        """A transaction each, so that every one speaks for itself. From the first that has to wait on, all changes wait."""
        results: list[Any] = []
        waits = False
        for act, changes, future in batch:
            told: list[Any] = []
            alone: list[_Entry] = [(act, (change,), future) for change in changes]
            for one in alone or [(act, changes, future)]:
                told += [_AGAIN] if waits else self._transact([one]) or self._refused([one], self._locked())
                waits = waits or told[-1] is _AGAIN
            if len(changes) > 1:
                done = told.index(_AGAIN) if _AGAIN in told else len(told)
                results.append(told if done == len(told) else _Later(told[:done], changes[done:]))
            elif told[0] is _AGAIN and not changes:
                results.append(StoreUnavailable(f"store {self._path}: it cannot be written now"))
            else:
                results.append(told[0])
        return results

    def _proof(self, batch: Sequence[_Entry], results: Sequence[Any]) -> Query | None:
        """What will tell that this transaction took place, should its COMMIT fail."""
        # Of changes that are alike, the first speaks for all.
        written = (
            change
            for (_, changes, _), result in zip(batch, results, strict=True)
            for change, refused in zip(
                islice(changes, 1) if type(changes) is Alike else changes, result if len(changes) > 1 else (result,), strict=False
            )
            if refused is None
        )
        return trace_of(written) or self._marks.leave(self._con)

    def _commit(self, batch: Sequence[_Entry], results: list[Any], proof: Query | None, *, on_loop: bool) -> list[Any]:
        """The results, once the transaction took place; else why not."""
        try:
            self._con.execute("COMMIT")
        except sqlite3.Error as error:
            told = mapped(error, self._path)
            if proof is None or self._path == ":memory:":
                self._roll_back()
                return self._refused(batch, told)
            if on_loop:
                raise _Unsettled(results, proof, told) from error
            return self._read_back(batch, results, proof, told)
        self._undo.keep()
        return results

    def _read_back(self, batch: Sequence[_Entry], results: list[Any], proof: Query, told: StoreError) -> list[Any]:
        """A failed COMMIT is no verdict: what the file says is. It is asked for as long as a lock would be waited for."""
        until = time.monotonic() + _LOCK_WAIT_MS / 1000
        while True:
            try:
                self._con, took_place = read_back(self._con, self._path, proof)
                self._patience = None
            except sqlite3.Error as error:
                log.warning("store %s: cannot be read back yet: %s", self._path, error)
                if time.monotonic() > until:
                    lost = StoreUnavailable(f"{told}; it cannot be told whether that was written: open the store anew and look")
                    self._undo.undo()
                    self._break(batch)
                    return [lost] * len(batch)
                time.sleep(_RETRY_AFTER)
            else:
                self._checkpointed = 0
                log.warning("%s; read back, the transaction took %s", told, "place" if took_place else "no place")
                self._undo.keep() if took_place else self._undo.undo()
                return results if took_place else self._refused(batch, told)

    def _run(self, batch: Sequence[_Entry]) -> list[Any]:
        results: list[Any] = []
        together: list[Sequence[Change]] = []
        for act, changes, _ in batch:
            if changes and type(changes) is not Alike:
                together.append(changes)
                continue
            results += self._together(together)
            together = []
            results.append(self._written(changes) if changes else self._alone(act))
        return results + self._together(together)

    def _together(self, many: Sequence[Sequence[Change]]) -> list[Any]:
        if not many:
            return []
        together = list(chain.from_iterable(many))
        told = self._written(together)
        if len(together) == len(many):
            return told
        refused = iter(told)
        return [next(refused) if len(changes) == 1 else list(islice(refused, len(changes))) for changes in many]

    def _written(self, changes: Sequence[Change]) -> list[Exception | None]:
        if self._broken and any(self._broken.get(state.key) == state.fence for state, _ in changes):
            raise StoreError(f"store {self._path}: it builds on a change that could not be stored")
        return self._write_changes(self._con, changes)

    def _alone(self, act: Act | None) -> Any:
        """An act that fails takes back only what it wrote itself."""
        assert act is not None  # noqa: S101 - an entry is a change or an act
        self._con.execute("SAVEPOINT act")
        before = self._undo.done
        try:
            result = act(self._con)
        except sqlite3.Error:
            raise
        except Exception as error:  # noqa: BLE001 - handed to whoever awaits the act
            self._con.execute("ROLLBACK TO act")
            self._undo.undo(before)
            result = error
        self._con.execute("RELEASE act")
        return result

    def _wal_is_long(self) -> bool:
        """Whether it is time for a thread to look at the log; asking the disk could block the loop."""
        rows = self._con.total_changes - self._checkpointed
        return rows > _ROWS_A_CHECKPOINT or self._transactions > _TRANSACTIONS_A_CHECKPOINT

    def _checkpoint(self) -> None:
        """Move the log into the file, holding the writer's lock; readers in the way put it off."""
        self._checkpointed, self._transactions = self._con.total_changes, 0
        if _wal_size(self._path) > _WAL_LIMIT:
            with self._lock:
                self._truncate_log()

    def _truncate_log(self) -> None:
        """Do what can be done now: a log that stays is read by whoever opens the file next."""
        try:
            self._be_patient(0)
            self._con.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error as error:
            log.warning("store %s: its log could not be moved into the file: %s", self._path, error)

    def end(self) -> None:
        """From now on the event loop writes nothing: what waits is written by ``close``, in whatever thread that is called."""
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()

    def close(self) -> None:
        """Write what waits, then close; ``end`` was called before."""
        self._thread.shutdown(wait=True)
        if self._queue:
            results = self._transact(self._queue)
            for (_, _, future), result in zip(self._queue, results or [StoreError("closed")] * len(self._queue), strict=True):
                if not future.done() and not future.get_loop().is_closed():
                    future.set_exception(result) if isinstance(result, Exception) else future.set_result(result)
            self._queue = []
        with self._lock:
            if self._path != ":memory:" and self._con.total_changes:
                self._truncate_log()
            self._con.close()


def _joined(first: _Later, whole: asyncio.Future[Any], loop: asyncio.AbstractEventLoop) -> asyncio.Future[Any]:
    """A future for the rest of several changes, with which the whole will be done."""
    rest: asyncio.Future[Any] = loop.create_future()

    def join(rest: asyncio.Future[Any]) -> None:
        count, error = len(first.rest), rest.exception()
        later = [error] * count if error is not None else rest.result() if count > 1 else [rest.result()]
        if not whole.done():
            whole.set_result(first.results + later)

    rest.add_done_callback(join)
    return rest


def _told(error: Exception, path: str) -> StoreError:
    """An error for whoever awaits a write that holds something which cannot be stored."""
    if isinstance(error, StoreError):
        return error
    if isinstance(error, sqlite3.Error):
        return mapped(error, path)
    told = StoreError(f"store {path}: what was given cannot be stored: {type(error).__name__}: {error}")
    told.__cause__ = error
    return told


def _wal_size(path: str) -> int:
    try:
        return Path(f"{path}-wal").stat().st_size
    except OSError:
        return 0
