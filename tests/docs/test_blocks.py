"""The pages tell the truth: their code runs, their commands exist, and every public name is in them."""

from __future__ import annotations

import ast
import asyncio
import functools
import inspect
import os
import re
import shlex
import subprocess
import sys
import sysconfig
import textwrap
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import treadle

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [page for page in sorted(DOCS.rglob("*.md")) if "_build" not in page.parts]
FILES = [ROOT / "README.md", *PAGES]

FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,}|~{3,}) *(?P<language>[\w-]*)")
NO_RUN = re.compile(r"^ *<!-- no-run: \S.*-->\s*$")
PROMPT = re.compile(r"^ *\$ (?:[A-Z_]+=\S+ )*treadle(?P<words>(?: .*)?)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    language: str
    source: str
    line: int  # of its first line of code, from 1
    runs: bool


def blocks(path: Path) -> Iterator[Block]:
    """Yields the page's fenced blocks in order; a fence closes with at least the ticks it opened with."""
    lines = path.read_text("utf-8").splitlines()
    number, before = 0, ""
    while number < len(lines):
        fence = FENCE.match(lines[number])
        if fence is None:
            if lines[number].strip():
                before = lines[number]
            number += 1
            continue
        closing = re.compile(rf"^ *{fence['ticks'][0]}{{{len(fence['ticks'])},}} *$")
        start = number + 1
        end = next((at for at in range(start, len(lines)) if closing.match(lines[at])), None)
        assert end is not None, f"{path.name}:{start}: this block is never closed"
        source = textwrap.dedent("\n".join(lines[start:end])) + "\n"
        yield Block(language=fence["language"], source=source, line=start + 1, runs=not NO_RUN.match(before))
        number, before = end + 1, ""


each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())


@each_file
def test_python_blocks_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = types.ModuleType("__main__")  # a page is read as a script
    monkeypatch.setitem(sys.modules, page.__name__, page)  # stage annotations are looked up in it
    monkeypatch.chdir(tmp_path)
    with asyncio.Runner() as runner:
        for block in blocks(path):
            if block.language == "python":
                run_block(block, path, page, runner)


def run_block(block: Block, path: Path, page: types.ModuleType, runner: asyncio.Runner) -> None:
    """The block has run in the page's namespace, awaits included; tracebacks show the page's own lines."""
    padded = "\n" * (block.line - 1) + block.source
    code = compile(padded, str(path), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    if not block.runs:
        return
    result = eval(code, vars(page))  # a code object in "exec" mode: a coroutine where it awaits, else None
    if inspect.iscoroutine(result):
        runner.run(result)


@each_file
def test_commands_exist(path: Path) -> None:
    shells = [block for block in blocks(path) if block.language in {"console", "sh"}]
    unknown = [
        f"{path.name}:{block.line + offset}: {line.strip()}"
        for block in shells
        for offset, line in enumerate(block.source.splitlines())
        if (prompt := PROMPT.match(line)) and not command_exists(shlex.split(prompt["words"], comments=True))
    ]
    assert not unknown, "no such command:\n" + "\n".join(unknown)


def command_exists(words: list[str]) -> bool:
    """Follows the words down the tree of commands until an option or a command that takes no subcommand."""
    path: tuple[str, ...] = ()
    for word in words:
        text = help_text(path)
        if word.startswith("-") or " COMMAND" not in text:
            break
        if word not in commands_in(text):
            return False
        path = (*path, word)
    return True


def commands_in(text: str) -> set[str]:
    """The first word of every row of a panel, where nothing or a column's gap follows it."""
    return set(re.findall(r"^[│|\s]*([a-z][a-z-]*)(?:\s{2,}|\s*[│|]?$)", text, flags=re.MULTILINE))


@functools.cache
def help_text(path: tuple[str, ...]) -> str:
    treadle_script = Path(sysconfig.get_path("scripts")) / "treadle"
    environment = os.environ | {"COLUMNS": "200", "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        [treadle_script, *path, "--help"],
        env=environment,
        capture_output=True,
        encoding="utf-8",
        timeout=30,
        check=True,
    )
    return done.stdout


@pytest.mark.skipif(PAGES in ([], [DOCS / "index.md"]), reason="docs/ has no pages yet")
def test_every_public_name_is_documented() -> None:
    text = "\n".join(page.read_text("utf-8") for page in PAGES)
    missing = [name for name in treadle.__all__ if not re.search(rf"\b{re.escape(name)}\b", text)]
    assert not missing, f"not mentioned in docs/: {', '.join(missing)}"
