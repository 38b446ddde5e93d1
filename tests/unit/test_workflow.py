"""A definition says everything that is wrong with it, before anything runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypedDict

import attrs
import msgspec
import pydantic
import pytest

from treadle import FanOut, InvalidItem, InvalidWorkflow, RetryBudget, StageContext, StageNotFound, Workflow
from treadle.codec import Codec, ItemCodec


@dataclass
class Data:
    id: str
    n: int = 1


class Model(pydantic.BaseModel):
    id: str
    n: int = 1


class Typed(TypedDict):
    id: str
    n: int


@attrs.define
class Attrs:
    id: str
    n: int = 1


class Struct(msgspec.Struct):
    id: str
    n: int = 1


def test_every_problem_is_found_at_once() -> None:
    flow = Workflow("Bad Name", item=Data)

    @flow.stage
    async def loop_a(item: Data, loop_b: int) -> int:
        return 1

    @flow.stage
    async def loop_b(item: Data, loop_a: int) -> int:
        return 1

    @flow.stage(after=["nowhere"], limit=0, timeout=-1, executor="moon", retry=3)  # type: ignore[arg-type]
    async def wrong(item: Data, stranger: int) -> None: ...

    @flow.stage
    async def text(item: Data) -> str:
        return ""

    @flow.stage
    async def number(item: Data, text: int) -> object: ...

    @flow.stage
    async def opaque(item: Data) -> StageContext:
        raise AssertionError

    async def again(item: Data) -> None: ...

    again.__name__ = "text"
    flow.stage(again)

    with pytest.raises(InvalidWorkflow) as caught:
        flow.validate()
    told = "\n".join(caught.value.problems)
    for part in (
        "'Bad Name' must match",
        "two stages are named 'text'",
        "loop_a -> loop_b -> loop_a",
        "comes after 'nowhere', which is no stage",
        "limit=0",
        "timeout=-1",
        "executor='moon'",
        "retry=3",
        "parameter 'stranger' that is neither the item, the context (ctx) nor a stage",
        "takes 'text' as int, but stage 'text' returns str",
        "returns StageContext, which cannot be stored as JSON",
    ):
        assert part in told
    assert str(caught.value).startswith("workflow 'Bad Name' has 11 problems:")


def test_a_workflow_knows_its_graph() -> None:
    flow = Workflow("diamond")

    @flow.stage
    async def top(item: Any) -> int:
        return 1

    @flow.stage
    async def left(item: Any, top: int) -> int:
        return 1

    @flow.stage(after=["top"])
    async def right(item: Any) -> FanOut:
        return FanOut([])

    @flow.stage
    async def bottom(item: Any, left: int, right: dict[str, Any], ctx: StageContext) -> None: ...

    assert flow.stages == ["top", "left", "right", "bottom"]
    assert flow.dependencies("bottom") == ["left", "right"]
    assert flow.dependents("top") == ["left", "right"]
    assert (flow.roots, flow.leaves) == (["top"], ["bottom"])
    assert flow.layers() == [["top"], ["left", "right"], ["bottom"]]
    assert "s0 --> s1" in flow.to_mermaid()
    assert '"top" -> "left";' in flow.to_dot()
    assert flow._repr_html_().startswith("<svg")
    assert "left" in flow
    assert "nope" not in flow
    with pytest.raises(StageNotFound, match="no stage 'nope'; stages are top, left, right, bottom"):
        flow.dependencies("nope")


@pytest.mark.parametrize(
    "item",
    [Data("a", 2), Model(id="a", n=2), Typed(id="a", n=2), Attrs("a", 2), Struct("a", 2)],
    ids=lambda item: type(item).__name__,
)
def test_items_of_every_kind_come_back_as_they_were(item: Any) -> None:
    codec = ItemCodec(Typed if isinstance(item, dict) else type(item))
    identity, text = codec.encode(item)
    assert (identity, text) == ("a", '{"id":"a","n":2}')
    assert codec.decode(identity, text) == item


@pytest.mark.parametrize(
    "identity",
    ["", "a\x00b", "tab\t", "\ud800", "x" * 513, "\u202eevil", True, 1.5, None, b"x"],
    ids=lambda value: ascii(value)[:12],
)
def test_bad_ids_are_refused(identity: Any) -> None:
    with pytest.raises(InvalidItem):
        ItemCodec(Any).encode({"id": identity})


@pytest.mark.parametrize("value", [None, True, 1, 1.5, "é\\u0000", [1, [2]], {"a": {"b": None}}])
def test_plain_values_come_back_as_they_were(value: Any) -> None:
    codec = Codec()
    assert codec.decode(codec.encode(value, "here"), "here") == value


def test_a_value_too_deep_is_refused() -> None:
    value: list[Any] = []
    for _ in range(70):
        value = [value]
    with pytest.raises(Exception, match="deeper than 64"):
        Codec().encode(value, "here")


def test_a_budget_waits_longer_up_to_a_limit() -> None:
    budget = RetryBudget(max_attempts=9, delay=1, backoff=2, max_delay=10, jitter=False)
    assert [budget.wait_after(n) for n in (1, 2, 3, 5, 5000)] == [1, 2, 4, 10, 10]
    assert RetryBudget(delay=8).wait_after(1, chance=0.25) == 2
    for wrong in ({"max_attempts": 0}, {"delay": -1}, {"backoff": 0.5}, {"attempt_timeout": 0}, {"max_delay": float("nan")}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            RetryBudget(**wrong)  # type: ignore[arg-type]


def test_damaged_and_foreign_values_are_told_by_field() -> None:
    with pytest.raises(Exception, match=r"here: id: Input should be a valid string; n: Input should be a valid integer"):
        Codec(Model).decode('{"id": 1, "n": "x"}', "here")
    for kind in (Attrs, Struct):
        with pytest.raises(Exception, match=f"a int was given where {kind.__name__} is declared"):
            Codec(kind).encode(3, "here")
    with pytest.raises(Exception, match="holds the character NUL"):
        Codec().encode({"a": ["\x00"]}, "here")
    with pytest.raises(Exception, match="lone surrogate"):
        Codec().encode("\ud800", "here")
    with pytest.raises(Exception, match="a str was given where int is declared"):
        Codec(int).encode("1", "here")
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(Exception, match="deeper than 64"):
        Codec().encode(deep, "here")
    assert Codec(dict[str, int]).decode(Codec(dict[str, int]).encode({"a": 1}, "here"), "here") == {"a": 1}
    with pytest.raises(InvalidItem, match=r"say what items are with Workflow\(\.\.\., item=YourType\)"):
        ItemCodec(Any).encode(Data("a"))
