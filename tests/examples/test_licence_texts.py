"""Licence texts are told apart word for word."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples import licence_audit
from examples.licence_audit import spdx
from examples.licence_audit.texts import recognise

FOLDER = Path(licence_audit.__file__).parent
KNOWN_TEXTS = tomllib.loads((FOLDER / "known_texts.toml").read_text("utf-8"))
DECLARED = tomllib.loads((FOLDER / "declared.toml").read_text("utf-8"))


def test_every_identifier_in_the_tables_is_one_of_spdx():
    named = {name for entry in KNOWN_TEXTS["text"] for name in entry["means"]}
    for table in ("classifiers", "words"):
        named |= {name for possible in DECLARED[table].values() for name in possible}
    assert [name for name in sorted(named) if spdx.normalise(name) != name] == []


@pytest.mark.parametrize(
    "change",
    [
        str.upper,
        lambda text: text.replace("\n", " "),
        lambda text: "\n".join(f"# {line}" for line in text.splitlines()),
        lambda text: text.replace('"', "``"),
        lambda text: f"The MIT License (MIT)\n\n{text}",
        lambda text: text.replace("THE\nAUTHORS OR COPYRIGHT HOLDERS", "Jane Doe"),
    ],
)
def test_form_makes_no_difference(mit, change):
    recognised = recognise(change(mit))
    assert (recognised.found, recognised.unread) == ((("MIT",),), 0)


@pytest.mark.parametrize(
    ("words", "changed", "found"),
    [
        ("The above copyright notice and this permission notice", "This notice", ()),
        ("THE SOFTWARE IS", "The Software shall be used for Good, not Evil. THE SOFTWARE IS", (("JSON",),)),
        ("and/or sell\n", "", ()),
    ],
)
def test_a_changed_condition_is_another_licence(mit, words, changed, found):
    assert words in mit
    assert recognise(mit.replace(words, changed)).found == found


def test_a_file_may_hold_several_licences(mit):
    zero = """
    Permission to use, copy, modify, and/or distribute this software for any purpose with or without fee
    is hereby granted. THE SOFTWARE IS PROVIDED "AS IS" AND THE AUTHOR DISCLAIMS ALL WARRANTIES WITH REGARD TO
    THIS SOFTWARE INCLUDING ALL IMPLIED WARRANTIES OF MERCHANTABILITY AND FITNESS. IN NO EVENT SHALL THEY
    BE LIABLE FOR ANY SPECIAL, DIRECT, INDIRECT, OR CONSEQUENTIAL DAMAGES OR ANY DAMAGES WHATSOEVER RESULTING
    FROM LOSS OF USE, DATA OR PROFITS, WHETHER IN AN ACTION OF CONTRACT, NEGLIGENCE OR OTHER TORTIOUS ACTION,
    ARISING OUT OF OR IN CONNECTION WITH THE USE OR PERFORMANCE OF THIS SOFTWARE."""
    assert recognise(f"{zero}\n----\n{mit}\n----\n{zero}").found == (("MIT",), ("0BSD",))


def test_terms_outside_every_known_text_are_unread(mit):
    assert recognise(f"{mit}\nYou must pay me.\n").unread == 4
    assert recognise(f"{mit}\nThanks to my mother.\n").unread == 0


def test_a_gnu_text_does_not_say_only_or_later():
    words = "word " * 2500
    text = f"GNU GENERAL PUBLIC LICENSE\nVersion 2, June 1991\n{words}\nEND OF TERMS AND CONDITIONS"
    assert recognise(text).found == (("GPL-2.0-only", "GPL-2.0-or-later"),)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "line",
    [
        "\n",
        "a.\n",
        "(c)\n",
        "copyright (c) ",
        "gnu general public license version 3 29 june 2007 word end of terms and conditions ",
        "This License Agreement is between the Python Software Foundation ",
    ],
)
def test_hostile_repetition_takes_no_time(line):
    assert recognise(line * (1_000_000 // len(line))).unread >= 0


@given(st.text())
def test_any_text_can_be_read(text):
    assert recognise(text).unread >= 0
