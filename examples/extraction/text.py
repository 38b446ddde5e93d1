"""What is extracted from: the metadata of an installed distribution, and the README inside it."""

from __future__ import annotations

import email
from collections.abc import Mapping
from dataclasses import dataclass

from examples.licence_audit.distributions import Distribution
from examples.licence_audit.files import read_text

_SAYS_NOTHING = frozenset({"", "UNKNOWN", "NONE", "N/A"})


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageText:
    """One METADATA: all of it as text, its headers by their name in lower case, and its description."""

    raw: str
    headers: Mapping[str, tuple[str, ...]]
    description: str

    def all(self, header: str) -> tuple[str, ...]:
        """Every value of a header, in order."""
        return self.headers.get(header, ())

    def one(self, header: str) -> str | None:
        """The first value of a header."""
        return next(iter(self.all(header)), None)

    def urls(self) -> list[tuple[str, str]]:
        """The declared addresses, each with its label in lower case."""
        pairs = [value.partition(",") for value in self.all("project-url")]
        found = [(label.strip().lower(), url.strip()) for label, _, url in pairs]
        return found + [("home-page", url) for url in self.all("home-page")]


def parse(raw: str) -> PackageText:
    """The text of a METADATA file in its parts."""
    message = email.message_from_string(raw)
    headers: dict[str, list[str]] = {}
    for name, value in message.items():
        line = " ".join(str(value).split())
        if line.upper() not in _SAYS_NOTHING:
            headers.setdefault(name.lower(), []).append(line)
    body = message.get_payload()
    description = body if isinstance(body, str) and body.strip() else str(message.get("Description", ""))
    return PackageText(raw=raw, headers={name: tuple(values) for name, values in headers.items()}, description=description)


def read(package: Distribution) -> PackageText:
    """What the distribution says of itself.

    Raises:
        FileNotFoundError: it holds no metadata that can be read.
    """
    for path in (package.folder / "METADATA", package.folder / "PKG-INFO", package.folder):
        if file := read_text(path):
            return parse(file.text)
    raise FileNotFoundError(f"{package.folder} holds no readable METADATA or PKG-INFO")
