"""A review as its page shows it: what is asked and why, what waits, how it came about, what it was made from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from treadle.artefact import StoredArtefact
from treadle.history import Attempt, Review, is_author, word_of
from treadle.inbox import ReviewCase
from treadle.outcome import CriterionResult, Rejected, Uncertain
from treadle.state import AskedBy, Decided
from treadle.web.access import Principal, Role
from treadle.web.shown import Field, Line, Part, Shown, difference, fields, marked, outline, shown, titles, words_of

ASKED = {
    AskedBy.STAGE: "Asked by the stage itself",
    AskedBy.GATE: "Asked by the gate, which cannot tell",
    AskedBy.POLICY: "Asked by the policy",
    AskedBy.SAMPLE: "Asked by the policy, as part of a sample",
    AskedBy.ESCALATION: "Asked because no attempt is left",
    AskedBy.CHANGE: "Asked because a person had edited the last result, and this one is another",
}
ANSWERED = {
    Decided.APPROVE: "approved",
    Decided.APPROVE_WITH_EDITS: "approved with edits",
    Decided.REJECT: "rejected",
    Decided.REQUEST_CHANGES: "sent back for changes",
    Decided.WITHDRAWN: "withdrawn",
}
_EMBEDDED = 64 * 1024
_EXACT = 2**53
_DEEPEST = 8
_MOST_DETAILS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptCard:
    """One attempt: what became of it, and what it made."""

    attempt: Attempt
    word: str
    why: str | None
    criteria: Sequence[CriterionResult]
    fields: Sequence[Field]
    whole: Shown | None
    can_be_chosen: bool
    waits: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Something the artefact was made from; what it shares with the artefact stands out."""

    name: str
    parts: Sequence[Part]
    is_cut: bool
    of: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewView:
    """All of the page's values.

    Args:
        criteria: what the gate looked at in what waits.
        fields: the artefact's fields; ``whole`` in their place where it has none.
        earlier, cards: attempts before the last two, and those two.
        changed: what the last attempt made otherwise than the one before.
        before: a result that a person had edited, when this run made another: name and value.
        may: whether this person may decide, or ``barred`` says why not.
        default_reason: what a rejection says unless the person says something else; ``guidance`` likewise for changes.
        editing: what the form needs, as JSON; ``None`` where it is fetched when asked for.
    """

    case: ReviewCase
    review: Review
    key: str
    asked: str
    criteria: Sequence[CriterionResult]
    fields: Sequence[Field]
    whole: Shown
    cards: Sequence[AttemptCard]
    earlier: Sequence[AttemptCard]
    changed: Sequence[Line]
    before: Sequence[tuple[str, Shown]]
    evidence: Sequence[Evidence]
    may: bool
    barred: str | None
    holder: str | None
    default_reason: str
    guidance: str
    editing: str | None


def review_view(case: ReviewCase, reader: Principal) -> ReviewView:
    """The case as ``reader`` sees it now."""
    review, now = case.review, datetime.now(UTC)
    attempts = _last_run(case)
    cards = [_card(case, attempt) for attempt in attempts]
    words = words_of(case.artefact)
    holder = review.holder if review.is_open and review.held_until is not None and review.held_until > now else None
    barred = _barred(review, reader)
    waiting = next((card for card in reversed(cards) if card.waits), None)
    return ReviewView(
        case=case,
        review=review,
        key=f"{review.item_id}/{review.stage}",
        asked=ASKED[review.asked_by],
        criteria=waiting.criteria if waiting is not None else (),
        fields=fields(case.artefact, titles(case.schema)),
        whole=outline(case.artefact),
        cards=_compared(cards[-2:]),
        earlier=cards[:-2],
        changed=_changed(attempts),
        before=_before(review),
        evidence=[_evidence(name, value, of, words) for name, value, of in _sources(case)],
        may=review.is_open and barred is None,
        barred=barred if review.is_open else None,
        holder=holder,
        default_reason=_reason(case, waiting),
        guidance=_guidance(waiting),
        editing=editing(case, case.artefact) if _is_small(case) else None,
    )


def editing(case: ReviewCase, artefact: Any) -> str:
    """What an edit begins with: the exact text of the whole artefact, its schema, and whether a form can hold it."""
    text = json.dumps(artefact, indent=2, ensure_ascii=False)
    fits = bool(case.schema) and len(text) <= _EMBEDDED and _is_exact(artefact)
    return json.dumps({"text": text, "schema": case.schema if fits else None}, ensure_ascii=False)


def _is_small(case: ReviewCase) -> bool:
    return not isinstance(case.artefact, StoredArtefact) and not shown(case.artefact, _EMBEDDED).is_cut


def _is_exact(value: Any, depth: int = 0) -> bool:
    """Whether a browser's numbers hold it, and a form of bearable depth."""
    match value:
        case bool():
            return True
        case int():
            return abs(value) < _EXACT
        case dict():
            return depth < _DEEPEST and "__proto__" not in value and all(_is_exact(part, depth + 1) for part in value.values())
        case list():
            return depth < _DEEPEST and all(_is_exact(part, depth + 1) for part in value)
        case _:
            return True


def _last_run(case: ReviewCase) -> list[Attempt]:
    latest = max((attempt.run for attempt in case.attempts), default=0)
    mine = [attempt for attempt in case.attempts if attempt.run == latest]
    return [attempt for attempt in mine if attempt.subtask is None] or mine


def _compared(cards: Sequence[AttemptCard]) -> Sequence[AttemptCard]:
    """Of two attempts, the fields that differ: the same ones in both."""
    if len(cards) < 2:  # noqa: PLR2004 - a pair
        return [replace(card, fields=()) for card in cards]
    texts = [{field.name: field.shown.text for field in card.fields} for card in cards]
    same = {name for name, text in texts[0].items() if texts[1].get(name) == text}
    return [
        replace(card, fields=[field for field in card.fields if field.is_plain and field.name not in same][:6]) for card in cards
    ]


def _card(case: ReviewCase, attempt: Attempt) -> AttemptCard:
    verdict = attempt.verdict
    criteria: Sequence[CriterionResult] = () if verdict is None else verdict.criteria
    why = attempt.error
    if isinstance(verdict, Rejected):
        criteria, why = criteria or verdict.feedback.failed_criteria, why or verdict.feedback.summary
    elif isinstance(verdict, Uncertain):
        why = verdict.reason
    parts = fields(attempt.artefact, titles(case.schema))
    return AttemptCard(
        attempt=attempt,
        word=word_of(verdict) if verdict is not None else attempt.outcome.replace("_", " "),
        why=why,
        criteria=criteria,
        fields=parts,
        whole=None if parts or attempt.artefact is None else outline(attempt.artefact, 300),
        can_be_chosen=attempt.subtask is None and attempt.artefact is not None,
        waits=attempt.number == case.review.attempt and attempt.subtask is None,
    )


def _changed(attempts: Sequence[Attempt]) -> Sequence[Line]:
    made = [attempt.artefact for attempt in attempts[-2:] if attempt.artefact is not None]
    return difference(*made) if len(made) == 2 else ()  # noqa: PLR2004 - a pair


def _before(review: Review) -> Sequence[tuple[str, Shown]]:
    if review.before is None:
        return ()
    who = review.before.get("reviewer")
    return (
        ("Old result", outline(review.before.get("output"))),
        (f"Edited by {who}" if who else "Edited", outline(review.before.get("edited"))),
    )


def _sources(case: ReviewCase) -> list[tuple[str, Any, str]]:
    """Name, value and where the whole of it is to be had."""
    details: Any = case.review.review.details
    is_split = isinstance(details, dict) and len(details) <= _MOST_DETAILS
    named: Mapping[str, Any] = details if is_split else {} if details is None else {"asked with it": details}
    return [
        *((name, value, "details") for name, value in named.items()),
        *((name, value, f"upstream.{name}") for name, value in case.upstream.items()),
        ("item", case.item, "item"),
    ]


def _evidence(name: str, value: Any, of: str, words: Sequence[str]) -> Evidence:
    if isinstance(value, list) and value and all(isinstance(part, str) for part in value):
        value = "\n".join(value)
    said = outline(value)
    return Evidence(name=name, parts=marked(said.text, words), is_cut=said.is_cut, of=of)


def _barred(review: Review, reader: Principal) -> str | None:
    if not reader.role.covers(Role.REVIEWER):
        return "You can look, but not decide: that takes a reviewer."
    if is_author(review.author, reader.name):
        return "This is your own work: somebody else must decide."
    return None


def _reason(case: ReviewCase, waiting: AttemptCard | None) -> str:
    return shown((waiting.why if waiting is not None else None) or case.review.review.summary, 500).text


def _guidance(waiting: AttemptCard | None) -> str:
    if waiting is None:
        return ""
    verdict = waiting.attempt.verdict
    if isinstance(verdict, Rejected) and verdict.feedback.guidance:
        return shown(verdict.feedback.guidance, 500).text
    missed = [criterion for criterion in waiting.criteria if not criterion.passed]
    return "; ".join(f"{one.name} is {one.actual}, should be {one.expected}" for one in missed)[:500]
