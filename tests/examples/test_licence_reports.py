"""The SBOM is valid CycloneDX, and both reports are the same for the same audit."""

from __future__ import annotations

import json

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from examples.licence_audit.audited import Audited
from examples.licence_audit.distributions import scan, site_packages
from examples.licence_audit.identify import identify
from examples.licence_audit.licence_files import LicenceFile, licence_files
from examples.licence_audit.metadata import Metadata, read_metadata
from examples.licence_audit.notice import notice
from examples.licence_audit.sbom import sbom

SHARED = LicenceFile(name="LICENSE", sha256="1" * 64, text="Do as you like.\n")
LONG = LicenceFile(name="COPYING", sha256="2" * 64, text="Word after word\n", whole=False)


@pytest.fixture(scope="module")
def environment():
    audited = []
    for one in scan(site_packages()).distributions:
        metadata = read_metadata(one.folder) or Metadata()
        files = licence_files(one, metadata)
        audited.append(
            Audited(
                name=one.name,
                version=one.version,
                expression=identify(metadata, files).expression,
                summary=metadata.summary,
                homepage=metadata.homepage,
                files=files,
            )
        )
    return audited


def valid(document: str) -> bool:
    return JsonStrictValidator(SchemaVersion.V1_6).validate_str(document) is None


def test_the_bill_of_this_environment_is_valid(environment):
    document = sbom(environment)
    assert valid(document)
    assert len(json.loads(document)["components"]) == len(environment)


def test_the_reports_do_not_depend_on_order_or_date(environment):
    assert sbom(environment) == sbom(reversed(environment))
    assert notice(environment) == notice(reversed(environment))


def test_a_component_carries_its_licence():
    document = sbom([Audited(name="Sample", version="1.0", expression="MIT OR Apache-2.0")])
    (component,) = json.loads(document)["components"]
    assert component["licenses"] == [{"expression": "MIT OR Apache-2.0", "acknowledgement": "concluded"}]
    assert component["purl"] == "pkg:pypi/sample@1.0"


@pytest.mark.parametrize("homepage", ["javascript:alert(1)", "http://a b", "https://x/\x1b", "", "//"])
def test_hostile_metadata_makes_no_invalid_bill(homepage):
    hostile = Audited(name="x", version="1", expression=None, summary="\x1b[2J\n" * 99, homepage=homepage)
    document = sbom([hostile])
    assert valid(document)
    assert "externalReferences" not in document
    assert "\\u001b" not in document


def test_an_empty_environment_has_reports():
    assert valid(sbom([]))
    assert "0 distributions" in notice([])


def test_a_shared_text_is_quoted_once():
    text = notice(
        [
            Audited(name="b", version="1", expression="MIT", files=(SHARED,)),
            Audited(name="a", version="2", expression=None, homepage="https://a.example", files=(LONG, SHARED)),
        ]
    )
    assert text.count("Do as you like.") == 1
    assert text.index("a 2\n  Licence: not identified\n  Home: https://a.example") < text.index("b 1\n")
    assert "Text [2]: LICENSE" in text
    assert "[the rest of COPYING is too long to be quoted]" in text
