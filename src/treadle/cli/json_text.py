"""JSON as people write it: what is wrong is said with its line."""

from __future__ import annotations

import json
from typing import Any


def parsed(text: str) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is not JSON, holds NaN or the same key twice, or is nested too deep.
    """
    try:
        return json.loads(text, object_pairs_hook=_distinct, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        raise ValueError(f"line {error.lineno}, column {error.colno}: {error.msg}") from error
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in pairs:
        if key in made:
            raise ValueError(f"the key {key!r} stands there twice")
        made[key] = value
    return made


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
