"""What is known without pydantic is what pydantic would say."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import date
from enum import Enum
from typing import Any, Dict, List  # noqa: UP035

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from treadle.codec import Codec
from treadle.errors import InvalidArtefact
from treadle.plain_types import plain_type


class Word(Enum):
    A = "a"


TYPES: list[Any] = [
    dict[str, Any], dict[str, int], dict[str, float], dict[str, list[bool]], dict[str, str | None], list[Any], list[int], list[float],
    list[dict[str, int]], list[int | str], str | None, int | None, float | None, None | bool, int | float | str, dict[str, int] | None,
    list[str | None] | dict[str, float],
]  # fmt: skip
LEAVES = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | st.text("ab1 ")
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab1"), inner, max_size=3), max_leaves=6
)


@given(st.sampled_from(TYPES), VALUES)
def test_a_codec_keeps_and_refuses_what_pydantic_does(annotation: Any, value: Any) -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(annotation)
    codec = Codec(annotation)
    try:
        expected = adapter.dump_python(adapter.validate_python(value), mode="json")
    except ValidationError:
        with pytest.raises(InvalidArtefact):
            codec.encode(value, "x")
        return
    text = codec.encode(value, "x")
    assert text == json.dumps(expected, ensure_ascii=False, separators=(",", ":"))
    back = codec.decode(text, "x")
    assert json.dumps(back) == json.dumps(adapter.validate_json(text)), "1, 1.0 and True are told apart"


@pytest.mark.parametrize("annotation", TYPES, ids=str)
def test_the_schema_is_pydantics(annotation: Any) -> None:
    found = plain_type(annotation)
    assert found is not None
    assert found.schema == TypeAdapter(annotation).json_schema(mode="validation")


@pytest.mark.parametrize(
    "annotation",
    [tuple[int], dict[int, str], set[int], List, Dict, list["int"], Any | None, list[dict[str, Any]], dict[str, list[Any]]],  # noqa: UP006
    ids=str,
)
def test_what_is_not_of_json_alone_is_pydantics(annotation: Any) -> None:
    assert plain_type(annotation) is None
    Codec(annotation)


def test_a_type_that_lacks_a_parameter_is_not_known_here() -> None:
    assert plain_type(dict[str]) is None  # type: ignore[type-arg]


@pytest.mark.parametrize("annotation", [list[dict[str, Any]], dict[str, Any] | None, dict[str, list[Any]]], ids=str)
def test_what_is_no_json_within_them_is_made_json(annotation: Any) -> None:
    day = date(2026, 11, 29)
    value = [{"at": day}] if annotation == list[dict[str, Any]] else {"at": [day]}
    assert "2026-11-29" in Codec(annotation).encode(value, "x")


@pytest.mark.parametrize("annotation", [int | None, int | str, dict[str, int | None]], ids=str)
def test_what_could_not_be_read_back_is_refused(annotation: Any) -> None:
    value = Word.A if annotation != dict[str, int | None] else {"a": Word.A}
    codec = Codec(annotation)
    try:
        text = codec.encode(value, "x")
    except InvalidArtefact:
        return
    codec.decode(text, "x")


@pytest.mark.parametrize(
    ("annotation", "value"), [(dict[str, Any], {1: "x"}), (dict[str, Any], []), (list[int], ["x"]), (str | None, 1)], ids=str
)
def test_what_does_not_fit_is_told_by_its_place(annotation: Any, value: Any) -> None:
    with pytest.raises(InvalidArtefact) as told:
        Codec(annotation).encode(value, "the artefact")
    assert "valid" in str(told.value)


def test_a_small_pipeline_does_not_load_pydantic() -> None:
    code = """
import sys, treadle
from typing import Any
from treadle import Workflow
flow = Workflow("small")
@flow.stage
def read(item: dict[str, Any]) -> dict[str, int] | None:
    return {"n": item["n"]}
@flow.stage
async def sum_up(item: dict[str, Any], read: dict[str, int] | None) -> list[int]:
    return [1]
report = treadle.run(flow, [{"id": "x", "n": 1}], store="memory:")
assert report.completed == 1, report
print("pydantic" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False", done.stderr
