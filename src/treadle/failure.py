"""What user code raised, as data that is safe to keep and to show."""

from __future__ import annotations

import json
import re
import traceback
import unicodedata
from pathlib import Path

MAX_TEXT = 16 * 1024
MAX_FRAMES = 20
_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Co"})

_PACKAGE = str(Path(__file__).parent)
_SECRETS = re.compile(
    r"(?P<dsn>://[^\s/:@]*:)[^\s/@]+(?=@)"
    r"|(?P<key>\b(?:api[_-]?key|access[_-]?key|authorization|passw(?:or)?d|secret|token)\b[\"']?\s*[=:]\s*[\"']?(?:bearer\s+|basic\s+)?)[^\s\"',;&]+",
    re.IGNORECASE,
)


def masked(text: str) -> str:
    """``text`` without the passwords of addresses, and without what follows ``token=`` and its like."""
    return _SECRETS.sub(lambda found: (found["dsn"] or found["key"]) + "***", text)


def safe_text(text: str) -> str:
    """``text`` as every store takes it: no NUL, no lone surrogate, not too long, secrets masked."""
    text = text[:MAX_TEXT].encode("utf-8", "replace").decode().replace("\x00", "\ufffd")
    return masked(text)


def printable(text: object, *, lines: bool = False) -> str:
    """``text`` without what a terminal would obey: escapes, control characters, changes of direction."""
    kept = "\n\t" if lines else ""
    return "".join(c if c in kept or unicodedata.category(c) not in _UNPRINTABLE else "\ufffd" for c in str(text))


def describe(error: BaseException) -> tuple[str, str]:
    """One line for people, and JSON with type, message and frames. Frames hold no values of variables."""
    name = type(error).__name__
    try:
        message = safe_text(str(error))
    except Exception as broken:  # noqa: BLE001 - its __str__ is user code too
        message = f"(its message cannot be shown: {type(broken).__name__})"
    line = f"{name}: {message}" if message else name
    frames = [
        {"file": frame.filename, "line": frame.lineno, "function": frame.name}
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(_PACKAGE)
    ]
    return line, json.dumps({"type": name, "message": message, "frames": frames[-MAX_FRAMES:]}, ensure_ascii=False)
