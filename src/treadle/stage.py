"""What users write: stages, and what a stage is told while it runs."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, ParamSpec, TypeVar

from treadle.history import Attempt
from treadle.outcome import QualityFeedback, SubTask

P = ParamSpec("P")
R = TypeVar("R")
Function = TypeVar("Function", bound=Callable[..., Any])


class Stage(ABC):
    """A stage with state or hooks of its own; add it with ``workflow.add_stage(Scan())``.

    ``execute`` and the hooks are given what they name, as function stages are: the item first, then
    ``ctx``, and the artefact of any stage a parameter is named after. ``after_execute`` may also name
    ``outcome``. A hook that raises fails the attempt.

    Example:
        >>> class Scan(Stage):
        ...     name = "scan"
        ...     async def execute(self, item, ctx):
        ...         return {"pages": 3}
    """

    name: str

    @abstractmethod
    async def execute(self, item: Any, ctx: StageContext) -> Any:
        """Do the work; return ``None``, an artefact or an outcome."""

    async def before_execute(self, item: Any, ctx: StageContext) -> None:
        """Called before every attempt."""

    async def after_execute(self, item: Any, ctx: StageContext, outcome: Any) -> None:
        """Called after every attempt that did not raise, with what ``execute`` returned."""


class StageFunction(Generic[P, R]):
    """A function that is a stage; calling it calls the function, so it can be tested without an engine."""

    def __init__(self, function: Callable[P, R], name: str) -> None:
        self.function: Callable[P, R] = function
        self.name: str = name
        self.handler: Callable[..., Any] | None = None
        self.__doc__ = function.__doc__
        self.__name__ = name
        self.__module__ = function.__module__
        self.__qualname__ = function.__qualname__
        self.__wrapped__ = function

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.function(*args, **kwargs)

    def subtask(self, handler: Function) -> Function:
        """Run ``handler`` for each child of this stage's fan-out, instead of the stage itself."""
        self.handler = handler
        return handler

    def __repr__(self) -> str:
        return f"<stage {self.name}>"


class Upstream(Mapping[str, Any]):
    """The artefacts of a stage's dependencies, read when they are looked at."""

    def __init__(self, names: tuple[str, ...], read: Callable[[str], Any]) -> None:
        self._names = names
        self._read = read

    def __getitem__(self, stage: str) -> Any:
        if stage not in self._names:
            raise KeyError(f"{stage!r} is not a dependency of this stage; those are {', '.join(self._names) or 'none'}")
        return self._read(stage)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        return repr(dict(self))


class StageContext:
    """What a running attempt knows about itself, and where it tells how it gets on.

    Args:
        item_id: the item's id as text.
        attempt: number of this attempt, from 1.
        subtask: which child runs, in a fan-out; ``None`` in the call that fans out.
        feedback: why the last attempt was not good enough, if there was one: from a gate, an error, a timeout or a person.
        previous_attempts: those before this one, oldest first.
        upstream: artefacts by stage name, for this stage's dependencies.
        state: what the workflow's lifespan gave; ``None`` without one and in worker processes.
    """

    __slots__ = (
        "_run", "_workflow", "attempt", "feedback", "item_id", "metrics", "on_progress", "previous_attempts", "stage", "state", "subtask",
        "upstream",
    )  # fmt: skip

    def __init__(
        self,
        item_id: str,
        stage: str,
        *,
        workflow: str = "",
        attempt: int = 1,
        subtask: SubTask | None = None,
        feedback: QualityFeedback | None = None,
        previous_attempts: Sequence[Attempt] = (),
        upstream: Mapping[str, Any] | None = None,
        state: Any = None,
        on_progress: Callable[[float, str | None], None] | None = None,
        run: int = 0,
    ) -> None:
        self.item_id: str = item_id
        self.stage: str = stage
        self.attempt: int = attempt
        self.subtask: SubTask | None = subtask
        self.feedback: QualityFeedback | None = feedback
        self.previous_attempts: Sequence[Attempt] = previous_attempts
        self.upstream: Mapping[str, Any] = upstream if upstream is not None else {}
        self.state: Any = state
        self.metrics: dict[str, Any] = {}
        self.on_progress: Callable[[float, str | None], None] | None = on_progress
        self._workflow = workflow
        self._run = run

    @property
    def idempotency_key(self) -> str:
        """The same for every try of this (item, stage, subtask) until it is rerun: give it to services that must act once."""
        parts = [self._workflow, self.item_id, self.stage]
        if self.subtask is not None:
            parts.append(self.subtask.name)
        if self._run:
            parts += ["rerun", str(self._run)]
        return hashlib.sha256("\x00".join(parts).encode()).hexdigest()[:32]

    def progress(self, fraction: float, note: str | None = None) -> None:
        """Tell how far this attempt is, 0 to 1; at most one a second reaches the journal."""
        if not 0.0 <= fraction <= 1.0:
            raise ValueError(f"progress({fraction!r}): a fraction from 0 to 1")
        if self.on_progress is not None:
            self.on_progress(fraction, note)

    def record(self, *, tokens: int | None = None, usd: float | None = None, **metrics: float | str) -> None:
        """Keep figures with this attempt; numbers given again under a name add up."""
        given: dict[str, Any] = {"tokens": tokens, "usd": usd, **metrics}
        for name, value in given.items():
            if value is None:
                continue
            before = self.metrics.get(name)
            adds_up = isinstance(value, int | float) and isinstance(before, int | float)
            self.metrics[name] = value + before if adds_up else value
