"""Judges of attempts, and how several of them judge as one."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from treadle.history import Attempt
from treadle.outcome import Accepted, CriterionResult, QualityFeedback, Rejected, Uncertain, Verdict


@dataclass(frozen=True, slots=True)
class StageOutput:
    """What an attempt made: the artefact as dependents would see it, and the summary."""

    artefact: Any = None
    summary: str | None = None


async def _call(function: Callable[[], Any]) -> Any:
    return function()


@dataclass(frozen=True, slots=True, kw_only=True)
class GateContext:
    """What a gate is told beside the item and the output.

    Args:
        attempt: number of the attempt it judges, from 1.
        max_attempts: how many the budget has.
        previous_attempts: those before it, oldest first.
        in_thread: runs a plain function where it cannot hold up the event loop; an engine gives its threads.
    """

    item_id: str
    stage: str
    attempt: int = 1
    max_attempts: int = 1
    previous_attempts: Sequence[Attempt] = ()
    subtask: str | None = None
    in_thread: Callable[[Callable[[], Any]], Awaitable[Any]] = _call


_WORD = {Uncertain: "reason", Rejected: "feedback's summary"}

GateFunction: TypeAlias = Callable[[Any, StageOutput, GateContext], Verdict | Awaitable[Verdict]]


class QualityGate(ABC):
    """Judges an attempt. ``&`` and ``|`` make one gate of two; either side may be a plain function.

    Example:
        >>> class LongEnough(QualityGate):
        ...     async def evaluate(self, item, output, ctx):
        ...         return judge(criterion("words", len(output.artefact.split()), at_least=100))
    """

    @property
    def name(self) -> str:
        """What verdicts are filed under."""
        return type(self).__name__

    @abstractmethod
    async def evaluate(self, item: Any, output: StageOutput, ctx: GateContext) -> Verdict:
        """The verdict on ``output``. What is raised counts as an error of the attempt, never as an acceptance."""

    def __and__(self, other: QualityGate | GateFunction) -> QualityGate:
        """Rejected beats uncertain beats accepted; every part is asked."""
        return All(_parts(All, self, as_gate(other))) if _is_gate(other) else NotImplemented

    def __rand__(self, other: GateFunction) -> QualityGate:
        return All(_parts(All, as_gate(other), self)) if _is_gate(other) else NotImplemented

    def __or__(self, other: QualityGate | GateFunction) -> QualityGate:
        """Accepted beats uncertain beats rejected; the first acceptance is enough."""
        return AnyOf(_parts(AnyOf, self, as_gate(other))) if _is_gate(other) else NotImplemented

    def __ror__(self, other: GateFunction) -> QualityGate:
        return AnyOf(_parts(AnyOf, as_gate(other), self)) if _is_gate(other) else NotImplemented


class FunctionGate(QualityGate):
    """A function that is a gate; calling it calls the function."""

    def __init__(self, function: GateFunction) -> None:
        self.function: GateFunction = function
        self.__doc__ = function.__doc__

    @property
    def name(self) -> str:
        return getattr(self.function, "__name__", type(self.function).__name__)

    def __call__(self, item: Any, output: StageOutput, ctx: GateContext) -> Verdict | Awaitable[Verdict]:
        return self.function(item, output, ctx)

    async def evaluate(self, item: Any, output: StageOutput, ctx: GateContext) -> Verdict:
        if inspect.iscoroutinefunction(self.function):
            verdict: Any = self.function(item, output, ctx)
        else:
            verdict = await ctx.in_thread(lambda: self.function(item, output, ctx))
        return checked(await verdict if inspect.isawaitable(verdict) else verdict, self.name)


def gate(function: GateFunction) -> FunctionGate:
    """Make a function ``(item, output, ctx) -> verdict`` a gate, so that ``&`` and ``|`` work on it."""
    return FunctionGate(function)


def as_gate(judge: QualityGate | GateFunction) -> QualityGate:
    """The gate that a stage's ``gate=`` means."""
    return judge if isinstance(judge, QualityGate) else FunctionGate(judge)


def checked(verdict: object, name: str) -> Verdict:
    """``verdict`` if it is one; raises ``TypeError`` naming the gate if it is not."""
    if isinstance(verdict, Rejected) and not isinstance(verdict.feedback, QualityFeedback):
        raise TypeError(f"gate {name!r} rejected with {verdict.feedback!r:.80}; give Rejected(QualityFeedback(...))")
    if isinstance(verdict, Accepted | Rejected | Uncertain):
        _check_parts(verdict, name)
        return verdict
    raise TypeError(f"gate {name!r} returned {verdict!r:.80}; a gate returns Accepted(), Rejected(...) or Uncertain(...)")


def _check_parts(verdict: Verdict, name: str) -> None:
    said = verdict.reason if isinstance(verdict, Uncertain) else verdict.feedback.summary if isinstance(verdict, Rejected) else ""
    if not isinstance(said, str):
        raise TypeError(f"gate {name!r} gave {said!r:.80} as its {_WORD[type(verdict)]}; give a line of text")
    results: list[object] = [*verdict.criteria, *(verdict.feedback.failed_criteria if isinstance(verdict, Rejected) else ())]
    if wrong := [result for result in results if not isinstance(result, CriterionResult)]:
        raise TypeError(f"gate {name!r} gave {wrong[0]!r:.80} as a criterion; give a CriterionResult")


def _is_gate(other: object) -> bool:
    return isinstance(other, QualityGate) or callable(other)


def _parts(kind: type[_Several], *gates: QualityGate) -> list[QualityGate]:
    """Flat, so that ``a & b & c`` is one gate of three."""
    return [part for one in gates for part in (one.gates if type(one) is kind else [one])]


class _Several(QualityGate):
    def __init__(self, gates: Sequence[QualityGate]) -> None:
        self.gates: Sequence[QualityGate] = gates


class All(_Several):
    """Good enough only if all of its gates say so."""

    @property
    def name(self) -> str:
        return " & ".join(gate.name for gate in self.gates)

    async def evaluate(self, item: Any, output: StageOutput, ctx: GateContext) -> Verdict:
        verdicts = [checked(await gate.evaluate(item, output, ctx), gate.name) for gate in self.gates]
        criteria = _criteria(verdicts)
        rejected, uncertain = _of(Rejected, verdicts), _of(Uncertain, verdicts)
        if rejected:
            return Rejected(_merged(rejected, uncertain), criteria)
        if uncertain:
            return Uncertain("; ".join(verdict.reason for verdict in uncertain), criteria)
        return Accepted(criteria)


class AnyOf(_Several):
    """Good enough as soon as one of its gates says so."""

    @property
    def name(self) -> str:
        return " | ".join(f"({g.name})" if isinstance(g, All) else g.name for g in self.gates)

    async def evaluate(self, item: Any, output: StageOutput, ctx: GateContext) -> Verdict:
        verdicts: list[Verdict] = []
        for part in self.gates:
            verdicts.append(checked(await part.evaluate(item, output, ctx), part.name))
            if isinstance(verdicts[-1], Accepted):
                return Accepted(_criteria(verdicts))
        criteria = _criteria(verdicts)
        if uncertain := _of(Uncertain, verdicts):
            return Uncertain("; ".join(verdict.reason for verdict in uncertain), criteria)
        return Rejected(_merged(_of(Rejected, verdicts), []), criteria)


def _of(kind: type[Any], verdicts: Sequence[Verdict]) -> list[Any]:
    return [verdict for verdict in verdicts if isinstance(verdict, kind)]


def _criteria(verdicts: Sequence[Verdict]) -> tuple[CriterionResult, ...]:
    return tuple(criterion for verdict in verdicts for criterion in verdict.criteria)


def _merged(rejected: Sequence[Rejected], uncertain: Sequence[Uncertain]) -> QualityFeedback:
    parts = [verdict.feedback for verdict in rejected]
    guidance = [part.guidance for part in parts if part.guidance]
    guidance += [f"uncertain: {verdict.reason}" for verdict in uncertain]
    return QualityFeedback(
        "; ".join(part.summary for part in parts),
        [criterion for part in parts for criterion in part.failed_criteria],
        "\n".join(guidance) or None,
    )
