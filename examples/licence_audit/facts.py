"""Facts of one distribution, each found on its own: what it needs, starts, compiles, and weighs."""

from __future__ import annotations

import configparser
from contextlib import suppress
from dataclasses import dataclass

from .distributions import Distribution, recorded_files
from .files import read_text
from .metadata import read_metadata

_NATIVE = (".so", ".pyd", ".dll", ".dylib")


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """What the recorded files take on disk; `missing` ones are recorded but gone."""

    bytes: int
    files: int
    missing: int


def requirements(distribution: Distribution) -> tuple[str, ...]:
    """What it requires, as METADATA says it (PEP 508), markers and all."""
    metadata = read_metadata(distribution.folder)
    return metadata.requires if metadata else ()


def entry_points(distribution: Distribution) -> tuple[str, ...]:
    """Its entry points as "group: name = object"; what cannot be parsed is left out."""
    file = read_text(distribution.folder / "entry_points.txt")
    parser = configparser.ConfigParser(
        delimiters=("=",), strict=False, allow_no_value=True, interpolation=None, default_section="\0"
    )
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # names are case-sensitive
    with suppress(configparser.Error):  # what came before the first unreadable line is kept
        parser.read_string(file.text if file else "")
    return tuple(f"{group}: {name} = {value}" for group in parser.sections() for name, value in parser[group].items())


def native_files(distribution: Distribution) -> tuple[str, ...]:
    """The compiled libraries it installed, as recorded."""
    return tuple(str(path) for path in recorded_files(distribution) if path.name.endswith(_NATIVE) or ".so." in path.name)


def size_on_disk(distribution: Distribution) -> Size:
    """What its recorded files take on disk; scripts outside site-packages count."""
    sizes: list[int] = []
    missing = 0
    for path in recorded_files(distribution):
        try:
            sizes.append((distribution.folder.parent / path).stat().st_size)
        except (OSError, ValueError):  # ValueError: a NUL in the path
            missing += 1
    return Size(bytes=sum(sizes), files=len(sizes), missing=missing)
