"""Licences come out right, or a person is asked: on real distributions, and on made-up contradictions."""

from __future__ import annotations

import tomllib
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from examples.licence_audit import spdx
from examples.licence_audit.distributions import Distribution, canonical, scan, site_packages
from examples.licence_audit.identify import Agreement, Confidence, Identification, identify
from examples.licence_audit.licence_files import licence_files
from examples.licence_audit.metadata import Metadata, parse_metadata, read_metadata

TABLE: dict[str, Any] = tomllib.loads(Path(__file__).with_name("known_licences.toml").read_text("utf-8"))
KNOWN = {name: licence for licence, names in TABLE["licences"].items() for name in names}
INSTALLED = {canonical(one.name): one for one in scan(site_packages()).distributions}

BSD = "Redistribution and use in source and binary forms"
CLASSIFIER = "Classifier: License :: OSI Approved :: "


def identified(distribution: Distribution) -> Identification:
    metadata = read_metadata(distribution.folder) or Metadata()
    return identify(metadata, licence_files(distribution, metadata))


def test_the_table_covers_this_environment():
    assert len(KNOWN) >= 50
    assert len(KNOWN.keys() & INSTALLED.keys()) >= 40


@pytest.mark.parametrize("name", sorted(KNOWN.keys() & INSTALLED.keys()))
def test_a_known_distribution_has_its_licence(name):
    distribution = INSTALLED[name]
    if not fnmatchcase(distribution.version, TABLE["versions"].get(name, "*")):
        pytest.skip(f"the table does not speak of {distribution.id}")
    answer = identified(distribution)
    assert answer.expression is not None, answer.reason
    assert spdx.same(answer.expression, KNOWN[name])
    assert answer.agreement is Agreement.AGREE


@pytest.mark.parametrize("name", sorted(TABLE["asked"].keys() & INSTALLED.keys()))
def test_an_unclear_distribution_is_never_guessed(name):
    answer, truth = identified(INSTALLED[name]).expression, TABLE["asked"][name]
    assert answer is None or (truth and spdx.same(answer, truth))


def test_most_of_this_environment_needs_nobody():
    answers = [identified(distribution) for distribution in INSTALLED.values()]
    assert sum(answer.expression is None for answer in answers) <= len(answers) // 5


def test_an_expression_counts_and_a_text_confirms_it(install, mit):
    answer = identified(install("License-Expression: mit\n", {"LICENSE": mit}))
    assert (answer.expression, answer.confidence) == ("MIT", Confidence.HIGH)


def test_an_expression_outranks_a_stale_classifier(install, mit):
    answer = identified(install(f"License-Expression: MIT\n{CLASSIFIER}Apache Software License\n", {"LICENSE": mit}))
    assert answer.expression == "MIT"


def test_an_expression_that_the_text_contradicts_is_asked_about(install, mit):
    answer = identified(install("License-Expression: BSD-3-Clause\n", {"LICENSE": mit}))
    assert (answer.expression, answer.agreement) == (None, Agreement.DISAGREE)
    assert "BSD-3-Clause" in answer.reason
    assert "MIT" in answer.possible


def test_a_text_beyond_the_expression_is_undeclared(install, mit):
    grant = (
        "under the terms of the GNU General Public License as published by the Free Software Foundation, "
        "either version 3 of the License, or (at your option) any later version."
    )
    answer = identified(install("License-Expression: MIT\n", {"LICENSE": mit, "NOTICE": grant}))
    assert (answer.expression, answer.undeclared) == ("MIT", ("GPL-3.0-or-later",))


@pytest.mark.parametrize("expression", ["LGPL-2.1", "gpl-3.0", "Apache 2", "MIT AND", "()", "GPL", "a" * 5000])
def test_an_expression_of_no_one_meaning_is_asked_about(install, expression):
    answer = identified(install(f"License-Expression: {expression}\n"))
    assert (answer.expression, answer.agreement) == (None, Agreement.MISSING)


def test_only_and_or_later_are_what_a_gnu_number_leaves_open(install):
    assert identified(install("License-Expression: LGPL-2.1\n")).possible == (
        "LGPL-2.1-only",
        "LGPL-2.1-or-later",
    )


@pytest.mark.parametrize(
    ("field", "expression"),
    [
        ("MIT License", "MIT"),
        ("The MIT License", "MIT"),
        ("BSD 3-Clause", "BSD-3-Clause"),
        ("New BSD License", "BSD-3-Clause"),
        ("Apache 2.0", "Apache-2.0"),
        ("Apache License, Version 2.0", "Apache-2.0"),
        ("ASL 2.0", "Apache-2.0"),
        ("GPLv3+", "GPL-3.0-or-later"),
        ("LGPL v3 or later", "LGPL-3.0-or-later"),
        ("MPL-2.0 AND mit", "MPL-2.0 AND MIT"),
        ("Zlib", "Zlib"),
    ],
)
def test_a_license_field_says_what_people_mean(install, field, expression):
    answer = identified(install(f"License: {field}\n"))
    assert (answer.expression, answer.confidence) == (expression, Confidence.MEDIUM)


@pytest.mark.parametrize(
    "field",
    ["BSD", "GPL", "GPLv3", "PSF", "Dual License", "MIT/Apache-2.0", "LGPL with exceptions", "BSD-like"],
)
def test_a_vague_license_field_is_asked_about(install, field):
    assert identified(install(f"License: {field}\n")).expression is None


def test_a_license_field_may_hold_the_whole_text(install, mit):
    pasted = mit.replace("\n", "\n        ")
    answer = identified(install(f"License: {pasted}\nSummary: x\n"))
    assert answer.expression == "MIT"


def test_a_classifier_alone_is_an_answer_if_it_names_one_licence(install):
    answer = identified(install(f"{CLASSIFIER}MIT License\n"))
    assert (answer.expression, answer.confidence) == ("MIT", Confidence.MEDIUM)


def test_the_text_tells_which_bsd_a_classifier_means(install):
    text = Path(INSTALLED["grimp"].folder / "licenses" / "LICENSE").read_text("utf-8")
    assert BSD in text
    answer = identified(install(f"License: BSD\n{CLASSIFIER}BSD License\n", {"LICENSE": text}))
    assert (answer.expression, answer.confidence) == ("BSD-2-Clause", Confidence.HIGH)


def test_several_classifiers_are_asked_about(install):
    answer = identified(install(f"{CLASSIFIER}MIT License\n{CLASSIFIER}Apache Software License\n"))
    assert (answer.expression, answer.agreement) == (None, Agreement.DISAGREE)
    assert set(answer.possible) >= {"MIT", "Apache-2.0"}


def test_a_field_and_a_text_that_contradict_each_other_are_asked_about(install, mit):
    answer = identified(install("License: ISC\n", {"LICENSE": mit}))
    assert (answer.expression, answer.agreement) == (None, Agreement.DISAGREE)


def test_added_terms_are_asked_about(install, mit):
    added = f"{mit}\nThe Software must not be sold to anyone for commercial purposes.\n"
    answer = identified(install("License: MIT\n", {"LICENSE": added}))
    assert (answer.expression, answer.agreement) == (None, Agreement.MISSING)


def test_an_unknown_licence_text_is_asked_about(install):
    unknown = "You can do with this whatever your grandmother would like you to do with it. " * 5
    answer = identified(install("License: MIT\n", {"LICENSE": unknown}))
    assert (answer.expression, answer.agreement) == (None, Agreement.MISSING)


def test_a_licence_file_too_long_to_read_is_asked_about(install, mit):
    answer = identified(install("License: MIT\n", {"LICENSE": mit + " word" * 300_000}))
    assert (answer.expression, answer.agreement) == (None, Agreement.MISSING)


def test_texts_of_bundled_parts_are_undeclared_and_decide_nothing(install, mit):
    isc = f"{CLASSIFIER}ISC License (ISCL)\n"
    answer = identified(install(isc, {"vendor/x/LICENSE": mit}))
    assert (answer.expression, answer.undeclared) == ("ISC", ("MIT",))


def test_an_exception_alone_is_no_licence(install):
    terms = "As a special exception, you can link this program with the OpenSSL library."
    assert identified(install("", {"LICENSE": terms})).expression is None
    gpl = "License: GPL-2.0-or-later"
    assert identified(install(f"{gpl}\n", {"LICENSE": terms})).expression is None
    answer = identified(install(f"{gpl} WITH Bison-exception-2.2\n", {"LICENSE": terms}))
    assert answer.expression == "GPL-2.0-or-later WITH Bison-exception-2.2"


def test_a_text_alone_is_an_answer_of_medium_confidence(install, mit):
    answer = identified(install("", {"LICENSE": mit}))
    assert (answer.expression, answer.confidence) == ("MIT", Confidence.MEDIUM)


def test_nothing_at_all_is_asked_about(install):
    answer = identified(install())
    assert (answer.expression, answer.agreement, answer.evidence) == (None, Agreement.MISSING, ())


def test_terminal_escapes_do_not_reach_the_reader(install):
    answer = identified(install("License: \x1b[2J\x1b]0;owned\x07Free\u202eware\n"))
    assert answer.expression is None
    assert answer.evidence[0].value == "[2J]0;ownedFreeware"


def test_proprietary_and_unknown_classifiers_are_asked_about():
    for classifier in ("License :: Other/Proprietary License", "License :: Freeware"):
        assert identify(parse_metadata(f"Classifier: {classifier}\n"), ()).expression is None


def test_vacuous_declarations_are_none_at_all(mit, install):
    metadata = "License: UNKNOWN\nClassifier: License :: OSI Approved\n"
    assert identified(install(metadata, {"LICENSE": mit})).expression == "MIT"
