"""What a person's answer to a review changes, and what follows when nobody answers."""

from __future__ import annotations

from typing import NamedTuple

from treadle.artefact import comparable
from treadle.clock import from_us
from treadle.decide.draft import (
    COMPLETED,
    FAILED,
    NOTHING,
    PENDING,
    REVIEW,
    Draft,
    to_json,
)
from treadle.definition import Definition
from treadle.errors import ReviewConflict
from treadle.event import EventKind
from treadle.history import is_author
from treadle.state import (
    AskedBy,
    Decided,
    EventRow,
    ItemState,
    ReviewRow,
    StageRow,
    StageState,
    Transition,
)

EXPIRED_BY = "treadle"
"""Who answers a review that nobody answered in time."""

_SAID = {
    Decided.APPROVE: "approved",
    Decided.APPROVE_WITH_EDITS: "approved with edits",
    Decided.REJECT: "rejected",
    Decided.REQUEST_CHANGES: "sent back for changes",
    Decided.WITHDRAWN: "withdrawn",
}


class Answer(NamedTuple):
    """A person's decision, checked and encoded.

    ``note`` is the note, the reason or the summary of the feedback; ``artefact`` is JSON: the edited artefact,
    or that of the attempt that was chosen.
    """

    decided: Decided
    reviewer: str
    note: str | None = None
    artefact: str | None = None
    patch: str | None = None
    attempt: int | None = None
    feedback: str | None = None


class Seen(NamedTuple):
    """Which question the person had before them; what is ``None`` was not looked at."""

    revision: int | None
    digest: str | None = None


def resolve(flow: Definition, state: ItemState, stage: str, given: Answer, now: int, *, seen: Seen | None = None) -> Transition:
    """What a person's answer to a waiting review changes.

    Raises:
        ReviewConflict: the stage does not wait for a person (any more), asks something else by now, is in
            somebody else's hands, or is this reviewer's own work.
    """
    flow.stage(stage)
    row, review = _waiting(state, stage)
    where = f"stage {stage!r} of item {state.id!r}"
    if seen is not None and (seen.revision not in (None, review.revision) or seen.digest not in (None, review.digest)):
        raise ReviewConflict(f"{where} asks something else than what was read (revision {review.revision} now); look again")
    if (reason := barred(state.id, review, given.reviewer, now)) is not None:
        raise ReviewConflict(reason)
    draft = Draft(flow, state, now)
    answer(draft, row, review, given)
    return draft.finish()


def rested(change: Transition, rests: int) -> Transition:
    """The same change, but what follows from it begins ``rests`` microseconds later at the earliest."""
    rest = change.rest
    if not rests or rest is None or rest.wake is None:
        return change
    return change._replace(rest=rest._replace(wake=max(rest.wake, change.at + rests)))


def answer(draft: Draft, row: StageRow, review: ReviewRow, given: Answer) -> None:
    """Write the decision and what follows for the stage."""
    waited = draft.waiting(row)
    # Naming the attempt that waits anyway, or an edit that changes nothing, puts nothing else in its place.
    replaced = given.artefact is not None and (waited is None or comparable(given.artefact) != comparable(waited))
    edited = given.artefact if given.decided is Decided.APPROVE_WITH_EDITS else None
    output = (waited or NOTHING) if replaced or given.decided is Decided.REQUEST_CHANGES else None
    draft.reviews.append(
        review._replace(
            decision=given.decided, reviewer=given.reviewer, decided=draft.now, note=given.note, edited=edited, patch=given.patch,
            output=output, holder=None, held_until=None, feedback=given.feedback,
        )
    )  # fmt: skip
    data = to_json(
        decision=given.decided, reviewer=given.reviewer, note=given.note, revision=review.revision, attempt=given.attempt
    )
    draft.events.append(EventRow(EventKind.REVIEW_DECIDED, row.stage, None, row.attempt, data))
    match given.decided:
        case Decided.APPROVE | Decided.APPROVE_WITH_EDITS:
            _children(draft, row, COMPLETED, None, None)
            draft.completed(row if given.artefact is None else row._replace(artefact=given.artefact))
        case Decided.REJECT:
            error = f"rejected by {given.reviewer}: {given.note}"
            _children(draft, row, FAILED, error, None)
            draft.failed(row, error)
        case Decided.REQUEST_CHANGES:
            _again(draft, row, given)
        case Decided.WITHDRAWN:
            raise AssertionError("nobody withdraws by answering")


def _again(draft: Draft, row: StageRow, given: Answer) -> None:
    """One more attempt than the budget had; the number goes on."""
    error = f"changes requested by {given.reviewer}: {given.note}"
    spent = max(row.spent - 1, 0)
    row = row._replace(state=PENDING, updated=draft.now, due=None, review=None, spent=spent, error=error, feedback=given.feedback)
    draft.stages.append(row._replace(artefact=None))
    if row.fan_out and not _children(draft, row, PENDING, error, given.feedback):
        # None of the children was in doubt: it is the whole that is not good enough.
        for child in draft.board(row.stage).rows:
            draft.keep_attempt(child)
            draft.subtasks.append(
                child._replace(state=PENDING, updated=draft.now, due=None, error=error, feedback=given.feedback)
            )


def _children(draft: Draft, row: StageRow, state: StageState, error: str | None, feedback: str | None) -> int:
    """Children in doubt become ``state``; how many there were."""
    doubtful = [child for child in draft.board(row.stage).rows if child.state is REVIEW] if row.fan_out else []
    for child in doubtful:
        changed = child._replace(state=state, updated=draft.now, due=None, error=error, feedback=feedback)
        draft.subtasks.append(changed._replace(spent=max(child.spent - 1, 0)) if state is PENDING else changed)
    return len(doubtful)


def hold(state: ItemState, stage: str, reviewer: str, until: int | None, now: int) -> Transition:
    """The review is in this person's hands until then; with ``None`` it is given back.

    Raises:
        ReviewConflict: it does not wait, or is in somebody else's hands.
    """
    _, review = _waiting(state, stage)
    if (reason := _in_other_hands(state.id, review, reviewer, now)) is not None:
        raise ReviewConflict(reason)
    return Transition(now, reviews=[review._replace(holder=None if until is None else reviewer, held_until=until)])


def _waiting(state: ItemState, stage: str) -> tuple[StageRow, ReviewRow]:
    row, review = state.stages.get(stage), state.reviews.get(stage)
    where = f"stage {stage!r} of item {state.id!r}"
    if row is None or row.state is not REVIEW:
        if review is not None and review.decision is not None and review.decided is not None:
            when = f"{from_us(review.decided):%Y-%m-%d %H:%M:%S} UTC"
            by = f" by {review.reviewer}" if review.reviewer else ""
            raise ReviewConflict(f"{where} was {_SAID[review.decision]}{by} at {when}; it is {row.state if row else PENDING} now")
        stands = row.state if row is not None else PENDING
        raise ReviewConflict(f"{where} is {stands}, not waiting for a review; look at its events")
    if review is None or review.decision is not None:
        # A status that was set from outside says only that somebody is asked.
        question = row.review if row.review is not None else to_json(summary="(nothing was said about what to decide)")
        review = ReviewRow(
            stage, 1 if review is None else review.revision + 1, AskedBy.STAGE, row.attempt, row.updated, question, "",
        )  # fmt: skip
    return row, review


def barred(item_id: str, review: ReviewRow, reviewer: str, now: int) -> str | None:
    """Why this person may not decide on an open review, if they may not."""
    if is_author(review.author, reviewer):
        return f"stage {review.stage!r} of item {item_id!r} is {reviewer}'s own work; somebody else must decide"
    return _in_other_hands(item_id, review, reviewer, now)


def _in_other_hands(item_id: str, review: ReviewRow, reviewer: str, now: int) -> str | None:
    if review.holder in (None, reviewer) or review.held_until is None or review.held_until <= now:
        return None
    until = f"{from_us(review.held_until):%H:%M} UTC"
    return f"stage {review.stage!r} of item {item_id!r} is in the hands of {review.holder} until {until}"


def is_overdue(state: ItemState, now: int) -> bool:
    """Whether the time of a review that waits is over."""
    return any(
        review.due is not None and review.due <= now and state.stages[name].state is REVIEW for name, review in state.reviews.items()
    )  # fmt: skip


def expire(flow: Definition, state: ItemState, now: int) -> Transition:
    """Answer the reviews whose time is over, as their policies say."""
    draft = Draft(flow, state, now)
    for name, review in state.reviews.items():
        if review.due is not None and review.due <= now and state.stages[name].state is REVIEW:
            _expire(draft, state.stages[name], review)
    return draft.finish()


def _expire(draft: Draft, row: StageRow, review: ReviewRow) -> None:
    note = "nobody answered in time"
    if review.then == "escalate":
        draft.reviews.append(review._replace(due=None, then=None, asked_by=AskedBy.ESCALATION, holder=None, held_until=None))
        draft.events.append(EventRow(EventKind.ESCALATED, row.stage, None, row.attempt, to_json(reason=note)))
    elif review.then == "approve":
        answer(draft, row, review, Answer(Decided.APPROVE, EXPIRED_BY, note))
    else:
        answer(draft, row, review, Answer(Decided.REJECT, EXPIRED_BY, note))
