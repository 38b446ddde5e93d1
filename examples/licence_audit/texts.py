"""What licences a text holds, found by comparing its words with `known_texts.toml`."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_KNOWN_TEXTS = Path(__file__).with_name("known_texts.toml")
_PART = re.compile(r"\{([a-z][a-z0-9-]*)\}")
_GAP = re.compile(r"\{(?:(\d+)-)?(\d+)\}")
_LONGEST_WORD = 24  # a gap of n words is searched no farther than n words of this length
_POINTER = 40  # a text without a licence that is no longer says where to find one
_CUT = " \N{PILCROW SIGN} "

# Conditions are numbered, lettered or starred in as many ways as there are authors. "V. 1.1" is no list mark.
_LIST_MARK = re.compile(r"(?mi)^[^\w\n]*(?:(?:\d{1,2}|[a-z]|[ivx]{1,4})[.)]|o)(?=\s)(?!\s+\d)")
_COPYRIGHT_LINE = re.compile(r"(?mi)^[^\w\n]*(?:copyright|\(c\)|©)(?=.*(?:\d{4}|\(c\)|©|\bby\b)).{0,150}$|all rights reserved")
_SAME_WORDS = (
    ("licence", "license"),
    ("non infringement", "noninfringement"),
    ("merchantibility", "merchantability"),
    ("expressed or implied", "express or implied"),
    ("and or", "and"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recognised:
    """What a text holds.

    Attributes:
        found: For each known text, once, the licences it can stand for.
        unread: The number of words outside the known texts if they may set terms, else 0.
    """

    found: tuple[tuple[str, ...], ...]
    unread: int


def recognise(text: str) -> Recognised:
    """Find every known licence text and grant in `text`, in the order of `known_texts.toml`.

    A known text must be there word for word, give or take its gaps: a licence with a condition added or left
    out is not recognised as the licence it was made from.
    """
    known_texts, terms = _known()
    words = comparable(text)
    found: dict[tuple[str, ...], None] = {}
    for known in known_texts:
        start = 0
        while span := known.find(words, start):
            found[known.means] = None
            start, end = span
            words = words[:start] + _CUT + words[end + 1 :]
    left = len(words.replace(_CUT, " ").split())
    unread = any(term in words for term in terms) or (not found and left > _POINTER)
    return Recognised(found=tuple(found), unread=left if unread else 0)


def comparable(text: str) -> str:
    """The words of `text` in lower case, one space around each, without list marks and copyright lines."""
    text = _LIST_MARK.sub(" ", _COPYRIGHT_LINE.sub(" ", text))
    words = f" {' '.join(re.findall('[a-z0-9]+', text.lower()))} "
    for word, same in _SAME_WORDS:
        words = words.replace(f" {word} ", f" {same} ")
    return words


@dataclass(frozen=True, slots=True, kw_only=True)
class _KnownText:
    """An entry of `known_texts.toml`, in comparable words: piece, gap, piece, ... piece."""

    means: tuple[str, ...]
    pieces: tuple[str, ...]
    gaps: tuple[tuple[int, int], ...]

    def find(self, words: str, start: int) -> tuple[int, int] | None:
        start = words.find(self.pieces[0], start)
        while start >= 0:
            end = self._end(words, start + len(self.pieces[0]) - 1)
            if end is not None:
                return start, end
            start = words.find(self.pieces[0], start + 1)
        return None

    def _end(self, words: str, end: int) -> int | None:
        for piece, (least, most) in zip(self.pieces[1:], self.gaps, strict=True):
            limit = end + most * _LONGEST_WORD + len(piece)
            gap, at = 0, words.find(piece, end, limit)
            while at >= 0 and (gap := gap + words.count(" ", end, at)) < least:
                end, at = at, words.find(piece, at + 1, limit)
            if at < 0 or gap > most:
                return None
            end = at + len(piece) - 1
        return end


@cache
def _known() -> tuple[tuple[_KnownText, ...], tuple[str, ...]]:
    data = tomllib.loads(_KNOWN_TEXTS.read_text("utf-8"))
    known = tuple(_known_text(entry["means"], entry["words"], data["parts"]) for entry in data["text"])
    return known, tuple(comparable(term) for term in data["terms"])


def _known_text(means: list[str], prose: str, parts: dict[str, str]) -> _KnownText:
    first, *rest = _GAP.split(_PART.sub(lambda part: parts[part[1]], prose))
    least, most, pieces = rest[0::3], rest[1::3], rest[2::3]
    return _KnownText(
        means=tuple(means),
        pieces=(comparable(first), *map(comparable, pieces)),
        gaps=tuple((int(low or 0), int(high)) for low, high in zip(least, most, strict=True)),
    )
