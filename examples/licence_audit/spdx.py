"""SPDX licence expressions: which texts are valid ones, and which licences they name."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Annotated, Any, TypeAlias, TypeVar

from license_expression import (
    ExpressionError,
    LicenseSymbol,
    LicenseWithExceptionSymbol,
    Licensing,
    get_spdx_licensing,
)
from pydantic import AfterValidator, Field

SPECIAL_EXCEPTION = "LicenseRef-Special-Exception"
"""Stands for the exception of any `WITH`: texts of exceptions are noticed, but not told apart."""

T = TypeVar("T")

_LONGEST = 1000  # a longer expression is an attack on the parser
_GNU = frozenset({"AGPL-3.0", "GPL-1.0", "GPL-2.0", "GPL-3.0", "LGPL-2.0", "LGPL-2.1", "LGPL-3.0"})


def normalise(text: str) -> str | None:
    """`text` with each identifier as SPDX writes it; None if it is no valid expression of one meaning."""
    expression = _parse(text)
    return None if expression is None else str(expression)


def _checked(text: str) -> str:
    if (expression := normalise(text)) is None:
        raise ValueError("no SPDX expression of one meaning; write one like MIT, or Apache-2.0 OR BSD-2-Clause")
    return expression


# Where this code is not at hand, a JSON schema checks an edit: it can say what an expression looks like, and no more.
_LOOKS = {"pattern": r"^[A-Za-z0-9.+()-]+( (AND|OR|WITH) [A-Za-z0-9.+()-]+)*$"}
Expression: TypeAlias = Annotated[
    str, AfterValidator(_checked), Field(description="An SPDX licence expression.", json_schema_extra={**_LOOKS})
]
"""A valid expression as SPDX writes it: whatever is stored as one has been parsed, a person's edit too."""


def meanings(text: str) -> tuple[str, ...]:
    """The expressions `text` can stand for: none, one, or two for a GNU licence by its number only.

    SPDX gave up `GPL-2.0` because nobody could say whether its authors meant "only" or "or later".
    """
    if (name := text.strip().upper()) in _GNU:
        return (f"{name}-only", f"{name}-or-later")
    expression = normalise(text)
    return () if expression is None else (expression,)


def fold(
    expression: str,
    *,
    one: Callable[[str, str | None], T],
    every: Callable[[list[T]], T],
    some: Callable[[list[T]], T],
) -> T:
    """Work out a value for an expression from the values of its licences.

    Args:
        expression: A valid one.
        one: The value of a licence and its exception, if it has one.
        every: The value of parts joined by AND.
        some: The value of parts joined by OR.

    Raises:
        ValueError: `expression` is not valid.
    """

    def walk(node: Any) -> T:
        if isinstance(node, LicenseWithExceptionSymbol):
            return one(node.license_symbol.key, node.exception_symbol.key)
        if isinstance(node, LicenseSymbol):
            return one(node.key, None)
        values = [walk(part) for part in node.args]
        return some(values) if isinstance(node, _licensing().OR) else every(values)

    parsed = _parse(expression)
    if parsed is None:
        raise ValueError(f"{expression!r} is not a valid SPDX expression")
    return walk(parsed)


@cache
def licences(expression: str) -> frozenset[str]:
    """The identifiers in a valid expression, with `SPECIAL_EXCEPTION` in place of every exception."""

    def one(licence: str, exception: str | None) -> frozenset[str]:
        return frozenset({licence, SPECIAL_EXCEPTION} if exception else {licence})

    def union(parts: list[frozenset[str]]) -> frozenset[str]:
        return frozenset().union(*parts)

    return fold(expression, one=one, every=union, some=union)


def same(first: str, second: str) -> bool:
    """Whether two valid expressions ask the same, however they are written."""
    return bool(_licensing().is_equivalent(first, second))


def _parse(text: str) -> Any:
    if not text.strip() or len(text) > _LONGEST:
        return None
    try:
        expression = _licensing().parse(text, strict=True)
        unknown = _licensing().unknown_license_keys(expression)
    except (ExpressionError, IndexError, RecursionError):  # IndexError: "()"
        return None
    return expression if all(key.startswith("LicenseRef-") for key in unknown) else None


@cache
def _licensing() -> Any:
    # The library takes nicknames too: it reads "GPL" as GPL-1.0-or-later, and LicenseRef-Apache as
    # Apache-2.0. Nobody has said so: only the identifiers and SPDX's own old form "GPL-2.0+" are kept.
    return Licensing(
        [
            LicenseSymbol(
                symbol.key,
                aliases=tuple(name for name in symbol.aliases if name.endswith("+") and " " not in name),
                is_exception=symbol.is_exception,
            )
            for symbol in get_spdx_licensing().known_symbols.values()
        ]
    )
