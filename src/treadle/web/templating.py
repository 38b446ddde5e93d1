"""Templates, read once; everything they show is escaped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from treadle.state import StageState
from treadle.status import GLYPHS, WORDS, ago, lasted
from treadle.web.segments import segment
from treadle.wording import counted

FOLDER = Path(__file__).parent / "templates"
_KILO = 1000
_SEEN = "\n\t\u3000"
"""What is not printable by Python's word, and is laid out by a page as a reader expects."""


def _read() -> Mapping[str, str]:
    return {path.relative_to(FOLDER).as_posix(): path.read_text("utf-8") for path in sorted(FOLDER.rglob("*.html"))}


def visible(text: object) -> str:
    """``text`` with what a reader would not see, or be misled by, made visible: control and direction characters."""
    told = str.__str__(str(text))  # never Markup: whatever is shown is escaped
    if told.isprintable():
        return told
    # Each character that occurs is looked at once, however many megabytes there are.
    hidden = {c for c in set(told) if not c.isprintable() and c not in _SEEN}
    return told.translate({ord(c): _picture(c) for c in hidden}) if hidden else told


def _picture(character: str) -> str:
    code = ord(character)
    if code < 0x20:  # noqa: PLR2004 - each of these has a picture of its own
        return chr(0x2400 + code)
    return f"\u27e8{code:04X}\u27e9"


def _exact(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(sep=" ", timespec="seconds").replace("+00:00", " UTC")


def _clock(moment: datetime) -> str:
    """The time of day, UTC, with the day where that is not today."""
    at, today = moment.astimezone(UTC), datetime.now(UTC).date()
    return f"{at:%H:%M:%S}" if at.date() == today else f"{at:%d %b %H:%M}"


def _bytes(size: int) -> str:
    if size < _KILO:
        return counted(size, "byte")
    return f"{size / _KILO:,.0f} kB" if size < _KILO**2 else f"{size / _KILO**2:,.1f} MB"


def _json_block(text: object) -> Markup:
    """JSON as the content of a script element of type application/json, which nothing in it can end."""
    return Markup(str(text).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))  # noqa: S704 - that is the point


ENVIRONMENT = Environment(
    loader=DictLoader(_read()),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)
_FILTERS: dict[str, Callable[..., object]] = {
    "visible": visible,
    "quoted": lambda text: segment(str(text)),
    "ago": lambda moment: ago(moment, datetime.now(UTC)),
    "exact": _exact,
    "lasted": lasted,
    "number": lambda n: f"{n:,}",
    "counted": counted,
    "clock": _clock,
    "bytes": _bytes,
    "json_block": _json_block,
}
ENVIRONMENT.filters |= _FILTERS
ENVIRONMENT.globals |= {
    "glyph": GLYPHS,
    "word": lambda state: WORDS.get(StageState(state), StageState(state).value),
}
