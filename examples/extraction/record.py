"""What is wanted of a distribution, and what of it is good enough to pass without a person."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Url: TypeAlias = Annotated[str, StringConstraints(pattern=r"^https?://[^\s<>\"']+$")]
Version: TypeAlias = Annotated[str, StringConstraints(pattern=r"^\d+(\.\d+)*$")]
Line: TypeAlias = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, pattern=r"^[^\r\n]+$")]

FIELDS = ("purpose", "homepage", "repository", "minimum_python", "maintainers", "topics")
"""What extractors find; `name` is known, and `guessed` is said of the others."""


class Record(BaseModel):
    """A distribution as a catalogue lists it. This is what is stored, and what a person's edit must fit.

    `guessed` names the fields that were read out of prose, where nothing declares them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Line
    purpose: Line | None = None
    homepage: Url | None = None
    repository: Url | None = None
    minimum_python: Version | None = None
    maintainers: tuple[Line, ...] = ()
    topics: tuple[Line, ...] = ()
    guessed: tuple[str, ...] = ()


class Complete(Record):
    """A record with nothing missing and a purpose that fits a line. A person may accept less; a gate does not."""

    model_config = ConfigDict(from_attributes=True)

    purpose: Annotated[Line, Field(min_length=10, max_length=110)]
    homepage: Url
    repository: Url
    minimum_python: Version
    maintainers: Annotated[tuple[Line, ...], Field(min_length=1)]
