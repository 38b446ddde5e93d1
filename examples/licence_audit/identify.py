"""One answer from all evidence: the licence of a distribution, or why a person must say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from . import spdx
from .evidence import Evidence, Source, collect
from .licence_files import LicenceFile
from .metadata import Metadata

_DECLARED = frozenset({Source.EXPRESSION, Source.FIELD, Source.CLASSIFIER})


class Agreement(StrEnum):
    """How the pieces of evidence stand to each other."""

    AGREE = "agree"
    DISAGREE = "disagree"
    MISSING = "missing"


class Confidence(StrEnum):
    """How well an answer is founded: declared and shown by a text, only one of the two, or no answer."""

    HIGH = "high"
    MEDIUM = "medium"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identification:
    """The licence of a distribution as far as its evidence goes.

    Attributes:
        expression: A valid SPDX expression; None if a person must decide.
        agreement: Whether the evidence agrees, contradicts itself, or lacks what would tell.
        reason: Why, in a sentence.
        possible: What the answer may be, as far as the evidence tells; for the person who decides.
        undeclared: What texts that come along may stand for and the expression does not name; judge it too.
    """

    expression: spdx.Expression | None
    agreement: Agreement
    confidence: Confidence
    reason: str
    possible: tuple[str, ...] = ()
    undeclared: tuple[str, ...] = ()
    evidence: tuple[Evidence, ...] = ()


def identify(metadata: Metadata, files: Sequence[LicenceFile]) -> Identification:
    """The licence that `metadata` and `files` add up to.

    A valid License-Expression counts (PEP 639 calls it the one place for the licence), unless the licence
    files hold known licences and it names none of them. Older fields count only where they agree with each
    other and with every licence file, because they cannot say whether several licences apply together or by
    choice.
    """
    evidence = collect(metadata, files)
    return replace(_judge(evidence), evidence=evidence)


def with_hints(known: Identification, hints: Sequence[Evidence]) -> Identification:
    """The same answer with `hints` for whoever must decide: prose says more than fields, but settles nothing."""
    possible = tuple(dict.fromkeys((*known.possible, *_possible(hints))))
    return replace(known, possible=possible, evidence=(*known.evidence, *hints))


def _judge(evidence: Sequence[Evidence]) -> Identification:
    said = [piece for piece in evidence if piece.source in _DECLARED]
    texts = [piece for piece in evidence if piece.source is Source.TEXT]
    if said and said[0].source is Source.EXPRESSION and said[0].expression:
        answer = _from_expression(said[0], said[0].expression, texts)
    elif unknown := [piece for piece in said if not piece.possible]:
        answer = _ask(Agreement.MISSING, f"{_list(unknown)}: no licence that is known here", said)
    elif said:
        answer = _from_declarations(said, texts)
    else:
        answer = _from_texts(texts)
    if answer.expression is None:
        return answer
    return replace(answer, undeclared=_undeclared(answer.expression, evidence))


def _from_expression(said: Evidence, expression: str, texts: Sequence[Evidence]) -> Identification:
    supported = any(_names(expression, piece) for piece in texts)
    if not supported and any(piece.possible for piece in texts):
        return _ask(Agreement.DISAGREE, f"License-Expression says {expression}, but {_list(texts)}", (said, *texts))
    read = all(piece.possible for piece in texts)
    return _answer(expression, "License-Expression says so", shown=supported and read)


def _from_declarations(said: Sequence[Evidence], texts: Sequence[Evidence]) -> Identification:
    said = [_narrowed(piece, texts) for piece in said]
    candidates = _common(said)
    if not candidates:
        return _ask(Agreement.DISAGREE, f"several licences, together or by choice: {_list(said)}", said)
    strangers = [piece for piece in texts if not any(_names(one, piece) for one in candidates)]
    if any(piece.possible for piece in strangers):
        return _ask(Agreement.DISAGREE, f"{_list(said)}; but {_list(strangers)}", (*said, *strangers))
    if strangers:
        return _ask(Agreement.MISSING, f"{_list(said)}; terms to read in {_list(strangers)}", said)
    if len(candidates) > 1:
        return _ask(Agreement.MISSING, f"{_list(said)}; nothing says which", said, candidates)
    return _answer(candidates[0], _list(said), shown=bool(texts))


def _from_texts(texts: Sequence[Evidence]) -> Identification:
    if not texts:
        return _ask(Agreement.MISSING, "no licence is declared, and no licence file is known here", ())
    # Terms alone, such as an exception to a licence that is not there, are no licence.
    candidates = [one for one in _common(texts) if not one.startswith("LicenseRef-")]
    if not candidates:
        return _ask(Agreement.DISAGREE, f"nothing is declared, and {_list(texts)}", texts)
    if len(candidates) > 1:
        return _ask(Agreement.MISSING, f"{_list(texts)}; nothing says which", texts, candidates)
    return replace(_answer(candidates[0], _list(texts), shown=True), confidence=Confidence.MEDIUM)


def _common(pieces: Iterable[Evidence]) -> list[str]:
    """The readings of the first piece that every other one allows."""
    first, *others = pieces
    return [one for one in first.possible if all(_names(one, piece) for piece in others)]


def _narrowed(piece: Evidence, texts: Iterable[Evidence]) -> Evidence:
    """`piece` with those of its readings that each text allows, except texts that allow none of them."""
    possible = piece.possible
    for text in texts:
        possible = tuple(one for one in possible if _names(one, text)) or possible
    return replace(piece, possible=possible)


def _names(expression: str, piece: Evidence) -> bool:
    """Whether a licence that `piece` may stand for is in `expression`."""
    named = spdx.licences(expression)
    return any(named & spdx.licences(possible) for possible in piece.possible)


def _undeclared(expression: str, evidence: Sequence[Evidence]) -> tuple[str, ...]:
    pieces = (piece for piece in evidence if piece.source in {Source.TEXT, Source.BUNDLED})
    return _possible(piece for piece in pieces if not _names(expression, piece))


def _possible(pieces: Iterable[Evidence]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(possible for piece in pieces for possible in piece.possible))


def _list(pieces: Iterable[Evidence]) -> str:
    return ", ".join(
        f"{piece.source} {piece.value}" + (f" ({' or '.join(piece.possible)})" if piece.possible else "") for piece in pieces
    )


def _answer(expression: str, reason: str, *, shown: bool) -> Identification:
    return Identification(
        expression=expression,
        agreement=Agreement.AGREE,
        confidence=Confidence.HIGH if shown else Confidence.MEDIUM,
        reason=f"{reason}; {'the licence files agree' if shown else 'no licence file confirms it'}",
        possible=(expression,),
    )


def _ask(agreement: Agreement, reason: str, pieces: Iterable[Evidence], possible: Iterable[str] = ()) -> Identification:
    return Identification(
        expression=None,
        agreement=agreement,
        confidence=Confidence.NONE,
        reason=reason,
        possible=tuple(possible) or _possible(pieces),
    )
