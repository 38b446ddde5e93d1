"""The strong extractor beats the weak one on real packages, and the gate knows good records from bad ones."""

from __future__ import annotations

import asyncio
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.extraction.extractor import as_record
from examples.extraction.gates import GATE, fields_in
from examples.extraction.headers import OldHeaders
from examples.extraction.model import ModelExtractor, prompt
from examples.extraction.pipeline import installed
from examples.extraction.reading import WholeText
from examples.extraction.record import FIELDS, Record
from examples.extraction.text import parse, read
from examples.licence_audit.distributions import canonical
from treadle import Accepted, GateContext, Rejected, StageOutput, Uncertain
from treadle.outcome import Verdict

KNOWN: dict[str, dict[str, Any]] = tomllib.loads(Path(__file__).with_name("known_records.toml").read_text("utf-8"))
PACKAGES = {canonical(package.name): package for package in installed()}
HERE = sorted(KNOWN.keys() & PACKAGES.keys())


def extracted(extractor: OldHeaders | WholeText, name: str) -> Record:
    package = PACKAGES[name]
    return as_record(package.name, extractor.extract(read(package), FIELDS))


async def judged(name: str, record: Record) -> Verdict:
    package = PACKAGES[name]
    return await GATE.evaluate(
        package, StageOutput(record), GateContext(item_id=package.id, stage="extracted", in_thread=asyncio.to_thread)
    )


def right(record: Record, known: dict[str, Any]) -> list[bool]:
    made = record.model_dump(mode="json")
    return [made[field] == value for field, value in known.items()]


def test_the_table_covers_this_environment():
    assert len(HERE) >= 15


@pytest.mark.parametrize("name", HERE)
def test_a_known_package_is_read_right(name):
    made = extracted(WholeText(), name).model_dump(mode="json")
    assert {field: made[field] for field in KNOWN[name]} == KNOWN[name]


def test_the_weak_extractor_is_right_about_less_than_half():
    weak = [fact for name in HERE for fact in right(extracted(OldHeaders(), name), KNOWN[name])]
    assert sum(weak) < len(weak) / 2


@pytest.mark.parametrize("name", HERE)
async def test_the_gate_names_the_fields_that_the_weak_extractor_got_wrong(name):
    weak, strong = extracted(OldHeaders(), name), extracted(WholeText(), name)
    verdict = await judged(name, weak)
    refused = fields_in(verdict.feedback) if isinstance(verdict, Rejected) else ()
    wrong = [field for field in KNOWN[name] if getattr(weak, field) != getattr(strong, field)]
    # A page of one's own and the repository can both be called home: that is a matter of taste, and no rule's.
    assert {field for field in wrong if field in ("repository", "minimum_python", "maintainers")} <= set(refused)


@pytest.mark.parametrize("name", sorted({"attrs", "six", "pyyaml", "packaging", "hypothesis"} & PACKAGES.keys()))
async def test_the_gate_accepts_what_is_declared_and_whole(name):
    assert isinstance(await judged(name, extracted(WholeText(), name)), Accepted)


@pytest.mark.parametrize("name", sorted({"execnet", "sortedcontainers", "ptyprocess"} & PACKAGES.keys()))
async def test_the_gate_cannot_tell_about_what_only_prose_suggests(name):
    record = extracted(WholeText(), name)
    verdict = await judged(name, record)
    assert isinstance(verdict, Uncertain)
    assert record.guessed[0] in verdict.reason


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"homepage": "https://attrs.example/"}, "homepage"),
        ({"repository": "https://github.com/somebody/else"}, "repository"),
        ({"repository": "https://www.attrs.org/"}, "repository"),
        ({"minimum_python": "2.7"}, "minimum_python"),
        ({"maintainers": ("Ada Lovelace",)}, "maintainers"),
        ({"maintainers": ("Hynek Schlawack and others",)}, "maintainers"),
        ({"maintainers": ()}, "maintainers"),
        ({"topics": ("phlogiston",)}, "topics"),
        ({"topics": ()}, "topics"),
        ({"purpose": None}, "purpose"),
        ({"purpose": "attrs: classes without boilerplate"}, "purpose"),
        ({"purpose": "[Classes](https://www.attrs.org/) without boilerplate"}, "purpose"),
        ({"purpose": "Classes without boilerplate" * 5}, "purpose"),
    ],
)
async def test_the_gate_refuses_what_is_made_up_or_missing(change, field):
    record = extracted(WholeText(), "attrs").model_copy(update=change)
    verdict = await judged("attrs", record)
    assert isinstance(verdict, Rejected)
    assert fields_in(verdict.feedback) == (field,)


@pytest.mark.parametrize(
    ("required", "version"),
    [
        ("!=3.0.*,!=3.1.*,<4,>=2.7", "2.7"),
        (">=3.9,<4.0", "3.9"),
        ("~=3.8", "3.8"),
        ("==3.*", "3"),
        (">= 3.10", "3.10"),
        (">=3.9,>=3.10", "3.10"),
        ("<4", None),
    ],
)
def test_the_lowest_python_is_the_one_that_is_allowed(required, version):
    text = parse(f"Name: x\nRequires-Python: {required}\n")
    found = WholeText().extract(text, ["minimum_python"]).get("minimum_python")
    assert (found and found.value) == version


@given(st.text())
def test_any_text_can_be_read(text):
    read_as = parse(text)
    as_record("x", WholeText().extract(read_as, FIELDS))


def test_a_model_is_asked_about_the_failed_fields_and_told_why():
    asked: list[str] = []

    def ask(question: str) -> str:
        asked.append(question)
        return 'Here it is: {"repository": "https://github.com/python-attrs/attrs", "guessed": ["repository"], "license": "MIT"}'

    found = ModelExtractor(ask).extract(read(PACKAGES["attrs"]), ["repository"], "repository is '', wanted an address")
    assert found == {"repository": ("https://github.com/python-attrs/attrs", True)}
    assert "wanted an address" in asked[0]
    assert "Classes Without Boilerplate" in asked[0]


@pytest.mark.parametrize("answer", ["", "I cannot help with that.", "{broken", "[1]"])
def test_an_answer_without_an_object_is_an_error(answer):
    with pytest.raises(json.JSONDecodeError):
        ModelExtractor(lambda _: answer).extract(parse("Name: x\n"), FIELDS)


def test_a_prompt_is_bounded():
    assert len(prompt(parse("Name: x\n\n" + "word " * 100_000), FIELDS)) < 30_000
