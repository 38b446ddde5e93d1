"""One answer from all evidence: the licence of a distribution, or why a person must say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from . import spdx
from .distributions import Distribution
from .evidence import Evidence, Source, collect
from .licence_files import LicenceFile, licence_files
from .metadata import Metadata, read_metadata


class Agreement(StrEnum):
    """How the pieces of evidence stand to each other."""

    AGREE = "agree"
    DISAGREE = "disagree"
    MISSING = "missing"


class Confidence(StrEnum):
    """How well an answer is founded: said and shown by a text, only one of the two, or no answer."""

    HIGH = "high"
    MEDIUM = "medium"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identification:
    """The licence of a distribution as far as its evidence goes.

    Attributes:
        expression: A valid SPDX expression; None if a person must decide.
        agreement: Whether the evidence agrees, contradicts itself, or is missing what would tell.
        possible: What the answer can be, as far as the evidence tells; for the person who decides.
        undeclared: Licences of texts that come along but are not in the expression; judge them too.
        reason: Why, in a sentence.
    """

    expression: str | None
    agreement: Agreement
    confidence: Confidence
    reason: str
    possible: tuple[str, ...] = ()
    undeclared: tuple[str, ...] = ()
    evidence: tuple[Evidence, ...] = ()
