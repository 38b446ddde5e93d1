"""The catalogue as a pipeline: a cheap extractor first, a better one for the fields that failed, a person for the rest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from examples.licence_audit.distributions import Distribution, scan, site_packages
from treadle import ExhaustedAction, RetryBudget, ReviewPolicy, StageContext, Workflow

from .extractor import Extractor, as_record
from .gates import GATE, fields_in
from .headers import OldHeaders
from .reading import WholeText
from .record import FIELDS, Record
from .text import read


def installed(folder: Path | None = None) -> Iterator[Distribution]:
    """The distributions of a site-packages folder; of the environment that runs this, without one."""
    yield from scan(folder or site_packages()).distributions


def catalogue_of(first: Extractor, better: Extractor) -> Workflow:
    """The workflow that asks ``first`` for everything, then ``better`` for what the gate did not accept."""
    flow = Workflow("catalogue", item=Distribution)
    flow.source(installed)

    @flow.stage(
        gate=GATE,
        retry=RetryBudget(max_attempts=2, on_exhausted=ExhaustedAction.ESCALATE),
        # What the gate accepts is looked at now and then: only so is it known how often it accepts what is wrong.
        review=ReviewPolicy.sample(0.02, seed="2026"),
    )
    def extracted(package: Distribution, ctx: StageContext) -> Record:
        """The record of the distribution."""
        text = read(package)
        if ctx.feedback is None:
            return as_record(package.name, first.extract(text, FIELDS))
        made = ctx.previous_attempts[-1].artefact if ctx.previous_attempts else None
        wanted = fields_in(ctx.feedback) or FIELDS
        ctx.record(fields=len(wanted))
        found = better.extract(text, wanted, str(ctx.feedback))
        return as_record(package.name, found, None if made is None else Record.model_validate(made), wanted)

    @flow.stage
    def entry(package: Distribution, extracted: Record) -> str:
        """One line for the catalogue."""
        python = f", Python {extracted.minimum_python}+" if extracted.minimum_python else ""
        return f"{extracted.name}{python}: {extracted.purpose or '(nobody says what for)'} <{extracted.repository or extracted.homepage}>"

    return flow


catalogue = catalogue_of(OldHeaders(), WholeText())
