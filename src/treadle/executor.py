"""Where a stage's body runs when it is not the event loop: threads, and worker processes."""

from __future__ import annotations

import asyncio
import contextvars
import json
import os
import queue
import struct
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from treadle.errors import TreadleError

MAX_THREADS = 256
FAREWELL = 2.0
"""Seconds an idle worker process has to end by itself before it is killed."""
_HEADER = struct.Struct(">I")
_MAX_MESSAGE = 256 * 1024 * 1024


class WorkerProcessDied(TreadleError):
    """The worker process ended while it ran an attempt; another one takes its place."""


class Threads:
    """Daemon threads for plain functions.

    The standard pool is not used because it joins its threads when the interpreter exits: one body that
    never returns would keep the process from ever ending.
    """

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._started = 0

    async def run(self, call: Callable[[], Any]) -> Any:
        """What ``call()`` returns or raises, from a thread. If cancelled, the thread goes on alone."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        context = contextvars.copy_context()

        def settle(result: Any, error: BaseException | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(carried(error))

        def work() -> None:
            outcome: tuple[Any, BaseException | None]
            try:
                outcome = context.run(call), None
            except BaseException as error:  # noqa: BLE001 - handed to the awaiting attempt as it is
                outcome = None, error
            try:
                loop.call_soon_threadsafe(settle, *outcome)
            except RuntimeError:
                return  # The loop is closed: nobody waits any more.

        self._work.put(work)
        if not self._idle.acquire(blocking=False) and self._started < MAX_THREADS:
            self._started += 1
            threading.Thread(target=self._serve, name=f"treadle-body-{self._started}", daemon=True).start()
        return await future

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            work()
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

    async def run(self, job: dict[str, Any], on_progress: Callable[[float, str | None], None]) -> list[Any]:
        """The worker's answer to ``job``.

        Raises:
            WorkerProcessDied: it ended without an answer.
        """
        async with self._slots:
            child = self._idle() or await self._start()
            try:
                answer = await child.ask(job, on_progress)
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
        if self._process.returncode is None:
            self._process.kill()
        self._stdin.close()
        await self._process.wait()


def _how(code: int) -> str:
    return f"by signal {-code}" if code < 0 else f"with exit code {code}"
