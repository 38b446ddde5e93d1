"""Whatever stages, gates and people say, in whatever graph, decisions keep their promises."""

from __future__ import annotations

import copy
import json
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from treadle import Accepted, ExhaustedAction, QualityFeedback, Rejected, RetryBudget, ReviewPolicy, StageState, Uncertain, decide
from treadle.decide import Answer
from treadle.decide.settling import Settling
from treadle.definition import Definition
from treadle.errors import TreadleError
from treadle.history import verdict_data
from treadle.state import AttemptRow, Decided, Ended, EventKind, ItemPhase, ItemState, Rest, StageRow, Transition

NAMES = ("a", "b", "c", "d", "e")
VERDICTS = (None, Accepted(), Rejected(QualityFeedback("no")), Uncertain("hm"))
QUESTION = '{"summary":"keep it?","details":null}'
PEOPLE = [d for d in Decided if d is not Decided.WITHDRAWN]

policies = st.sampled_from(
    [
        ReviewPolicy.NEVER,
        ReviewPolicy.ALWAYS,
        ReviewPolicy.ON_ESCALATION,
        ReviewPolicy.ON_UNCERTAIN,
        ReviewPolicy.ON_ESCALATION_OR_UNCERTAIN | ReviewPolicy.sample(0.5),
        ReviewPolicy.ALWAYS.due(days=1, then="approve"),
        ReviewPolicy.ON_ESCALATION.due(days=1, then="reject"),
        ReviewPolicy.sample(1).due(days=1, then="escalate"),
    ]
)


@st.composite
def graphs(draw: st.DrawFn) -> Mapping[str, list[str]]:
    """Any graph whose edges point to earlier names."""
    return {
        name: draw(st.lists(st.sampled_from(NAMES[:place]), unique=True) if place else st.just([]))
        for place, name in enumerate(NAMES)
    }


class World:
    """One item, everybody who may act on it, and the promises that every step is held to."""

    def __init__(self, flow: Definition, window: int, chance: random.Random) -> None:
        self.flow = flow
        self.window = window
        self.chance = chance
        self.is_unlucky = chance.random() < 0.4
        """Whether nearly everything fails: that is how budgets are spent."""
        self.state = ItemState("x", '{"id":"x"}')
        self.now = 1
        self.open: list[tuple[str, int | None]] = []
        self.charged: dict[tuple[str, int | None, int], int] = {}
        self.extra: dict[str, int] = dict.fromkeys(NAMES, 0)
        self.ended: set[tuple[str, int | None, int, int]] = set()
        self.refused: set[str] = set()
        """Stages that a person rejected, until somebody has them tried again."""

    def take(self, change: Transition, *, acted: bool = False) -> None:
        after = self.state.stages | {row.stage: row for row in change.stages}
        for row in change.stages:
            if row.state is StageState.RUNNING and not row.fan_out:
                needs = [after[need].state for need in self.flow.stages[row.stage].needs]
                assert all(need.is_finished for need in needs), f"{row.stage} started before what it needs"
                assert not self.refused & self.above(row.stage), f"{row.stage} started behind what a person rejected"
            if row.state is StageState.AWAITING_REVIEW:
                reviews = self.state.reviews | {review.stage: review for review in change.reviews}
                assert reviews[row.stage].decision is None, "somebody is asked, but there is no question"
        if acted:
            for stage in change.cleared:
                self.state.boards.pop(stage)
            self.state.stages.update({row.stage: row for row in change.stages})
            for child in change.subtasks:
                self.state.boards[child.stage].put(child)
            self.state.reviews.update({review.stage: review for review in change.reviews})
            if change.rest is not None:
                self.state.phase = change.rest.phase
        else:
            decide.apply(self.flow, self.state, change)
            self.open += change.starts
            assert self.state.running == len(self.open)

    def above(self, stage: str) -> set[str]:
        """The stage and all that it depends on."""
        needs = self.flow.stages[stage].needs
        return {stage}.union(*(self.above(need) for need in needs))

    def walk(self) -> None:
        """Let everybody act until the item rests for good."""
        change = self.claim()
        acts = 0
        for _ in range(600):
            self.take(change)
            self.now += 1
            if change.rest is None:
                assert self.open, "the item neither rests nor moves"
                change = self.attempt()
                SEEN["attempt"] += 1
                continue
            assert not self.open
            assert all(row.state is not StageState.RUNNING or row.fan_out for row in self.state.stages.values())
            self.state.phase = change.rest.phase
            while acts < 12 and self.chance.random() < 0.7:
                acts += 1
                self.person()
            waits = [row for row in self.state.stages.values() if row.state is StageState.PENDING]
            if change.rest.wake is None and acts >= 12 and not waits:
                assert change.rest.phase is not ItemPhase.PENDING
                return
            self.now = max(self.now, change.rest.wake or 0, *(row.due or 0 for row in waits), 0)
            again = self.claim()
            if again.rest is not None and again.rest.wake is None and not again.stages:
                assert again.rest.phase is not ItemPhase.PENDING, "it rests, pending, and nothing will wake it"
                return
            change = again
        raise AssertionError("the item never came to rest")

    def claim(self) -> Transition:
        decide.count(self.flow, self.state)
        return decide.begin(self.flow, self.state, self.now, self.window)

    def attempt(self) -> Transition:
        """One of the running attempts ends somehow."""
        chance = self.chance
        stage, seq = self.open.pop(chance.randrange(len(self.open)))
        row = self.state.stages[stage] if seq is None else self.state.boards[stage].rows[seq]
        kinds = [Ended.COMPLETED, Ended.SKIPPED, Ended.FAILED, Ended.TIMED_OUT]
        how = chance.choice(kinds if seq is not None else [*kinds, Ended.AWAITING_REVIEW, Ended.FAN_OUT])
        if self.is_unlucky and chance.random() < 0.8:
            how = Ended.FAILED
        verdict = chance.choice(VERDICTS) if how is Ended.COMPLETED else None
        key = (stage, seq, row.reruns, row.attempt)
        assert key not in self.ended, "an attempt has two ends"
        self.ended.add(key)
        if how in (Ended.FAILED, Ended.TIMED_OUT) or verdict is not None or how is Ended.COMPLETED:
            unit = (stage, seq, row.reruns)
            self.charged[unit] = self.charged.get(unit, 0) + 1
            most = self.flow.stages[stage].retry.max_attempts + self.extra[stage]
            assert self.charged[unit] <= most, f"{unit} was tried {self.charged[unit]} times"
        attempt = AttemptRow(
            stage, seq, row.attempt, self.now, self.now, how, chance.choice([None, "1", "2"]),
            subtasks=[(f"s{n}", None) for n in range(chance.randrange(5))] if how is Ended.FAN_OUT else (),
            review=QUESTION if how is Ended.AWAITING_REVIEW else None, retry=chance.random() < 0.9, run=row.reruns,
            verdict=None if verdict is None else json.dumps(verdict_data(verdict, "g")),
        )  # fmt: skip
        change = decide.settle(self.flow, self.state, attempt, self.now, 0.5, self.window)
        if chance.random() < 0.02:
            state, other = copy.deepcopy(self.state), copy.deepcopy(self.state)
            assert decide.settle_in_place(self.flow, other, attempt, self.now, 0.5, self.window) == change
            decide.apply(self.flow, state, change)
            assert (other.stages, other.unmet, other.running, other.asking) == (
                state.stages,
                state.unmet,
                state.running,
                state.asking,
            )
        if isinstance(verdict, Rejected | Uncertain) and seq is None:
            carried = any(review.decision is not None for review in change.reviews)
            passed = any(row.stage == stage and row.state is StageState.COMPLETED for row in change.stages)
            assert carried or not passed, "a gate said no, and it passed"
        return change

    def person(self) -> None:
        """Somebody acts on the resting item, or tries to."""
        chance = self.chance
        waiting = [name for name, row in self.state.stages.items() if row.state is StageState.AWAITING_REVIEW]
        stage = chance.choice(waiting if waiting and chance.random() < 0.8 else NAMES)
        act = chance.choice(["decide", "decide", "decide", "undo", "reopen", "rerun", "retry", "hold", "expire", "nothing"])
        flow, state, now = self.flow, self.state, self.now
        try:
            if act == "decide":
                decided = chance.choice(PEOPLE)
                edited = '"edited"' if decided is Decided.APPROVE_WITH_EDITS else None
                feedback = '{"summary":"more","failed_criteria":[],"guidance":null}'
                change = decide.resolve(flow, state, stage, Answer(decided, "ann", "why", edited, feedback=feedback), now)
                self.extra[stage] += decided is Decided.REQUEST_CHANGES
            elif act == "undo":
                change = decide.undo(flow, state, stage, now)
            elif act == "reopen":
                change = decide.reopen(flow, state, stage, "op", "why", now)
            elif act == "rerun":
                change = decide.rerun(flow, state, stage, now, cascade=chance.random() < 0.5)
            elif act == "retry":
                change = decide.retry(flow, state, stage, now)
                self.charged = {unit: 0 if unit[0] == stage else spent for unit, spent in self.charged.items()}
            elif act == "hold":
                change = decide.hold(state, stage, chance.choice(["ann", "bo"]), chance.choice([None, now + 1]), now)
            elif act == "expire":
                self.now = now = now + 86_400_000_000
                change = decide.expire(flow, state, now)
            else:
                return
        except TreadleError:  # and nothing else: whatever the rows, an act is done or refused in our words
            return
        # Whoever takes a rejection back, or has it done again, does so on purpose.
        self.refused -= {row.stage for row in change.stages}
        self.refused |= {review.stage for review in change.reviews if review.decision is Decided.REJECT}
        self.take(change, acted=True)
        SEEN[act] += 1


SEEN: Counter[str] = Counter()
"""How often the walks came to what; a walk that never gets anywhere proves nothing."""


@given(graphs(), st.integers(1, 3), st.sampled_from(ExhaustedAction), policies, st.integers(1, 4), st.integers(0, 2**32))
def test_promises_hold_for_every_course_of_events(
    graph: Mapping[str, list[str]], budget: int, exhausted: ExhaustedAction, policy: ReviewPolicy, window: int, seed: int
) -> None:
    flow = Definition.from_shape("any", graph)
    retry = RetryBudget(max_attempts=budget, on_exhausted=exhausted)
    stages = {n: replace(stage, retry=retry, review=policy, judged=True) for n, stage in flow.stages.items()}
    for walk in range(40):
        # Drawn by hypothesis, most walks would end after a few steps: small choices are what it likes.
        World(replace(flow, stages=stages), window, random.Random(f"{seed}.{walk}")).walk()


def test_the_walks_get_somewhere() -> None:
    test_promises_hold_for_every_course_of_events()
    for what in ("attempt", "decide", "undo", "reopen", "rerun", "retry", "hold", "expire"):
        assert SEEN[what] > 5, f"{what} was seen {SEEN[what]} times: {SEEN}"


def test_a_broken_promise_is_noticed() -> None:
    """The test above would be worth nothing if a stage that starts too early passed it."""
    flow = Definition.from_shape("any", {"a": [], "b": ["a"]})
    world = World(flow, 1, random.Random(0))
    early = Transition(1, stages=[StageRow("b", StageState.RUNNING, 1, 1)], starts=[("b", None)])
    decide.count(flow, world.state)
    try:
        world.take(early)
    except (AssertionError, KeyError):
        return
    raise AssertionError("b started before a, and nobody noticed")


def test_every_kind_of_event_has_a_word() -> None:
    assert len({kind.value for kind in EventKind}) == len(list(EventKind))


@given(graphs())
def test_every_item_opens_as_the_long_way_says(graph: Mapping[str, list[str]]) -> None:
    flow, state = Definition.from_shape("any", graph), ItemState("a", "{}")
    decide.count(flow, state)
    assert decide.is_untouched(state)
    opening, begun = decide.opening(flow, 5), decide.begin(flow, state, 5, 100)
    assert opening is not None
    assert _listed(opening) == _listed(begun)
    other = ItemState("b", "{}")
    decide.open_all(flow, [other], opening)
    decide.apply(flow, state, opening)
    assert (other.stages, other.unmet, other.running, other.asking) == (state.stages, state.unmet, state.running, state.asking)


@given(graphs(), st.integers(1, 3), st.data())
def test_the_straight_line_says_what_the_long_way_says(graph: Mapping[str, list[str]], window: int, data: st.DataObject) -> None:
    flow = Definition.from_shape("any", graph)
    world = World(flow, window, random.Random(0))
    world.take(world.claim())
    while world.open:
        stage, _ = world.open.pop(data.draw(st.integers(0, len(world.open) - 1)))
        world.now += 1
        attempt = AttemptRow(stage, None, 1, world.now, world.now, Ended.COMPLETED, data.draw(st.sampled_from([None, "1"])))
        change = decide.settle(flow, world.state, attempt, world.now, 0.5, window)
        draft = Settling(flow, world.state, world.now, window)
        draft.settle_stage(flow.stages[stage], world.state.stages[stage], attempt, 0.5)
        assert _listed(change) == _listed(draft.finish())
        other = copy.deepcopy(world.state)
        assert decide.settle_in_place(flow, other, attempt, world.now, 0.5, window) == change
        world.take(change)
        assert _all_of(other) == _all_of(world.state)
    assert all(row.state is StageState.COMPLETED for row in world.state.stages.values())
    assert set(world.state.stages) == set(NAMES)


@given(
    graphs(), st.sampled_from([0, 0.5]), st.integers(0, 1), st.lists(st.sampled_from(['"x"', "1", "[]"]), min_size=4), st.data()
)
def test_what_is_said_at_once_of_many_is_what_is_said_of_each(
    graph: Mapping[str, list[str]], sampled: float, window: int, artefacts: list[str], data: st.DataObject
) -> None:
    flow, states = Definition.from_shape("any", graph), [ItemState(f"item {n}", "{}") for n in range(len(artefacts))]
    stage = data.draw(st.sampled_from(flow.roots))
    flow.stages[stage] = replace(flow.stages[stage], review=ReviewPolicy.sample(sampled), judged=sampled > 0)
    opening = decide.opening(flow, 5)
    assert opening is not None
    decide.open_all(flow, states, opening)
    attempt = AttemptRow(stage, None, 1, 5, 6, Ended.COMPLETED, artefacts[0])
    said = decide.settle_alike(flow, states, attempt, artefacts, window)
    if said is None:  # the long way it is, for each
        assert sampled or not window or len(flow.roots) > 1
        return
    changes = list(said)
    assert [_listed(change) for _, change in changes] == [
        _listed(decide.settle(flow, state, attempt._replace(artefact=artefact), 6, 0.5, window))
        for state, artefact in zip(states, artefacts, strict=True)
    ]
    others = [copy.deepcopy(state) for state in states]
    decide.apply_alike(flow, said)
    for state, other, (of, change) in zip(states, others, changes, strict=True):
        assert of is state
        decide.apply(flow, other, change)
        assert _all_of(state) == _all_of(other)
    assert flow.needed == {name: len(needs) for name, needs in graph.items()}


def _all_of(state: ItemState) -> list[object]:
    return [getattr(state, name) for name in ItemState.__slots__]


def _listed(change: Transition) -> list[object]:
    return [list(part) if isinstance(part, tuple) and not isinstance(part, Rest) else part for part in change]
