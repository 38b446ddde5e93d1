"""SPDX licence expressions: which texts are valid ones, and which licences they name."""

from __future__ import annotations

from functools import cache

from boolean import ParseError
from license_expression import ExpressionError, LicenseExpression, LicenseSymbol, Licensing, get_spdx_licensing

SPECIAL_EXCEPTION = "LicenseRef-Special-Exception"
"""Stands for the exception of any `WITH`: texts of exceptions are noticed, but not told apart."""

_LONGEST = 1000  # a longer expression is an attack on the parser
_GNU = frozenset({"AGPL-3.0", "GPL-1.0", "GPL-2.0", "GPL-3.0", "LGPL-2.0", "LGPL-2.1", "LGPL-3.0"})


def parse(text: str) -> LicenseExpression | None:
    """The parsed form of `text`; None if it is not a valid expression that means one thing."""
    if not text.strip() or len(text) > _LONGEST:
        return None
    try:
        expression = _licensing().parse(text, strict=True)
        unknown = _licensing().unknown_license_keys(expression)
    except (ExpressionError, ParseError, IndexError, RecursionError):  # IndexError: "()"
        return None
    return expression if all(key.startswith("LicenseRef-") for key in unknown) else None


def normalise(text: str) -> str | None:
    """`text` with each identifier written as SPDX does; None where `parse` is None."""
    expression = parse(text)
    return None if expression is None else str(expression)


def meanings(text: str) -> tuple[str, ...]:
    """The expressions `text` can stand for: none, one, or two for a GNU licence by its number only.

    SPDX gave up `GPL-2.0` because nobody could say whether its authors meant "only" or "or later".
    """
    if text.strip().upper() in _GNU:
        return (f"{text.strip().upper()}-only", f"{text.strip().upper()}-or-later")
    expression = normalise(text)
    return () if expression is None else (expression,)


def licences(expression: str) -> frozenset[str]:
    """The identifiers in a valid expression, with `SPECIAL_EXCEPTION` in place of every exception."""
    symbols = _licensing().license_symbols(expression, unique=True, decompose=True)
    return frozenset(SPECIAL_EXCEPTION if symbol.is_exception else symbol.key for symbol in symbols)


def same(one: str, other: str) -> bool:
    """Whether two valid expressions ask the same, however they are written."""
    return bool(_licensing().is_equivalent(one, other))


@cache
def _licensing() -> Licensing:
    # The library also takes nicknames: it reads "GPL" as GPL-1.0-or-later and LicenseRef-Apache as Apache-2.0.
    # Nobody has said so, hence only the identifiers themselves and SPDX's own old "GPL-2.0+" are kept.
    known = get_spdx_licensing().known_symbols.values()
    return Licensing(
        [
            LicenseSymbol(
                symbol.key,
                aliases=tuple(name for name in symbol.aliases if name.endswith("+") and " " not in name),
                is_exception=symbol.is_exception,
            )
            for symbol in known
        ]
    )
