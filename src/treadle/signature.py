"""What a stage's function wants to be called with, read from its parameters."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from treadle.outcome import SubTask
from treadle.stage import StageContext

ITEM, CTX, SUBTASK, OUTCOME = "<item>", "<ctx>", "<subtask>", "<outcome>"
"""Sources that are no stage; their brackets keep them apart from stage names."""

MISSING: Any = inspect.Parameter.empty

_BY_NAME = {"ctx": CTX, "subtask": SUBTASK, "outcome": OUTCOME}


@dataclass(frozen=True, slots=True)
class Wanted:
    """One parameter: its name, where its value comes from, and the type it is declared as."""

    name: str
    source: str
    annotation: Any
    positional: bool
    required: bool


@dataclass(frozen=True, slots=True)
class Signature:
    """A function's parameters in order, its return type, and what could not be read."""

    function: Callable[..., Any]
    wanted: tuple[Wanted, ...]
    returns: Any
    problems: tuple[str, ...] = ()
    sources: tuple[str, ...] = field(init=False, compare=False)
    """Where each value comes from, in the order of the parameters."""
    only_item: bool = field(init=False, compare=False)
    """Whether it takes the item and nothing else, by place."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "sources", tuple(w.source for w in self.wanted))
        object.__setattr__(self, "only_item", self.sources == (ITEM,) and self.wanted[0].positional)

    @property
    def is_async(self) -> bool:
        """Whether calling it gives a coroutine."""
        call = self.function if inspect.isroutine(self.function) else getattr(self.function, "__call__", None)  # noqa: B004
        return inspect.iscoroutinefunction(call)

    def without(self, names: set[str]) -> Signature:
        """The same without these optional parameters: they keep their defaults."""
        return Signature(self.function, tuple(w for w in self.wanted if w.name not in names), self.returns, self.problems)

    def call(self, values: Mapping[str, Any]) -> Any:
        """Call the function with ``values`` by source."""
        args = [values[w.source] for w in self.wanted if w.positional]
        return self.function(*args, **{w.name: values[w.source] for w in self.wanted if not w.positional})


def read(function: Callable[..., Any], local: Mapping[str, Any]) -> Signature:
    """The signature of ``function``; ``local`` resolves annotations that name what only its definer saw."""
    problems: list[str] = []
    hints = _hints(function, local, problems)
    wanted: list[Wanted] = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            problems.append(f"takes *{parameter.name}; name each value it wants")
            continue
        annotation = hints.get(parameter.name, MISSING)
        wanted.append(
            Wanted(
                parameter.name,
                _source(parameter.name, annotation, first=not wanted),
                annotation,
                positional=parameter.kind is not parameter.KEYWORD_ONLY,
                required=parameter.default is MISSING,
            )
        )
    return Signature(function, tuple(wanted), hints.get("return", MISSING), tuple(problems))


def _source(name: str, annotation: Any, *, first: bool) -> str:
    if annotation is StageContext:
        return CTX
    if annotation is SubTask:
        return SUBTASK
    if first and name not in _BY_NAME:
        return ITEM
    return _BY_NAME.get(name, name)


def _hints(function: Callable[..., Any], local: Mapping[str, Any], problems: list[str]) -> dict[str, Any]:
    target: Any = function
    if not (inspect.isroutine(target) or isinstance(target, type)):
        target = type(target).__call__
    try:
        return typing.get_type_hints(target, localns=dict(local), include_extras=True)
    except NameError as error:
        problems.append(f"has an annotation that cannot be resolved: {error}")
    except TypeError as error:
        problems.append(f"has an annotation that is no type: {error}")
    return {}
