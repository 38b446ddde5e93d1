"""Reviews from scripts: the commands that look, answer, take back and judge the judges."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from treadle import CriterionResult
from treadle.cli.paint import criterion_text

APP = """
from dataclasses import dataclass

from treadle import Accepted, ExhaustedAction, RetryBudget, ReviewPolicy, StageContext, Uncertain, Workflow, criterion, gate, judge


@dataclass
class Paper:
    id: str
    text: str


@dataclass
class Concepts:
    title: str
    words: int


flow = Workflow("papers", item=Paper)


@flow.source
def scan(names: str = "sure,torn,weak"):
    for name in names.split(","):
        yield Paper(name, "a text")


@gate
def enough(paper, output, ctx):
    if paper.id.startswith("torn"):
        return Uncertain("cannot tell \\x1b[2J[red]this[/red]", [criterion("words", output.artefact.words, at_least=1)])
    if paper.id.startswith("weak"):
        return judge(criterion("words", output.artefact.words, at_least=100), guidance="read on")
    return Accepted()


@flow.stage(retry=RetryBudget(max_attempts=2, on_exhausted=ExhaustedAction.ESCALATE), gate=enough)
async def concepts(paper: Paper, ctx: StageContext) -> Concepts:
    ctx.record(told=str(ctx.feedback))
    return Concepts(paper.id, ctx.attempt)


@flow.stage(review=ReviewPolicy.ALWAYS)
async def index(paper: Paper, concepts: Concepts) -> int:
    return concepts.words
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    assert call(tmp_path, "run", "app.py", "sure,torn,weak").returncode == 4
    return tmp_path


def call(folder: Path, *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
    env = {key: value for key, value in os.environ.items() if not key.startswith("TREADLE_")} | {"TREADLE_REVIEWER": "ann"}
    return subprocess.run(
        [sys.executable, "-m", "treadle.cli", *words],
        cwd=folder, capture_output=True, text=True, env=env, check=False, input=given,
    )  # fmt: skip


def listed(folder: Path, *words: str) -> list[tuple[str, str]]:
    done = call(folder, "review", "list", *words, "--format", "json")
    assert done.returncode == 0, done.stderr
    return [(review["item_id"], review["stage"]) for review in json.loads(done.stdout)["reviews"]]


def test_what_waits_is_found_by_filters_and_pages(folder: Path) -> None:
    everything = listed(folder)
    assert sorted(everything) == [("sure", "index"), ("torn", "concepts"), ("weak", "concepts")]
    assert listed(folder, "--stage", "index") == [("sure", "index")]
    assert listed(folder, "--verdict", "uncertain") == listed(folder, "--asked-by", "gate") == [("torn", "concepts")]
    assert listed(folder, "--asked-by", "escalation") == listed(folder, "--item", "weak") == [("weak", "concepts")]
    assert listed(folder, "--older-than", "1h") == listed(folder, "--holder", "ann") == listed(folder, "--decided") == []
    page = json.loads(call(folder, "review", "list", "--limit", "2", "--format", "json").stdout)
    assert listed(folder, "--after", str(page["cursor"])) == everything[2:]
    table = call(folder, "review", "list", "--limit", "2").stdout
    assert f"more: the same with --after {page['cursor']}" in table
    assert "\x1b" not in call(folder, "review", "list").stdout
    assert call(folder, "review").stdout.startswith("item    stage     since")


def test_a_review_is_shown_with_verdict_criteria_and_attempts(folder: Path) -> None:
    torn = call(folder, "review", "show", "torn", "concepts").stdout
    assert "cannot tell \ufffd[2J[red]this[/red]" in torn
    assert "✓ words: 1  at least 1" in torn
    weak = call(folder, "review", "show", "weak", "concepts").stdout
    assert "no attempt is left · gate enough" in weak
    assert weak.count("× words:") == 2
    case = json.loads(call(folder, "review", "show", "weak", "concepts", "--format", "json").stdout)
    assert [attempt["artefact"]["words"] for attempt in case["attempts"]] == [1, 2]
    shown = call(folder, "show", "weak").stdout
    assert "gate: rejected: words is 1, wanted at least 100" in shown
    assert "× words: 2  (at least 100)" in shown
    assert "guidance: read on" in shown
    machine = json.loads(call(folder, "show", "weak", "concepts", "--format", "json").stdout)["stages"][0]
    assert machine["attempts"][0]["verdict"]["verdict"] == "rejected"


def test_every_answer_and_taking_it_back(folder: Path) -> None:
    assert "concepts approved by ann" in call(folder, "review", "approve", "weak", "concepts", "--attempt", "1").stdout
    again = call(folder, "review", "reject", "weak", "concepts", "no", "--reviewer", "bob")
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)
    assert "approved by ann" in again.stderr
    assert call(folder, "review", "undo", "weak", "concepts").returncode == 0
    assert ("weak", "concepts") in listed(folder)
    assert call(folder, "review", "reject", "weak", "concepts", "too thin").returncode == 0
    reopened = call(folder, "review", "reopen", "weak", "concepts", "on second thoughts")
    assert "waits again" in reopened.stdout
    assert call(folder, "review", "changes", "torn", "concepts", "more, please").returncode == 0
    assert "the next attempt is told: more, please" in call(folder, "show", "torn").stdout
    assert ("torn", "concepts") in listed(folder, "--decided")
    assert "decisions by people" in call(folder, "review", "stats").stdout
    assert json.loads(call(folder, "review", "stats", "--format", "json").stdout)["waiting"] == 2


def test_an_edit_comes_from_a_file_or_a_pipe_and_must_fit(folder: Path) -> None:
    (folder / "bad.json").write_text('{"title": "t", "words": "many"}')
    bad = call(folder, "review", "edit", "torn", "concepts", "--file", "bad.json")
    assert (bad.returncode, "words: 'many' is not of type 'integer'" in bad.stderr) == (2, True)
    typed = call(folder, "review", "edit", "torn", "concepts", "--file", "bad.json", "--app", "app.py")
    assert (typed.returncode, "words: " in typed.stderr) == (2, True)
    for text, says in (("{", "line 1, column 2"), ('{"a": 1, "a": 2}', "twice"), ("NaN", "NaN"), ("[" * 100_000, "too deep")):
        done = call(folder, "review", "edit", "torn", "concepts", "--file", "-", given=text)
        assert (done.returncode, done.stderr.count("\n"), says in done.stderr) == (2, 1, True), done.stderr
    assert call(folder, "review", "edit", "torn", "concepts", "--file", "none.json").returncode == 2
    assert ("torn", "concepts") in listed(folder)
    good = call(folder, "review", "edit", "torn", "concepts", "--file", "-", given='{"title": "t", "words": 7}')
    assert good.returncode == 0, good.stderr
    assert "replace /words: 7" in call(folder, "review", "show", "torn", "concepts").stdout


def test_a_claim_is_seen_by_others_and_given_back(folder: Path) -> None:
    assert "in the hands of ann until" in call(folder, "review", "claim", "sure", "index").stdout
    assert listed(folder, "--holder", "ann") == [("sure", "index")]
    assert "in the hands of ann" in call(folder, "review", "approve", "sure", "index", "--reviewer", "bob").stderr
    assert call(folder, "review", "release", "sure", "index").returncode == 0
    assert call(folder, "review", "approve", "sure", "index", "--reviewer", "bob").returncode == 0


def test_bulk_wants_to_be_sure(folder: Path) -> None:
    unsure = call(folder, "review", "bulk", "approve", "--stage", "index")
    assert (unsure.returncode, "--dry-run" in unsure.stderr) == (2, True)
    dry = call(folder, "review", "bulk", "reject", "out of scope", "--stage", "concepts", "--dry-run")
    assert dry.stdout == "2 reviews would be rejected by ann\n"
    assert len(listed(folder)) == 3
    assert call(folder, "review", "claim", "weak", "concepts", "--reviewer", "bob").returncode == 0
    done = call(folder, "review", "bulk", "changes", "again", "--stage", "concepts", "--yes")
    assert (done.returncode, done.stdout) == (1, "1 review sent back for changes by ann; `treadle run` goes on\n")
    assert "in the hands of bob" in done.stderr


def test_gates_are_measured_by_what_people_decided(folder: Path) -> None:
    assert "no person has decided" in call(folder, "gates").stdout
    call(folder, "review", "approve", "weak", "concepts")
    call(folder, "review", "reject", "torn", "concepts", "wrong")
    row = re.split(r"  +", call(folder, "gates").stdout.splitlines()[1])
    assert row == ["enough", "–", "1 of 1 (100 %)", "0 of 1 approved (0 %)"]
    assert json.loads(call(folder, "gates", "--format", "json").stdout)[0]["false_reject_rate"] == 1.0


def test_rerun_returns_what_was_built_on_it_with_cascade_only(folder: Path) -> None:
    alone = call(folder, "rerun", "sure", "concepts")
    assert (alone.returncode, "index have built on" in alone.stderr) == (2, True)
    assert call(folder, "rerun", "sure", "concepts", "--cascade", "--reason", "a better model").returncode == 0
    assert ("sure", "index") not in listed(folder)
    assert "a better model" in call(folder, "events", "--item", "sure").stdout


def test_an_edit_that_a_rerun_contradicts_stands_beside_both_outputs(folder: Path) -> None:
    assert call(folder, "review", "edit", "sure", "index", "--file", "-", given="9").returncode == 0
    assert call(folder, "rerun", "sure", "concepts", "--cascade").returncode == 0
    assert call(folder, "run", "app.py").returncode == 4
    shown = call(folder, "review", "show", "sure", "index").stdout.splitlines()
    head = next(number for number, line in enumerate(shown) if line.startswith("old output"))
    assert re.split(r"  +", shown[head].strip()) == ["old output", "edit by ann", "new output"]
    assert re.split(r"  +", shown[head + 1].strip()) == ["1", "≠ 9", "≠ 2"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("review", "bogus"), "bogus"),
        (("review", "show", "nobody", "index"), "no item 'nobody'"),
        (("review", "approve", "sure", "nostage"), "no stage 'nostage'; stages are concepts, index"),
        (("review", "approve", "weak", "index"), "not waiting for a review"),
        (("review", "approve", "weak", "concepts", "--attempt", "9"), "attempts that did: 1, 2"),
        (("review", "list", "--stage", "nostage"), "no stage 'nostage'"),
        (("review", "list", "--older-than", "soon"), "give 90s, 30min, 2h or 3d"),
        (("review", "list", "--limit", "0"), "--limit is 1 or more"),
        (("review", "reject", "sure", "index", " "), "say why"),
        (("review", "approve", "sure", "index", "--reviewer", "\x1b[31m"), "cannot be a reviewer's name"),
        (("review", "approve", "sure", "index", "--reviewer", ""), "--reviewer is empty"),
        (("review", "claim", "sure", "index", "--minutes", "0"), "more than 0"),
        (("review", "undo", "sure", "index"), "nobody has decided"),
        (("review", "bulk", "approve", "--stage", "nostage", "--yes"), "no stage 'nostage'"),
    ],
)
def test_wrong_use_is_one_line_that_says_what_to_do(folder: Path, words: tuple[str, ...], says: str) -> None:
    done = call(folder, *words)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert says in done.stderr
    assert "\x1b" not in done.stderr


@pytest.mark.parametrize(
    ("criterion", "line"),
    [
        (CriterionResult("found", "true", True, passed=True), "✓ found: True"),
        (CriterionResult("same", "'3.7'", "3.7", passed=True), "✓ same: 3.7"),
        (CriterionResult("topics", "at least 1", 2, passed=True), "✓ topics: 2  at least 1"),
        (CriterionResult("link", "text that matches x", "", passed=False), "× link: ''  wanted text that matches x"),
    ],
)
def test_a_criterion_says_what_was_found_and_what_was_wanted_once(criterion: CriterionResult, line: str) -> None:
    assert criterion_text(criterion).plain == line
