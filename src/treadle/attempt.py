"""Run one attempt. The only place where user code runs; what it raises becomes data."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from treadle.artefact import is_reference
from treadle.batches import Batches, Raised
from treadle.breadth import Bodies
from treadle.clock import now_us
from treadle.codec import ANY, Codec, bad_name
from treadle.definition import INLINE, PROCESS, Definition, StageDefinition
from treadle.errors import InvalidArtefact, StoreCorrupt
from treadle.executor import Processes, Threads
from treadle.failure import describe, safe_text
from treadle.gates import GateContext, StageOutput, checked
from treadle.history import feedback_from_json, read_attempt, verdict_data
from treadle.outcome import (
    AwaitingReview,
    Completed,
    FanOut,
    PermanentError,
    QualityFeedback,
    RetryLater,
    ReviewData,
    Skipped,
    SubTask,
)
from treadle.readable import review_to_json
from treadle.signature import CTX, ITEM, OUTCOME, SUBTASK, Signature
from treadle.stage import StageContext, Upstream
from treadle.state import AttemptRow, Ended, ItemState, StageRow, StageState, SubtaskRow, Unit

log: logging.Logger = logging.getLogger("treadle.attempt")

MAX_SUBTASKS = 100_000
GRACE = 0.5
"""Seconds a coroutine has to end by itself when its time is over, before it is left behind."""

_tuple = tuple.__new__
_COMPLETED = Ended.COMPLETED
_NOTHING_ELSE = AttemptRow("", None, 0, 0, 0, _COMPLETED)[8:]
"""What an attempt without metrics says behind its summary. To leave it to the constructor takes twice as long."""
_PLAIN = Codec(ANY)
_OTHER_OUTCOMES = (Skipped, AwaitingReview, FanOut)
_NO_PLAIN_VALUES = (Completed, Raised, *_OTHER_OUTCOMES)

OnProgress = Callable[[str, str | None, int, float, str | None], None]
"""Told of stage, subtask, attempt, fraction and note; from any thread."""


class Surroundings(NamedTuple):
    """What attempts of one engine share."""

    flow: Definition
    state: Any
    """The lifespan's value."""
    threads: Threads
    processes: Processes | None
    bodies: Bodies
    batches: Batches | None = None


class Subject:
    """One item as its attempts see it: decoded once, its artefacts when they are asked for."""

    __slots__ = ("_item", "flow", "on_progress", "state")

    def __init__(self, flow: Definition, state: ItemState, on_progress: OnProgress | None = None, *, item: Any = None) -> None:
        self.flow: Definition = flow
        self.state: ItemState = state
        self.on_progress: OnProgress | None = on_progress
        self._item: Any = item

    @property
    def item(self) -> Any:
        """The item; raises ``InvalidArtefact`` if what is stored no longer fits its type."""
        if self._item is None:
            self._item = self.flow.items.decode(self.state.id, self.state.payload or "null")
        return self._item

    def artefact(self, stage: str, texts: Mapping[str, str]) -> Any:
        """What a finished stage made, as its return type says; ``None`` if it was skipped or made nothing.

        ``texts`` are those of large artefacts, by what stands for them in the rows.
        """
        where = f"the artefact of stage {stage!r} of item {self.state.id!r} as stored"
        row = self.state.stages.get(stage)
        codec = self.flow.stages[stage].codec
        if row is not None and row.fan_out and row.artefact is None:
            board = self.state.boards.get(stage)
            children = board.rows if board is not None else []
            return {
                child.name: None if child.artefact is None else codec.decode(texts.get(child.artefact, child.artefact), where)
                for child in children
            }
        if row is None or row.artefact is None:
            return None
        text = texts.get(row.artefact, row.artefact) if texts else row.artefact
        if row.fan_out:
            # A person put this in the place of what the children made.
            edited: dict[str, Any] = json.loads(text)
            return {name: None if made is None else codec.decode(json.dumps(made), where) for name, made in edited.items()}
        return codec.decode(text, where)

    def large(self, stages: Iterable[str]) -> list[tuple[str, str]]:
        """These stages, as often as they made something that is kept beside the rows, each with what stands for it."""
        found: list[tuple[str, str]] = []
        for stage in stages:
            row, board = self.state.stages.get(stage), self.state.boards.get(stage)
            whole = row is None or row.artefact is not None or board is None
            rows: Sequence[StageRow | SubtaskRow] = [] if row is None else [row] if whole or board is None else board.rows
            found += [(stage, made.artefact) for made in rows if made.artefact is not None and is_reference(made.artefact)]
        return found


class Call:
    """One attempt while it runs; ``row`` is the unit's, marked as running.

    ``history`` is the unit's attempts before this one; ``raised`` what already went wrong before the body's turn; ``texts``
    are those of the large artefacts it needs (see ``needs_of``); ``clock`` says when it begins and ends.
    """

    __slots__ = ("_clock", "_ctx", "_history", "_raised", "_row", "_stage", "_subject", "_surroundings", "_texts", "_unit")

    def __init__(
        self,
        surroundings: Surroundings,
        subject: Subject,
        unit: Unit,
        row: StageRow | SubtaskRow,
        *,
        history: Sequence[AttemptRow] = (),
        raised: BaseException | None = None,
        texts: Mapping[str, str] = {},
        clock: Callable[[], int] = now_us,
    ) -> None:
        self._texts = texts
        self._clock = clock
        self._surroundings = surroundings
        self._subject = subject
        self._unit = unit
        self._stage = surroundings.flow.stages[unit[0]]
        self._row = row
        self._history = history
        self._raised = raised
        self._ctx: StageContext | None = None

    async def run(self) -> AttemptRow:
        """How the attempt ended. Raises only when it is cancelled from outside."""
        began, stage, bodies = self._clock(), self._stage, self._surroundings.bodies
        # In a batch, it is in user code only while that is called.
        inside = stage.batch is None
        bodies.now += inside
        try:
            if self._raised is not None:
                return self._failed(self._raised, began)
            if stage.bare and inside:
                return self._ended(await self.invoke(stage.body if self._unit[1] is None else stage.handler, None), began)
            if stage.bare:
                return self._ended(await self._part_of_batch(), began)
            if self._executor == PROCESS and self._surroundings.processes is not None:
                return await self._in_process(began)
            attempt: AttemptRow = await self._within_time(self._judged(began))
            return attempt
        except (GeneratorExit, asyncio.CancelledError) as error:
            if _ended_from_outside(error):
                raise
            return self._failed(error, began)
        except BaseException as error:
            return self._failed(error, began)
        finally:
            bodies.now -= inside

    def concluded(self, made: Any, began: int) -> AttemptRow:
        """How the attempt ended that began then, and of which a batch has ``made`` this."""
        try:
            return self._failed(made.error, began) if isinstance(made, Raised) else self._ended(made, began)
        except BaseException as error:
            return self._failed(error, began)

    # calling

    @property
    def _signature(self) -> Signature:
        return self._stage.body if self._unit[1] is None else self._stage.handler

    @property
    def _executor(self) -> str:
        return self._stage.executor if self._unit[1] is None else self._stage.handler_executor

    def invoke(self, signature: Signature, outcome: Any) -> Any:
        """What the function returns: for an async one, a coroutine."""
        if signature.only_item:
            return signature.function(self._subject.item)
        return signature.call(self._values(signature, outcome))

    def _values(self, signature: Signature, outcome: Any) -> dict[str, Any]:
        values = {}
        for source in signature.sources:
            if source == ITEM:
                values[source] = self._subject.item
            elif source == CTX:
                values[source] = self._context()
            elif source == SUBTASK:
                values[source] = self._context().subtask
            elif source == OUTCOME:
                values[source] = outcome
            else:
                values[source] = self._subject.artefact(source, self._texts)
        return values

    async def _part_of_batch(self) -> Any:
        """What the batch that this attempt is a part of has made of it."""
        batches = self._surroundings.batches
        assert batches is not None  # noqa: S101 - an engine has them, and nobody else runs batch stages
        (part,) = batches.put(self._stage, {source: [value] for source, value in self._values(self._signature, None).items()}, 1)
        (made,) = await part.results
        if isinstance(made, Raised):
            raise made.error
        return made

    async def _whole(self) -> Any:
        """Hooks and body, each where it belongs."""
        stage = self._stage
        if stage.before is not None:
            await self._one(stage.before, INLINE if stage.before.is_async else self._executor, None)
        if stage.batch is not None:
            value = await self._part_of_batch()
        else:
            value = await self._one(self._signature, self._executor, None)
        if stage.after is not None:
            await self._one(stage.after, INLINE if stage.after.is_async else self._executor, value)
        return value

    async def _judged(self, began: int) -> AttemptRow:
        """Body and gate, under one time limit."""
        attempt = self._ended(await self._whole(), began)
        gate = self._stage.gate
        if gate is None or attempt.how is not _COMPLETED:
            return attempt
        made = None if attempt.artefact is None else self._stage.codec.decode(attempt.artefact, self._where("the artefact"))
        past = [read_attempt(row) for row in self._history]
        ctx = GateContext(
            item_id=self._subject.state.id, stage=self._row.stage, attempt=self._row.attempt,
            max_attempts=self._stage.retry.max_attempts, previous_attempts=past,
            subtask=self._row.name if isinstance(self._row, SubtaskRow) else None, in_thread=self._surroundings.threads.run,
        )  # fmt: skip
        try:
            verdict = checked(await gate.evaluate(self._subject.item, StageOutput(made, attempt.summary), ctx), gate.name)
            said = _PLAIN.encode(verdict_data(verdict, gate.name), self._where("the verdict on"))
        except asyncio.CancelledError:
            raise
        except Exception as error:
            # What was made is kept for whoever looks into it, but nothing has accepted it.
            return self._failed(error, began)._replace(artefact=attempt.artefact, summary=attempt.summary)
        return attempt._replace(verdict=said, ended=self._clock())

    async def _one(self, signature: Signature, executor: str, outcome: Any) -> Any:
        if executor == INLINE or signature.is_async:
            value = self.invoke(signature, outcome)
        else:
            value = await self._surroundings.threads.run(lambda: self.invoke(signature, outcome), self._where("a call"))
        return await value if inspect.isawaitable(value) else value

    async def _within_time(self, whole: Any) -> Any:
        """``await whole``, given up after the stage's time limit even if the code swallows its cancellation."""
        limit = self._stage.timeout
        if limit is None:
            return await whole
        task = asyncio.create_task(_caught(whole))
        try:
            done, _ = await asyncio.wait({task}, timeout=limit)
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait({task}, timeout=GRACE)
            raise
        if not done:
            task.cancel()
            if not (await asyncio.wait({task}, timeout=GRACE))[0]:
                fields = {"item": self._subject.state.id, "stage": self._row.stage}
                log.warning("%s ignores its time limit: it is left behind", self._where("a coroutine"), extra=fields)
            raise TimeoutError(f"timed out after {limit:g} s")
        value, error = task.result()
        if error is not None:
            raise error
        return value

    async def _in_process(self, began: int) -> AttemptRow:
        assert self._surroundings.processes is not None  # noqa: S101 - the caller looked
        job = to_job(self._subject, self._unit, self._row, self._history, self._texts)
        answer = await self._surroundings.processes.run(job, self._progress, self._within_time)
        fields = AttemptRow(*answer)
        return fields._replace(how=Ended(fields.how), started=began, ended=self._clock())

    # context

    def _context(self) -> StageContext:
        if self._ctx is None:
            row, state = self._row, self._subject.state
            subtask = None
            if isinstance(row, SubtaskRow):
                subtask = SubTask(row.name, None if row.data is None else json.loads(row.data))
            self._ctx = StageContext(
                state.id,
                row.stage,
                workflow=self._surroundings.flow.name,
                attempt=row.attempt,
                subtask=subtask,
                feedback=self._feedback(),
                previous_attempts=[read_attempt(past) for past in self._history],
                upstream=Upstream(self._stage.needs, lambda stage: self._subject.artefact(stage, self._texts)),
                state=self._surroundings.state,
                on_progress=self._progress,
                run=row.reruns,
            )
        return self._ctx

    def _feedback(self) -> QualityFeedback | None:
        if self._row.feedback is not None:
            return feedback_from_json(self._row.feedback)
        return None if self._row.error is None else QualityFeedback(self._row.error)

    def _progress(self, fraction: float, note: str | None) -> None:
        # Asked once: the item may come to rest while a thread that was left behind tells how far it is.
        if (tell := self._subject.on_progress) is not None:
            name = self._row.name if isinstance(self._row, SubtaskRow) else None
            tell(self._row.stage, name, self._row.attempt, fraction, None if note is None else safe_text(note))

    def _metrics(self) -> str | None:
        if self._ctx is None or not self._ctx.metrics:
            return None
        return _PLAIN.encode(self._ctx.metrics, self._where("its recorded metrics"))

    def _where(self, what: str) -> str:
        return _where(what, self._row.stage, self._subject.state.id)

    # endings

    def _ended(self, value: Any, began: int) -> AttemptRow:
        """The attempt that returned ``value``, encoded."""
        seq = self._unit[1]
        if value is None:
            return self._of(began, _COMPLETED)
        summary = None
        if isinstance(value, Completed):
            summary, value = _line(value.summary), value.artefact
        if not isinstance(value, _OTHER_OUTCOMES):
            return self._of(began, _COMPLETED, None if value is None else self._encoded(value), summary)
        attempt = self._of(began, Ended.SKIPPED)
        if isinstance(value, Skipped):
            return attempt._replace(summary=_line(value.reason))
        if seq is not None:
            raise TypeError(f"a subtask cannot return {type(value).__name__}; return it from the stage itself")
        if isinstance(value, FanOut) and self._stage.batch is not None:
            raise TypeError("a batch stage cannot fan out; let a stage of its own do so")
        if isinstance(value, FanOut):
            return attempt._replace(how=Ended.FAN_OUT, subtasks=self._children(value))
        review = self._review(value.review)
        artefact = None if value.artefact is None else self._encoded(value.artefact)
        return attempt._replace(how=Ended.AWAITING_REVIEW, artefact=artefact, review=review, summary=_line(value.review.summary))

    def _of(self, began: int, how: Ended, artefact: str | None = None, summary: str | None = None) -> AttemptRow:
        row = self._row
        if self._ctx is None and not row.reruns:
            return _tuple(
                AttemptRow, (row[0], self._unit[1], row.attempt, began, self._clock(), how, artefact, summary, *_NOTHING_ELSE)
            )
        return AttemptRow(
            row.stage, self._unit[1], row.attempt, began, self._clock(), how, artefact, summary,
            metrics=None if self._ctx is None else self._metrics(), run=row.reruns,
        )  # fmt: skip

    def _encoded(self, value: Any) -> str:
        return _encoded(self._stage, self._subject.state.id, value)

    def _children(self, fan_out: FanOut) -> list[tuple[str, str | None]]:
        children: dict[str, str | None] = {}
        for subtask in fan_out.subtasks:
            if len(children) == MAX_SUBTASKS:
                raise InvalidArtefact(self._where("the fan-out"), [f"it has more than {MAX_SUBTASKS:,} subtasks"])
            if not isinstance(subtask, str):
                raise InvalidArtefact(self._where("the fan-out"), [f"{subtask!r:.80} is no SubTask"])
            name = str.__str__(subtask)
            if reason := bad_name(name):
                raise InvalidArtefact(self._where("the fan-out"), [f"{subtask!r:.80} cannot be a subtask: {reason}"])
            if name in children:
                raise InvalidArtefact(self._where("the fan-out"), [f"two subtasks are named {name!r}"])
            data = getattr(subtask, "data", None)
            children[name] = None if data is None else _PLAIN.encode(data, self._where(f"the data of subtask {name!r}"))
        return list(children.items())

    def _review(self, review: ReviewData) -> str:
        if not isinstance(review, ReviewData):
            raise TypeError(f"AwaitingReview takes a ReviewData, not a {type(review).__name__}")
        _PLAIN.encode([review.summary, review.details], self._where("the question to a person"))
        return review_to_json(replace(review, summary=safe_text(str(review.summary))))

    def _failed(self, error: BaseException, began: int) -> AttemptRow:
        how = Ended.TIMED_OUT if isinstance(error, TimeoutError) and str(error).startswith("timed out after") else Ended.FAILED
        line, data = describe(error)
        if how is Ended.TIMED_OUT:
            line = str(error)  # the next attempt is told so, and needs no name of a class
        budget = self._stage.retry
        try:
            worth = budget.is_worth_retrying(error)
        except Exception as broken:
            worth, line = False, f"{line} (and its retry_on raised {type(broken).__name__}: {broken})"
        # Bytes that are gone stay gone until somebody puts them back.
        retry = isinstance(error, RetryLater) or (worth and not isinstance(error, PermanentError | StoreCorrupt))
        try:
            metrics = self._metrics()
        except InvalidArtefact:
            metrics = None
        return AttemptRow(
            self._row.stage, self._unit[1], self._row.attempt, began, self._clock(), how, error=line, failure=data,
            retry=retry, retry_after=error.delay if isinstance(error, RetryLater) else None, metrics=metrics, run=self._row.reruns,
        )  # fmt: skip


async def attempted(surroundings: Surroundings, subject: Subject, name: str) -> AttemptRow:
    """How the first attempt at a ``quick`` stage ended, which was never done again: without a ``Call`` where there is no more than a value.

    To put a call together and to ask it takes longer than all else of such an attempt (``make bench``, W1).
    """
    stage, bodies, began = surroundings.flow.stages[name], surroundings.bodies, now_us()
    bodies.now += 1
    try:
        made = await stage.body.function(subject.item)
    except BaseException as error:
        if isinstance(error, GeneratorExit | asyncio.CancelledError) and _ended_from_outside(error):
            raise
        # Not kept in a local: this frame, which the error knows, and the error would keep each other.
        return Call(surroundings, subject, stage.unit, subject.state.stages[name]).concluded(Raised(error), began)
    finally:
        bodies.now -= 1
    artefact = plain_artefact(stage, subject.state.id, made)
    if type(artefact) is str:
        return _tuple(AttemptRow, (name, None, 1, began, now_us(), _COMPLETED, artefact, None, *_NOTHING_ELSE))
    call = Call(surroundings, subject, stage.unit, subject.state.stages[name])
    return call.concluded(made if artefact is None else artefact, began)


def plain_artefact(stage: StageDefinition, item: str, made: object) -> str | Raised | None:
    """The artefact of an attempt at ``item`` that has made a value and nothing more, or why it cannot be stored.

    ``None`` where there is more to say. A value is encoded once: an iterator would be another the second time.
    """
    try:
        return None if made is None or isinstance(made, _NO_PLAIN_VALUES) else _encoded(stage, item, made)
    except BaseException as error:  # a value may bring code of its own
        return Raised(error)


def _encoded(stage: StageDefinition, item: str, value: Any) -> str:
    try:
        return stage.codec.encode(value, "")
    except InvalidArtefact as error:
        # Whose it is, is only put into words when something is wrong with it.
        raise InvalidArtefact(_where("the artefact", stage.name, item), error.problems) from error.__cause__


def _where(what: str, stage: str, item: str) -> str:
    return f"{what} of stage {stage!r} of item {item!r}"


def needs_of(stage: StageDefinition) -> Sequence[str]:
    """The stages whose artefacts an attempt may read: those it names, or all it waits for if it takes the context."""
    signatures = (stage.body, stage.handler, stage.before, stage.after, stage.when)
    sources = {source for signature in signatures if signature is not None for source in signature.sources}
    return stage.needs if CTX in sources else [need for need in stage.needs if need in sources]


async def wanted(surroundings: Surroundings, subject: Subject, stage: str, texts: Mapping[str, str]) -> bool | BaseException:
    """Whether the stage's ``when`` says that it should run; what ``when`` raised, if it did."""
    definition = surroundings.flow.stages[stage]
    if definition.when is None:
        return True
    row = subject.state.stages.get(stage) or StageRow(stage, StageState.PENDING, 0, now_us())
    call, when = Call(surroundings, subject, (stage, None), row._replace(attempt=row.attempt + 1), texts=texts), definition.when
    try:
        if when.is_async:
            return bool(await call.invoke(when, None))
        answer = await surroundings.threads.run(lambda: call.invoke(when, None))
        return bool(await answer if inspect.isawaitable(answer) else answer)
    except (GeneratorExit, asyncio.CancelledError) as error:
        if _ended_from_outside(error):
            raise
        return error
    except BaseException as error:
        return error


def _ended_from_outside(error: BaseException) -> bool:
    """Whether the task was cancelled or its coroutine closed; the stage may also have raised the same by itself."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return True  # No loop runs any more: what is left of it is being cleared away.
    return task is None or (isinstance(error, asyncio.CancelledError) and task.cancelling() > 0)


def interrupted(state: ItemState, unit: Unit) -> AttemptRow:
    """The attempt of a unit whose engine was told to stop."""
    name, seq = unit
    row: StageRow | SubtaskRow = state.stages[name] if seq is None else state.boards[name].rows[seq]
    now = now_us()
    return AttemptRow(
        name, seq, row.attempt, row.started or now, now, Ended.INTERRUPTED, error="interrupted: its engine was stopped",
        run=row.reruns,
    )  # fmt: skip


async def _caught(whole: Any) -> tuple[Any, BaseException | None]:
    """A task may not end with SystemExit or KeyboardInterrupt: those would tear the event loop down."""
    try:
        return await whole, None
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        return None, error


def _line(text: str | None) -> str | None:
    return None if text is None else safe_text(str(text))


def to_job(
    subject: Subject, unit: Unit, row: StageRow | SubtaskRow, history: Sequence[AttemptRow], texts: Mapping[str, str]
) -> dict[str, Any]:
    """What a worker process needs to run this attempt with the same code."""
    state, flow = subject.state, subject.flow
    needs = flow.stages[unit[0]].needs
    rows = [state.stages[need] for need in needs if need in state.stages]
    children = [child for need in needs if (board := state.boards.get(need)) is not None for child in board.rows]
    return {
        "id": state.id, "payload": state.payload, "unit": unit, "row": row, "stages": rows, "subtasks": children, "history": history,
        "texts": texts,
    }  # fmt: skip
