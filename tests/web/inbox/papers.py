"""A workflow that asks people in every way there is: an unsure gate, spent attempts, a policy, values without a schema, an author."""

from __future__ import annotations

import getpass
from typing import Literal

from pydantic import BaseModel, field_validator

from treadle import (
    CriterionResult,
    ExhaustedAction,
    GateContext,
    QualityFeedback,
    Rejected,
    RetryBudget,
    ReviewPolicy,
    StageContext,
    StageOutput,
    Uncertain,
    Workflow,
)
from treadle.outcome import Verdict


class Paper(BaseModel):
    id: str
    kind: str = "plain"
    text: str = ""
    by: str = "nobody"


class Licence(BaseModel):
    expression: str | None
    confidence: float
    holders: list[str]
    family: Literal["permissive", "copyleft"] = "permissive"
    notice: bool = False

    @field_validator("expression")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        if value == "nonsense":
            raise ValueError("no licence is called that")
        return value


class Counts(BaseModel, extra="allow"):
    big: int
    text: str


papers = Workflow("papers", item=Paper)


def agreement(paper: Paper, output: StageOutput, ctx: GateContext) -> Verdict:
    criteria = [
        CriterionResult("expression is known", "an SPDX licence", output.artefact.expression, passed=False),
        CriterionResult("holders found", "one or more", len(output.artefact.holders), passed=True),
    ]
    if ctx.attempt == 1:
        return Rejected(QualityFeedback("read the texts", criteria, guidance="look at COPYING"), criteria)
    return Uncertain(f"is {paper.id} public domain?", criteria)


@papers.stage(
    gate=agreement,
    when=lambda paper: paper.kind == "plain",
    retry=RetryBudget(max_attempts=2),
    review=ReviewPolicy.ON_UNCERTAIN.excluding("by"),
)
def identify(paper: Paper, ctx: StageContext) -> Licence:
    return Licence(
        expression={1: None, 2: "CC-PDDC"}.get(ctx.attempt, "CC0-1.0"),
        confidence=1.0 if paper.id == "paper-5" else 0.62,
        holders=["David Goodger", "others"],
    )


def never(paper: Paper, output: StageOutput, ctx: GateContext) -> Verdict:
    return Rejected(QualityFeedback(f"attempt {ctx.attempt} is not good enough"))


@papers.stage(
    gate=never, when=lambda paper: paper.kind == "spent", retry=RetryBudget(max_attempts=3, on_exhausted=ExhaustedAction.ESCALATE)
)
def tried(paper: Paper, ctx: StageContext) -> dict[str, int]:
    return {"try": ctx.attempt}


@papers.stage(when=lambda paper: paper.kind == "raw", review=ReviewPolicy.ALWAYS)
def raw(paper: Paper) -> Counts:
    number = int(paper.by)
    return Counts(big=number, text=paper.text) if number > 2**53 else Counts(big=number, text=paper.text, more="kept")


@papers.stage(after=["identify", "tried", "raw"])
def report(paper: Paper) -> str:
    return f"{paper.id} is done"


PAPERS = [
    *(Paper(id=f"paper-{number}", text="Most of the files are in the public domain: CC-PDDC") for number in range(1, 6)),
    Paper(id="own-1", by=getpass.getuser()),
    Paper(id="spent-1", kind="spent"),
    Paper(id="raw-1", kind="raw", text="as it is", by=str(2**60 + 1)),
    Paper(id="raw-2", kind="raw", text="as it is", by="3"),
]
