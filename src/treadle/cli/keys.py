"""One key at a time from the terminal, whose settings come back whatever happens."""

from __future__ import annotations

import os
import sys
import time
from types import TracebackType
from typing import Protocol, Self

ENTER, ESCAPE, BACKSPACE, UP, DOWN, PAGE_UP, PAGE_DOWN, HOME, END = (
    "enter", "escape", "backspace", "up", "down", "page up", "page down", "home", "end",
)  # fmt: skip
CLEAR_LINE, CLEAR_WORD, END_OF_INPUT = "clear line", "clear word", "end of input"
_NAMED = {
    "\r": ENTER, "\n": ENTER, "\x7f": BACKSPACE, "\b": BACKSPACE, "\x15": CLEAR_LINE, "\x17": CLEAR_WORD, "\x04": END_OF_INPUT,
}  # fmt: skip


class Keyboard(Protocol):
    """Keys, while it is entered; outside the terminal is as it was."""

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...

    def read(self, timeout: float) -> str | None:
        """The next key, a character or one of the names above; ``None`` if none was pressed for so long."""

    def forget(self) -> None:
        """What was typed ahead is dropped: it was meant for what stood there before."""


if sys.platform == "win32":
    import ctypes
    import msvcrt

    _SPECIAL = {"H": UP, "P": DOWN, "I": PAGE_UP, "Q": PAGE_DOWN, "G": HOME, "O": END}
    _STDOUT, _VIRTUAL_TERMINAL = -11, 4

    class _WindowsKeyboard:
        def __enter__(self) -> Self:
            # The console obeys escape sequences only where a program asks for it.
            kernel, mode = ctypes.windll.kernel32, ctypes.c_uint32()
            handle = kernel.GetStdHandle(_STDOUT)
            if kernel.GetConsoleMode(handle, ctypes.byref(mode)):
                kernel.SetConsoleMode(handle, mode.value | _VIRTUAL_TERMINAL)
            return self

        def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
            return

        def read(self, timeout: float) -> str | None:
            deadline = time.monotonic() + timeout
            while not msvcrt.kbhit():
                if time.monotonic() >= deadline:
                    return None
                time.sleep(0.02)
            key = msvcrt.getwch()
            if key == "\x03":
                raise KeyboardInterrupt
            if key in ("\x00", "\xe0"):
                return _SPECIAL.get(msvcrt.getwch(), "")
            return ESCAPE if key == "\x1b" else _NAMED.get(key, key)

        def forget(self) -> None:
            while msvcrt.kbhit():
                msvcrt.getwch()

    def keyboard() -> Keyboard:
        """The keyboard of this system."""
        return _WindowsKeyboard()

else:
    import codecs
    import select
    import termios

    _SEQUENCES = {
        "[A": UP, "[B": DOWN, "OA": UP, "OB": DOWN, "[5~": PAGE_UP, "[6~": PAGE_DOWN, "[H": HOME, "[F": END, "OH": HOME, "OF": END,
        "[1~": HOME, "[4~": END,
    }  # fmt: skip
    _LATER = 0.05
    """Seconds after which a lone escape is the Escape key, and not the beginning of a sequence."""

    class _PosixKeyboard:
        def __init__(self) -> None:
            self._fd = sys.stdin.fileno()
            self._before: list[int | list[bytes | int]] = []
            self._typed = ""
            self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode

        def __enter__(self) -> Self:
            self._before = termios.tcgetattr(self._fd)
            mode = termios.tcgetattr(self._fd)
            mode[3] &= ~(termios.ICANON | termios.ECHO | termios.IEXTEN)
            # Ctrl-C still interrupts; Ctrl-Z would leave a shell with this screen in its way.
            mode[6][termios.VSUSP] = b"\x00"
            mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
            termios.tcsetattr(self._fd, termios.TCSADRAIN, mode)
            return self

        def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
            termios.tcsetattr(self._fd, termios.TCSADRAIN, self._before)

        def read(self, timeout: float) -> str | None:
            deadline = time.monotonic() + timeout
            while not self._typed:
                if not self._fill(deadline - time.monotonic()):
                    return None
            if not self._typed.startswith("\x1b"):
                return self._take(1)
            if len(self._typed) == 1 and not self._fill(_LATER):
                self._typed = ""
                return ESCAPE
            return self._sequence()

        def _sequence(self) -> str:
            if self._typed[1] not in "[O":
                self._typed = self._typed[1:]
                return ESCAPE
            end = 2
            while end < len(self._typed) or self._fill(_LATER):
                if "@" <= self._typed[end] <= "~":
                    break
                end += 1
            sequence, self._typed = self._typed[1 : end + 1], self._typed[end + 1 :]
            return _SEQUENCES.get(sequence, "")

        def _take(self, many: int) -> str:
            key, self._typed = self._typed[:many], self._typed[many:]
            return _NAMED.get(key, key)

        def _fill(self, timeout: float) -> bool:
            if not select.select([self._fd], [], [], max(timeout, 0.0))[0]:
                return False
            given = os.read(self._fd, 4096)
            # A terminal that has gone away reads as empty for ever.
            self._typed += self._decode(given) if given else "\x04"
            return True

        def forget(self) -> None:
            termios.tcflush(self._fd, termios.TCIFLUSH)
            self._typed = ""

    def keyboard() -> Keyboard:
        """The keyboard of this system."""
        return _PosixKeyboard()
