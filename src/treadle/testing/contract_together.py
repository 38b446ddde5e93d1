"""What a store must do with changes of many items that are handed over together."""

from __future__ import annotations

from collections.abc import Sequence

from treadle import decide
from treadle.clock import now_us
from treadle.errors import LeaseLost, TreadleError
from treadle.event import EventKind
from treadle.state import (
    Alike,
    AskedBy,
    AttemptRow,
    Change,
    Ended,
    ItemPhase,
    ItemState,
    Rest,
    ReviewRow,
    StageState,
    StageStatus,
    SubtaskRow,
    Transition,
)
from treadle.store import NewItem, StateStore
from treadle.testing.contract_acts import FLOW, ME, alive, held


async def journal_of(store: StateStore, item: str) -> list[tuple[str, str | None, int]]:
    """What the journal tells of an item."""
    return [(event.kind.value, event.stage, event.at.microsecond) for event in await store.events(0, 100, item)]


def opened_alike(states: Sequence[ItemState]) -> Alike:
    """They begin, at the time 1."""
    opening = decide.opening(FLOW, 1)
    assert opening is not None
    return decide.open_all(FLOW, states, opening)


def ended_alike(states: Sequence[ItemState], stage: str, at: int) -> Alike:
    """A stage of each of them has made something."""
    attempt = AttemptRow(stage, None, 1, at - 1, at, Ended.COMPLETED, "0")
    said = decide.settle_alike(FLOW, states, attempt, [str(n) for n in range(len(states))], 10)
    assert said is not None
    decide.apply_alike(FLOW, said)
    return said


class TogetherContract:
    """``commit_all``: quicker than one by one, and the same; also of what is said once."""

    async def test_changes_that_are_committed_together_are_each_as_if_alone(self, store: StateStore) -> None:
        old = await held(store, "x", "y", "z")
        await store.revise("y", lambda found: decide.cancel(FLOW, found, "enough", now_us()))
        for step in range(2):
            changes = []
            for state in old:
                unit = ("a", None)
                made = AttemptRow("a", None, 1, now_us(), now_us(), Ended.COMPLETED, artefact=f'"{state.id}"')
                change = decide.settle(FLOW, state, made, now_us(), 0.0, 10) if step else decide.begin(FLOW, state, now_us(), 10)
                assert change.starts == [unit] if step == 0 else change.starts == [("b", None)]
                decide.apply(FLOW, state, change)
                changes.append((state, change))
            first, second, third = await store.commit_all(changes)
            assert (first, third) == (None, None)
            assert isinstance(second, LeaseLost)
            assert "'y'" in str(second)
        assert await store.commit_all([]) == []
        for identity, artefact in (("x", '"x"'), ("z", '"z"')):
            found = await store.load(identity)
            assert found is not None
            assert (found.stages["a"].state, found.stages["a"].artefact) == (StageState.COMPLETED, artefact)
        told = [event.kind.value for event in await store.events(0, 100, "y")]
        assert told.count("commit_refused") == 2
        (alone,) = await store.commit_all([(old[0], Transition(now_us()))])
        assert alone is None

    async def test_what_is_committed_together_is_told_in_its_order(self, store: StateStore) -> None:
        (state,) = await held(store, "x")

        def ended(stage: str) -> Change:
            made = AttemptRow(stage, None, 1, now_us(), now_us(), Ended.COMPLETED)
            change = decide.settle(FLOW, state, made, now_us(), 0.0, 10)
            decide.apply(FLOW, state, change)
            return state, change

        begun = decide.begin(FLOW, state, now_us(), 10)
        decide.apply(FLOW, state, begun)
        await store.commit(state, begun)
        await store.load("x")  # whoever looks sees the start, which is stored by now
        assert await store.commit_all([ended("a"), ended("b")]) == [None, None]
        told = [(event.kind.value, event.stage) for event in await store.events(0, 100, "x")]
        assert told[1:] == [
            ("stage_started", "a"), ("stage_completed", "a"), ("stage_started", "b"), ("stage_completed", "b"),
            ("workflow_completed", None),
        ]  # fmt: skip

    async def test_nothing_follows_the_change_that_gives_an_item_back(self, store: StateStore) -> None:
        for state in await held(store, "together", "apart"):
            begun = decide.begin(FLOW, state, now_us(), 10)
            decide.apply(FLOW, state, begun)
            made = AttemptRow("a", None, 1, now_us(), now_us(), Ended.COMPLETED)
            given_back = decide.settle(FLOW, state, made, now_us(), 0.0, 0)
            assert given_back.rest is not None
            changes = [(state, begun), (state, given_back), (state, given_back)]
            if state.id == "together":
                first, second, third = await store.commit_all(changes)
            else:
                first, second, third = [(await store.commit_all([change]))[0] for change in changes]
            assert (first, second) == (None, None)
            assert isinstance(third, LeaseLost)
            kinds = [event.kind for event in await store.events(0, 100, state.id)]
            assert kinds.count(EventKind.STAGE_COMPLETED) == 1

    async def test_what_is_said_once_is_as_if_it_was_said_of_each(self, store: StateStore) -> None:
        states = await held(store, *(f"{kind}-{n}" for kind in ("once", "each") for n in range(4)))
        once, each = states[:4], states[4:]
        for step in range(3):
            said = [opened_alike(some) if step == 0 else ended_alike(some, "ab"[step - 1], step + 1) for some in (once, each)]
            assert await store.commit_all(said[0]) == [None] * 4
            for change in said[1]:
                assert await store.commit_all([change]) == [None]
            if step == 1:  # somebody looks in between
                assert (await store.counts()).stages["a"] == {StageState.COMPLETED: 8}
        for n in range(4):
            one, other = await store.load(f"once-{n}"), await store.load(f"each-{n}")
            assert one is not None
            assert other is not None
            assert one.stages == other.stages
            assert [one.stages[stage].artefact for stage in ("a", "b")] == [str(n)] * 2
            assert (one.phase, one.fence, one.priority, one.lost) == (ItemPhase.COMPLETED, other.fence, other.priority, None)
            assert await journal_of(store, f"once-{n}") == await journal_of(store, f"each-{n}")
        # Whoever has given an item back has nothing more to say of it.
        assert [type(refused) for refused in await store.commit_all(Alike(once, Transition(9)))] == [LeaseLost] * 4
        counts = await store.counts()
        assert (counts.phases, counts.stages["b"]) == ({ItemPhase.COMPLETED: 8}, {StageState.COMPLETED: 8})
        assert [worker.holds for worker in await store.workers()] == [0]

    async def test_who_lost_an_item_is_refused_what_is_said_once_of_it_and_others(self, store: StateStore) -> None:
        states = await held(store, "x", "y", "z")
        await store.revise("y", lambda found: decide.cancel(FLOW, found, "enough", now_us()))
        for said in (opened_alike(states), ended_alike(states, "a", 2)):
            first, second, third = await store.commit_all(said)
            assert (first, third) == (None, None)
            assert isinstance(second, LeaseLost)
            assert "'y'" in str(second)
        for identity, artefact in (("x", "0"), ("z", "2")):
            found = await store.load(identity)
            assert found is not None
            assert (found.stages["a"].artefact, found.stages["b"].state) == (artefact, StageState.RUNNING)
        assert [event.kind for event in await store.events(0, 100, "y")].count(EventKind.COMMIT_REFUSED) == 2
        lost = await store.load("y")
        assert lost is not None
        assert "a" not in lost.stages
        assert (await store.counts()).phases == {ItemPhase.PENDING: 2, ItemPhase.CANCELLED: 1}

    async def test_of_items_that_are_held_anew_nothing_is_taken_from_whoever_had_them_before(self, store: StateStore) -> None:
        states = await held(store, "x", "y")
        await store.retire((await store.workers())[0].number)
        again = (await store.claim(await store.enlist(ME), 10, now_us(), is_dead=alive)).items
        assert [type(refused) for refused in await store.commit_all(opened_alike(states))] == [LeaseLost] * 2
        assert await store.commit_all(Alike(again, Transition(now_us()))) == [None] * 2
        assert (await store.counts()).stages["a"] == {StageState.PENDING: 2}

    async def test_what_somebody_revised_is_due_at_once_of_those_that_rest_alike(self, store: StateStore) -> None:
        states = await held(store, "x", "y", "z")
        await store.revise("y", lambda _: Transition(now_us()))
        far = now_us() + 3_600_000_000
        none = [None] * 3
        refusals: list[TreadleError | None] = await store.commit_all(
            Alike(states, Transition(now_us(), rest=Rest(ItemPhase.PENDING, far, 7)))
        )
        assert refusals == none
        worker = await store.enlist(ME)
        due = await store.claim(worker, 10, now_us(), is_dead=alive)
        assert [(state.id, state.priority) for state in due.items] == [("y", 7)]
        assert due.wake == far

    async def test_what_somebody_revised_is_counted_as_it_stands_when_others_rest_alike(self, store: StateStore) -> None:
        states = await held(store, "x", "y", "z")
        await store.set_status("z", "b", StageStatus.completed())
        rest = Transition(now_us(), rest=Rest(ItemPhase.FAILED, None))
        assert await store.commit_all(Alike(states, rest)) == [None] * 3
        counts = await store.counts()
        assert counts.stages["b"] == {StageState.PENDING: 2, StageState.COMPLETED: 1}

    async def test_everything_that_is_the_same_of_many_items_is_written_of_each(self, store: StateStore) -> None:
        states = await held(store, "x", "y")
        tried = AttemptRow("a", None, 1, 1, 2, Ended.FAILED, error="no", metrics='{"tokens":1}')
        child = SubtaskRow("b", 0, "part", StageState.PENDING, 0, 2)
        asked = ReviewRow("a", 1, AskedBy.GATE, 1, 2, '{"summary":"well?"}', "digest")
        change = Transition(2, subtasks=[child], attempts=[tried], reviews=[asked])
        assert await store.commit_all(Alike(states, change)) == [None] * 2
        for state in states:
            found = await store.load(state.id)
            assert found is not None
            assert [row.name for row in found.boards["b"].rows] == ["part"]
            assert found.reviews["a"].question == asked.question
            assert [attempt.error for _, attempt in await store.attempts(state.id, "a")] == ["no"]
        cleared = Transition(3, cleared=["b"])
        assert await store.commit_all(Alike(states, cleared)) == [None] * 2
        for state in states:
            found = await store.load(state.id)
            assert found is not None
            assert "b" not in found.boards

    async def test_items_that_rest_alike_are_counted_as_each_stands(self, store: StateStore) -> None:
        await store.bind(FLOW)
        await store.set_status("promised", "b", StageStatus.completed())
        states = await held(store, "x", "y")
        worker = (await store.workers())[0].number
        (promised,) = (await store.claim(worker, 1, now_us(), is_dead=alive, only="promised")).items
        failed = Transition(now_us(), rest=Rest(ItemPhase.FAILED, None))
        assert await store.commit_all(Alike(states, failed)) == [None] * 2
        assert await store.commit_all(Alike([promised], failed)) == [None]
        assert await store.commit_all(Alike([], failed)) == []
        counts = await store.counts()
        assert (counts.phases, counts.stages["b"]) == ({ItemPhase.FAILED: 2}, {StageState.PENDING: 2})
        await store.add([NewItem("promised", "{}")], decide.arrive(FLOW, now_us()))
        assert (await store.counts()).stages["b"] == {StageState.PENDING: 2, StageState.COMPLETED: 1}
