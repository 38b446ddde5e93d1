"""Types that JSON has itself, and what is put together from them alone: ``dict[str, Any]``, ``list[int]``, ``str | None``.

Most stages declare nothing else. A value that is exactly of such a type is known without pydantic, whose import takes a small
pipeline longer than all it does; what is not exactly of it is left to pydantic, which may convert it, or says what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from types import NoneType, UnionType
from typing import Any, NamedTuple, Union, get_args, get_origin

_ANY: Any = Any
_WORDS: dict[Any, str] = {str: "string", bool: "boolean", int: "integer", float: "number", NoneType: "null"}


class PlainType(NamedTuple):
    """How to tell that a value is exactly of the type, and the type's JSON schema."""

    has: Callable[[Any], bool]
    schema: dict[str, Any]


def plain_type(annotation: Any) -> PlainType | None:
    """``None`` where the type is not made of JSON's own."""
    if annotation is _ANY:
        return PlainType(lambda _: True, {})
    if annotation is None or annotation is NoneType:
        return PlainType(lambda value: value is None, {"type": "null"})
    if isinstance(annotation, type) and annotation in _WORDS:
        # Exactly: to a lax reader True is 1 and 1 is 1.0, so those are for pydantic to convert.
        return PlainType(lambda value: type(value) is annotation, {"type": _WORDS[annotation]})
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is list and parts:
        return _list_of(parts[0])
    if origin is dict and parts[:1] == (str,):
        return _dict_of(parts[1])
    if origin is Union or origin is UnionType:
        return _any_of(parts)
    return None


def _list_of(part: Any) -> PlainType | None:
    if (inner := plain_type(part)) is None:
        return None
    schema = {"items": inner.schema, "type": "array"}
    if part is _ANY:
        return PlainType(lambda value: type(value) is list, schema)
    has = inner.has
    return PlainType(lambda value: type(value) is list and all(map(has, value)), schema)


def _dict_of(part: Any) -> PlainType | None:
    if (inner := plain_type(part)) is None:
        return None
    has_part, is_leaf = inner.has, part in _WORDS

    # Loops, since a generator takes longer than all of it where there are few fields: this runs twice a stage (``make bench``, W1).
    def has(value: Any) -> bool:
        if type(value) is not dict:
            return False
        for key, one in value.items():  # noqa: SIM110
            if type(key) is not str or (type(one) is not part if is_leaf else not has_part(one)):
                return False
        return True

    def has_names(value: Any) -> bool:
        if type(value) is not dict:
            return False
        for key in value:  # noqa: SIM110
            if type(key) is not str:
                return False
        return True

    return PlainType(has_names if part is _ANY else has, {"additionalProperties": inner.schema or True, "type": "object"})


def _any_of(parts: tuple[Any, ...]) -> PlainType | None:
    inner = [found for part in parts if (found := plain_type(part)) is not None]
    if len(inner) < len(parts) or _ANY in parts:
        return None
    tests = [found.has for found in inner]
    # Null comes last, as pydantic has it: a schema is stored with its workflow, and compared.
    schemas = sorted((found.schema for found in inner), key=lambda schema: schema == {"type": "null"})
    return PlainType(lambda value: any(test(value) for test in tests), {"anyOf": schemas})
