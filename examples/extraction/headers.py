"""A cheap extractor, and on purpose a weak one: it takes six old header lines at their word."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from .extractor import Found
from .text import PackageText

_NUMBER = re.compile(r"\d+(?:\.\d+)*")


class OldHeaders:
    """Reads the headers that packages had before addresses got labels and authors got mail boxes."""

    def extract(self, text: PackageText, fields: Collection[str], told: str | None = None) -> Mapping[str, Found]:
        """The headers' values; it cannot be told anything."""
        homepage = text.one("home-page")
        number = _NUMBER.search(text.one("requires-python") or "")
        found = {
            "purpose": text.one("summary"),
            "homepage": homepage,
            "repository": homepage,
            "minimum_python": number[0] if number else None,
            "maintainers": text.all("author")[:1],
            "topics": [word.strip() for word in (text.one("keywords") or "").split(",") if word.strip()],
        }
        return {field: Found(value) for field, value in found.items() if value and field in fields}
