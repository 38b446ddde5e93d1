"""A thorough extractor: it knows what labels, markers and addresses mean, and reads the README where they are silent."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from email.utils import getaddresses

from .extractor import Found
from .text import PackageText

REPOSITORY = re.compile(
    r"https?://(?:www\.)?(?:"
    r"(?:github\.com|codeberg\.org|bitbucket\.org)/(?!sponsors/)[\w.-]+/[\w.-]+"
    r"|git(?:lab)?\.[\w.-]+(?:/(?!-/)[\w.-]+){2,4}"
    r"|sourceforge\.net/p/[\w-]+)"
)
_LINK = re.compile(r"https?://[^\s<>\"'\])`|]+")
_BOUND = re.compile(r"(?:>=|~=|===?)\s*(\d+(?:\.\d+)*)")
_FORMS = re.compile(r"[-_.\s]+")
_HOME = ("homepage", "home", "home page", "home-page", "website")
_CODE = ("repository", "source", "source code", "code", "github", "sources", "source-code")
_NOBODY = re.compile(r"^(?:(?:many )?others?\b.*|contributors)$|\bsee authors\b", re.IGNORECASE)


class WholeText:
    """Reads all a package says; slower than header lines, and right more often."""

    def extract(self, text: PackageText, fields: Collection[str], told: str | None = None) -> Mapping[str, Found]:
        """What it finds of the fields; rules cannot be told anything either, but are asked about less."""
        found = {field: _READERS[field](text) for field in fields}
        return {field: one for field, one in found.items() if one is not None}


def lower_bound(text: PackageText) -> str | None:
    """The Python version that Requires-Python begins at: all its parts must hold, so the highest of them."""
    return max(_BOUND.findall(text.one("requires-python") or ""), key=_as_numbers, default=None)


def _as_numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


def _purpose(text: PackageText) -> Found | None:
    name, summary = text.one("name") or "", text.one("summary")
    if summary:
        return Found(_tidied(summary, name))
    prose = (line.strip() for line in text.description.splitlines())
    sentence = next((line for line in prose if re.match(r"[A-Z][\w ,'-]{20,}", line)), None)
    return Found(_tidied(sentence, name), guessed=True) if sentence else None


def _tidied(line: str, name: str) -> str:
    """Without links, its own name in front, and a full stop; the first sentence if it is long."""
    line = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", line).replace("`", "")
    if own := _own_name(name).match(line):
        line = line[own.end() :]
    if len(line) > 80:
        line = re.split(r"(?<=\w)\.\s", line)[0]
    line = line.strip().rstrip(".,;")
    return line[:1].upper() + line[1:]


def begins_with_name(line: str, name: str) -> bool:
    """Whether the line says "name: what it is" or "name is what it is"."""
    return _own_name(name).match(line) is not None


def _own_name(name: str) -> re.Pattern[str]:
    own = r"[-_.\s]+".join(map(re.escape, _FORMS.split(name)))
    return re.compile(rf"{own}\s*(?::|[–—]|--?\s|is (?:an? |the )?)\s*", re.IGNORECASE)


def _homepage(text: PackageText) -> Found | None:
    urls = [(label, url) for label, url in text.urls() if _LINK.fullmatch(url)]
    for labels in (_HOME, ("documentation", "docs")):
        for label, url in urls:
            if label in labels:
                return Found(url)
    return _repository(text)


def _repository(text: PackageText) -> Found | None:
    urls = text.urls()
    by_label = [url for label, url in urls if label in _CODE] + [url for label, url in urls if label not in _CODE]
    for url in by_label:
        if match := REPOSITORY.match(url):
            return Found(match[0].removesuffix(".git"))
    own = _repository_name(text.one("name") or "")
    for link in _LINK.findall(text.description):
        match = REPOSITORY.match(link)
        if match and _repository_name(match[0].removesuffix(".git").rpartition("/")[2]) == own:
            return Found(match[0].removesuffix(".git"), guessed=True)
    return None


def _repository_name(name: str) -> str:
    return _FORMS.sub("-", name).lower().removeprefix("python-")


def _minimum_python(text: PackageText) -> Found | None:
    if bound := lower_bound(text):
        return Found(bound)
    versions = [
        c.rpartition(" :: ")[2] for c in text.all("classifier") if re.fullmatch(r"Programming Language :: Python :: \d+\.\d+", c)
    ]
    return Found(min(versions, key=_as_numbers), guessed=True) if versions else None


def _maintainers(text: PackageText) -> Found | None:
    names: dict[str, None] = {}
    for header in ("maintainer", "maintainer-email", "author", "author-email"):
        for value in text.all(header):
            # Quotes and commas belong to mail boxes; the other two headers are prose.
            listed = [name for name, _ in getaddresses([value])] if header.endswith("email") else [value]
            names |= dict.fromkeys(one for name in listed for one in _people(name))
    return Found(list(names)) if names else None


def _people(name: str) -> list[str]:
    parts = (part.strip() for part in re.split(r"\s+and\s+|\s*[,;]\s*|\s*\(.*\)", name))
    return [part for part in parts if part and not _NOBODY.search(part)]


def _topics(text: PackageText) -> Found | None:
    topics = [c.rpartition(" :: ")[2] for c in text.all("classifier") if c.startswith("Topic :: ")]
    keywords = text.one("keywords") or ""
    topics += re.split(r"\s*[,;]\s*", keywords) if "," in keywords else [keywords]
    found = list(dict.fromkeys(topic.strip() for topic in topics if topic.strip()))
    return Found(found) if found else None


_READERS: Mapping[str, Callable[[PackageText], Found | None]] = {
    "purpose": _purpose,
    "homepage": _homepage,
    "repository": _repository,
    "minimum_python": _minimum_python,
    "maintainers": _maintainers,
    "topics": _topics,
}
