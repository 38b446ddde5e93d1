"""The runtime every test lives in: nothing blocks the loop, and nothing outlives its test."""

from __future__ import annotations

import asyncio
import fnmatch
import functools
import importlib
import os
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from blockbuster import BlockBuster
from hypothesis import HealthCheck, settings
from pydantic import TypeAdapter

from tests.crash.table import pytest_runtest_logreport, pytest_terminal_summary  # noqa: F401 - hooks of every run

pytest.register_assert_rewrite("treadle.testing")

# Slow examples are the machine's mood: pytest-timeout is what stops a test that hangs.
_ANY_SPEED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", _ANY_SPEED, derandomize=True, database=None, max_examples=50)
settings.register_profile("dev", _ANY_SPEED, max_examples=200)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

# Importing reads files; these are loaded when a workflow first needs them, which must not be inside a test of blocking.
TypeAdapter(dict[str, int]).json_schema()
importlib.import_module("aiolimiter")

SQLITE_STORE = "*/treadle/stores/sqlite*.py"


def _called_by_sqlite_store(*_args: object, **_kwargs: object) -> bool:
    """Says whether the sqlite3 call at hand stands in the SQLite store's own source.

    The store commits on the event loop on purpose: a commit takes a fraction of a millisecond there, while
    a writer thread starves under a busy loop. Any other module of treadle that calls sqlite3 on the loop is
    caught.
    """
    caller = sys._getframe(2)  # above this predicate and blockbuster's wrapper
    return fnmatch.fnmatch(caller.f_code.co_filename.replace("\\", "/"), SQLITE_STORE)


_TESTS = Path(__file__).parent
_UNTRACED = {"cli", "crash", "docs", "examples"}


@pytest.fixture(autouse=True)
def few_processes_are_traced(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole commands run without coverage, which takes them half as long again; what they run is measured elsewhere."""
    if request.node.path.relative_to(_TESTS).parts[0] in _UNTRACED:
        monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)


@functools.cache
def _detector() -> BlockBuster:
    # The contract in treadle.testing is test code, and test code may block.
    detector = BlockBuster("treadle", excluded_modules=["treadle.testing"])
    for name, function in detector.functions.items():
        if name.startswith("sqlite3."):
            function.can_block_predicate = _called_by_sqlite_store
        else:
            # Looking up whether a process of this host lives reads the kernel's memory, not a disk.
            function.can_block_in("treadle/presence.py", {"_started", "_boot"})
            # The tracer's own lock, which it takes wherever the code at hand happens to be.
            function.can_block_in("coverage/collector.py", {"lock_data", "unlock_data"})
    return detector


@pytest.fixture(autouse=True)
def nothing_blocks_the_loop(request: pytest.FixtureRequest) -> Iterator[None]:
    """A blocking call that treadle's modules make on a running event loop raises BlockingError."""
    if request.node.get_closest_marker("may_block"):
        yield
        return
    detector = _detector()
    detector.activate()
    try:
        yield
    finally:
        detector.deactivate()


@pytest.fixture(autouse=True)
def no_task_is_left(request: pytest.FixtureRequest) -> None:
    """An async test fails when a task it started still runs after its fixtures are closed."""
    if request.node.get_closest_marker("asyncio"):
        request.getfixturevalue("_task_watch")


@pytest_asyncio.fixture
async def _task_watch() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    if left:
        _, left = await asyncio.wait(left, timeout=0.5)  # what was just cancelled may need a moment
    assert not left, f"tasks left running: {left}"


@pytest.fixture(scope="session", autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """The session fails when a thread of treadle's is alive at its end."""
    yield
    ours = [thread for thread in threading.enumerate() if thread.name.startswith("treadle-")]
    for thread in ours:
        thread.join(timeout=1)
    left = [thread.name for thread in ours if thread.is_alive()]
    assert not left, f"threads left running: {left}"
