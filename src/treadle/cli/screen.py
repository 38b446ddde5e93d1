"""The whole terminal as one page: a head, a body that scrolls, and the keys."""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import NamedTuple, Self

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from treadle.cli import keys
from treadle.cli.common import clean
from treadle.cli.paint import BAD, LOUD, MORE, QUIET, console, said

_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
_TICK = 0.5
"""Seconds between two looks at the terminal's size, and at what must not run out."""
_LEAST_ROWS = 3


class Page(NamedTuple):
    """What is on the screen; ``body`` is given the width and, if it ``can_cut``, whether all of it is wanted."""

    head: Sequence[RenderableType]
    body: Callable[[int, bool], Sequence[RenderableType]]
    keys: Sequence[tuple[str, str]]
    can_cut: bool = False


class Screen:
    """The terminal's other screen, while it is entered; what stood there before comes back.

    Args:
        tick: called about twice a second while nobody presses a key.
    """

    def __init__(self, tick: Callable[[], None]) -> None:
        self._tick = tick
        self._keyboard = keys.keyboard()
        self._page = Page([], lambda _width, _whole: [], [])
        self._lines: list[str] = []
        self._drawn: tuple[int, int, bool] | None = None
        self._top = 0
        self._whole = False

    def __enter__(self) -> Self:
        self._keyboard.__enter__()
        _write(_ENTER)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        _write(_LEAVE)
        self._keyboard.__exit__(kind, error, trace)

    @contextmanager
    def left(self) -> Iterator[None]:
        """The terminal is another program's for a while."""
        self.__exit__(None, None, None)
        try:
            yield
        finally:
            self.__enter__()
            self._drawn = None

    def show(self, page: Page, *, is_new: bool = True) -> None:
        """Another page, from its top if it is new. Keys that were pressed before it stood there are forgotten."""
        self._page, self._drawn = page, None
        if is_new:
            self._top, self._whole = 0, False
        self._keyboard.forget()
        self._draw(None)

    def key(self) -> str:
        """The next key that does not scroll."""
        while self._scrolled(key := self._pressed(None)):
            pass
        return key

    def one_of(self, wanted: str) -> str | None:
        """The first of these keys that is pressed; ``None`` after Escape."""
        while (key := self.key()) not in (keys.ESCAPE, keys.END_OF_INPUT):
            if key in wanted:
                return key
        return None

    def ask(self, question: str, answers: Sequence[tuple[str, str]]) -> str | None:
        """The key of one of the answers, pressed below the page that stands; ``None`` after Escape."""
        foot = (said(question, LOUD), _key_line([*answers, ("Esc", "back")]))
        while (key := self._pressed(foot)) not in (keys.ESCAPE, keys.END_OF_INPUT):
            if key in dict(answers):
                return key
            self._scrolled(key)
        return None

    def line(self, prompt: str, given: str = "") -> str | None:
        """A line of text, typed where the keys stand; ``None`` after Escape. It is never blank."""
        text, note = given, ""
        while True:
            ask = Text.assemble(said(f"{prompt} ", LOUD), said(text), ("▏", QUIET))
            hint = Text.assemble(said(note, BAD), ("Enter sends it, Esc goes back", QUIET))
            match self._pressed((ask, hint)):
                case keys.ENTER:
                    if text.strip():
                        return text.strip()
                    note = "Say it in a few words. "
                case keys.ESCAPE | keys.END_OF_INPUT:
                    return None
                case key:
                    text, note = _typed(text, key), ""

    def _pressed(self, asked: tuple[Text, Text] | None) -> str:
        self._draw(asked)
        while (key := self._keyboard.read(_TICK)) is None:
            self._tick()
            if self._drawn != (*_size(), self._whole):
                self._draw(asked)
        return key

    def _scrolled(self, key: str) -> bool:
        step = max(_size()[1] - 6, 1)
        moves = {keys.UP: -1, "k": -1, keys.DOWN: 1, "j": 1, keys.PAGE_UP: -step, "b": -step, keys.PAGE_DOWN: step, " ": step}
        if key == "v" and self._page.can_cut:
            self._whole, self._top = not self._whole, 0
        elif key in (keys.HOME, keys.END):
            self._top = 0 if key == keys.HOME else len(self._lines)
        elif key in moves:
            self._top += moves[key]
        else:
            return False
        return True

    def _draw(self, asked: tuple[Text, Text] | None) -> None:
        width, rows = _size()
        head = _rendered(self._page.head, width)
        foot = _rendered(asked if asked is not None else [_key_line(self._page.keys)], width)
        if self._drawn != (width, rows, self._whole):
            self._drawn = (width, rows, self._whole)
            self._lines = _rendered(self._page.body(width, self._whole), width)
        room = max(rows - len(head) - len(foot) - 2, _LEAST_ROWS)
        self._top = max(0, min(self._top, len(self._lines) - room))
        body = self._lines[self._top : self._top + room]
        body += [""] * (room - len(body))
        more = _place(self._top, room, len(self._lines), self._cutting())
        lines = [*head, *_rendered([_rule("", width)], width), *body, *_rendered([_rule(more, width)], width), *foot]
        _write("\x1b[H" + "\n".join(f"{line}\x1b[K" for line in lines[:rows]) + "\x1b[J")

    def _cutting(self) -> str | None:
        if self._whole:
            return "v cuts long parts"
        return "v shows all" if self._page.can_cut and any(MORE in line for line in self._lines) else None


def _typed(text: str, key: str) -> str:
    match key:
        case keys.BACKSPACE:
            return text[:-1]
        case keys.CLEAR_LINE:
            return ""
        case keys.CLEAR_WORD:
            return text.rstrip()[: text.rstrip().rfind(" ") + 1]
        case _ if len(key) == 1 and (key == "\t" or unicodedata.category(key) != "Cc"):
            return text + clean(key.replace("\t", " "))
        case _:
            return text


def both_ends(left: Text, right: Text) -> RenderableType:
    """One line with something at either end; the left one is cut if it must."""
    grid = Table.grid(expand=True)
    grid.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    grid.add_column(justify="right", no_wrap=True)
    grid.add_row(left, right)
    return grid


def _place(top: int, room: int, total: int, cutting: str | None) -> str:
    """Which lines stand there, and the keys that show others."""
    moving = f"lines {top + 1}–{min(top + room, total)} of {total:,} · space, b, ↑, ↓ move" if total > room else None
    return " · ".join(part for part in (moving, cutting) if part)


def _rule(text: str, width: int) -> Text:
    said_there = f" {text} " if text else ""
    return Text(f"{'─' * max(width - len(said_there) - 2, 0)}{said_there}──"[:width], QUIET)


def _key_line(named: Sequence[tuple[str, str]]) -> Text:
    return Text("  ").join([Text.assemble((key, LOUD), (f" {word}", QUIET)) for key, word in named])


def _rendered(parts: Sequence[RenderableType], width: int) -> list[str]:
    paper = console(width, is_screen=True)
    with paper.capture() as captured:
        paper.print(Group(*parts))
    return captured.get().removesuffix("\n").split("\n")


def _size() -> tuple[int, int]:
    size = os.get_terminal_size(sys.stdout.fileno())
    return max(size.columns, 20), max(size.lines, 8)


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
