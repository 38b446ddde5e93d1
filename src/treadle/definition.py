"""A workflow that was found valid: what engine and decisions read, and nothing changes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

from treadle.artefact import MAX_ARTEFACT
from treadle.codec import ANY, Codec, ItemCodec
from treadle.errors import StageNotFound
from treadle.event import EventKind
from treadle.gates import QualityGate
from treadle.policy import RetryBudget, ReviewPolicy
from treadle.signature import Signature
from treadle.state import EventRow, Unit

INLINE, THREAD, PROCESS = "inline", "thread", "process"
EXECUTORS = (INLINE, THREAD, PROCESS)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageDefinition:
    """One stage: what to call, when, and how often.

    Args:
        body: what an attempt calls.
        handler: what an attempt at a subtask calls; ``body`` unless one was registered.
        before, after: hooks of class stages.
        when: called before the first attempt; a false answer skips the stage.
        owner: the object the body belongs to, for finding it again in a worker process.
        needs, feeds: the stages it depends on, and those that depend on it.
        timeout: seconds one attempt may take.
        limit: how many of its calls may run at once in one engine.
        uses: the shared limits it needs a slot of, too.
        rate: so many calls in so many seconds, at most.
        batch, batch_wait: how many items one call takes, and how many seconds the first of them waits for the others.
        executor, handler_executor: where body and handler run.
        memory: MiB an attempt in a worker process may take.
        gate, review: who judges its attempts, and when a person does.
    """

    name: str
    body: Signature
    handler: Signature
    before: Signature | None
    after: Signature | None
    when: Signature | None
    needs: tuple[str, ...]
    feeds: tuple[str, ...]
    codec: Codec
    retry: RetryBudget
    timeout: float | None
    limit: int | None
    uses: tuple[str, ...]
    rate: tuple[float, float] | None
    batch: int | None
    batch_wait: float
    executor: str
    handler_executor: str
    version: str | None
    priority: int
    asks_leave: bool
    """Whether something must be asked before it starts, so that it cannot start with the commit that made it ready."""
    bare: bool
    """Whether an attempt is no more than one call on the event loop, or a part of a batch: no hooks, no time limit, no gate."""
    gate: QualityGate | None = None
    review: ReviewPolicy = ReviewPolicy.NEVER
    memory: int | None = None
    judged: bool = False
    """Whether a completed attempt may come to anything but a completed stage."""
    # What almost every attempt says, made once: an item has ten of these, and the collector looks at each that is alive.
    unit: Unit = field(init=False, repr=False)
    """The stage as a whole, as a unit of work."""
    first_start: EventRow = field(init=False, repr=False)
    """Its first attempt has begun."""
    first_end: EventRow = field(init=False, repr=False)
    """Its first attempt has completed it."""
    quick: bool = field(init=False, repr=False)
    """Whether an attempt at the stage itself is one call on the event loop, with the item and nothing else."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "unit", (self.name, None))
        object.__setattr__(self, "first_start", EventRow(EventKind.STAGE_STARTED, self.name, None, 1))
        object.__setattr__(self, "first_end", EventRow(EventKind.STAGE_COMPLETED, self.name, None, 1))
        object.__setattr__(self, "quick", self.bare and self.batch is None and self.body.only_item)


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """Every stage of a workflow in topological order."""

    name: str
    items: ItemCodec
    stages: Mapping[str, StageDefinition]
    lifespan: Callable[[], AbstractAsyncContextManager[Any]] | None
    limits: Mapping[str, int] = field(default_factory=dict)
    """Shared limits by name."""
    priority: Callable[[Any], int] | None = None
    """How urgent an item is."""
    roots: tuple[str, ...] = field(init=False)
    """The stages an item begins with."""
    needed: Mapping[str, int] = field(init=False)
    """How many stages each stage waits for in an item that has just arrived."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "roots", tuple(name for name, stage in self.stages.items() if not stage.needs))
        object.__setattr__(self, "needed", {name: len(stage.needs) for name, stage in self.stages.items()})

    def stage(self, name: str) -> StageDefinition:
        """The stage of that name; raises ``StageNotFound``."""
        try:
            return self.stages[name]
        except KeyError:
            raise StageNotFound(name, tuple(self.stages)) from None

    @classmethod
    def from_shape(cls, name: str, stages: Mapping[str, Sequence[str]]) -> Definition:
        """Names and order only: enough to decide what people's acts change, without anybody's code."""
        nothing = Signature(_no_body, (), ANY)
        bodies = {
            stage: StageDefinition(
                name=stage, body=nothing, handler=nothing, before=None, after=None, when=None,
                needs=tuple(needs), feeds=tuple(other for other, its in stages.items() if stage in its),
                codec=Codec(most=MAX_ARTEFACT), retry=RetryBudget(), timeout=None, limit=None, uses=(), rate=None,
                batch=None, batch_wait=0.0, executor=INLINE, handler_executor=INLINE,
                version=None, priority=0, asks_leave=False, bare=False,
            )
            for stage, needs in stages.items()
        }  # fmt: skip
        return cls(name=name, items=ItemCodec(ANY), stages=bodies, lifespan=None)

    def to_json(self) -> str:
        """The shape that a store keeps, so that it can be read without the code."""
        shape = [
            {"name": s.name, "needs": s.needs, "version": s.version, "artefact": s.codec.schema} for s in self.stages.values()
        ]
        return json.dumps({"workflow": self.name, "stages": shape}, separators=(",", ":"))


def _no_body() -> None:
    raise AssertionError("a definition read from a store cannot run")
