"""Types that JSON has itself, and what is put together from them alone: ``dict[str, Any]``, ``list[int]``, ``str | None``.

Most stages declare nothing else. A value that is exactly of such a type is known without pydantic, whose import takes a small
pipeline longer than all it does; what is not exactly of it is left to pydantic, which may convert it, or says what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from types import NoneType, UnionType
from typing import Any, NamedTuple, Union, get_args, get_origin

_ANY: Any = Any
WORDS: dict[Any, str] = {str: "string", bool: "boolean", int: "integer", float: "number", NoneType: "null"}
"""What a JSON schema calls the types that hold nothing else."""


class PlainType(NamedTuple):
    """How to tell that a value is exactly of the type, and the type's JSON schema."""

    has: Callable[[Any], bool]
    schema: dict[str, Any]


def plain_type(annotation: Any) -> PlainType | None:
    """``None`` where the type is not made of JSON's own."""
    origin, parts = get_origin(annotation), get_args(annotation)
    # What is in these is stored as it is. Deeper, or in a union, pydantic would make JSON of what is none.
    if origin is list and parts == (_ANY,):
        return PlainType(lambda value: type(value) is list, {"items": {}, "type": "array"})
    if origin is dict and parts == (str, _ANY):
        return PlainType(_has_names, {"additionalProperties": True, "type": "object"})
    return _made_of_words(annotation)


def _made_of_words(annotation: Any) -> PlainType | None:
    if annotation is None or annotation is NoneType:
        return PlainType(lambda value: value is None, {"type": "null"})
    if isinstance(annotation, type) and annotation in WORDS:
        # Exactly: to a lax reader True is 1 and 1 is 1.0, so those are for pydantic to convert.
        return PlainType(lambda value: type(value) is annotation, {"type": WORDS[annotation]})
    origin, parts = get_origin(annotation), get_args(annotation)
    inner = [found for part in parts if (found := _made_of_words(part)) is not None]
    if not inner or len(inner) < len(parts):
        return None
    if origin is list and len(parts) == 1:
        has = inner[0].has
        return PlainType(lambda value: type(value) is list and all(map(has, value)), {"items": inner[0].schema, "type": "array"})
    if origin is dict and len(parts) == 2 and parts[0] is str:  # noqa: PLR2004 - keys and values
        return PlainType(_has_fields(parts[1], inner[1]), {"additionalProperties": inner[1].schema, "type": "object"})
    if origin is Union or origin is UnionType:
        tests = [found.has for found in inner]
        # Null comes last, as pydantic has it: a schema is stored with its workflow, and compared.
        schemas = sorted((found.schema for found in inner), key=lambda schema: schema == {"type": "null"})
        return PlainType(lambda value: any(test(value) for test in tests), {"anyOf": schemas})
    return None


# Loops, since a generator takes longer than all of it where there are few fields: this runs twice a stage (``make bench``, W1).


def _has_names(value: Any) -> bool:
    if type(value) is not dict:
        return False
    for key in value:  # noqa: SIM110
        if type(key) is not str:
            return False
    return True


def _has_fields(part: Any, inner: PlainType) -> Callable[[Any], bool]:
    has_part, is_leaf = inner.has, part in WORDS

    def has(value: Any) -> bool:
        if type(value) is not dict:
            return False
        for key, one in value.items():  # noqa: SIM110
            if type(key) is not str or (type(one) is not part if is_leaf else not has_part(one)):
                return False
        return True

    return has
