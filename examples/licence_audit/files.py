"""Text files: read within bounds, written whole or not at all."""

from __future__ import annotations

import codecs
import hashlib
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

MOST_BYTES = 1 << 20
"""As much as is read of one file: several times the longest licence file that packages are known to carry."""

# Escape sequences and bidirectional overrides make a terminal or a reader show what is not there; surrogates
# stand for the bytes of a file name that is not UTF-8, and cannot be written.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """What was read of a file: printable `text`, the `sha256` of the bytes, and whether that is all of it."""

    text: str
    sha256: str
    whole: bool


def read_text(path: Path, most: int = MOST_BYTES) -> Text | None:
    """The first `most` bytes of a regular file as printable text; None if there is no such file to read.

    Bytes that are not UTF-8 are read as Latin-1, which takes any.
    """
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            data = file.read(most + 1)
    except (OSError, ValueError):  # ValueError: a NUL in the path
        return None
    whole, data = len(data) <= most, data[:most]
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(data, final=whole)
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    return Text(text=printable(text), sha256=hashlib.sha256(data).hexdigest(), whole=whole)


def printable(text: str) -> str:
    """`text` with plain line ends and without control characters, safe to show and to write."""
    return _UNPRINTABLE.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def excerpt(text: str, most: int = 200) -> str:
    """`text` on one line, cut to `most` characters."""
    line = " ".join(printable(text).split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def write_text(path: Path, text: str) -> None:
    """Put `text` at `path` for good: a reader, or a crash half way, sees the old file or the new one."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with draft.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
