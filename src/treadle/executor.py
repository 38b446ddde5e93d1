"""Where a stage's body runs when it is not the event loop: threads, and worker processes."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import json
import logging
import os
import queue
import struct
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

from treadle.errors import TreadleError

log: logging.Logger = logging.getLogger("treadle.executor")

MAX_THREADS = 256
FAREWELL = 2.0
"""Seconds an idle worker process has to end by itself before it is killed."""
_LAST_WAIT = 0.5
"""Seconds that are waited for a process that was killed."""
_HEADER = struct.Struct(">I")
_MAX_MESSAGE = 256 * 1024 * 1024


class WorkerProcessDied(TreadleError):
    """The worker process ended while it ran an attempt; another one takes its place."""


class _Body:
    """A call on its way through a thread, and its answer."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()
        self.answer: asyncio.Future[Any] = self._loop.create_future()
        self.runs = False
        """Whether a thread is at it."""

    def run(self) -> None:
        """Called in a thread; the answer is there once the loop has been told."""
        if self.answer.cancelled():
            return  # Given up while it stood in line.
        outcome: tuple[Any, BaseException | None]
        self.runs = True
        try:
            outcome = self._context.run(self._call), None
        except BaseException as error:  # noqa: BLE001 - handed to the awaiting attempt as it is
            outcome = None, error
        self.runs = False
        try:
            self._loop.call_soon_threadsafe(self._settle, *outcome)
        except RuntimeError:
            return  # The loop is closed: nobody waits any more.

    def _settle(self, result: Any, error: BaseException | None) -> None:
        if self.answer.done():
            return
        if error is None:
            self.answer.set_result(result)
        else:
            self.answer.set_exception(carried(error))


class Threads:
    """Daemon threads for plain functions.

    The standard pool is not used because it joins its threads when the interpreter exits: one body that
    never returns would keep the process from ever ending.
    """

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[_Body | None] = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._started = 0
        self._left: list[_Body] = []
        """Those that were given up; the ones that have ended since are struck off when the next one is."""

    async def run(self, call: Callable[[], Any], what: str = "a function") -> Any:
        """What ``call()`` returns or raises, from a thread. If cancelled, the thread goes on alone, and the log says so."""
        body = _Body(call)
        self._work.put(body)
        if not self._idle.acquire(blocking=False) and self._started < MAX_THREADS:
            self._started += 1
            threading.Thread(target=self._serve, name=f"treadle-body-{self._started}", daemon=True).start()
        try:
            return await body.answer
        except asyncio.CancelledError:
            if body.runs:
                self._leave(body, what)
            raise

    def _leave(self, body: _Body, what: str) -> None:
        self._left = [*(left for left in self._left if left.runs), body]
        log.warning("%s was given up, and runs on: %d of at most %d threads are lost so", what, len(self._left), MAX_THREADS)

    def _serve(self) -> None:
        while (body := self._work.get()) is not None:
            body.run()
            self._idle.release()

    def close(self) -> None:
        """Let idle threads end; those still in a body end with it, or with the process."""
        for _ in range(self._started):
            self._work.put(None)


def carried(error: BaseException) -> BaseException:
    """A future refuses StopIteration, and GeneratorExit would close who awaits it: they travel inside another error."""
    if isinstance(error, StopIteration | GeneratorExit):
        said = f": {error}" if str(error) else ""
        carrier = RuntimeError(f"the stage raised {type(error).__name__}{said}")
        carrier.__cause__ = error
        return carrier
    return error


class Processes:
    """Worker processes that run attempts; a crash costs the attempt that ran there and nothing else.

    Messages are JSON over pipes: what a worker imports comes from the workflow's own module, never from data.
    """

    def __init__(self, origin: tuple[str, str | None], workflow: str, size: int | None = None) -> None:
        self._origin = origin
        self._workflow = workflow
        self._free: list[_Child] = []
        self._all: set[_Child] = set()
        self._slots = asyncio.Semaphore(size or os.cpu_count() or 1)

    async def run(
        self,
        job: dict[str, Any],
        on_progress: Callable[[float, str | None], None],
        within: Callable[[Coroutine[Any, Any, list[Any]]], Awaitable[list[Any]]],
    ) -> list[Any]:
        """The worker's answer to ``job``; ``within`` keeps its time, which begins when there is a worker for it.

        Raises:
            WorkerProcessDied: it ended without an answer.
        """
        async with self._slots:
            child = self._idle() or await self._start()
            try:
                answer = await within(child.ask(job, on_progress))
            except BaseException:
                # Cancelled, timed out or dead: whatever it still does must not reach a later attempt.
                self._all.discard(child)
                await child.kill()
                raise
            self._free.append(child)
            return answer

    def _idle(self) -> _Child | None:
        """A worker that waits for work; those that died while they waited cost no attempt."""
        while self._free:
            child = self._free.pop()
            if child.lives:
                return child
            self._all.discard(child)
        return None

    async def _start(self) -> _Child:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "treadle.child",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env=_environment(),
        )  # fmt: skip
        child = _Child(process)
        self._all.add(child)
        module, file = self._origin
        await child.send({"module": module, "file": file, "workflow": self._workflow, "path": sys.path})
        return child

    async def close(self) -> None:
        """All workers have ended: idle ones by themselves, with whatever they do at exit; others were killed."""
        await asyncio.gather(*(child.dismiss() if child in self._free else child.kill() for child in self._all))
        self._all.clear()
        self._free.clear()


def _environment() -> dict[str, str]:
    """Ours, with the path on which this very package was found."""
    here = str(Path(__file__).parent.parent)
    known = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([here, known] if known else [here])}


class _Child:
    """One worker process and its pipes."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018 - both were asked for
        self._process, self._stdin, self._stdout = process, process.stdin, process.stdout

    @property
    def lives(self) -> bool:
        return self._process.returncode is None

    async def send(self, message: dict[str, Any]) -> None:
        body = json.dumps(message).encode()
        self._stdin.write(_HEADER.pack(len(body)) + body)
        await self._stdin.drain()

    async def ask(self, job: dict[str, Any], on_progress: Callable[[float, str | None], None]) -> list[Any]:
        try:
            await self.send(job)
            while True:
                message = await self._receive()
                if "progress" not in message:
                    break
                on_progress(*message["progress"])
        except (asyncio.IncompleteReadError, ConnectionError):
            code = await self._process.wait()
            raise WorkerProcessDied(f"the worker process ended {_how(code)} while it ran this attempt") from None
        if "problem" in message:
            raise TreadleError(message["problem"])
        answer: list[Any] = message["attempt"]
        return answer

    async def _receive(self) -> dict[str, Any]:
        (size,) = _HEADER.unpack(await self._stdout.readexactly(_HEADER.size))
        if size > _MAX_MESSAGE:
            raise WorkerProcessDied(f"the worker process sent {size:,} bytes; at most {_MAX_MESSAGE:,} are read")
        message: dict[str, Any] = json.loads(await self._stdout.readexactly(size))
        return message

    async def dismiss(self) -> None:
        """An idle worker ends when its pipe closes; one that does not is killed."""
        self._stdin.close()
        try:
            async with asyncio.timeout(FAREWELL):
                await self._process.wait()
        except TimeoutError:
            await self.kill()

    async def kill(self) -> None:
        """It has ended, or will when the kernel lets it: nobody waits for a disk that hangs."""
        if self._process.returncode is None:
            self._process.kill()
        self._stdin.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WAIT):
                await self._process.wait()


def _how(code: int) -> str:
    return f"by signal {-code}" if code < 0 else f"with exit code {code}"
