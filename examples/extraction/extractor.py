"""What finds the fields of a record in a text: rules, a model, anything that can be called like this."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple, Protocol

from .record import FIELDS, Record
from .text import PackageText


class Found(NamedTuple):
    """A field's value, and whether it was read out of prose, where nothing declares it."""

    value: Any
    guessed: bool = False


class Extractor(Protocol):
    """Finds fields in a text. What it cannot find it leaves out."""

    def extract(self, text: PackageText, fields: Collection[str], told: str | None = None) -> Mapping[str, Found]:
        """What it finds of ``fields``; ``told`` is why an earlier answer was not good enough, for those that can read."""
        ...


def as_record(name: str, found: Mapping[str, Found], kept: Record | None = None, asked: Collection[str] = FIELDS) -> Record:
    """The record of what was found for the fields ``asked``; the others are as in ``kept``.

    Raises:
        ValueError: something found has not the shape of its field.
    """
    others = set(FIELDS).difference(asked)
    values = {} if kept is None else kept.model_dump(include=others)
    guessed = set() if kept is None else others.intersection(kept.guessed)
    values |= {field: one.value for field, one in found.items()}
    guessed |= {field for field, one in found.items() if one.guessed}
    return Record(name=name, **values, guessed=tuple(field for field in FIELDS if field in guessed))
