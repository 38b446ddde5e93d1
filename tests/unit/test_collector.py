"""The garbage collector is slowed down while engines run, and is nobody's afterwards."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from treadle import Engine, MemoryStateStore, Workflow
from treadle.collector import YOUNG, unhurried


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    yield
    gc.set_threshold(*before)


async def test_an_engine_slows_it_down_while_it_runs() -> None:
    workflow = Workflow("w")

    @workflow.stage
    async def one(item: dict[str, str]) -> int:
        return gc.get_threshold()[0]

    store = MemoryStateStore()
    async with Engine(workflow, store) as engine:
        await engine.run([{"id": "a"}])
    row = await store.load("a")
    assert row is not None
    assert row.stages["one"].artefact == str(YOUNG)
    assert gc.get_threshold() == (700, 10, 10)


def test_the_last_of_several_sets_it_back() -> None:
    with unhurried():
        with unhurried():
            pass
        assert gc.get_threshold()[0] == YOUNG
    assert gc.get_threshold()[0] == 700


@pytest.mark.parametrize("chosen", [0, 50_000])
def test_what_its_owner_chose_for_the_process_stays(chosen: int) -> None:
    gc.set_threshold(chosen, 5, 5)
    with unhurried():
        assert gc.get_threshold() == (chosen, 5, 5)
    assert gc.get_threshold() == (chosen, 5, 5)


def test_what_is_chosen_meanwhile_stays() -> None:
    with unhurried():
        gc.set_threshold(1_234)
    assert gc.get_threshold()[0] == 1_234
