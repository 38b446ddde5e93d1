"""An artefact in the person's editor; whatever happens to it, their text stays in a named file."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from difflib import unified_diff
from pathlib import Path
from typing import Any

from treadle.cli.common import clean
from treadle.cli.json_text import parsed

_MARK = "#"
_TICK = 0.5
_HEAD = 3
"""Lines that stand above the text when one problem is explained; what is not JSON has exactly one."""


class BrokenDraft(Exception):
    """The file holds nothing that can be sent; ``problems`` says why, a line each."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems: list[str] = list(problems)
        super().__init__("; ".join(self.problems))


class Draft:
    """A file with the artefact as JSON below a few lines of explanation.

    Args:
        folder: where the file is made.
        about: what it is the artefact of.
    """

    def __init__(self, folder: Path, item_id: str, stage: str, value: Any) -> None:
        self._about = f"{item_id}: {stage}"
        self._original = _pretty(value)
        safe = re.sub(r"[^\w.-]", "_", f"{item_id}.{stage}")[-80:]
        file, name = tempfile.mkstemp(".json", f"{safe}-", folder)
        os.close(file)
        self.path: Path = Path(name)
        self._write(self._original, [])

    def edit(self, tick: Callable[[], None]) -> Any:
        """The value as the person left it.

        Raises:
            BrokenDraft: the editor failed, or left no JSON; the text is still in the file.
        """
        command = editor()
        try:
            process = subprocess.Popen([*command, str(self.path)])  # noqa: S603 - the person's own editor
        except OSError as error:
            raise BrokenDraft([f"the editor {command[0]} cannot be started: {error.strerror}; set EDITOR to another"]) from error
        code = _wait(process, tick)
        if code != 0:
            raise BrokenDraft([f"the editor {command[0]} ended with exit code {code}"])
        try:
            return parsed("\n" * _HEAD + self._read())
        except ValueError as error:
            raise BrokenDraft([f"not JSON: {error}"]) from error

    def explain(self, problems: Sequence[str]) -> None:
        """The file begins with what is wrong; the person's text is untouched."""
        with suppress(BrokenDraft):
            self._write(self._read(), problems)

    def differs(self, value: Any) -> bool:
        """Whether it is another value than what waits."""
        return _pretty(value) != self._original

    def diff(self, value: Any) -> list[str]:
        """The lines of a unified diff from what waits to ``value``, without file names."""
        return list(unified_diff(self._original.split("\n"), _pretty(value).split("\n"), n=3, lineterm=""))[2:]

    def drop(self) -> None:
        """The file is gone: its content was sent, or was never changed."""
        self.path.unlink(missing_ok=True)

    def _read(self) -> str:
        """What the person wrote, without the explanation above it."""
        try:
            text = self.path.read_text("utf-8-sig", "surrogateescape")
        except OSError as error:
            raise BrokenDraft([f"{self.path} cannot be read: {error.strerror}"]) from error
        return "\n".join(line for line in text.split("\n") if not line.startswith(_MARK)).strip("\n")

    def _write(self, text: str, problems: Sequence[str]) -> None:
        head = [f"The artefact of {self._about}, as JSON. Save and close to go on; lines that begin with {_MARK} are left out."]
        if problems:
            head += ["It does not fit yet:", *(f"  × {problem}" for problem in problems)]
        lines = [f"{_MARK} {clean(line)}" for line in head]
        self.path.write_text("\n".join([*lines, text, ""]), "utf-8", "surrogateescape")


def editor() -> list[str]:
    """The person's editor as a command: VISUAL, EDITOR, else what every system has."""
    given = os.environ.get("VISUAL") or os.environ.get("EDITOR") or ""
    with suppress(ValueError):
        if words := shlex.split(given, posix=os.name == "posix"):
            return words
    return ["notepad" if sys.platform == "win32" else "vi"]


def _wait(process: subprocess.Popen[bytes], tick: Callable[[], None]) -> int:
    """The editor's exit code; Ctrl-C is the editor's own while it has the terminal."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        while True:
            try:
                return process.wait(_TICK)
            except subprocess.TimeoutExpired:
                tick()
    finally:
        signal.signal(signal.SIGINT, before)


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
