"""The audit as a pipeline: one item a distribution, and a person for those in doubt."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from treadle import (
    AwaitingReview,
    FanOut,
    RetryBudget,
    ReviewData,
    ReviewPolicy,
    StageContext,
    SubTask,
    Workflow,
)

from . import facts as fact
from .distributions import Distribution, scan, site_packages
from .evidence import in_readme
from .gates import evidence_agrees
from .identify import Identification, identify, with_hints
from .licence_files import licence_files
from .metadata import Metadata, read_description, read_metadata
from .policy import Clearance, Decision, load_policy

audit = Workflow("licences", item=Distribution)

_FACTS: dict[str, Callable[[Distribution], Any]] = {
    "requirements": fact.requirements,
    "entry_points": fact.entry_points,
    "native_files": fact.native_files,
    "size": lambda distribution: asdict(fact.size_on_disk(distribution)),
}


@audit.source
def installed(folder: Path | None = None) -> Iterator[Distribution]:
    """The distributions of a site-packages folder; of the environment that runs this, without one."""
    yield from scan(folder or site_packages()).distributions


@audit.stage
def metadata(distribution: Distribution) -> Metadata:
    """What the distribution says of itself."""
    found = read_metadata(distribution.folder)
    if found is None:
        raise FileNotFoundError(f"{distribution.folder} holds no readable METADATA or PKG-INFO")
    return found


@audit.stage
def texts(distribution: Distribution, metadata: Metadata) -> list[dict[str, Any]]:
    """Which licence files it has. Their texts stay where they are: they may be long."""
    return [{"name": file.name, "sha256": file.sha256} for file in licence_files(distribution, metadata)]


@audit.stage(
    after=["texts"],
    gate=evidence_agrees,
    retry=RetryBudget(max_attempts=2),
    # One in a hundred, always the same ones: an environment has hundreds of distributions, so that is a handful to
    # look through, and it is the only way to learn how often agreeing evidence is wrong (`gate_records`).
    review=ReviewPolicy.sample(0.01, seed="2026"),
)
def identified(distribution: Distribution, metadata: Metadata, ctx: StageContext) -> Identification:
    """Its licence as an SPDX expression, with the evidence for it; told that this does not agree, with the README's too."""
    known = identify(metadata, licence_files(distribution, metadata))
    if ctx.feedback is None:
        return known
    return with_hints(known, in_readme(read_description(distribution.folder)))


@audit.stage
def facts(distribution: Distribution) -> FanOut:
    """What else a reader of the report wants to know, each fact on its own."""
    return FanOut([SubTask(name) for name in _FACTS])


@facts.subtask
def one_fact(distribution: Distribution, subtask: SubTask) -> Any:
    """One fact."""
    return _FACTS[subtask.name](distribution)


@audit.stage
def ruling(distribution: Distribution, identified: Identification) -> dict[str, Any]:
    """What the policy says of that licence."""
    if identified.expression is None:
        return {"decision": Decision.ASK.value, "reason": identified.reason}
    return asdict(load_policy().evaluate(identified.expression, identified.undeclared))


@audit.stage
def decision(distribution: Distribution, identified: Identification, ruling: dict[str, Any]) -> Clearance | AwaitingReview:
    """Allowed at once, or asked of a person; approving it as it is allows it."""
    if identified.expression is not None and ruling["decision"] == Decision.ALLOW.value:
        return Clearance(allowed=True, reason=ruling["reason"])
    details = {
        "expression": identified.expression,
        "possible": list(identified.possible),
        "agreement": identified.agreement.value,
        "evidence": [f"{piece.source.value}: {piece.value}" for piece in identified.evidence],
    }
    shown = identified.expression or "licence unknown"
    cleared = Clearance(allowed=True, reason="allowed by a person")
    return AwaitingReview(ReviewData(f"{shown}: {ruling['reason']}", details), cleared)
