"""Whatever stages say, in whatever graph, decisions keep their promises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from treadle import RetryBudget, StageState, decide
from treadle.definition import Definition
from treadle.state import AttemptRow, Ended, ItemPhase, ItemState, Transition

NAMES = ("a", "b", "c", "d", "e")


@st.composite
def graphs(draw: st.DrawFn) -> Mapping[str, list[str]]:
    """Any graph whose edges point to earlier names."""
    return {
        name: draw(st.lists(st.sampled_from(NAMES[:place]), unique=True) if place else st.just([]))
        for place, name in enumerate(NAMES)
    }


def _fold(flow: Definition, state: ItemState, change: Transition, budget: int) -> None:
    after = state.stages | {row.stage: row for row in change.stages}
    for row in change.stages:
        if row.state is StageState.RUNNING and not row.fan_out:
            needs = [after[need].state for need in flow.stages[row.stage].needs]
            assert all(need.is_finished for need in needs), f"{row.stage} started before what it needs"
        assert row.spent <= budget
    decide.apply(flow, state, change)


@given(graphs(), st.integers(1, 3), st.integers(1, 4), st.data())
def test_promises_hold_for_every_course_of_events(
    graph: Mapping[str, list[str]], budget: int, window: int, data: st.DataObject
) -> None:
    flow = Definition.from_shape("any", graph)
    stages = {name: replace(stage, retry=RetryBudget(max_attempts=budget)) for name, stage in flow.stages.items()}
    flow = replace(flow, stages=stages)
    state = ItemState("x", "{}")
    now, open_units, charged = 1, [], dict.fromkeys([*NAMES], 0)
    decide.count(flow, state)
    change = decide.begin(flow, state, now, window)
    for _ in range(400):
        _fold(flow, state, change, budget)
        open_units += change.starts
        assert state.running == len(open_units)
        if change.rest is not None:
            assert not open_units
            assert all(row.state is not StageState.RUNNING or row.fan_out for row in state.stages.values())
            if change.rest.wake is None:
                assert change.rest.phase is not ItemPhase.PENDING
                return
            now = change.rest.wake
            decide.count(flow, state)
            change = decide.begin(flow, state, now, window)
            continue
        assert open_units, "the item neither rests nor moves"
        stage, seq = open_units.pop(data.draw(st.integers(0, len(open_units) - 1)))
        kinds = [Ended.COMPLETED, Ended.SKIPPED, Ended.FAILED, Ended.TIMED_OUT]
        how = data.draw(st.sampled_from(kinds if seq is not None else [*kinds, Ended.AWAITING_REVIEW, Ended.FAN_OUT]))
        number = state.stages[stage].attempt if seq is None else state.boards[stage].rows[seq].attempt
        if seq is None and how in (Ended.FAILED, Ended.TIMED_OUT):
            charged[stage] += 1
            assert charged[stage] <= budget
        children = [(f"s{n}", None) for n in range(data.draw(st.integers(0, 5)))] if how is Ended.FAN_OUT else ()
        attempt = AttemptRow(stage, seq, number, now, now, how, subtasks=children, retry=data.draw(st.booleans()), review="{}")
        change = decide.settle(flow, state, attempt, now, 0.5, window)
    raise AssertionError("the item never came to rest")
