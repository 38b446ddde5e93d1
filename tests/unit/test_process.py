"""Worker processes and threads: they end in good order, and what dies in them takes nothing along."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import treadle
from treadle import Engine, MemoryStateStore, StageState, Workflow, executor
from treadle.executor import Threads, WorkerProcessDied

APP = """
import atexit, os, sys, time
from pathlib import Path
from treadle import FanOut, SubTask, Workflow

here = Path(__file__).parent
flow = Workflow("procs")


def tell(name):
    # Renamed, so that whoever sees the file sees all of it.
    (here / f"{{name}}.part").write_text(str(os.getpid()))
    (here / f"{{name}}.part").rename(here / name)


@flow.stage(executor="process"{options})
def work(item, ctx):
    {body}
"""


def app(folder: Path, body: str, *, options: str = "", more: str = "") -> ModuleType:
    """A module whose workflow has one stage, ``work``, in worker processes."""
    path = folder / "procs_app.py"
    path.write_text(APP.format(body=body, options=options) + more)
    spec = importlib.util.spec_from_file_location("procs_app", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110 - files and other processes set no asyncio.Event
            await asyncio.sleep(0.01)


def lives(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


async def error_of(engine: Engine, item: str) -> str:
    return (await engine.status(item))["work"].error or ""


pytestmark = [
    pytest.mark.may_block,  # these tests write and import modules while a loop runs
    pytest.mark.skipif(sys.platform != "linux", reason="looks processes up in /proc"),
]


async def test_an_idle_worker_ends_by_itself_and_does_what_it_does_at_exit(tmp_path: Path) -> None:
    module = app(tmp_path, 'atexit.register(tell, "bye")')
    async with Engine(module.flow, MemoryStateStore()) as engine:
        assert (await engine.run([{"id": "a"}])).completed == 1
        assert not (tmp_path / "bye").exists()
    assert not lives(int((tmp_path / "bye").read_text()))


async def test_an_idle_worker_that_does_not_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "FAREWELL", 0.05)
    module = app(tmp_path, 'tell("pid"); atexit.register(time.sleep, 600)')
    async with asyncio.timeout(20), Engine(module.flow, MemoryStateStore()) as engine:
        assert (await engine.run([{"id": "a"}])).completed == 1
    assert not lives(int((tmp_path / "pid").read_text()))


async def test_a_time_limit_ends_the_process_of_code_that_ignores_it(tmp_path: Path) -> None:
    module = app(tmp_path, 'tell("pid")\n    while item["id"] == "endless": pass', options=", timeout=1.5")
    async with asyncio.timeout(30), Engine(module.flow, MemoryStateStore()) as engine:
        report = await engine.run([{"id": "endless"}])
        assert (report.completed, report.failed) == (0, 1)
        assert await error_of(engine, "endless") == "timed out after 1.5 s"
        # Not only told, but gone: an endless loop left behind would keep a processor busy.
        assert not lives(int((tmp_path / "pid").read_text()))
        assert (await engine.run([{"id": "b"}])).completed == 1


async def test_time_spent_in_line_for_a_worker_is_not_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    module = app(tmp_path, "time.sleep(0.6)", options=", timeout=1.6")
    async with asyncio.timeout(30), Engine(module.flow, MemoryStateStore()) as engine:
        assert (await engine.run([{"id": n} for n in range(5)])).completed == 5


async def test_an_attempt_that_wants_too_much_memory_fails_by_name_and_the_next_one_runs(tmp_path: Path) -> None:
    body = 'return len(bytearray((400 if item["id"] == "greedy" else 1) * 1024 * 1024))'
    module = app(tmp_path, body, options=", memory=200")
    async with asyncio.timeout(30), Engine(module.flow, MemoryStateStore()) as engine:
        assert (await engine.run([{"id": "greedy"}])).failed == 1
        assert await error_of(engine, "greedy") == "MemoryError: the attempt wanted more than memory=200 MiB"
        assert (await engine.run([{"id": "modest"}])).completed == 1


async def test_a_system_that_cannot_limit_memory_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("treadle.memory.CAN_LIMIT", False)
    module = app(tmp_path, "return 1", options=", memory=200")
    async with Engine(module.flow, MemoryStateStore()):
        assert "cannot limit the memory of a process: memory= of work is not kept" in caplog.text


def test_a_memory_limit_needs_a_process_and_a_size() -> None:
    flow = Workflow("limits")

    @flow.stage(memory=0)
    def work(item: dict[str, str]) -> int:
        return 1

    with pytest.raises(treadle.InvalidWorkflow) as caught:
        flow.validate()
    assert any("give a whole number of MiB" in problem for problem in caught.value.problems)
    assert any("only a process of its own can be limited" in problem for problem in caught.value.problems)


async def test_cancelling_an_item_ends_its_process(tmp_path: Path) -> None:
    module = app(tmp_path, 'tell("pid")\n    time.sleep(600)')
    async with asyncio.timeout(30), Engine(module.flow, MemoryStateStore()) as engine:
        run = asyncio.create_task(engine.run([{"id": "a"}]))
        await until((tmp_path / "pid").exists)
        await engine.cancel("a", "enough")
        assert (await run).cancelled == 1
        assert not lives(int((tmp_path / "pid").read_text()))


async def test_a_worker_that_died_while_idle_costs_no_attempt(tmp_path: Path) -> None:
    module = app(tmp_path, 'tell("pid")')
    async with asyncio.timeout(30), Engine(module.flow, MemoryStateStore()) as engine:
        await engine.run([{"id": "a"}])
        first = int((tmp_path / "pid").read_text())
        os.kill(first, signal.SIGKILL)
        processes = engine._surroundings.processes
        assert processes is not None
        await until(lambda: not any(child.lives for child in processes._free))
        assert (await engine.run([{"id": "b"}])).completed == 2
        assert int((tmp_path / "pid").read_text()) != first


async def test_a_crash_fails_the_attempt_by_signal_and_by_code(tmp_path: Path) -> None:
    module = app(tmp_path, 'os.kill(os.getpid(), 11) if item["id"] == "signal" else os._exit(7)')
    async with Engine(module.flow, MemoryStateStore()) as engine:
        assert (await engine.run([{"id": "signal"}, {"id": "code"}])).failed == 2
        assert "ended by signal 11 while it ran this attempt" in await error_of(engine, "signal")
        assert "ended with exit code 7 while it ran this attempt" in await error_of(engine, "code")


async def test_signals_to_the_whole_group_leave_workers_to_their_parent(tmp_path: Path) -> None:
    module = app(tmp_path, "os.kill(os.getpid(), 2); os.kill(os.getpid(), 15)")
    async with Engine(module.flow, MemoryStateStore()) as engine:
        assert (await engine.run([{"id": "a"}])).completed == 1


async def test_an_answer_too_long_to_read_ends_the_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = app(tmp_path, 'return "x" * 1000')
    monkeypatch.setattr(executor, "_MAX_MESSAGE", 500)
    async with Engine(module.flow, MemoryStateStore()) as engine:
        assert (await engine.run([{"id": "a"}])).failed == 1
        assert "at most 500 are read" in await error_of(engine, "a")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('raise RuntimeError("gone")', "cannot load workflow 'procs': RuntimeError: gone"),
        ("x = 1", "cannot load workflow 'procs': LookupError: module procs_app has no such workflow at its top level"),
    ],
)
async def test_a_module_that_changed_since_is_told_on_every_attempt(tmp_path: Path, text: str, says: str) -> None:
    module = app(tmp_path, "pass")
    (tmp_path / "procs_app.py").write_text(text)
    async with Engine(module.flow, MemoryStateStore()) as engine:
        assert (await engine.run([{"id": "a"}, {"id": "b"}])).failed == 2
        assert says in await error_of(engine, "a")
        assert says in await error_of(engine, "b")


async def test_subtasks_see_what_is_upstream_and_tell_how_they_get_on(tmp_path: Path) -> None:
    more = """
@flow.stage(executor="process")
def split(item, work):
    return FanOut([SubTask(f"s{n}", n) for n in range(3)])


@split.subtask
def child(item, ctx, work):
    ctx.progress(0.5, "half")
    return [work, ctx.subtask.data, ctx.upstream["work"]]


@flow.stage(executor="process")
def join(item, split):
    return split
"""
    module = app(tmp_path, "return 7", more=more)
    store = MemoryStateStore()
    async with Engine(module.flow, store) as engine:
        assert (await engine.run([{"id": "a"}])).completed == 1
        told = [event.data async for event in engine.events() if event.kind.value == "stage_progress"]
        state = await store.load("a")
    assert state is not None
    assert state.stages["join"].artefact == '{"s0":[7,0,7],"s1":[7,1,7],"s2":[7,2,7]}'
    assert told[0] == {"fraction": 0.5, "note": "half"}


async def test_a_module_of_a_package_is_imported_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "procs_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "inner.py").write_text(APP.format(body="return __name__", options=""))
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("procs_package.inner")
    store = MemoryStateStore()
    async with Engine(module.flow, store) as engine:
        await engine.run([{"id": "a"}])
        state = await store.load("a")
    assert state is not None
    assert state.stages["work"].artefact == '"procs_package.inner"'


PARENT = """
import treadle
from pathlib import Path
from treadle import Workflow

flow = Workflow("parent")


@flow.stage(executor="process")
def work(item):
    import os, time
    (Path(__file__).parent / "pid.part").write_text(str(os.getpid()))
    (Path(__file__).parent / "pid.part").rename(Path(__file__).parent / "pid")
    time.sleep(600)


if __name__ == "__main__":
    treadle.run(flow, [{"id": "a"}], store="memory:")
"""


async def test_a_worker_does_not_outlive_a_parent_that_was_killed(tmp_path: Path) -> None:
    (tmp_path / "parent.py").write_text(PARENT)
    parent = await asyncio.create_subprocess_exec(sys.executable, "parent.py", cwd=tmp_path)
    try:
        await until((tmp_path / "pid").exists)
        pid = int((tmp_path / "pid").read_text())
        assert lives(pid)
    finally:
        parent.kill()
        await parent.wait()
    await until(lambda: not lives(pid))


def test_a_worker_without_a_parent_ends_at_once() -> None:
    done = subprocess.run([sys.executable, "-m", "treadle.child"], stdin=subprocess.DEVNULL, timeout=30, check=False)
    assert done.returncode == 0


async def test_there_are_only_so_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "MAX_THREADS", 2)
    threads = Threads()
    names = await asyncio.gather(*(threads.run(lambda: (time.sleep(0.01), threading.current_thread().name)[1]) for _ in range(6)))
    threads.close()
    assert len(set(names)) == 2


async def test_a_thread_that_is_lost_is_told_of_and_what_was_given_up_behind_it_never_runs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(executor, "MAX_THREADS", 1)
    inside, go, ran, threads = threading.Event(), threading.Event(), [], Threads()
    first = asyncio.create_task(threads.run(lambda: (inside.set(), go.wait(20)), "the first"))
    second = asyncio.create_task(threads.run(lambda: ran.append("second"), "the second"))
    await until(inside.is_set)
    first.cancel()
    second.cancel()
    await asyncio.wait({first, second})
    assert "the first was given up, and runs on: 1 of at most 1 threads are lost so" in caplog.text
    assert "the second" not in caplog.text
    go.set()
    assert await threads.run(lambda: 5) == 5
    assert ran == []
    threads.close()


def test_a_body_that_outlives_its_loop_harms_nobody() -> None:
    go, gone = threading.Event(), threading.Event()
    threads = Threads()

    def body() -> None:
        go.wait(20)
        gone.set()

    async def leave() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await threads.run(body)

    asyncio.run(leave())
    go.set()
    assert gone.wait(20)
    # The same thread serves the next loop: answering a closed one has not ended it.
    assert asyncio.run(threads.run(lambda: 5)) == 5
    threads.close()


def test_run_works_outside_the_main_thread_where_no_signal_can_be_caught() -> None:
    flow = Workflow("side")

    @flow.stage
    async def body(item: dict[str, Any]) -> None: ...

    reports: list[treadle.RunReport] = []
    thread = threading.Thread(target=lambda: reports.append(treadle.run(flow, [{"id": "x"}], store="memory:")))
    thread.start()
    thread.join(20)
    assert reports[0].completed == 1


def test_a_worker_process_that_died_says_how() -> None:
    assert issubclass(WorkerProcessDied, treadle.TreadleError)
    assert (executor._how(-9), executor._how(3)) == ("by signal 9", "with exit code 3")


async def test_what_is_put_back_when_stopped_at_once_is_pending_without_a_charge(tmp_path: Path) -> None:
    module = app(tmp_path, 'tell("pid")\n    time.sleep(600)')
    store = MemoryStateStore()
    async with asyncio.timeout(30), Engine(module.flow, store) as engine:
        run = asyncio.create_task(engine.run([{"id": "a"}]))
        await until((tmp_path / "pid").exists)
        engine.stop(now=True)
        assert (await run).pending == 1
        status = (await engine.status("a"))["work"]
        state = await store.load("a")
    assert status.state is StageState.PENDING
    assert state is not None
    assert state.stages["work"].spent == 0
    assert not lives(int((tmp_path / "pid").read_text()))
