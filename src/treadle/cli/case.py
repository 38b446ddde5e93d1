"""A review as a page: what is asked and why, what waits, how it came about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from treadle.cli.paint import (
    ASKS,
    BAD,
    GOOD,
    LOUD,
    QUIET,
    Line,
    joined,
    said,
    shown,
    side_by_side,
    titled,
    value_lines,
    verdict_parts,
)
from treadle.history import Attempt, Review
from treadle.inbox import ReviewCase
from treadle.state import AskedBy, Decided, Ended
from treadle.status import ago
from treadle.wording import counted

_ASKED = {
    AskedBy.STAGE: "the stage asks",
    AskedBy.GATE: "the gate cannot tell",
    AskedBy.POLICY: "the policy: every result is reviewed",
    AskedBy.SAMPLE: "the policy: a sample is reviewed",
    AskedBy.ESCALATION: "no attempt is left",
    AskedBy.CHANGE: "a person had edited the last result, and this one is another",
}
_ANSWERED = {
    Decided.APPROVE: ("✓ approved", GOOD),
    Decided.APPROVE_WITH_EDITS: ("✓ approved with edits", GOOD),
    Decided.REJECT: ("× rejected", BAD),
    Decided.REQUEST_CHANGES: ("↻ changes requested", ASKS),
    Decided.WITHDRAWN: ("– withdrawn", QUIET),
}
_MOST_ARTEFACT, _MOST_BESIDE, _MOST_ATTEMPTS, _MOST_REST = 40, 16, 12, 12


def case_parts(case: ReviewCase, *, width: int, is_whole: bool = False, reader: str | None = None) -> list[RenderableType]:
    """All of the case; long parts are cut unless ``is_whole``, and the reader is not told what they hold themselves."""
    review, moment = case.review, datetime.now(UTC)
    parts = [*_question(review, reader, moment), *_judged(case), *_answer(review, moment)]
    details = review.review.details
    if details is not None:
        parts += titled("asked with it", shown(details, most=None if is_whole else _MOST_REST))
    if review.before is not None:
        parts += _before(case, review.before, width, is_whole=is_whole)
    elif not _is_compared(case):
        label = f"what waits, made by attempt {review.attempt}" if review.is_open else "the artefact now"
        parts += titled(label, shown(case.artefact, most=None if is_whole else _MOST_ARTEFACT))
    parts += _attempts(case, width, is_whole=is_whole)
    for stage, made in case.upstream.items():
        parts += titled(f"made from {stage}", shown(made, most=None if is_whole else _MOST_REST))
    return parts + titled("item", shown(case.item, most=None if is_whole else _MOST_REST))


def until(moment: datetime, now: datetime) -> str:
    """When something is due, as people say it."""
    seconds = (moment - now).total_seconds()
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"in {seconds / size:.0f} {unit}"
    return "in a minute" if seconds > 0 else f"{ago(moment, now)} ago"


def _question(review: Review, reader: str | None, now: datetime) -> list[RenderableType]:
    why = joined(_ASKED[review.asked_by], f"gate {review.gate}" if review.gate else None)
    due = None
    if review.due_at is not None and review.is_open:
        late = review.due_at <= now
        due = said(f"due {until(review.due_at, now)}, then {review.then}", BAD if late else "")
    held = None
    if review.holder not in (None, reader) and review.held_until is not None and review.held_until > now:
        held = f"in the hands of {review.holder} until {review.held_until.astimezone():%H:%M}"
    author = f"{review.author.replace(chr(10), ', ')} may not decide" if review.author else None
    since = ago(review.opened_at, now)
    when = joined(f"asked {since}{' ago' if since != 'now' else ''}", due, held, author, _again(review))
    return [Text.assemble(("● ", ASKS), said(review.review.summary, LOUD)), why, when]


def _again(review: Review) -> str | None:
    return f"question {review.revision} about this stage" if review.revision > 1 else None


def _answer(review: Review, now: datetime) -> list[RenderableType]:
    if review.decision is None:
        return []
    words, style = _ANSWERED[review.decision]
    when = f"{ago(review.decided_at, now)} ago" if review.decided_at is not None else None
    line = joined(Text(words, style), f"by {review.reviewer}" if review.reviewer else None, when, review.note)
    patch = [said(f"{change['op']} {change['path']}: {change.get('value', '')}", ASKS) for change in review.patch or ()]
    return ["", line, *patch]


def _run_of(case: ReviewCase) -> list[Attempt]:
    latest = max((attempt.run for attempt in case.attempts), default=0)
    return [attempt for attempt in case.attempts if attempt.run == latest]


def choices(case: ReviewCase) -> list[Attempt]:
    """The attempts of the stage that made something and can be approved."""
    return [attempt for attempt in _run_of(case) if attempt.subtask is None and attempt.artefact is not None]


def _is_compared(case: ReviewCase) -> bool:
    """Whether what waits stands beside other attempts, and need not be shown on its own."""
    return case.review.is_open and case.review.before is None and len(choices(case)) > 1


def _judged(case: ReviewCase) -> list[RenderableType]:
    """The verdict on what waits."""
    if case.review.gate is None or _is_compared(case):
        return []
    for attempt in reversed(_run_of(case)):
        if attempt.subtask is None and attempt.number == case.review.attempt and attempt.verdict is not None:
            return ["", *verdict_parts(attempt.verdict, known=case.review.review.summary)]
    return []


def _before(case: ReviewCase, before: Mapping[str, Any], width: int, *, is_whole: bool) -> list[RenderableType]:
    """Old output, its edit and the new output; what differs from the old output stands out."""
    known = frozenset(value_lines(before.get("output")))
    who = before.get("reviewer")
    named = [
        ("old output", before.get("output")),
        (f"edit by {who}" if who else "edit", before.get("edited")),
        ("new output", case.artefact),
    ]
    most = None if is_whole else _MOST_ARTEFACT
    cells: list[list[RenderableType]] = []
    for name, value in named:
        new: frozenset[Line] = frozenset(value_lines(value)) - known
        cells.append([said(name, QUIET), *shown(value, most=most, marked=new)])
    return ["", *side_by_side(cells, width)]


def _attempts(case: ReviewCase, width: int, *, is_whole: bool) -> list[RenderableType]:
    attempts = _run_of(case)
    if len(attempts) < 2 and not any(attempt.error for attempt in attempts):  # noqa: PLR2004 - one attempt is what waits
        return []
    kept: Sequence[Attempt] = attempts if is_whole else attempts[-_MOST_ATTEMPTS:]
    waits = case.review.attempt if _is_compared(case) else None
    cells = [_attempt(attempt, waits=attempt.number == waits, is_whole=is_whole) for attempt in kept]
    left_out = len(attempts) - len(kept)
    title = f"attempts ({counted(left_out, 'earlier one')} left out)" if left_out else "attempts"
    return titled(title, side_by_side(cells, width - 2))


def _attempt(attempt: Attempt, *, waits: bool, is_whole: bool) -> list[RenderableType]:
    child = f"{attempt.subtask} " if attempt.subtask else ""
    parts: list[RenderableType] = [
        joined(said(f"{child}{attempt.number}", LOUD), f"{attempt.seconds:.1f} s", "this waits" if waits else None)
    ]
    if attempt.verdict is not None:
        parts += verdict_parts(attempt.verdict)
    if attempt.error:
        parts.append(Text.assemble(("× ", BAD), said(attempt.error)))
    if attempt.outcome not in (Ended.COMPLETED, Ended.FAILED):
        parts.append(said(attempt.outcome.replace("_", " "), QUIET))
    parts += [said(f"{name} {value}", QUIET) for name, value in attempt.metrics.items()]
    return parts if attempt.artefact is None else [*parts, *shown(attempt.artefact, most=None if is_whole else _MOST_BESIDE)]
