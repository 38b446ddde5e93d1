"""What runs in a worker process: attempts that come in as JSON, until the pipe closes."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import json
import os
import queue
import signal
import struct
import sys
import threading
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

from treadle.attempt import Call, Subject, Surroundings
from treadle.breadth import Bodies
from treadle.definition import Definition
from treadle.executor import Threads
from treadle.memory import limited
from treadle.state import AttemptRow, Ended, ItemState, StageRow, StageState, SubtaskBoard, SubtaskRow
from treadle.workflow import Workflow

_HEADER = struct.Struct(">I")


def main() -> None:
    """Serve the process that started this one; end when it is gone."""
    # Both reach every process of a terminal or a service; only the parent decides what they mean. A handler, and
    # not SIG_IGN, so that programs that user code starts can be stopped by them as ever.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    # User code prints where it likes; the pipes are kept out of its reach.
    incoming, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    requests = _Requests(incoming)
    try:
        if (hello := requests.next()) is not None:
            _serve(hello, requests, answers)
    except BrokenPipeError:
        # The parent went away while this answered; there is nobody to tell, and the pipe must not be tried again.
        os._exit(0)


def _serve(hello: dict[str, Any], requests: _Requests, answers: BinaryIO) -> None:
    problem = None
    try:
        surroundings = Surroundings(_untimed(_find(hello).definition), None, Threads(), None, Bodies())
    except BaseException as error:  # noqa: BLE001 - importing a module runs user code
        problem = f"a worker process cannot load workflow {hello['workflow']!r}: {type(error).__name__}: {error}"
    while (job := requests.next()) is not None:
        answer = {"problem": problem} if problem else {"attempt": asyncio.run(_attempt(surroundings, job, answers))}
        requests.answered()
        _send(answers, answer)


class _Requests:
    """What the parent asks, read in a thread of its own: it also notices that the parent is gone while user code runs."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._waiting: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._busy = False
        threading.Thread(target=self._read, name="treadle-requests", daemon=True).start()

    def next(self) -> dict[str, Any] | None:
        """The next request, when it comes; ``None`` when there will be no more."""
        return self._waiting.get()

    def answered(self) -> None:
        """The last request's answer is about to be sent."""
        self._busy = False

    def _read(self) -> None:
        self._waiting.put(_receive(self._stream))
        while (job := _receive(self._stream)) is not None:
            self._busy = True
            self._waiting.put(job)
        if self._busy:
            # Nobody waits for what runs, and it may never end by itself.
            os._exit(1)
        self._waiting.put(None)


async def _attempt(surroundings: Surroundings, job: dict[str, Any], answers: BinaryIO) -> list[Any]:
    name, seq = job["unit"]
    rows = [StageRow(*row)._replace(state=StageState(row[1])) for row in job["stages"]]
    state = ItemState(job["id"], job["payload"])
    state.stages = {row.stage: row for row in rows}
    for fields in job["subtasks"]:
        child = SubtaskRow(*fields)._replace(state=StageState(fields[3]))
        state.boards.setdefault(child.stage, SubtaskBoard()).put(child)
    row = StageRow(*job["row"]) if seq is None else SubtaskRow(*job["row"])

    def progress(_stage: str, _subtask: str | None, _attempt: int, fraction: float, note: str | None) -> None:
        _send(answers, {"progress": [fraction, note]})

    past = [AttemptRow(*fields)._replace(how=Ended(fields[5])) for fields in job["history"]]
    subject = Subject(surroundings.flow, state, progress)
    memory = surroundings.flow.stages[name].memory
    with limited(memory):
        attempt = await Call(surroundings, subject, (name, seq), row, history=past, texts=job["texts"]).run()
    if memory is not None and (attempt.error or "").startswith(MemoryError.__name__):
        attempt = attempt._replace(error=f"MemoryError: the attempt wanted more than memory={memory} MiB")
    return list(attempt)


def _untimed(flow: Definition) -> Definition:
    """The parent keeps the time: it ends this process, which no code can ignore."""
    return replace(flow, stages={name: replace(stage, timeout=None) for name, stage in flow.stages.items()})


def _find(hello: dict[str, Any]) -> Workflow:
    sys.path[:] = hello["path"]
    module = _load(hello["module"], hello["file"])
    for value in vars(module).values():
        if isinstance(value, Workflow) and value.name == hello["workflow"]:
            return value
    raise LookupError(f"module {hello['module']} has no such workflow at its top level")


def _load(name: str, file: str | None) -> ModuleType:
    if file is None or "." in name:
        return importlib.import_module(name)
    # A script would start its own run if it were loaded as __main__.
    name = Path(file).stem if name == "__main__" else name
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is no Python module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _receive(stream: BinaryIO) -> dict[str, Any] | None:
    header = stream.read(_HEADER.size)
    if len(header) < _HEADER.size:
        return None
    message: dict[str, Any] = json.loads(stream.read(_HEADER.unpack(header)[0]))
    return message


def _send(stream: BinaryIO, message: dict[str, Any]) -> None:
    body = json.dumps(message).encode()
    stream.write(_HEADER.pack(len(body)) + body)
    stream.flush()


if __name__ == "__main__":
    main()
