"""Second attempts are better by measure, what is uncertain waits, and a person's word is what the catalogue says."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from examples.extraction.extractor import Found
from examples.extraction.headers import OldHeaders
from examples.extraction.model import ModelExtractor
from examples.extraction.pipeline import catalogue, catalogue_of, installed
from examples.extraction.report import missed_fields, tally
from treadle import (
    ApproveWithEdits,
    CriterionResult,
    Engine,
    InvalidArtefact,
    MemoryStateStore,
    QualityFeedback,
    RequestChanges,
    StageState,
    StateStore,
)
from treadle.history import read_attempt
from treadle.state import AskedBy

PACKAGES = {package.name.lower(): package for package in installed()}
Ran = tuple[StateStore, Engine]


@pytest_asyncio.fixture
async def ran() -> AsyncIterator[Ran]:
    """The catalogue of this environment."""
    store = MemoryStateStore()
    async with Engine(catalogue, store) as engine:
        await engine.run(PACKAGES.values())
        yield store, engine


async def test_a_second_attempt_is_better_by_measure(ran):
    store, _ = ran
    counts = await tally(store)
    assert counts.packages == len(PACKAGES)
    tried_again = counts.packages - counts.at_once
    assert counts.improved >= 0.8 * tried_again
    assert counts.missed_last < counts.missed_first / 5


async def test_a_second_attempt_does_only_the_fields_that_failed(ran):
    store, _ = ran
    first, second = [read_attempt(row) for _, row in await store.attempts(PACKAGES["attrs"].id, "extracted")]
    failed = missed_fields(first.verdict)
    assert second.metrics == {"fields": len(failed)}
    assert first.feedback is not None
    kept = set(first.artefact) - set(failed)
    assert {field: first.artefact[field] for field in kept} == {field: second.artefact[field] for field in kept}


async def test_nothing_passes_that_the_gate_did_not_accept(ran):
    store, engine = ran
    for package in PACKAGES.values():
        attempts = [read_attempt(row) for _, row in await store.attempts(package.id, "extracted")]
        status = await engine.status(package.id)
        stage = next(one for one in status.stages if one.name == "extracted")
        accepted = type(attempts[-1].verdict).__name__ == "Accepted"
        assert accepted or stage.state is StageState.AWAITING_REVIEW


async def test_who_waits_and_why(ran):
    _, engine = ran
    waiting = {review.item_id: review async for review in engine.inbox.waiting()}
    assert 0 < len(waiting) < len(PACKAGES) / 3
    assert waiting[PACKAGES["execnet"].id].asked_by is AskedBy.GATE
    assert "github.com/pytest-dev/execnet" in waiting[PACKAGES["execnet"].id].review.summary
    silent = waiting[PACKAGES["forbiddenfruit"].id]  # says nothing of the Python it needs
    assert (silent.asked_by, silent.verdict) == (AskedBy.ESCALATION, "rejected")


async def test_a_person_fills_in_what_nobody_says(ran):
    store, engine = ran
    package = PACKAGES["forbiddenfruit"]
    case = await engine.inbox.show(package.id, "extracted")
    assert [attempt.number for attempt in case.attempts] == [1, 2]
    broken = case.artefact | {"minimum_python": "any will do"}
    with pytest.raises(InvalidArtefact, match="minimum_python: String should match pattern"):
        await engine.resolve_review(package.id, "extracted", ApproveWithEdits(broken), reviewer="ann")
    whole = case.artefact | {"minimum_python": "3.6"}
    await engine.resolve_review(package.id, "extracted", ApproveWithEdits(whole), reviewer="ann")
    await engine.run()
    state = await store.load(package.id)
    assert state is not None
    assert "forbiddenfruit, Python 3.6+: " in (state.stages["entry"].artefact or "")


async def test_a_person_may_ask_for_one_field_again(ran):
    store, engine = ran
    package = PACKAGES["execnet"]
    wish = QualityFeedback("look again", [CriterionResult("repository", "the real one", None, passed=False)])
    await engine.resolve_review(package.id, "extracted", RequestChanges(wish), reviewer="ann")
    await engine.run()
    attempts = [read_attempt(row) for _, row in await store.attempts(package.id, "extracted")]
    assert (len(attempts), attempts[-1].metrics) == (3, {"fields": 1})


class Misshapen:
    """Answers with what is no record."""

    def extract(self, text, fields, told=None):
        return {"homepage": Found("not an address")}


async def test_an_answer_that_is_no_record_costs_an_attempt():
    async with Engine(catalogue_of(Misshapen(), Misshapen()), MemoryStateStore()) as engine:
        await engine.run([PACKAGES["six"]])
        (review,) = [review async for review in engine.inbox.waiting()]
        case = await engine.inbox.show(PACKAGES["six"].id, "extracted")
    assert review.asked_by is AskedBy.ESCALATION
    assert all("homepage" in (attempt.error or "") for attempt in case.attempts)


async def test_a_model_that_makes_things_up_is_found_out():
    asked: list[str] = []

    def ask(question: str) -> str:
        asked.append(question)
        if len(asked) == 1:
            return (
                '{"homepage": "https://made.up", "repository": "https://github.com/made/up", "maintainers": ["Hynek Schlawack"]}'
            )
        return '{"homepage": "https://www.attrs.org/", "repository": "https://github.com/python-attrs/attrs"}'

    model = ModelExtractor(ask)
    async with Engine(catalogue_of(OldHeaders(), model), MemoryStateStore()) as engine:
        await engine.run([PACKAGES["attrs"]])
        wish = QualityFeedback(
            "made up", [CriterionResult(name, "the real one", None, passed=False) for name in ("homepage", "repository")]
        )
        await engine.resolve_review(PACKAGES["attrs"].id, "extracted", RequestChanges(wish), reviewer="ann")
        report = await engine.run()
    assert (report.completed, len(asked)) == (1, 2)
    assert "made up" in asked[1]
