"""Drafts of stages to an immutable definition, or every reason why there is none."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from typing import Any

from treadle import graph
from treadle.artefact import MAX_ARTEFACT
from treadle.codec import ANY, Codec, ItemCodec
from treadle.definition import EXECUTORS, INLINE, PROCESS, THREAD, Definition, StageDefinition
from treadle.fits import artefact_type, element, fits
from treadle.gates import QualityGate, as_gate
from treadle.outcome import FanOut
from treadle.policy import RetryBudget, ReviewPolicy, parse_rate
from treadle.signature import CTX, ITEM, MISSING, OUTCOME, SUBTASK, Signature, read
from treadle.stage import Stage, StageFunction

_NAME = re.compile(r"[a-z][a-z0-9_.-]{0,63}")
OPTIONS = frozenset(
    {
        "after", "batch", "batch_wait", "executor", "gate", "limit", "memory", "priority", "rate", "retry", "review", "timeout", "uses", "version",
        "when",
    }
)  # fmt: skip
_BATCH_WAIT = 0.05
_MAX_BATCH_WAIT = 3600.0
_NO_STAGE = frozenset({ITEM, CTX, SUBTASK, OUTCOME})


@dataclass(frozen=True, slots=True)
class Draft:
    """A stage as it was registered: nothing in it has been looked at."""

    name: str
    stage: StageFunction[..., Any] | Stage
    body: Callable[..., Any]
    options: Mapping[str, Any]
    local: Mapping[str, Any]
    """What the definer saw, for annotations that name it."""


@dataclass(slots=True)
class _Reading:
    """A draft with its signatures read."""

    draft: Draft
    body: Signature
    handler: Signature
    before: Signature | None
    after: Signature | None
    when: Signature | None
    needs: tuple[str, ...] = ()

    @property
    def signatures(self) -> list[Signature]:
        return [s for s in (self.body, self.handler, self.before, self.after, self.when) if s is not None]


@dataclass(slots=True)
class _Findings:
    """Problems in the order they were found, each once."""

    problems: list[str] = field(default_factory=list)

    def add(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)


def validate(
    name: str,
    item: Any,
    drafts: Sequence[Draft],
    lifespan: Callable[[], AbstractAsyncContextManager[Any]] | None,
    limits: Mapping[str, int],
    priority: str | Callable[[Any], int] | None = None,
) -> tuple[Definition | None, list[str]]:
    """The definition, or ``None`` and every problem found."""
    findings = _Findings()
    if not drafts:
        findings.add("it has no stages; add one with @workflow.stage")
    items = _item_codec(item, findings)
    urgency = _priority(priority, item, findings)
    _check_authors(drafts, item, findings)
    readings = _read_all(drafts, findings)
    for reading in readings.values():
        _check_options(reading, findings)
        _check_limits(reading, limits, findings)
        _check_batch(reading, findings)
        reading.needs = _needs(reading, readings, findings)
    needs = {stage: reading.needs for stage, reading in readings.items()}
    for cycle in graph.cycles(needs):
        findings.add(f"stages depend on each other: {cycle}")
    codecs = {stage: _artefact_codec(reading, findings) for stage, reading in readings.items()}
    _check_types(readings, item, findings)
    if findings.problems or items is None:
        return None, findings.problems
    stages = {stage: _build(readings[stage], readings, codecs[stage]) for stage in graph.order(needs)}
    return Definition(name=name, items=items, stages=stages, lifespan=lifespan, limits=limits, priority=urgency), []


def _priority(given: Any, item: Any, findings: _Findings) -> Callable[[Any], int] | None:
    """The function that tells an item's priority."""
    if isinstance(given, str):
        if isinstance(item, type) and item not in (dict, Any) and not _has(item, given):
            findings.add(f"priority={given!r} names a field that items of type {item.__name__} do not have")
        return lambda found: found.get(given, 0) if isinstance(found, dict) else getattr(found, given)
    if given is not None and not callable(given):
        findings.add(f"priority={given!r} is neither a field of the item nor a function of it")
    told: Callable[[Any], int] | None = given
    return told


def _item_codec(item: Any, findings: _Findings) -> ItemCodec | None:
    label = getattr(item, "__name__", repr(item))
    try:
        codec = ItemCodec(item)
    except TypeError as error:
        findings.add(f"items of type {label} cannot be stored as JSON: {error}")
        return None
    if isinstance(item, type) and item not in (dict, Any) and not _has(item, "id"):
        findings.add(f"items of type {label} have no `id`")
    return codec


def _has(item: type, field: str) -> bool:
    declared = {name for owner in item.__mro__ for name in getattr(owner, "__annotations__", {})}
    # Slots and attrs fields without annotations show as attributes, properties too; a TypedDict is a dict to isinstance.
    return field in declared or hasattr(item, field) or field in getattr(item, "__annotations__", {})


def _check_authors(drafts: Sequence[Draft], item: Any, findings: _Findings) -> None:
    """A field that items do not have would exclude nobody, and nobody would notice."""
    for draft in drafts:
        author = getattr(draft.options.get("review"), "author", None)
        if author is not None and isinstance(item, type) and item not in (dict, Any) and not _has(item, author):
            findings.add(
                f"stage {draft.name!r} excludes whom {author!r} of the item names, but items of type {item.__name__} have no {author!r}"
            )


def _read_all(drafts: Sequence[Draft], findings: _Findings) -> dict[str, _Reading]:
    readings: dict[str, _Reading] = {}
    for draft in drafts:
        if not _NAME.fullmatch(draft.name):
            findings.add(f"stage name {draft.name!r} must match {_NAME.pattern}")
        if draft.name in readings:
            findings.add(f"two stages are named {draft.name!r}")
            continue
        reading = _read_one(draft)
        for signature in reading.signatures:
            for problem in signature.problems:
                findings.add(f"stage {draft.name!r} {problem}")
        readings[draft.name] = reading
    return readings


def _read_one(draft: Draft) -> _Reading:
    stage, local = draft.stage, draft.local
    body = read(draft.body, local)
    handler, before, after = body, None, None
    if isinstance(stage, Stage):
        if type(stage).before_execute is not Stage.before_execute:
            before = read(stage.before_execute, local)
        if type(stage).after_execute is not Stage.after_execute:
            after = read(stage.after_execute, local)
    elif stage.handler is not None:
        handler = read(stage.handler, local)
    when = draft.options.get("when")
    return _Reading(draft, body, handler, before, after, read(when, local) if callable(when) else None)


def _needs(reading: _Reading, readings: Mapping[str, _Reading], findings: _Findings) -> tuple[str, ...]:
    """The stages this one depends on; drops optional parameters that name nothing."""
    name = reading.draft.name
    after = reading.draft.options.get("after", ())
    if isinstance(after, str):
        findings.add(f"stage {name!r} has after={after!r}; give a list: after=[{after!r}]")
        after = (after,)
    for need in after:
        if need not in readings:
            findings.add(f"stage {name!r} comes after {need!r}, which is no stage; {_known(readings)}")
    needs = [need for need in after if need in readings]
    for role in ("body", "handler", "before", "after", "when"):
        signature: Signature | None = getattr(reading, role)
        if signature is None:
            continue
        if ITEM not in signature.sources and role in ("body", "handler"):
            findings.add(f"stage {name!r} takes no item; its first parameter is the item")
        unknown = {w.name for w in signature.wanted if w.source not in _NO_STAGE and w.source not in readings}
        for wanted in signature.wanted:
            if wanted.name in unknown and wanted.required:
                findings.add(
                    f"stage {name!r} has a parameter {wanted.name!r} that is neither the item, the context (ctx)"
                    f" nor a stage; {_known(readings)}"
                )
        setattr(reading, role, signature.without(unknown))
        needs += [w.source for w in signature.wanted if w.source in readings]
    return tuple(dict.fromkeys(needs))


def _known(readings: Mapping[str, _Reading]) -> str:
    return f"stages are {', '.join(readings)}"


def _check_options(reading: _Reading, findings: _Findings) -> None:
    name, options = reading.draft.name, reading.draft.options
    for option in options.keys() - OPTIONS:
        findings.add(f"stage {name!r} has an option {option!r} that does not exist; there are {', '.join(sorted(OPTIONS))}")
    if (when := options.get("when")) is not None and not callable(when):
        findings.add(f"stage {name!r} has when={when!r}; give a function")
    if (retry := options.get("retry")) is not None and not isinstance(retry, RetryBudget):
        findings.add(f"stage {name!r} has retry={retry!r}; give a RetryBudget")
    if (gate := options.get("gate")) is not None and not callable(gate) and not isinstance(gate, QualityGate):
        findings.add(f"stage {name!r} has gate={gate!r}; give a QualityGate, or a function (item, output, ctx)")
    if not isinstance(options.get("review", ReviewPolicy.NEVER), ReviewPolicy):
        findings.add(f"stage {name!r} has review={options['review']!r}; give a ReviewPolicy")
    timeout = options.get("timeout")
    if timeout is not None and not (isinstance(timeout, int | float) and timeout > 0):
        findings.add(f"stage {name!r} has timeout={timeout!r}; give seconds, more than 0")
    if not isinstance(options.get("priority", 0), int):
        findings.add(f"stage {name!r} has priority={options['priority']!r}; give a whole number")
    if not isinstance(options.get("version"), str | None):
        findings.add(f"stage {name!r} has version={options['version']!r}; give a string")
    _check_executor(reading, findings)


def _check_limits(reading: _Reading, limits: Mapping[str, int], findings: _Findings) -> None:
    name, options = reading.draft.name, reading.draft.options
    limit, uses, rate = options.get("limit"), options.get("uses", ()), options.get("rate")
    if limit is not None and not _is_count(limit):
        findings.add(f"stage {name!r} has limit={limit!r}; give a whole number, 1 or more")
    if isinstance(uses, str):
        findings.add(f"stage {name!r} has uses={uses!r}; give a list: uses=[{uses!r}]")
        uses = (uses,)
    for use in uses:
        if use not in limits:
            findings.add(
                f"stage {name!r} uses the limit {use!r}, which nobody declared; say Workflow(..., limits={{{use!r}: 5}})"
            )
    for shared, size in limits.items():
        if not _is_count(size):
            findings.add(f"the limit {shared!r} is {size!r}; give a whole number, 1 or more")
    if rate is not None:
        try:
            parse_rate(str(rate))
        except ValueError as error:
            findings.add(f"stage {name!r} has rate={rate!r}: {error}")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _check_batch(reading: _Reading, findings: _Findings) -> None:
    name, options = reading.draft.name, reading.draft.options
    batch, wait = options.get("batch"), options.get("batch_wait", _BATCH_WAIT)
    if not (isinstance(wait, int | float) and 0 <= wait < _MAX_BATCH_WAIT):
        findings.add(f"stage {name!r} has batch_wait={wait!r}; give seconds, 0 or more")
    if batch is None:
        return
    if not _is_count(batch):
        findings.add(f"stage {name!r} has batch={batch!r}; give a whole number, 1 or more")
    if options.get("executor") == PROCESS:
        findings.add(f"stage {name!r} has batch= and executor='process'; batches run in threads or on the event loop")
    if reading.handler is not reading.body:
        findings.add(f"stage {name!r} has batch= and a subtask handler; a batch stage does not fan out")
    for wanted in reading.body.wanted:
        if wanted.annotation is not MISSING and element(wanted.annotation) is None:
            findings.add(f"stage {name!r} is called with lists, but takes {wanted.name!r} as {_label(wanted.annotation)}")
    if reading.body.returns is not MISSING and element(reading.body.returns) is None:
        findings.add(f"stage {name!r} is a batch stage, but returns {_label(reading.body.returns)} and no list")
    else:
        reading.body = reading.handler = _of_one(reading.body)


def _of_one(body: Signature) -> Signature:
    """The signature as it would be for one item: what is compared with other stages and stored."""
    wanted = tuple(replace(w, annotation=w.annotation if w.annotation is MISSING else element(w.annotation)) for w in body.wanted)
    returns = body.returns if body.returns is MISSING else element(body.returns)
    return Signature(body.function, wanted, returns, body.problems)


def _check_executor(reading: _Reading, findings: _Findings) -> None:
    name, executor = reading.draft.name, reading.draft.options.get("executor")
    if (memory := reading.draft.options.get("memory")) is not None:
        if type(memory) is not int or memory < 1:
            findings.add(f"stage {name!r} has memory={memory!r}; give a whole number of MiB, 1 or more")
        if executor != PROCESS:
            findings.add(f"stage {name!r} has memory= without executor='process': only a process of its own can be limited")
    if executor is None:
        return
    if executor not in EXECUTORS:
        findings.add(f"stage {name!r} has executor={executor!r}; choose one of {', '.join(EXECUTORS)}")
    if executor == THREAD and (reading.body.is_async or reading.handler.is_async):
        findings.add(f"stage {name!r} is async and cannot run in a thread; make it a plain function, or leave executor= out")
    if executor == PROCESS:
        for signature in (reading.body, reading.handler):
            if isinstance(reading.draft.stage, Stage) or "<locals>" in getattr(signature.function, "__qualname__", "<locals>"):
                findings.add(
                    f"stage {name!r} has executor='process', which needs functions at the top of a module,"
                    " so that a worker process can import them"
                )


def _artefact_codec(reading: _Reading, findings: _Findings) -> Codec:
    # A stage that fans out makes {subtask: artefact}, each typed by the handler.
    returns = reading.handler.returns
    annotation = ANY if returns is MISSING else artefact_type(returns)
    try:
        return Codec(annotation, most=MAX_ARTEFACT)
    except TypeError as error:
        label = getattr(annotation, "__name__", repr(annotation))
        findings.add(f"stage {reading.draft.name!r} returns {label}, which cannot be stored as JSON: {error}")
        return Codec()


def _check_types(readings: Mapping[str, _Reading], item: Any, findings: _Findings) -> None:
    for name, reading in readings.items():
        for signature in reading.signatures:
            for wanted in signature.wanted:
                if wanted.annotation is MISSING:
                    continue
                if wanted.source == ITEM and item is not ANY and not fits(item, wanted.annotation):
                    findings.add(f"stage {name!r} takes its item as {_label(wanted.annotation)}, but items are {_label(item)}")
                if (producer := readings.get(wanted.source)) is None:
                    continue
                made = _made(producer)
                if made is not MISSING and not fits(made, wanted.annotation):
                    findings.add(
                        f"stage {name!r} takes {wanted.name!r} as {_label(wanted.annotation)},"
                        f" but stage {wanted.source!r} returns {_label(made)}"
                    )


def _made(producer: _Reading) -> Any:
    returns = producer.body.returns
    if returns is FanOut:
        return dict
    if returns is MISSING or FanOut in getattr(returns, "__args__", ()):
        return MISSING
    return artefact_type(returns)


def _label(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) else inspect.formatannotation(annotation)


def _build(reading: _Reading, readings: Mapping[str, _Reading], codec: Codec) -> StageDefinition:
    options = reading.draft.options
    retry = options.get("retry") or RetryBudget()
    limits = [seconds for seconds in (options.get("timeout"), retry.attempt_timeout) if seconds is not None]
    executor = options.get("executor") or (INLINE if reading.body.is_async else THREAD)
    handler_executor = options.get("executor") or (INLINE if reading.handler.is_async else THREAD)
    timeout = min(limits, default=None)
    is_limited = any(options.get(limit) for limit in ("limit", "uses", "rate"))
    gate = None if options.get("gate") is None else as_gate(options["gate"])
    review: ReviewPolicy = options.get("review", ReviewPolicy.NEVER)
    return StageDefinition(
        name=reading.draft.name,
        body=reading.body,
        handler=reading.handler,
        before=reading.before,
        after=reading.after,
        when=reading.when,
        needs=reading.needs,
        feeds=tuple(other for other, its in readings.items() if reading.draft.name in its.needs),
        codec=codec,
        retry=retry,
        timeout=timeout,
        limit=options.get("limit"),
        uses=tuple(options.get("uses", ())),
        rate=None if options.get("rate") is None else parse_rate(options["rate"]),
        batch=options.get("batch"),
        batch_wait=options.get("batch_wait", _BATCH_WAIT),
        executor=executor,
        handler_executor=handler_executor,
        memory=options.get("memory"),
        version=options.get("version"),
        priority=options.get("priority", 0),
        asks_leave=reading.when is not None or (is_limited and options.get("batch") is None),
        bare=timeout is None
        and gate is None
        and reading.before is None
        and reading.after is None
        and (
            options.get("batch") is not None
            or (executor == handler_executor == INLINE and reading.body.is_async and reading.handler.is_async)
        ),
        gate=gate,
        review=review,
        judged=gate is not None or review.always or bool(review.samples),
    )
