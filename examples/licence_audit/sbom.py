"""The audit as a software bill of materials (CycloneDX 1.6, JSON)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.model import ExternalReference, ExternalReferenceType, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import LicenseAcknowledgement, LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from .audited import Audited
from .files import excerpt

_WEB_ADDRESS = re.compile(r"https?://[A-Za-z0-9._~:/?#@!$&'()*+,;=%-]+")


def sbom(audited: Iterable[Audited]) -> str:
    """The JSON of the bill, with no date in it: the same distributions make the same bytes."""
    components = [_component(one) for one in audited]
    names = " ".join(sorted(str(component.purl) for component in components))
    bom = Bom(components=components, serial_number=uuid5(NAMESPACE_URL, names))
    document = json.loads(JsonV1Dot6(bom).output_as_string())
    document["metadata"].pop("timestamp", None)
    return json.dumps(document, indent=2) + "\n"


def _component(audited: Audited) -> Component:
    purl = PackageURL("pypi", None, audited.name, audited.version)
    component = Component(
        type=ComponentType.LIBRARY,
        name=audited.name,
        version=audited.version,
        purl=purl,
        bom_ref=str(purl),
        description=excerpt(audited.summary) if audited.summary else None,
    )
    if audited.expression:
        component.licenses.add(LicenseExpression(audited.expression, acknowledgement=LicenseAcknowledgement.CONCLUDED))
    if audited.homepage and _WEB_ADDRESS.fullmatch(audited.homepage):
        component.external_references.add(ExternalReference(type=ExternalReferenceType.WEBSITE, url=XsUri(audited.homepage)))
    return component
