"""What a store must do for people who look."""

from __future__ import annotations

from collections import Counter

from treadle.clock import from_us, now_us, to_us
from treadle.event import EventKind
from treadle.state import ItemPhase, Rest, StageState, StageStatus, SubTaskStatus, Transition
from treadle.store import OWN, SHOWN, EventFilter, Filter, StateStore
from treadle.testing.contract_acts import finish, held


class LookingContract:
    """Pages, the journal, samples of rows."""

    async def test_pages_for_people_go_both_ways_and_are_bare(self, store: StateStore) -> None:
        first, *_ = await held(store, "c", "a", "b", "d")
        await finish(store, first)
        page = await store.browse(Filter(), None, 3)
        assert ([item.id for item in page.items], page.reached) == (["a", "b", "c"], "c")
        last = await store.browse(Filter(), page.reached, 3)
        assert ([item.id for item in last.items], last.reached) == (["d"], None)
        back = await store.browse(Filter(), "d", 2, backwards=True)
        assert ([item.id for item in back.items], back.reached) == (["c", "b"], "b")
        done = page.items[2]
        assert (done.payload, done.phase, done.stages["b"].state) == ("", ItemPhase.COMPLETED, StageState.COMPLETED)
        assert done.stages["b"].artefact is None
        assert (await store.browse(Filter(prefix="c"), None, 1)).items[0].id == "c"

    async def test_filters_of_pages_for_people(self, store: StateStore) -> None:
        first, *_ = await held(store, "done", "lost", "moved", "New")
        await finish(store, first)
        arrived = now_us()
        await store.set_status("lost", "a", StageStatus.failed("Cannot DECODE it\n" + "x" * 1000))
        await store.revise("lost", lambda found: Transition(now_us(), rest=Rest(ItemPhase.FAILED, None)))
        await store.set_status("moved", "a", StageStatus(StageState.RUNNING))

        async def ids(wanted: Filter) -> list[str]:
            found = [item.id for item in (await store.browse(wanted, None, 9)).items]
            assert [item.id for item in (await store.browse(wanted, None, 9, backwards=True)).items] == found[::-1]
            assert [item.id for item in await store.page(wanted, None, 9)] == found
            return found

        assert await ids(Filter(state=StageState.FAILED)) == ["lost"]
        assert await ids(Filter("b", StageState.PENDING)) == ["New", "lost", "moved"]
        assert await ids(Filter("a", StageState.COMPLETED)) == ["done"]
        assert await ids(Filter(phase=ItemPhase.COMPLETED)) == ["done"]
        assert await ids(Filter(text="decode")) == ["lost"]
        assert await ids(Filter(text="O")) == ["done", "lost", "moved"]
        assert await ids(Filter(text="nEW")) == ["New"]
        assert await ids(Filter(text="%")) == []
        assert await ids(Filter(changed_after=arrived)) == ["lost", "moved"]
        assert await ids(Filter(changed_before=arrived)) == ["New", "done"]
        assert await ids(Filter(prefix="N", changed_before=arrived)) == ["New"]
        (lost,) = (await store.browse(Filter(state=StageState.FAILED), None, 9)).items
        assert lost.stages["a"].error == ("Cannot DECODE it\n" + "x" * 1000)[:SHOWN]

    async def test_one_stage_is_loaded_without_the_others(self, store: StateStore) -> None:
        (state,) = await held(store, "x")
        await finish(store, state)
        await store.set_subtask_status("x", "a", "part", SubTaskStatus.completed("part"))
        found = await store.load("x", stage="b")
        assert found is not None
        assert (set(found.stages), found.stages["b"].artefact, found.boards) == ({"b"}, '{"n":1}', {})
        assert await store.load("nobody", stage="b") is None

    async def test_subtasks_are_paged_and_counted(self, store: StateStore) -> None:
        await held(store, "x")
        for number in range(5):
            status = SubTaskStatus.failed(f"s{number}", "no") if number % 2 else SubTaskStatus.completed(f"s{number}")
            await store.set_subtask_status("x", "a", status.name, status)
        page = await store.children("x", "a", -1, 2)
        assert [(row.seq, row.name) for row in page.rows] == [(0, "s0"), (1, "s1")]
        assert page.states == {StageState.COMPLETED: 3, StageState.FAILED: 2}
        assert [row.name for row in (await store.children("x", "a", 1, 9, state=StageState.FAILED)).rows] == ["s3"]
        assert list((await store.children("nobody", "a", -1, 2)).rows) == []

    async def test_subtasks_say_when_they_began_if_they_did(self, store: StateStore) -> None:
        await held(store, "x")
        began = {"never": None, "at the epoch": from_us(0), "before it": from_us(-1), "once": from_us(7)}
        for state in (StageState.PENDING, StageState.RUNNING):
            for name, when in began.items():
                await store.set_subtask_status("x", "a", name, SubTaskStatus(name, state, started_at=when))
            found = {row.name: row.started for row in (await store.children("x", "a", -1, 9)).rows}
            assert found == {name: None if when is None else to_us(when) for name, when in began.items()}

    async def test_attempts_of_the_stage_alone(self, store: StateStore) -> None:
        (state,) = await held(store, "x")
        await finish(store, state)
        await store.set_subtask_status("x", "a", "part", SubTaskStatus("part", StageState.COMPLETED, attempt=1))
        assert [(name, a.seq, a.artefact) for name, a in await store.attempts("x", "a", seq=OWN)] == [(None, None, '{"n":1}')]
        assert [(name, a.seq) for name, a in await store.attempts("x", "a", seq=0)] == [("part", 0)]

    async def test_the_journal_is_read_both_ways(self, store: StateStore) -> None:
        first, _ = await held(store, "x", "y")
        await finish(store, first)
        everything = await store.events(0, 100)
        newest = await store.journal(EventFilter(), None, 3, newest_first=True)
        assert list(newest.events) == everything[-1:-4:-1]
        older = await store.journal(EventFilter(), newest.reached, 100, newest_first=True)
        assert (list(older.events), older.reached) == (everything[-4::-1], None)
        ahead = await store.journal(EventFilter(), everything[1].cursor, 2)
        assert (list(ahead.events), ahead.reached) == (everything[2:4], everything[3].cursor)
        assert (await store.journal(EventFilter(), everything[-1].cursor, 2)).reached is None
        started = EventFilter("x", "b", frozenset({EventKind.STAGE_STARTED}))
        for order in (False, True):
            (event,) = (await store.journal(started, None, 9, newest_first=order)).events
            assert (event.item_id, event.stage, event.kind) == ("x", "b", EventKind.STAGE_STARTED)

    async def test_the_journals_end_is_counted(self, store: StateStore) -> None:
        first, _ = await held(store, "x", "y")
        await finish(store, first)
        hour = 3_600_000_000
        told = await store.tally(EventFilter(), 100, hour)
        counted: Counter[tuple[str | None, str]] = Counter()
        for one in told:
            assert one.at % hour == 0
            counted[one.stage, one.kind] += one.n
        assert counted[None, "item_added"] == 2
        assert counted["a", "stage_completed"] == counted["b", "stage_started"] == 1
        assert sum(one.n for one in await store.tally(EventFilter(), 2, hour)) == 2
        only = EventFilter(stage="b", kinds=frozenset({EventKind.STAGE_COMPLETED}))
        assert [(one.stage, one.kind, one.n) for one in await store.tally(only, 100, hour)] == [
            ("b", EventKind.STAGE_COMPLETED, 1)
        ]

    async def test_rows_of_a_state_the_newest_first(self, store: StateStore) -> None:
        first, second, *_ = await held(store, "x", "y", "z", "u")
        await finish(store, second)
        await finish(store, first)
        for item in ("z", "u"):
            await store.set_status(item, "a", StageStatus.failed("no"))
        completed = await store.recent(StageState.COMPLETED, 9, stage="b")
        assert [(item, row.stage, row.attempt, row.artefact) for item, row in completed] == [
            ("x", "b", 1, None),
            ("y", "b", 1, None),
        ]
        assert [item for item, row in await store.recent(StageState.COMPLETED, 1) if row.stage == "a"] == ["x"]
        assert [(item, row.error) for item, row in await store.recent(StageState.FAILED, 9)] == [("u", "no"), ("z", "no")]
        assert await store.recent(StageState.FAILED, 9, stage="b") == []
