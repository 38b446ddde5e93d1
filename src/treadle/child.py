"""What runs in a worker process: attempts that come in as JSON, until the pipe closes."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import json
import os
import signal
import struct
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

from treadle.attempt import Call, Subject, Surroundings
from treadle.executor import Threads
from treadle.state import AttemptRow, Ended, ItemState, StageRow, StageState, SubtaskBoard, SubtaskRow
from treadle.workflow import Workflow

_HEADER = struct.Struct(">I")


def main() -> None:
    """Serve the process that started this one; end when it is gone."""
    # Ctrl-C reaches every process of a terminal; only the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # User code prints where it likes; the pipes are kept out of its reach.
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    hello = _receive(requests)
    if hello is None:
        return
    try:
        workflow = _find(hello)
        surroundings = Surroundings(workflow.definition, None, Threads(), None)
    except BaseException as error:  # noqa: BLE001 - importing a module runs user code
        problem = f"a worker process cannot load workflow {hello['workflow']!r}: {type(error).__name__}: {error}"
        while _receive(requests) is not None:
            _send(answers, {"problem": problem})
        return
    while (job := _receive(requests)) is not None:
        _send(answers, {"attempt": asyncio.run(_attempt(surroundings, job, answers))})


async def _attempt(surroundings: Surroundings, job: dict[str, Any], answers: BinaryIO) -> list[Any]:
    name, seq = job["unit"]
    rows = [StageRow(*row)._replace(state=StageState(row[1])) for row in job["stages"]]
    boards: dict[str, SubtaskBoard] = {}
    for fields in job["subtasks"]:
        child = SubtaskRow(*fields)._replace(state=StageState(fields[3]))
        boards.setdefault(child.stage, SubtaskBoard()).put(child)
    state = ItemState(job["id"], job["payload"], stages={row.stage: row for row in rows}, boards=boards)
    if seq is None:
        state.stages[name] = StageRow(*job["row"])
    else:
        seq = 0
        state.boards[name] = SubtaskBoard([SubtaskRow(*job["row"])._replace(seq=0)])

    def progress(_stage: str, _subtask: str | None, _attempt: int, fraction: float, note: str | None) -> None:
        _send(answers, {"progress": [fraction, note]})

    past = [AttemptRow(*fields)._replace(how=Ended(fields[5])) for fields in job["history"]]
    attempt = await Call(surroundings, Subject(surroundings.flow, state, progress), (name, seq), history=past).run()
    return list(attempt._replace(seq=job["unit"][1]))


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
