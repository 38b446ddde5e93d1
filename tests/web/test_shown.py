"""Values as text that fits a page."""

from __future__ import annotations

import time
from typing import Any

import pytest

from treadle.artefact import StoredArtefact
from treadle.web.shown import Line, Part, Shown, difference, fields, marked, outline, sentence, shown, titles, words_of


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("as it is", "as it is"),
        (None, "none"),
        ({"a": 1, "b": {"c": True}}, "a: 1\nb:\n  c: yes"),
        ([{"a": 1, "b": [2, 3]}, "x"], "- a: 1\n  b:\n    - 2\n    - 3\n- x"),
        ({"text": "two\nlines", "empty": []}, "text:\n  two\n  lines\nempty: none"),
        ([[1], []], "- - 1\n- none"),
    ],
)
def test_outline_reads_without_the_marks_of_json(value: Any, text: str) -> None:
    assert outline(value) == Shown(text)


def test_what_is_large_is_cut_without_making_all_of_it() -> None:
    large = {"rows": [{"number": number, "text": "x" * 100} for number in range(200_000)]}
    began = time.perf_counter()
    assert outline(large).is_cut
    assert outline([large]).is_cut
    assert shown(large).is_cut
    assert time.perf_counter() - began < 0.1
    assert outline("x" * 5000) == Shown("x" * 4000, is_cut=True)
    assert outline(StoredArtefact("ab" * 32, 1_000_000)).is_cut


def test_fields_are_named_as_people_write() -> None:
    schema = {"properties": {"notice_needed": {"title": "Notice Needed"}, "spdx": {"title": "SPDX Id"}, "odd": {"title": 3}}}
    found = fields({"notice_needed": True, "spdx": ["MIT", "ISC"], "odd": {"a": 1}}, titles(schema))
    assert [(field.name, field.shown.text, field.is_plain) for field in found] == [
        ("Notice needed", "yes", True), ("SPDX id", "MIT\nISC", True), ("Odd", "a: 1", False),
    ]  # fmt: skip
    assert fields([1, 2], {}) == ()
    assert fields(dict.fromkeys(map(str, range(100))), {}) == (), "too many for a page are shown as a whole"
    assert sentence("URL") == "URL"


def test_words_of_the_result_stand_out_in_the_evidence() -> None:
    words = words_of({"licence": "GPL-3.0", "kind": "agree", "n": 3, "deep": ["Public Domain"]})
    assert words == ["Public Domain", "GPL-3.0"]
    assert marked("in the Public Domain, not LGPL-3.0", words) == [
        Part("in the "), Part("Public Domain", is_marked=True), Part(", not LGPL-3.0"),
    ]  # fmt: skip
    assert marked("a.b", ["a+b"]) == [Part("a.b")]
    assert marked("anything", []) == [Part("anything")]


def test_difference_shows_what_changed_and_a_little_around_it() -> None:
    before = {f"f{number}": number for number in range(10)}
    assert difference(before, before | {"f5": "five"}) == [
        Line(" ", "f3: 3"), Line(" ", "f4: 4"), Line("-", "f5: 5"), Line("+", "f5: five"), Line(" ", "f6: 6"), Line(" ", "f7: 7"),
    ]  # fmt: skip
    assert difference(before, before) == []
