"""What people do to an item, whether or not somebody holds it."""

from __future__ import annotations

import json
from typing import NamedTuple

from treadle.clock import from_us
from treadle.decide.draft import COMPLETED, FAILED, FINISHED, NOTHING, PENDING, REVIEW, RUNNING, Draft, to_json, was_before
from treadle.definition import Definition
from treadle.errors import InvalidTransition, ReviewConflict
from treadle.event import EventKind
from treadle.history import is_author
from treadle.state import (
    AskedBy,
    Decided,
    EventRow,
    ItemPhase,
    ItemState,
    Rest,
    ReviewRow,
    StageRow,
    StageState,
    SubtaskRow,
    Transition,
)

_SAID = {
    Decided.APPROVE: "approved",
    Decided.APPROVE_WITH_EDITS: "approved with edits",
    Decided.REJECT: "rejected",
    Decided.REQUEST_CHANGES: "sent back for changes",
    Decided.WITHDRAWN: "withdrawn",
}


_ABOUT_THE_WHOLE = frozenset({AskedBy.POLICY, AskedBy.SAMPLE, AskedBy.CHANGE})


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


# --- answering ------------------------------------------------------------------------------------


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


def answer(draft: Draft, row: StageRow, review: ReviewRow, given: Answer) -> None:
    """Write the decision and what follows for the stage."""
    waited = draft.waiting(row)
    # Naming the attempt that waits anyway, or an edit that changes nothing, puts nothing else in its place.
    replaced = given.artefact is not None and (waited is None or json.loads(given.artefact) != json.loads(waited))
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


# --- taking an answer back ------------------------------------------------------------------------


def undo(flow: Definition, state: ItemState, stage: str, now: int) -> Transition:
    """The last decision is taken back and the same question is open again, as if nobody had answered.

    Raises:
        ReviewConflict: nobody decided.
        InvalidTransition: the item has moved on since.
    """
    row, review = _decided(flow, state, stage)
    moved = [feed for feed in flow.stage(stage).feeds if _has_moved(state.stages.get(feed), review.decided or 0)]
    if row.updated != review.decided or moved:
        what = f"; {', '.join(moved)} went on with it" if moved else ""
        raise InvalidTransition(
            f"stage {stage!r} of item {state.id!r} has moved on since it was decided{what};"
            " an operator can reopen the review, or rerun the stage"
        )
    draft = Draft(flow, state, now)
    draft.phase = ItemPhase.PENDING
    again = review.decision is Decided.REQUEST_CHANGES
    _ask_again(draft, row._replace(spent=row.spent + (again and not row.fan_out)), review, review)
    # Where a policy asked about the whole, no child was in doubt.
    stood = COMPLETED if review.asked_by in _ABOUT_THE_WHOLE else REVIEW
    for child in draft.board(stage).rows if row.fan_out else ():
        if child.updated == review.decided:
            spent = child.spent + (again and stood is REVIEW)
            draft.subtasks.append(child._replace(state=stood, updated=now, error=None, feedback=None, spent=spent))
    _take_away(draft)
    data = to_json(undone=True, revision=review.revision)
    draft.events.append(EventRow(EventKind.REVIEW_REOPENED, stage, None, row.attempt, data))
    return draft.finish()


def _has_moved(row: StageRow | None, since: int) -> bool:
    """Whether the stage did anything since then: it may be pending from an earlier run, or between two attempts."""
    return row is not None and (row.state is not PENDING or row.updated > since)


def reopen(flow: Definition, state: ItemState, stage: str, operator: str, reason: str, now: int) -> Transition:
    """A decided review is asked anew; what was built on it returns to pending.

    Raises:
        ReviewConflict: nobody decided, or it is being done again already.
    """
    row, review = _decided(flow, state, stage)
    if row.state not in (COMPLETED, FAILED):
        raise ReviewConflict(f"stage {stage!r} of item {state.id!r} is {row.state}; only a decided review can be reopened")
    draft = Draft(flow, state, now)
    draft.phase = ItemPhase.PENDING
    before = was_before(review)
    fresh = review._replace(revision=review.revision + 1, opened=now, due=None, then=None, before=before)
    _ask_again(draft, row, review, fresh)
    _reset_dependents(draft, flow, state, stage)
    data = to_json(operator=operator, reason=reason, revision=fresh.revision)
    draft.events.append(EventRow(EventKind.REVIEW_REOPENED, stage, None, row.attempt, data))
    return draft.finish()


def _decided(flow: Definition, state: ItemState, stage: str) -> tuple[StageRow, ReviewRow]:
    flow.stage(stage)
    row, review = state.stages.get(stage), state.reviews.get(stage)
    if row is None or review is None or review.decision in (None, Decided.WITHDRAWN):
        raise ReviewConflict(f"nobody has decided on stage {stage!r} of item {state.id!r}; there is nothing to take back")
    if state.phase is ItemPhase.CANCELLED:
        raise InvalidTransition(f"item {state.id!r} is cancelled; `treadle retry` takes it back first")
    return row, review


def _ask_again(draft: Draft, row: StageRow, decided: ReviewRow, review: ReviewRow) -> None:
    artefact = row.artefact if decided.output is None else decided.output
    if row.fan_out or artefact == NOTHING:
        artefact = None
    shown = to_json(**json.loads(review.question) | {"created_at": from_us(draft.now).isoformat()})
    draft.stages.append(
        row._replace(state=REVIEW, updated=draft.now, due=None, error=None, artefact=artefact, review=shown, feedback=None)
    )
    draft.reviews.append(
        review._replace(
            decision=None, reviewer=None, decided=None, note=None, edited=None, patch=None, output=None, feedback=None
        )
    )


# --- doing it again -------------------------------------------------------------------------------


def retry(flow: Definition, state: ItemState, stage: str | None, now: int) -> Transition:
    """Failed stages (that one, or all) are pending again with a new budget; finished subtasks stay finished.

    Raises:
        InvalidTransition: there is nothing failed to try again.
    """
    if stage is not None:
        flow.stage(stage)
    names = [stage] if stage is not None else list(flow.stages)
    failed = [row for name in names if (row := state.stages.get(name)) is not None and row.state is FAILED]
    if not failed:
        stands = state.stages[stage].state if stage in state.stages else "pending"
        what = (
            f"stage {stage!r} of item {state.id!r} is {stands}"
            if stage is not None
            else f"no stage of item {state.id!r} has failed"
        )
        raise InvalidTransition(f"{what}; only a failed stage can be tried again")
    draft = Draft(flow, state, now)
    draft.phase = ItemPhase.PENDING
    for row in failed:
        draft.stages.append(row._replace(state=PENDING, updated=now, due=None, spent=0, interruptions=0))
        draft.events.append(EventRow(EventKind.STAGE_RETRIED, row.stage, None, row.attempt))
        for child in draft.board(row.stage).rows if row.fan_out else ():
            if child.state is FAILED:
                draft.subtasks.append(child._replace(state=PENDING, updated=now, due=None, spent=0, interruptions=0))
    return draft.finish()


def rerun(
    flow: Definition,
    state: ItemState,
    stage: str,
    now: int,
    *,
    cascade: bool,
    operator: str | None = None,
    reason: str | None = None,
) -> Transition:
    """A completed or skipped stage is pending again, from its first attempt; its history is kept.

    Raises:
        InvalidTransition: it has not finished, or (without ``cascade``) others have built on it.
    """
    flow.stage(stage)
    row = state.stages.get(stage)
    where = f"stage {stage!r} of item {state.id!r}"
    if state.phase is ItemPhase.CANCELLED:
        raise InvalidTransition(f"item {state.id!r} is cancelled; `treadle retry` takes it back first")
    if row is None or row.state not in FINISHED:
        way_out = {FAILED: "; retry it", REVIEW: "; decide on it, or request changes"}.get(row.state if row else PENDING, "")
        raise InvalidTransition(f"{where} is {row.state if row else PENDING}; only a finished stage can be rerun{way_out}")
    built = [name for name in _dependents(flow, stage) if name in state.stages]
    if built and not cascade:
        raise InvalidTransition(f"{', '.join(built)} have built on {where}; with cascade they return to pending too")
    draft = Draft(flow, state, now)
    draft.phase = ItemPhase.PENDING
    data = to_json(operator=operator, reason=reason)
    draft.events.append(EventRow(EventKind.STAGE_RERUN, stage, None, row.attempt, data))
    _reset(draft, row)
    _reset_dependents(draft, flow, state, stage)
    return draft.finish()


def _dependents(flow: Definition, stage: str) -> list[str]:
    """Everything that depends on the stage, directly or through others, in topological order."""
    below = {stage}
    for name, definition in flow.stages.items():
        if below.intersection(definition.needs):
            below.add(name)
    return [name for name in flow.stages if name in below and name != stage]


def _reset_dependents(draft: Draft, flow: Definition, state: ItemState, stage: str) -> None:
    for name in _dependents(flow, stage):
        if (row := state.stages.get(name)) is not None:
            draft.events.append(EventRow(EventKind.STAGE_RERUN, name, None, row.attempt, to_json(because=stage)))
            _reset(draft, row)
    _take_away(draft)


def _take_away(draft: Draft) -> None:
    """Whoever holds the item loses it: they may be about to build on what is no more.

    What else they run of it is put back, and charged to nobody.
    """
    draft.revokes = True
    reset = {row.stage for row in draft.stages}
    for row in draft.state.stages.values():
        if row.stage in reset or row.state is not RUNNING:
            continue
        if not row.fan_out:
            draft.stages.append(row._replace(state=PENDING, updated=draft.now))
            draft.events.append(EventRow(EventKind.STAGE_INTERRUPTED, row.stage, None, row.attempt))
        for child in draft.board(row.stage).rows if row.fan_out else ():
            if child.state is RUNNING:
                draft.subtasks.append(child._replace(state=PENDING, updated=draft.now))
                draft.events.append(EventRow(EventKind.STAGE_INTERRUPTED, row.stage, child.name, child.attempt))


def _reset(draft: Draft, row: StageRow) -> None:
    """Pending as if never tried, but for the numbers."""
    draft.keep_attempt(row if not row.fan_out else None)
    for child in draft.board(row.stage).rows:
        draft.keep_attempt(child)
    if row.stage in draft.state.boards:
        draft.cleared.append(row.stage)
    draft.withdraw(row.stage)
    draft.stages.append(StageRow(row.stage, PENDING, row.attempt, draft.now, version=row.version, reruns=row.reruns + 1))


# --- the item as a whole --------------------------------------------------------------------------


def cancel(flow: Definition, state: ItemState, reason: str | None, now: int) -> Transition:
    """The item moves no more: what ran or waited for a person fails as cancelled, the rest stays as it is.

    Raises:
        InvalidTransition: it has already ended.
    """
    if state.phase in (ItemPhase.COMPLETED, ItemPhase.CANCELLED):
        raise InvalidTransition(f"item {state.id!r} is already {state.phase}")
    draft = Draft(flow, state, now)
    draft.revokes = True
    error = f"cancelled: {reason}" if reason else "cancelled"
    for row in state.stages.values():
        if row.state is RUNNING or row.state is REVIEW:
            draft.stages.append(row._replace(state=FAILED, updated=now, due=None, error=error, review=None))
            draft.withdraw(row.stage)
        for child in draft.board(row.stage).rows if row.fan_out and row.state is RUNNING else ():
            if child.state is RUNNING or child.state is PENDING:
                draft.subtasks.append(_stopped(child, now, error))
    draft.events.append(EventRow(EventKind.ITEM_CANCELLED, data=to_json(reason=reason)))
    draft.phase = ItemPhase.CANCELLED
    draft.running = 0
    return draft.finish()


def _stopped(child: SubtaskRow, now: int, error: str) -> SubtaskRow:
    return child._replace(state=FAILED, updated=now, due=None, error=error)


def arrive(flow: Definition, now: int) -> Transition:
    """What is written when an item is added."""
    priority = max(flow.stages[name].priority for name in flow.roots)
    return Transition(now, events=(EventRow(EventKind.ITEM_ADDED),), rest=Rest(ItemPhase.PENDING, now, priority))
