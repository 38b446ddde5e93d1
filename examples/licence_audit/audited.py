"""A distribution with its licence settled, as the reports need it."""

from __future__ import annotations

from dataclasses import dataclass

from .licence_files import LicenceFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Audited:
    """One line of the audit; `expression` is None where nobody could tell the licence."""

    name: str
    version: str
    expression: str | None
    summary: str | None = None
    homepage: str | None = None
    files: tuple[LicenceFile, ...] = ()
