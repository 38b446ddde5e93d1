"""Agreeing evidence passes, other evidence is collected twice and then waits, and a person's valid word is what counts."""

from __future__ import annotations

import json
import tomllib
from collections.abc import AsyncIterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
import pytest_asyncio

from examples.licence_audit import spdx
from examples.licence_audit.__main__ import _audited
from examples.licence_audit.distributions import canonical
from examples.licence_audit.evidence import in_readme
from examples.licence_audit.metadata import read_description
from examples.licence_audit.notice import notice
from examples.licence_audit.pipeline import audit, installed
from examples.licence_audit.sbom import sbom
from examples.licence_audit.settle import settle
from treadle import (
    ApproveWithEdits,
    Engine,
    Inbox,
    InvalidArtefact,
    ItemNotFound,
    MemoryStateStore,
    Rejected,
    ReviewConflict,
    StateStore,
    Uncertain,
)
from treadle.state import AskedBy

TABLE = tomllib.loads(Path(__file__).with_name("known_licences.toml").read_text("utf-8"))
KNOWN = {name: licence for licence, names in TABLE["licences"].items() for name in names}
README = "\nSample\n======\n\nYou may choose which of its two licenses you like better.\n"
SAMPLE = "sample==1.0"

Audit = tuple[StateStore, Engine]


@pytest_asyncio.fixture
async def started() -> AsyncIterator[Audit]:
    """An audit of nothing yet."""
    store = MemoryStateStore()
    async with Engine(audit, store) as engine:
        yield store, engine


@pytest_asyncio.fixture
async def doubtful(started, install, mit) -> Audit:
    """An audit of one distribution whose field and text contradict each other."""
    _, engine = started
    await engine.run([install(f"License: ISC\n{README}", {"LICENSE": mit})])
    return started


async def expressions(store: StateStore) -> dict[str, str | None]:
    return {canonical(one.name): one.expression async for one in _audited(store)}


@pytest.mark.timeout(120)
async def test_the_pipeline_answers_what_the_table_knows(started):
    store, engine = started
    distributions = {canonical(one.name): one for one in installed()}
    await engine.run(distributions.values())
    found = await expressions(store)
    spoken_of = [n for n in KNOWN.keys() & found.keys() if fnmatchcase(distributions[n].version, TABLE["versions"].get(n, "*"))]
    assert len(spoken_of) >= 40
    assert {n for n in spoken_of if not (found[n] and spdx.same(found[n], KNOWN[n]))} == set()
    waiting = {review.item_id: review async for review in engine.inbox.waiting("identified")}
    doubtful = {one.id for name, one in distributions.items() if found[name] is None}
    assert {item for item, review in waiting.items() if review.asked_by is AskedBy.GATE} == doubtful
    sampled = {item for item, review in waiting.items() if review.asked_by is AskedBy.SAMPLE}
    assert sampled == waiting.keys() - doubtful
    assert len(sampled) <= len(distributions) * 0.05 + 3


async def test_evidence_that_disagrees_is_collected_twice_and_waits(doubtful):
    _, engine = doubtful
    case = await engine.inbox.show(SAMPLE, "identified")
    assert (case.review.asked_by, case.review.gate) == (AskedBy.GATE, "evidence_agrees")
    assert [type(attempt.verdict) for attempt in case.attempts] == [Rejected, Uncertain]
    assert "MIT" in case.review.review.summary
    first, second = ([piece["source"] for piece in attempt.artefact["evidence"]] for attempt in case.attempts)
    assert second == [*first, "README"]
    assert "choose which of its two licenses" in case.artefact["evidence"][-1]["value"]
    assert case.artefact["expression"] is None


async def test_agreeing_evidence_needs_one_attempt_and_nobody(started, install, mit):
    store, engine = started
    report = await engine.run([install("License-Expression: MIT\n", {"LICENSE": mit})])
    assert report.completed == 1
    ((_, attempt),) = await store.attempts(SAMPLE, "identified")
    assert json.loads(attempt.verdict or "")["verdict"] == "accepted"


@pytest.mark.parametrize("expression", ["MIT or so", "GPL-2.0", "", "()", "Apache 2", "MIT AND"])
async def test_an_invalid_expression_is_refused_with_path_and_reason(doubtful, expression):
    store, engine = doubtful
    with pytest.raises(InvalidArtefact) as refused:
        await settle(store, SAMPLE, expression, "ann")
    (problem,) = refused.value.problems
    assert problem.startswith("expression: ")
    assert "SPDX" in problem
    assert (await engine.inbox.show(SAMPLE, "identified")).review.is_open


async def test_without_the_code_the_schema_knows_what_an_expression_looks_like(doubtful):
    store, engine = doubtful
    edited = (await engine.inbox.show(SAMPLE, "identified")).artefact
    with pytest.raises(InvalidArtefact, match="expression: "):
        await Inbox(store).decide(SAMPLE, "identified", ApproveWithEdits(edited | {"expression": "MIT or so"}), reviewer="ann")
    whole = edited | {"expression": "MIT AND (ISC OR Apache-2.0 WITH LLVM-exception)"}
    await Inbox(store).decide(SAMPLE, "identified", ApproveWithEdits(whole), reviewer="ann")
    assert (await engine.run()).completed == 1


async def test_the_reports_say_what_a_person_said(doubtful):
    store, engine = doubtful
    assert "Licence: not identified" in notice([one async for one in _audited(store)])
    await settle(store, SAMPLE, "mit or isc", "ann")
    report = await engine.run()
    assert report.completed == 1
    audited = [one async for one in _audited(store)]
    (component,) = json.loads(sbom(audited))["components"]
    assert component["licenses"] == [{"expression": "MIT OR ISC", "acknowledgement": "concluded"}]
    assert "Licence: MIT OR ISC" in notice(audited)
    review = (await engine.inbox.show(SAMPLE, "identified")).review
    assert review.patch is not None
    assert {"op": "replace", "path": "/expression", "value": "MIT OR ISC"} in review.patch


async def test_a_settled_licence_is_still_ruled_on(doubtful):
    store, engine = doubtful
    await settle(store, SAMPLE, "GPL-3.0-only", "ann")
    report = await engine.run()
    assert report.awaiting_review == 1
    asked = (await engine.inbox.show(SAMPLE, "decision")).review
    assert "GPL-3.0-only is in the list deny" in asked.review.summary
    with pytest.raises(InvalidArtefact, match="allowed: Input should be a valid boolean"):
        await engine.resolve_review(SAMPLE, "decision", ApproveWithEdits({"allowed": "perhaps", "reason": "?"}), reviewer="bo")
    await engine.approve(SAMPLE, "decision", reviewer="bo")
    state = await store.load(SAMPLE)
    assert state is not None
    assert json.loads(state.stages["decision"].artefact or "") == {"allowed": True, "reason": "allowed by a person"}


async def test_what_a_person_settled_stays_settled_when_nothing_changed(doubtful):
    store, engine = doubtful
    await settle(store, SAMPLE, "MIT", "ann")
    await engine.run()
    await engine.rerun(SAMPLE, "identified", cascade=True)
    report = await engine.run()
    assert (report.completed, await expressions(store)) == (1, {"sample": "MIT"})


async def test_only_an_open_question_can_be_settled(doubtful):
    store, _ = doubtful
    await settle(store, SAMPLE, "MIT", "ann")
    with pytest.raises(ReviewConflict, match="ann"):
        await settle(store, SAMPLE, "ISC", "bo")
    with pytest.raises(ItemNotFound):
        await settle(store, "nobody==1", "MIT", "ann")


def test_a_readme_is_quoted_in_part_and_without_links(install):
    many = "\n\n".join(f"Passage {n}: [License](https://x.example) of a kind." for n in range(9))
    quoted = in_readme(read_description(install(f"\n{many}\n").folder))
    assert len(quoted) == 4
    assert quoted[0].value == "Passage 0: License of a kind."
    assert in_readme("") == ()
