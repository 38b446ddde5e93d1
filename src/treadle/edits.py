"""An artefact as a person left it: checked against its type, and as a patch of what it was."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from treadle.artefact import MAX_ARTEFACT
from treadle.codec import ANY, Codec, bad_name, dump
from treadle.errors import InvalidArtefact

_PLAIN = Codec(ANY, most=MAX_ARTEFACT)
_MAX_PROBLEMS = 50


def checked_edit(value: Any, where: str, *, codec: Codec | None, schema: Mapping[str, Any], by_child: bool) -> str:
    """``value`` as JSON, if it fits the stage's type.

    ``codec`` is the type, where the workflow's code is at hand: it knows more than a schema can say. Else ``schema``
    from the store serves. The artefact of a fan-out is ``by_child``: ``{subtask: artefact}``.

    Raises:
        InvalidArtefact: with ``path: reason`` for every field that does not fit.
    """
    if not by_child:
        return _one(value, where, codec, schema)
    if not isinstance(value, dict):
        raise InvalidArtefact(where, [f"value: a fan-out's artefact is an object of its subtasks, not a {type(value).__name__}"])
    made: list[str] = []
    problems: list[str] = []
    for name, part in value.items():
        if reason := bad_name(name) if isinstance(name, str) else "it is no text":
            problems.append(f"{name!r:.80}: it cannot name a subtask: {reason}")
            continue
        try:
            made.append(f"{dump(name)}:{'null' if part is None else _one(part, where, codec, schema)}")
        except InvalidArtefact as error:
            problems += [f"{name}.{problem}" for problem in error.problems]
    if problems:
        raise InvalidArtefact(where, problems[:_MAX_PROBLEMS])
    return "{" + ",".join(made) + "}"


def _one(value: Any, where: str, codec: Codec | None, schema: Mapping[str, Any]) -> str:
    if codec is not None:
        return codec.encode(value, where)
    text = _PLAIN.encode(value, where)
    if schema and (problems := _misfits(json.loads(text), schema)):
        raise InvalidArtefact(where, problems)
    return text


def _misfits(value: Any, schema: Mapping[str, Any]) -> list[str]:
    # The library loads when somebody edits without the workflow's code, and not before.
    from jsonschema.validators import validator_for

    errors = sorted(validator_for(schema)(schema).iter_errors(value), key=lambda error: list(map(str, error.absolute_path)))
    return [f"{'.'.join(map(str, error.absolute_path)) or 'value'}: {error.message}" for error in errors[:_MAX_PROBLEMS]]


def patch_between(before: str | None, after: str) -> str:
    """The JSON Patch (RFC 6902) that makes ``after`` of ``before``; both are JSON."""
    import jsonpatch

    old = None if before is None else json.loads(before)
    return json.dumps(jsonpatch.make_patch(old, json.loads(after)).patch, ensure_ascii=False, separators=(",", ":"))
