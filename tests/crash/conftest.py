"""Fixtures of the crash lab."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.bench import Bench, Tally
from tests.crash.lab import LONG, Nursery

collect_ignore = [] if LONG else ["test_power.py"]  # it takes minutes, so it is for `make crash` alone


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    made = Nursery()
    yield made
    made.close()


@pytest.fixture
def bench(tmp_path: Path, nursery: Nursery) -> Iterator[Bench]:
    made = Bench(tmp_path, nursery)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Iterator[Tally]:
    """Counts the cases of the promise that the test is marked with; a test without one is of no promise."""
    marker = request.node.get_closest_marker("promise")
    made = Tally(marker.args[0] if marker is not None else "")
    yield made
    if marker is not None:
        request.node.user_properties.append(("crash", [made.promise, made.cases, len(made.failures)]))
