"""Gates judge, budgets are kept, policies ask, people decide: each word of it through the engine and the inbox."""

from __future__ import annotations

import asyncio
import importlib.util
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from treadle import (
    Accepted,
    Approve,
    ApproveWithEdits,
    AwaitingReview,
    CriterionResult,
    Engine,
    ExhaustedAction,
    FanOut,
    GateContext,
    Inbox,
    InvalidArtefact,
    InvalidTransition,
    InvalidWorkflow,
    ItemNotFound,
    MemoryStateStore,
    PermanentError,
    QualityFeedback,
    QualityGate,
    Reject,
    Rejected,
    RequestChanges,
    RetryBudget,
    RetryLater,
    ReviewConflict,
    ReviewData,
    ReviewFilter,
    ReviewPolicy,
    Stage,
    StageContext,
    StageNotFound,
    StageOutput,
    StageState,
    StateStore,
    SubTask,
    Uncertain,
    Workflow,
    criterion,
    decide,
    fits_schema,
    fits_type,
    gate,
    gate_records,
    judge,
    spot_check,
)
from treadle.clock import now_us
from treadle.errors import LeaseLost
from treadle.history import Attempt
from treadle.state import ItemState, Transition

Item = dict[str, Any]
YES, HM = Accepted(), Uncertain("hm")
NO = Rejected(QualityFeedback("no", [CriterionResult("c", 1, 2, passed=False)], "do better"))


def says(*verdicts: Any) -> Callable[..., Any]:
    """A gate that says these, one an attempt, and the last of them from then on."""

    def judged(item: Item, output: StageOutput, ctx: GateContext) -> Any:
        verdict = verdicts[min(ctx.attempt, len(verdicts)) - 1]
        if isinstance(verdict, BaseException):
            raise verdict
        return verdict

    return judged


def one(gate: Any = None, *, body: Callable[..., Any] | None = None, **options: Any) -> Workflow:
    """``work`` makes the number of its attempt; ``then`` adds a hundred."""
    flow = Workflow("one")

    async def counted(item: Item, ctx: StageContext) -> int:
        return ctx.attempt

    stage = body or counted
    stage.__name__ = "work"
    flow.stage(gate=gate, **options)(stage)

    @flow.stage
    async def then(item: Item, work: int) -> int:
        return (work or 0) + 100

    return flow


async def ran(flow: Workflow, store: StateStore, *ids: str) -> Engine:
    engine = Engine(flow, store)
    await engine.run([{"id": i} for i in ids or ("x",)])
    return engine


async def artefact(store: StateStore, stage: str = "then", item: str = "x") -> Any:
    state = await store.load(item)
    assert state is not None
    row = state.stages.get(stage)
    return None if row is None or row.artefact is None else json.loads(row.artefact)


async def state_of(engine: Engine, stage: str = "work", item: str = "x") -> StageState:
    return (await engine.status(item))[stage].state


async def attempts(engine: Engine, stage: str = "work", item: str = "x") -> list[Attempt]:
    return list((await engine.inbox.show(item, stage)).attempts)


async def move_into_the_past(store: StateStore, item: str = "x", stage: str = "work") -> None:
    """The review's time is over."""

    def change(state: ItemState) -> Transition:
        review = state.reviews[stage]
        late = Transition(now_us(), reviews=[review._replace(due=now_us() - 1)])
        phase = decide.next_due(state)
        assert phase is None
        from treadle.state import ItemPhase, Rest

        return late._replace(rest=Rest(ItemPhase.AWAITING_REVIEW, None, 0, now_us() - 1))

    await store.revise(item, change)


# --- 1. gates -------------------------------------------------------------------------------------


class Object(QualityGate):
    async def evaluate(self, item: Item, output: StageOutput, ctx: GateContext) -> Any:
        await asyncio.sleep(0)
        return judge(criterion("number", output.artefact, at_least=2))


def plain(item: Item, output: StageOutput, ctx: GateContext) -> Any:
    return judge(criterion("number", output.artefact, at_least=2))


async def waits(item: Item, output: StageOutput, ctx: GateContext) -> Any:
    await asyncio.sleep(0)
    return plain(item, output, ctx)


@pytest.mark.parametrize("judge_of_it", [plain, waits, Object(), gate(plain), fits_schema({"minimum": 2})])
async def test_gates_of_every_kind_reject_the_first_attempt_and_take_the_second(store: StateStore, judge_of_it: Any) -> None:
    engine = await ran(one(judge_of_it, retry=RetryBudget(max_attempts=3)), store)
    assert await state_of(engine, "then") is StageState.COMPLETED
    assert await artefact(store) == 102
    kinds = [event.kind.value async for event in engine.events() if event.stage == "work"]
    assert kinds == [
        "stage_started", "quality_check_failed", "retry_scheduled", "retry_attempt", "stage_started", "quality_check_passed",
        "stage_completed",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("left", "right", "both", "either"),
    [
        (YES, YES, "accepted", "accepted"), (YES, HM, "uncertain", "accepted"), (YES, NO, "rejected", "accepted"),
        (HM, YES, "uncertain", "accepted"), (HM, HM, "uncertain", "uncertain"), (HM, NO, "rejected", "uncertain"),
        (NO, YES, "rejected", "accepted"), (NO, HM, "rejected", "uncertain"), (NO, NO, "rejected", "rejected"),
    ],
)  # fmt: skip
async def test_the_truth_tables(left: Any, right: Any, both: str, either: str) -> None:
    ctx, output = GateContext(item_id="x", stage="work"), StageOutput(1)
    for joined, expected in ((gate(says(left)) & says(right), both), (gate(says(left)) | says(right), either)):
        assert type(await joined.evaluate({}, output, ctx)).__name__.lower() == expected
    for joined, expected in ((says(left) & gate(says(right)), both), (says(left) | gate(says(right)), either)):
        assert type(await joined.evaluate({}, output, ctx)).__name__.lower() == expected


async def test_joined_gates_merge_all_that_was_said() -> None:
    other = Rejected(
        QualityFeedback("short", [CriterionResult("d", 3, 4, passed=False)], "longer"), (CriterionResult("e", 1, 1, passed=True),)
    )
    ctx, output = GateContext(item_id="x", stage="work"), StageOutput(1)
    told = await (gate(says(NO)) & says(HM) & says(other)).evaluate({}, output, ctx)
    assert isinstance(told, Rejected)
    assert told.feedback.summary == "no; short"
    assert [c.name for c in told.feedback.failed_criteria] == ["c", "d"]
    assert told.feedback.guidance == "do better\nlonger\nuncertain: hm"
    assert [c.name for c in told.criteria] == ["e"]
    told = await (gate(says(NO)) | says(other)).evaluate({}, output, ctx)
    assert isinstance(told, Rejected)
    assert told.feedback.summary == "no; short"
    doubts = await (gate(says(HM)) & says(Uncertain("dark"))).evaluate({}, output, ctx)
    assert isinstance(doubts, Uncertain)
    assert doubts.reason == "hm; dark"


@pytest.mark.parametrize(
    ("verdict", "told"),
    [
        (ValueError("broken"), "ValueError: broken"), (None, "returned None"), (True, "returned True"), ("accepted", "returned"),
        (Accepted, "returned <class"), (Rejected("no"), "rejected with 'no'"),  # type: ignore[arg-type]
        (Rejected(QualityFeedback(None)), "summary"), (Uncertain(None), "reason"), (Uncertain(3), "reason"),  # type: ignore[arg-type]
        (Accepted([CriterionResult("c", object(), 1, passed=True)]), "verdict on"), (Accepted(["c"]), "criter"),  # type: ignore[list-item]
        (Rejected(QualityFeedback("no", ["c"])), "criter"),  # type: ignore[list-item]
        (SystemExit(3), "SystemExit"), (asyncio.CancelledError(), "CancelledError"),
    ],
)  # fmt: skip
async def test_a_gate_that_breaks_accepts_nothing_and_costs_an_attempt(store: StateStore, verdict: Any, told: str) -> None:
    async def judged(item: Item, output: StageOutput, ctx: GateContext) -> Any:
        return says(verdict)(item, output, ctx)

    engine = await ran(one(judged, retry=RetryBudget(max_attempts=2, retry_on=BaseException)), store)
    status = (await engine.status("x"))["work"]
    assert (status.state, status.attempt) == (StageState.FAILED, 2)
    assert status.error is not None
    assert told in status.error
    assert await artefact(store) is None


async def test_body_and_gate_share_the_time_of_an_attempt(store: StateStore) -> None:
    async def body(item: Item, ctx: StageContext) -> int:
        await asyncio.sleep(0.15)
        return 1

    async def slow(item: Item, output: StageOutput, ctx: GateContext) -> Any:
        await asyncio.sleep(0.15)
        return YES

    engine = await ran(one(slow, body=body, retry=RetryBudget(attempt_timeout=0.2)), store)
    assert (await engine.status("x"))["work"].error == "timed out after 0.2 s"


async def test_a_gate_judges_class_stages_and_what_threads_made(store: StateStore) -> None:
    seen: list[Any] = []

    def judged(item: Item, output: StageOutput, ctx: GateContext) -> Any:
        seen.append((ctx.stage, ctx.attempt, ctx.max_attempts, [a.number for a in ctx.previous_attempts], output.artefact))
        return NO if ctx.attempt == 1 else YES

    class Scan(Stage):
        name = "scan"

        async def execute(self, item: Any, ctx: StageContext) -> str:
            return f"scan {ctx.attempt}"

    flow = Workflow("classes")
    flow.add_stage(Scan(), gate=judged, retry=RetryBudget(max_attempts=2))

    @flow.stage(gate=judged, retry=RetryBudget(max_attempts=2), executor="thread")
    def threaded(item: Item, ctx: StageContext) -> str:
        return f"thread {ctx.attempt}"

    engine = await ran(flow, store)
    assert (await engine.status("x")).is_complete
    assert sorted(seen) == [
        ("scan", 1, 2, [], "scan 1"), ("scan", 2, 2, [1], "scan 2"), ("threaded", 1, 2, [], "thread 1"), ("threaded", 2, 2, [1], "thread 2"),
    ]  # fmt: skip


PROCESS_APP = """
from treadle import Accepted, QualityFeedback, Rejected, RetryBudget, Workflow
flow = Workflow("procs")

def judged(item, output, ctx):
    return Rejected(QualityFeedback("too small", guidance="more")) if output.artefact < 2 else Accepted()

@flow.stage(executor="process", gate=judged, retry=RetryBudget(max_attempts=2))
def work(item, ctx):
    told = ctx.feedback.guidance if ctx.feedback else None
    return ctx.attempt if told in (None, "more") else 0
"""


@pytest.mark.may_block  # loading the module reads its file
async def test_a_gate_judges_what_a_worker_process_made(store: StateStore, tmp_path: Path) -> None:
    path = tmp_path / "procs_judged.py"
    path.write_text(PROCESS_APP)
    spec = importlib.util.spec_from_file_location("procs_judged", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    await ran(module.flow, store)
    assert await artefact(store, "work") == 2


def fan(gate: Any, *, mark: Callable[[], str] = str, **options: Any) -> Workflow:
    """Three children, each making its name, the number of its attempt and ``mark``, and saying what it was told."""
    flow = Workflow("fan")

    @flow.stage(gate=gate, **options)
    async def work(item: Item) -> FanOut:
        return FanOut([SubTask("a"), SubTask("b"), SubTask("c")])

    @work.subtask
    async def child(item: Item, ctx: StageContext) -> str:
        return f"{ctx.subtask}{ctx.attempt}{mark()}" + (f" {ctx.feedback.summary}" if ctx.feedback else "")

    @flow.stage
    async def then(item: Item, work: dict[str, Any]) -> list[Any]:
        return sorted(work.values(), key=str)

    return flow


def b_is_odd(item: Item, output: StageOutput, ctx: GateContext) -> Any:
    return HM if ctx.subtask == "b" and ctx.attempt == 1 else YES


async def test_a_child_in_doubt_makes_the_stage_wait_and_can_be_approved(store: StateStore) -> None:
    engine = await ran(fan(b_is_odd), store)
    status = (await engine.status("x"))["work"]
    assert status.state is StageState.AWAITING_REVIEW
    assert status.review_data is not None
    assert status.review_data.summary == "1 of 3 subtasks needs a person"
    assert [child.state.value for child in status.subtasks] == ["completed", "awaiting_review", "completed"]
    await engine.approve("x", "work", reviewer="ann")
    await engine.run()
    assert await artefact(store) == ["a1", "b1", "c1"]


async def test_only_the_child_in_doubt_is_done_again_or_fails(store: StateStore) -> None:
    engine = await ran(fan(b_is_odd), store, "x", "y")
    await engine.resolve_review("x", "work", RequestChanges("again"), reviewer="ann")
    await engine.reject("y", "work", "no good", reviewer="ann")
    await engine.run()
    assert await artefact(store) == ["a1", "b2 again", "c1"]
    status = (await engine.status("y"))["work"]
    assert status.state is StageState.FAILED
    assert [child.state.value for child in status.subtasks] == ["completed", "failed", "completed"]
    await engine.retry("y", "work")
    await engine.run()
    assert await artefact(store, item="y") == ["a1", "b2 rejected by ann: no good", "c1"]


async def test_a_policy_looks_at_the_whole_fan_out_and_changes_do_all_of_it_again(store: StateStore) -> None:
    engine = await ran(fan(None, review=ReviewPolicy.ALWAYS), store)
    await engine.resolve_review("x", "work", RequestChanges("again"), reviewer="ann")
    await engine.inbox.undo("x", "work")
    status = (await engine.status("x"))["work"]
    assert [child.state.value for child in status.subtasks] == ["completed"] * 3
    await engine.resolve_review("x", "work", RequestChanges("again"), reviewer="ann")
    await engine.run()
    await engine.approve("x", "work", reviewer="ann")
    await engine.run()
    assert await artefact(store) == ["a2 again", "b2 again", "c2 again"]


async def test_what_the_criteria_say() -> None:
    assert criterion("words", 90, at_least=100) == CriterionResult("words", "at least 100", 90, passed=False)
    assert criterion("words", None, at_least=1, at_most=5).passed is False
    assert criterion("kind", "b", one_of=["a", "b"]).passed
    assert not criterion("line", "abc", matches="^b").passed
    assert criterion("same", 0, equals=0).passed
    ctx = GateContext(item_id="x", stage="work")
    assert isinstance(await fits_type(list[int]).evaluate({}, StageOutput(["a"]), ctx), Rejected)
    asked = [
        await spot_check(0.3, seed=1).evaluate({}, StageOutput(1), GateContext(item_id=str(n), stage="s")) for n in range(1000)
    ]
    assert 230 < sum(isinstance(verdict, Uncertain) for verdict in asked) < 370


# --- 2. budgets -----------------------------------------------------------------------------------


def test_full_jitter_and_the_longest_wait() -> None:
    budget = RetryBudget(max_attempts=9, delay=2, backoff=3, max_delay=10)
    assert [budget.wait_after(n, 0.5) for n in (1, 2, 3, 9)] == [1, 3, 5, 5]
    assert budget.wait_after(1, 0.0) == 0
    assert RetryBudget(max_attempts=9, delay=2, backoff=3, max_delay=10, jitter=False).wait_after(2, 0.5) == 6


async def test_each_wait_is_drawn_by_itself() -> None:
    flow = Workflow("drawn")

    @flow.stage(retry=RetryBudget(max_attempts=2, delay=600))
    async def one(item: Item) -> None:
        raise ValueError("broken")

    store, waits = MemoryStateStore(), list[int]()
    async with Engine(flow, store) as engine, asyncio.timeout(30):
        running = asyncio.create_task(engine.run([{"id": str(n)} for n in range(20)]))
        while len(waits) < 20:
            await asyncio.sleep(0.01)
            states = [await store.load(str(n)) for n in range(20)]
            rows = [row for state in states if state is not None for row in state.stages.values()]
            waits = [row.due - row.updated for row in rows if row.due is not None]
        engine.stop()
        await running
    assert len(set(waits)) > 15
    assert 0 <= min(waits) <= max(waits) <= 600_000_000


@pytest.mark.parametrize(
    ("retry_on", "raises", "tried"),
    [
        (Exception, ValueError("v"), 3), ((KeyError, OSError), ValueError("v"), 1), ((KeyError, ValueError), ValueError("v"), 3),
        (lambda error: "v" in str(error), ValueError("v"), 3), (lambda error: "w" in str(error), ValueError("v"), 1),
        (lambda error: error.nothing, ValueError("v"), 1), (Exception, PermanentError("p"), 1), (KeyError, RetryLater(0), 3),
        (TimeoutError, TimeoutError("timed out after all"), 3),
    ],
)  # fmt: skip
async def test_what_is_worth_another_attempt(store: StateStore, retry_on: Any, raises: Exception, tried: int) -> None:
    async def body(item: Item, ctx: StageContext) -> int:
        raise raises

    engine = await ran(one(body=body, retry=RetryBudget(max_attempts=3, retry_on=retry_on)), store)
    status = (await engine.status("x"))["work"]
    assert (status.state, status.attempt) == (StageState.FAILED, tried)


async def test_a_wait_is_stored_survives_a_restart_and_holds_nothing(store: StateStore) -> None:
    ran_at: list[int] = []

    async def body(item: Item, ctx: StageContext) -> int:
        ran_at.append(now_us())
        if ctx.attempt == 1:
            raise RetryLater(0.3)
        return 7

    flow = one(body=body, retry=RetryBudget(max_attempts=2), limit=1)
    async with Engine(flow, store) as engine:
        running = asyncio.create_task(engine.run([{"id": "x"}]))
        async with asyncio.timeout(5):
            async for event in engine.events(follow=True):
                if event.kind == "retry_scheduled":
                    break
        state = await store.load("x")
        assert state is not None
        due = state.stages["work"].due
        assert due is not None
        # Nobody holds it while it waits: another worker can take it at once, and the only slot is free.
        worker = await store.enlist((await _me())._replace(name="other"))
        async with asyncio.timeout(5):
            while not (taken := (await store.claim(worker, 1, due, is_dead=lambda _: False)).items):  # noqa: ASYNC110 - it is the store that is asked
                await asyncio.sleep(0)
        assert [item.id for item in taken] == ["x"]
        assert not [t for t in asyncio.all_tasks() if "_drive" in repr(t)]
        engine.stop(now=True)
        await running
        await store.retire(worker)
    assert len(ran_at) == 1
    again = Engine(flow, store)
    await again.run()
    assert await artefact(store) == 107
    assert ran_at[1] >= due


async def _me() -> Any:
    from treadle.presence import identity

    return await asyncio.to_thread(identity, "me")


async def test_feedback_of_gate_error_timeout_and_person_is_one_type(store: StateStore) -> None:
    heard: list[Any] = []
    past: list[Any] = []

    async def body(item: Item, ctx: StageContext) -> int:
        heard.append(ctx.feedback)
        past.append([attempt.feedback for attempt in ctx.previous_attempts])
        if ctx.attempt == 2:
            raise ValueError("broken")
        if ctx.attempt == 3:
            await asyncio.Event().wait()
        return ctx.attempt

    flow = one(
        says(NO, NO, NO, HM, NO, HM),
        body=body,
        retry=RetryBudget(max_attempts=4, attempt_timeout=0.12, on_exhausted=ExhaustedAction.ESCALATE),
    )
    engine = await ran(flow, store)
    asked = QualityFeedback("say more", [CriterionResult("tone", "kind", "rude", passed=False)], "be kind")
    await engine.resolve_review("x", "work", RequestChanges(asked), reviewer="ann")
    await engine.run()
    await engine.resolve_review("x", "work", RequestChanges("once more"), reviewer="ann")
    await engine.run()
    error, late = QualityFeedback("ValueError: broken"), QualityFeedback("timed out after 0.12 s")
    assert heard == [None, NO.feedback, error, late, asked, QualityFeedback("once more")]
    # What a person said of an attempt is told with it for good.
    assert past[5] == [NO.feedback, error, late, asked, QualityFeedback("once more")]
    assert [a.feedback for a in await attempts(engine)][:5] == past[5]


@pytest.mark.parametrize(("action", "state"), [(ExhaustedAction.FAIL, "failed"), (ExhaustedAction.ESCALATE, "awaiting_review")])
async def test_spent_budgets_fail_or_go_to_a_person(store: StateStore, action: ExhaustedAction, state: str) -> None:
    engine = await ran(one(says(NO), retry=RetryBudget(max_attempts=2, on_exhausted=action)), store)
    assert await state_of(engine) == state


# --- 3. policies ----------------------------------------------------------------------------------

NEVER, ALWAYS, ON_ESCALATION = ReviewPolicy.NEVER, ReviewPolicy.ALWAYS, ReviewPolicy.ON_ESCALATION
ON_UNCERTAIN, BOTH = ReviewPolicy.ON_UNCERTAIN, ReviewPolicy.ON_ESCALATION_OR_UNCERTAIN
SAMPLE, NOBODY = ReviewPolicy.sample(1), ReviewPolicy.sample(0)
ERROR, PERMANENT, OWN = ValueError("e"), PermanentError("p"), "own"


@pytest.mark.parametrize("escalate", [False, True])
@pytest.mark.parametrize(
    ("policy", "accepts", "escalates"),
    [
        (NEVER, False, False), (ALWAYS, True, False), (ON_ESCALATION, False, True), (ON_UNCERTAIN, False, False), (BOTH, False, True),
        (SAMPLE, True, False), (NOBODY, False, False), (ON_ESCALATION | SAMPLE, True, True), (NEVER | ALWAYS, True, False),
    ],
)  # fmt: skip
async def test_the_precedence_table(
    store: StateStore, policy: ReviewPolicy, accepts: bool, escalates: bool, escalate: bool
) -> None:
    async def body(item: Item, ctx: StageContext) -> Any:
        match item["id"]:
            case "raises":
                raise ERROR
            case "permanent":
                raise PERMANENT
            case "asks":
                return AwaitingReview(ReviewData("look"), artefact=1)
        return 1

    def judged(item: Item, output: StageOutput, ctx: GateContext) -> Any:
        return {"rejected": NO, "unsure": HM}.get(item["id"], YES)

    action = ExhaustedAction.ESCALATE if escalate else ExhaustedAction.FAIL
    flow = one(judged, body=body, review=policy, retry=RetryBudget(max_attempts=2, on_exhausted=action))
    engine = await ran(flow, store, "accepted", "rejected", "unsure", "raises", "permanent", "asks")
    asked = {review.item_id: review.asked_by.value async for review in engine.inbox.waiting()}
    expected = {"unsure": "gate", "asks": "stage"}
    if accepts:
        expected["accepted"] = "policy" if policy.always else "sample"
    if escalates or escalate:
        expected |= {"rejected": "escalation", "raises": "escalation"}
    assert asked == expected
    assert await state_of(engine, item="permanent") is StageState.FAILED
    if "rejected" not in expected:
        assert await state_of(engine, item="rejected") is StageState.FAILED


def test_a_sample_is_the_same_share_everywhere() -> None:
    ids = [f"item-{n}" for n in range(10_000)]
    policy = ReviewPolicy.sample(0.05, seed="2026")
    drawn = {i for i in ids if policy.samples_item(i, "work")}
    assert 400 < len(drawn) < 600
    assert drawn == {i for i in ids if (ReviewPolicy.ON_UNCERTAIN | policy).samples_item(i, "work")}
    assert drawn != {i for i in ids if ReviewPolicy.sample(0.05, seed="2027").samples_item(i, "work")}
    assert drawn <= {i for i in ids if ReviewPolicy.sample(0.1, seed="2026").samples_item(i, "work")}
    # Pinned: another machine, or another version, must ask about the same items.
    assert [i for i in ids[:60] if policy.samples_item(i, "work")] == PINNED


PINNED = ["item-16", "item-19", "item-22", "item-37"]


@pytest.mark.parametrize("rate", [2, -0.1, "0.5", True, None, float("nan")])
def test_a_share_is_between_0_and_1(rate: Any) -> None:
    with pytest.raises(ValueError, match="sample"):
        ReviewPolicy.sample(rate)
    with pytest.raises(ValueError, match="spot_check"):
        spot_check(rate)


@pytest.mark.parametrize("bad", [{}, {"days": -1}, {"days": float("nan")}, {"days": 0}])
def test_due_needs_a_time(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="due"):
        ReviewPolicy.ALWAYS.due(**bad, then="approve")
    with pytest.raises(ValueError, match="then="):
        ReviewPolicy.ALWAYS.due(days=1, then="shrug")  # type: ignore[arg-type]


@pytest.mark.parametrize(("then", "state"), [("approve", "completed"), ("reject", "failed"), ("escalate", "awaiting_review")])
async def test_what_nobody_answers_in_time(store: StateStore, then: Any, state: str) -> None:
    engine = await ran(one(review=ALWAYS.due(days=2, then=then)), store)
    review = (await engine.inbox.show("x", "work")).review
    assert review.due_at is not None
    assert abs((review.due_at - review.opened_at).total_seconds() - 2 * 86_400) < 1
    await engine.run()
    assert await state_of(engine) is StageState.AWAITING_REVIEW
    await move_into_the_past(store)
    await engine.run()
    assert await state_of(engine) == state
    review = (await engine.inbox.show("x", "work")).review
    if then == "escalate":
        assert (review.is_open, review.asked_by.value, review.due_at) == (True, "escalation", None)
        await engine.approve("x", "work", reviewer="ann")
        await engine.run()
    else:
        assert (review.reviewer, review.note) == ("treadle", "nobody answered in time")
    assert (await artefact(store)) == (None if then == "reject" else 101)


async def test_a_person_who_decides_just_in_time_is_not_overruled(store: StateStore) -> None:
    """The engine has the item in hand to answer for them; what was acknowledged to the person stands."""
    engine = await ran(one(review=ALWAYS.due(days=2, then="reject")), store)
    await move_into_the_past(store)
    decided = asyncio.Event()
    claim = store.claim

    async def claimed(*args: Any, **kwargs: Any) -> Any:
        taken = await claim(*args, **kwargs)
        if taken.items and not decided.is_set():
            decided.set()
            await engine.inbox.decide("x", "work", Approve(), reviewer="ann")
        return taken

    store.claim = claimed  # type: ignore[method-assign]
    await engine.run()
    assert decided.is_set()
    assert await artefact(store) == 101
    assert (await engine.inbox.show("x", "work")).review.reviewer == "ann"


async def test_nobody_approves_their_own_work(store: StateStore) -> None:
    flow = one(review=ALWAYS.excluding("author"))
    engine = Engine(flow, store)
    await engine.run([{"id": "x", "author": "ann"}, {"id": "y", "author": ["ann", "bo"]}, {"id": "z"}])
    for item, name in (("x", "ann"), ("x", " Ann "), ("y", "ann"), ("y", "bo")):
        for decision in (Approve(), Reject("no"), ApproveWithEdits(3), RequestChanges("more")):
            with pytest.raises(ReviewConflict, match="own work"):
                await engine.inbox.decide(item, "work", decision, reviewer=name)
    await engine.approve("x", "work", reviewer="bo")
    await engine.approve("y", "work", reviewer="cy")
    await engine.approve("z", "work", reviewer="ann")
    refused = await engine.inbox.decide_all(ReviewFilter(), Approve(), reviewer="ann")
    assert refused.decided == 0


@dataclass
class Letter:
    id: str
    author: str


def test_excluding_by_a_field_that_items_do_not_have_is_an_error_before_anything_runs() -> None:
    def judged_by(field: str) -> Workflow:
        flow = Workflow("letters", item=Letter)

        @flow.stage(review=ALWAYS.excluding(field))
        async def work(item: Letter) -> int:
            return 1

        return flow

    judged_by("author").validate()
    with pytest.raises(InvalidWorkflow, match="items of type Letter have no 'autor'"):
        judged_by("autor").validate()


# --- 4. attempts ----------------------------------------------------------------------------------


async def test_attempts_stay_with_all_they_had_to_say(store: StateStore) -> None:
    async def body(item: Item, ctx: StageContext) -> int:
        ctx.record(tokens=10 * ctx.attempt, usd=0.5)
        if ctx.attempt == 2:
            raise ValueError("broken")
        return ctx.attempt

    engine = await ran(one(says(NO), body=body, retry=RetryBudget(max_attempts=3), review=ON_ESCALATION), store)
    made = await attempts(engine)
    assert [(a.number, a.outcome.value, a.artefact, a.error) for a in made] == [
        (1, "completed", 1, None), (2, "failed", None, "ValueError: broken"), (3, "completed", 3, None),
    ]  # fmt: skip
    assert [a.metrics for a in made] == [{"tokens": 10 * n, "usd": 0.5} for n in (1, 2, 3)]
    assert made[0].verdict == NO
    assert made[0].feedback == NO.feedback
    assert all(a.started_at <= a.ended_at for a in made)


async def test_any_attempt_can_be_approved(store: StateStore) -> None:
    engine = await ran(one(says(NO), retry=RetryBudget(max_attempts=3), review=ON_ESCALATION), store)
    for wrong in (0, 4, -1):
        with pytest.raises(ReviewConflict, match="attempts that did: 1, 2, 3"):
            await engine.approve("x", "work", attempt=wrong, reviewer="ann")
    await engine.approve("x", "work", attempt=2, reviewer="ann")
    await engine.run()
    assert await artefact(store) == 102


async def test_the_attempt_a_person_chose_survives_a_rerun_or_is_asked_about_again(store: StateStore) -> None:
    """The last attempt made nothing, so what waits is nothing: approving the first must not approve nothing later."""

    async def body(item: Item, ctx: StageContext) -> int:
        if ctx.attempt % 2 == 0:
            raise ValueError("broken")
        return 1

    engine = await ran(one(says(NO), body=body, retry=RetryBudget(max_attempts=2), review=ON_ESCALATION), store)
    assert (await engine.inbox.show("x", "work")).artefact is None
    await engine.approve("x", "work", attempt=1, reviewer="ann")
    assert await artefact(store, "work") == 1
    await engine.inbox.undo("x", "work")
    assert (await engine.inbox.show("x", "work")).artefact is None
    state = await store.load("x")
    assert state is not None
    assert state.stages["work"].artefact is None  # nothing, and not the value "null"
    await engine.approve("x", "work", attempt=1, reviewer="ann")
    await engine.run()
    assert await artefact(store) == 101
    await engine.rerun("x", "work", cascade=True)
    await engine.run()
    assert await state_of(engine) is StageState.AWAITING_REVIEW


# --- 5. reviews and decisions ---------------------------------------------------------------------


async def waiting(store: StateStore, *ids: str, **options: Any) -> Engine:
    return await ran(one(**({"review": ALWAYS} | options)), store, *ids)


@pytest.mark.parametrize(
    ("decision", "state", "made"),
    [
        (Approve("fine"), "completed", 101), (ApproveWithEdits(7, "better"), "completed", 107), (Reject("no"), "failed", None),
        (RequestChanges("more"), "awaiting_review", None),
    ],
)  # fmt: skip
async def test_each_decision_is_kept_and_runs_nothing_to_decide(store: StateStore, decision: Any, state: str, made: Any) -> None:
    bodies: list[int] = []

    async def body(item: Item, ctx: StageContext) -> int:
        bodies.append(ctx.attempt)
        return ctx.attempt

    engine = await waiting(store, body=body)
    await engine.inbox.decide("x", "work", decision, reviewer="ann")
    assert bodies == [1]
    await engine.run()
    assert bodies == ([1, 2] if isinstance(decision, RequestChanges) else [1])
    assert await state_of(engine) == state
    assert await artefact(store) == made
    stored = await store.reviews(ReviewFilter(is_open=False), None, 10)
    assert [(s.row.reviewer, s.row.revision) for s in stored] == [("ann", 1)]


async def test_an_edit_is_kept_beside_what_waited_as_a_patch(store: StateStore) -> None:
    flow = Workflow("edits")

    @flow.stage(review=ALWAYS)
    async def work(item: Item) -> dict[str, int]:
        return {"a": 1, "b": 2}

    engine = await ran(flow, store)
    await engine.inbox.decide("x", "work", ApproveWithEdits({"a": 1, "b": 3}, "typo"), reviewer="ann")
    review = (await engine.inbox.show("x", "work")).review
    assert (review.edited, review.note) == ({"a": 1, "b": 3}, "typo")
    assert review.patch == [{"op": "replace", "path": "/b", "value": 3}]
    assert review.decided_at is not None


@pytest.mark.parametrize("with_code", [True, False])
@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("seven", "a str was|not of type"),
        (1.5, "a float was|not of type"),
        (None, "a NoneType was|not of type"),
        ({"a": 1}, "a dict was|not of type"),
        (object(), "object"),
    ],
)
async def test_an_edit_that_breaks_the_type_changes_nothing(store: StateStore, value: Any, problem: str, with_code: bool) -> None:
    engine = await waiting(store)
    inbox = engine.inbox if with_code else Inbox(store)
    with pytest.raises(InvalidArtefact, match=problem) as caught:
        await inbox.decide("x", "work", ApproveWithEdits(value), reviewer="ann")
    assert caught.value.problems[0].startswith("value: ")
    assert (await inbox.show("x", "work")).review.is_open
    with pytest.raises(InvalidArtefact):
        await inbox.preview("x", "work", value)


@pytest.mark.parametrize("with_code", [True, False])
@pytest.mark.parametrize("value", [float("nan"), "\ud800", "a\x00b", {"\ud800": 1}, object(), {1, 2}, b"bytes"])
async def test_an_edit_that_is_no_json_changes_nothing(store: StateStore, value: Any, with_code: bool) -> None:
    async def body(item: Item, ctx: StageContext):  # type: ignore[no-untyped-def]
        return 1

    engine = await waiting(store, body=body)
    inbox = engine.inbox if with_code else Inbox(store)
    with pytest.raises(InvalidArtefact):
        await inbox.decide("x", "work", ApproveWithEdits(value), reviewer="ann")
    assert (await inbox.show("x", "work")).review.is_open


@pytest.mark.parametrize("with_code", [True, False])
async def test_edits_of_a_fan_out_name_the_child_that_does_not_fit(store: StateStore, with_code: bool) -> None:
    model = [""]
    engine = await ran(fan(None, review=ALWAYS, mark=lambda: model[-1]), store)
    inbox = engine.inbox if with_code else Inbox(store)
    with pytest.raises(InvalidArtefact) as caught:
        await inbox.decide("x", "work", ApproveWithEdits({"a": "fine", "b": 3, "c": []}), reviewer="ann")
    assert [problem.partition(":")[0] for problem in caught.value.problems] == ["b.value", "c.value"]
    for bad in (["a"], "a", {"a": "\ud800"}, {"\ud800": "a"}):
        with pytest.raises(InvalidArtefact):
            await inbox.decide("x", "work", ApproveWithEdits(bad), reviewer="ann")
    await inbox.decide("x", "work", ApproveWithEdits({"a": "mine", "b": "b1"}), reviewer="ann")
    await inbox.undo("x", "work")
    assert (await inbox.show("x", "work")).artefact == {"a": "a1", "b": "b1", "c": "c1"}
    state = await store.load("x")
    assert state is not None
    assert state.stages["work"].artefact is None  # put together from the children again, and no copy of theirs
    await inbox.decide("x", "work", ApproveWithEdits({"a": "mine", "b": "b1"}), reviewer="ann")
    await engine.run()
    assert await artefact(store) == ["b1", "mine"]
    await engine.rerun("x", "work", cascade=True)
    await engine.run()
    assert await artefact(store) == ["b1", "mine"]  # the same again: the edit holds
    model.append("!")
    await engine.rerun("x", "work", cascade=True)
    await engine.run()
    assert (await inbox.show("x", "work")).artefact == {"a": "a1!", "b": "b1!", "c": "c1!"}
    review = (await inbox.show("x", "work")).review
    assert review.before is not None
    assert (review.before["output"], review.before["edited"]) == ({"a": "a1", "b": "b1", "c": "c1"}, {"a": "mine", "b": "b1"})


async def test_an_edit_survives_a_rerun_that_makes_the_same(store: StateStore) -> None:
    async def body(item: Item, ctx: StageContext) -> int:
        return 1

    engine = await waiting(store, body=body)
    await engine.resolve_review("x", "work", ApproveWithEdits(7), reviewer="ann")
    await engine.run()
    await engine.rerun("x", "work", cascade=True, operator="root", reason="new model")
    report = await engine.run()
    assert (report.completed, await artefact(store)) == (1, 107)
    review = (await engine.inbox.show("x", "work")).review
    assert (review.reviewer, review.edited, review.revision) == ("ann", 7, 2)


@pytest.mark.parametrize("policy", [ALWAYS, ON_UNCERTAIN])
async def test_an_edit_comes_back_beside_the_new_output_if_that_differs(store: StateStore, policy: ReviewPolicy) -> None:
    unsure = says(HM, YES)
    engine = await ran(one(unsure, review=policy), store)
    await engine.resolve_review("x", "work", ApproveWithEdits(7), reviewer="ann")
    await engine.run()
    await engine.rerun("x", "work", cascade=True)
    await engine.run()
    case = await engine.inbox.show("x", "work")
    assert case.review.is_open
    assert case.artefact == 2
    assert case.review.before is not None
    assert (case.review.before["output"], case.review.before["edited"]) == (1, 7)


async def test_reopening_asks_anew_and_takes_back_what_was_built(store: StateStore) -> None:
    engine = await waiting(store)
    with pytest.raises(ReviewConflict, match="nobody has decided"):
        await engine.inbox.reopen("x", "work", operator="root", reason="look")
    await engine.approve("x", "work", reviewer="ann")
    await engine.run()
    for bad in ("", "   "):
        with pytest.raises(ValueError, match="say why"):
            await engine.inbox.reopen("x", "work", operator="root", reason=bad)
    await engine.inbox.reopen("x", "work", operator="root", reason="she was in a hurry")
    assert (await state_of(engine), await state_of(engine, "then")) == (StageState.AWAITING_REVIEW, StageState.PENDING)
    review = (await engine.inbox.show("x", "work")).review
    assert (review.revision, review.is_open) == (2, True)
    await engine.inbox.decide("x", "work", ApproveWithEdits(9), reviewer="bo")
    # Nothing was built on the new decision yet, so it can be taken back.
    await engine.inbox.undo("x", "work")
    await engine.inbox.decide("x", "work", ApproveWithEdits(9), reviewer="bo")
    await engine.run()
    assert await artefact(store) == 109
    first, second = await store.reviews(ReviewFilter(is_open=False), None, 10)
    assert (first.row.reviewer, second.row.reviewer) == ("ann", "bo")


@pytest.mark.parametrize("decision", [Approve(), ApproveWithEdits(7), Reject("no"), RequestChanges("more"), Approve(attempt=1)])
async def test_undo_restores_the_question_as_it_was(store: StateStore, decision: Any) -> None:
    engine = await ran(one(says(NO), retry=RetryBudget(max_attempts=2), review=ON_ESCALATION), store)
    before, status = await engine.inbox.show("x", "work"), (await engine.status("x"))["work"]
    await engine.inbox.decide("x", "work", decision, reviewer="ann")
    await engine.inbox.undo("x", "work")
    after, now = await engine.inbox.show("x", "work"), (await engine.status("x"))["work"]
    assert after == before
    assert (now.state, now.error, now.attempt) == (status.state, status.error, status.attempt)
    with pytest.raises(ReviewConflict, match="nobody has decided"):
        await engine.inbox.undo("x", "work")
    await engine.inbox.decide("x", "work", RequestChanges("more"), reviewer="bo")
    await engine.run()
    assert (await engine.status("x"))["work"].attempt == 3  # one attempt more than the budget had, and not two


async def test_undo_is_refused_when_the_item_has_moved_on(store: StateStore) -> None:
    engine = await waiting(store)
    await engine.approve("x", "work", reviewer="ann")
    await engine.run()
    with pytest.raises(InvalidTransition, match="then went on with it"):
        await engine.inbox.undo("x", "work")


async def test_undo_is_refused_when_a_dependent_was_skipped_because_of_it(store: StateStore) -> None:
    flow = Workflow("skips")

    @flow.stage(review=ALWAYS)
    async def work(item: Item) -> int:
        return 1

    @flow.stage(when=lambda work: work > 5)
    async def big(item: Item, work: int) -> int:
        return work

    @flow.stage
    async def last(item: Item, big: int | None) -> int:
        return big or 0

    engine = await ran(flow, store)
    await engine.approve("x", "work", reviewer="ann")
    await engine.run()
    with pytest.raises(InvalidTransition, match="big went on with it"):
        await engine.inbox.undo("x", "work")


@pytest.mark.parametrize("act", ["undo", "reopen", "rerun"])
async def test_what_is_taken_back_is_taken_from_who_is_about_to_build_on_it(store: StateStore, act: str) -> None:
    """An engine has just claimed the item, and knows the decision that is taken back now."""
    engine = await waiting(store)
    await engine.inbox.decide("x", "work", Approve(), reviewer="ann")
    flow = engine._workflow.definition
    worker = await store.enlist(await _me())
    (state,) = (await store.claim(worker, 1, now_us(), is_dead=lambda _: False)).items
    decide.count(flow, state)
    if act == "undo":
        await engine.inbox.undo("x", "work")
    elif act == "reopen":
        await engine.inbox.reopen("x", "work", operator="root", reason="look again")
    else:
        await engine.rerun("x", "work")
    change = decide.begin(flow, state, now_us(), 10)
    decide.apply(flow, state, change)
    with pytest.raises(LeaseLost):
        await store.commit(state, change)
    await store.retire(worker)
    assert await artefact(store) is None
    assert await state_of(engine, "then") is StageState.PENDING


# --- conflicts ------------------------------------------------------------------------------------


async def test_two_people_one_wins_and_the_other_is_told_who_and_what(store: StateStore) -> None:
    engine = await waiting(store)
    await engine.inbox.decide("x", "work", Approve(), reviewer="ann")
    for other in (Approve(), Reject("no"), ApproveWithEdits(3), RequestChanges("more"), Approve(attempt=1)):
        with pytest.raises(ReviewConflict, match="approved by ann at"):
            await engine.inbox.decide("x", "work", other, reviewer="bo")


async def test_decisions_on_what_is_not_there(store: StateStore) -> None:
    engine = await waiting(store)
    for decision in (Approve(), Reject("no"), ApproveWithEdits(3), RequestChanges("more"), Approve(attempt=1)):
        with pytest.raises(ItemNotFound):
            await engine.inbox.decide("nope", "work", decision, reviewer="ann")
        with pytest.raises(StageNotFound):
            await engine.inbox.decide("x", "nope", decision, reviewer="ann")
        with pytest.raises(ReviewConflict, match=r"pending, not waiting|made nothing"):
            await engine.inbox.decide("x", "then", decision, reviewer="ann")
    for act in (engine.inbox.undo, engine.inbox.show):
        with pytest.raises(ItemNotFound):
            await act("nope", "work")
        with pytest.raises(StageNotFound):
            await act("x", "nope")
    with pytest.raises(StageNotFound):
        await engine.inbox.claim("x", "nope", reviewer="ann")
    with pytest.raises(TypeError, match="no decision"):
        await engine.inbox.decide("x", "work", "approve", reviewer="ann")  # type: ignore[arg-type]


async def test_what_changed_since_it_was_read_is_not_decided(store: StateStore) -> None:
    engine = await waiting(store)
    read = (await engine.inbox.show("x", "work")).review
    await engine.inbox.decide("x", "work", RequestChanges("more"), reviewer="ann")
    await engine.run()
    for seen in ({"revision": read.revision}, {"revision": read.revision, "digest": read.digest}, {"digest": read.digest}):
        for decision in (Approve(), ApproveWithEdits(3)):
            with pytest.raises(ReviewConflict, match="something else than what was read"):
                await engine.inbox.decide("x", "work", decision, reviewer="bo", **seen)  # type: ignore[arg-type]
    fresh = (await engine.inbox.show("x", "work")).review
    await engine.inbox.decide("x", "work", Approve(), reviewer="bo", digest=fresh.digest)


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "a\x00", "\x1b[31mann", "\u202eann", "\ud800", "x" * 600, None, 3, b"ann"])
async def test_a_reviewer_has_a_name(store: StateStore, name: Any) -> None:
    engine = await waiting(store)
    for act in (
        engine.inbox.decide("x", "work", Approve(), reviewer=name),
        engine.inbox.claim("x", "work", reviewer=name),
        engine.inbox.release("x", "work", reviewer=name),
        engine.inbox.decide_all(ReviewFilter(), Approve(), reviewer=name),
        engine.inbox.reopen("x", "work", operator=name, reason="why"),
    ):
        with pytest.raises(ValueError, match="cannot be a reviewer's name"):
            await act
    assert (await engine.inbox.show("x", "work")).review.is_open


@pytest.mark.parametrize(
    "decision",
    [
        Reject(""), Reject("  "), Reject(None), RequestChanges(""), RequestChanges(None), RequestChanges(QualityFeedback(" ")),  # type: ignore[arg-type]
        Reject(5), RequestChanges(5),  # type: ignore[arg-type]
    ],
)  # fmt: skip
async def test_a_refusal_says_why(store: StateStore, decision: Any) -> None:
    engine = await waiting(store)
    with pytest.raises(ValueError, match="say why"):
        await engine.inbox.decide("x", "work", decision, reviewer="ann")


@pytest.mark.parametrize(
    "feedback",
    [
        QualityFeedback("more", [CriterionResult("c", object(), 1, passed=False)]), QualityFeedback("more", guidance="\ud800"),
        QualityFeedback("more", guidance="x" * 300_000), QualityFeedback("more", [CriterionResult("c", float("nan"), 1, passed=False)]),
        QualityFeedback("more", ["c"]),  # type: ignore[list-item]
    ],
)  # fmt: skip
async def test_feedback_that_cannot_be_stored_is_refused(store: StateStore, feedback: QualityFeedback) -> None:
    engine = await waiting(store)
    with pytest.raises(InvalidArtefact, match="feedback"):
        await engine.inbox.decide("x", "work", RequestChanges(feedback), reviewer="ann")
    assert (await engine.inbox.show("x", "work")).review.is_open


# --- 6. the inbox ---------------------------------------------------------------------------------


async def test_what_somebody_holds_others_leave_alone_until_the_time_is_over(store: StateStore) -> None:
    engine = await waiting(store, "x", "y")
    inbox = engine.inbox
    held = await inbox.claim("x", "work", reviewer="ann", minutes=5)
    assert held.holder == "ann"
    assert held.held_until is not None
    for act in (
        inbox.claim("x", "work", reviewer="bo"),
        inbox.release("x", "work", reviewer="bo"),
        inbox.decide("x", "work", Approve(), reviewer="bo"),
    ):
        with pytest.raises(ReviewConflict, match="in the hands of ann until"):
            await act
    for minutes in (0, -1, 24 * 60 + 1, float("nan")):
        with pytest.raises(ValueError, match="minutes"):
            await inbox.claim("x", "work", reviewer="ann", minutes=minutes)
    assert [r.item_id for r in (await inbox.list(ReviewFilter(holder="ann"))).reviews] == ["x"]
    assert [r.item_id for r in (await inbox.list(ReviewFilter(holder=""))).reviews] == ["y"]
    bulk = await inbox.decide_all(ReviewFilter(), Approve(), reviewer="bo", dry_run=True)
    assert (bulk.decided, [refused[:2] for refused in bulk.refused]) == (1, [("x", "work")])

    def over(state: ItemState) -> Transition:
        return Transition(now_us(), reviews=[state.reviews["work"]._replace(held_until=now_us() - 1)])

    await store.revise("x", over)
    assert [r.item_id for r in (await inbox.list(ReviewFilter(holder=""))).reviews] == ["x", "y"]
    assert (await inbox.list(ReviewFilter(holder="ann"))).reviews == []
    await inbox.claim("x", "work", reviewer="bo")
    await inbox.decide("x", "work", Approve(), reviewer="bo")
    assert (await inbox.show("x", "work")).review.holder is None


async def test_pages_by_every_filter_hold_each_review_once(store: StateStore) -> None:
    def judged(item: Item, output: StageOutput, ctx: GateContext) -> Any:
        return {0: HM, 1: NO, 2: YES}[int(item["id"][1:]) % 3]

    policy = ReviewPolicy.ON_ESCALATION | ALWAYS
    engine = await ran(one(judged, review=policy), store, *(f"i{n}" for n in range(30)))
    inbox = engine.inbox

    async def paged(wanted: ReviewFilter) -> list[str]:
        found: list[str] = []
        after = None
        while True:
            page = await inbox.list(wanted, after=after, limit=4)
            found += [review.item_id for review in page.reviews]
            after = page.cursor
            if after is None:
                return found

    everything = await paged(ReviewFilter())
    assert len(everything) == len(set(everything)) == 30
    assert [review.item_id async for review in inbox.waiting("work")] == everything
    for wanted, rest in (
        (ReviewFilter(verdict="uncertain"), 0), (ReviewFilter(verdict="rejected"), 1), (ReviewFilter(verdict="accepted"), 2),
        (ReviewFilter(asked_by="gate"), 0), (ReviewFilter(asked_by="escalation"), 1), (ReviewFilter(asked_by="policy"), 2),  # type: ignore[arg-type]
    ):  # fmt: skip
        assert sorted(await paged(wanted)) == sorted(f"i{n}" for n in range(rest, 30, 3))
    assert await paged(ReviewFilter(stage="then")) == []
    assert await paged(ReviewFilter(stage="nope")) == []
    assert await paged(ReviewFilter(item_id="i7")) == ["i7"]
    middle = (await inbox.show(everything[10], "work")).review.opened_at
    older = await paged(ReviewFilter(opened_before=int(middle.timestamp() * 1_000_000)))
    assert set(older) <= set(everything[:10])
    # Pages go on by key: what is decided between two of them moves nothing.
    first = await inbox.list(limit=5)
    await inbox.decide(first.reviews[0].item_id, "work", Approve(), reviewer="ann")
    second = await inbox.list(after=first.cursor, limit=5)
    assert [review.item_id for review in second.reviews] == everything[5:10]


async def test_many_are_decided_at_once_and_what_cannot_be_is_named(store: StateStore) -> None:
    engine = await waiting(store, *(f"i{n}" for n in range(250)))
    inbox = engine.inbox
    await inbox.claim("i7", "work", reviewer="bo")
    wanted = ReviewFilter(stage="work")
    dry = await inbox.decide_all(wanted, Reject("no"), reviewer="ann", dry_run=True)
    assert dry.decided == 249
    assert sum([1 async for _ in inbox.waiting()]) == 250
    done = await inbox.decide_all(wanted, Reject("no"), reviewer="ann")
    assert done.decided == 249
    assert [(item, stage) for item, stage, _ in done.refused] == [("i7", "work")]
    assert "in the hands of bo" in done.refused[0][2]
    assert (await inbox.decide_all(wanted, RequestChanges("more"), reviewer="bo")).decided == 1
    assert (await inbox.decide_all(wanted, Approve(), reviewer="ann")).decided == 0


async def test_the_figures_of_an_inbox(store: StateStore) -> None:
    engine = await waiting(store, "a", "b", "c", "d", "e")
    inbox = engine.inbox
    empty = await inbox.stats()
    assert (empty.waiting, empty.decided, empty.median_seconds, empty.changed_share) == (5, 0, None, None)
    assert empty.oldest_at is not None
    await inbox.decide("a", "work", Approve(), reviewer="ann")
    await inbox.decide("b", "work", ApproveWithEdits(1), reviewer="ann")  # the same as it was
    await inbox.decide("c", "work", ApproveWithEdits(5), reviewer="ann")
    await inbox.decide("d", "work", Reject("no"), reviewer="bo")
    stats = await inbox.stats()
    assert (stats.waiting, stats.decided, stats.changed_share, stats.by_stage) == (1, 4, 0.25, {"work": 1})
    assert stats.median_seconds is not None
    assert 0 < stats.median_seconds < 5


async def test_gates_are_measured_by_what_people_decided(store: StateStore) -> None:
    def judged(item: Item, output: StageOutput, ctx: GateContext) -> Any:
        return {"n": NO, "h": HM, "y": YES}[item["id"][0]]

    engine = await ran(one(judged, review=ON_ESCALATION | SAMPLE), store, "n1", "n2", "h1", "h2", "y1", "y2", "y3")
    for item in ("n1", "h1", "y1"):
        await engine.approve(item, "work", reviewer="ann")
    for item in ("n2", "y2"):
        await engine.reject(item, "work", "no", reviewer="ann")
    await engine.resolve_review("h2", "work", RequestChanges("more"), reviewer="ann")
    await engine.resolve_review("y3", "work", ApproveWithEdits(9), reviewer="ann")
    (record,) = await gate_records(store)
    assert record.gate == "judged"
    assert (record.right_accepts, record.false_accepts) == (1, 2)
    assert (record.right_rejects, record.false_rejects) == (1, 1)
    assert (record.unsure_approved, record.unsure_refused) == (1, 1)


# --- decisions while the item moves ---------------------------------------------------------------


@pytest.mark.parametrize("decision", [Approve(), ApproveWithEdits(1), RequestChanges("more")])
async def test_a_decision_is_heeded_while_a_sibling_runs(store: StateStore, decision: Any) -> None:
    """The engine goes on with the item within a second, however long its other branch takes."""
    let_go, went_on = asyncio.Event(), asyncio.Event()
    flow = Workflow("siblings")

    @flow.stage(review=ALWAYS)
    async def work(item: Item, ctx: StageContext) -> int:
        if ctx.attempt > 1:
            went_on.set()
        return 1

    @flow.stage
    async def then(item: Item, work: int) -> int:
        went_on.set()
        return work

    @flow.stage
    async def beside(item: Item) -> int:
        await let_go.wait()
        return 2

    @flow.stage
    async def join(item: Item, then: int, beside: int) -> int:
        return then + beside

    async with Engine(flow, store) as engine:
        running = asyncio.create_task(engine.run([{"id": "x"}], concurrency=1))
        async with asyncio.timeout(5):
            async for event in engine.events(follow=True):
                if event.kind == "review_required":
                    break
        # As another process would: nobody tells this engine.
        await Inbox(store).decide("x", "work", decision, reviewer="ann")
        async with asyncio.timeout(1):
            await went_on.wait()
        let_go.set()
        await running
        if isinstance(decision, RequestChanges):
            await engine.approve("x", "work", reviewer="ann")
            await engine.run()
        assert await artefact(store, "join") == 3
        assert (await engine.status("x")).is_complete
