"""Run one attempt. The only place where user code runs; what it raises becomes data."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Callable
from typing import Any, NamedTuple

from treadle.clock import now_us
from treadle.codec import ANY, Codec, bad_name
from treadle.definition import INLINE, PROCESS, Definition
from treadle.errors import InvalidArtefact
from treadle.executor import Processes, Threads
from treadle.failure import describe, safe_text
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
from treadle.signature import CTX, ITEM, OUTCOME, SUBTASK, Signature
from treadle.stage import StageContext, Upstream
from treadle.state import Attempt, Ended, ItemState, StageRow, StageState, SubtaskRow, Unit
from treadle.store import review_to_json

MAX_SUBTASKS = 100_000
GRACE = 0.5
"""Seconds a coroutine has to end by itself when its time is over, before it is left behind."""

_PLAIN = Codec(ANY)
_ONLY_ITEM = (ITEM,)
_OTHER_OUTCOMES = (Skipped, AwaitingReview, FanOut)

OnProgress = Callable[[str, str | None, int, float, str | None], None]
"""Told of stage, subtask, attempt, fraction and note; from any thread."""


class Surroundings(NamedTuple):
    """What attempts of one engine share."""

    flow: Definition
    state: Any
    """The lifespan's value."""
    threads: Threads
    processes: Processes | None


class Subject:
    """One item as its attempts see it: decoded once, its artefacts when they are asked for."""

    __slots__ = ("_item", "flow", "on_progress", "state")

    def __init__(self, flow: Definition, state: ItemState, on_progress: OnProgress | None = None) -> None:
        self.flow: Definition = flow
        self.state: ItemState = state
        self.on_progress: OnProgress | None = on_progress
        self._item: Any = None

    @property
    def item(self) -> Any:
        """The item; raises ``InvalidArtefact`` if what is stored no longer fits its type."""
        if self._item is None:
            self._item = self.flow.items.decode(self.state.id, self.state.payload or "null")
        return self._item

    def artefact(self, stage: str) -> Any:
        """What a finished stage made, as its return type says; ``None`` if it was skipped or made nothing."""
        where = f"the artefact of stage {stage!r} of item {self.state.id!r} as stored"
        row = self.state.stages.get(stage)
        codec = self.flow.stages[stage].codec
        if row is not None and row.fan_out:
            board = self.state.boards.get(stage)
            children = board.rows if board is not None else []
            return {child.name: None if child.artefact is None else codec.decode(child.artefact, where) for child in children}
        return None if row is None or row.artefact is None else codec.decode(row.artefact, where)


class Call:
    """One attempt while it runs. ``raised`` is what already went wrong before the body's turn."""

    __slots__ = ("_ctx", "_raised", "_row", "_stage", "_subject", "_surroundings", "_unit")

    def __init__(
        self,
        surroundings: Surroundings,
        subject: Subject,
        unit: Unit,
        *,
        row: StageRow | SubtaskRow | None = None,
        raised: BaseException | None = None,
    ) -> None:
        name, seq = unit
        self._surroundings = surroundings
        self._subject = subject
        self._unit = unit
        self._stage = surroundings.flow.stages[name]
        state = subject.state
        if row is None:
            row = state.stages[name] if seq is None else state.boards[name].rows[seq]
        self._row = row
        self._raised = raised
        self._ctx: StageContext | None = None

    async def run(self) -> Attempt:
        """How the attempt ended. Raises only when it is cancelled from outside."""
        row = self._row
        began = now_us()
        try:
            if self._raised is not None:
                return self._failed(self._raised, began)
            if self._stage.bare:
                value = await self.invoke(self._signature, None)
            elif self._executor == PROCESS and self._surroundings.processes is not None:
                return await self._in_process(began)
            else:
                value = await self._within_time(self._whole())
            if value is None:
                return Attempt(row.stage, self._unit[1], row.attempt, began, now_us(), Ended.COMPLETED, metrics=self._metrics())
            return self._ended(value, began)
        except (asyncio.CancelledError, GeneratorExit) as error:
            if _ended_from_outside(error):
                raise
            return self._failed(error, began)
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
        if signature.sources == _ONLY_ITEM:
            return signature.function(self._subject.item)
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
                values[source] = self._subject.artefact(source)
        return signature.call(values)

    async def _whole(self) -> Any:
        """Hooks and body, each where it belongs."""
        stage = self._stage
        if stage.before is not None:
            await self._one(stage.before, INLINE if stage.before.is_async else self._executor, None)
        value = await self._one(self._signature, self._executor, None)
        if stage.after is not None:
            await self._one(stage.after, INLINE if stage.after.is_async else self._executor, value)
        return value

    async def _one(self, signature: Signature, executor: str, outcome: Any) -> Any:
        if executor == INLINE or signature.is_async:
            value = self.invoke(signature, outcome)
        else:
            value = await self._surroundings.threads.run(lambda: self.invoke(signature, outcome))
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
            await asyncio.wait({task}, timeout=GRACE)
            raise TimeoutError(f"timed out after {limit:g} s")
        value, error = task.result()
        if error is not None:
            raise error
        return value

    async def _in_process(self, began: int) -> Attempt:
        assert self._surroundings.processes is not None  # noqa: S101 - the caller looked
        job = to_job(self._subject, self._unit, self._row)
        answer = await self._within_time(self._surroundings.processes.run(job, self._progress))
        fields = Attempt(*answer)
        return fields._replace(how=Ended(fields.how), started=began, ended=now_us())

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
                feedback=None if row.error is None else QualityFeedback(row.error),
                upstream=Upstream(self._stage.needs, self._subject.artefact),
                state=self._surroundings.state,
                on_progress=self._progress,
            )
        return self._ctx

    def _progress(self, fraction: float, note: str | None) -> None:
        if self._subject.on_progress is not None:
            name = self._row.name if isinstance(self._row, SubtaskRow) else None
            self._subject.on_progress(
                self._row.stage, name, self._row.attempt, fraction, None if note is None else safe_text(note)
            )

    def _metrics(self) -> str | None:
        if self._ctx is None or not self._ctx.metrics:
            return None
        return _PLAIN.encode(self._ctx.metrics, self._where("its recorded metrics"))

    def _where(self, what: str) -> str:
        return f"{what} of stage {self._row.stage!r} of item {self._subject.state.id!r}"

    # endings

    def _ended(self, value: Any, began: int) -> Attempt:
        """The attempt that returned ``value``, encoded."""
        row, seq = self._row, self._unit[1]
        summary = None
        if isinstance(value, Completed):
            summary, value = _line(value.summary), value.artefact
        if not isinstance(value, _OTHER_OUTCOMES):
            artefact = None if value is None else self._encoded(value)
            return Attempt(
                row.stage, seq, row.attempt, began, now_us(), Ended.COMPLETED, artefact, summary, metrics=self._metrics()
            )
        attempt = Attempt(row.stage, seq, row.attempt, began, now_us(), Ended.SKIPPED, metrics=self._metrics())
        if isinstance(value, Skipped):
            return attempt._replace(summary=_line(value.reason))
        if seq is not None:
            raise TypeError(f"a subtask cannot return {type(value).__name__}; return it from the stage itself")
        if isinstance(value, FanOut):
            return attempt._replace(how=Ended.FAN_OUT, subtasks=self._children(value))
        review = self._review(value.review)
        return attempt._replace(how=Ended.AWAITING_REVIEW, review=review, summary=_line(value.review.summary))

    def _encoded(self, value: Any) -> str:
        try:
            return self._stage.codec.encode(value, "")
        except InvalidArtefact as error:
            # Whose it is, is only put into words when something is wrong with it.
            raise InvalidArtefact(self._where("the artefact"), error.problems) from error.__cause__

    def _children(self, fan_out: FanOut) -> list[tuple[str, str | None]]:
        if len(fan_out.subtasks) > MAX_SUBTASKS:
            raise InvalidArtefact(
                self._where("the fan-out"), [f"{len(fan_out.subtasks):,} subtasks; at most {MAX_SUBTASKS:,} are kept"]
            )
        children: dict[str, str | None] = {}
        for subtask in fan_out.subtasks:
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
        _PLAIN.encode(review.details, self._where("the review's details"))
        return review_to_json(review)

    def _failed(self, error: BaseException, began: int) -> Attempt:
        how = Ended.TIMED_OUT if isinstance(error, TimeoutError) and str(error).startswith("timed out after") else Ended.FAILED
        line, data = describe(error)
        budget = self._stage.retry
        retry = isinstance(error, RetryLater) or (isinstance(error, budget.retry_on) and not isinstance(error, PermanentError))
        try:
            metrics = self._metrics()
        except InvalidArtefact:
            metrics = None
        return Attempt(
            self._row.stage, self._unit[1], self._row.attempt, began, now_us(), how, error=line, failure=data,
            retry=retry, retry_after=error.delay if isinstance(error, RetryLater) else None, metrics=metrics,
        )  # fmt: skip


async def wanted(surroundings: Surroundings, subject: Subject, stage: str) -> bool | BaseException:
    """Whether the stage's ``when`` says that it should run; what ``when`` raised, if it did."""
    definition = surroundings.flow.stages[stage]
    if definition.when is None:
        return True
    row = subject.state.stages.get(stage) or StageRow(stage, StageState.PENDING, 0, now_us())
    call = Call(surroundings, subject, (stage, None), row=row._replace(attempt=row.attempt + 1))
    try:
        answer = call.invoke(definition.when, None)
        return bool(await answer if inspect.isawaitable(answer) else answer)
    except (asyncio.CancelledError, GeneratorExit) as error:
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


def interrupted(state: ItemState, unit: Unit) -> Attempt:
    """The attempt of a unit whose engine was told to stop."""
    name, seq = unit
    row: StageRow | SubtaskRow = state.stages[name] if seq is None else state.boards[name].rows[seq]
    now = now_us()
    return Attempt(
        name, seq, row.attempt, row.started or now, now, Ended.INTERRUPTED, error="interrupted: its engine was stopped"
    )


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


def to_job(subject: Subject, unit: Unit, row: StageRow | SubtaskRow) -> dict[str, Any]:
    """What a worker process needs to run this attempt with the same code."""
    state, flow = subject.state, subject.flow
    needs = flow.stages[unit[0]].needs
    rows = [state.stages[need] for need in needs if need in state.stages]
    children = [child for need in needs if (board := state.boards.get(need)) is not None for child in board.rows]
    return {"id": state.id, "payload": state.payload, "unit": unit, "row": row, "stages": rows, "subtasks": children}
