"""When an identification stands by itself, and when a person must look."""

from __future__ import annotations

from treadle import Accepted, GateContext, QualityFeedback, Rejected, StageOutput, Uncertain, criterion, gate
from treadle.outcome import Verdict

from .distributions import Distribution
from .identify import Agreement, Identification


@gate
def evidence_agrees(distribution: Distribution, output: StageOutput, ctx: GateContext) -> Verdict:
    """Agreeing evidence is accepted; other evidence is collected once more, README included, and then shown to a person."""
    known: Identification = output.artefact
    looked_at = [criterion("agreement", known.agreement.value, equals=Agreement.AGREE.value)]
    if known.agreement is Agreement.AGREE:
        return Accepted(looked_at)
    if not ctx.previous_attempts:
        return Rejected(QualityFeedback(known.reason, looked_at, guidance="See what the README says of licences."), looked_at)
    return Uncertain(known.reason, looked_at)
