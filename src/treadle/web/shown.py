"""Values as text that fits a page, however large they are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from difflib import SequenceMatcher
from typing import Any, NamedTuple

from treadle.artefact import StoredArtefact

MOST = 4_000
"""Characters of one value that a page shows unless it is asked for the whole."""
_MOST_LINES = 400
_CONTEXT = 2
_MOST_FIELDS = 60
_TELLING = re.compile(r"\A[^\n]*[A-Z0-9 ][^\n]*\Z")
_SHORTEST, _LONGEST, _MOST_WORDS = 4, 80, 40


class Shown(NamedTuple):
    """A value's text; ``is_cut`` says that it goes on."""

    text: str
    is_cut: bool = False


class Part(NamedTuple):
    """A piece of text, and whether it stands out."""

    text: str
    is_marked: bool = False


class Line(NamedTuple):
    """A line of a difference; ``sign`` is ``+``, ``-``, a space, or ``@`` for lines left out."""

    sign: str
    text: str


class Field(NamedTuple):
    """One field of an artefact; ``is_plain`` means text, where the other kind is JSON."""

    name: str
    shown: Shown
    is_plain: bool


def shown(value: Any, most: int = MOST) -> Shown:
    """Text as it is, everything else as JSON; no more of it is made than is shown."""
    if isinstance(value, str):
        return Shown(value[:most], len(value) > most)
    return _cut(json.JSONEncoder(indent=2, ensure_ascii=False, default=str).iterencode(value), most)


def outline(value: Any, most: int = MOST) -> Shown:
    """The value for reading: a line a field, without the marks of JSON."""
    if isinstance(value, str):
        return Shown(value[:most], len(value) > most)
    if isinstance(value, StoredArtefact):
        return Shown(str(value), is_cut=True)
    text, is_cut = _cut((f"{line}\n" for line in _outlined(value, "")), most)
    return Shown(text.rstrip("\n"), is_cut)


def _cut(pieces: Iterable[str], most: int) -> Shown:
    kept, length = list[str](), 0
    for piece in pieces:
        kept.append(piece)
        length += len(piece)
        if length > most:
            break
    text = "".join(kept)
    return Shown(text[:most], len(text) > most)


def _outlined(value: Any, indent: str) -> Iterator[str]:
    match value:
        case dict() if value:
            for name, part in value.items():
                yield from _under(f"{indent}{name}:", part, f"{indent}  ")
        case list() if value:
            for part in value:
                if isinstance(part, dict | list) and part:
                    lines = _outlined(part, f"{indent}  ")
                    yield f"{indent}- {next(lines)[len(indent) + 2 :]}"
                    yield from lines
                else:
                    yield f"{indent}- {_word(part)}"
        case _:
            yield f"{indent}{_word(value)}"


def _under(name: str, part: Any, indent: str) -> Iterator[str]:
    if isinstance(part, dict | list) and part:
        yield name
        yield from _outlined(part, indent)
    elif isinstance(part, str) and "\n" in part:
        yield name
        yield from (f"{indent}{line}" for line in part.split("\n"))
    else:
        yield f"{name} {_word(part)}"


def fields(value: Any, titles: dict[str, str]) -> Sequence[Field]:
    """The fields of an object, each on its own; none for any other value, and none where there are too many for a page."""
    if not isinstance(value, dict) or len(value) > _MOST_FIELDS:
        return ()
    return [Field(titles.get(name) or sentence(name), _field(part), _is_plain(part)) for name, part in value.items()]


def _is_plain(value: Any) -> bool:
    return not isinstance(value, dict) and not (isinstance(value, list) and any(isinstance(part, dict | list) for part in value))


def _field(value: Any) -> Shown:
    if isinstance(value, list) and _is_plain(value):
        return outline("\n".join(_word(part) for part in value[: MOST // 2])) if value else Shown("none")
    return outline(value)


def _word(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return "none" if isinstance(value, list | dict) and not value else str(value)


def titles(schema: Any) -> dict[str, str]:
    """What the schema calls each field, in the words of a sentence."""
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(properties, dict):
        return {}
    return {name: sentence(about["title"]) for name, about in properties.items() if isinstance(about, dict) and _titled(about)}


def _titled(about: dict[str, Any]) -> bool:
    return isinstance(about.get("title"), str) and about["title"].strip() != ""


def sentence(title: str) -> str:
    """``Notice Needed`` and ``notice_needed`` as people write them, ``Notice needed``; other capitals stay."""
    first, *rest = title.replace("_", " ").strip().split(" ")
    return " ".join([first[:1].upper() + first[1:], *(word.lower() if word.istitle() else word for word in rest)])


def words_of(value: Any) -> list[str]:
    """Short texts inside an artefact that are worth finding again in its evidence: names and numbers, not plain words."""
    found = dict.fromkeys(text for text in _texts(value) if _SHORTEST <= len(text) <= _LONGEST and _TELLING.search(text))
    return sorted(list(found)[:_MOST_WORDS], key=len, reverse=True)


def _texts(value: Any, budget: int = 500) -> Iterator[str]:
    todo = [value]
    while todo and (budget := budget - 1):
        match todo.pop(0):
            case str() as text:
                yield text
            case dict() as table:
                todo += list(table.values())[:_MOST_WORDS]
            case list() as row:
                todo += row[:_MOST_WORDS]


def marked(text: str, words: Sequence[str]) -> list[Part]:
    """``text`` in parts; those that are one of ``words`` stand out."""
    if not words:
        return [Part(text)]
    found = re.split("(" + "|".join(rf"(?<!\w){re.escape(word)}(?!\w)" for word in words) + ")", text)
    return [Part(piece, bool(number % 2)) for number, piece in enumerate(found) if piece]


def difference(before: Any, after: Any) -> list[Line]:
    """What changed between two values, line by line, with a little of what stayed the same around it."""
    old, new = (outline(value, 4 * MOST).text.split("\n")[:_MOST_LINES] for value in (before, after))
    lines: list[Line] = []
    for group in SequenceMatcher(None, old, new, autojunk=False).get_grouped_opcodes(_CONTEXT):
        lines += [Line("@", "…")] if lines else []
        for tag, a, b, c, d in group:
            if tag == "equal":
                lines += [Line(" ", text) for text in old[a:b]]
                continue
            lines += [Line("-", text) for text in old[a:b]] + [Line("+", text) for text in new[c:d]]
    return lines
