"""What makes a record good enough, and when a rule cannot say so."""

from __future__ import annotations

import re

from examples.licence_audit.distributions import Distribution
from treadle import (
    Accepted,
    GateContext,
    QualityFeedback,
    QualityGate,
    StageOutput,
    Uncertain,
    criterion,
    fits_type,
    gate,
    judge,
    spot_check,
)
from treadle.outcome import Verdict

from .reading import REPOSITORY, begins_with_name, lower_bound
from .record import FIELDS, Complete, Record
from .text import PackageText, read

_NO_NAME = re.compile(r"[@<>;]|\bothers?\b| and |, ", re.IGNORECASE)


@gate
def readable(package: Distribution, output: StageOutput, ctx: GateContext) -> Verdict:
    """Fields say one thing each, as a reader wants them."""
    record: Record = output.artefact
    purpose = record.purpose or ""
    return judge(
        criterion("purpose without markup", purpose, matches=r"^[^`\[\]<>|]*$"),
        criterion("purpose that begins with its name", begins_with_name(purpose, package.name), equals=False),
        criterion("repository", record.repository or "", matches=REPOSITORY.pattern),
        criterion("maintainers that are no names", [name for name in record.maintainers if _NO_NAME.search(name)], equals=[]),
        guidance="Give each field one plain value: a purpose that is no sentence about itself, one name a maintainer.",
    )


@gate
def supported(package: Distribution, output: StageOutput, ctx: GateContext) -> Verdict:
    """Everything in the record stands in the text: nothing is made up, and what is declared is not left out."""
    record: Record = output.artefact
    text = read(package)
    unsaid = [name for name in (*record.maintainers, *record.topics) if not _says(text, name)]
    results = [
        criterion("homepage in the text", record.homepage is None or _says(text, _bare(record.homepage))),
        criterion("repository in the text", record.repository is None or _says(text, _bare(record.repository))),
        criterion("maintainers in the text", [name for name in unsaid if name in record.maintainers], equals=[]),
        criterion("topics in the text", [name for name in unsaid if name in record.topics], equals=[]),
        criterion("topics", len(record.topics), at_least=1 if _has_topics(text) else 0),
    ]
    if bound := lower_bound(text):
        results.append(criterion("minimum_python", record.minimum_python, equals=bound))
    return judge(*results, guidance="Every value must stand in the text, as it stands there.")


@gate
def declared(package: Distribution, output: StageOutput, ctx: GateContext) -> Verdict:
    """What is read out of prose may be right: somebody should look."""
    record: Record = output.artefact
    if not record.guessed:
        return Accepted()
    values = "; ".join(f"{field} {getattr(record, field)}" for field in record.guessed)
    return Uncertain(f"not declared, only suggested: {values}")


GATE: QualityGate = fits_type(Complete) & readable & supported & declared & spot_check(0.02, seed="catalogue")
"""Rejected beats uncertain: nobody is asked about a guess before the rest is as good as it gets."""


def fields_in(feedback: QualityFeedback) -> tuple[str, ...]:
    """The fields that were not good enough: a criterion's name begins with its field."""
    named = {re.split(r"[. ]", result.name)[0] for result in feedback.failed_criteria}
    return tuple(field for field in FIELDS if field in named)


def _says(text: PackageText, value: str) -> bool:
    return " ".join(value.split()).lower() in " ".join(text.raw.split()).lower()


def _bare(url: str) -> str:
    return url.partition("://")[2].rstrip("/")


def _has_topics(text: PackageText) -> bool:
    return text.one("keywords") is not None or any(value.startswith("Topic ::") for value in text.all("classifier"))
