"""The distributions installed in a site-packages folder."""

from __future__ import annotations

import csv
import re
import sysconfig
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from .files import printable, read_text
from .metadata import read_metadata

_NAME = re.compile(r"[A-Z0-9](?:[A-Z0-9._-]*[A-Z0-9])?", re.IGNORECASE)
_VERSION = re.compile(r"[A-Z0-9][A-Z0-9.!+_-]*", re.IGNORECASE)
_KINDS = (".dist-info", ".egg-info")
_MOST_RECORD_BYTES = 64 << 20  # a quarter of a million files


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """An installed distribution; `folder` is its dist-info or egg-info, which may be a single file."""

    id: str
    name: str
    version: str
    folder: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """An entry of a site-packages folder that is not as it should be, and why."""

    entry: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """What a site-packages folder holds: every distribution that has a name, and every problem met."""

    distributions: tuple[Distribution, ...]
    problems: tuple[Problem, ...]


def site_packages() -> Path:
    """The site-packages folder of the environment that runs this."""
    return Path(sysconfig.get_path("purelib"))


def scan(folder: Path) -> Inventory:
    """List the distributions in `folder`, sorted by id; a broken one is reported and never stops the others.

    `importlib.metadata` lists them too, but says neither where each one lies nor which ones it cannot read.

    Raises:
        OSError: `folder` itself cannot be listed.
    """
    found: dict[str, Distribution] = {}
    problems: list[Problem] = []
    for entry in sorted(folder.iterdir()):
        if not entry.name.endswith(_KINDS):
            continue
        distribution, reason = _read(entry)
        if distribution is None:
            problems.append(_problem(entry, reason))
        elif distribution.id in found:
            twin = found[distribution.id].folder.name
            problems.append(_problem(entry, f"{distribution.id} is listed already, by {twin}"))
        else:
            found[distribution.id] = distribution
            if reason:
                problems.append(_problem(entry, reason))
    return Inventory(
        distributions=tuple(found[key] for key in sorted(found)),
        problems=tuple(problems),
    )


def canonical(name: str) -> str:
    """The name by which package indexes know `name` (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def recorded_files(distribution: Distribution) -> tuple[PurePosixPath, ...]:
    """The files the installer recorded, relative to site-packages, each once; empty if there is no record."""
    if record := read_text(distribution.folder / "RECORD", _MOST_RECORD_BYTES):
        try:
            paths = [row[0] for row in csv.reader(record.text.splitlines()) if row]
        except csv.Error:  # a field longer than any path
            paths = []
    elif installed := read_text(distribution.folder / "installed-files.txt", _MOST_RECORD_BYTES):
        paths = [f"{distribution.folder.name}/{line}" for line in installed.text.splitlines() if line]
    else:
        paths = []
    return tuple(dict.fromkeys(PurePosixPath(path) for path in paths))


def _problem(entry: Path, reason: str | None) -> Problem:
    return Problem(entry=printable(entry.name), reason=reason or "no name")


def _read(entry: Path) -> tuple[Distribution | None, str | None]:
    """The distribution at `entry`, and what is wrong with it; the folder's name stands in for metadata."""
    stem_name, _, stem_version = entry.name.rsplit(".", 1)[0].partition("-")
    if stem_name.startswith("~"):
        return None, "left behind by an interrupted uninstall"
    if printable(entry.name) != entry.name:
        return None, "its name has characters that cannot be shown"
    metadata = read_metadata(entry)
    reasons = [] if metadata else ["no METADATA that can be read"]
    name = metadata.name if metadata else None
    version = metadata.version if metadata else None
    if metadata and not (name and _NAME.fullmatch(name)):
        reasons.append("METADATA has no valid Name")
    if metadata and not (version and _VERSION.fullmatch(version)):
        reasons.append("METADATA has no valid Version")
    name = _first(_NAME, name, stem_name)
    version = _first(_VERSION, version, stem_version.partition("-py")[0]) or "unknown"
    if name is None:
        return None, "; ".join(reasons)
    return (
        Distribution(id=f"{canonical(name)}=={version}", name=name, version=version, folder=entry),
        "; ".join(reasons) or None,
    )


def _first(pattern: re.Pattern[str], *values: str | None) -> str | None:
    return next((value for value in values if value and pattern.fullmatch(value)), None)
