"""Which items a request asks for; pages and API understand the same words."""

from __future__ import annotations

from typing import Annotated, TypeVar

from fastapi import Depends, Query
from pydantic import BeforeValidator, StringConstraints

from treadle.clock import now_us
from treadle.listing import aged
from treadle.state import ItemPhase, StageState
from treadle.store import Filter

T = TypeVar("T")
Blank: BeforeValidator = BeforeValidator(lambda value: value or None)
"""A form sends what is not chosen as an empty text."""

Word = Annotated[Annotated[str, StringConstraints(max_length=512)] | None, Blank]


def item_filter(
    stage: Word = None,
    state: Annotated[StageState | None, Blank] = None,
    phase: Annotated[ItemPhase | None, Blank] = None,
    prefix: Word = None,
    text: Word = None,
    age: Annotated[str | None, Blank, Query(description="<1h: changed within an hour; >2d: not for two days")] = None,
) -> Filter:
    """The filter of the query's words."""
    wanted = Filter(stage, state, phase, prefix, text)
    return wanted if age is None else aged(wanted, age, now_us())


AskedItems = Annotated[Filter, Depends(item_filter)]
