"""The criteria that gates are mostly made of."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from treadle.codec import Codec
from treadle.errors import InvalidArtefact
from treadle.gates import GateContext, QualityGate, StageOutput
from treadle.outcome import Accepted, CriterionResult, QualityFeedback, Rejected, Uncertain, Verdict
from treadle.policy import in_sample, is_share

_NOT_GIVEN: Any = object()
_MAX_ERRORS = 20


def criterion(
    name: str,
    actual: Any,
    *,
    at_least: Any = None,
    at_most: Any = None,
    equals: Any = _NOT_GIVEN,
    one_of: Collection[Any] | None = None,
    matches: str | None = None,
) -> CriterionResult:
    """Whether ``actual`` is all that is asked of it; without a condition, whether it is true.

    Args:
        name: what is looked at.
        actual: what was found.
        at_least: the lowest good value.
        at_most: the highest good value.
        equals: the only good value.
        one_of: the good values.
        matches: a regular expression that must be found in the text.

    Example:
        >>> criterion("words", 90, at_least=100)
        CriterionResult(name='words', expected='at least 100', actual=90, passed=False)
    """
    asked: list[tuple[str, bool]] = []
    if at_least is not None:
        asked.append((f"at least {at_least}", actual is not None and actual >= at_least))
    if at_most is not None:
        asked.append((f"at most {at_most}", actual is not None and actual <= at_most))
    if equals is not _NOT_GIVEN:
        asked.append((f"{equals!r}" if isinstance(equals, str) else f"{equals}", actual == equals))
    if one_of is not None:
        asked.append((f"one of {', '.join(map(str, one_of))}", actual in one_of))
    if matches is not None:
        asked.append((f"text that matches {matches}", isinstance(actual, str) and re.search(matches, actual) is not None))
    if not asked:
        return CriterionResult(name, "true", actual, bool(actual))
    return CriterionResult(name, " and ".join(text for text, _ in asked), actual, all(met for _, met in asked))


def judge(*criteria: CriterionResult, guidance: str | None = None) -> Verdict:
    """Accepted if every criterion is met; else rejected, with feedback that names those missed."""
    missed = [result for result in criteria if not result.passed]
    if not missed:
        return Accepted(criteria)
    summary = ", ".join(f"{result.name} is {result.actual!r:.60}, wanted {result.expected}" for result in missed)
    return Rejected(QualityFeedback(summary, missed, guidance), criteria)


class _FitsType(QualityGate):
    """Rejects what does not fit a type."""

    def __init__(self, annotation: Any) -> None:
        self._codec = Codec(annotation)
        self._label = getattr(annotation, "__name__", str(annotation))

    @property
    def name(self) -> str:
        return f"fits {self._label}"

    async def evaluate(self, item: Any, output: StageOutput, ctx: GateContext) -> Verdict:
        try:
            self._codec.encode(output.artefact, "artefact")
        except InvalidArtefact as error:
            return _misfit(self._label, error.problems)
        return Accepted()


class _FitsSchema(QualityGate):
    """Rejects what a JSON schema does not allow."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        from jsonschema.validators import validator_for

        kind = validator_for(schema)
        kind.check_schema(schema)
        self._validator = kind(schema)
        self._label = str(schema.get("title", "the schema"))

    @property
    def name(self) -> str:
        return f"fits {self._label}"

    async def evaluate(self, item: Any, output: StageOutput, ctx: GateContext) -> Verdict:
        plain = Codec(type(output.artefact)).plain(output.artefact) if output.artefact is not None else None
        problems = [f"{error.json_path}: {error.message}" for error in self._validator.iter_errors(plain)]
        return _misfit(self._label, problems) if problems else Accepted()


def _misfit(label: str, problems: list[str]) -> Rejected:
    results = []
    for problem in problems[:_MAX_ERRORS]:
        path, _, reason = problem.partition(": ")
        results.append(CriterionResult(path, label, reason or path, passed=False))
    return Rejected(QualityFeedback(f"does not fit {label}: {problems[0]}", results), tuple(results))


class _SpotCheck(QualityGate):
    """Cannot tell about a share of the items, so that a person looks at them."""

    def __init__(self, rate: float, seed: str) -> None:
        self._rate = rate
        self._seed = seed

    @property
    def name(self) -> str:
        return f"spot check {self._rate:g}"

    async def evaluate(self, item: Any, output: StageOutput, ctx: GateContext) -> Verdict:
        if in_sample(self._rate, self._seed, ctx.stage, ctx.item_id):
            return Uncertain("a spot check: nothing is known to be wrong")
        return Accepted()


def fits_type(annotation: Any) -> QualityGate:
    """A gate that rejects artefacts which the type does not take: any that stages may return."""
    return _FitsType(annotation)


def fits_schema(schema: Mapping[str, Any]) -> QualityGate:
    """A gate that rejects artefacts which the JSON schema does not allow; a bad schema is an error here and now."""
    return _FitsSchema(schema)


def spot_check(rate: float, *, seed: str | int = 0) -> QualityGate:
    """A gate that sends a stable share of the items, 0 to 1, to a person. Join it to others with ``&``."""
    if not is_share(rate):
        raise ValueError(f"spot_check({rate!r}): a share from 0 to 1")
    return _SpotCheck(float(rate), str(seed))
