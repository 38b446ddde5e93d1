"""What most of these tests run on: each kind of store in turn."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from treadle import StateStore, open_store


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StateStore]:
    async with open_store("memory:" if request.param == "memory" else tmp_path / "s.db") as store:
        yield store
