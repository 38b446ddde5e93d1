"""The fields of a distribution's METADATA that an audit reads."""

from __future__ import annotations

import email
import re
from dataclasses import dataclass
from email.message import Message
from pathlib import Path

from .files import read_text

_FOLD = re.compile(r"\n[ \t]*\|?")  # continuation lines are indented, by old tools with a bar
_EMPTY = frozenset({"", "UNKNOWN", "NONE", "N/A"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """One METADATA or PKG-INFO; what it does not say is None or empty."""

    name: str | None = None
    version: str | None = None
    summary: str | None = None
    author: str | None = None
    homepage: str | None = None
    project_urls: tuple[str, ...] = ()
    licence_expression: str | None = None
    licence: str | None = None
    licence_files: tuple[str, ...] = ()
    classifiers: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()


def read_metadata(folder: Path) -> Metadata | None:
    """The metadata in a dist-info or egg-info folder (or egg-info file); None if there is none to read."""
    text = _read(folder)
    return None if text is None else parse_metadata(text)


def read_description(folder: Path) -> str:
    """The README inside the metadata; empty if there is none."""
    message = email.message_from_string(_read(folder) or "")
    body = message.get_payload()
    return body if isinstance(body, str) and body.strip() else _one(message, "Description") or ""


def _read(folder: Path) -> str | None:
    files = (read_text(path) for path in (folder / "METADATA", folder / "PKG-INFO", folder))
    return next((file.text for file in files if file), None)


def parse_metadata(text: str) -> Metadata:
    """The fields of `text`; a header that is no header ends them, as in a mail."""
    message = email.message_from_string(text)
    return Metadata(
        name=_one(message, "Name"),
        version=_one(message, "Version"),
        summary=_one(message, "Summary"),
        author=_one(message, "Author") or _one(message, "Author-email"),
        homepage=_one(message, "Home-page"),
        project_urls=_all(message, "Project-URL"),
        licence_expression=_one(message, "License-Expression"),
        licence=_one(message, "License"),
        licence_files=_all(message, "License-File"),
        classifiers=_all(message, "Classifier"),
        requires=_all(message, "Requires-Dist"),
    )


def _one(message: Message, field: str) -> str | None:
    return next(iter(_all(message, field)), None)


def _all(message: Message, field: str) -> tuple[str, ...]:
    values = (_FOLD.sub("\n", str(value)).strip() for value in message.get_all(field, []))
    return tuple(value for value in values if value.upper() not in _EMPTY)
