"""Reviews for people: what waits, and their answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from statistics import median
from typing import Any, assert_never, get_args

from treadle import decide
from treadle.artefact import is_large
from treadle.clock import from_us, now_us
from treadle.codec import ANY, Codec, bad_name
from treadle.codec import item_id as checked_id
from treadle.decide import Answer, Seen
from treadle.definition import Definition
from treadle.edits import checked_edit, patch_between
from treadle.errors import (
    InvalidArtefact,
    InvalidTransition,
    ItemNotFound,
    ReviewConflict,
    StageNotFound,
    StoreCorrupt,
    StoreError,
    TreadleError,
)
from treadle.failure import safe_text
from treadle.gathered import told_attempts, whole_artefact
from treadle.history import Attempt, Review, feedback_data, read_attempt, read_review
from treadle.outcome import Approve, ApproveWithEdits, CriterionResult, Decision, QualityFeedback, Reject, RequestChanges
from treadle.readable import stage_artefact
from treadle.state import Decided, ItemState, ReviewRow, StageState, Transition
from treadle.store import ItemId, ReviewFilter, Shape, StateStore
from treadle.workflow import Workflow

_PLAIN = Codec(ANY)
_PAGE = 200
_BREAK = 15 * 60
"""Seconds without a decision after which a reviewer is taken to have been away."""
_RECENT = 1000
_LONGEST_REST = 60
_ALL_OPEN = ReviewFilter()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewCase:
    """Everything a person needs to decide.

    Args:
        item: the item as JSON values.
        artefact: what waits, as JSON values; ``None`` if no attempt made anything. In place of a large one stands a
            ``StoredArtefact``; ``Inbox.artefact`` gives it whole.
        attempts: all that were made, oldest first.
        upstream: the artefacts it was made from, by stage.
        schema: the JSON schema of the artefact; empty where any value will do.
        policy: when people are asked at this stage, in words; ``None`` where the workflow's code is not at hand.
        max_attempts: how many attempts its budget allows; ``None`` likewise.
    """

    review: Review
    item: Any
    artefact: Any
    attempts: Sequence[Attempt]
    upstream: Mapping[str, Any]
    schema: Mapping[str, Any]
    policy: str | None = None
    max_attempts: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkResult:
    """What one answer to many questions did: how many took it, and why others did not."""

    decided: int
    refused: Sequence[tuple[str, str, str]] = ()
    """Item, stage and reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxStats:
    """How the inbox is doing; what is about decisions is about the last thousand.

    Args:
        waiting: open questions.
        oldest_at: when the one that waits longest was asked.
        decided: how many decisions the figures below stand on.
        median_seconds: from one decision of a person to their next, breaks left out.
        changed_share: of the decisions, those that put something else in the place of what waited, 0 to 1.
    """

    waiting: int
    oldest_at: datetime | None = None
    decided: int = 0
    median_seconds: float | None = None
    changed_share: float | None = None
    by_stage: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some reviews, and where the next page begins (``None``: there is none)."""

    reviews: Sequence[Review]
    cursor: int | None


class Inbox:
    """Where reviews wait. Deciding needs no running engine: the answer is stored when the call returns.

    Args:
        store: where the items are.
        workflow: their workflow, if it is at hand: edits are then checked by its types, else by their JSON schema.
    """

    def __init__(self, store: StateStore, workflow: Workflow | None = None) -> None:
        self._store = store
        self._workflow = workflow

    # looking

    async def list(self, wanted: ReviewFilter = _ALL_OPEN, *, after: int | None = None, limit: int = 50) -> Page:
        """A page of reviews, those that were asked first first; ``after`` is the ``cursor`` of the page before."""
        found = await self._store.reviews(wanted, after, limit)
        cursor = found[-1].cursor if len(found) == limit else None
        return Page(reviews=[read_review(stored.item_id, stored.row) for stored in found], cursor=cursor)

    async def waiting(self, stage: str | None = None) -> AsyncIterator[Review]:
        """Everything that waits for a person, those that were asked first first."""
        after = None
        while found := await self._store.reviews(ReviewFilter(stage), after, _PAGE):
            after = found[-1].cursor
            for stored in found:
                yield read_review(stored.item_id, stored.row)

    async def show(self, item_id: ItemId, stage: str) -> ReviewCase:
        """The latest question about a stage, open or decided, with what it is about.

        Raises:
            ItemNotFound, StageNotFound: there is no such thing.
            ReviewConflict: nobody was ever asked about it.
        """
        state, shape = await self._load(checked_id(item_id)), await self._shape()
        flow = self._flow_of(shape)
        definition = flow.stage(stage)
        row, review = state.stages.get(stage), state.reviews.get(stage)
        if row is None or review is None:
            raise ReviewConflict(f"nobody was asked about stage {stage!r} of item {state.id!r}")
        attempts = [read_attempt(attempt, subtask) for subtask, attempt in await told_attempts(self._store, state.id, stage)]
        return ReviewCase(
            review=read_review(state.id, review),
            item=None if state.payload is None else json.loads(state.payload),
            artefact=stage_artefact(state, stage),
            attempts=attempts,
            upstream={need: stage_artefact(state, need) for need in definition.needs},
            schema=shape.artefacts.get(stage, {}),
            policy=None if self._workflow is None else definition.review.words,
            max_attempts=None if self._workflow is None else definition.retry.max_attempts,
        )

    async def artefact(self, item_id: ItemId, stage: str) -> Any:
        """What the stage made, whole, however large: in ``show`` a ``StoredArtefact`` may stand in its place.

        Raises:
            ItemNotFound, StageNotFound: there is no such thing.
            StoreCorrupt: bytes of it are missing or altered.
        """
        (await self._flow()).stage(stage)
        return await whole_artefact(self._store, await self._load(checked_id(item_id)), stage)

    async def stats(self) -> InboxStats:
        """How much waits, and how fast people are."""
        counts = await self._store.counts()
        by_stage = {name: n for name, states in counts.stages.items() if (n := states.get(StageState.AWAITING_REVIEW, 0))}
        oldest = await self._store.reviews(ReviewFilter(), None, 1)
        recent = await self._store.reviews(ReviewFilter(is_open=False), None, _RECENT, newest_first=True)
        made = [stored.row for stored in recent if _is_a_persons(stored.row)]
        gaps = _gaps([(row.reviewer or "", row.decided or 0) for row in made])
        changed = [row for row in made if row.output is not None and row.decision is not Decided.REQUEST_CHANGES]
        return InboxStats(
            waiting=sum(by_stage.values()),
            oldest_at=from_us(oldest[0].row.opened) if oldest else None,
            decided=len(made),
            median_seconds=median(gaps) if gaps else None,
            changed_share=len(changed) / len(made) if made else None,
            by_stage=by_stage,
        )

    # taking

    async def claim(self, item_id: ItemId, stage: str, *, reviewer: str, minutes: float = 10) -> Review:
        """The review is in this person's hands for so long; others are told so. Again: from now on anew.

        Raises:
            ReviewConflict: it does not wait, or somebody else has it.
        """
        _check_reviewer(reviewer)
        if not 0 < minutes <= 24 * 60:
            raise ValueError(f"claim(minutes={minutes!r}): more than 0, up to a day")
        until = now_us() + int(minutes * 60_000_000)
        identity, flow = checked_id(item_id), await self._flow()
        flow.stage(stage)
        await self._store.revise(identity, lambda state: decide.hold(state, stage, reviewer, until, now_us()))
        return (await self.show(identity, stage)).review

    async def release(self, item_id: ItemId, stage: str, *, reviewer: str) -> None:
        """Give back what was claimed."""
        _check_reviewer(reviewer)
        await self._store.revise(checked_id(item_id), lambda state: decide.hold(state, stage, reviewer, None, now_us()))

    # answering

    async def decide(
        self,
        item_id: ItemId,
        stage: str,
        decision: Decision,
        *,
        reviewer: str,
        revision: int | None = None,
        digest: str | None = None,
        rests: float = 0,
    ) -> None:
        """The decision is stored, and dependents may go on. The stage does not run again for it.

        With ``revision`` or ``digest`` of the review that was read, nothing is decided if another question stands
        there by now. An item that nobody holds ``rests`` so many seconds before it goes on: time to ``undo``.

        Raises:
            ItemNotFound, StageNotFound: there is no such thing.
            ReviewConflict: it does not wait (any more), asks something else by now, is somebody else's to decide,
                or has no such attempt.
            InvalidArtefact: an edit that does not fit the type; path and reason a field.
        """
        _check_reviewer(reviewer)
        if not 0 <= rests <= _LONGEST_REST:
            raise ValueError(f"decide(rests={rests!r}): seconds, 0 to {_LONGEST_REST}")
        seen = None if revision is None and digest is None else Seen(revision, digest)
        await self._decide(await self._flow(), checked_id(item_id), stage, decision, reviewer, seen=seen, rests=rests)

    async def _decide(
        self, flow: Definition, item_id: str, stage: str, decision: Decision, reviewer: str, *,
        seen: Seen | None, rests: float = 0,
    ) -> None:  # fmt: skip
        flow.stage(stage)
        given, checked_on = await self._answer(flow, item_id, stage, decision, reviewer)

        def change(state: ItemState) -> Transition:
            made = decide.resolve(flow, state, stage, given, now_us(), seen=seen or checked_on)
            return decide.rested(made, int(rests * 1_000_000))

        await self._store.revise(item_id, change)

    async def _answer(
        self, flow: Definition, item_id: str, stage: str, decision: Decision, reviewer: str
    ) -> tuple[Answer, Seen | None]:
        """The decision checked and encoded; with the question it was checked against, where that matters."""
        if not isinstance(decision, get_args(Decision)):
            raise TypeError(f"{decision!r:.80} is no decision; give Approve(), ApproveWithEdits(), Reject() or RequestChanges()")
        match decision:
            case Approve(note=note, attempt=number):
                if number is None:
                    return Answer(Decided.APPROVE, reviewer, _text(note)), None
                state = await self._load(item_id)
                artefact = await self._chosen(state, stage, number)
                return Answer(Decided.APPROVE, reviewer, _text(note), artefact, attempt=number), _seen(state, stage)
            case Reject(reason=reason):
                return Answer(Decided.REJECT, reviewer, _needed(reason, "Reject(reason)")), None
            case ApproveWithEdits(artefact=value, note=note):
                state = await self._load(item_id)
                text, patch = await self._edited(flow, state, stage, value)
                kept = await self._store.keep(state, text) if is_large(text) else text
                # A patch that is as large as an artefact tells nobody what was changed.
                told = None if is_large(patch) else patch
                return Answer(Decided.APPROVE_WITH_EDITS, reviewer, _text(note), kept, told), _seen(state, stage)
            case RequestChanges(feedback=feedback):
                said = feedback if isinstance(feedback, QualityFeedback) else QualityFeedback(feedback)
                summary = _needed(said.summary, "RequestChanges(feedback)")
                told = _told(said, f"the feedback on stage {stage!r} of item {item_id!r}")
                return Answer(Decided.REQUEST_CHANGES, reviewer, summary, feedback=told), None
            case _:
                assert_never(decision)

    async def _chosen(self, state: ItemState, stage: str, number: int) -> str:
        where, row = f"stage {stage!r} of item {state.id!r}", state.stages.get(stage)
        run = 0 if row is None else row.reruns
        attempts = [a for _, a in await self._store.attempts(state.id, stage) if a.seq is None and a.run == run]
        for attempt in attempts:
            if attempt.number == number and attempt.artefact is not None:
                return attempt.artefact
        useful = [str(attempt.number) for attempt in attempts if attempt.artefact is not None]
        raise ReviewConflict(
            f"attempt {number} of {where} made nothing that can be approved; attempts that did: {', '.join(useful) or 'none'}"
        )

    async def _edited(self, flow: Definition, state: ItemState, stage: str, value: Any) -> tuple[str, str]:
        row, shape = state.stages.get(stage), await self._shape()
        by_child = row is not None and bool(row.fan_out)
        codec = flow.stage(stage).codec if self._workflow is not None else None
        where = f"the edited artefact of stage {stage!r} of item {state.id!r}"
        made = await whole_artefact(self._store, state, stage)

        def check() -> tuple[str, str]:
            before = json.dumps(made, ensure_ascii=False)
            text = checked_edit(value, where, codec=codec, schema=shape.artefacts.get(stage, {}), by_child=by_child)
            return text, patch_between(before, text)

        # The libraries that check and compare read files when they are first used.
        return await asyncio.to_thread(check)

    async def preview(self, item_id: ItemId, stage: str, artefact: Any) -> Sequence[Mapping[str, Any]]:
        """The JSON Patch that an edit comes to, if it would be taken; nothing is stored.

        Raises:
            ItemNotFound, StageNotFound: there is no such thing.
            InvalidArtefact: it does not fit the type; path and reason a field.
        """
        flow = await self._flow()
        flow.stage(stage)
        _, patch = await self._edited(flow, await self._load(checked_id(item_id)), stage, artefact)
        changes: Sequence[Mapping[str, Any]] = json.loads(patch)
        return changes

    async def decide_all(
        self, wanted: ReviewFilter, decision: Approve | Reject | RequestChanges, *, reviewer: str, dry_run: bool = False
    ) -> BulkResult:
        """One answer to every open question that ``wanted`` finds now; with ``dry_run`` nothing but what it would come to.

        What is in other hands, is this person's own work, cannot be read, or changes between finding and deciding is
        refused, and listed.
        """
        _check_reviewer(reviewer)
        found, refused, after = [], list[tuple[str, str, str]](), None
        while page := await self._store.reviews(wanted._replace(is_open=True), after, 1000):
            after = page[-1].cursor
            for item_id, row in ((stored.item_id, stored.row) for stored in page):
                if (reason := decide.barred(item_id, row, reviewer, now_us())) is not None:
                    refused.append((item_id, row.stage, reason))
                else:
                    found.append((item_id, row.stage, row.revision))
        if dry_run:
            return BulkResult(decided=len(found), refused=refused)
        flow, before = await self._flow(), len(refused)

        async def one(item_id: str, stage: str, revision: int) -> None:
            try:
                await self._decide(flow, item_id, stage, decision, reviewer, seen=Seen(revision))
            except (ReviewConflict, InvalidTransition, ItemNotFound, StageNotFound, StoreCorrupt) as error:
                refused.append((item_id, stage, str(error)))

        for start in range(0, len(found), _PAGE):
            await asyncio.gather(*(one(*which) for which in found[start : start + _PAGE]))
        return BulkResult(decided=len(found) - len(refused) + before, refused=refused)

    # taking back

    async def undo(self, item_id: ItemId, stage: str, *, reviewer: str | None = None) -> None:
        """The last decision is taken back, if the item has not moved on since; with ``reviewer``, if it is theirs.

        Raises:
            ReviewConflict: nobody has decided, or somebody else.
            InvalidTransition: something was built on the decision already.
        """
        if reviewer is not None:
            _check_reviewer(reviewer)
        flow = await self._flow()
        await self._store.revise(checked_id(item_id), lambda state: decide.undo(flow, state, stage, now_us(), by=reviewer))

    async def reopen(self, item_id: ItemId, stage: str, *, operator: str, reason: str) -> None:
        """A decided question is asked anew; stages that were built on the answer return to pending.

        Raises:
            ReviewConflict: nobody has decided.
        """
        _check_reviewer(operator)
        flow, why = await self._flow(), _needed(reason, "reopen(reason)")
        await self._store.revise(checked_id(item_id), lambda state: decide.reopen(flow, state, stage, operator, why, now_us()))

    # what all of them need

    async def _load(self, item_id: str) -> ItemState:
        state = await self._store.load(item_id)
        if state is None:
            raise ItemNotFound(item_id)
        return state

    async def _shape(self) -> Shape:
        shape = await self._store.shape()
        if shape is None:
            raise StoreError("this store has no workflow yet; run one on it first")
        return shape

    async def _flow(self) -> Definition:
        return self._flow_of(await self._shape())

    def _flow_of(self, shape: Shape) -> Definition:
        if self._workflow is None:
            return Definition.from_shape(shape.workflow, shape.stages)
        if self._workflow.name != shape.workflow:
            raise TreadleError(f"the store belongs to workflow {shape.workflow!r}, not {self._workflow.name!r}")
        return self._workflow.definition


def _seen(state: ItemState, stage: str) -> Seen | None:
    review = state.reviews.get(stage)
    return None if review is None or review.decision is not None else Seen(review.revision, review.digest)


def _check_reviewer(reviewer: object) -> None:
    reason = "it is no text"
    if isinstance(reviewer, str):
        reason = bad_name(reviewer) or ("" if reviewer.strip() else "it is blank")
    if reason:
        raise ValueError(f"{reviewer!r:.80} cannot be a reviewer's name: {reason}")


def _text(note: str | None) -> str | None:
    return None if note is None else safe_text(str(note))


def _needed(text: object, what: str) -> str:
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"{what}: say why, in a few words")
    return safe_text(text)


def _told(feedback: QualityFeedback, where: str) -> str:
    """Feedback as stores take it."""
    results: Sequence[object] = feedback.failed_criteria
    if wrong := [result for result in results if not isinstance(result, CriterionResult)]:
        raise InvalidArtefact(where, [f"failed_criteria: {wrong[0]!r:.80} is no CriterionResult"])
    return _PLAIN.encode(feedback_data(feedback), where)


def _is_a_persons(row: ReviewRow) -> bool:
    """Neither withdrawn, nor answered for want of an answer, nor carried over (which is decided when it is asked)."""
    return row.decision is not Decided.WITHDRAWN and row.reviewer != decide.EXPIRED_BY and row.decided != row.opened


def _gaps(decisions: Sequence[tuple[str, int]]) -> list[float]:
    """Seconds from each decision to the same person's next; ``decisions`` are newest first."""
    later: dict[str, int] = {}
    gaps = []
    for reviewer, at in sorted(decisions, key=lambda decision: -decision[1]):
        if reviewer in later and 0 < later[reviewer] - at < _BREAK * 1_000_000:
            gaps.append((later[reviewer] - at) / 1_000_000)
        later[reviewer] = at
    return gaps


async def stored_definition(store: StateStore) -> Definition:
    """A definition good enough to decide with, from the shape in the store: without the user's code."""
    shape = await store.shape()
    if shape is None:
        raise StoreError("this store has no workflow yet; run one on it first")
    return Definition.from_shape(shape.workflow, shape.stages)
