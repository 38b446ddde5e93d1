"""Everything that says under which licence a distribution is, piece by piece."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

from . import spdx
from .files import excerpt
from .licence_files import LicenceFile
from .metadata import Metadata
from .texts import recognise

_DECLARED = Path(__file__).with_name("declared.toml")
_FILLERS = frozenset({"the", "license", "licence", "licensed", "version", "v", "under", "terms", "of"})
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_MOST_PASSAGES = 4
_SAYS_NOTHING = frozenset({"", "see", "file", "see file", "see txt", "txt", "in file", "other"})


class Source(StrEnum):
    """Where a piece of evidence was found."""

    EXPRESSION = "License-Expression"
    FIELD = "License"
    CLASSIFIER = "Classifier"
    TEXT = "licence file"
    BUNDLED = "bundled licence file"
    README = "README"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One piece of evidence.

    Attributes:
        value: What is written there, cut short; for a file, its name.
        possible: The expressions it can stand for; empty if it says something, but nothing known here.
    """

    source: Source
    value: str
    possible: tuple[str, ...] = ()

    @property
    def expression(self) -> str | None:
        """The one expression it stands for; None if it may stand for several or for none."""
        return self.possible[0] if len(self.possible) == 1 else None


def collect(metadata: Metadata, files: Sequence[LicenceFile]) -> tuple[Evidence, ...]:
    """Every piece of evidence: what is declared, then what the files hold."""
    return (*_declared(metadata), *(evidence for file in files for evidence in _in_file(file)))


def in_readme(description: str) -> tuple[Evidence, ...]:
    """The first passages of a README that speak of licences, each with the licences whose texts or grants it quotes."""
    passages = (" ".join(_LINK.sub(r"\1", passage).split()) for passage in re.split(r"\n\s*\n", description))
    speaking = [passage for passage in passages if len(passage.split()) > 3 and re.search("licen[cs]", passage, re.IGNORECASE)]
    return tuple(
        Evidence(
            source=Source.README,
            value=excerpt(passage),
            possible=tuple(one for possible in recognise(passage).found for one in possible),
        )
        for passage in speaking[:_MOST_PASSAGES]
    )


def _declared(metadata: Metadata) -> Iterator[Evidence]:
    if (expression := metadata.licence_expression) is not None:
        possible = spdx.meanings(expression)
        yield Evidence(source=Source.EXPRESSION, value=excerpt(expression), possible=possible)
    if (field := metadata.licence) is not None:
        yield from _in_field(field)
    for classifier in metadata.classifiers:
        prefix, _, licence = classifier.partition(" :: ")
        if prefix == "License" and licence not in _tables()["silent"]:
            possible = tuple(_tables()["classifiers"].get(licence, ()))
            yield Evidence(source=Source.CLASSIFIER, value=excerpt(licence), possible=possible)


def _in_field(field: str) -> Iterator[Evidence]:
    words = _words(field)
    possible = spdx.meanings(field) or tuple(_tables()["words"].get(words, ()))
    if not possible and (pasted := list(_in_text(Source.FIELD, excerpt(field, 60), field))):
        yield from pasted
    elif possible or words not in _SAYS_NOTHING:
        yield Evidence(source=Source.FIELD, value=excerpt(field), possible=possible)


def _in_file(file: LicenceFile) -> Iterator[Evidence]:
    source = Source.BUNDLED if file.bundled else Source.TEXT
    yield from _in_text(source, file.name, file.text)
    if not file.whole:
        yield Evidence(source=source, value=f"{file.name}: too long to be read to its end")


def _in_text(source: Source, name: str, text: str) -> Iterator[Evidence]:
    recognised = recognise(text)
    for possible in recognised.found:
        yield Evidence(source=source, value=name, possible=possible)
    if recognised.unread:
        yield Evidence(source=source, value=f"{name}: {recognised.unread} words of other terms")


def _words(field: str) -> str:
    """`field` in the form of the table: "GNU GPL v3+" is "gnu gpl 3 or later"."""
    words = re.findall(r"[a-z0-9]+|\+", re.sub(r"\bv(?=\d)", " ", field.lower()))
    return " ".join("or later" if word == "+" else word for word in words if word not in _FILLERS)


@cache
def _tables() -> dict[str, Any]:
    return tomllib.loads(_DECLARED.read_text("utf-8"))
