"""The licence files that come with a distribution."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .distributions import Distribution, recorded_files
from .files import printable, read_text
from .metadata import Metadata

_WELL_KNOWN = re.compile(r"(?:^|[._-])(?:licen[cs]es?|copying|notice|unlicen[cs]e)(?:[._-]|$)", re.IGNORECASE)
_OTHER_TEXT = re.compile(r"^(?:authors|contributors|credits|readme|change|history|code_of_conduct)", re.IGNORECASE)
_PART = re.compile(r"notice|third.?party|vendor|external|bundled", re.IGNORECASE)
_CODE = frozenset({".py", ".pyc", ".pyi", ".so", ".js", ".ts", ".css", ".html", ".json", ".xml", ".h", ".c", ".gz", ".svg"})


@dataclass(frozen=True, slots=True, kw_only=True)
class LicenceFile:
    """A licence file.

    Attributes:
        name: Where it is, relative to the metadata folder, or to site-packages if it is bundled.
        sha256: Of the bytes read, which are the `whole` file or its first mebibyte.
        bundled: It speaks for a part of the package only: it lies beside that part, or its name says so.
    """

    name: str
    sha256: str
    text: str
    whole: bool = True
    bundled: bool = False


def licence_files(distribution: Distribution, metadata: Metadata) -> tuple[LicenceFile, ...]:
    """Read the licence files of a distribution: its own by name, then the bundled ones; each text once.

    Its own are in the metadata folder: those that License-File names (PEP 639 puts them into `licenses/`,
    older tools beside METADATA) and those named like one. The others are found by name in the installer's
    record.
    """
    found: dict[str, LicenceFile] = {}
    for path, name, bundled in _paths(distribution, metadata):
        file = read_text(path)
        if file and file.text.strip() and file.sha256 not in found:
            found[file.sha256] = LicenceFile(
                name=printable(name), sha256=file.sha256, text=file.text, whole=file.whole, bundled=bundled
            )
    return tuple(found.values())


def _paths(distribution: Distribution, metadata: Metadata) -> Iterator[tuple[Path, str, bool]]:
    folder, site = distribution.folder, distribution.folder.parent
    named = {f"{place}{name}" for name in metadata.licence_files for place in ("licenses/", "")}
    own = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))
    for name in own:
        if _is_licence_file(name, named=name in named or name.startswith("licenses/")):
            yield folder / name, name, bool(_PART.search(name))
    for path in sorted(recorded_files(distribution)):
        inside = not path.is_absolute() and ".." not in path.parts and path.parts[:1] != (folder.name,)
        if inside and _is_licence_file(path.as_posix(), named=False):
            yield site / path, path.as_posix(), True


def _is_licence_file(name: str, *, named: bool) -> bool:
    last = name.rpartition("/")[2]
    if _OTHER_TEXT.match(last) or Path(last).suffix.lower() in _CODE:
        return False
    return named or bool(_WELL_KNOWN.search(last))
