"""The audit as a NOTICE file: who is on board, under which licence, and every licence text."""

from __future__ import annotations

from collections.abc import Iterable

from .audited import Audited
from .files import excerpt
from .licence_files import LicenceFile

_RULE = "-" * 80


def notice(audited: Iterable[Audited]) -> str:
    """The text of the file, sorted by name; a text that several distributions share is there once."""
    entries = sorted(audited, key=lambda one: (one.name.lower(), one.version))
    texts: dict[str, LicenceFile] = {}
    for entry in entries:
        for file in entry.files:
            texts.setdefault(file.sha256, file)
    numbers = {sha256: number for number, sha256 in enumerate(texts, start=1)}
    blocks = [f"This environment holds {len(entries)} distributions. Their licence texts follow the list."]
    blocks += (_entry(entry, numbers) for entry in entries)
    blocks += (f"{_RULE}\n[{numbers[sha256]}]\n{_RULE}\n{_text(file)}" for sha256, file in texts.items())
    return "\n\n".join(blocks) + "\n"


def _entry(audited: Audited, numbers: dict[str, int]) -> str:
    lines = [f"{audited.name} {audited.version}"]
    if audited.summary:
        lines.append(excerpt(audited.summary))
    lines.append(f"Licence: {audited.expression or 'not identified'}")
    if audited.homepage:
        lines.append(f"Home: {excerpt(audited.homepage)}")
    lines += (f"Text [{numbers[file.sha256]}]: {excerpt(file.name)}" for file in audited.files)
    return "\n  ".join(lines)


def _text(file: LicenceFile) -> str:
    text = "\n".join(line.rstrip() for line in file.text.strip("\n").split("\n"))
    return text if file.whole else f"{text}\n[the rest of {file.name} is too long to be quoted]"
