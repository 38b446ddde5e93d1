"""What a store must do for those who wait: items are claimed when they are due, in their order."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from treadle import decide
from treadle.clock import now_us
from treadle.errors import LeaseLost
from treadle.event import EventKind
from treadle.outcome import ReviewData
from treadle.state import ItemPhase, ItemState, Rest, StageState, StageStatus, Transition
from treadle.store import Claimed, Filter, NewItem, StateStore
from treadle.testing.contract_acts import FLOW, ME, alive, held, prune, write


async def take(store: StateStore, worker: int, now: int, limit: int = 10, only: str | None = None) -> Claimed:
    """What is due at that time."""
    return await store.claim(worker, limit, now, is_dead=alive, only=only)


async def rest(store: StateStore, state: ItemState, *rests: Rest) -> None:
    """The item is given back, to rest like that; then it is claimed by its name and given back like the next."""
    await store.commit(state, Transition(now_us(), rest=rests[0]))
    worker = (await store.workers())[0].number
    for one in rests[1:]:
        (state,) = (await take(store, worker, 0, only=state.id)).items
        await store.commit(state, Transition(now_us(), rest=one))


def ids(items: Sequence[ItemState]) -> list[str]:
    """Their ids, in order."""
    return [state.id for state in items]


class ClaimingContract:
    """Times, priorities and expiries; items that came before their content."""

    async def test_items_are_claimed_by_priority_then_by_how_long_they_wait(self, store: StateStore) -> None:
        await store.bind(FLOW)
        for number, (name, priority) in enumerate([("low", -1), ("b", 0), ("a", 0), ("high", 5)]):
            await store.add([NewItem(name, "{}", priority)], decide.arrive(FLOW, 10 + number))
        worker = await store.enlist(ME)
        assert (await take(store, worker, 9)).wake == 10
        first = await take(store, worker, 12, limit=3)
        assert ids(first.items) == ["b", "a", "low"]
        assert ids((await take(store, worker, 13)).items) == ["high"]
        for state in first.items:
            await rest(store, state, Rest(ItemPhase.PENDING, 20, {"b": 1, "a": 0, "low": 2}[state.id]))
        assert ids((await take(store, worker, 20, limit=2)).items) == ["low", "b"]
        assert ids((await take(store, worker, 20)).items) == ["a"]

    async def test_only_how_an_item_rests_last_tells_when_it_is_due(self, store: StateStore) -> None:
        states = await held(store, "later", "sooner", "never", "same")
        worker = (await store.workers())[0].number
        soon, late = Rest(ItemPhase.PENDING, 20), Rest(ItemPhase.PENDING, 30)
        for state, rests in zip(
            states, ((soon, late), (late, soon), (soon, Rest(ItemPhase.FAILED, None)), (soon, soon)), strict=True
        ):
            await rest(store, state, *rests)
        found = await take(store, worker, 25)
        assert sorted(ids(found.items)) == ["same", "sooner"]
        assert found.wake is not None
        assert ids((await take(store, worker, 30)).items) == ["later"]
        assert (await take(store, worker, 1000)).items == []

    async def test_an_expiry_makes_an_item_due_once_unless_it_has_been_claimed_since(self, store: StateStore) -> None:
        states = await held(store, "expires", "was-claimed", "has-another")
        worker = (await store.workers())[0].number
        asked, answered = Rest(ItemPhase.AWAITING_REVIEW, None, 0, 20), Rest(ItemPhase.AWAITING_REVIEW, None)
        for state, rests in zip(states, ((asked,), (asked, answered), (asked, asked._replace(expiry=30))), strict=True):
            await rest(store, state, *rests)
        before = await take(store, worker, 19)
        assert (before.items, before.wake) == ([], None)
        (state,) = (await take(store, worker, 20)).items
        assert state.id == "expires"
        await rest(store, state, answered)
        assert ids((await take(store, worker, 29)).items) == []
        assert ids((await take(store, worker, 30)).items) == ["has-another"]

    async def test_what_was_cancelled_before_it_came_does_not_move(self, store: StateStore) -> None:
        await store.bind(FLOW)
        for name in ("cancelled", "asked"):
            await store.set_status(name, "a", StageStatus.awaiting_review(ReviewData("look")))
        await store.revise("cancelled", lambda state: decide.cancel(FLOW, state, "why", now_us()))
        await store.add([NewItem(name, "{}") for name in ("cancelled", "asked")], decide.arrive(FLOW, now_us()))
        counts = await store.counts()
        assert counts.phases == {ItemPhase.CANCELLED: 1, ItemPhase.PENDING: 1}
        assert counts.stages["a"] == {StageState.FAILED: 1, StageState.AWAITING_REVIEW: 1}
        assert ids(await store.page(Filter(phase=ItemPhase.CANCELLED), None, 9)) == ["cancelled"]
        (state,) = (await take(store, await store.enlist(ME), now_us())).items
        assert (state.id, state.phase, state.stages["a"].state) == ("asked", ItemPhase.PENDING, StageState.AWAITING_REVIEW)

    async def test_the_claim_of_a_pruned_item_says_nothing_of_another_of_its_name(self, store: StateStore) -> None:
        (old,) = await held(store, "x")
        await write(store, old, decide.begin(FLOW, old, now_us(), 10))
        await store.revise("x", lambda state: decide.cancel(FLOW, state, "why", now_us()))
        await prune(store, phases={ItemPhase.CANCELLED})
        (new,) = await held(store, "x")
        assert new.fence == 1
        with pytest.raises(LeaseLost):
            await store.commit(old, Transition(now_us(), rest=Rest(ItemPhase.COMPLETED, None)))
        assert [event.kind for event in await store.events(0, 100, "x")] == [EventKind.ITEM_ADDED]
        await store.commit(new, Transition(now_us()))
        assert (await store.counts()).phases == {ItemPhase.PENDING: 1}

    async def test_pages_know_what_came_since_the_last_one(self, store: StateStore) -> None:
        await held(store, "d", "b")
        assert ids(await store.page(Filter(), None, 9)) == ["b", "d"]
        await held(store, "c", "a")
        assert ids(await store.page(Filter(), None, 9)) == ["a", "b", "c", "d"]
        assert ids((await store.browse(Filter(), "d", 9, backwards=True)).items) == ["c", "b", "a"]
