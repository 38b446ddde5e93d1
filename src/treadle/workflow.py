"""Where users put their stages together."""

from __future__ import annotations

import re
import sys
from collections.abc import AsyncIterable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, ParamSpec, TypedDict, TypeVar, overload

from treadle import drawing, graph
from treadle.codec import ANY
from treadle.definition import Definition
from treadle.errors import InvalidWorkflow, StageNotFound
from treadle.gates import GateFunction, QualityGate
from treadle.policy import RetryBudget, ReviewPolicy
from treadle.stage import Stage, StageFunction
from treadle.validation import Draft, validate

if TYPE_CHECKING:
    if sys.version_info >= (3, 12):
        from typing import Unpack
    else:
        from typing_extensions import Unpack

P = ParamSpec("P")
R = TypeVar("R")
Source = TypeVar("Source", bound=Callable[..., Any])

NAME = re.compile(r"[a-z][a-z0-9_.-]{0,63}")


class StageOptions(TypedDict, total=False):
    """What may be said of a stage beside its body.

    Args:
        after: stages it waits for, beside those its parameters name.
        when: called with what its parameters name; a false answer skips the stage.
        retry: the attempts it may spend; one without.
        gate: who judges an attempt: a ``QualityGate``, or a function ``(item, output, ctx)`` that returns a verdict.
        review: when a person decides; never without.
        timeout: seconds an attempt may take, hooks included; in a worker process, once there is one for it.
        limit: how many calls of it may run at once in one engine.
        uses: names of shared limits, declared by ``Workflow(limits={...})``, of which each call takes a slot.
        rate: how many calls may begin in a time: ``60/min``, ``5/s``.
        batch: call the body with lists of up to so many items; it returns a list with a result, or an exception, for each.
        batch_wait: seconds the first item of a batch waits for the others; 0.05 without.
        executor: ``inline`` (the event loop; async functions), ``thread`` (plain functions) or ``process``.
        memory: MiB that an attempt in a worker process may take; Linux keeps that limit, macOS and Windows cannot.
        version: a name for what the code does now; kept with what it made.
        priority: of what could start at the same time, the higher starts first: it adds to that of the item.
    """

    after: Sequence[str]
    when: Callable[..., bool] | None
    retry: RetryBudget
    gate: QualityGate | GateFunction | None
    review: ReviewPolicy
    timeout: float | None
    limit: int | None
    uses: Sequence[str]
    rate: str | None
    batch: int | None
    batch_wait: float
    executor: str | None
    memory: int | None
    version: str | None
    priority: int


class Workflow:
    """Stages that items move through.

    Args:
        name: ``[a-z][a-z0-9_.-]{0,63}``; a store belongs to one workflow by this name.
        item: the type of the items: a dataclass, pydantic model, TypedDict, attrs or msgspec class with an
            ``id``. Without it items are plain dictionaries.
        limits: how many calls may run at once of all stages that say ``uses=[name]``, by name.
        priority: how urgent an item is: a field of the item, or a function of it; a whole number, the higher the sooner. It
            is asked once, when the item is added.
        lifespan: called when an engine starts; an async context manager whose value is ``ctx.state``.

    Example:
        >>> letters = Workflow("letters")
        >>> @letters.stage
        ... async def count(letter):
        ...     return len(letter["text"])
        >>> letters.stages
        ['count']
    """

    def __init__(
        self,
        name: str,
        *,
        item: Any = ANY,
        lifespan: Callable[[], AbstractAsyncContextManager[Any]] | None = None,
        limits: Mapping[str, int] | None = None,
        priority: str | Callable[[Any], int] | None = None,
    ) -> None:
        self.name: str = name
        self.item: Any = item
        self.lifespan: Callable[[], AbstractAsyncContextManager[Any]] | None = lifespan
        self.limits: Mapping[str, int] = dict(limits or {})
        self.priority: str | Callable[[Any], int] | None = priority
        self._drafts: list[Draft] = []
        caller = sys._getframe(1).f_globals
        self.origin: tuple[str, str | None] = (caller.get("__name__", "__main__"), caller.get("__file__"))
        """The module that made it, where worker processes find it again."""
        self._source: Callable[..., Iterable[Any] | AsyncIterable[Any]] | None = None
        self._definition: Definition | None = None

    @overload
    def stage(self, body: Callable[P, R], /) -> StageFunction[P, R]: ...
    @overload
    def stage(self, /, **options: Unpack[StageOptions]) -> Callable[[Callable[P, R]], StageFunction[P, R]]: ...
    def stage(self, body: Callable[..., Any] | None = None, /, **options: Unpack[StageOptions]) -> Any:
        """Make a function a stage of its name; see ``StageOptions`` for what can be said of it."""
        local = sys._getframe(1).f_locals

        def register(function: Callable[..., Any]) -> StageFunction[..., Any]:
            stage = StageFunction(function, function.__name__)
            self._add(Draft(stage.name, stage, function, dict(options), local))
            return stage

        return register if body is None else register(body)

    def add_stage(self, stage: Stage, **options: Unpack[StageOptions]) -> None:
        """Add a class stage; the options are those of ``stage``."""
        name = getattr(stage, "name", None) or type(stage).__name__.lower()
        self._add(Draft(name, stage, stage.execute, dict(options), sys._getframe(1).f_locals))

    def _add(self, draft: Draft) -> None:
        self._drafts.append(draft)
        self._definition = None

    def source(self, function: Source) -> Source:
        """Make ``function`` what ``treadle run APP ARGUMENTS...`` calls for items; it may be called again any time."""
        self._source = function
        return function

    @property
    def source_function(self) -> Callable[..., Iterable[Any] | AsyncIterable[Any]] | None:
        """What was registered with ``source``."""
        return self._source

    @property
    def definition(self) -> Definition:
        """The valid, immutable form.

        Raises:
            InvalidWorkflow: with every problem of the workflow.
        """
        if self._definition is None:
            problems = [] if NAME.fullmatch(self.name) else [f"the name {self.name!r} must match {NAME.pattern}"]
            definition, found = validate(self.name, self.item, self._drafts, self.lifespan, self.limits, self.priority)
            if problems + found or definition is None:
                raise InvalidWorkflow(self.name, problems + found)
            self._definition = definition
        return self._definition

    def validate(self) -> None:
        """Return if the workflow can run.

        Raises:
            InvalidWorkflow: ``problems`` holds every reason why not.
        """
        _ = self.definition

    @property
    def stages(self) -> list[str]:
        """The stages' names in topological order."""
        return list(self.definition.stages)

    def dependencies(self, name: str) -> list[str]:
        """The stages that ``name`` waits for; raises ``StageNotFound``."""
        return list(self.definition.stage(name).needs)

    def dependents(self, name: str) -> list[str]:
        """The stages that wait for ``name``; raises ``StageNotFound``."""
        return list(self.definition.stage(name).feeds)

    @property
    def roots(self) -> list[str]:
        """The stages an item begins with."""
        return list(self.definition.roots)

    @property
    def leaves(self) -> list[str]:
        """The stages nothing waits for."""
        return [name for name, stage in self.definition.stages.items() if not stage.feeds]

    def layers(self) -> list[list[str]]:
        """Stages by depth: those of one layer need nothing from each other."""
        return graph.layers(self.graph)

    @property
    def graph(self) -> Mapping[str, Sequence[str]]:
        """Each stage with the stages it waits for, in topological order."""
        return {name: stage.needs for name, stage in self.definition.stages.items()}

    def to_mermaid(self) -> str:
        """The graph as a Mermaid flowchart."""
        return drawing.mermaid(self.graph)

    def to_dot(self) -> str:
        """The graph in Graphviz's language."""
        return drawing.dot(self.name, self.graph)

    def _repr_html_(self) -> str:
        return drawing.svg(self.graph)

    def __contains__(self, name: str) -> bool:
        try:
            self.definition.stage(name)
        except StageNotFound:
            return False
        return True

    def __repr__(self) -> str:
        return f"<Workflow {self.name}: {', '.join(draft.name for draft in self._drafts) or 'no stages yet'}>"
